"""Which of the three named edits a request needs before a backend may have it."""

from herd.policy.values import Ask, Edit, ModelView
from herd.types import Dialect, Tokens, Unit

FOR_EVER = -1  # a keep-alive, as Ollama has it


def edits(ask: Ask, model: ModelView, loaded: Tokens, default: Tokens, *, home: bool = False) -> tuple[Edit, ...]:
    """The edits that turn the client's request into one that the model's server understands and serves as it stands.

    Ollama finds `m` under `m:latest` and under its full registry name by itself, in any case of letters. Other
    servers know a model only by exactly the name they list. By an alias, and by the name of a model that it stands in
    for, nobody knows it.

    Ollama loads a model anew whenever a request asks for another context than it has. A smaller one fits into what is
    there, so the request is given that, and so is one that names none where another was loaded than it would get.

    At its home a model stays loaded, unless the client itself says how long it shall.

    Args:
        ask: the request.
        model: the model that it was given.
        loaded: the context that the model has, or is being loaded with; 0 when it is not, or unknown.
        default: the context of a load when the request names none; 0 when unknown.
        home: the model lives on this node.
    """
    ollama = Dialect.OLLAMA in model.dialects
    named = (Edit("model", model.name),) if ask.renamed or (not ollama and ask.sent != model.name) else ()
    # Images and speech are asked for in words of the router's own, which know neither contexts nor a time to stay.
    if not ollama or ask.api.dialect is not Dialect.OLLAMA or ask.api.unit is not Unit.TOKEN:
        return named
    kept = (Edit("keep_alive", FOR_EVER),) if home and not ask.keep_alive else ()
    if ask.odd_context or not loaded or (ask.num_ctx or default) == loaded or (ask.num_ctx and ask.num_ctx > loaded):
        return named + kept
    return (*named, Edit("options.num_ctx", loaded), *kept)
