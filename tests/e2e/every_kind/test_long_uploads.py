"""A gigabyte of sound passes both hops as a stream: no process ever holds more of it than its buffers."""

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from herd.types import KiB, MiB
from tests.e2e.hang_ups import NOTICED_S
from tests.e2e.house import LOOK_EVERY_S
from tests.e2e.kinds import SPOKEN, KindsHouse
from tests.e2e.media_servers import FORMS_ARE_READ, SPEECH, MediaServer
from tests.e2e.processes import PATIENCE_S, Program

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    FORMS_ARE_READ,
    pytest.mark.skipif(sys.platform != "linux", reason="which files a process has open, Linux tells"),
]

BOUNDARY = "frontier"
PIECE = bytes(range(256)) * (MiB // 256)
SMALL = 2 * MiB  # more than a router keeps in memory: the file and its thread are there already
LONG = 1024 * MiB
MAY_GROW = 20_000_000  # bytes
UNLIMITED = aiohttp.ClientTimeout(total=None)

CUSTOM = "/api/transcribe"


@pytest.fixture(name="server")
def server_of_speech(house: KindsHouse) -> MediaServer:
    return house.listener


class Watch:
    """The memory of programs: what each has held at most since the watch began.

    Linux keeps the mark itself. Elsewhere it is looked at whenever something has moved.
    """

    def __init__(self, *programs: Program) -> None:
        self._processes = {program.name: psutil.Process(program.process.pid) for program in programs}
        self.began = {name: int(process.memory_info().rss) for name, process in self._processes.items()}
        self._peak = dict(self.began)
        for process in self._processes.values():
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets the mark

    def look(self) -> None:
        for name, process in self._processes.items():
            self._peak[name] = max(self._peak[name], process.memory_info().rss)

    def grown(self) -> dict[str, int]:
        """Bytes, by the name of the program."""
        self.look()
        for name, process in self._processes.items():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                self._peak[name] = max(self._peak[name], int(status.partition("VmHWM:")[2].split()[0]) * KiB)
        return {name: self._peak[name] - began for name, began in self.began.items()}


def digest_of(size: int) -> str:
    """SHA-256 of the file in a form."""
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


async def form(size: int, moved: Callable[[], object]) -> AsyncIterator[bytes]:
    """A form with a file of so many bytes, piece by piece."""
    opening = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="day.wav"\r\n\r\n'
    model = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{SPOKEN}\r\n--{BOUNDARY}--\r\n'
    yield opening.encode()
    for _ in range(size // len(PIECE)):
        moved()
        yield PIECE
    yield model.encode()


async def upload(house: KindsHouse, path: str, size: int, moved: Callable[[], object] = lambda: None) -> str:
    """Send a form; the text that was heard in it."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    async with house.post(path, data=form(size, moved), headers=headers, timeout=UNLIMITED) as answer:
        said = await answer.text()
        assert answer.status == 200, said
    return str(json.loads(said)["text"])


def files_of(program: Program) -> list[str]:
    """What a program has open without a name: bodies that lie on the disk."""
    opened = Path(f"/proc/{program.process.pid}/fd")
    found = []
    for entry in opened.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return [name for name in found if name.endswith("(deleted)")]


async def all_is_free(house: KindsHouse) -> None:
    """Wait until the router has nothing to do, and no file is left."""
    async with asyncio.timeout(NOTICED_S):
        while True:  # the router tells what it does, but has no event for it
            totals = (await house.get("/herd/v1/status"))["totals"]
            left = [*files_of(house.router), *files_of(house.agents["attic"])]
            if not (totals["running"] or totals["waiting"] or totals["held"] or left):
                return
            await asyncio.sleep(LOOK_EVERY_S)


@pytest.mark.parametrize("path", [SPEECH, CUSTOM])
async def test_a_client_that_leaves_while_the_model_server_reads_frees_all_of_it(
    house: KindsHouse, server: MediaServer, path: str
) -> None:
    server.deaf_from = SMALL
    server.gate.clear()
    abandoned = server.abandoned
    asking = asyncio.create_task(upload(house, path, 48 * MiB))
    await server.until(lambda it: it.running == 1 and it.uploads[-1].size >= SMALL)
    assert files_of(house.router)
    asking.cancel()
    await asyncio.wait([asking])
    await all_is_free(house)
    server.deaf_from = None
    server.gate.set()  # a server that does not read sees no end; this one finds that the rest never comes
    await server.until(lambda it: it.running == 0 and it.abandoned == abandoned + 1)
    assert (await upload(house, path, SMALL)).startswith(f"{SMALL} bytes, ")


async def test_a_client_that_leaves_in_the_middle_of_its_upload_leaves_no_file(
    house: KindsHouse, server: MediaServer
) -> None:
    asked = len(server.asked)
    asking = asyncio.create_task(upload(house, SPEECH, LONG))
    async with asyncio.timeout(PATIENCE_S):
        while not files_of(house.router):  # noqa: ASYNC110 - a file that begins makes no event
            await asyncio.sleep(LOOK_EVERY_S)
    asking.cancel()
    await asyncio.wait([asking])
    await all_is_free(house)
    assert len(server.asked) == asked  # no model server has heard of it


@pytest.mark.slow  # a gigabyte, over both hops
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("path", "size"),
    [
        (SPEECH, LONG),
        (CUSTOM, LONG // 4),  # a form that is written anew on the way
    ],
)
async def test_a_gigabyte_passes_and_neither_process_grows(
    house: KindsHouse, server: MediaServer, path: str, size: int
) -> None:
    await upload(house, path, SMALL)
    watch = Watch(house.router, house.agents["attic"])
    server.hears = lambda _size: watch.look()
    said = await upload(house, path, size, watch.look)
    assert said == f"{size} bytes, {digest_of(size)}"
    grown = watch.grown()
    assert max(grown.values()) < MAY_GROW, grown
    await all_is_free(house)
