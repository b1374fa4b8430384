"""The Agent: what it reports, and when."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from herd.actors import names
from herd.actors.agent import MAX_MODELS, Agent, AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings, BackendState
from herd.actors.collector import Collector
from herd.actors.desk import AgentStatus, ShownModel, ShownServer
from herd.actors.owner_watch import LOOK_S
from herd.actors.sensor_ports import MachineSample
from herd.errors import ConfigError
from herd.policy.liveness import HEARTBEAT_S
from herd.policy.owner import Owner
from herd.policy.values import Reason
from herd.protocols.messages import Gpu, Hello, Machine, Report, Welcome
from herd.runtime import ActorHandle, get_actor, kill, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.links import InMemoryLinks
from herd.types import Bytes, GiB, ModelName, NodeId, NodeName, RouterId, Seconds, Thermal, Workload
from tests.actors.doubles import LLAMACPP, OLLAMA, FakeServers, FixedMachine, Witness, model, settled
from tests.actors.owners import CALL, FakeDesk, FakeOwner

UP = BackendState(OLLAMA.id, OLLAMA, (model("m"),))
SAMPLE = MachineSample(0.5, Bytes(64), Bytes(32), 17)
GPU = Gpu("GPU-1", "NVIDIA GeForce RTX 4090", "nvidia", Bytes(24), Bytes(20))


class Watched:
    """An Agent, the link it reports to, and the routers that it was told to remember."""

    def __init__(self, **more: Any) -> None:
        self.joined: list[RouterId] = []
        self.agent: ActorHandle = remote(Agent).remote(self.joined.append, (), LoopClock(), **more)
        self.link: ActorHandle = remote(Witness).remote()

    async def reports(self) -> list[Report]:
        await settled()
        return [args[0] for _, args in await self.link.heard.remote()]

    async def end(self) -> None:
        await stop(self.agent)
        await stop(self.link)


@virtual_time
async def test_a_heartbeat_goes_out_every_5_seconds_and_at_once_when_something_changes() -> None:
    watched = Watched()
    watched.agent.start_reporting.tell(watched.link)
    assert len(await watched.reports()) == 1
    await asyncio.sleep(3 * HEARTBEAT_S)
    assert len(await watched.reports()) == 3
    await asyncio.sleep(1)
    watched.agent.backend_changed.tell(UP)
    (report,) = await watched.reports()
    assert (report.backends, report.models) == ((OLLAMA,), (model("m"),))
    await asyncio.sleep(HEARTBEAT_S - 1)
    assert len(await watched.reports()) == 1
    await watched.end()


@virtual_time
async def test_nothing_is_reported_before_everything_is_up_and_nothing_is_lost() -> None:
    watched = Watched()
    watched.agent.backend_changed.tell(UP)
    watched.agent.sampled.tell(SAMPLE)
    assert await watched.reports() == []
    watched.agent.start_reporting.tell(watched.link)
    (report,) = await watched.reports()
    assert report.models == (model("m"),)
    assert (report.cpu, report.memory_total, report.memory_free, report.week_slot) == (0.5, 64, 32, 17)
    await watched.end()


@virtual_time
async def test_a_server_that_is_down_is_not_reported() -> None:
    watched = Watched()
    watched.agent.start_reporting.tell(watched.link)
    watched.agent.backend_changed.tell(UP)
    watched.agent.backend_changed.tell(BackendState(LLAMACPP.id, LLAMACPP, (model("n", LLAMACPP),)))
    watched.agent.backend_changed.tell(BackendState(OLLAMA.id, trouble="connection refused"))
    report = (await watched.reports())[-1]
    assert (report.backends, report.models) == ((LLAMACPP,), (model("n", LLAMACPP),))
    await watched.end()


@virtual_time
async def test_a_server_with_very_many_models_still_fits_a_frame() -> None:
    watched = Watched()
    many = tuple(model(f"m{number}") for number in range(MAX_MODELS + 1))
    watched.agent.backend_changed.tell(replace(UP, models=many))
    watched.agent.start_reporting.tell(watched.link)
    (report,) = await watched.reports()
    assert report.models == many[:MAX_MODELS]
    await watched.end()


@virtual_time
async def test_the_router_that_let_it_in_is_remembered() -> None:
    watched = Watched()
    watched.agent.link_up.tell(Welcome(1, RouterId("r1"), NodeName("mac")))
    watched.agent.link_down.tell("gone")
    await settled()
    assert watched.joined == ["r1"]
    await watched.end()


@virtual_time
async def test_the_collector_samples_at_once_and_for_every_heartbeat() -> None:
    agent = remote(Witness).remote()
    collector = remote(Collector).remote(FixedMachine(), agent)
    await asyncio.sleep(2 * HEARTBEAT_S + 1)
    assert [args[0].cpu for _, args in await agent.heard.remote()] == [0.01, 0.02, 0.03]
    await stop(collector)
    await stop(agent)


@virtual_time
async def test_gpus_are_reported_at_once_when_they_are_found_and_their_memory_with_the_next_heartbeat() -> None:
    watched = Watched()
    watched.agent.start_reporting.tell(watched.link)
    watched.agent.sampled.tell(SAMPLE)
    assert [report.gpus for report in await watched.reports()] == [()]
    watched.agent.sampled.tell(replace(SAMPLE, gpus=(GPU,)))
    assert [report.gpus for report in await watched.reports()] == [(GPU,)]
    fuller = replace(GPU, memory_free=Bytes(1))
    watched.agent.sampled.tell(replace(SAMPLE, gpus=(fuller,)))
    assert await watched.reports() == []
    await asyncio.sleep(HEARTBEAT_S)
    assert [report.gpus for report in await watched.reports()] == [(fuller,)]
    await watched.end()


@virtual_time
async def test_when_models_come_or_go_the_memory_that_is_left_is_looked_at() -> None:
    watched = Watched()
    collector = remote(Witness).remote()
    watched.agent.sensed_by.tell(collector)
    loaded = BackendState(OLLAMA.id, OLLAMA, (model("m", resident=True),))
    for state, looks in ((UP, 0), (loaded, 1), (replace(loaded, models=(*loaded.models, model("n"))), 0), (UP, 1)):
        watched.agent.backend_changed.tell(state)
        await settled()
        assert len(await collector.heard.remote()) == looks
    await stop(collector)
    await watched.end()


@virtual_time
async def test_what_is_looked_at_because_models_came_is_reported_at_once() -> None:
    watched = Watched()
    watched.agent.start_reporting.tell(watched.link)
    await watched.reports()
    watched.agent.sampled.tell(replace(SAMPLE, memory_free=Bytes(5)), True)
    assert [report.memory_free for report in await watched.reports()] == [5]
    await watched.end()


class SlowGpus:
    """The port `GpuProbe`: answers when it is let, with what is then there."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.free = 20
        self.looks = 0

    async def sample(self) -> tuple[Gpu, ...]:
        self.looks += 1
        seen = replace(GPU, memory_free=Bytes(self.free))
        await self.answers.wait()
        return (seen,)


