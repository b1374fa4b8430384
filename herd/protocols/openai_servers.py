"""What model servers other than Ollama say of themselves: llama.cpp, vLLM, LM Studio, and whoever lists `/v1/models`.

A name is kept as listed, also where it is the path of a file: llama.cpp without an alias lists that.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from herd.errors import ProtocolError
from herd.protocols.messages import ModelInfo
from herd.protocols.untrusted import entries, mapping, number, text, texts
from herd.types import BackendId, Bytes, Capability, ModelName, Tokens

_NOT_LOADED = frozenset(("unloaded", "sleeping", "loading", "downloading"))  # llama.cpp with several models
_CAPABILITIES = frozenset(Capability)
# llama.cpp's words beside Ollama's.
_LLAMACPP_CAPABILITIES = {"multimodal": Capability.VISION}
# LM Studio lets every language model use tools: where a model has no format for them it has a general one.
_LMSTUDIO_CAPABILITIES = {
    "llm": (Capability.COMPLETION, Capability.TOOLS),
    "vlm": (Capability.COMPLETION, Capability.TOOLS, Capability.VISION),
    "embeddings": (Capability.EMBEDDING,),
}


@dataclass(frozen=True, slots=True)
class Props:
    """What a llama.cpp server says of itself: requests it runs at once, and what its model can do."""

    slots: int
    capabilities: tuple[str, ...] = ()


def read_llamacpp_props(answer: Any, refusal: Any = None) -> Props:
    """Read `GET /props`.

    Args:
        answer: to that.
        refusal: the answer to `POST /v1/embeddings` without an input, which a server that makes vectors misses; one
            that was started without `--embeddings` says that. It lists neither.

    Raises:
        ProtocolError: the answer is not an object.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the llama.cpp server answered without properties")
    modalities = mapping(answer, "modalities")
    tools = mapping(answer, "chat_template_caps").get("supports_tools") is True
    found = {
        Capability.TOOLS: tools,
        Capability.VISION: modalities.get("vision") is True,
        Capability.EMBEDDING: _misses_input(refusal),
        Capability.AUDIO: modalities.get("audio") is True,
    }
    return Props(number(answer, "total_slots"), tuple(name for name, has in found.items() if has))


def _misses_input(refusal: Any) -> bool:
    said = mapping(refusal, "error") if isinstance(refusal, dict) else {}
    return '"input"' in text(said, "message")


def read_openai_models(
    answer: Any, backend: BackendId, props: Props | None = None, capabilities: tuple[str, ...] = ()
) -> tuple[ModelInfo, ...]:
    """The models that a server lists at `GET /v1/models`; those of which it says nothing have these `capabilities`.

    They count as resident unless llama.cpp says otherwise: such servers hold what they serve. llama.cpp names the
    abilities of a model only in part, `props` has the rest.

    Raises:
        ProtocolError: the answer has no list of models.
    """
    described = {text(item, "name"): item for item in _described(answer)}
    more = props.capabilities if props else ()
    return tuple(
        _openai_model(item, described.get(text(item, "id"), {}), backend, more, capabilities)
        for item in entries(answer, "data", "the model server")
        if text(item, "id")
    )


def _described(answer: Any) -> Iterable[dict[str, Any]]:
    """llama.cpp's second list, in Ollama's words."""
    return entries(answer, "models", "llama.cpp") if isinstance(answer, dict) and "models" in answer else ()


def _openai_model(
    item: dict[str, Any],
    described: dict[str, Any],
    backend: BackendId,
    more: tuple[str, ...],
    default: tuple[str, ...],
) -> ModelInfo:
    meta = mapping(item, "meta")
    size = Bytes(number(meta, "size"))
    status = mapping(item, "status")
    resident = text(status, "value") not in _NOT_LOADED
    stated = [_LLAMACPP_CAPABILITIES.get(word, word) for word in texts(described, "capabilities")]
    known = {
        "format": text(mapping(described, "details"), "format"),
        "parameter_size": _parameter_size(number(meta, "n_params")),
        "quantization_level": text(meta, "ftype"),
    }
    context = number(meta, "n_ctx") or number(item, "max_model_len")
    return ModelInfo(
        name=ModelName(text(item, "id")),
        backend=backend,
        size=size,
        details={key: value for key, value in known.items() if value},
        capabilities=tuple(dict.fromkeys((*stated, *more))) if stated else _own_words(item) or default,
        resident=resident,
        size_resident=size if resident else Bytes(0),
        context_length=Tokens(context if resident else 0),
        step=number(status, "step"),
        steps=number(status, "steps"),
    )


def _own_words(item: dict[str, Any]) -> tuple[str, ...]:
    """What a server says of a model within OpenAI's list, where that is in Ollama's words."""
    return tuple(word for word in texts(item, "capabilities") if word in _CAPABILITIES)


def _parameter_size(count: int) -> str:
    """A number of weights as Ollama writes it: `134.52M`, `8.0B`."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.2f}M" if count else ""


def read_lmstudio_models(answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The models on LM Studio's disk, and which are loaded, from its own `GET /api/v0/models`.

    Raises:
        ProtocolError: the answer has no list of models.
    """
    return tuple(_lmstudio_model(item, backend) for item in entries(answer, "data", "LM Studio") if text(item, "id"))


def _lmstudio_model(item: dict[str, Any], backend: BackendId) -> ModelInfo:
    resident = text(item, "state") == "loaded"
    known = {
        "format": text(item, "compatibility_type"),
        "family": text(item, "arch"),
        "quantization_level": text(item, "quantization"),
    }
    context = number(item, "loaded_context_length") or number(item, "max_context_length")
    return ModelInfo(
        name=ModelName(text(item, "id")),
        backend=backend,
        details={key: value for key, value in known.items() if value},
        capabilities=_LMSTUDIO_CAPABILITIES.get(text(item, "type"), ()),
        resident=resident,
        context_length=Tokens(context if resident else 0),
    )
