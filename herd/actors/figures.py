"""What there is to measure of a router at one moment, for a `Meter`."""

from collections.abc import Mapping
from dataclasses import dataclass

from herd.protocols.herd_api import StatusDocument
from herd.runtime import ClassState


@dataclass(frozen=True, slots=True)
class LeaseCount:
    """What one queue has given out since it began; what is not back runs."""

    node: str
    model: str  # canonical name
    granted: int
    returned: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The router, as it stands."""

    status: StatusDocument
    leases: tuple[LeaseCount, ...]
    actors: tuple[ClassState, ...]  # the router's, class by class
    dead_letters: Mapping[str, int]  # of this process, by reason
