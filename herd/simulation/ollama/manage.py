"""What changes the models on a simulated server's disk: pull, push, create, copy and delete."""

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from herd.actors.ports import Sink
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.ollama.asks.ask import OllamaError
from herd.simulation.ollama.asks.fields import read_fields
from herd.simulation.ollama.blobs import Blob, Blobs, read_digest
from herd.simulation.ollama.golang import encode, well_formed
from herd.simulation.ollama.library import REMOTE, Library
from herd.simulation.ollama.pages import send
from herd.simulation.ollama.references import canonical, displayed, is_name, local
from herd.simulation.ollama.registry import Registry
from herd.simulation.ollama.voices.voice import JSON, NDJSON, PLAIN_JSON, native_error
from herd.types import Bytes, Capability, KiB, Tokens

_Items = AsyncGenerator[dict[str, Any]]

# Bytes of a parameter in the quantization that most model files have, Q4_K_M: that of the catalogue's models.
_PARAMETER = 0.63

_INVALID_NAME = OllamaError(400, "invalid model name")


class Manager:
    """Answers requests that change the library.

    Args:
        library: the models there are.
        blobs: what models can be made of.
        registry: where other models come from.
        wall: the clock of a model's age, in seconds since the Unix epoch.
    """

    def __init__(self, library: Library, blobs: Blobs, registry: Registry, wall: Callable[[], float]) -> None:
        self._library = library
        self._blobs = blobs
        self._registry = registry
        self._wall = wall

    async def pull(self, body: bytes, sink: Sink) -> None:
        """Download a model. Raises OllamaError."""
        fields = read_fields(body, "api.PullRequest")
        name = local(_name(fields), remote=REMOTE)
        if not is_name(name):
            raise _INVALID_NAME
        await _tell(sink, self._pulled(name), stream=fields.get("stream", True))

    async def push(self, body: bytes, sink: Sink) -> None:
        """Upload a model to the registry, which takes everything and keeps nothing. Raises OllamaError."""
        fields = read_fields(body, "api.PushRequest")
        name = _name(fields)
        if not name:
            raise OllamaError(400, "model is required")
        await _tell(sink, self._pushed(name), stream=fields.get("stream", True))

    async def create(self, body: bytes, sink: Sink) -> None:
        """Make a model of another, or of blobs. Raises OllamaError."""
        fields = read_fields(body, "api.CreateRequest")
        if not all(_is_relative(path) for path in fields.get("files", ())):
            raise OllamaError(400, "file path must be relative")
        name = _name(fields)
        if not is_name(name):
            raise _INVALID_NAME
        await _tell(sink, self._created(displayed(name), fields), stream=fields.get("stream", True))

    async def copy(self, body: bytes, sink: Sink) -> None:
        """Give a model a second name. Raises OllamaError."""
        fields = read_fields(body, "api.CopyRequest")
        names = {end: well_formed(fields.get(end, "")) for end in ("source", "destination")}
        for end, name in names.items():
            if not is_name(name):
                raise OllamaError(400, f'{end} "{name}" is invalid')
        self._library.copy(names["source"], names["destination"], self._wall())
        await _nothing(sink)

    async def delete(self, body: bytes, sink: Sink) -> None:
        """Remove a model from the disk; one in memory stays there. Raises OllamaError."""
        name = _name(read_fields(body, "api.DeleteRequest"))
        if not name:
            raise OllamaError(400, "model is required")
        if not is_name(name):
            raise OllamaError(400, f'name "{name}" is invalid')
        self._library.remove(name)
        await _nothing(sink)

    # --- What the streams say -------------------------------------------------------------------------------------

    async def _pulled(self, name: str) -> _Items:
        yield {"status": "pulling manifest"}
        model = self._registry.find(name)
        if model is None:
            raise OllamaError(500, "pull model manifest: file does not exist")
        layer = _layer("pulling", model)
        if model.name in self._library:
            yield {**layer, "completed": model.size}
        else:
            async with aclosing(self._registry.transfer(canonical(name), model.size)) as transfer:
                async for done in transfer:
                    yield {**layer, "completed": done} if done else layer  # Go leaves out what is zero
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        if model.name not in self._library:  # unless somebody else who pulled it was quicker
            self._library.add(model, self._wall())
        yield {"status": "success"}

    async def _pushed(self, name: str) -> _Items:
        yield {"status": "retrieving manifest"}
        if name not in self._library:
            raise OllamaError(500, "file does not exist")
        model = self._library.find(name, missing="file does not exist")
        layer = _layer("pushing", model)
        async with aclosing(self._registry.transfer(f"push {model.name}", model.size)) as transfer:
            async for done in transfer:
                yield {**layer, "completed": done} if done else layer
        yield {"status": "pushing manifest"}
        yield {"status": "success"}

    async def _created(self, name: str, fields: dict[str, Any]) -> _Items:
        base, files = well_formed(fields.get("from", "")), fields.get("files")
        if base:
            if not is_name(base):
                raise _INVALID_NAME
            if base not in self._library:
                async with aclosing(self._pulled(base)) as pulled:
                    async for item in pulled:
                        if item != {"status": "success"}:
                            yield item
            model = self._library.find(base, missing=f"model '{base}' not found")
            made = replace(model, name=name)
            yield {"status": f"using existing layer sha256:{model.digest}"}
        elif files is not None:
            blobs = self._blobs_of(files)
            yield {"status": "parsing GGUF"}
            if not all(blob.is_model for blob in blobs):
                raise OllamaError(400, "supplied file was not in GGUF format")
            made = _model_of(name, Bytes(sum(blob.size for blob in blobs)))
            for digest in files.values():
                yield {"status": f"using existing layer {read_digest(digest)}"}
        else:
            raise OllamaError(400, "neither 'from' or 'files' was specified")
        for part in ("template", "system"):
            if text := fields.get(part):
                yield {"status": f"creating new layer sha256:{hashlib.sha256(_bytes(text)).hexdigest()}"}
        yield {"status": "writing manifest"}
        self._library.add(made, self._wall())
        yield {"status": "success"}

    def _blobs_of(self, files: dict[str, Any]) -> list[Blob]:
        if not files:
            raise OllamaError(400, "no files provided to convert")
        blobs = []
        for text in files.values():
            digest = read_digest(text if isinstance(text, str) else "")
            blob = self._blobs.get(digest)
            if blob is None:
                raise OllamaError(400, f'blob "{digest}" not found')
            blobs.append(blob)
        return blobs


