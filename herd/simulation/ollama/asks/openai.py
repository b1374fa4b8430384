"""The bodies of /v1/chat/completions, /v1/completions and /v1/responses, read."""

from typing import Any

from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface, Tool, Turn, Wishes, compose, model_name, positive
from herd.simulation.ollama.asks.fields import nested, read_fields
from herd.simulation.ollama.asks.native import ANY_JSON, check_top_logprobs, read_tool, read_tool_calls
from herd.simulation.ollama.golang import kind, lowered, well_formed

# An empty body reaches the decoder of these endpoints, which says so in its own way.
EMPTY = "EOF"

_INVALID = OllamaError(400, "invalid message format")
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "ultra", "max")
_NOT_INLINE = "image URLs are not currently supported, please use base64 encoded data instead"

# Kinds of image that a data: URI may say it is.
_IMAGE_KINDS = ("image/jpeg", "image/jpg", "image/png", "image/webp", "")


def read_chat_completion(body: bytes) -> Ask:
    """Understand a chat. Raises OllamaError."""
    fields = read_fields(body, Surface.OPENAI.value, empty=EMPTY)
    check_top_logprobs(fields)
    messages = fields.get("messages", ())
    if not messages:
        raise OllamaError(400, "[] is too short - 'messages'")
    path = "ChatCompletionRequest.messages"
    wishes = Wishes(
        stream=fields.get("stream", False),
        tools=tuple(read_tool(tool, "ChatCompletionRequest.tools", "api.Tool") for tool in fields.get("tools", ())),
        think=_think(fields.get("reasoning_effort") or lowered(fields.get("reasoning", {})).get("effort")),
        schema=_schema(fields.get("response_format", {})),
        include_usage=_include_usage(fields),
        num_predict=positive(fields.get("max_tokens")),
        seed=fields.get("seed"),
    )
    return compose(Surface.OPENAI, model_name(fields), [_turn(message, path) for message in messages], wishes)


def read_completion(body: bytes) -> Ask:
    """Understand a prompt. Raises OllamaError."""
    fields = read_fields(body, Surface.COMPLETIONS.value, empty=EMPTY)
    prompt, suffix = fields.get("prompt", ""), fields.get("suffix", "")
    wishes = Wishes(
        stream=fields.get("stream", False),
        suffix=bool(suffix),
        include_usage=_include_usage(fields),
        num_predict=positive(fields.get("max_tokens")),
        seed=fields.get("seed"),
    )
    turns = [Turn("user", prompt)] if prompt else []
    return compose(Surface.COMPLETIONS, model_name(fields), turns, wishes, [suffix] if suffix else [])


def read_response(body: bytes) -> Ask:
    """Understand a request for a response. Raises OllamaError."""
    fields = read_fields(body, Surface.RESPONSES.value, empty=EMPTY)
    turns = _input(fields.get("input"))
    if instructions := fields.get("instructions", ""):
        turns.insert(0, Turn("system", instructions))
    form = lowered(fields.get("text", {})).get("format")
    wishes = Wishes(
        stream=fields.get("stream", False),
        tools=tuple(_flat_tool(tool) for tool in fields.get("tools", ()) if _is_function(tool)),
        think=_think(lowered(fields.get("reasoning", {})).get("effort")),
        schema=form.get("schema") if isinstance(form, dict) and form.get("type") == "json_schema" else None,
        num_predict=positive(fields.get("max_output_tokens")),
        exact=False,
    )
    return compose(Surface.RESPONSES, model_name(fields), turns, wishes)


def _turn(message: Any, path: str) -> Turn:
    fields = nested(message, path, "openai.Message", "openai.Message")
    text, images = _content(fields.get("content"))
    text = "".join((fields.get("reasoning", ""), text, read_tool_calls(fields.get("tool_calls", ()), path)))
    return Turn(fields.get("role", "").lower(), text, images)


def _content(content: Any) -> tuple[str, tuple[str, ...]]:
    """The text of a message, and its images; content is a string, or parts, or nothing."""
    if content is None or isinstance(content, str):
        return content or "", ()
    if not isinstance(content, list):
        raise _INVALID
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        if not isinstance(part, dict):
            raise _INVALID
        match part:
            case {"text": str(text)}:
                texts.append(text)
            case {"type": "image_url" | "input_image"}:
                images.append(_image(part.get("image_url")))
            case {"type": "input_audio"}:
                images.append(_audio(part.get("input_audio")))
            case _:
                raise _INVALID
    return "".join(texts), tuple(images)


def _image(image: Any) -> str:
    """The base64 of an image that is sent inline."""
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise _INVALID
    if url.startswith(("http://", "https://")):
        raise OllamaError(400, _NOT_INLINE)
    kind, found, data = url.removeprefix("data:").partition(";base64,")
    if not url.startswith("data:") or not found or kind not in _IMAGE_KINDS:
        raise OllamaError(400, "invalid image input")
    return data


def _audio(audio: Any) -> str:
    """The base64 of a sound. Ollama carries it where images are."""
    data = audio.get("data") if isinstance(audio, dict) else None
    if not isinstance(data, str):
        raise _INVALID
    return data


def _input(value: Any) -> list[Turn]:
    """The conversation of a response: a text, or items."""
    if isinstance(value, str):
        return [Turn("user", value)] if value else []
    if value is None:
        return []
    if not isinstance(value, list):
        wrong = f"json: cannot unmarshal {kind(value)} into Go value of type []json.RawMessage"
        raise OllamaError(400, f"input must be a string or array: {wrong}")
    return [turn for index, item in enumerate(value) for turn in _item(index, item)]


def _item(index: int, item: Any) -> list[Turn]:
    if not isinstance(item, dict):
        raise OllamaError(400, f"input[{index}]: invalid input item")
    of = item.get("type") or ("message" if "role" in item else "")
    match of:
        case "message":
            text, images = _content(item.get("content"))
            return [Turn(str(item.get("role", "")).lower(), text, images)]
        case "function_call":
            return [Turn("assistant", f"{item.get('name')}({item.get('arguments')})")]
        case "function_call_output":
            output = item.get("output")
            return [Turn("tool", output if isinstance(output, str) else _content(output)[0])]
        case "reasoning" | "web_search_call":
            return []
        case _:
            raise OllamaError(400, f'input[{index}]: unknown input item type: "{well_formed(str(of))}"')


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function"


def _flat_tool(tool: dict[str, Any]) -> Tool:
    """A function as the responses API declares it: its name and parameters stand beside its type."""
    return Tool(str(tool.get("name", "")), tool.get("parameters"))


def _think(effort: Any) -> bool | None:
    if effort is None or effort == "":
        return None
    if effort == "none":
        return False
    if effort not in _EFFORTS:
        wanted = ", ".join(f'"{level}"' for level in _EFFORTS)
        raise OllamaError(400, f"invalid reasoning value: '{well_formed(str(effort))}' (must be {wanted}, or \"none\")")
    return True


def _schema(form: dict[str, Any]) -> Any:
    match form.get("type"):
        case "json_object":
            return ANY_JSON
        case "json_schema":
            named = form.get("json_schema")
            return named.get("schema") if isinstance(named, dict) else None
        case _:
            return None


def _include_usage(fields: dict[str, Any]) -> bool:
    return fields.get("stream_options", {}).get("include_usage") is True
