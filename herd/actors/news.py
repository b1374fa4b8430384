"""How actors tell those who watch, if there is anybody to tell."""

from contextlib import suppress

from herd.actors import names
from herd.actors.ports import Clock
from herd.protocols.happenings import Happening, HappeningKind
from herd.runtime import get_actor


def changed() -> None:
    """The fleet, or a request, is not as it was."""
    with suppress(ValueError):  # the router starts, or stops
        get_actor(names.FEED).changed.tell()


def happened(kind: HappeningKind, clock: Clock, text: str, *, node: str = "", model: str = "") -> None:
    """Something has happened, now.

    Args:
        kind: what.
        clock: says when.
        text: a sentence without its full stop.
        node: the name of the node that it concerns.
        model: the canonical name of the model.
    """
    with suppress(ValueError):  # the same
        get_actor(names.FEED).happened.tell(Happening(kind, clock.wall(), node, model, text))
