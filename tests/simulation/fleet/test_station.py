"""Simulated nodes under a production router: what it knows of them, and when."""

import asyncio
from typing import Any

import pytest

from herd.policy.owner import RULES, Sign
from herd.protocols.messages import Goodbye, Hello, Report, Welcome
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.station import (
    GIVEN_UP_S,
    HEARTBEAT_S,
    OWNER_LAG_S,
    REJOIN_S,
    ROUNDING_S,
    SERVER_LAG_S,
    NodePlan,
    Station,
)
from herd.simulation.fleet.switchboard import Switchboard
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, HOUR, OwnerState, week
from herd.simulation.machine.profiles import PROFILES
from herd.types import GiB, LinkId, NodeId, NodeName, NodeState, RouterId, Seconds
from tests.simulation.fleet.fleets import ASLEEP, AWAKE, LLAMA, MEETING, QWEN, Changes, fleet, plan, station
from tests.simulation.ollama.bench import at, now, timers, turns

SOON_S = 0.01  # messages between actors take turns of the loop, and no time


def served_by(answer: RecordingSink) -> str | None:
    """The node that a whole answer names."""
    assert (answer.status, answer.finished, answer.aborted) == (200, True, False), (answer.status, answer.body)
    assert b'"done":true' in answer.pieces[-1]
    return answer.header("X-Herd-Node")


async def load(fake: Any, model: str, keep_alive: float = -1) -> None:
    """Have a model in memory, without the router."""
    await call(fake.handle, "POST", "/api/generate", {"model": model, "keep_alive": keep_alive})


# --- What is reported, and when ---------------------------------------------------------------------------------------


class Desk:
    """Implements `LinkEvents`: everybody is welcome, and every report is kept with its time."""

    def __init__(self) -> None:
        self.hellos: list[float] = []
        self.reports: list[tuple[float, Report]] = []
        self.downs: list[tuple[float, str]] = []

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        self.hellos.append(now())
        return Welcome(hello.versions[-1], RouterId("router"), NodeName(hello.name))

    def report(self, link: LinkId, node: NodeId, report: Report) -> None:
        self.reports.append((now(), report))

    def draining(self, link: LinkId, node: NodeId) -> None:
        raise AssertionError("a simulated node leaves without a word")

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        self.downs.append((now(), why))

    @property
    def times(self) -> list[float]:
        """When reports came."""
        return [time for time, _ in self.reports]


async def started(changes: Changes = (), *models: str) -> tuple[Desk, Any]:
    """A node at a desk of which a test can see every word."""
    board, desk = Switchboard(), Desk()
    await board.start(desk)
    made = station(plan("studio", *(models or (LLAMA, QWEN))), board, changes)
    await made.start()
    return desk, made


@virtual_time
async def test_a_node_that_nothing_happens_to_reports_when_it_joins_and_then_every_five_minutes() -> None:
    desk, made = await started()
    await asyncio.sleep(3 * HEARTBEAT_S + 1)
    assert desk.times == [0.0, HEARTBEAT_S, 2 * HEARTBEAT_S, 3 * HEARTBEAT_S]
    first = desk.reports[0][1]
    assert [model.name for model in first.models] == [LLAMA, QWEN]
    assert [backend.parallel for backend in first.backends] == [1]
    assert first.memory_total == 128 * GiB
    assert [model.kv_per_token for model in first.models] == [CATALOG[name].kv_per_token for name in (LLAMA, QWEN)]
    assert [(gpu.memory_total, gpu.memory_free) for gpu in first.gpus] == [(96 * GiB, 96 * GiB)]
    assert desk.reports[-1][1] == first
    made.stop()
    assert timers() == 0


