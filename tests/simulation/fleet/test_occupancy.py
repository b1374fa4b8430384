"""An owner's day happens to a model server: when, how much is left, and what is kept of it."""

import asyncio

import pytest

from herd.runtime.testing import virtual_time
from herd.simulation.fleet.occupancy import CORES, SYSTEM, IdleMachine, Occupancy, OccupiedMachine
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, HOUR, OwnerState, memory_left, speed_left, week
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, GiB, Seconds
from tests.simulation.fleet.fleets import ASLEEP, AWAKE, LLAMA, MEETING, Changes, _seconds
from tests.simulation.ollama.bench import at, now, timers, turns

STUDIO = PROFILES["mac-studio"]
GAME = OwnerState(cpu=0.3, gpu=0.8)


class Day:
    """A server with an owner, who does these things at these seconds."""

    def __init__(self, changes: Changes, machine: MachineProfile = STUDIO, *, speed: float = 1.0) -> None:
        self.told: list[tuple[float, OwnerState, OwnerState]] = []
        self.fake = FakeOllama(machine.faster(speed), [CATALOG[LLAMA]])
        self.occupancy = Occupancy(self.fake, machine, _seconds(changes), self._changed, speed)
        self.probe = OccupiedMachine(machine, self.fake, self.occupancy, start_slot=166)

    def _changed(self, before: OwnerState, after: OwnerState) -> None:
        self.told.append((now(), before, after))

    async def ask(self, tokens: int = 10) -> RecordingSink:
        """An answer that is not streamed."""
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": LLAMA, "messages": messages, "stream": False, "options": {"num_predict": tokens}}
        return await call(self.fake.handle, "POST", "/api/chat", body)


# --- When things happen -----------------------------------------------------------------------------------------------


@virtual_time
async def test_changes_happen_at_their_times_and_those_that_are_due_at_once() -> None:
    day = Day([(0.0, MEETING), (0.0, GAME), (100.0, AWAKE), (100.0, ASLEEP), (250.5, AWAKE)])
    await asyncio.sleep(7.0)
    assert day.occupancy.owner == AWAKE
    day.occupancy.start()
    assert day.told == [(7.0, AWAKE, MEETING), (7.0, MEETING, GAME)]
    await asyncio.sleep(1000.0)
    assert day.told[2:] == [(107.0, GAME, AWAKE), (107.0, AWAKE, ASLEEP), (257.5, ASLEEP, AWAKE)]
    assert day.occupancy.owned == [(0.0, MEETING), (0.0, GAME), (100.0, AWAKE), (100.0, ASLEEP), (250.5, AWAKE)]
    assert timers() == 0


@virtual_time
async def test_a_time_that_floats_cannot_reach_is_reached_all_the_same() -> None:
    # So soon after 2**17 s the loop's time, which began earlier, has no float that is late enough.
    day = Day([(73908.0, GAME), (131072.0, AWAKE)])
    await asyncio.sleep(2.7903486148116707)
    day.occupancy.start()
    await asyncio.sleep(140_000.0)
    assert [state for _, state in day.occupancy.owned] == [GAME, AWAKE]


@virtual_time
async def test_a_week_can_pass_faster_than_the_loop() -> None:
    day = Day([(60.0, GAME), (120.0, AWAKE)], speed=60.0)
    day.occupancy.start()
    await asyncio.sleep(1.5)
    assert day.occupancy.owner == GAME
    assert day.occupancy.now == pytest.approx(90.0)
    await asyncio.sleep(1.0)
    assert [time for time, _, _ in day.told] == pytest.approx([1.0, 2.0])
    assert [time for time, _ in day.occupancy.owned] == pytest.approx([60.0, 120.0])


