"""What Herd says in place of a model server, in Ollama's words: clients match on them."""

import re

from herd.errors import RequestError
from herd.types import Api

BUSY = "server busy, please try again.  maximum pending requests exceeded"

# Ollama's `types/model`: what is no such name is no model's. Other servers have names of other kinds, so this is only
# asked of a name that nobody has.
_NAME = re.compile(
    r"((([a-z0-9_][\w.:-]{0,349}/)?[a-z0-9_][\w-]{0,79}/)?[a-z0-9_][\w.-]{0,79}(:[a-z0-9_][\w.-]{0,79})?)",
    re.ASCII | re.IGNORECASE,
)

_VECTORS = (Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS, Api.EMBEDDINGS)


def unknown(api: Api, model: str) -> RequestError:
    """No node has ever had the model, whose name is in the client's spelling."""
    if not _NAME.fullmatch(model):
        return RequestError("invalid model name")
    return RequestError(not_found(api, model), status=404)


def not_found(api: Api, model: str) -> str:
    """The sentence for a model that is not there."""
    if api in _VECTORS:
        return f'model "{model}" not found, try pulling it first'
    return f"model '{model}' not found"