async def _tell(sink: Sink, items: _Items, *, stream: bool) -> None:
    """Write items as they come, or the last of them alone. An error that comes first has a status of its own."""
    last: dict[str, Any] = {}
    async with aclosing(items):
        try:
            async for item in items:
                if stream and not sink.started:
                    await sink.start(200, (("Content-Type", NDJSON),))
                if stream:
                    await sink.write(encode(item) + b"\n")
                last = item
        except OllamaError as error:
            if not sink.started:
                await send(sink, error.status, PLAIN_JSON if stream else JSON, native_error(error.text))
                return
            await sink.write(native_error(error.text) + b"\n")
    if sink.started:
        await sink.finish()
    else:
        await send(sink, 200, JSON, encode(last))


async def _nothing(sink: Sink) -> None:
    await sink.start(200, (("Content-Length", "0"),))
    await sink.finish()


def _name(fields: dict[str, Any]) -> str:
    """The model that is meant; older clients call it `name`."""
    name: str = fields.get("model") or fields.get("name") or ""
    return well_formed(name.strip())


def _is_relative(path: str) -> bool:
    """As Go's `fs.ValidPath` has it."""
    return path == "." or all(part not in {"", ".", ".."} for part in path.split("/"))


def _layer(verb: str, model: SimulatedModel) -> dict[str, Any]:
    return {"status": f"{verb} {model.digest[:12]}", "digest": f"sha256:{model.digest}", "total": model.size}


def _bytes(text: Any) -> bytes:
    return str(text).encode("utf-8", "surrogatepass")


def _model_of(name: str, size: Bytes) -> SimulatedModel:
    """A model of which nothing is known but its size: it is taken for a small Llama, which most such files are."""
    return SimulatedModel(
        name,
        size,
        f"{size / _PARAMETER / 1e9:.1f}B",
        "unknown",
        "llama",
        Tokens(8_192),
        (Capability.COMPLETION,),
        Bytes(112 * KiB),
        layers=28,
        kv_heads=8,
    )