@virtual_time
async def test_what_the_server_loads_and_unloads_is_reported_a_moment_later() -> None:
    desk, made = await started()
    await asyncio.sleep(10.0)
    await load(made.ollama, LLAMA, keep_alive=20)
    loaded = now()
    await asyncio.sleep(2 * SERVER_LAG_S)
    assert desk.times[1] == pytest.approx(10.0 + SERVER_LAG_S)  # while it loads
    assert desk.times[1] < loaded + SERVER_LAG_S
    assert [model.resident for model in desk.reports[-1][1].models] == [True, False]
    assert desk.reports[-1][1].gpus[0].memory_free == 96 * GiB - made.ollama.taken
    await at(loaded + 20.0 + SERVER_LAG_S + SOON_S)
    assert desk.times[-1] == pytest.approx(loaded + 20.0 + SERVER_LAG_S)
    assert [model.resident for model in desk.reports[-1][1].models] == [False, False]
    assert (await call(made.ollama.handle, "GET", "/api/ps")).status == 200
    made.stop()


@virtual_time
async def test_changes_that_come_together_are_one_report() -> None:
    desk, made = await started([(100.0, OwnerState(cpu=0.2)), (100.5, OwnerState(cpu=0.4)), (101.0, AWAKE)])
    await asyncio.sleep(150.0)
    assert desk.times == [0.0, 100.0 + OWNER_LAG_S]
    await asyncio.sleep(HEARTBEAT_S - 150.0 + 100.0 + OWNER_LAG_S)
    assert desk.times[2:] == [100.0 + OWNER_LAG_S + HEARTBEAT_S]  # five minutes after the last one
    made.stop()


@virtual_time
async def test_the_owners_programs_and_meetings_are_in_the_report() -> None:
    busy = OwnerState(cpu=0.5, memory=100 * GiB, meeting=True)  # type: ignore[arg-type] # GiB is a number
    desk, made = await started([(100.0, busy), (200.0, AWAKE)])
    await asyncio.sleep(110.0)
    report = desk.reports[-1][1]
    assert (report.cpu, report.memory_free) == (0.5, 26 * GiB)
    [pause] = report.pauses
    assert (pause.kind, pause.since) == ("meeting", made.ollama.wall() - now() + 100.0 + OWNER_LAG_S)
    assert (report.workload, report.owner_load) == ("idle", 0.5)
    await asyncio.sleep(10.0)
    assert desk.times[-1] == pytest.approx(100.0 + OWNER_LAG_S + RULES[Sign.HEAVY].begins + ROUNDING_S)
    assert desk.reports[-1][1].workload == "moderate"
    await asyncio.sleep(90.0)
    assert desk.reports[-1][1].pauses == ()
    await asyncio.sleep(HOUR)
    assert desk.reports[-1][1].workload == "idle"
    made.stop()


@virtual_time
async def test_an_owner_who_takes_the_whole_machine_for_two_minutes_has_it_alone_until_a_minute_after() -> None:
    desk, made = await started([(100.0, OwnerState(cpu=0.9)), (400.0, AWAKE)])
    await at(400.0)
    paused = [time for time, report in desk.reports if [pause.kind for pause in report.pauses] == ["owner-load"]]
    assert paused[0] == pytest.approx(100.0 + OWNER_LAG_S + 120.0 + ROUNDING_S)
    await at(500.0)
    resumed = [time for time, report in desk.reports if time > 400.0 and not report.pauses]
    assert resumed[0] == pytest.approx(400.0 + OWNER_LAG_S + 60.0 + ROUNDING_S)
    made.stop()


@virtual_time
async def test_what_an_owner_did_before_the_lid_was_closed_is_forgotten() -> None:
    busy = OwnerState(cpu=0.95)
    desk, made = await started([(100.0, busy), (190.0, ASLEEP), (200.0, busy)])
    await at(200.0 + 120.0)
    assert [report.pauses for _, report in desk.reports if report.pauses] == []
    await at(200.0 + 120.0 + 2 * OWNER_LAG_S)
    assert [pause.kind for pause in desk.reports[-1][1].pauses] == ["owner-load"]
    made.stop()


