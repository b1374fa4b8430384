"""Which of the three named edits a request needs before a backend may have it."""

from herd.policy.values import Ask, Edit, ModelView
from herd.types import Dialect


def edits(ask: Ask, model: ModelView) -> tuple[Edit, ...]:
    """The edits that turn the client's request into one that the model's server understands.

    Ollama finds `m` under `m:latest` and under its full registry name by itself, in any case of letters. Other
    servers know a model only by exactly the name they list.
    """
    if Dialect.OLLAMA in model.dialects or ask.sent == model.name:
        return ()
    return (Edit("model", model.name),)
