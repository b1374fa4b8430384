"""Requests of Ollama's API as requests of OpenAI's."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from herd.errors import RequestError
from herd.protocols.keep_alive import unloads
from herd.protocols.translation.fields import Fields, checked, read_body, strings, written
from herd.protocols.translation.messages import chat_messages, content
from herd.protocols.translation.options import USAGE, response_format, sampling, thinking
from herd.protocols.translation.wanted import Wanted
from herd.types import Api, BackendKind

MAX_LOGPROBS = 20  # alternatives for each token that Ollama gives

_RAW = "raw mode does not support template, system, or context"
_TOOL = (dict, "api.Tool")


def read_asking(api: Api, kind: BackendKind, body: bytes) -> Wanted:
    """Translate a request.

    Args:
        api: one of Ollama's four.
        kind: the server that is asked.
        body: as the client wrote it.

    Raises:
        RequestError: in Ollama's words where it would refuse the request too, else saying what cannot be translated.
    """
    struct, translate = _FORMS[api]
    fields = read_body(body, struct)
    unload = unloads(fields.get("keep_alive"))  # servers that hold their models have no use for it but this
    return replace(translate(fields, kind), unload=unload)


def _chat(fields: Fields, kind: BackendKind) -> Wanted:
    model = _model(fields, RequestError("model is required"))
    alternatives = _logprobs(fields)
    messages = chat_messages(fields.get("messages", []), kind)
    if not messages:
        return Wanted(Api.OLLAMA_CHAT, model, Api.CHAT, None)
    asked = _chat_body(fields, kind, model, messages)
    if tools := fields.get("tools"):
        asked["tools"] = [{"type": "function", **checked(tool, _TOOL, "ChatRequest.tools")} for tool in tools]
        if kind is BackendKind.LLAMACPP:
            asked["parallel_tool_calls"] = True  # elsewhere that is the default, as it is at Ollama
    return _wanted(Api.OLLAMA_CHAT, Api.CHAT, model, asked, alternatives)


def _generate(fields: Fields, kind: BackendKind) -> Wanted:
    model = _model(fields, RequestError("model '' not found", status=404))
    alternatives = _logprobs(fields)
    prompt, raw, suffix = fields.get("prompt", ""), fields.get("raw", False), fields.get("suffix", "")
    images = strings(fields.get("images", []), "api.ImageData", "GenerateRequest.images")
    if raw and (fields.get("system") or fields.get("template") or fields.get("context")):
        raise RequestError(_RAW)
    if not prompt:
        return Wanted(Api.OLLAMA_GENERATE, model, Api.CHAT, None)
    for name in ("template", "context"):
        if fields.get(name):
            raise RequestError(f"{name}: the model server that has {model} takes none")
    if not raw and not suffix:
        system = fields.get("system")
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": content(prompt, images)})
        asked = _chat_body(fields, kind, model, messages)
        return _wanted(Api.OLLAMA_GENERATE, Api.CHAT, model, asked, alternatives)
    if images:
        raise RequestError("the model server takes images with a chat only, not with raw or suffix")
    if suffix and kind in {BackendKind.LLAMACPP, BackendKind.VLLM}:
        raise RequestError(f"{model} does not support insert")  # their completions know no suffix
    asked = {"model": model, "prompt": prompt, **sampling(fields.get("options", {}), kind)}
    asked |= {"suffix": suffix} if suffix else {}
    asked |= _shape(fields.get("format"), kind)
    asked["stream"] = fields.get("stream", True)
    asked |= USAGE if asked["stream"] else {}
    if alternatives is not None:
        asked["logprobs"] = max(1, alternatives)  # with 0 some give no probabilities at all
    return _wanted(Api.OLLAMA_GENERATE, Api.COMPLETIONS, model, asked, alternatives)


def _chat_body(fields: Fields, kind: BackendKind, model: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    streamed = fields.get("stream", True)
    asked = {"model": model, "messages": messages, "stream": streamed, **(USAGE if streamed else {})}
    asked |= sampling(fields.get("options", {}), kind)
    asked |= response_format(fields.get("format"), kind)
    asked |= thinking(fields.get("think"), kind)
    alternatives = _logprobs(fields)
    if alternatives is not None:
        asked |= {"logprobs": True, "top_logprobs": max(1, alternatives)}
    return asked


def _shape(value: Any, kind: BackendKind) -> dict[str, Any]:
    """What makes a completion JSON: OpenAI's own have nothing for it."""
    shape = response_format(value, kind)
    if not shape or kind is BackendKind.VLLM:
        return shape
    if kind is BackendKind.LLAMACPP:
        return {"json_schema": {"type": "object"} if value == "json" else value}
    raise RequestError("format: the model server takes it with a chat only, not with raw or suffix")


def _embed(fields: Fields, kind: BackendKind) -> Wanted:
    model = _model(fields, RequestError("model '' not found", status=404))
    given = fields.get("input")
    if isinstance(given, str):
        given = [given] if given else []
    if given is not None and not (isinstance(given, list) and all(isinstance(text, str) for text in given)):
        raise RequestError("invalid input type")
    asked: dict[str, Any] = {"model": model, "input": given, "encoding_format": "float"}
    if kind is BackendKind.VLLM and fields.get("truncate", True):
        asked["truncate_prompt_tokens"] = -1  # to what the model takes
    sampling(fields.get("options", {}), kind)  # none of it bears on vectors, but Ollama looks at it
    return Wanted(
        Api.OLLAMA_EMBED,
        model,
        Api.EMBEDDINGS,
        written(asked) if given else None,
        dimensions=max(0, fields.get("dimensions", 0)),
    )


def _embeddings(fields: Fields, kind: BackendKind) -> Wanted:
    model = _model(fields, RequestError("model is required"))
    prompt = fields.get("prompt", "")
    asked: dict[str, Any] = {"model": model, "input": [prompt], "encoding_format": "float"}
    if kind is BackendKind.LLAMACPP:
        asked["embd_normalize"] = -1  # as they come out of the model, which is what this old endpoint gives
    sampling(fields.get("options", {}), kind)
    return Wanted(
        Api.OLLAMA_EMBEDDINGS,
        model,
        Api.EMBEDDINGS,
        written(asked) if prompt else None,
        many=False,
    )


def _wanted(api: Api, path: Api, model: str, asked: dict[str, Any], logprobs: int | None) -> Wanted:
    return Wanted(api, model, path, written(asked), asked["stream"], logprobs)


def _model(fields: Fields, missing: RequestError) -> str:
    model: str = fields.get("model", "").strip()
    if not model:
        raise missing
    return model


def _logprobs(fields: Fields) -> int | None:
    alternatives: int = checked(fields.get("top_logprobs", 0), (int, "int"), "top_logprobs")
    if not 0 <= alternatives <= MAX_LOGPROBS:
        raise RequestError("top_logprobs must be between 0 and 20")
    return alternatives if fields.get("logprobs") else None


_FORMS: Mapping[Api, tuple[str, Callable[[Fields, BackendKind], Wanted]]] = {
    Api.OLLAMA_CHAT: ("api.ChatRequest", _chat),
    Api.OLLAMA_GENERATE: ("api.GenerateRequest", _generate),
    Api.OLLAMA_EMBED: ("api.EmbedRequest", _embed),
    Api.OLLAMA_EMBEDDINGS: ("api.EmbeddingRequest", _embeddings),
}
