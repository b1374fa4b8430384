"""Requests of Anthropic's messages API (https://docs.anthropic.com/en/api/messages) as OpenAI chats."""

from typing import Any

from herd.errors import RequestError
from herd.protocols.translation.fields import Fields, members, read_object, written
from herd.protocols.translation.messages import THOUGHTS
from herd.protocols.translation.options import USAGE, response_format, sampling, thinking, tool_choice
from herd.protocols.translation.wanted import Wanted
from herd.protocols.untrusted import text as _text
from herd.types import Api, BackendKind

_THINKING = {"enabled": True, "adaptive": True, "disabled": False}
# To Ollama's words, which `options.thinking` knows.
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}


def read_messages(kind: BackendKind, body: bytes) -> Wanted:
    """Translate a request for a message. Raises RequestError, 400."""
    fields = read_object(body)
    model = _model(fields)
    limit = fields.get("max_tokens")
    if type(limit) is not int or limit <= 0:
        raise RequestError("max_tokens is required and must be positive")
    streamed = fields.get("stream") is True
    asked = {"model": model, "messages": _conversation(fields, kind), "stream": streamed, "max_tokens": limit}
    asked |= USAGE if streamed else {}
    asked |= _sampling(fields, kind)
    asked |= _tools(fields, kind)
    asked |= thinking(_think(fields), kind)
    form = members(members(fields.get("output_config")).get("format")) or members(fields.get("output_format"))
    asked |= response_format(form.get("schema"), kind)
    return Wanted(Api.MESSAGES, model, Api.CHAT, written(asked), streamed)


def read_count(kind: BackendKind, body: bytes) -> Wanted:
    """Translate a request for the length of a prompt, for vLLM, which alone can say. Raises RequestError, 400."""
    fields = read_object(body)
    model = _model(fields)
    asked = {"model": model, "messages": _conversation(fields, kind)}
    if tools := _tools(fields, kind).get("tools"):
        asked["tools"] = tools
    return Wanted(Api.COUNT_TOKENS, model, "/tokenize", written(asked))


def _model(fields: Fields) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model.strip():
        raise RequestError("model is required")
    return model.strip()


def _sampling(fields: Fields, kind: BackendKind) -> dict[str, Any]:
    options: dict[str, Any] = {name: fields[name] for name in ("temperature", "top_p", "top_k") if name in fields}
    if stop := fields.get("stop_sequences"):
        options["stop"] = stop
    try:
        return sampling(options, kind)
    except RequestError as error:
        raise RequestError(str(error)) from None  # here a wrong type is the client's mistake


def _think(fields: Fields) -> bool | str | None:
    effort = members(fields.get("output_config")).get("effort")
    wanted = _THINKING.get(str(members(fields.get("thinking")).get("type")))
    if wanted is False or not isinstance(effort, str):
        return wanted
    return _EFFORTS.get(effort, wanted)


# --- Messages ---------------------------------------------------------------------------------------------------------


def _conversation(fields: Fields, kind: BackendKind) -> list[dict[str, Any]]:
    given = fields.get("messages")
    if not isinstance(given, list) or not given:
        raise RequestError("messages is required")
    said: list[dict[str, Any]] = []
    if system := "\n\n".join(text for text in _texts(fields.get("system"), "system") if text):
        said.append({"role": "system", "content": system})
    for index, message in enumerate(given):
        where = f"messages.{index}"
        if not isinstance(message, dict):
            raise RequestError(f"{where}: a message is an object")
        blocks = _blocks(message.get("content"), f"{where}.content")
        if message.get("role") == "assistant":
            said.append(_assistant(blocks, where, kind))
        elif message.get("role") in {"user", "system"}:
            said += _user(message["role"], blocks, where)
        else:
            raise RequestError(f'{where}.role: must be "user" or "assistant"')
    return said


def _assistant(blocks: list[Fields], where: str, kind: BackendKind) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(_text(block, "text"))
            case "thinking":
                thoughts.append(_text(block, "thinking"))
            case "tool_use":
                arguments = written(members(block.get("input"))).decode()
                function = {"name": _text(block, "name"), "arguments": arguments}
                calls.append({"id": _text(block, "id"), "type": "function", "function": function})
            case "redacted_thinking":
                pass  # nobody but who wrote it can read it
            case other:
                raise _unknown(where, other)
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        said |= dict.fromkeys(THOUGHTS.get(kind, ()), "".join(thoughts))
    return said | {"tool_calls": calls} if calls else said


def _user(role: str, blocks: list[Fields], where: str) -> list[dict[str, Any]]:
    """What tools said, each as a message of its own right after the call, and then what the user said."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if block.get("type") != "tool_result":
            parts.append(_part(block, where))
            continue
        shown = [_part(inner, where) for inner in _blocks(block.get("content") or "", f"{where}.content")]
        text = "\n".join(part["text"] for part in shown if part["type"] == "text")
        results.append({"role": "tool", "tool_call_id": _text(block, "tool_use_id"), "content": text})
        parts += [part for part in shown if part["type"] != "text"]  # a tool's message is text alone
    if results and not parts:
        return results
    if all(part["type"] == "text" for part in parts):
        return [*results, {"role": role, "content": "\n".join(part["text"] for part in parts)}]
    return [*results, {"role": role, "content": parts}]


def _part(block: Fields, where: str) -> dict[str, Any]:
    source = members(block.get("source"))
    match block.get("type"), source.get("type"):
        case "text", _:
            return {"type": "text", "text": _text(block, "text")}
        case "image", "base64":
            url = f"data:{_text(source, 'media_type')};base64,{_text(source, 'data')}"
            return {"type": "image_url", "image_url": {"url": url}}
        case "document", "text":
            return {"type": "text", "text": _text(source, "data")}
        case "image", other:
            # Whatever a client names, nobody here fetches it.
            raise RequestError(f"{where}: an image must be base64 data, not {other}")
        case other, _:
            raise _unknown(where, other)


def _blocks(content: Any, where: str) -> list[Fields]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise RequestError(f"{where}: must be a string or a list of blocks")
    return content


def _texts(content: Any, where: str) -> list[str]:
    return [_text(block, "text") for block in _blocks(content, where)] if content is not None else []


# --- Tools ------------------------------------------------------------------------------------------------------------

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def _tools(fields: Fields, kind: BackendKind) -> dict[str, Any]:
    given = fields.get("tools")
    if not given:
        return {}
    if not isinstance(given, list):
        raise RequestError("tools: must be a list")
    asked: dict[str, Any] = {"tools": [_tool(tool, f"tools.{index}") for index, tool in enumerate(given)]}
    choice = members(fields.get("tool_choice"))
    wanted = choice.get("type")
    if wanted == "tool":
        asked["tool_choice"] = tool_choice(_text(choice, "name"), kind)
    elif isinstance(wanted, str) and wanted in _CHOICES:
        asked["tool_choice"] = _CHOICES[wanted]
    if choice.get("disable_parallel_tool_use") is True:
        asked["parallel_tool_calls"] = False
    return asked


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise RequestError(f"{where}.name: a tool must have one")
    if tool.get("type") not in {None, "custom"}:
        kind = str(tool["type"])[:40]
        raise RequestError(f"{where}: the model server has no {kind}, only the client's own tools can be used")
    function = {"name": tool["name"], "parameters": members(tool.get("input_schema"))}
    if description := _text(tool, "description"):
        function["description"] = description
    return {"type": "function", "function": function}


def _unknown(where: str, kind: Any) -> RequestError:
    return RequestError(f"{where}: blocks of the type {str(kind)[:40]} cannot be translated for this model server")
