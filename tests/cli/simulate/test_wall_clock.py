"""`herd simulate --wall-clock`: the same machines and clients, in seconds that pass faster and over real sockets."""

import asyncio
import errno
import json
import math
from dataclasses import replace

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.cli.simulate.wall_clock import KEEP_ALIVE_S, _Clients, _machine, _run, simulate_on_wall_clock
from herd.protocols.headers import value_of
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.station import NodePlan
from herd.simulation.http import InMemoryServers, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, week
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.measures import SampleOutcome
from herd.simulation.runs.run import LOOKS, Moment, Result, Scenario, Watcher, ideal, owner_seed
from herd.simulation.workload.requests import SimulatedRequest
from herd.types import Priority, Seconds, Tokens
from tests.cli.command_line import CommandLine
from tests.simulation.ollama.bench import now

SPEED = 500.0
URL = "http://router"
BIG, SMALL = "qwen3:30b", "llama3.2:3b"
STUDIO = NodePlan("studio", PROFILES["mac-studio"], (BIG,), parallel=2)
OWL = NodePlan("owl", PROFILES["macbook-air"], (SMALL,), "night owl")
MORNING = 10  # an owl sleeps then, and is awake at midnight
DAY = Seconds(86_400.0)


def request(at: float, model: str = BIG, *, tokens: int = 20, patience: float = math.inf) -> SimulatedRequest:
    return SimulatedRequest(
        Seconds(at), "person-1", model, Tokens(100), Tokens(tokens), Priority.INTERACTIVE, patience=patience
    )


def scenario(*requests: SimulatedRequest, start_slot: int = MORNING) -> Scenario:
    return Scenario((STUDIO, OWL), requests, Seconds(100_000.0), seed=0, start_slot=start_slot)


# --- Machines, in virtual time ----------------------------------------------------------------------------------------


@virtual_time
async def test_a_machine_works_and_forgets_its_models_as_much_faster_as_time_passes() -> None:
    fake = _machine(scenario(), 0, SPEED).ollama
    await call(fake.handle, "POST", "/api/generate", {"model": BIG})
    loaded = now()
    assert loaded == pytest.approx(STUDIO.machine.load_s(CATALOG[BIG]) / SPEED)
    await fake.until(lambda ollama: not ollama.resident)
    assert now() - loaded == pytest.approx(KEEP_ALIVE_S / SPEED)


@virtual_time
async def test_a_machine_runs_as_many_requests_at_once_as_its_plan_says() -> None:
    fake = _machine(scenario(), 0, SPEED).ollama
    body = {"model": BIG, "prompt": "hello", "options": {"num_predict": 1000}}
    asked = [asyncio.create_task(call(fake.handle, "POST", "/api/generate", body)) for _ in range(3)]
    await fake.until(lambda ollama: ollama.running == 2)
    assert fake.waiting == 1
    await asyncio.wait(asked)


@virtual_time
async def test_a_server_answers_nobody_while_its_owner_has_the_lid_closed() -> None:
    machine = _machine(scenario(), 1, SPEED)
    told = list(week(HABITS[OWL.habits], OWL.machine, owner_seed(scenario(), 1), start_slot=MORNING, duration=DAY))
    assert [state.asleep for _, state in told[:2]] == [True, False]
    machine.occupancy.start()
    assert machine.probe.sample().week_slot == MORNING
    asked = asyncio.create_task(call(machine.ollama.handle, "GET", "/api/tags"))
    await asyncio.sleep(told[1][0] / SPEED - 1.0)
    assert not asked.done()
    asked.cancel()
    await asyncio.sleep(1.1)
    assert (await call(machine.ollama.handle, "GET", "/api/tags")).status == 200
    assert [state for _, state in machine.occupancy.owned] == [state for _, state in told[:2]]
    machine.occupancy.stop()


# --- Clients, in virtual time -----------------------------------------------------------------------------------------


