"""What a failed attempt means for the next one."""

from enum import StrEnum

MAX_ATTEMPTS = 3  # a request that broke three nodes is not sent to a fourth
# Placements of one request, retries and moves included. Each needs a change of the fleet in between; more than this
# in one request's life means that two actors disagree for good, and an error is better than a spin.
MAX_PLACEMENTS = 32
# The server itself says that it cannot serve now, or no longer has the model: another node may.
RETRIED_STATUSES = (404, 502, 503, 504)


class Blame(StrEnum):
    """Why a node is left out of a request's next placement."""

    AWAY = "away"  # it could not be reached: not again before the fleet has changed, or some time has passed
    BROKE = "broke"  # it broke on this request, which may be the request's fault: again only when nobody else can


def blame(failure_kind: str) -> Blame:
    """Where the fault of an attempt lies, by the kind of its failure (`protocols.messages.Failure`)."""
    return Blame.AWAY if failure_kind in {"connect", "link", "no-backend"} else Blame.BROKE
