"""How actors tell those who watch, if there is anybody to tell."""

from contextlib import suppress

from herd.actors import names
from herd.actors.ports import Clock
from herd.protocols.happenings import Happening, HappeningKind
from herd.protocols.untrusted import shown
from herd.runtime import get_actor

# Characters. A sentence that names a model and a node, with what an agent says of the reason, is shorter; the kinds of
# reasons are single words.
MAX_TEXT, MAX_CAUSE = 300, 40


def changed() -> None:
    """The fleet, or a request, is not as it was."""
    with suppress(ValueError):  # the router starts, or stops
        get_actor(names.FEED).changed.tell()


def happened(kind: HappeningKind, clock: Clock, text: str, *, node: str = "", model: str = "", cause: str = "") -> None:
    """Something has happened, now. What strangers have put into it is made printable.

    Args:
        kind: what.
        clock: says when.
        text: a sentence without its full stop.
        node: the name of the node that it concerns.
        model: the canonical name of the model.
        cause: why.
    """
    with suppress(ValueError):  # the same
        told = shown(text[:MAX_TEXT])
        happening = Happening(kind, clock.wall(), shown(node), shown(model), told, shown(cause[:MAX_CAUSE]))
        get_actor(names.FEED).happened.tell(happening)
