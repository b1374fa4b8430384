"""Which model server answers on a port, and what Ollama says of itself.

Arguments are JSON as parsed. A field that is missing or of the wrong type counts as "the server does not say".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from herd.errors import ProtocolError
from herd.names import canonical
from herd.protocols.image_servers import LOCALAI, LOCALAI_MODELS, SDCPP, is_localai, is_sdcpp, makes_images
from herd.protocols.messages import ModelInfo
from herd.protocols.speech_servers import DESCRIPTION, HEALTH, has_openai_path, is_nameless, is_qwen_asr, is_whispercpp
from herd.protocols.untrusted import entries, mapping, number, text, texts
from herd.types import BackendId, BackendKind, Bytes, ModelName, Tokens

# What is asked of an unknown server, all by GET. None of it loads a model.
PROBES = (
    *("/api/version", "/props", "/v1/models", "/api/v0/models", "/version"),
    *(LOCALAI, LOCALAI_MODELS, SDCPP, HEALTH, DESCRIPTION),
)

_OWNERS = {
    "llamacpp": BackendKind.LLAMACPP,
    "vllm": BackendKind.VLLM,
    "mflux": BackendKind.MFLUX,
    "mlx-qwen3-asr": BackendKind.QWEN_ASR,
}


def recognise(answers: Mapping[str, Any]) -> BackendKind:
    """The kind of a server, from what it answers to `PROBES` (path -> JSON; only those that gave 200 and JSON), and the
    text of its page at `/`, if it was asked for that.

    The surest signs come first: other servers copy Ollama's paths, and all copy OpenAI's.

    Raises:
        ProtocolError: no sign of any of them, or of one that does nothing that can be asked for here.
    """
    if is_sdcpp(answers) and not makes_images(answers):
        raise ProtocolError("the model of this sd-server makes videos, and no images")
    if is_localai(answers) or is_sdcpp(answers):
        return BackendKind.OPENAI
    if mapping({"props": answers.get("/props")}, "props").get("default_generation_settings"):
        return BackendKind.LLAMACPP
    if any("state" in model for model in _data(answers.get("/api/v0/models"))):
        return BackendKind.LMSTUDIO
    models = answers.get("/v1/models")
    # The list of a tool that has no model says it by itself.
    owners = [text(each, "owned_by") for each in (*_data(models), mapping({"list": models}, "list"))]
    known = [_OWNERS[owner] for owner in owners if owner in _OWNERS]
    if known or is_qwen_asr(answers):
        return known[0] if known else BackendKind.QWEN_ASR
    # llama-swap has more than a version there, and LocalAI has one at /version too.
    version = answers.get("/api/version")
    if isinstance(version, dict) and version.keys() == {"version"} and answers.get("/version") is None:
        return BackendKind.OLLAMA
    if (isinstance(models, dict) and "data" in models) or is_nameless(answers):
        in_own_way = is_whispercpp(answers) and not has_openai_path(answers)
        return BackendKind.WHISPERCPP if in_own_way else BackendKind.OPENAI
    raise ProtocolError("no model server that Herd knows answers there")


def _data(answer: Any) -> list[dict[str, Any]]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return [model for model in data if isinstance(model, dict)] if isinstance(data, list) else []


def read_ollama_version(answer: Any) -> str:
    """The version in an answer of `GET /api/version`.

    Raises:
        ProtocolError: there is none.
    """
    version = text(answer, "version") if isinstance(answer, dict) else ""
    if not version:
        raise ProtocolError("Ollama answered without a version")
    return version


def read_ollama_tags(answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The models on Ollama's disk, from `GET /api/tags`.

    Raises:
        ProtocolError: the answer has no list of models.
    """
    return tuple(
        ModelInfo(
            name=ModelName(_name(item)),
            backend=backend,
            size=Bytes(number(item, "size")),
            digest=text(item, "digest"),
            modified_at=text(item, "modified_at"),
            details=mapping(item, "details"),
            capabilities=texts(item, "capabilities"),
        )
        for item in entries(answer, "models", "Ollama")
        if _name(item)
    )


def merge_ollama_ps(models: Sequence[ModelInfo], answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The same models with their residency, from `GET /api/ps`; a resident one that `models` lacks is added.

    Raises:
        ProtocolError: the answer has no list of models.
    """
    loaded = {canonical(_name(item)): item for item in entries(answer, "models", "Ollama") if _name(item)}
    merged = [_with_residency(model, loaded.pop(canonical(model.name), None)) for model in models]
    for item in loaded.values():
        unlisted = ModelInfo(
            name=ModelName(_name(item)), backend=backend, digest=text(item, "digest"), details=mapping(item, "details")
        )
        merged.append(_with_residency(unlisted, item))
    return tuple(merged)


def _with_residency(model: ModelInfo, item: dict[str, Any] | None) -> ModelInfo:
    if item is None:
        return replace(
            model,
            resident=False,
            size_resident=Bytes(0),
            size_vram=Bytes(0),
            context_length=Tokens(0),
            expires_at="",
        )
    return replace(
        model,
        resident=True,
        size_resident=Bytes(number(item, "size")),
        size_vram=Bytes(number(item, "size_vram")),
        context_length=Tokens(number(item, "context_length")),
        expires_at=text(item, "expires_at"),
    )


def _name(item: dict[str, Any]) -> str:
    return text(item, "name") or text(item, "model")
