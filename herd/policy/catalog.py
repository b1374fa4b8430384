"""Which of two servers on one node serves a model that both have."""

from herd.policy.values import ModelView


def preferred(one: ModelView, other: ModelView) -> ModelView:
    """The one that can be asked for more, natively at best; of two such, the one that has it resident."""
    return one if _rank(one) >= _rank(other) else other


def _rank(model: ModelView) -> tuple[int, int, bool]:
    return len(model.apis), len(model.dialects), model.resident