class Router:
    """Answers after 2 s of its own clock, except for those whom it is told to fail; notes when it was asked by whom."""

    def __init__(self, *failing: int) -> None:
        self.asked: list[float] = []
        self.clients: list[str | None] = []
        self.gone = 0
        self._failing = failing

    async def __call__(self, request: HttpRequest, sink: Sink) -> None:
        self.asked.append(now())
        self.clients.append(value_of(request.headers, "x-openwebui-user-id"))
        fails = len(self.asked) - 1 in self._failing
        try:
            await sink.start(200, (("X-Herd-Node", "studio"), ("X-Herd-Queue-Ms", "500")))
            await sink.write(b'{"done":false}\n')
            await asyncio.sleep(2.0)
            if fails:
                sink.abort()
                return
            await sink.write(b'{"done":true}\n')
            await sink.finish()
        except asyncio.CancelledError:
            self.gone += 1
            raise


def clients(router: Router, made: Scenario) -> _Clients:
    servers = InMemoryServers()
    servers.serve(URL, router)
    return _Clients(servers, URL, made, speed=10.0)


@virtual_time
async def test_clients_ask_at_their_times_and_see_everything_in_the_seconds_of_the_run() -> None:
    router, made = Router(), scenario(request(50.0), request(60.0), request(60.0))
    asking = clients(router, made)
    await asyncio.sleep(3.0)  # the run begins when they do
    began = now()
    samples = await asking.serve()
    assert [at - began for at in router.asked] == pytest.approx([5.0, 6.0, 6.0])
    assert router.clients == ["person-1"] * 3
    assert [sample.outcome for sample in samples] == [SampleOutcome.SERVED] * 3
    for sample, asked in zip(samples, made.requests, strict=True):
        assert (sample.at, sample.node, sample.queue) == (asked.at, "studio", 5.0)
        assert (sample.first_token, sample.completion) == pytest.approx((0.0, 20.0))
        assert sample.ideal == ideal(made.nodes, asked)
    assert asking.now == pytest.approx(80.0)
    assert (asking.sent, asking.ended) == (3, list(samples))


@virtual_time
async def test_patience_is_over_in_the_seconds_of_the_run_and_its_client_hangs_up() -> None:
    router = Router()
    hasty, calm = await clients(router, scenario(request(0.0, patience=19.0), request(0.0, patience=21.0))).serve()
    assert (hasty.outcome, calm.outcome) == (SampleOutcome.TIMED_OUT, SampleOutcome.SERVED)
    assert router.gone == 1


@virtual_time
async def test_an_answer_that_breaks_off_is_a_failed_one_and_the_others_go_on() -> None:
    broken, whole = await clients(Router(0), scenario(request(0.0), request(0.0))).serve()
    assert (broken.outcome, whole.outcome) == (SampleOutcome.FAILED, SampleOutcome.SERVED)


@virtual_time
async def test_a_router_that_is_not_there_fails_its_clients() -> None:
    [sample] = await _Clients(InMemoryServers(), URL, scenario(request(0.0)), speed=10.0).serve()
    assert (sample.outcome, sample.node) == (SampleOutcome.FAILED, "")


# --- Both, in virtual time --------------------------------------------------------------------------------------------


async def a_run(made: Scenario, watch: Watcher | None = None) -> Result:
    machines = [_machine(made, number, 10.0) for number in range(len(made.nodes))]
    return await _run(made, machines, clients(Router(), made), watch)


@virtual_time
async def test_a_watcher_sees_a_hundred_moments_of_a_run() -> None:
    moments: list[Moment] = []
    counts: list[tuple[int, int]] = []

    def watch(moment: Moment) -> None:
        moments.append(moment)
        counts.append((moment.sent, len(moment.samples)))

    made = replace(scenario(request(5.0), request(985.0)), duration=Seconds(1000.0))
    result = await a_run(made, watch)
    assert [moment.at for moment in moments] == pytest.approx([10.0 * number for number in range(LOOKS + 1)])
    assert counts == [(0, 0)] + [(1, 0)] * 2 + [(1, 1)] * 96 + [(2, 1)] * 2
    assert [(node.name, node.owner.asleep) for node in moments[0].nodes] == [("studio", False), ("owl", True)]
    assert result.ended == pytest.approx(1005.0)
    assert result.decisions == ""


