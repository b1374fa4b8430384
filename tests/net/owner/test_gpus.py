"""What of the GPUs' load is the owner's: only what is surely not the model servers'."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.nvidia import Driver
from herd.net.owner.gpus import IOREG_QUERY, AmdUse, AppleUse, NvidiaUse, has_opened_a_gpu, read_ioreg
from herd.net.owner.processes import Processes
from herd.net.sensing import SensorAbsent, SensorFailed
from tests.net.owner.nvml import NOT_FOUND, NOT_SUPPORTED, Library

GAME, DESKTOP, HERD, MANAGER, RUNNER = 10, 11, 20, 21, 22
ALIVE = frozenset((GAME, DESKTOP, HERD, MANAGER, RUNNER))


def machine(*, computing: frozenset[int] = frozenset((RUNNER,)), hidden: bool = False) -> Processes:
    """With a model loaded, unless `computing` says otherwise."""
    ours = frozenset((HERD, MANAGER)) | computing
    return Processes(cpu=None, memory=None, ours=ours, computing=computing, alive=ALIVE, hidden=hidden)


LOADED, UNLOADED, HIDDEN = machine(), machine(computing=frozenset()), machine(hidden=True)

# --- NVIDIA -----------------------------------------------------------------------------------------------------------


def card(busy: Any, computing: Any = (), drawing: Any = (), samples: Any = ()) -> dict[str, Any]:
    return {"busy": busy, "computing": computing, "drawing": drawing, "samples": samples}


async def shares(processes: Processes, *cards: dict[str, Any]) -> list[float | None]:
    return await NvidiaUse(Driver(Library(*cards))).shares(processes)


async def test_a_card_that_rests_is_used_by_nobody() -> None:
    assert await shares(HIDDEN, card(0, [RUNNER])) == [0.0]


async def test_a_card_that_no_model_server_is_on_is_the_owners() -> None:
    assert await shares(LOADED, card(80, [GAME], [DESKTOP])) == [0.8]


async def test_beside_a_model_the_owners_processes_are_counted_alone() -> None:
    samples = [(GAME, 25, 1), (RUNNER, 60, 2), (DESKTOP, 5, 3)]
    assert await shares(LOADED, card(90, [GAME, RUNNER], [DESKTOP], samples)) == [0.3]


async def test_a_card_on_which_a_model_works_alone_is_not_the_owners() -> None:
    assert await shares(LOADED, card(97, [RUNNER], [DESKTOP], [(RUNNER, 95, 1)])) == [0.0]


async def test_the_owners_part_is_no_more_than_the_whole() -> None:
    samples = [(GAME, 70, 1), (DESKTOP, 70, 1), (RUNNER, 10, 1)]
    assert await shares(LOADED, card(60, [GAME, RUNNER], [DESKTOP], samples)) == [0.6]


@pytest.mark.parametrize(
    "seen",
    [
        card(50, [RUNNER], [], NOT_SUPPORTED),  # Windows
        card(50, [RUNNER], [], NOT_FOUND),
        card(50, [RUNNER], [], []),
        card(50, [RUNNER], [], [(RUNNER, 40, 1), (999, 10, 1)]),  # it has ended: whose was it?
        card(50, [RUNNER, 999], [], [(RUNNER, 50, 1)]),  # as in a container: numbers of another count
        card(50, [], []),
        card(50, NOT_SUPPORTED, [GAME]),
        card(50, [GAME], NOT_SUPPORTED),
        card(NOT_SUPPORTED, [GAME], []),
    ],
)
async def test_in_doubt_it_is_unknown(seen: dict[str, Any]) -> None:
    assert await shares(LOADED, seen) == [None]


async def test_while_a_model_server_hides_nothing_is_the_owners_for_sure() -> None:
    assert await shares(HIDDEN, card(50, [GAME])) == [None]


async def test_each_card_is_told_apart_and_only_new_samples_are_asked_for() -> None:
    library = Library(card(50, [RUNNER], [], [(RUNNER, 50, 1000)]), card(70, [GAME]))
    use = NvidiaUse(Driver(library))
    assert await use.shares(LOADED) == [0.0, 0.7]
    await use.shares(LOADED)
    assert library.asked_since == [0, 1000]


async def test_without_a_driver_there_is_no_card() -> None:
    class Missing(Library):
        def nvmlInit(self) -> None:  # noqa: N802
            raise self.NVMLError(self.NVML_ERROR_LIBRARY_NOT_FOUND)

    with pytest.raises(SensorAbsent):
        await NvidiaUse(Driver(Missing())).shares(LOADED)


# --- AMD --------------------------------------------------------------------------------------------------------------


class Linux:
    """The directories /sys/class/drm and /proc."""

    def __init__(self, root: Path) -> None:
        self.drm, self.proc = root / "drm", root / "proc"
        self.drm.mkdir()
        self.proc.mkdir()
        self.use = AmdUse(self.drm, self.proc)

    def card(self, busy: object, number: int = 0, power: str = "active") -> None:
        device = self.drm / f"card{number}" / "device"
        (device / "power").mkdir(parents=True)
        (device / "power" / "runtime_status").write_text(f"{power}\n")
        files = {"vendor": "0x1002", "mem_info_vram_total": 25753026560, "gpu_busy_percent": busy}
        for name, content in files.items():
            (device / name).write_text(f"{content}\n")

    def process(self, pid: int, *files: str) -> None:
        opened = self.proc / str(pid) / "fd"
        opened.mkdir(parents=True)
        for number, file in enumerate(files):
            (opened / str(number)).symlink_to(file)


@pytest.fixture
def linux(tmp_path: Path) -> Linux:
    return Linux(tmp_path)


async def test_without_amds_cards_there_is_none(linux: Linux) -> None:
    with pytest.raises(SensorAbsent):
        await linux.use.shares(UNLOADED)


async def test_without_a_model_in_memory_amds_card_is_the_owners(linux: Linux) -> None:
    linux.card(63)
    linux.card(0, 1)
    assert await linux.use.shares(UNLOADED) == [0.63, 0.0]


@pytest.mark.parametrize("device", ["/dev/kfd", "/dev/dri/renderD128"])
async def test_a_model_server_on_amds_card_leaves_it_unknown_while_it_works(linux: Linux, device: str) -> None:
    linux.card(63)
    linux.card(0, 1)
    linux.process(RUNNER, "/dev/null", "socket:[1]", device)
    assert await linux.use.shares(LOADED) == [None, 0.0]


async def test_a_model_server_that_computes_on_the_processor_leaves_the_card_to_the_owner(linux: Linux) -> None:
    linux.card(63)
    linux.process(RUNNER, "/dev/null", "socket:[1]")
    assert await linux.use.shares(LOADED) == [0.63]
    assert await linux.use.shares(HIDDEN) == [None]


async def test_a_card_that_sleeps_is_used_by_nobody(linux: Linux) -> None:
    linux.card("not to be read", power="suspended")
    assert await linux.use.shares(HIDDEN) == [0.0]


@pytest.mark.parametrize("busy", ["", "much", "-1", "101"])
async def test_a_figure_that_cannot_be_is_unknown(linux: Linux, busy: str) -> None:
    linux.card(busy)
    assert await linux.use.shares(UNLOADED) == [None]


def test_who_cannot_be_looked_at_may_use_a_gpu(linux: Linux) -> None:
    (linux.proc / str(RUNNER)).mkdir()
    (linux.proc / str(RUNNER) / "fd").write_text("no directory, and so an error")
    assert has_opened_a_gpu(linux.proc / str(RUNNER))
    assert not has_opened_a_gpu(linux.proc / "999"), "it has ended"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux shows what processes have open")
def test_what_a_process_of_this_machine_has_open_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.net.owner.gpus._DEVICES", ("/dev/zero",))
    assert not has_opened_a_gpu(Path("/proc/self"))
    opened = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert has_opened_a_gpu(Path("/proc/self"))
    finally:
        os.close(opened)


# --- Apple ------------------------------------------------------------------------------------------------------------

# Of what `ioreg` says on a Mac with Apple's chip, as in a public report.
IOREG = (
    '      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=52967440384,'
    '"Tiler Utilization %"=10,"Device Utilization %"=16,"In use system memory"=2363801600}\n'
)


class Ioreg:
    """ioreg that ends so."""

    def __init__(self, said: str, code: int = 0) -> None:
        self._end = code, said
        self.asked: tuple[str, ...] = ()

    async def run(self, *arguments: str) -> tuple[int, str]:
        self.asked = arguments
        return self._end


async def mac(ioreg: Ioreg, processes: Processes) -> list[float | None]:
    return await AppleUse(ioreg).shares(processes)  # type: ignore[arg-type] # it runs as a Tool does


async def test_without_a_model_in_memory_a_macs_gpu_is_the_owners() -> None:
    ioreg = Ioreg(IOREG)
    assert await mac(ioreg, UNLOADED) == [0.16]
    assert ioreg.asked == IOREG_QUERY


async def test_with_a_model_in_memory_a_macs_gpu_is_unknown_while_it_works() -> None:
    assert await mac(Ioreg(IOREG), LOADED) == [None]
    assert await mac(Ioreg(IOREG), machine(computing=frozenset(), hidden=True)) == [None]
    assert await mac(Ioreg(IOREG.replace('Device Utilization %"=16', 'Device Utilization %"=0')), LOADED) == [0.0]


@pytest.mark.parametrize("said", ["", '"Device Utilization %"=', '"Device Utilization %"=101', "Utilization %=5"])
async def test_a_mac_that_does_not_say_how_busy_its_gpu_is_is_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="does not say"):
        await mac(Ioreg(said), UNLOADED)


async def test_ioreg_that_fails_is_refused() -> None:
    with pytest.raises(SensorFailed, match="ended with 1"):
        await mac(Ioreg(IOREG, code=1), UNLOADED)


@given(st.text(alphabet='"Device Utilization %"=0123456789,', max_size=80))
@settings(max_examples=100, derandomize=True, database=None)
def test_whatever_ioreg_says_it_is_read_or_refused(said: str) -> None:
    try:
        found = read_ioreg(said)
    except SensorFailed:
        return
    assert all(0 <= share <= 1 for share in found)
