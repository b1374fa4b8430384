"""Which of two servers on one node serves a model that both have."""

from herd.policy.values import ModelView


def preferred(one: ModelView, other: ModelView) -> ModelView:
    """The one that speaks more dialects, for it can serve more requests; of two such, the one that has it resident."""
    return one if (len(one.dialects), one.resident) >= (len(other.dialects), other.resident) else other
