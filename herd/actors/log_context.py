"""Of which request a record of the log is: said once where a request's work begins, found by whoever writes the record.

It holds for the task that says it and for those that the task starts. The handlers of actors run in tasks of their own:
one that logs for a request says so itself.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from herd.policy.values import Ticket

_request: ContextVar[str] = ContextVar("herd.actors.log_context.request", default="")


def logged_request() -> str:
    """The id of the request that is worked for here; empty where it is none."""
    return _request.get()


@contextmanager
def logged_for(request_id: str) -> Iterator[None]:
    """What is logged in the block is of this request."""
    token = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(token)


def debug_for(logger: logging.Logger, ticket: Ticket, text: str, *args: object) -> None:
    """Log what an actor does with a request's ticket, in a handler of its own."""
    with logged_for(ticket.request):
        logger.debug("%s %s", ticket.id, text % args)
