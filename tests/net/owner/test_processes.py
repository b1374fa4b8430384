"""What of the machine's load is the owner's, measured on this machine's own processes."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from herd.net.clock import SystemClock
from herd.net.embedded import embedded, find_model
from herd.net.owner import processes
from herd.net.owner.model_servers import Role, role_of
from herd.net.owner.processes import LoadMeter, Processes, anonymous_memory
from herd.net.sensing import SensorFailed
from herd.types import KiB, MiB, Seconds
from tests.net.owner.workers import Worker, working

NOBODY = -1  # this process is not Herd: else all its children were
CORES = os.cpu_count() or 1

linux = pytest.mark.skipif(not psutil.LINUX, reason="only Linux counts it")


@pytest.fixture(autouse=True)
def only_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run model servers beside these."""
    monkeypatch.setattr(processes, "role_of", lambda words: None)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with working() as process:
        yield process


def meter(*urls: str, me: int = NOBODY) -> LoadMeter:
    return LoadMeter(urls, SystemClock(), me)


def recognise(monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    """Processes with the word `worker` among theirs have this role."""
    monkeypatch.setattr(processes, "role_of", lambda words: role if "worker" in words else None)


def let_time_pass() -> None:
    """So much that the system's counters of it, which count hundredths of a second, have moved."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass


class Pair:
    """What is the owner's to a meter that knows whose a worker is, and to one that does not.

    The difference is the worker's, whatever else runs here.
    """

    def __init__(self, knows: LoadMeter) -> None:
        self._meters = meter(), knows
        self._began = time.monotonic()
        self.samples: tuple[Processes, Processes] = (self._meters[0].sample(), self._meters[1].sample())

    def difference(self, act: Callable[[], None]) -> float:
        """Seconds of processor time that only the first puts down to the owner, while `act` runs."""
        began = self._began
        act()
        self._began = time.monotonic()
        self.samples = self._meters[0].sample(), self._meters[1].sample()
        shares = [sample.cpu for sample in self.samples]
        assert shares[0] is not None
        assert shares[1] is not None
        return (shares[0] - shares[1]) * CORES * (self._began - began)


# --- Processor time ---------------------------------------------------------------------------------------------------


def test_what_a_process_uses_is_the_owners_until_it_is_known_as_a_model_server(worker: Worker) -> None:
    pair = Pair(meter(worker.url))
    assert pair.difference(lambda: worker.do("burn", 0.2)) > 0.1
    assert worker.process.pid in pair.samples[1].ours
    assert worker.process.pid in pair.samples[1].computing
    assert worker.process.pid not in pair.samples[0].ours
    assert worker.process.pid in pair.samples[0].alive


def test_while_a_model_server_does_nothing_nothing_is_taken_off(worker: Worker) -> None:
    assert Pair(meter(worker.url)).difference(let_time_pass) < 0.1


@linux
def test_children_of_a_model_server_that_come_and_go_unseen_are_counted(worker: Worker) -> None:
    assert Pair(meter(worker.url)).difference(lambda: worker.do("child", 0.2)) > 0.1


def test_this_process_and_its_children_are_herd(worker: Worker) -> None:
    pair = Pair(meter(me=os.getpid()))
    assert pair.difference(lambda: worker.do("burn", 0.2)) > 0.1
    assert {os.getpid(), worker.process.pid} <= pair.samples[1].ours
    assert not pair.samples[1].computing


def test_a_model_server_beneath_herd_is_a_model_server(worker: Worker) -> None:
    assert worker.process.pid in meter(worker.url, me=os.getpid()).sample().computing


def test_the_first_look_knows_no_share(worker: Worker) -> None:
    assert meter().sample().cpu is None


def test_a_share_is_a_share(worker: Worker) -> None:
    look = meter()
    look.sample()
    worker.do("burn", 0.1)
    share = look.sample().cpu
    assert share is not None
    assert 0 < share <= 1


def test_what_a_model_server_used_before_its_end_is_not_put_down_to_the_owner(worker: Worker) -> None:
    look = meter(worker.url)
    look.sample()
    worker.do("burn", 0.1)
    assert look.sample().cpu is not None
    worker.do("burn", 0.1)
    worker.end()
    ended = look.sample()
    assert (ended.cpu, ended.hidden) == (None, False)
    let_time_pass()
    assert look.sample().cpu is not None


def test_of_a_process_that_only_now_turns_out_to_be_a_model_server_the_past_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with working(sys.executable, "-X", "worker") as process:
        look = meter()
        look.sample()
        recognise(monkeypatch, Role.SERVER)  # as if it had replaced itself, as shells do
        let_time_pass()
        now = look.sample()
        assert process.process.pid in now.ours
        assert now.cpu is None
        let_time_pass()
        assert look.sample().cpu is not None


def test_a_process_that_replaces_itself_by_a_model_server_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name != "posix":
        pytest.skip("nothing replaces itself on this system")
    monkeypatch.setattr(
        processes, "role_of", lambda words: role_of(words) if str(tmp_path) in " ".join(words) else None
    )
    server = tmp_path / "vllm"
    server.write_text("import sys\nprint('ready', flush=True)\nsys.stdin.read()\n")
    command = ["sh", "-c", f'read go; exec "{sys.executable}" "{server}" serve']
    look = meter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.pid not in look.sample().ours
        shell.stdin.write("go\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == "ready\n"
        assert shell.pid in look.sample().computing
        shell.communicate(timeout=10)


def test_of_another_users_process_the_name_has_to_do(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "cmdline", denied)
    name = psutil.Process(worker.process.pid).name()
    monkeypatch.setattr(processes, "role_of_name", {name: Role.SERVER}.get)
    assert worker.process.pid in meter().sample().computing


def test_what_a_manager_of_model_servers_starts_are_model_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    recognise(monkeypatch, Role.MANAGER)
    starts = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[2:]])"
    with working(sys.executable, "-c", starts, "worker") as process:
        (child,) = psutil.Process(process.process.pid).children()
        look = meter().sample()
        assert {process.process.pid, child.pid} <= look.ours
        assert process.process.pid not in look.computing
        assert child.pid in look.computing
        process.end()


@linux
def test_what_the_kernel_does_for_anybody_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        kernel = psutil.Process(2)
    except psutil.NoSuchProcess:
        pytest.skip("inside a container the kernel's threads are not to be seen")
    if kernel.name() != "kthreadd":
        pytest.skip("inside a container the kernel's threads are not to be seen")
    look = meter()
    sample = look.sample()
    threads = {kernel, *kernel.children()}
    assert {look._seen[thread].role for thread in threads if thread in look._seen} == {Role.KERNEL}
    assert sample.ours.isdisjoint({thread.pid for thread in threads})


def test_a_model_server_that_cannot_be_measured_leaves_the_share_unknown(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = meter(worker.url)
    look.sample()
    let_time_pass()
    assert look.sample().cpu is not None
    let_time_pass()

    def denied(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "cpu_times", denied)
    assert look.sample().cpu is None


def test_beside_a_model_server_elsewhere_nothing_is_known_of_the_owner() -> None:
    look = meter("http://ollama:11434")
    look.sample()
    let_time_pass()
    second = look.sample()
    assert (second.cpu, second.memory, second.hidden) == (None, None, True)


def test_an_error_names_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied() -> list[int]:
        raise psutil.AccessDenied(7, "diary")

    monkeypatch.setattr(psutil, "pids", denied)
    with pytest.raises(SensorFailed, match="AccessDenied") as caught:
        meter().sample()
    assert "diary" not in str(caught.value)


def test_after_an_error_the_share_is_that_since_the_look_before_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> list[int]:
        raise OSError(24, "Too many open files")

    def burn_and_fail() -> None:
        worker.do("burn", 0.2)
        with monkeypatch.context() as broken:
            broken.setattr(psutil, "pids", fails)
            with pytest.raises(SensorFailed):
                knows.sample()
        let_time_pass()

    knows = meter(worker.url)
    pair = Pair(knows)
    assert 0.1 < pair.difference(burn_and_fail) < 0.4


@pytest.mark.real
async def test_what_a_real_model_computes_is_not_the_owners() -> None:
    model = find_model()
    if model is None:
        pytest.skip("the optional packages are not installed")
    async with embedded(model) as url:
        body = json.dumps({"prompt": "Once upon a time", "max_tokens": 64}).encode()
        question = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})

        def ask() -> None:
            with urllib.request.urlopen(question, timeout=60) as answer:
                answer.read()

        knows = meter(url)
        pair = Pair(knows)
        (server,) = pair.samples[1].computing
        before = sum(psutil.Process(server).cpu_times()[:2])
        seen = await asyncio.to_thread(pair.difference, ask)
        used = sum(psutil.Process(server).cpu_times()[:2]) - before
        assert used > 0.1
        assert seen == pytest.approx(used, rel=0.25, abs=0.1)


# --- Memory -----------------------------------------------------------------------------------------------------------


@linux
def test_what_a_model_server_holds_is_not_the_owners(worker: Worker) -> None:
    worker.do("hold", 64 * MiB)
    owners, less = meter().sample().memory, meter(worker.url).sample().memory
    assert owners is not None
    assert less is not None
    assert owners - less > 48 * MiB


@linux
def test_weights_that_are_mapped_from_a_file_are_not_taken_off_the_owners(worker: Worker, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"x" * 64 * MiB)
    maps = "import mmap, sys; file = open(sys.argv[1], 'rb'); held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)"
    code = f"{maps}; sum(held[::4096]); print('mapped', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(weights)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert psutil.Process(process.pid).memory_info().rss > 64 * MiB
        mapped, not_ours = meter(me=process.pid).sample().memory, meter().sample().memory
        assert mapped is not None
        assert not_ours is not None
        assert not_ours - mapped < 48 * MiB
        process.communicate(timeout=10)


def test_where_the_system_does_not_say_what_drivers_hold_nothing_is_known_beside_a_model_server(
    worker: Worker, tmp_path: Path
) -> None:
    beside = LoadMeter([worker.url], SystemClock(), NOBODY, tmp_path).sample()
    alone = LoadMeter([], SystemClock(), NOBODY, tmp_path).sample()
    assert beside.memory is None
    assert alone.memory is not None
    assert alone.memory > 0


@pytest.mark.parametrize(
    ("meminfo", "size"),
    [
        ("MemTotal:       24684096 kB\nAnonPages:        656336 kB\nMapped:            45808 kB\n", 656336 * KiB),
        ("MemTotal:       24684096 kB\n", None),
        ("AnonPages: much kB\n", None),
        ("AnonPages\n", None),
        ("\xff", None),
    ],
)
def test_memory_that_no_file_backs_is_read_from_meminfo(tmp_path: Path, meminfo: str, size: int | None) -> None:
    (tmp_path / "meminfo").write_text(meminfo, "latin-1")
    assert anonymous_memory(tmp_path / "meminfo") == size


# --- What is kept -----------------------------------------------------------------------------------------------------


def test_of_old_processes_the_words_are_not_read_again(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(SystemClock):
        ahead = 0.0

        def monotonic(self) -> Seconds:
            return Seconds(super().monotonic() + self.ahead)

    read: list[Sequence[str]] = []
    monkeypatch.setattr(processes, "role_of", read.append)
    clock = Later()
    look = LoadMeter([], clock, NOBODY)
    look.sample()
    assert len(read) > 1
    clock.ahead = processes.SETTLED_S + 1
    read.clear()
    look.sample()
    assert len(read) < 20, "only those of processes that were begun meanwhile"
