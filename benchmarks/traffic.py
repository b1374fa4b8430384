"""What is asked and what is answered, in Ollama's language: known to both ends, so that every byte can be checked."""

import json
from functools import lru_cache
from typing import Any

MODEL = "llama3.2:3b-instruct-q4_K_M"  # as long as real names are: a line of a token has about 150 bytes

_AT = "2026-01-01T00:00:00.000000Z"
_SUMS = {
    "done_reason": "stop",
    "total_duration": 4_883_583_458,
    "load_duration": 1_334_875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342_546_000,
    "eval_duration": 4_535_599_000,
}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _post(body: bytes) -> bytes:
    head = (
        f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def _chat(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    return _post(_json({"model": MODEL, "messages": messages, **fields}))


def _line(content: str, **more: Any) -> bytes:
    message = {"role": "assistant", "content": content}
    return _json({"model": MODEL, "created_at": _AT, "message": message, "done": bool(more), **more})


# A small chat that is answered whole.
SMALL_REQUEST = _chat(stream=False)
SMALL_ANSWER = _line("Rayleigh scattering.", **_SUMS, eval_count=6)


def small_request(key: str = "") -> bytes:
    """The small chat, with a key where there is one."""
    host = b"Host: localhost\r\n"
    return SMALL_REQUEST.replace(host, host + f"x-api-key: {key}\r\n".encode()) if key else SMALL_REQUEST


TAGS = {"name": MODEL, "model": MODEL, "size": 2_019_393_189, "digest": "a80c4f17acd5", "details": {"family": "llama"}}

# What an agent asks an Ollama for, and what this one says. Its model stays loaded.
LISTS = {
    b"/api/version": _json({"version": "0.12.0"}),
    b"/api/tags": _json({"models": [TAGS | {"modified_at": _AT}]}),
    b"/api/ps": _json({"models": [TAGS | {"expires_at": "2318-01-01T00:00:00Z", "size_vram": 0}]}),
}


def stream_request(tokens: int, rate: float) -> bytes:
    """A chat that is answered as a stream of so many tokens, `rate` a second; 0 is as fast as it goes.

    The pace travels in an option that no program on the way knows, and that every one of them must let through.
    """
    return _chat(stream=True, options={"num_predict": tokens, "tokens_per_second": rate})


@lru_cache
def stream_lines(tokens: int) -> tuple[bytes, ...]:
    """The lines of that stream: one for each token, all of one length, and one with the sums."""
    lines = [_line(f" {number:07d}") + b"\n" for number in range(tokens)]
    return (*lines, _line("", **_SUMS, eval_count=tokens) + b"\n")


@lru_cache
def stream_body(tokens: int) -> bytes:
    """All of that stream."""
    return b"".join(stream_lines(tokens))


@lru_cache
def stream_chunks(tokens: int) -> tuple[bytes, ...]:
    """The same as HTTP chunks, one a line, as Ollama sends them; the last one carries the end of the body too."""
    chunks = [b"%x\r\n%s\r\n" % (len(line), line) for line in stream_lines(tokens)]
    return (*chunks[:-1], chunks[-1] + b"0\r\n\r\n")
