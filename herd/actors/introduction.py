"""What an unknown server answers when it is asked who it is."""

import asyncio
from contextlib import suppress
from typing import Any

from herd.actors.ports import ModelServers
from herd.errors import ProtocolError, StreamFailed
from herd.protocols.messages import RequestHead
from herd.protocols.servers import PROBES
from herd.protocols.speech_servers import DESCRIPTION, HEALTH, MODELS, PAGE
from herd.types import BackendId, KiB, RequestId, Seconds

# whisper.cpp's page has 3 KiB, and says its name in the first of them.
MOST_OF_A_PAGE = 16 * KiB

_LOCKED = (401, 403)


async def introduction(http: ModelServers, base_url: str, timeout: Seconds) -> dict[str, Any]:
    """What the server at `base_url` answers, as `servers.recognise` reads it.

    Args:
        http: the HTTP client.
        base_url: of the server.
        timeout: of each question.

    Raises:
        StreamFailed: it does not answer.
        ProtocolError: it wants a key that nobody has told.
    """
    answers: dict[str, Any] = {}
    locked = False
    for path in PROBES:
        # A description may be too long, or take too long: then what is known of its kind has to do.
        with suppress(*((StreamFailed,) if path == DESCRIPTION else ())):
            status, value = await http.fetch(base_url + path, timeout=timeout)
            locked |= status in _LOCKED and path == MODELS
            if status == 200 and value is not None:
                answers[path] = value
    if locked:
        raise ProtocolError(
            "the model server wants a key, and not the one that it is shown: put it into the server's URL, "
            "--backend-url http://:KEY@HOST:PORT"
        )
    if HEALTH in answers and answers.keys().isdisjoint((MODELS, DESCRIPTION)):  # some have a page only
        answers[PAGE] = await _page(http, base_url, timeout)
    return answers


async def _page(http: ModelServers, base_url: str, timeout: Seconds) -> str:
    """The beginning of the server's page for browsers. Raises StreamFailed."""
    head = RequestHead(RequestId(""), BackendId(""), "GET", PAGE)
    page = bytearray()
    try:
        async with asyncio.timeout(timeout):
            answer = await http.exchange(base_url, head, None)
            try:
                while len(page) < MOST_OF_A_PAGE and (data := await answer.read()):
                    page += data
            finally:
                answer.close()
    except TimeoutError as error:
        raise StreamFailed("the model server does not answer") from error
    return page.decode("utf-8", "replace")