@virtual_time
async def test_the_weeks_of_a_real_owner_pass_and_are_recorded_as_they_were_made() -> None:
    duration = Seconds(60 * 86_400.0)
    made = list(week(HABITS["night owl"], STUDIO, 3, duration=duration))
    fake = FakeOllama(STUDIO, [CATALOG[LLAMA]])
    occupancy = Occupancy(fake, STUDIO, iter(made))
    occupancy.start()
    await asyncio.sleep(duration)
    assert [state for _, state in occupancy.owned] == [state for _, state in made]
    assert [time for time, _ in occupancy.owned] == pytest.approx([time for time, _ in made], abs=1e-6)


@virtual_time
async def test_after_the_end_nothing_happens_any_more() -> None:
    day = Day([(100.0, ASLEEP)])
    day.occupancy.start()
    await day.ask()
    day.occupancy.stop()
    kept = list(day.occupancy.working)
    await day.ask()
    await asyncio.sleep(1000.0)
    assert (day.occupancy.owner, day.told) == (AWAKE, [])
    assert day.occupancy.working == kept


@virtual_time
async def test_what_runs_at_the_end_is_recorded_until_then_and_no_longer() -> None:
    day = Day([])
    day.occupancy.start()
    asked = asyncio.create_task(day.ask(tokens=1000))
    await asyncio.sleep(5.0)
    day.occupancy.stop()
    await asked
    assert day.occupancy.working == [(0.0, 5.0)]


# --- What is left for models ------------------------------------------------------------------------------------------


@virtual_time
async def test_beside_its_owner_a_machine_is_slower_by_as_much_as_the_owner_takes() -> None:
    day = Day([(1000.0, GAME), (2000.0, AWAKE)])
    day.occupancy.start()
    await day.ask()
    times = []
    for begin in (500.0, 1100.0, 2100.0):
        await day.ask()  # the model is there, and so is the prompt
        await at(begin)
        await call(day.fake.handle, "POST", "/api/generate", {"model": LLAMA, "keep_alive": -1})
        await day.ask(1)
        began = now()
        await day.ask(100)
        times.append(now() - began)
    assert times[1] == pytest.approx(times[0] / speed_left(GAME, STUDIO))
    assert times[2] == pytest.approx(times[0])


@virtual_time
async def test_the_owners_programs_take_memory_from_models_that_want_to_load() -> None:
    hungry = OwnerState(memory=Bytes(111 * GiB))
    day = Day([(10.0, hungry), (20.0, AWAKE)])
    day.occupancy.start()
    await at(11.0)
    assert (await day.ask()).status == 500
    await at(21.0)
    assert (await day.ask()).status == 200


@virtual_time
async def test_a_closed_lid_stops_everything_and_an_open_one_lets_it_go_on() -> None:
    day = Day([(5.0, ASLEEP), (1000.0, MEETING)])
    day.occupancy.start()
    whole = asyncio.create_task(day.ask(tokens=1000))
    await at(999.0)
    assert not whole.done()
    await whole
    alone = Day([])
    began = now()
    await alone.ask(tokens=1000)
    took = now() - began
    assert whole.result().json["total_duration"] / 1e9 == pytest.approx(995.0 + took)
    day.occupancy.stop()
    assert day.occupancy.working == [(0.0, 5.0), (1000.0, pytest.approx(995.0 + took))]


# --- The record -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_the_machine_works_from_the_load_to_the_last_token_however_many_ask() -> None:
    day = Day([])
    day.occupancy.start()
    await at(3.0)
    await asyncio.gather(*[day.ask() for _ in range(3)])
    ended = now()
    await at(100.0)
    await day.ask()
    assert [since for since, _ in day.occupancy.working] == [3.0, 100.0]
    assert [until for _, until in day.occupancy.working] == pytest.approx([ended, now()])


@virtual_time
async def test_what_runs_when_the_week_begins_is_work_from_then_on() -> None:
    day = Day([])
    asked = asyncio.create_task(day.ask(tokens=1000))
    await at(5.0)
    day.occupancy.start()
    await asked
    ((since, until),) = day.occupancy.working
    assert (since, until) == pytest.approx((0.0, now() - 5.0))


