"""mflux, which makes images on Apple's chips and with CUDA, as a model server with OpenAI's endpoints for images.

Each request is one run of one of its commands (https://github.com/filipstrand/mflux), which loads the model anew. They
run one at a time: each takes the whole GPU, and much of the memory.
"""

import asyncio
import logging
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from herd.actors.ports import Clock
from herd.errors import HerdError, ProtocolError, RequestError, StreamFailed
from herd.names import canonical
from herd.net.tools.answers import FilesAnswer, HeldAnswer
from herd.net.tools.mflux_weights import OnDisk, on_disk
from herd.net.tools.processes import GuardedProcess, Lines, ToolFailed, output_of
from herd.net.tools.uploads import read_form, read_json
from herd.protocols.answers import error_answer
from herd.protocols.headers import value_of
from herd.protocols.messages import RequestHead
from herd.protocols.mflux import MAX_SEED, SIDECAR, Capabilities, Run, Wish, plan, read_capabilities, read_wish
from herd.protocols.mflux_output import HEAD, Progress, dimensions, failure, frames, kilopixel_steps
from herd.protocols.multipart import boundary_of
from herd.protocols.refusals import BUSY, not_found
from herd.protocols.translation.images import IGNORED
from herd.types import Api, Dialect, MiB, Seconds

MFLUX = "mflux://local"  # its base URL

_MODELS = "/v1/models"
# It loads MLX and all its models' code: seconds, and more of them after an update.
_CAPABILITIES_S = Seconds(120.0)
_MOST_CAPABILITIES = 16 * MiB  # of 40 commands these take half a MiB
# Between two attempts to learn what mflux can do, when it did not say.
_AGAIN_S = 60.0
# Between two looks at the disk: models come and go by hand.
_LOOK_S = 10.0
# One model runs one request at a time, so this many models are asked for at once.
_MAX_WAITING = 16
# What says nothing for so long hangs, and the line of the machine with it. A step of the largest image on the smallest
# Mac takes minutes, and so do weights of 60 GB from a slow disk.
_SILENT_S = 1800.0
_KEPT_LINES = 20  # of what a command says: enough to see whether it was memory that it lacked

logger = logging.getLogger(__name__)


