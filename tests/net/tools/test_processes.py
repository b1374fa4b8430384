import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.net.tools.processes import GuardedProcess, Lines, ToolFailed, output_of
from herd.types import Seconds
from tests.net.loops import LOOPS, on_every_loop
from tests.net.tools.ends import Ends

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waiting for another's child takes Linux")

LONG = Seconds(30.0)

# A command with a child of its own, which is deaf to SIGTERM. It prints both process ids, then runs for ever.
FAMILY = """
import os, signal, subprocess, sys
child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
child.stdout.readline()
print(os.getpid(), child.pid, flush=True)
signal.pause()
"""


def python(script: str, *words: str) -> list[str]:
    return [sys.executable, "-c", script, *words]


class Said:
    """What a command says, line by line."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self.hear = Lines(self._lines.put_nowait)

    async def line(self) -> str:
        return await self._lines.get()

    def left(self) -> list[str]:
        return [self._lines.get_nowait() for _ in range(self._lines.qsize())]


async def family(said: Said) -> tuple[GuardedProcess, list[int]]:
    """A running command with a child, and the ids of all its processes, the guard's too."""
    process = GuardedProcess(python(FAMILY), out=said.hear)
    await process.start()
    assert process.pid is not None
    return process, [process.pid, *map(int, (await said.line()).split())]


@on_every_loop
async def test_a_command_runs_to_its_end_and_everything_it_said_is_told() -> None:
    out, err = Said(), Said()
    script = "import sys; print('an image', flush=True); sys.stderr.write('1/2\\r2/2\\r\\nno end'); sys.exit(3)"
    process = GuardedProcess(python(script), out=out.hear, err=err.hear)
    await process.start()
    assert await process.wait() == 3
    assert out.left() == ["an image"]
    assert err.left() == ["1/2", "2/2", "no end"]
    await process.stop()
    assert await process.wait() == 3


@on_every_loop
async def test_a_stopped_command_is_gone_with_all_its_children_also_with_those_deaf_to_sigterm() -> None:
    process, pids = await family(Said())
    ends = Ends(pids)
    await process.stop()
    assert ends.come()
    assert await process.wait() == -signal.SIGTERM


@on_every_loop
async def test_a_command_that_is_deaf_to_sigterm_is_killed() -> None:
    said = Said()
    script = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True)"
    process = GuardedProcess(python(f"{script}; signal.pause()"), out=said.hear)
    await process.start()
    ends = Ends([int(await said.line())])
    await process.stop()
    assert ends.come()
    assert await process.wait() == -signal.SIGKILL


@on_every_loop
async def test_a_cancelled_stop_still_ends_the_group() -> None:
    process, pids = await family(Said())
    ends = Ends(pids)
    stopping = asyncio.create_task(process.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    await process.wait()
    assert ends.come()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_the_end_of_the_loop_is_the_end_of_what_runs(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        _, pids = runner.run(family(Said()))
        ends = Ends(pids)
    assert ends.come()


@on_every_loop
async def test_what_a_command_leaves_behind_ends_with_it() -> None:
    said = Said()
    process = GuardedProcess(python(FAMILY.removesuffix("signal.pause()\n")), out=said.hear)
    await process.start()
    assert await process.wait() == 0
    _, child = map(int, (await said.line()).split())
    assert Ends([child]).come()


@on_every_loop
async def test_who_has_left_the_group_and_holds_its_pipes_is_not_waited_for() -> None:
    said = Said()
    script = "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid)"
    process = GuardedProcess(python(script), out=said.hear)
    await process.start()
    assert await process.wait() == 0
    os.kill(int(await said.line()), signal.SIGKILL)


@on_every_loop
async def test_a_start_that_is_cancelled_leaves_nobody_behind() -> None:
    process = GuardedProcess(python("import signal; signal.pause()"))
    starting = asyncio.create_task(process.start())
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert await process.wait() < 0


PARENT = """
import asyncio, sys
from herd.net.tools.processes import GuardedProcess

async def main():
    process = GuardedProcess(sys.argv[1:], out=lambda data: sys.stdout.write(data.decode()) and sys.stdout.flush())
    await process.start()
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_command_does_not_outlive_a_parent_that_does_not_stop_it(number: signal.Signals) -> None:
    with subprocess.Popen(python(PARENT, *python(FAMILY)), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = parent.stdout.readline(), parent.stdout.readline()
        ends = Ends(int(pid) for line in lines for pid in line.split())
        parent.send_signal(number)
        assert ends.come()


async def test_a_signal_that_a_command_dies_of_is_its_status() -> None:
    process = GuardedProcess(python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    await process.start()
    assert await process.wait() == -signal.SIGSEGV


async def test_a_command_that_is_not_there_says_so_in_its_last_words(tmp_path: Path) -> None:
    said = Said()
    missing = GuardedProcess([str(tmp_path / "mflux-generate")], err=said.hear)
    await missing.start()
    assert await missing.wait() == 127
    assert "mflux-generate: No such file or directory" in said.left()[-1]


async def test_the_output_of_a_command_is_cut_and_its_time_is_bounded() -> None:
    assert await output_of(python("print('x' * 100_000)"), most=10, timeout=LONG) == (0, b"xxxxxxxxxx")
    with pytest.raises(ToolFailed, match=r"python\S* has not ended within 0.01 s"):
        await output_of(python("import signal; signal.pause()"), most=10, timeout=Seconds(0.01))


async def test_without_a_process_to_be_had_the_sentence_names_the_command(tmp_path: Path) -> None:
    process = GuardedProcess(["mflux-generate"], directory=tmp_path / "none")
    with pytest.raises(ToolFailed, match="mflux-generate cannot be started: No such file or directory"):
        await process.start()
    await process.stop()


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\x85"), max_size=20)), st.data())
def test_lines_are_the_same_however_the_bytes_are_cut(words: Sequence[str], data: st.DataObject) -> None:
    written = "\r".join(words).encode(errors="replace")
    heard: list[str] = []
    lines = Lines(heard.append)
    while written:
        size = data.draw(st.integers(1, len(written)))
        lines(written[:size])
        written = written[size:]
    lines.end()
    assert heard == [text for word in words if (text := word.encode(errors="replace").decode().strip())]


def test_a_line_without_an_end_is_bounded() -> None:
    heard: list[str] = []
    lines = Lines(heard.append)
    for _ in range(100):
        lines(b"x" * 1000)
    lines(b"\nthe next\n")
    assert [len(line) for line in heard] == [4096, len("the next")]
