"""What Herd says in place of a model server, in Ollama's words: clients match on them."""

import re

from herd.errors import RequestError
from herd.types import Api, Unit

BUSY = "server busy, please try again.  maximum pending requests exceeded"

# Ollama's `types/model`: what is no such name is no model's. Other servers have names of other kinds, so this is only
# asked of a name that nobody has.
_NAME = re.compile(
    r"((([a-z0-9_][\w.:-]{0,349}/)?[a-z0-9_][\w-]{0,79}/)?[a-z0-9_][\w.-]{0,79}(:[a-z0-9_][\w.-]{0,79})?)",
    re.ASCII | re.IGNORECASE,
)

_VECTORS = (Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS, Api.EMBEDDINGS)


_NEEDED = {
    Unit.PIXEL_STEP: "image models need a node with mflux (Apple Silicon) or an image server",
    Unit.AUDIO_FRAME: (
        "speech models need a node with Qwen3-ASR (mlx, Apple Silicon), an Ollama with a model that hears,"
        " or a speech server"
    ),
}
_NEEDED_FOR_EDITS = "to edit images needs a node with mflux (Apple Silicon), or an image server that has {api}"


def unequipped(api: Api, nodes: int, *, heard: bool = True) -> str:
    """The sentence for images or speech where none of so many nodes has what it takes.

    Args:
        api: that is asked.
        nodes: that the router knows.
        heard: all of them have joined since the router started; what the others have it does not know.
    """
    needed = _NEEDED_FOR_EDITS.format(api=api.value) if api is Api.IMAGE_EDITS else _NEEDED[api.unit]
    match nodes:
        case 0:
            return f"{needed}: no node has joined"
        case 1:
            return f"{needed}: the only node " + ("has none" if heard else "has not joined since the router started")
    rest = "" if heard else ", as far as they have joined since the router started"
    return f"{needed}: none of {nodes} nodes has one{rest}"


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
