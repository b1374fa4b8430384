"""Taking values out of JSON that some server sent: the wrong shape gives a default, or one sentence."""

from collections.abc import Iterator
from typing import Any

import orjson

from herd.errors import ProtocolError
from herd.names import MAX_NAME

# Models read of one list. A heartbeat names every model; at some 300 bytes each this keeps it near half a MiB.
MAX_MODELS = 2000
MAX_MODEL_NAME = MAX_NAME
# Far more than a machine has slots for; each takes some 200 bytes of a heartbeat.
MAX_GPUS = 64
MAX_INT = 2**63 - 1  # what the link's integers and a client's hold


def json_object(data: bytes) -> dict[str, Any]:
    """The object in JSON; an empty one where that is something else, or no JSON."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def entries(answer: Any, key: str, server: str) -> Iterator[dict[str, Any]]:
    """The objects in the list `answer[key]`, at most `MAX_MODELS`; a null list is empty, other items are passed over.

    Raises:
        ProtocolError: there is no such list; the sentence names `server`.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get(key, ""), list | None):
        raise ProtocolError(f'{server} answered without a list of "{key}"')
    listed = answer[key] or []
    yield from (item for item in listed[:MAX_MODELS] if isinstance(item, dict))


def text(holder: dict[str, Any], key: str) -> str:
    """A string, or an empty one."""
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def number(holder: dict[str, Any], key: str) -> int:
    """A count or a size, or 0."""
    value = holder.get(key)
    return value if type(value) is int and 0 <= value <= MAX_INT else 0


def mapping(holder: dict[str, Any], key: str) -> dict[str, Any]:
    """An object, or an empty one."""
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def texts(holder: dict[str, Any], key: str) -> tuple[str, ...]:
    """The strings of a list that are not empty."""
    value = holder.get(key)
    return tuple(item for item in value if isinstance(item, str) and item) if isinstance(value, list) else ()


def shown(text: str) -> str:
    """`text` on one line, with control characters shown and not obeyed."""
    if text.isprintable():  # nearly every one, and each line of the log comes here
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
