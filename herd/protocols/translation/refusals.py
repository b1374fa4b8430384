"""What model servers say when they refuse a request, in the forms they have for it, as one sentence.

OpenAI, vLLM, llama.cpp  {"error": {"message": ..., "type": ..., "code": ...}}
LM Studio                {"error": "..."}, and the form above
sd-server                {"error": "...", "message": "..."}, without the message where the error says it all
vLLM, until 2025         {"object": "error", "message": ..., "code": ...}
FastAPI's own            {"detail": "..."} or {"detail": [{"loc": [...], "msg": ...}]}
faster-whisper-server    {"detail": {"error": {"message": ...}}}
"""

from typing import Any

import orjson

from herd.protocols.refusals import not_found
from herd.protocols.untrusted import mapping, text
from herd.types import Api

MAX_TEXT = 2000  # characters: a validation error of vLLM's lists every alternative that it tried

NOT_FOUND = 404
_UNPROCESSABLE = 422  # what is a 400 elsewhere
NOT_IMPLEMENTED = 501


def refusal_text(value: dict[str, Any]) -> str | None:
    """The sentence in an error of any of the forms; None when `value` is none."""
    error = value.get("error")
    if isinstance(error, dict):
        return (text(error, "message") or "the model server failed")[:MAX_TEXT]
    if isinstance(error, str) and error:
        return (text(value, "message") or error)[:MAX_TEXT]
    if value.get("object") == "error":
        return (text(value, "message") or "the model server failed")[:MAX_TEXT]
    return None


def refused(api: Api, model: str, status: int, body: bytes) -> tuple[int, str]:
    """Status and text with which Ollama's API tells of a refusal.

    Args:
        api: what the client asked for.
        model: by the name that the server was asked for.
        status: of the server's answer, not 200.
        body: of it, or its beginning.
    """
    said = sentence(body)
    if status == NOT_FOUND:
        if "model" not in said.lower():  # it is the endpoint that is not there
            return NOT_IMPLEMENTED, f"the model server that has {model} does not serve this"
        return status, not_found(api, model)
    if status == _UNPROCESSABLE:
        status = 400
    if status < 400:  # a redirect, or a 204: whatever it is, it is no answer
        return 502, f"the model server answered {status}"
    return status, said or f"the model server answered {status}"


def sentence(body: bytes) -> str:
    """What a body says went wrong; empty when it says nothing of the kind."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""  # a page of HTML is nothing for a person who reads JSON
    if not isinstance(value, dict):
        return ""
    if (said := refusal_text(value)) is not None:
        return said
    detail = value.get("detail")
    if isinstance(detail, list):
        return "; ".join(text(item, "msg") for item in detail if isinstance(item, dict))[:MAX_TEXT]
    inner = mapping(value, "detail")
    said = text(value, "detail") or text(value, "message") or text(inner, "message")
    return (said or text(mapping(inner, "error"), "message"))[:MAX_TEXT]
