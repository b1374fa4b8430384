"""The benchmark runs, checks what it carries, and leaves nothing behind. No time is asserted here."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import pytest

from benchmarks import traffic
from benchmarks.backend import Connection
from benchmarks.load import Plan, main, percentile
from benchmarks.programs import BenchmarkFailed, Program, Programs

OVERHEAD = Path(__file__).parent.parent / "benchmarks" / "overhead.py"

TOKENS = 4
LINES = traffic.stream_lines(TOKENS)
HEAD = b"HTTP/1.1 200 OK\r\n"
STREAM_HEAD = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

PATIENCE_S = 50  # the command takes a few seconds; a machine that compiles something else may take many times that


def sized(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def chunked(*pieces: bytes) -> bytes:
    return STREAM_HEAD + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class Canned(asyncio.Protocol):
    """A server that says one thing, whatever it is asked, and perhaps hangs up then."""

    def __init__(self, answer: bytes, hang_up: bool) -> None:
        self.answer = answer
        self.hang_up = hang_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)
        if self.hang_up:
            self.transport.close()


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """A server on a free port."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


# --- the load ---------------------------------------------------------------------------------------------------------


async def test_the_load_counts_the_answers_it_wanted_and_no_more() -> None:
    async with listening(Connection) as port:
        found = await main(Plan(connections=3, requests=20, port=port))

    assert (found.units, found.broken, found.complaints) == (20, 0, [])
    assert 0 < found.p50 <= found.p99
    assert found.cpu.keys() == {"load"}


@pytest.mark.parametrize("rate", [0.0, 1000.0], ids=["flat out", "paced"])
async def test_the_load_counts_the_tokens_of_its_streams(rate: float) -> None:
    async with listening(Connection) as port:
        found = await main(Plan(connections=3, tokens=20, rate=rate, port=port))

    assert (found.units, found.broken, found.complaints) == (60, 0, [])


async def test_a_paced_stream_is_not_faster_than_its_pace() -> None:
    async with listening(Connection) as port:
        found = await main(Plan(connections=2, tokens=6, rate=20.0, port=port))

    assert found.seconds > 4 / 20  # five intervals, of which the clock of uvloop may take a millisecond each
    assert found.p99 > 0


WRONG_ANSWERS = {
    "an error": (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "not 200"),
    "other bytes": (sized(traffic.SMALL_ANSWER.replace(b"Rayleigh", b"rayleigh")), "other bytes"),
    "an empty body": (sized(b""), "other bytes"),
    "too many bytes": (sized(traffic.SMALL_ANSWER) + b"x", "bytes after the answer"),
    "no length": (HEAD + b"\r\n" + traffic.SMALL_ANSWER, "one length"),
    "half an answer": (sized(traffic.SMALL_ANSWER)[:-9], "closed within an answer"),
    "nothing": (b"", "closed within an answer"),
}