class Mflux:
    """The port `ModelServers` for what is under `MFLUX`. Use as an async context manager.

    Args:
        program: the command `mflux-capabilities`; the others lie beside it.
        workshop: a directory of its own, where each run has one with what the client sent and what came of it; what is
            left there by an agent that was killed is removed.
        environ: of this process, which the commands get too.
        clock: how long things take, and when an image was made.
    """

    def __init__(self, program: str, workshop: Path, environ: Mapping[str, str], clock: Clock) -> None:
        self._program = Path(program)
        self._workshop = workshop
        own = {name: value for name, value in environ.items() if not name.startswith("HERD_")}  # keys may be in those
        # Nobody shall fetch gigabytes because somebody asks for an image. What the prompt says is in UTF-8.
        self._environ = {**own, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
        self._clock = clock
        self._capabilities = _Learned()
        self._asking: asyncio.Task[_Learned] | None = None
        self._disk: tuple[OnDisk, ...] = ()
        self._looked = -_LOOK_S
        self._line = asyncio.Lock()
        self._waiting = 0
        self._running: tuple[str, _Job] | None = None  # the model, by name

    async def __aenter__(self) -> Self:
        self._workshop.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._workshop.iterdir():
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    # --- the port -----------------------------------------------------------------------------------------------------

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        """The list of models, in OpenAI's form; there is nothing else. Raises StreamFailed."""
        if url != MFLUX + _MODELS or body is not None:
            return 404, None
        try:
            async with asyncio.timeout(timeout):
                capabilities = await self._can()
        except TimeoutError as error:
            raise StreamFailed("mflux takes its time to say what it can do") from error
        return 200, {
            "object": "list",
            "owned_by": "mflux",  # also where there is no model
            "data": [self._listed(model) for model in await self._models() if _runs(capabilities, model)],
        }

    async def exchange(
        self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None
    ) -> "HeldAnswer | FilesAnswer":
        """Make the images that are asked for; the answer once they are there. A cancellation ends the command.

        Raises:
            StreamFailed: mflux is not there any more.
        """
        path = head.path.partition("?")[0]
        edit = path == Api.IMAGE_EDITS
        if base_url != MFLUX or head.method != "POST" or not (edit or path == Api.IMAGES):
            return HeldAnswer(error_answer(Dialect.OPENAI, RequestError("mflux has no such endpoint", status=404)))
        try:
            return await self._within(head, body, edit=edit)
        except OSError as error:
            logger.warning("no room for mflux in %s: %s", self._workshop, error.strerror)
            why: HerdError = RequestError(f"mflux has no room to work in: {error.strerror}", status=503)
        except StreamFailed:
            raise
        except HerdError as error:
            why = error
        return HeldAnswer(error_answer(Dialect.OPENAI, why, request_id=str(head.request_id)))

    async def _within(self, head: RequestHead, body: AsyncIterator[bytes] | None, *, edit: bool) -> FilesAnswer:
        """The answer, in a directory of its own. Raises HerdError; OSError: there is no room on the disk."""
        directory = Path(tempfile.mkdtemp(dir=self._workshop))
        try:
            return await self._serve(head, body, directory, edit=edit)
        except BaseException:
            _remove(directory)
            raise

    # --- what there is ------------------------------------------------------------------------------------------------

    async def _can(self) -> Capabilities:
        """What mflux can do, which is asked once, and again after an update. Raises StreamFailed."""
        known, now = self._capabilities, self._clock.monotonic()
        try:
            version = self._program.stat().st_mtime_ns
        except OSError as error:
            raise StreamFailed(f"mflux is gone: {self._program}: {error.strerror}") from error
        stale = known.version != version or (known.capabilities is None and now - known.at >= _AGAIN_S)
        if stale:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask(version))
            known = await asyncio.shield(self._asking)
            self._capabilities, self._asking = known, None
        if known.capabilities is None:
            raise StreamFailed(known.trouble)
        return known.capabilities

    async def _ask(self, version: int) -> "_Learned":
        words = (str(self._program), "--format", "json")
        try:
            status, said = await output_of(
                words, most=_MOST_CAPABILITIES, timeout=_CAPABILITIES_S, environment=self._environ
            )
            capabilities = await asyncio.to_thread(read_capabilities, said if status == 0 else b"")
        except (ToolFailed, ProtocolError) as error:
            logger.warning("%s", error)
            return _Learned(version, None, str(error), self._clock.monotonic())
        logger.info("mflux %s has %d commands", capabilities.version, len(capabilities.commands))
        return _Learned(version, capabilities)

    async def _models(self) -> tuple[OnDisk, ...]:
        if self._clock.monotonic() - self._looked >= _LOOK_S:
            self._looked = self._clock.monotonic()
            self._disk = await asyncio.to_thread(on_disk, self._environ)
        return self._disk

    def _listed(self, model: OnDisk) -> dict[str, Any]:
        name = model.weights.name
        status: dict[str, Any] = {"value": "unloaded"}
        if self._running is not None and self._running[0] == name:
            step, steps = self._running[1].reached
            status = {"value": "loaded", "step": step, "steps": steps}
        return {
            "id": name,
            "object": "model",
            "owned_by": "mflux",
            "capabilities": ["image"],
            "meta": {"size": model.size},
            "status": status,
        }

    # --- a request ----------------------------------------------------------------------------------------------------

    async def _serve(
        self, head: RequestHead, body: AsyncIterator[bytes] | None, directory: Path, *, edit: bool
    ) -> FilesAnswer:
        """The answer with the images, which removes the directory at its end. Raises HerdError."""
        pictures: list[str] | None = None
        fields: dict[str, Any]
        if edit:
            boundary = boundary_of(value_of(head.headers, "content-type"))
            fields, pictures = await read_form(boundary, body, directory)
        else:
            fields = await read_json(body)
        wish = read_wish(fields)
        wanted = canonical(wish.model)
        model = next((each for each in await self._models() if canonical(each.weights.name) == wanted), None)
        if model is None:
            raise RequestError(not_found(Api.IMAGES, wish.model), status=404)
        run = plan(await self._can(), model.weights, wish, secrets.randbelow(MAX_SEED), pictures)
        (directory / SIDECAR).write_bytes(run.sidecar)
        if self._waiting >= _MAX_WAITING:
            raise RequestError(BUSY, status=503)
        self._waiting += 1
        try:
            async with self._line:
                job = _Job(run, wish, directory, self._clock)
                self._running = (model.weights.name, job)
                try:
                    return await job.done(self._program.parent, self._environ)
                finally:
                    self._running = None
        finally:
            self._waiting -= 1


