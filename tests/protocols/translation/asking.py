"""Requests of Ollama's API, translated: what the model server gets."""

from typing import Any

import orjson

from herd.protocols.translation import StandIn, standin
from herd.types import Api, BackendKind

HELLO = [{"role": "user", "content": "Hello"}]
CHAT, GENERATE = Api.OLLAMA_CHAT, Api.OLLAMA_GENERATE


def translated(api: Api, fields: dict[str, Any], kind: BackendKind = BackendKind.OPENAI) -> StandIn:
    return standin(api, kind, orjson.dumps({"model": "m", **fields}))


def asked(api: Api, fields: dict[str, Any], kind: BackendKind = BackendKind.OPENAI) -> dict[str, Any]:
    """The body that a server of this kind gets, without what every request has."""
    body: dict[str, Any] = orjson.loads(translated(api, fields, kind).wanted.body or b"null")
    return {key: value for key, value in body.items() if key not in {"model", "stream", "stream_options"}}


def chat(kind: BackendKind = BackendKind.OPENAI, **fields: Any) -> dict[str, Any]:
    """What a chat with these fields beside its messages has beside them."""
    body = asked(CHAT, {"messages": HELLO, **fields}, kind)
    del body["messages"]
    return body


def messages(*messages: Any, kind: BackendKind = BackendKind.OPENAI) -> list[Any]:
    """A chat's messages, translated."""
    found: list[Any] = asked(CHAT, {"messages": messages}, kind)["messages"]
    return found