@virtual_time
async def test_a_meeting_began_when_it_began_whatever_else_its_owner_does_meanwhile() -> None:
    desk, made = await started([(100.0, MEETING), (150.0, OwnerState(cpu=0.3, meeting=True))])
    await asyncio.sleep(200.0)
    began = made.ollama.wall() - now() + 100.0 + OWNER_LAG_S
    sinces = [pause.since for _, report in desk.reports for pause in report.pauses]
    assert len(sinces) > 1
    assert set(sinces) == {began}
    made.stop()


@virtual_time
async def test_the_hour_of_the_week_at_which_a_run_begins_is_the_owners_and_the_reports() -> None:
    board, desk, thursday = Switchboard(), Desk(), 3 * 24 + 9
    await board.start(desk)
    of = NodePlan("dev", PROFILES["macbook-pro-m3"], (LLAMA,), "developer workstation")
    made = Station(of, board, 7, Seconds(12 * HOUR), start_slot=thursday)
    await made.start()
    await asyncio.sleep(12 * HOUR - 1.0)
    assert [desk.reports[0][1].week_slot, desk.reports[-1][1].week_slot] == [thursday, thursday + 11]
    day = list(week(HABITS[of.habits], of.machine, 7, start_slot=thursday, duration=Seconds(12 * HOUR)))
    assert [state for _, state in made.occupancy.owned] == [state for _, state in day]
    assert [time for time, _ in made.occupancy.owned] == pytest.approx([time for time, _ in day])
    made.stop()


@virtual_time
async def test_who_stops_while_its_server_is_asked_waits_for_no_answer() -> None:
    _, made = await started()
    made.ollama.wedge()
    await asyncio.sleep(HEARTBEAT_S + 1.0)
    made.stop()
    await turns()
    assert len(asyncio.all_tasks()) == 1
    assert timers() == 0


@virtual_time
async def test_a_server_that_does_not_answer_is_reported_as_none() -> None:
    desk, made = await started()
    made.ollama.wedge()
    await asyncio.sleep(HEARTBEAT_S + 6.0)
    assert (desk.reports[-1][1].backends, desk.reports[-1][1].models) == ((), ())
    made.stop()


@virtual_time
async def test_a_short_sleep_keeps_the_line_and_reports_go_on_after_it() -> None:
    desk, made = await started([(100.0, ASLEEP), (100.0 + GIVEN_UP_S - 1, AWAKE)])
    await asyncio.sleep(1000.0)
    woken = 100.0 + GIVEN_UP_S - 1 + OWNER_LAG_S
    assert desk.times == [0.0, woken, woken + HEARTBEAT_S, woken + 2 * HEARTBEAT_S]
    assert (desk.hellos, desk.downs) == ([0.0], [])
    made.stop()


@virtual_time
async def test_a_model_that_goes_while_the_lid_is_closed_does_not_silence_the_node_for_ever() -> None:
    desk, made = await started([(100.0, ASLEEP), (120.0, AWAKE)])
    await load(made.ollama, LLAMA, keep_alive=105.0)
    await asyncio.sleep(1000.0)
    woken, looked = 120.0 + SERVER_LAG_S, 120.0 + OWNER_LAG_S
    assert [time for time in desk.times if time > 100.0] == [woken, looked, looked + HEARTBEAT_S, looked + 600.0]
    assert [model.resident for model in desk.reports[-1][1].models] == [False, False]
    made.stop()


@virtual_time
async def test_a_long_sleep_costs_the_line_and_a_moment_after_waking_there_is_another() -> None:
    desk, made = await started([(100.0, ASLEEP), (5000.0, AWAKE)])
    await asyncio.sleep(5010.0)
    assert desk.downs == [(100.0 + GIVEN_UP_S, "nothing was heard from the node for 30 s")]
    assert desk.hellos == [0.0, 5000.0 + REJOIN_S]
    assert [time for time in desk.times if time > 100.0] == [5000.0 + REJOIN_S]
    made.stop()