@virtual_time
async def test_an_idle_model_in_memory_is_no_work() -> None:
    day = Day([(50.0, GAME), (60.0, AWAKE)])
    day.occupancy.start()
    await day.ask()
    await asyncio.sleep(200.0)
    assert len(day.occupancy.working) == 1
    assert day.fake.resident == (LLAMA,)


# --- What an agent would measure --------------------------------------------------------------------------------------


@virtual_time
async def test_a_sample_shows_the_owner_and_the_hour_of_the_week() -> None:
    state = OwnerState(cpu=0.4, memory=Bytes(10 * GiB))
    day = Day([(100.0, state)])
    day.occupancy.start()
    sample = day.probe.sample()
    assert (sample.cpu, sample.memory_free, sample.week_slot) == (0.0, 128 * GiB - SYSTEM, 166)
    await at(100.0)
    await turns()
    sample = day.probe.sample()
    assert (sample.cpu, sample.memory_free) == (0.4, 118 * GiB - SYSTEM)
    for hours, slot in ((1, 167), (2, 0), (3, 1), (168 + 3, 1)):
        await at(hours * HOUR)
        assert day.probe.sample().week_slot == slot


@pytest.mark.parametrize(("kind", "vendor", "unified"), [("mac-studio", "apple", True), ("gaming-pc", "nvidia", False)])
@virtual_time
async def test_a_sample_shows_the_gpu_with_what_the_server_may_still_take_of_it(
    kind: str, vendor: str, unified: bool
) -> None:
    machine = PROFILES[kind]
    busy = OwnerState(gpu=0.2, memory=Bytes(80 * GiB) if unified else Bytes(0))
    day = Day([(100.0, busy)], machine)
    day.occupancy.start()
    (gpu,) = day.probe.sample().gpus
    assert (gpu.name, gpu.vendor, gpu.unified) == (machine.chip, vendor, unified)
    assert (gpu.memory_total, gpu.memory_free) == (machine.model_memory, machine.model_memory)
    assert gpu.bandwidth == machine.bandwidth
    await day.ask()
    (gpu,) = day.probe.sample().gpus
    assert (gpu.memory_total, gpu.memory_free) == (machine.model_memory, machine.model_memory - day.fake.taken)
    await at(101.0)
    (gpu,) = day.probe.sample().gpus
    assert 0 < gpu.memory_free == memory_left(busy, machine) - day.fake.taken


@virtual_time
async def test_where_there_is_no_gpu_the_memory_is_what_the_server_may_still_take_of_it() -> None:
    machine = PROFILES["mini-pc"]
    day = Day([], machine)
    idle = IdleMachine(machine, day.fake)
    day.occupancy.start()
    await day.ask()
    for sample in (day.probe.sample(), idle.sample()):
        assert sample.gpus == ()
        assert (sample.memory_total, sample.memory_free) == (machine.memory, machine.model_memory - day.fake.taken)


@pytest.mark.parametrize(("kind", "counts"), [("mac-studio", True), ("mini-pc", True), ("gaming-pc", False)])
@virtual_time
async def test_models_take_of_the_memory_that_they_share_with_programs_only(kind: str, counts: bool) -> None:
    day = Day([], PROFILES[kind])
    day.occupancy.start()
    before = day.probe.sample().memory_free
    await day.ask()
    assert before - day.probe.sample().memory_free == (day.fake.taken if counts else 0)
    assert day.fake.taken > 0


@virtual_time
async def test_no_memory_is_the_least_there_can_be() -> None:
    day = Day([(0.0, OwnerState(memory=Bytes(500 * GiB)))])
    day.occupancy.start()
    assert day.probe.sample().memory_free == 0


def test_the_machine_is_what_it_was_made_as() -> None:
    machine = Day([]).probe.machine()
    assert (machine.cpu, machine.cores, machine.memory_total) == (STUDIO.chip, CORES, STUDIO.memory)
