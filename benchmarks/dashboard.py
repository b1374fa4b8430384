"""What a dashboard costs: the router's process with and without a `herd top` that watches it, and `herd top` itself.

    python benchmarks/dashboard.py [--quick] [--json FILE]

Takes some four minutes. A router with 3, 20 and 100 simulated nodes of six models each, and sixteen clients that ask
again as soon as they are answered; a terminal of 120 columns and 40 rows whose picture somebody takes. With and without
the view follow each other several times in one run, so that whatever else the machine does falls on both alike. What is
compared is the CPU time of the router's process: for each request, and, while nobody asks, as a share of a core.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec
import psutil

from benchmarks.crowd import ASKED_FOR
from benchmarks.programs import START_S, BenchmarkFailed, Program, Programs, module, script
from benchmarks.talk import machine, progress, writable
from herd.cli.talk import once
from herd.errors import StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.messages import RequestHead
from herd.types import BackendId, RequestId, Seconds

CLIENTS = 16
COLUMNS, ROWS = 120, 40
AIM_ROUTER, AIM_VIEW = 0.02, 0.15

# After a start, and after a change from one way to the other: what came of it is over.
SETTLED_S = 1.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything a run does."""

    nodes: tuple[int, ...]
    rounds: int
    seconds: float  # of each way in a round


FULL = Size((3, 20, 100), 6, 4.0)
QUICK = Size((3, 20, 100), 2, 2.0)
SMOKE = Size((3,), 1, 0.5)


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured in some seconds. CPU times in seconds."""

    seconds: float
    requests: int
    router: float
    view: float = 0.0


@dataclass(slots=True)
class Row:
    """What was measured with some number of nodes: in each round once without the view, and once with it."""

    nodes: int
    asked: list[tuple[Window, Window]] = field(default_factory=list)
    idle: list[tuple[Window, Window]] = field(default_factory=list)
    shown: float = 0.0  # bytes a second that the view writes

    @property
    def more(self) -> float:
        """By how much a request costs the router more while it is watched, as a share."""
        return median(
            with_view.router / with_view.requests / (without.router / without.requests) - 1
            for without, with_view in self.asked
        )

    @property
    def more_idle(self) -> float:
        """CPU seconds a second that the router takes more while it is watched and nobody asks."""
        return median(
            with_view.router / with_view.seconds - without.router / without.seconds for without, with_view in self.idle
        )

    def view(self, windows: Sequence[tuple[Window, Window]]) -> float:
        """The share of a core that the view takes."""
        return median(with_view.view / with_view.seconds for _, with_view in windows)


class Viewer:
    """`herd top` on a terminal whose other end takes all that is written, as long as the block lasts."""

    def __init__(self, url: str, home: Path) -> None:
        self.written = 0
        self._shown = threading.Event()
        self._master, slave = os.openpty()
        # The first terminal that the leader of a session opens is the one that controls it.
        words = (
            "/bin/sh",
            "-c",
            'exec <>"$0" >&0 2>&0; stty cols "$1" rows "$2"; shift 2; exec "$@"',
            os.ttyname(slave),
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HERD_", "NO_COLOR"))}
        root = str(Path(__file__).resolve().parents[1])
        self.process = subprocess.Popen(
            [*words, str(COLUMNS), str(ROWS), *script("herd"), "top", "--router-url", url],
            env=kept | {"TERM": "xterm-256color", "PYTHONPATH": root, "HOME": str(home)},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, args=(slave,), daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until it shows the fleet. Raises BenchmarkFailed."""
        if not self._shown.wait(START_S):
            raise BenchmarkFailed("herd top showed nothing")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        code = self.process.wait(START_S)
        if code:
            raise BenchmarkFailed(f"herd top ended with {code}")

    def _read(self, slave: int) -> None:
        text = b""
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self.written += len(data)
                text = (text + data)[-100_000:]
                if b" live" in text:
                    self._shown.set()
        os.close(slave)


class Clients:
    """They ask a router, and ask again once they are answered, as long as `asking` is set."""

    def __init__(self, servers: AiohttpServers, url: str) -> None:
        self.answered = 0
        self.asking = asyncio.Event()
        self._servers = servers
        self._url = url

    async def ask(self, number: int) -> None:
        """One of them, for ever."""
        for model in itertools.islice(itertools.cycle(ASKED_FOR), number, None):
            await self.asking.wait()
            body = {"model": model, "messages": [{"role": "user", "content": "Hello?"}], "stream": False}
            data = msgspec.json.encode(body | {"options": {"num_predict": 8}})
            head = RequestHead(RequestId(""), BackendId(""), "POST", "/api/chat", size=len(data))
            answer = await self._servers.exchange(self._url, head, once(data))
            text = b""
            while piece := await answer.read():
                text += piece
            answer.close()
            if answer.status != 200:
                raise BenchmarkFailed(f"the router answered {answer.status} to a question for {model}: {text[:200]!r}")
            self.answered += 1


