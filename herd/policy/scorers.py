"""The ways in which the router can rank its nodes."""

from collections.abc import Mapping

from herd.policy import completion, placement
from herd.policy.placement import Ranking
from herd.types import ScorerKind

SCORERS: Mapping[ScorerKind, Ranking] = {
    ScorerKind.SEVEN_SIGNALS: placement.place,
    ScorerKind.COMPLETION_TIME: completion.place,
}
