"""Requests of OpenAI's responses API (https://platform.openai.com/docs/api-reference/responses) as chats.

Nothing is kept from one request to the next, as Ollama and llama.cpp do it: each one brings its conversation along.
"""

from typing import Any

from herd.errors import RequestError
from herd.protocols.translation.fields import Fields, members, read_object, written
from herd.protocols.translation.messages import THOUGHTS
from herd.protocols.translation.options import USAGE, response_format, sampling, thinking, tool_choice
from herd.protocols.translation.wanted import Wanted
from herd.protocols.untrusted import text as _text
from herd.types import Api, BackendKind

_ECHOED = (
    *("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "reasoning", "temperature", "text"),
    *("tool_choice", "tools", "top_p"),
)
# To Ollama's words, which `options.thinking` knows.
_EFFORTS = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_STATE = ("previous_response_id", "conversation")


def read_responses(kind: BackendKind, body: bytes) -> Wanted:
    """Translate a request for a response. Raises RequestError, 400."""
    fields = read_object(body)
    model = fields.get("model")
    if not isinstance(model, str) or not model.strip():
        raise RequestError("model is required")
    for name in _STATE:
        if fields.get(name):
            raise RequestError(f"{name}: the model server keeps no responses, the whole conversation must be sent")
    streamed = fields.get("stream") is True
    asked = {"model": model.strip(), "messages": _conversation(fields, kind), "stream": streamed}
    asked |= USAGE if streamed else {}
    asked |= _sampling(fields, kind)
    asked |= _tools(fields, kind)
    asked |= _format(fields, kind)
    effort = members(fields.get("reasoning")).get("effort")
    asked |= thinking(_EFFORTS.get(effort) if isinstance(effort, str) else None, kind)
    echoed = {name: fields[name] for name in _ECHOED if name in fields}
    written({"response": echoed})  # as deep as each event will have it
    return Wanted(Api.RESPONSES, model.strip(), Api.CHAT, written(asked), streamed, echoed=echoed)


def _sampling(fields: Fields, kind: BackendKind) -> dict[str, Any]:
    options: dict[str, Any] = {name: fields[name] for name in ("temperature", "top_p") if name in fields}
    if (limit := fields.get("max_output_tokens")) is not None:
        options["num_predict"] = limit
    try:
        return sampling(options, kind)
    except RequestError as error:
        raise RequestError(str(error).replace("num_predict", "max_output_tokens")) from None


def _format(fields: Fields, kind: BackendKind) -> dict[str, Any]:
    form = members(members(fields.get("text")).get("format"))
    match form.get("type"):
        case "json_schema":
            return response_format(members(form.get("schema")), kind)
        case "json_object":
            return response_format("json", kind)
    return {}


# --- Input ------------------------------------------------------------------------------------------------------------


def _conversation(fields: Fields, kind: BackendKind) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    if instructions := _text(fields, "instructions"):
        said.append({"role": "system", "content": instructions})
    given = fields.get("input")
    if isinstance(given, str):
        return [*said, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise RequestError("input is required: a string, or a list of items")
    thoughts = ""
    for index, item in enumerate(given):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise RequestError(f"{where}: invalid input item")
        match item.get("type") or ("message" if "role" in item else ""):
            case "message":
                _say(said, item, where)
            case "function_call":
                _call(said, item)
            case "function_call_output":
                output = "".join(part["text"] for part in _parts(item.get("output"), where) if part["type"] == "text")
                said.append({"role": "tool", "tool_call_id": _text(item, "call_id"), "content": output})
            case "reasoning":
                thoughts = _thoughts(item)
                continue
            case other:
                raise RequestError(f'{where}: unknown input item type: "{str(other)[:40]}"')
        if thoughts and said[-1]["role"] == "assistant":
            said[-1] |= dict.fromkeys(THOUGHTS.get(kind, ()), thoughts)
        thoughts = ""
    return said


def _say(said: list[dict[str, Any]], item: Fields, where: str) -> None:
    role = {"developer": "system"}.get(_text(item, "role"), _text(item, "role"))
    if role not in {"user", "system", "assistant"}:
        raise RequestError(f"{where}.role: must be user, assistant, system or developer")
    parts = _parts(item.get("content"), where)
    if all(part["type"] == "text" for part in parts):
        said.append({"role": role, "content": "".join(part["text"] for part in parts)})
    else:
        said.append({"role": role, "content": parts})


def _call(said: list[dict[str, Any]], item: Fields) -> None:
    """A call belongs to what the model said right before it."""
    if not said or said[-1]["role"] != "assistant":
        said.append({"role": "assistant", "content": ""})
    function = {"name": _text(item, "name"), "arguments": _text(item, "arguments") or "{}"}
    call = {"id": _text(item, "call_id"), "type": "function", "function": function}
    said[-1].setdefault("tool_calls", []).append(call)


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise RequestError(f"{where}: the content must be a string or a list of parts")
    return [_part(part, where) for part in content]


def _part(part: Fields, where: str) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": _text(part, "text")}
        case "refusal":
            return {"type": "text", "text": _text(part, "refusal")}
        case "input_image":
            url = _text(part, "image_url")
            if not url.startswith("data:"):  # whatever a client names, nobody here fetches it
                raise RequestError(f"{where}: an image must be a data: URI")
            return {"type": "image_url", "image_url": {"url": url}}
        case other:
            raise RequestError(
                f"{where}: parts of the type {str(other)[:40]} cannot be translated for this model server"
            )


def _thoughts(item: Fields) -> str:
    given = item.get("content") or item.get("summary")
    return "\n".join(_text(part, "text") for part in given if isinstance(part, dict)) if isinstance(given, list) else ""


# --- Tools ------------------------------------------------------------------------------------------------------------


def _tools(fields: Fields, kind: BackendKind) -> dict[str, Any]:
    """The client's own functions. Of tools that OpenAI runs itself the model does not hear: nobody runs them here."""
    given = fields.get("tools")
    functions = [tool for tool in given if members(tool).get("type") == "function"] if isinstance(given, list) else []
    if not functions:
        return {}
    asked: dict[str, Any] = {"tools": [_tool(tool) for tool in functions]}
    choice = fields.get("tool_choice")
    if isinstance(choice, str):
        asked["tool_choice"] = choice
    elif members(choice).get("type") == "function":
        asked["tool_choice"] = tool_choice(_text(members(choice), "name"), kind)
    if isinstance(fields.get("parallel_tool_calls"), bool):
        asked["parallel_tool_calls"] = fields["parallel_tool_calls"]
    return asked


def _tool(tool: Fields) -> dict[str, Any]:
    function = {"name": _text(tool, "name"), "parameters": members(tool.get("parameters"))}
    if description := _text(tool, "description"):
        function["description"] = description
    return {"type": "function", "function": function}
