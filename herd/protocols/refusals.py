"""What the router says where there is no model server to ask, in Ollama's words: clients match on them."""

import re

from herd.errors import RequestError
from herd.names import DEFAULT_HOST, DEFAULT_NAMESPACE, tagged
from herd.types import Api, Capability

# Ollama's `types/model`: what is no such name is no model's. Other servers have names of other kinds, so this is only
# asked of a name that nobody has.
_NAME = re.compile(
    r"((([a-z0-9_][\w.:-]{0,349}/)?[a-z0-9_][\w-]{0,79}/)?[a-z0-9_][\w.-]{0,79}(:[a-z0-9_][\w.-]{0,79})?)",
    re.ASCII | re.IGNORECASE,
)

_VECTORS = (Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS, Api.EMBEDDINGS)
_CONTINUES = (Api.OLLAMA_GENERATE, Api.COMPLETIONS)


def unknown(api: Api, model: str) -> RequestError:
    """No node has ever had the model, whose name is in the client's spelling."""
    if not _NAME.fullmatch(model):
        return RequestError("invalid model name")
    if api in _VECTORS:
        return RequestError(f'model "{model}" not found, try pulling it first', status=404)
    return RequestError(f"model '{model}' not found", status=404)


def incapable(api: Api, model: str, lacking: Capability) -> RequestError:
    """Every node that has the model lacks what the request needs of it."""
    if lacking is Capability.COMPLETION:
        return RequestError(f'"{model}" does not support {"generate" if api in _CONTINUES else "chat"}')
    if lacking in {Capability.VISION, Capability.AUDIO}:  # Ollama carries sounds where images are
        return RequestError("this model is missing data required for image input")
    return RequestError(f"{_in_full(model)} does not support {lacking.value}")


def _in_full(model: str) -> str:
    """With its host and namespace, as Ollama names a model that it has loaded."""
    name = tagged(model)
    missing = (DEFAULT_HOST, DEFAULT_NAMESPACE)[: max(0, 2 - name.count("/"))]
    return "/".join((*missing, name))