class Watch:
    """Takes the times of the router, of the view, and of the clients' answers."""

    def __init__(self, router: Program, clients: Clients) -> None:
        self._router = psutil.Process(router.pid)
        self._clients = clients

    async def window(self, seconds: float, view: int | None = None) -> Window:
        """What happens in so many seconds."""
        watched = [self._router, *([psutil.Process(view)] if view is not None else [])]
        loop = asyncio.get_running_loop()
        began, answered, before = loop.time(), self._clients.answered, [_cpu(process) for process in watched]
        await asyncio.sleep(seconds)
        times = [_cpu(process) - earlier for process, earlier in zip(watched, before, strict=True)]
        return Window(loop.time() - began, self._clients.answered - answered, *times)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def measure(programs: Programs, nodes: int, size: Size) -> Row:
    """Both ways in turn, with and without questions. Raises BenchmarkFailed."""
    row = Row(nodes)
    data = f"router{nodes}"
    words = (
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--link-port",
        "0",
        "--no-mdns",
        "--no-dashboard",
        "--data-dir",
        data,
    )
    router = programs.start("router", [*script("herd"), *words])
    url = router.says(r"is up: (http://\S+)")
    crowd = programs.start("crowd", [*module("crowd"), url, str(nodes)])
    await asyncio.to_thread(crowd.says, r"(nodes run)")
    async with AiohttpServers() as servers, _asking(servers, url) as clients:
        await _all_serve(servers, url, nodes)
        watch = Watch(router, clients)
        for number, windows in itertools.product(range(size.rounds), (row.asked, row.idle)):
            if windows is row.asked:
                clients.asking.set()
            else:
                clients.asking.clear()
            await asyncio.sleep(min(SETTLED_S, size.seconds))
            without = await watch.window(size.seconds)
            viewer = Viewer(url, programs.home)
            try:
                await asyncio.to_thread(viewer.wait)
                await asyncio.sleep(min(SETTLED_S, size.seconds))
                written = viewer.written
                windows.append((without, await watch.window(size.seconds, viewer.process.pid)))
                if windows is row.asked:
                    row.shown = (viewer.written - written) / size.seconds
            finally:
                await asyncio.to_thread(viewer.stop)
            progress(f"{nodes} nodes, round {number + 1}, {'asked' if windows is row.asked else 'idle'}")
    crowd.stop()
    router.stop()
    return row


@contextlib.asynccontextmanager
async def _asking(servers: AiohttpServers, url: str) -> AsyncIterator[Clients]:
    clients = Clients(servers, url)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(clients.ask(number)) for number in range(CLIENTS)]
            yield clients
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _all_serve(servers: AiohttpServers, url: str, nodes: int) -> None:
    """Ask until all nodes serve. Raises BenchmarkFailed."""
    with contextlib.suppress(TimeoutError, StreamFailed):
        async with asyncio.timeout(START_S):
            while True:
                _, status = await servers.fetch(f"{url}/herd/v1/status", timeout=Seconds(START_S))
                if status["totals"]["serving"] == nodes:
                    return
                await asyncio.sleep(0.1)
    raise BenchmarkFailed(f"the {nodes} nodes did not come to serve")


# --- what is said -----------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> Iterator[str]:
    """For a person, in Markdown."""
    yield "| nodes | requests/s | router's CPU a request | with the view | more | while nobody asks, more of a core |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        rate, without, with_view = (median(values) for values in zip(*_asked(row), strict=True))
        yield (
            f"| {row.nodes} | {rate:.0f} | {without * 1e3:.2f} ms | {with_view * 1e3:.2f} ms | {row.more:+.1%} "
            f"| {row.more_idle:+.1%} |"
        )
    yield ""
    yield "| nodes | the view's share of a core | while nobody asks | KB/s to the terminal |"
    yield "|---:|---:|---:|---:|"
    for row in rows:
        yield f"| {row.nodes} | {row.view(row.asked):.1%} | {row.view(row.idle):.1%} | {row.shown / 1e3:.1f} |"
    yield ""
    yield f"aims: at most {AIM_ROUTER:.0%} of the router's own, and {AIM_VIEW:.0%} of a core"


def _asked(row: Row) -> Iterator[tuple[float, float, float]]:
    for without, with_view in row.asked:
        yield (
            without.requests / without.seconds,
            without.router / without.requests,
            with_view.router / with_view.requests,
        )


def document(row: Row) -> dict[str, Any]:
    """For JSON."""
    found = {"more": row.more, "more_idle": row.more_idle, "view": row.view(row.asked), "view_idle": row.view(row.idle)}
    return asdict(row) | {name: round(value, 5) for name, value in found.items()}


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    size = SMOKE if options.smoke else QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="herd-benchmark-") as home, Programs(Path(home)) as programs:
        try:
            rows = [asyncio.run(measure(programs, nodes, size)) for nodes in size.nodes]
        except BenchmarkFailed as failure:
            print(f"failed: {failure}\n{programs.tails()}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(f"{machine()}\n")
    print("\n".join(table(rows)))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode({"rows": [document(row) for row in rows]}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What a dashboard costs a router, and itself.")
    parser.add_argument("--quick", action="store_true", help="a third of it")
    parser.add_argument("--smoke", action="store_true", help="show that everything works, and nothing else")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write the figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