@virtual_time
async def test_a_machine_that_sleeps_from_the_first_moment_on_joins_when_it_wakes() -> None:
    desk, made = await started([(0.0, ASLEEP), (5000.0, AWAKE)])
    await asyncio.sleep(5010.0)
    assert desk.hellos == [5000.0 + REJOIN_S]
    assert desk.times == [5000.0 + REJOIN_S]
    made.stop()


@virtual_time
async def test_a_node_without_a_router_dials_until_there_is_one() -> None:
    board, desk = Switchboard(), Desk()
    made = station(plan(), board)
    await made.start()
    assert repr(made).startswith("<Station studio away ")
    await asyncio.sleep(100.0)
    await board.start(desk)
    await asyncio.sleep(REJOIN_S)
    assert len(desk.hellos) == len(desk.reports) == 1
    assert repr(made).startswith("<Station studio joined ")
    await board.stop()
    await asyncio.sleep(100.0)
    await board.start(desk)
    await asyncio.sleep(REJOIN_S)
    assert len(desk.hellos) == len(desk.reports) == 2
    made.stop()


@pytest.mark.parametrize("moment", [0.0, 50.0, 100.5, 115.0, 135.0, 200.5, 201.4, 201.6, 300.0])
@virtual_time
async def test_wherever_it_is_stopped_nothing_is_left(moment: float) -> None:
    desk, made = await started([(100.0, ASLEEP), (200.0, MEETING)])
    loading = asyncio.create_task(load(made.ollama, LLAMA))
    await at(moment)
    made.stop()
    loading.cancel()
    await asyncio.wait([loading])
    made.ollama.wake()
    made.ollama.heal()
    await call(made.ollama.handle, "POST", "/api/generate", {"model": LLAMA, "keep_alive": 0})
    said = len(desk.reports)
    await asyncio.sleep(10.0)
    assert timers() == 0
    assert len(asyncio.all_tasks()) == 1
    assert len(desk.reports) == said


# --- What comes of it -------------------------------------------------------------------------------------------------


