"""A request to a model, read to its end, and understood as far as routing needs it."""

from contextlib import aclosing
from functools import partial

from herd.actors.ports import Body, HttpRequest
from herd.errors import BodyTooLarge
from herd.protocols.form_requests import TAKE_FORMS, FormScan, comes_as_form
from herd.protocols.headers import value_of
from herd.protocols.paths import Endpoint
from herd.protocols.requests import Routing, read_request
from herd.types import Bytes, Dialect, GiB, KiB

# Of a form with files: a day of speech as MP3, or three hours as a recording studio has it.
UPLOAD_LIMIT = Bytes(4 * GiB)
# Of a form that is looked through on the loop: some 0.2 ms each, and a thread's turn for those that lie in a file.
SCAN_SIZE = 256 * KiB


async def received(request: HttpRequest, endpoint: Endpoint, json_limit: Bytes) -> Body:
    """The body, whole. Raises BodyTooLarge, or RequestError, as `HttpRequest.read_body` does."""
    if not _is_form(request, endpoint):
        inflate = endpoint.dialect is not Dialect.OLLAMA  # as Ollama does it: not on its own API
        return await request.read_body(json_limit, inflate=inflate)
    try:
        return await request.read_body(UPLOAD_LIMIT)
    except BodyTooLarge as error:
        raise BodyTooLarge(f"the upload is too large: the limit is {UPLOAD_LIMIT // GiB} GiB") from error


async def understood(request: HttpRequest, endpoint: Endpoint, body: Body) -> Routing:
    """What a body asks for; a form is read piece by piece, so that no more than a piece of it is in memory.

    Raises:
        RequestError: it cannot be routed.
    """
    if not _is_form(request, endpoint):
        return await body.examine(partial(read_request, endpoint))
    scan = FormScan(endpoint.api, value_of(request.headers, "content-type"))
    async with aclosing(body.chunks(SCAN_SIZE)) as pieces:
        async for piece in pieces:
            scan.feed(piece)
    return scan.routing()


def _is_form(request: HttpRequest, endpoint: Endpoint) -> bool:
    if endpoint.api not in TAKE_FORMS:  # as most requests are
        return False
    return comes_as_form(endpoint.api, value_of(request.headers, "content-type"))
