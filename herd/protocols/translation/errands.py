"""What a request without a prompt has done on servers that load models: Ollama loads by it, or unloads.

A server that was started with its model always has it, and never lets it go: there the answer says what Ollama's would,
and nothing is done.
"""

from dataclasses import dataclass

import orjson

from herd.types import BackendKind


@dataclass(frozen=True, slots=True)
class Errand:
    """A POST to `path` that costs no tokens. A server that answers with one of `fine` has nothing to do."""

    path: str
    body: bytes
    fine: tuple[int, ...] = ()


def errand(kind: BackendKind, model: str, *, unload: bool, resident: bool) -> Errand | None:
    """What to ask of the server; None when there is nothing to do.

    Args:
        kind: of the server.
        model: by the name that the server lists.
        unload: let it go; else load it.
        resident: it is in memory, as far as is known.
    """
    if kind is BackendKind.LLAMACPP:
        if unload:
            # 400: it is not loaded. 404: the server has one model, for good.
            return Errand("/models/unload", orjson.dumps({"model": model}), fine=(400, 404))
        # One with several models passes this on to the model, which it loads for that and waits for.
        return Errand("/tokenize", orjson.dumps({"model": model, "content": ""}))
    if kind is BackendKind.LMSTUDIO and unload is resident:  # to load what is there would load it twice
        word, name = ("unload", "instance_id") if unload else ("load", "model")
        return Errand(f"/api/v1/models/{word}", orjson.dumps({name: model}))
    return None