@virtual_time(serialize_messages=True)
async def test_the_router_knows_what_the_server_would_say_itself() -> None:
    async with fleet((plan("studio", LLAMA, QWEN), ())) as home:
        assert await home.state("studio") is NodeState.READY
        assert await home.resident("studio") == []
        for model in (LLAMA, QWEN):
            assert served_by(await home.ask(model)) == "studio"
            await asyncio.sleep(SERVER_LAG_S + SOON_S)
            processes = await call(home.stations[0].ollama.handle, "GET", "/api/ps")
            assert await home.resident("studio") == sorted(one["name"] for one in processes.json["models"])
        assert await home.resident("studio") == sorted([LLAMA, QWEN])
        await asyncio.sleep(300.0 + SERVER_LAG_S)
        assert await home.resident("studio") == sorted([LLAMA, QWEN])  # for they live there
        for model in (LLAMA, QWEN):
            await call(home.stations[0].ollama.handle, "POST", "/api/generate", {"model": model, "keep_alive": 0})
        await asyncio.sleep(SERVER_LAG_S + SOON_S)
        assert await home.resident("studio") == []


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_an_answer_on_a_node_that_falls_asleep_breaks_when_the_router_gives_the_node_up() -> None:
    away: Changes = [(0.0, MEETING), (12.0, AWAKE)]
    async with fleet((plan("sleepy"), [(10.0, ASLEEP)]), (plan("other", machine="mini-pc"), away)) as home:
        await home.ask(tokens=2)
        await at(9.0)
        streaming = home.send(tokens=5000)
        await at(9.5)
        waiting = home.send(tokens=5)
        await at(10.0 + GIVEN_UP_S - 1)
        assert await home.state("sleepy") is NodeState.READY
        assert not streaming.task.done()
        await at(10.0 + GIVEN_UP_S + SOON_S)
        assert await home.state("sleepy") is NodeState.OFFLINE
        assert streaming.task.done()
        assert streaming.sink.pieces
        assert b'"done":true' not in streaming.sink.body  # nothing that had begun is asked twice
        await waiting.task
        assert served_by(waiting.sink) == "other"


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_a_request_that_had_no_answer_yet_is_served_by_another_node() -> None:
    async with fleet((plan("a"), [(10.0, ASLEEP)]), (plan("b"), ())) as home:
        await at(9.9)
        asked = home.send(tokens=5)  # the model is being loaded when the lid closes
        await asked.task
        assert served_by(asked.sink) == "b"
        assert asked.sink.header("X-Herd-Attempts") == "2"
        assert now() > 10.0 + GIVEN_UP_S


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_a_node_that_wakes_serves_again_within_seconds() -> None:
    async with fleet((plan(), [(10.0, ASLEEP), (100.0, AWAKE)])) as home:
        await at(99.0)
        asked = home.send(tokens=5)
        await at(100.0 + REJOIN_S + SOON_S)
        assert await home.state("studio") is NodeState.READY
        await asked.task
        assert served_by(asked.sink) == "studio"


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_an_answer_goes_on_after_a_short_sleep() -> None:
    async with fleet((plan(), [(10.0, ASLEEP), (30.0, AWAKE)])) as home:
        await home.ask(tokens=2)
        await at(9.5)
        asked = home.send(tokens=100)
        await asked.task
        assert served_by(asked.sink) == "studio"
        assert now() > 30.0


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_in_a_meeting_what_runs_ends_and_what_waits_goes_elsewhere() -> None:
    meeting: Changes = [(20.0, MEETING), (500.0, AWAKE)]
    away: Changes = [(0.0, MEETING), (19.5, AWAKE)]
    async with fleet((plan("quick"), meeting), (plan("slow", machine="mini-pc"), away)) as home:
        await home.ask(tokens=2)
        await at(19.0)
        running, *waiting = (home.send(tokens=1000) for _ in range(4))
        await at(20.0 + OWNER_LAG_S + SOON_S)
        assert await home.state("quick") is NodeState.PAUSED
        assert home.stations[0].ollama.running == 1
        await asyncio.wait([running.task, *(one.task for one in waiting)])
        assert served_by(running.sink) == "quick"
        assert [served_by(one.sink) for one in waiting] == ["slow"] * 3
        assert served_by(await home.ask()) == "slow"
        await at(500.0 + OWNER_LAG_S + RULES[Sign.CAMERA].ends + SOON_S)
        assert await home.state("quick") is NodeState.READY


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_a_client_that_hangs_up_ends_its_job_at_the_server() -> None:
    async with fleet((plan(), ())) as home:
        await home.ask(tokens=2)
        asked = home.send(tokens=1000)
        await asyncio.sleep(2.0)
        fake = home.stations[0].ollama
        assert fake.running == 1
        asked.task.cancel()
        await asyncio.sleep(0.1)
        assert (fake.running, fake.cancelled) == (0, 1)
        assert repr(home.board) == "<Switchboard [1 nodes, 0 streams]>"


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_a_bug_in_a_server_is_a_broken_answer_and_no_hang() -> None:
    async with fleet((plan(), ())) as home:
        fake, [line] = home.stations[0].ollama, home.board._lines.values()
        assert await home.state("studio") is NodeState.READY

        async def breaks(request: object, sink: object) -> None:
            raise ZeroDivisionError

        line.serve = breaks
        async with asyncio.timeout(60.0):
            answer = await home.ask()
        assert answer.status in {500, 502, 503}
        line.serve = fake.handle
        assert served_by(await home.ask()) == "studio"


@virtual_time(serialize_messages=True, allow_lost=True)
async def test_a_router_that_stops_ends_everything() -> None:
    async with fleet((plan(), ())) as home:
        await home.ask(tokens=2)
        asked = home.send(tokens=100_000)
        await asyncio.sleep(1.0)
    assert asked.task.done()
    fake = home.stations[0].ollama
    await asyncio.sleep(1.0)
    assert fake.running == 0
    await call(fake.handle, "POST", "/api/generate", {"model": LLAMA, "keep_alive": 0})
    await turns()
    assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert timers() == 0