@virtual_time
async def test_a_driver_that_hangs_delays_no_sample_and_is_asked_one_thing_at_a_time() -> None:
    agent, gpus = remote(Witness).remote(), SlowGpus()
    collector = remote(Collector).remote(FixedMachine(), agent, gpus)
    await asyncio.sleep(3 * HEARTBEAT_S + 1)
    assert [(args[0].gpus, args[1]) for _, args in await agent.heard.remote()] == [((), False)] * 4
    assert gpus.looks == 1
    gpus.answers.set()
    await settled()
    assert [args[0].gpus for _, args in await agent.heard.remote()] == [(GPU,)]
    await asyncio.sleep(HEARTBEAT_S)
    assert [args[0].gpus for _, args in await agent.heard.remote()] == [(GPU,)]
    await stop(collector)
    await stop(agent)


@virtual_time
async def test_an_urgent_look_is_one_that_began_after_it_was_asked_for() -> None:
    agent, gpus = remote(Witness).remote(), SlowGpus()
    collector = remote(Collector).remote(FixedMachine(), agent, gpus)
    await settled()
    gpus.free = 5
    collector.look.tell()
    await settled()
    gpus.answers.set()
    await settled()
    told = [(args[0].gpus[0].memory_free, args[1]) for _, args in await agent.heard.remote() if args[0].gpus]
    assert told == [(20, False), (5, True)]
    await stop(collector)
    await stop(agent)


