from typing import Any

import pytest

from herd.errors import ProtocolError
from herd.protocols.messages import ModelInfo
from herd.protocols.openai_servers import Props, read_llamacpp_props, read_lmstudio_models, read_openai_models
from herd.types import BackendId, Bytes, ModelName, Tokens

BACKEND = BackendId("server-8080")
PATH = "/models/SmolLM2-135M-Instruct.Q4_1.gguf"

# A llama.cpp server's answers, shortened.
LLAMACPP_MODELS = {
    "models": [
        {
            "name": PATH,
            "model": PATH,
            "modified_at": "",
            "size": "",
            "digest": "",
            "tags": [""],
            "capabilities": ["completion"],
            "details": {"parent_model": "", "format": "gguf", "family": "", "families": [""], "parameter_size": ""},
        }
    ],
    "object": "list",
    "data": [
        {
            "id": PATH,
            "aliases": [PATH],
            "object": "model",
            "created": 1795382422,
            "owned_by": "llamacpp",
            "meta": {
                "n_vocab": 49152,
                "n_ctx": 2048,
                "n_ctx_train": 8192,
                "n_params": 134515008,
                "size": 96576768,
                "ftype": "Q4_1",
            },
        }
    ],
}
LLAMACPP_PROPS = {
    "default_generation_settings": {"n_ctx": 2048},
    "total_slots": 2,
    "model_path": PATH,
    "modalities": {"vision": False, "video": False, "audio": False},
    "chat_template_caps": {"supports_tools": False, "supports_tool_calls": False},
    "is_sleeping": False,
}


def test_a_llamacpp_server_lists_the_model_it_holds_by_its_path() -> None:
    assert read_openai_models(LLAMACPP_MODELS, BACKEND, read_llamacpp_props(LLAMACPP_PROPS)) == (
        ModelInfo(
            name=ModelName(PATH),
            backend=BACKEND,
            size=Bytes(96576768),
            details={"format": "gguf", "parameter_size": "134.52M", "quantization_level": "Q4_1"},
            capabilities=("completion",),
            resident=True,
            size_resident=Bytes(96576768),
            context_length=Tokens(2048),
        ),
    )


def test_properties_tell_slots_and_what_else_the_model_can_do() -> None:
    assert read_llamacpp_props(LLAMACPP_PROPS) == Props(slots=2)
    able = {
        **LLAMACPP_PROPS,
        "modalities": {"vision": True, "audio": True},
        "chat_template_caps": {"supports_tools": True},
    }
    props = read_llamacpp_props(able)
    assert props == Props(2, ("tools", "vision", "audio"))
    (model,) = read_openai_models(LLAMACPP_MODELS, BACKEND, props)
    assert model.capabilities == ("completion", "tools", "vision", "audio")


# What llama.cpp answers to `POST /v1/embeddings` with `{}`: the builds of 2026 in these words.
MISSES_INPUT = {"error": {"code": 400, "message": '"input" or "content" must be provided', "type": "x"}}
NO_VECTORS = {
    "error": {"code": 501, "message": "This server does not support embeddings. Start it with `--embeddings`"}
}


@pytest.mark.parametrize(
    ("refusal", "capabilities"),
    [
        (MISSES_INPUT, ("embedding",)),
        (NO_VECTORS, ()),
        (None, ()),
        ({"error": "model name is missing"}, ()),
        (["odd"], ()),
    ],
)
def test_a_llamacpp_server_makes_vectors_where_it_misses_what_of(refusal: Any, capabilities: tuple[str, ...]) -> None:
    assert read_llamacpp_props(LLAMACPP_PROPS, refusal).capabilities == capabilities


def test_a_llamacpp_server_of_several_models_says_which_are_loaded() -> None:
    states = ["loaded", "unloaded", "sleeping", "loading"]
    answer = {"data": [{"id": state, "status": {"value": state}, "meta": {"n_ctx": 8}} for state in states]}
    models = read_openai_models(answer, BACKEND)
    assert [(model.resident, model.context_length) for model in models] == [
        (True, 8),
        (False, 0),
        (False, 0),
        (False, 0),
    ]


@pytest.mark.parametrize(
    ("said", "step", "steps"),
    [
        ({"step": 4, "steps": 9}, 4, 9),
        ({"step": 0, "steps": 0}, 0, 0),  # the model is being loaded
        ({}, 0, 0),
        ({"step": "4", "steps": -9}, 0, 0),
    ],
)
def test_a_server_that_makes_an_image_says_how_far_it_is(said: dict[str, Any], step: int, steps: int) -> None:
    (model,) = read_openai_models({"data": [{"id": "schnell", "status": {"value": "loaded", **said}}]}, BACKEND)
    assert (model.resident, model.step, model.steps) == (True, step, steps)


def test_a_vllm_server_tells_its_context() -> None:
    answer = {"data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm", "max_model_len": 32768, "root": "Qwen/Qwen3-8B"}]}
    (model,) = read_openai_models(answer, BACKEND)
    assert (model.name, model.resident, model.context_length, model.capabilities) == ("Qwen/Qwen3-8B", True, 32768, ())


def test_lmstudio_lists_its_disk_and_what_is_loaded() -> None:
    answer = {
        "data": [
            {
                "id": "qwen2-vl-7b-instruct",
                "type": "vlm",
                "arch": "qwen2_vl",
                "compatibility_type": "mlx",
                "quantization": "4bit",
                "state": "not-loaded",
                "max_context_length": 32768,
            },
            {
                "id": "granite",
                "type": "llm",
                "state": "loaded",
                "max_context_length": 131072,
                "loaded_context_length": 4096,
            },
            {"id": "nomic", "type": "embeddings", "state": "loaded", "max_context_length": 2048},
        ]
    }
    vision, granite, nomic = read_lmstudio_models(answer, BACKEND)
    assert vision.details == {"format": "mlx", "family": "qwen2_vl", "quantization_level": "4bit"}
    assert (vision.resident, vision.context_length, vision.capabilities) == (
        False,
        0,
        ("completion", "tools", "vision"),
    )
    assert (granite.resident, granite.context_length, granite.capabilities) == (True, 4096, ("completion", "tools"))
    assert (nomic.context_length, nomic.capabilities) == (2048, ("embedding",))


@pytest.mark.parametrize(
    ("count", "size"), [(134_515_008, "134.52M"), (8_030_261_248, "8.0B"), (0, None), (-1, None), ("8B", None)]
)
def test_a_number_of_weights_is_written_as_ollama_writes_it(count: Any, size: str | None) -> None:
    (model,) = read_openai_models({"data": [{"id": "m", "meta": {"n_params": count}}]}, BACKEND)
    assert model.details.get("parameter_size") == size


@pytest.mark.parametrize("answer", [None, [], {}, {"data": 1}, {"data": [], "models": 1}])
def test_an_answer_of_another_shape_is_one_sentence(answer: Any) -> None:
    with pytest.raises(ProtocolError, match="answered without a list"):
        list(read_openai_models(answer, BACKEND))


@pytest.mark.parametrize("answer", [None, 1, "x", []])
def test_no_answer_of_another_shape_passes_for_properties_or_models(answer: Any) -> None:
    with pytest.raises(ProtocolError, match="without properties"):
        read_llamacpp_props(answer)
    with pytest.raises(ProtocolError, match="LM Studio answered without a list"):
        read_lmstudio_models(answer, BACKEND)
