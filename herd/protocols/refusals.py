"""What the router says where there is no model server to ask, in Ollama's words: clients match on them."""

import re

from herd.errors import RequestError
from herd.types import Api

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
    if api in _VECTORS:
        return RequestError(f'model "{model}" not found, try pulling it first', status=404)
    return RequestError(f"model '{model}' not found", status=404)