@pytest.mark.parametrize(("answer", "complaint"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
async def test_a_wrong_answer_is_found_out(answer: bytes, complaint: str) -> None:
    async with listening(lambda: Canned(answer, hang_up=True)) as port:
        found = await main(Plan(connections=1, requests=20, port=port))

    assert found.broken == 1
    assert complaint in found.complaints[0]


WRONG_STREAMS = {
    "a token lost": (chunked(LINES[0], *LINES[2:], b""), "other bytes"),
    "a token twice": (chunked(LINES[0], *LINES, b""), "other bytes"),
    "tokens in another order": (chunked(LINES[1], LINES[0], *LINES[2:], b""), "other bytes"),
    "a clean end before the last line": (chunked(*LINES[:-1], b""), f"ends after {TOKENS} tokens of {TOKENS}"),
    "a clean end in the middle": (chunked(*LINES[:2], b""), f"ends after 2 tokens of {TOKENS}"),
    "no end": (chunked(*LINES), "closed within an answer"),
    "a chunk longer than it says": (STREAM_HEAD + b"1\r\n" + LINES[0], "chunk ends wrongly"),
    "bytes after the end": (chunked(*LINES, LINES[0], b""), "other bytes"),
}


@pytest.mark.parametrize(("answer", "complaint"), WRONG_STREAMS.values(), ids=WRONG_STREAMS.keys())
async def test_a_wrong_stream_is_found_out(answer: bytes, complaint: str) -> None:
    async with listening(lambda: Canned(answer, hang_up=True)) as port:
        found = await main(Plan(connections=1, tokens=TOKENS, port=port))

    assert (found.broken, found.units) == (1, 0)
    assert complaint in found.complaints[0]


async def test_a_stream_may_come_in_any_pieces() -> None:
    whole = STREAM_HEAD + b"".join(traffic.stream_chunks(TOKENS))

    class ByteByByte(Canned):
        def data_received(self, data: bytes) -> None:
            for number in range(len(whole)):
                self.transport.write(whole[number : number + 1])

    async with listening(lambda: ByteByByte(b"", hang_up=False)) as port:
        found = await main(Plan(connections=1, tokens=TOKENS, port=port))

    assert (found.units, found.complaints) == (TOKENS, [])


async def test_nobody_listening_is_a_complaint() -> None:
    async with listening(Connection) as port:
        pass

    found = await main(Plan(connections=2, requests=20, port=port))

    assert "no connection" in found.complaints[0]


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 2.0, 4.0, 4.0]
    assert percentile([], 0.5) == 0.0


# --- the processes ----------------------------------------------------------------------------------------------------


def started_in_a_run_that_fails(home: Path) -> Iterator[Program]:
    with Programs(home) as programs:
        yield programs.start(
            "sleeper", [sys.executable, "-c", "import signal; print('up 1', flush=True); signal.pause()"]
        )
        raise BenchmarkFailed("came to nothing")


def test_programs_are_ended_whatever_happens(tmp_path: Path) -> None:
    run = started_in_a_run_that_fails(tmp_path)
    sleeper = next(run)
    assert sleeper.says(r"up (\d)") == "1"
    assert sleeper.process.poll() is None

    with pytest.raises(BenchmarkFailed, match="came to nothing"):
        next(run)

    assert sleeper.process.returncode == -signal.SIGTERM
    assert not psutil.pid_exists(sleeper.pid)


def test_a_program_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    with Programs(tmp_path) as programs:
        program = programs.start("mayfly", [sys.executable, "-c", "raise SystemExit('no strength left')"])
        with pytest.raises(BenchmarkFailed, match=r"mayfly ended with 1:\nno strength left"):
            program.says(r"port (\d+)")


@contextmanager
def overhead(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command, as a person runs it."""
    words = [sys.executable, "-W", "error", str(OVERHEAD), *arguments]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
def test_the_command_measures_the_three_ways_and_prints_a_table(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    with overhead("--smoke", "--only", "small-32", "--only", "streams-1000", "--json", str(file)) as process:
        printed, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0, errors
    assert "| | direct | aiohttp hop | herd + herd-node | herd / hop |" in printed
    assert "| 1000 streams at 5 tokens/s: broken | 0 | 0 | 0 |  |" in printed
    found = json.loads(file.read_bytes())["found"]
    assert {name: {*ways} for name, ways in found.items()} == {
        "small-32": {"direct", "hop", "herd"},
        "streams-1000": {"direct", "hop", "herd"},
    }
    assert all(each["units"] > 0 for ways in found.values() for rounds in ways.values() for each in rounds)


def children_once_loaded(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Wait until the load begins; the processes that there are then."""
    assert process.stderr is not None
    assert "round 1" in process.stderr.readline()
    return psutil.Process(process.pid).children()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 1)])
def test_an_interrupted_run_ends_all_that_it_started(number: signal.Signals, code: int) -> None:
    with overhead("--quick", "--only", "small-1") as process:
        children = children_once_loaded(process)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)

    assert process.returncode == code
    assert len(children) >= 4
    assert not any(child.is_running() for child in children)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["benchmarks.backend", "benchmarks.hop", "entry.herd()"])
def test_a_run_in_which_something_breaks_fails_and_says_what(victim: str) -> None:
    with overhead("--quick", "--only", "small-1", "--only", "streams-256") as process:
        children = children_once_loaded(process)
        next(child for child in children if victim in " ".join(child.cmdline())).kill()
        printed, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert not printed
    assert "failed: " in errors
    assert "broke:" in errors
    assert not any(child.is_running() for child in children)