@dataclass(frozen=True, slots=True)
class _Learned:
    """What mflux has said of itself, at a version of its file."""

    version: int = -1
    capabilities: Capabilities | None = None
    trouble: str = ""
    at: float = 0.0


def _runs(capabilities: Capabilities, model: OnDisk) -> bool:
    base = model.weights.base
    return any(capabilities.command(command) is not None for command in (base.makes, base.edits))


class _Job:
    """One run of a command."""

    def __init__(self, run: Run, wish: Wish, directory: Path, clock: Clock) -> None:
        self._run = run
        self._wish = wish
        self._directory = directory
        self._clock = clock
        self._progress = Progress()
        self._began = self._first_step = clock.monotonic()
        self._out: deque[str] = deque(maxlen=_KEPT_LINES)
        self._err: deque[str] = deque(maxlen=_KEPT_LINES)
        self._lines = Lines(self._read)
        self._patience: asyncio.Timeout | None = None  # while it runs

    @property
    def reached(self) -> tuple[int, int]:
        """Steps that are done, and all of them, of every image; 0, 0 while the model loads."""
        return self._progress.steps, self._progress.image_steps * len(self._run.outputs)

    async def done(self, commands: Path, environ: Mapping[str, str]) -> FilesAnswer:
        """The answer once the command has ended. Raises RequestError or ToolFailed."""
        command, *words = self._run.words
        process = GuardedProcess(
            (str(commands / command), *words),
            out=Lines(self._out.append),
            err=self._hear,
            environment=environ,
            directory=self._directory,
            private=True,
        )
        await process.start()
        try:
            async with asyncio.timeout(_SILENT_S) as self._patience:
                status = await process.wait()
        except TimeoutError as error:
            text = f"mflux has said nothing for {_SILENT_S:g} s while it made this image, and was ended"
            raise RequestError(text, status=504) from error
        finally:
            self._patience = None
            await process.stop()
        self._lines.end()
        files = [self._directory / name for name in self._run.outputs]
        sizes = await asyncio.to_thread(_dimensions, files)
        if status != 0 or sizes is None:
            refusal = failure(status, self._out[-1] if self._out else "", self._err, self._wish)
            logger.warning("%s: %s", command, refusal)
            raise refusal
        return self._answer(files, *sizes)

    def _hear(self, data: bytes) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + _SILENT_S)
        self._lines(data)
        self._follow(self._lines.begun)

    def _read(self, line: str) -> None:
        if not self._follow(line):
            self._err.append(line)

    def _follow(self, line: str) -> bool:
        known = self._progress.image_steps
        bar = self._progress.said(line)
        if bar and not known:
            self._first_step = self._clock.monotonic()
            # It has been read long since: a kill of the agent leaves no prompt on the disk after this.
            (self._directory / SIDECAR).unlink(missing_ok=True)
        return bar

    def _answer(self, files: list[Path], width: int, height: int) -> FilesAnswer:
        load_s, work_s = self._first_step - self._began, self._clock.monotonic() - self._first_step
        steps = self._progress.steps
        logger.info("%s: %d steps in %.1f s, after %.1f s of loading", self._wish.model, steps, work_s, load_s)
        took = {
            "load_s": round(load_s, 3),
            "work_s": round(work_s, 3),
            "kilopixel_steps": kilopixel_steps(width, height, steps),
            "width": width,
            "height": height,
            "steps": self._progress.image_steps,
        }
        ignored = ((IGNORED, ", ".join(self._run.ignored)),) if self._run.ignored else ()
        around = frames(int(self._clock.wall()), len(files), took)
        return FilesAnswer(files, around, ignored, lambda: _remove(self._directory))


def _dimensions(files: list[Path]) -> tuple[int, int] | None:
    """Of the images, which are all there; None where they are not."""
    sizes = None
    for file in files:
        try:
            with file.open("rb") as opened:
                sizes = dimensions(opened.read(HEAD))
        except OSError:
            return None
        if sizes is None:
            return None
    return sizes


def _remove(directory: Path) -> None:
    """Some files at most: no time to speak of, and nothing may come between a cancellation and this."""
    with suppress(OSError):
        shutil.rmtree(directory)
