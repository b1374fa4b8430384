"""Drivers and programs that hang, fail or babble hold nobody up."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from herd.net.sensing import MAX_OUTPUT, Aside, SensorFailed, Tool
from herd.types import Seconds

MOMENT = Seconds(0.05)
LONG = Seconds(10.0)

needs_shell = pytest.mark.skipif(os.name != "posix", reason="its programs are shell scripts")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# --- A thread ---------------------------------------------------------------------------------------------------------


async def test_a_call_runs_in_another_thread_and_its_value_or_error_comes_back() -> None:
    aside = Aside("driver", LONG)
    assert await aside.run(threading.get_ident) != threading.get_ident()

    def fail() -> None:
        raise ZeroDivisionError("the driver's")

    with pytest.raises(ZeroDivisionError, match="the driver's"):
        await aside.run(fail)


async def test_a_driver_that_hangs_is_not_waited_for_nor_asked_again_until_it_answers() -> None:
    aside, answer = Aside("driver", MOMENT), threading.Event()
    calls: list[str] = []

    def hang() -> None:
        calls.append("hangs")
        answer.wait()

    with pytest.raises(SensorFailed, match=r"does not answer within 0\.05 s"):
        await aside.run(hang)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(SensorFailed, match="has not answered since"):
            await aside.run(hang)
    assert time.monotonic() - began < 1.0
    assert calls == ["hangs"]
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "driver"]
    assert thread.daemon, "else the process would not end before the driver answers"
    answer.set()
    await asyncio.to_thread(thread.join)
    assert await aside.run(lambda: 1) == 1


def test_an_answer_after_the_end_of_the_loop_disturbs_nobody() -> None:
    answer = threading.Event()

    async def ask() -> None:
        with pytest.raises(SensorFailed):
            await Aside("late driver", MOMENT).run(answer.wait)

    asyncio.run(ask())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "late driver"]
    answer.set()
    thread.join()


async def test_who_asks_may_go_before_the_answer() -> None:
    aside, answer = Aside("driver", LONG), threading.Event()
    asking = asyncio.create_task(aside.run(answer.wait))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "driver":
            await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    assert await aside.run(lambda: 1) == 1


# --- A program --------------------------------------------------------------------------------------------------------


@needs_shell
async def test_a_program_says_something_and_ends(tmp_path: Path) -> None:
    tool = Tool(script(tmp_path / "tool", 'echo "$1, $2"; echo trouble >&2; exit 3'), LONG)
    assert await tool.run("a b", "$HOME") == (3, "a b, $HOME\n")
    assert await tool.run("c", "d") == (3, "c, d\n")


async def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SensorFailed, match="nothing cannot be run: No such file"):
        await Tool(str(tmp_path / "nothing"), LONG).run()


@needs_shell
async def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    tool = Tool(script(tmp_path / "tool", f'echo $$ > "{pid}"; echo begins; exec sleep 60'), Seconds(0.3))
    with pytest.raises(SensorFailed, match=r"does not end within 0\.3 s"):
        await tool.run()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@needs_shell
async def test_a_program_that_babbles_is_stopped(tmp_path: Path) -> None:
    tool = Tool(script(tmp_path / "tool", "exec yes"), LONG)
    with pytest.raises(SensorFailed, match=f"says more than {MAX_OUTPUT} bytes"):
        await tool.run()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files that are open are counted in /proc")
@pytest.mark.parametrize("text", ["exec yes", "sleep 1 &"], ids=["nobody reads on", "a child holds it"])
async def test_the_pipe_of_a_program_is_closed_whatever_it_does(tmp_path: Path, text: str) -> None:
    tool = Tool(script(tmp_path / "tool", text), Seconds(0.3))
    before = open_files()
    with pytest.raises(SensorFailed):
        await tool.run()
    await asyncio.sleep(0)
    assert open_files() <= before


@needs_shell
async def test_one_from_which_more_is_expected_may_say_more(tmp_path: Path) -> None:
    path = script(tmp_path / "tool", f"head -c {MAX_OUTPUT + 1} /dev/zero")
    assert await Tool(path, LONG, MAX_OUTPUT + 1).run() == (0, "\0" * (MAX_OUTPUT + 1))
    with pytest.raises(SensorFailed, match="says more than 5 bytes"):
        await Tool(path, LONG, 5).run()


@needs_shell
async def test_a_program_ends_with_whoever_asked(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    tool = Tool(script(tmp_path / "tool", f'echo $$ > "{pid}"; exec sleep 60'), LONG)
    asking = asyncio.create_task(tool.run())
    number = int(await asyncio.to_thread(pid.read_text))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


class Stuck:
    """A process that is in a driver and not to be killed."""

    returncode: int | None = None


async def test_beside_a_program_that_cannot_be_killed_no_second_one_is_started(tmp_path: Path) -> None:
    tool = Tool(str(tmp_path / "nothing"), LONG)
    tool._process = Stuck()  # type: ignore[assignment]
    with pytest.raises(SensorFailed, match="has not ended since"):
        await tool.run()