@virtual_time
async def test_an_urgent_look_keeps_the_processors_share_of_the_last_sample() -> None:
    agent = remote(Witness).remote()
    collector = remote(Collector).remote(FixedMachine(), agent)
    collector.look.tell()
    await settled()
    assert [(args[0].cpu, args[1]) for _, args in await agent.heard.remote()] == [(0.01, False), (0.01, True)]
    await stop(collector)
    await stop(agent)


@virtual_time
async def test_a_pause_that_begins_or_ends_and_another_workload_are_reported_at_once_and_a_load_with_the_next() -> None:
    watched = Watched(dedicated=True)
    watched.agent.start_reporting.tell(watched.link)
    await watched.reports()
    meeting = Reason("meeting", "is in a meeting: its camera is in use", Seconds(7.0))
    for owner, reports in (
        (Owner(), 0),
        (Owner((meeting,)), 1),
        (Owner((meeting,), Workload.LIGHT), 1),
        (Owner((meeting,), Workload.LIGHT, 0.2), 0),
        (Owner((), Workload.LIGHT, 0.2), 1),
        (Owner((), Workload.LIGHT, 0.3, Thermal.THROTTLED), 1),
        (Owner((), Workload.LIGHT, 0.4, Thermal.THROTTLED), 0),
    ):
        watched.agent.owner_changed.tell(owner)
        said = await watched.reports()
        assert len(said) == reports
        for report in said:
            assert [(one.kind, one.text, one.since, one.until) for one in report.pauses] == [
                (one.kind, one.text, one.since, one.until) for one in owner.pauses
            ]
    await asyncio.sleep(HEARTBEAT_S)
    (report,) = await watched.reports()
    assert (report.workload, report.owner_load, report.thermal, report.dedicated) == ("light", 0.4, "throttled", True)
    await watched.end()


@virtual_time
async def test_people_at_the_machine_are_shown_how_it_stands_whenever_that_changes() -> None:
    desk = FakeDesk()
    watched = Watched(desk=desk)
    watched.agent.backend_changed.tell(replace(UP, models=(model("m", resident=True),)))
    watched.agent.start_reporting.tell(watched.link)
    watched.agent.link_up.tell(Welcome(1, RouterId("r1"), NodeName("mac-2")))
    watched.agent.owner_changed.tell(Owner((Reason("meeting", "is in a meeting"),), Workload.LIGHT, 0.2))
    await settled()
    began = LoopClock().wall()
    status = AgentStatus(
        backends=(OLLAMA.id,),
        models=(ShownModel(ModelName("m"), OLLAMA.id, resident=True),),
        link_since=began,
        servers=(ShownServer(OLLAMA.id, "", "ollama", "0.33.0"),),
        at=began,
    )
    linked = replace(status, linked=True, router_id=RouterId("r1"), name=NodeName("mac-2"))
    owned = replace(linked, pauses=(Reason("meeting", "is in a meeting"),), workload="light", owner_load=0.2)
    assert desk.shown == [status, linked, owned]
    await asyncio.sleep(3 * HEARTBEAT_S)
    watched.agent.link_down.tell("gone")
    now = Seconds(began + 3 * HEARTBEAT_S)
    watched.agent.link_down.tell("no router on link port 11436")
    watched.agent.link_down.tell("no router on link port 11436")
    await settled()
    away = replace(owned, linked=False, link_since=now, trouble="gone", lost="gone", lost_at=now, at=now)
    assert desk.shown[3:] == [away, replace(away, trouble="no router on link port 11436")]
    await watched.end()


