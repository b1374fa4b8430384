from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import ProtocolError
from herd.protocols.messages import ModelInfo
from herd.protocols.servers import PROBES, merge_ollama_ps, read_ollama_tags, read_ollama_version, recognise
from herd.protocols.untrusted import MAX_MODELS
from herd.types import BackendId, BackendKind, Bytes, ModelName

BACKEND = BackendId("ollama-11434")
TAGS = {
    "models": [
        {
            "name": "llama3.2:latest",
            "model": "llama3.2:latest",
            "modified_at": "2026-08-01T10:00:00.123456789+02:00",
            "size": 2019393189,
            "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
            "details": {"format": "gguf", "family": "llama", "families": None, "parameter_size": "3.2B"},
            "capabilities": ["completion", "tools"],
        },
        {"name": "nomic-embed-text:latest", "size": 274302450, "digest": "0a109f422b47", "details": {}},
    ]
}
RUNNING = {
    "name": "llama3.2:latest",
    "size": 3_400_000_000,
    "size_vram": 3_300_000_000,
    "digest": "a80c4f17",
    "expires_at": "2026-08-01T10:05:00+02:00",
    "context_length": 4096,
}


def test_the_models_on_ollamas_disk() -> None:
    llama, embed = read_ollama_tags(TAGS, BACKEND)
    assert llama == ModelInfo(
        name=ModelName("llama3.2:latest"),
        backend=BACKEND,
        size=Bytes(2019393189),
        digest="a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
        modified_at="2026-08-01T10:00:00.123456789+02:00",
        details={"format": "gguf", "family": "llama", "families": None, "parameter_size": "3.2B"},
        capabilities=("completion", "tools"),
    )
    assert (embed.name, embed.capabilities, embed.resident) == ("nomic-embed-text:latest", (), False)


def test_what_runs_is_resident_and_what_stops_is_no_longer() -> None:
    models = merge_ollama_ps(read_ollama_tags(TAGS, BACKEND), {"models": [RUNNING]}, BACKEND)
    assert [(model.name, model.resident) for model in models] == [
        ("llama3.2:latest", True),
        ("nomic-embed-text:latest", False),
    ]
    assert (models[0].size_resident, models[0].size_vram, models[0].context_length, models[0].expires_at) == (
        3_400_000_000,
        3_300_000_000,
        4096,
        "2026-08-01T10:05:00+02:00",
    )
    assert merge_ollama_ps(models, {"models": []}, BACKEND) == read_ollama_tags(TAGS, BACKEND)


def test_a_running_model_that_is_on_no_disk_is_added() -> None:
    (model,) = merge_ollama_ps((), {"models": [RUNNING]}, BACKEND)
    assert (model.name, model.resident, model.digest, model.size) == ("llama3.2:latest", True, "a80c4f17", 0)


def test_no_models_is_no_error() -> None:
    assert read_ollama_tags({"models": None}, BACKEND) == read_ollama_tags({"models": []}, BACKEND) == ()


def test_entries_that_make_no_sense_are_passed_over() -> None:
    odd = [
        None,
        1,
        {},
        {"name": ""},
        {"name": 5},
        {"name": "m", "size": -1, "digest": 7, "details": [], "capabilities": {}},
    ]
    (model,) = read_ollama_tags({"models": odd}, BACKEND)
    assert model == ModelInfo(name=ModelName("m"), backend=BACKEND)


def test_the_number_of_models_is_bounded() -> None:
    many = {"models": [{"name": f"m{number}"} for number in range(MAX_MODELS + 1)]}
    assert len(read_ollama_tags(many, BACKEND)) == MAX_MODELS


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"models": 1}, {"models": {}}])
def test_an_answer_of_another_shape_is_one_sentence(answer: Any) -> None:
    with pytest.raises(ProtocolError, match=r'^Ollama answered without a list of "models"$'):
        read_ollama_tags(answer, BACKEND)
    with pytest.raises(ProtocolError):
        merge_ollama_ps((), answer, BACKEND)


def test_the_version_of_ollama() -> None:
    assert read_ollama_version({"version": "0.33.0-rc2"}) == "0.33.0-rc2"
    nonsense: list[Any] = [None, {}, {"version": 1}, []]
    for answer in nonsense:
        with pytest.raises(ProtocolError, match="without a version"):
            read_ollama_version(answer)


OPENAI = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "someone"}]}


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"/api/version": {"version": "0.33.0"}, "/v1/models": {"object": "list", "data": None}}, BackendKind.OLLAMA),
        ({"/props": {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2}}, BackendKind.LLAMACPP),
        ({"/v1/models": {"data": [{"id": "m", "owned_by": "llamacpp"}]}}, BackendKind.LLAMACPP),
        (
            {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}, "/version": {"version": "0.16"}},
            BackendKind.VLLM,
        ),
        (
            {"/api/v0/models": {"data": [{"id": "m", "state": "not-loaded"}]}, "/v1/models": OPENAI},
            BackendKind.LMSTUDIO,
        ),
        ({"/v1/models": OPENAI}, BackendKind.OPENAI),
        ({"/v1/models": {"object": "list", "data": []}}, BackendKind.OPENAI),
        # llama-swap and LocalAI, which copy Ollama's path
        ({"/api/version": {"version": "1", "commit": "0bdb372"}, "/v1/models": OPENAI}, BackendKind.OPENAI),
        ({"/api/version": {"version": "3"}, "/version": {"version": "3"}, "/v1/models": OPENAI}, BackendKind.OPENAI),
    ],
)
def test_servers_are_told_apart_by_what_they_answer(answers: dict[str, Any], kind: BackendKind) -> None:
    assert recognise(answers) is kind


@given(
    st.dictionaries(
        st.sampled_from(PROBES),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["data", "models", "version", "state", "owned_by"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    )
)
@settings(max_examples=100)
def test_any_answers_give_a_kind_or_one_sentence(answers: dict[str, Any]) -> None:
    said = ""
    try:
        recognise(answers)
    except ProtocolError as error:
        said = str(error)
    assert said in {"", "no model server that Herd knows answers there"}
