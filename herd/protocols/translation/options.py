"""Ollama's `options`, `format` and `think`, in the words of each kind of model server.

Of OpenAI's own parameters every server knows some; beyond them each has its own:

    llama.cpp   https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
    vLLM        https://docs.vllm.ai/en/stable/serving/openai_compatible_server/ ("extra parameters")
    LM Studio   https://lmstudio.ai/docs/developer/openai-compat/chat-completions

What shapes a load (`num_ctx`, `num_batch`, `num_gpu`, ...) these servers were told when they were started: nothing in
a request changes it, and as Ollama does with options that it does not know, it is left out.
"""

from collections.abc import Mapping
from typing import Any

from herd.errors import RequestError
from herd.protocols.translation.fields import written
from herd.types import BackendKind

# Options by the word with which Ollama refuses a value of another type.
_TYPES: Mapping[str, tuple[type | tuple[type, ...], tuple[str, ...]]] = {
    "integer": (
        (int, float),
        (
            *("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu"),
            *("main_gpu", "num_thread", "draft_num_predict", "mirostat"),
        ),
    ),
    "float32": (
        (int, float),
        (
            *("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty"),
            *("frequency_penalty", "mirostat_tau", "mirostat_eta"),
        ),
    ),
    "boolean": (bool, ("use_mmap",)),
    "array": (list, ("stop",)),
}
_WORDS = {name: (word, fits) for word, (fits, names) in _TYPES.items() for name in names}

# Ollama's name of an option -> the server's.
_COMMON = {name: name for name in ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")}
_NAMES: Mapping[BackendKind, Mapping[str, str]] = {
    BackendKind.LLAMACPP: _COMMON
    | {"num_keep": "n_keep"}
    | {
        name: name
        for name in (
            *("top_k", "min_p", "typical_p", "repeat_last_n", "repeat_penalty"),
            *("mirostat", "mirostat_tau", "mirostat_eta"),
        )
    },
    BackendKind.VLLM: _COMMON | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    BackendKind.LMSTUDIO: _COMMON | {"top_k": "top_k", "repeat_penalty": "repeat_penalty"},
    BackendKind.OPENAI: _COMMON,
}

# The counts of a streamed answer come only when they are asked for.
USAGE = {"stream_options": {"include_usage": True}}

_LEVELS = ("high", "medium", "low", "max")


def sampling(options: Mapping[str, Any], kind: BackendKind) -> dict[str, Any]:
    """The parameters of a request that a server of this kind has for `options`.

    Raises:
        RequestError: 500 in Ollama's words, for a value of a wrong type.
    """
    for name, value in options.items():
        if name in _WORDS and value is not None:
            word, fits = _WORDS[name]
            if not isinstance(value, fits) or (type(value) is bool and word != "boolean"):
                raise RequestError(f'option "{name}" must be of type {word}', status=500)
    given = {name: _whole(name, value) for name, value in options.items() if value is not None}
    found = {theirs: given[ours] for ours, theirs in _NAMES[kind].items() if ours in given}
    if found.get("seed", 0) < 0:
        del found["seed"]  # to Ollama: a random one
    limit = given.get("num_predict", 0)
    return found | {"max_tokens": limit} if limit > 0 else found  # else until the model is done


def _whole(name: str, value: Any) -> Any:
    """Integers come as any JSON number, and Ollama cuts them."""
    if type(value) is not float or _WORDS.get(name, ("",))[0] != "integer":
        return value
    try:
        return int(value)
    except (OverflowError, ValueError):  # beyond a double, which JSON can write
        raise RequestError(f'option "{name}" must be of type integer', status=500) from None


def response_format(value: Any, kind: BackendKind) -> dict[str, Any]:
    """The parameter of a chat that makes the answer JSON, or JSON of a schema.

    Raises:
        RequestError: 400 in Ollama's words: it is neither "json" nor a schema.
    """
    if value is None or value == "":
        return {}
    if value == "json":
        if kind is not BackendKind.LMSTUDIO:
            return {"response_format": {"type": "json_object"}}
        value = {"type": "object"}  # LM Studio takes a schema only
    if type(value) is not dict:
        raise RequestError(f'invalid format: {written(value).decode()}; expected "json" or a valid JSON Schema object')
    named = {"name": "answer", "strict": True, "schema": value}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def tool_choice(name: str, kind: BackendKind) -> Any:
    """What makes the model call one function; LM Studio can only be told that some function is to be called."""
    return "required" if kind is BackendKind.LMSTUDIO else {"type": "function", "function": {"name": name}}


def thinking(value: Any, kind: BackendKind) -> dict[str, Any]:
    """The parameters of a chat that say whether, and how much, the model shall think.

    Chat templates have the switch under one of two names, and ignore the other. Where a server hands nothing on to the
    template, only levels can be asked for.

    Raises:
        RequestError: 400 in Ollama's words.
    """
    # Thoughts apart from the text, which is what Ollama does unasked.
    apart: dict[str, Any] = {"reasoning_format": "auto"} if kind is BackendKind.LLAMACPP else {}
    if value is None:
        return apart
    if not isinstance(value, bool | str):
        raise RequestError('think must be a boolean or string ("high", "medium", "low", "max", true, or false)')
    if isinstance(value, str) and value not in _LEVELS:
        raise RequestError(f'invalid think value: "{value}" (must be "high", "medium", "low", "max", true, or false)')
    level = {"max": "high"}.get(value, value) if isinstance(value, str) else None
    if kind not in {BackendKind.LLAMACPP, BackendKind.VLLM}:
        return {"reasoning_effort": level} if level else {}
    switches: dict[str, Any] = {"enable_thinking": bool(value), "thinking": bool(value)}
    if level and kind is BackendKind.LLAMACPP:
        switches["reasoning_effort"] = level
    asked = apart | {"chat_template_kwargs": switches}
    return asked | {"reasoning_effort": level} if level and kind is BackendKind.VLLM else asked
