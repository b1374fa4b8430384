"""Headers as they came off the wire, for layers that do not know aiohttp's types."""

from collections.abc import Iterable

from herd.actors.ports import Headers


def plain_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Names and values as text, in order and in the sender's spelling.

    Headers are ASCII by RFC 9110; UTF-8 is what senders who disobey mean, and anything else cannot be passed on.
    """
    return tuple((name.decode("utf-8", "replace"), value.decode("utf-8", "replace")) for name, value in raw)