class Parts:
    """What a whole agent is made of."""

    def __init__(self, owner: FakeOwner | None, desk: FakeDesk | None = None) -> None:
        machine = Machine(memory_total=Bytes(16 * GiB))
        self.options = AgentOptions(Hello((1,), NodeId("n1"), NodeName("mac"), machine=machine), (), "http://router")
        self.ports = AgentPorts(
            FakeServers({}), InMemoryLinks(), None, FixedMachine(), lambda _: None, LoopClock(), owner=owner, desk=desk
        )


@virtual_time(allow_lost=True)
async def test_an_agent_that_crashed_is_told_of_its_owner_again() -> None:
    desk = FakeDesk()
    parts = Parts(FakeOwner(CALL), desk)
    async with running_agent(parts.options, parts.ports) as agent:
        await settled()
        assert [pause.kind for pause in desk.shown[-1].pauses] == ["meeting"]
        before = len(desk.shown)
        kill(agent.agent, no_restart=False)
        await asyncio.sleep(LOOK_S - 1)  # before the next look
        assert desk.shown[before].pauses == ()  # of its second life's first moment
        assert [pause.kind for pause in desk.shown[-1].pauses] == ["meeting"]


@virtual_time
async def test_people_at_the_machine_are_shown_why_there_is_no_router() -> None:
    desk = FakeDesk()
    parts = Parts(FakeOwner(), desk)
    async with running_agent(parts.options, parts.ports):
        await settled()
        assert (desk.shown[-1].linked, desk.shown[-1].trouble) == (
            False,
            "cannot connect to http://router: connection refused",
        )


@virtual_time
async def test_an_agent_whose_owner_nobody_watches_has_no_watch() -> None:
    parts = Parts(None)
    async with running_agent(parts.options, parts.ports):
        await settled()
        with pytest.raises(ValueError, match="owner-watch"):
            get_actor(names.OWNER_WATCH, "agent-n1")


@virtual_time
async def test_a_router_that_cannot_be_remembered_is_served_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def full(router: RouterId) -> None:
        raise ConfigError("Cannot write identity.json: No space left on device.")

    agent = remote(Agent).remote(full, (), LoopClock())
    agent.link_up.tell(Welcome(1, RouterId("r1"), NodeName("mac")))
    await settled()
    assert "the router is not remembered: Cannot write identity.json" in caplog.text
    assert await stop(agent)


@virtual_time(allow_lost=True)
async def test_an_agent_whose_link_crashes_again_and_again_says_so() -> None:
    options = AgentOptions(Hello((1,), NodeId("n1"), NodeName("mac")), (), router_url="http://router")
    ports = AgentPorts(FakeServers({}), InMemoryLinks(), None, FixedMachine(), joined=lambda _: None, clock=LoopClock())
    async with running_agent(options, ports) as agent:
        for _ in range(6):
            assert not agent.failed.done()
            kill(get_actor(names.ROUTER_LINK, "agent-n1"), no_restart=False)
            await asyncio.sleep(5)
        failure = await agent.failed
        assert str(failure).startswith('RouterLink "router-link" crashed of ActorKilled(')


@virtual_time
async def test_an_agent_ends_at_once_though_its_model_server_hangs() -> None:
    servers = FakeServers({})
    servers.delay = 1.0
    options = AgentOptions(Hello((1,), NodeId("n1"), NodeName("mac")), (BackendSettings(OLLAMA.id, "http://o"),), "")
    ports = AgentPorts(servers, InMemoryLinks(), None, FixedMachine(), joined=lambda _: None, clock=LoopClock())
    async with running_agent(options, ports):
        await settled()
        assert servers.asked
    assert asyncio.get_running_loop().time() == 0.0
