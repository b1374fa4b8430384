"""The bodies of /api/chat and /api/generate, read."""

from dataclasses import replace
from typing import Any

from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface, Tool, Turn, Wishes, compose, model_name, positive
from herd.simulation.ollama.asks.fields import check_image, nested, read_fields, read_keep_alive, wrong_option
from herd.simulation.ollama.golang import encode, well_formed
from herd.types import Tokens

# Options of a runner beside num_ctx, and what Ollama takes where a request names none. What is chosen by Ollama itself
# (-1 layers on the GPU, or any number below 0) is forgiven on both sides, and so stands for none here.
_RUNNER_OPTIONS = {
    "num_batch": 512,
    "num_gpu": -1,
    "main_gpu": 0,
    "use_mmap": 1,
    "num_thread": 0,
    "draft_num_predict": 0,
    "shift": 1,  # a field of the request, not of its options; a runner that has another is reloaded all the same
}

# An option that no real server knows, which they would warn of and ignore: how long the simulation has the answer be. A
# router is not to know that before, and `num_predict` would tell it.
ANSWER_LENGTH = "simulated_length"

_RAW = "raw mode does not support template, system, or context"
_LEVELS = ("high", "medium", "low", "max")
_THINK = '(must be "high", "medium", "low", "max", true, or false)'

# JSON of any shape, as the schema of an answer that has to be some.
ANY_JSON: dict[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}}


def read_chat(body: bytes) -> Ask:
    """Understand a chat. Raises OllamaError."""
    fields = read_fields(body, Surface.CHAT.value)
    turns = [_turn(message) for message in fields.get("messages", ())]
    tools = tuple(read_tool(tool, "ChatRequest.tools", "api.Tool") for tool in fields.get("tools", ()))
    return compose(Surface.CHAT, model_name(fields), turns, _wishes(fields, tools))


def read_generate(body: bytes) -> Ask:
    """Understand a prompt. Raises OllamaError."""
    fields = read_fields(body, Surface.GENERATE.value)
    images = _images(fields.get("images", ()), "GenerateRequest.images")
    system, prompt = fields.get("system", ""), fields.get("prompt", "")
    turns = [Turn("user", prompt, images)] if prompt else []
    if system and turns:
        turns.insert(0, Turn("system", system))
    wishes = _wishes(fields, ())
    context = fields.get("context", ())
    if wishes.raw and (system or context or fields.get("template")):
        wishes = replace(wishes, refusal=OllamaError(400, _RAW))
    extra = [value for value in (fields.get("suffix"), fields.get("template"), str(context or "")) if value]
    return compose(Surface.GENERATE, model_name(fields), turns, wishes, extra)


def read_tool(value: Any, path: str, of: str) -> Tool:
    """A function as Ollama and OpenAI declare it: `{"type", "function": {"name", "description", "parameters"}}`."""
    fields = nested(value, path, "api.Tool", of)
    function = nested(fields.get("function") or {}, f"{path}.function", "api.ToolFunction", "api.ToolFunction")
    return Tool(function.get("name", ""), function.get("parameters"))


def read_tool_calls(calls: Any, path: str) -> str:
    """What an assistant called earlier, as text."""
    for call in calls:
        nested(call, path, "api.ToolCall", "api.ToolCall")
    return encode(calls).decode() if calls else ""


def check_top_logprobs(fields: dict[str, Any]) -> None:
    """Raises OllamaError when more are wanted than Ollama gives. None are given here."""
    if not 0 <= fields.get("top_logprobs", 0) <= 20:
        raise OllamaError(400, "top_logprobs must be between 0 and 20")


def read_context(options: dict[str, Any]) -> Tokens | None:
    """The context that a request wants its runner to have."""
    return positive(_number(options, "num_ctx"))


def read_runner_options(fields: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """Of what a runner is made with that which differs from Ollama's defaults."""
    given = {**fields.get("options", {}), "shift": fields.get("shift", True)}
    named = ((name, int(given[name])) for name in _RUNNER_OPTIONS if isinstance(given.get(name), int))
    return tuple(
        (name, value)
        for name, value in named
        if value != _RUNNER_OPTIONS[name] and not (name == "num_gpu" and value < 0)
    )


def _wishes(fields: dict[str, Any], tools: tuple[Tool, ...]) -> Wishes:
    check_top_logprobs(fields)
    options = fields.get("options", {})
    return Wishes(
        stream=fields.get("stream", True),
        tools=tools,
        think=_think(fields.get("think")),
        schema=_schema(fields.get("format")),
        raw=fields.get("raw", False),
        suffix=bool(fields.get("suffix")),
        num_predict=_length(options),
        seed=options.get("seed"),
        num_ctx=read_context(options),
        keep_alive=read_keep_alive(fields.get("keep_alive")),
        runner_options=read_runner_options(fields),
        refusal=wrong_option(options),
    )


def _turn(message: Any) -> Turn:
    path = "ChatRequest.messages"
    fields = nested(message, path, "api.Message", "api.Message")
    called = read_tool_calls(fields.get("tool_calls", ()), f"{path}.tool_calls")
    text = "".join((fields.get("thinking", ""), fields.get("content", ""), called))
    return Turn(fields.get("role", "").lower(), text, _images(fields.get("images", ()), f"{path}.images"))


def _images(images: Any, path: str) -> tuple[str, ...]:
    for image in images:
        check_image(image, path)
    return tuple(images)


def _think(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise OllamaError(400, f"think must be a boolean or string {_THINK.replace('must be ', '')}")
    if value not in _LEVELS:
        raise OllamaError(400, f'invalid think value: "{well_formed(value)}" {_THINK}')
    return True


def _schema(value: Any) -> Any:
    """Ollama takes "json", or a schema; what else it refuses later than it is worth telling here."""
    if value == "json":
        return ANY_JSON
    return value if isinstance(value, dict) else None


def _length(options: dict[str, Any]) -> Tokens | None:
    """How long the answer is to be: the client's limit, or what the simulation has in mind for it if that is less."""
    said = (positive(_number(options, name)) for name in ("num_predict", ANSWER_LENGTH))
    return min((length for length in said if length is not None), default=None)


def _number(options: dict[str, Any], name: str) -> float | None:
    """An option that is a number; one that is none is refused by `wrong_option`, at its time."""
    value = options.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