@virtual_time
async def test_what_a_machine_does_at_the_end_is_told_up_to_then() -> None:
    made = scenario(request(0.0))
    machines = [_machine(made, number, 10.0) for number in range(len(made.nodes))]
    body = {"model": BIG, "prompt": "hello", "options": {"num_predict": 10_000}}
    goes_on = asyncio.create_task(call(machines[0].ollama.handle, "POST", "/api/generate", body))
    result = await _run(made, machines, clients(Router(), made), None)
    assert list(result.nodes[0].working) == [pytest.approx((0.0, result.ended))]
    goes_on.cancel()


@virtual_time
async def test_a_watcher_that_fails_does_not_do_so_unseen() -> None:
    def watch(moment: Moment) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await a_run(scenario(request(0.0)), watch)


# --- Over sockets -----------------------------------------------------------------------------------------------------


async def test_over_sockets_a_fleet_serves_what_is_awake_and_tells_of_it_in_the_seconds_of_the_run() -> None:
    made = scenario(request(0.0, tokens=300), request(1.0, SMALL, patience=50.0), request(2.0, tokens=300))
    moments: list[Moment] = []
    result = await simulate_on_wall_clock(made, speed=SPEED, watch=moments.append)
    assert [sample.outcome for sample in result.samples] == [
        SampleOutcome.SERVED,
        SampleOutcome.TIMED_OUT,  # its only machine sleeps
        SampleOutcome.SERVED,
    ]
    first, _, again = result.samples
    load = STUDIO.machine.load_s(CATALOG[BIG])
    assert (first.node, again.node) == ("studio", "studio")
    assert first.completion > load + first.ideal
    assert again.at + again.first_token < first.at + first.completion  # two run at once
    studio, owl = result.nodes
    assert (studio.name, studio.loads.count, owl.name, owl.loads.count) == ("studio", 1, "owl", 0)
    assert load * 0.999 < studio.loads.seconds < load * SPEED / 2  # else it loads as slowly as a real one
    assert [state.asleep for _, state in owl.owned] == [True]
    assert studio.working[0][0] < min(studio.working[0][1], result.ended)  # the router may have it load at the end
    assert result.ended > 50.0
    assert [node.name for node in moments[0].nodes] == ["studio", "owl"]


# --- On the command line ----------------------------------------------------------------------------------------------

LINE = "herd simulate --wall-clock --nodes 1 --models 1 --requests 5 --days 0.5 --seed 3"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What was done, and at which speed: a run of nothing in place of one over sockets."""
    done: list[tuple[str, float]] = []

    async def simulate(made: Scenario, *, speed: float, watch: Watcher | None) -> Result:
        done.append((f"seed {made.seed}", speed))
        return Result((), (), "", Seconds(0.0))

    monkeypatch.setattr("herd.cli.simulate.command.simulate_on_wall_clock", simulate)
    monkeypatch.setattr("herd.cli.simulate.command.raise_file_limit", lambda: done.append(("files", 0.0)))
    monkeypatch.setattr("herd.cli.simulate.command.report", lambda made, result: Said())
    monkeypatch.setattr("herd.cli.simulate.command.tables", lambda figures: ["the tables"])
    return done


class Said:
    """In place of figures."""

    def document(self) -> dict[str, int]:
        return {"figures": 1}


@pytest.mark.parametrize(
    ("words", "speed", "to_go"),
    [("", 60.0, "0:12:00"), (" --speed 1000", 1000.0, "0:00:43"), (" --speed 0.01", 0.01, "1200:00:00")],
)
def test_it_says_how_long_it_takes_and_takes_the_files_that_it_needs(
    run: CommandLine, runs: list[tuple[str, float]], words: str, speed: float, to_go: str
) -> None:
    ended = run(f"{LINE}{words}")
    assert (ended.code, ended.out) == (0, "the tables\n")
    assert ended.err == f"over sockets at {speed:g} times the speed: {to_go} to go\n"
    assert runs == [("files", 0.0), ("seed 3", speed)]


def test_json_is_all_that_it_prints(run: CommandLine, runs: list[tuple[str, float]]) -> None:
    ended = run(f"{LINE} --json")
    assert (ended.code, json.loads(ended.out), ended.err) == (0, {"figures": 1}, "")


def test_a_system_that_grants_no_sockets_is_told_in_a_sentence(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> Result:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("herd.cli.simulate.command.simulate_on_wall_clock", refused)
    ended = run(LINE)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("error: this machine cannot hold the fleet: Too many open files; take fewer nodes\n")
