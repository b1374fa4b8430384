"""The Node: from what is heard of a machine to a view, and to its queues."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from herd.actors import names
from herd.actors.capacity_learner import OwnerSeen
from herd.actors.model_queue import Completion
from herd.actors.node import Node, NodeStatus
from herd.actors.store import Store
from herd.policy.breaker import AttemptEnd, Lesson
from herd.policy.capacity import UNKNOWN, Forecast
from herd.policy.concurrency import LEAST
from herd.policy.pace import Observed
from herd.policy.values import CLOSED, Circuit, Lease, NodeView, Reason, Refused
from herd.protocols.messages import BackendInfo, Machine, Pause, Report
from herd.runtime import ActorHandle, get_actor, kill, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.store.database import Database
from herd.store.executor import InlineExecutor
from herd.store.records import KnownLimit
from herd.types import NodeId, NodeName, NodeState, Seconds, Tokens, Workload
from tests.actors.doubles import OLLAMA, Witness, model, report, settled, ticket

UNDECLARED = BackendInfo(OLLAMA.id, "ollama", "", OLLAMA.dialects)
OLLAMA_OF_ONE = replace(UNDECLARED, parallel=1)
MEETING = Pause("meeting", "is in a meeting", Seconds(1.0), Seconds(2.0))
SHORT = Pause("memory-pressure", "is short of memory", Seconds(3.0))


async def started(*, max_restarts: int = 0) -> tuple[ActorHandle, ActorHandle]:
    """A Node, and the scorer that it tells."""
    scorer = remote(Witness).options(name="scorer").remote()
    node = remote(Node).options(name="node", max_restarts=max_restarts)
    return node.remote(NodeId("n1"), scorer, LoopClock()), scorer


async def views(scorer: ActorHandle) -> list[NodeView]:
    """What the scorer was told since the last time."""
    await settled()
    return [args[0] for _, args in await scorer.heard.remote()]


async def end(*actors: ActorHandle) -> None:
    for actor in actors:
        await stop(actor)


@virtual_time
async def test_a_node_is_joining_until_its_first_report() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "0.1")
    (view,) = await views(scorer)
    assert (view.name, view.state, view.models) == ("studio", NodeState.JOINING, {})
    node.reported.tell(report(model("m")))
    (view,) = await views(scorer)
    assert (view.state, list(view.models), view.reasons) == (NodeState.READY, ["m:latest"], ())
    await end(node, scorer)


@virtual_time
async def test_a_report_that_changes_nothing_for_routing_is_not_told() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    for cpu, step in ((0.1, 1), (0.9, 2)):
        node.reported.tell(report(replace(model("m"), step=step, steps=9), cpu=cpu))
    assert len(await views(scorer)) == 2
    status: NodeStatus = await node.status.remote()
    assert (status.report.cpu, status.report.models[0].step) == (0.9, 2)  # people see it
    node.reported.tell(report(model("m", resident=True)))
    assert [view.models["m:latest"].resident for view in await views(scorer)] == [True]
    await end(node, scorer)


@virtual_time
async def test_a_node_that_is_short_of_memory_takes_requests_and_says_so() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m", resident=True), model("n"), pauses=(SHORT,)))
    view = (await views(scorer))[-1]
    assert view.state is NodeState.READY
    assert view.reasons == (Reason("memory-pressure", SHORT.text, SHORT.since),)
    node.reported.tell(report(model("m", resident=True), model("n"), pauses=(SHORT, MEETING)))
    view = (await views(scorer))[-1]
    assert (view.state, [reason.kind for reason in view.reasons]) == (NodeState.PAUSED, ["meeting", "memory-pressure"])
    node.reported.tell(report(model("m", resident=True), model("n")))
    view = (await views(scorer))[-1]
    assert (view.state, view.reasons) == (NodeState.READY, ())
    await end(node, scorer)


@virtual_time
async def test_who_waits_for_a_model_that_a_node_short_of_memory_would_have_to_load_is_turned_away() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    both = (model("m", resident=True), model("n"))
    node.reported.tell(report(*both, backends=(OLLAMA_OF_ONE,)))
    await settled()
    queues = {name: get_actor(names.model_queue(NodeId("n1"), f"{name}:latest")) for name in ("m", "n")}
    for number, name in enumerate(queues):
        assert isinstance(await queues[name].acquire.remote(ticket(number)), Lease)
    waiting = {name: queues[name].acquire.remote(ticket(2 + number)) for number, name in enumerate(queues)}
    await settled()
    node.reported.tell(report(*both, backends=(OLLAMA_OF_ONE,), pauses=(SHORT,)))
    refused = await waiting["n"]
    assert isinstance(refused, Refused)
    assert refused.reason.kind == "memory-pressure"
    assert not waiting["m"].done()
    node.reported.tell(report(*both, backends=(OLLAMA_OF_ONE,)))
    await settled()
    again = queues["n"].acquire.remote(ticket(4))
    for number, name in enumerate(queues):
        queues[name].release.tell(ticket(number).id)
    assert isinstance(await waiting["m"], Lease)
    assert isinstance(await again, Lease)
    await end(node, scorer)


@virtual_time
async def test_what_the_owner_does_is_in_the_view_and_how_much_of_the_machine_that_takes_is_not() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), workload="heavy", owner_load=0.7, thermal="throttled"))
    view = (await views(scorer))[-1]
    assert (view.workload, view.hardware.throttled) == (Workload.HEAVY, True)
    node.reported.tell(report(model("m"), workload="heavy", owner_load=0.8, thermal="throttled"))
    assert await views(scorer) == []
    await end(node, scorer)


@virtual_time
async def test_a_node_whose_model_server_does_not_answer_is_degraded_and_says_so() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(Report())
    view = (await views(scorer))[-1]
    assert view.state is NodeState.DEGRADED
    assert [(reason.kind, reason.since) for reason in view.reasons] == [("no-backend", EPOCH)]
    node.reported.tell(report(model("m")))
    view = (await views(scorer))[-1]
    assert (view.state, view.reasons) == (NodeState.READY, ())
    await end(node, scorer)


@virtual_time
async def test_states_have_reasons_with_their_times() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), pauses=(MEETING,)))
    node.silence.tell(NodeState.DEGRADED)
    node.draining.tell()
    node.link_down.tell("the cable")
    paused, silent, draining, offline = (await views(scorer))[1:]
    assert (paused.state, paused.reasons[0].text) == (NodeState.PAUSED, "is in a meeting")
    assert (paused.reasons[0].since, paused.reasons[0].until) == (1.0, 2.0)
    assert (silent.state, [reason.kind for reason in silent.reasons]) == (NodeState.PAUSED, ["meeting", "silent"])
    assert (draining.state, draining.reasons[0].kind) == (NodeState.DRAINING, "draining")
    assert (offline.state, offline.reasons[0].text) == (NodeState.OFFLINE, "is offline: the cable")
    assert offline.reasons[0].since == EPOCH
    await end(node, scorer)


@virtual_time
async def test_a_new_link_starts_afresh() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), pauses=(MEETING,)))
    node.draining.tell()
    node.link_down.tell("gone")
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m")))
    assert [view.state for view in await views(scorer)][-2:] == [NodeState.JOINING, NodeState.READY]
    await end(node, scorer)


@virtual_time
async def test_a_node_that_starts_anew_is_offline_to_the_scorer_at_once() -> None:
    node, scorer = await started(max_restarts=1)
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m")))
    await views(scorer)
    kill(node, no_restart=False)
    (view,) = await views(scorer)
    assert (view.id, view.state, view.models) == ("n1", NodeState.OFFLINE, {})
    await end(node, scorer)


@virtual_time
async def test_each_model_has_a_queue_with_its_limit_and_its_waiters_leave_with_the_model() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m")))
    await settled()
    queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
    leases = [queue.acquire.remote(ticket(number)) for number in range(3)]
    assert isinstance(await leases[1], Lease)
    node.reported.tell(report(model("n")))
    refused = await leases[2]
    assert isinstance(refused, Refused)
    assert refused.reason.text == "does not have m:latest on disk any more"
    status: NodeStatus = await node.status.remote()
    assert [(queue.model, queue.running) for queue in status.queues] == [("m:latest", 2), ("n:latest", 0)]
    node.reported.tell(report(model("m"), backends=(BackendInfo(OLLAMA.id, "ollama", parallel=3),)))
    await settled()
    assert isinstance(await queue.acquire.remote(ticket(9)), Lease)
    await end(node, scorer)


@virtual_time
async def test_waiters_leave_a_node_that_pauses_drains_or_is_lost_with_its_reason() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    for word in ("meeting", "draining", "offline"):
        node.reported.tell(report(model("m")))
        await settled()
        queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
        refs = [queue.acquire.remote(ticket(number)) for number in range(3)]
        await settled()
        if word == "meeting":
            node.reported.tell(report(model("m"), pauses=(MEETING,)))
        elif word == "draining":
            node.draining.tell()
        else:
            node.link_down.tell("the cable")
        refused = await refs[2]
        assert refused.reason.kind == word
        for number in range(3):
            queue.release.tell(ticket(number).id)
        node.link_up.tell(NodeName("studio"), Machine(), "")
    await end(node, scorer)


@virtual_time
async def test_whoever_waits_is_turned_away_when_the_node_actor_stops() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m")))
    await settled()
    queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
    refs = [queue.acquire.remote(ticket(number)) for number in range(3)]
    await settled()
    await asyncio.wait_for(end(node), 5)
    assert (await refs[2]).reason.kind == "stopped"
    await end(scorer)


@virtual_time
async def test_the_view_follows_a_learned_limit_which_reports_do_not_reset_and_a_declared_one_overrides() -> None:
    node, scorer = await started()

    def limits(views: list[NodeView]) -> list[int]:
        return [view.models["m:latest"].limit for view in views if view.models]

    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), backends=(UNDECLARED,)))
    assert limits(await views(scorer)) == [1]
    queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
    await learn_two(queue)
    assert limits(await views(scorer)) == [2]
    node.reported.tell(report(model("m"), backends=(UNDECLARED,), cpu=0.5))
    node.reported.tell(report(model("m"), backends=(OLLAMA_OF_ONE,)))
    assert limits(await views(scorer)) == [1]
    assert (await queue.status.remote()).limit == 1
    node.reported.tell(report(model("m"), backends=(UNDECLARED,)))
    assert limits(await views(scorer)) == [2]
    assert (await queue.status.remote()).limit == 2
    await end(node, scorer)


async def attempts(node: ActorHandle, count: int, lesson: Lesson = Lesson.FAILED) -> None:
    """So many attempts to have m answer begin now, and end a second later."""
    began = Seconds(asyncio.get_running_loop().time())
    await asyncio.sleep(1)
    for _ in range(count):
        node.attempted.tell("m:latest", AttemptEnd(lesson, began))


@virtual_time
async def test_a_model_that_fails_again_and_again_takes_nobody_for_a_while_and_its_waiters_leave() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), model("n")))
    await views(scorer)
    queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
    refs = [queue.acquire.remote(ticket(number)) for number in range(3)]
    await attempts(node, 2)
    assert await views(scorer) == []
    await attempts(node, 1)
    (view,) = await views(scorer)
    breaker = view.models["m:latest"].breaker
    assert (breaker.circuit, breaker.failures, breaker.since, breaker.until) == (Circuit.OPEN, 3, EPOCH + 2, EPOCH + 7)
    assert (view.breaker, view.models["n:latest"].breaker) == (CLOSED, CLOSED)
    refused = await refs[2]
    assert refused.reason.kind == "breaker"
    assert isinstance(await queue.acquire.remote(ticket(3)), Refused)
    await asyncio.sleep(4.9)
    assert await views(scorer) == []
    await asyncio.sleep(0.2)
    (view,) = await views(scorer)
    assert view.models["m:latest"].breaker.circuit is Circuit.HALF_OPEN
    queue.release.tell(ticket(0).id)
    assert isinstance(await queue.acquire.remote(ticket(3)), Lease)
    status: NodeStatus = await node.status.remote()
    assert (list(status.breakers), status.breakers["m:latest"].failures, status.link.failures) == (["m:latest"], 3, 0)
    await attempts(node, 1, Lesson.WORKED)
    (view,) = await views(scorer)
    assert view.models["m:latest"].breaker == CLOSED
    await end(node, scorer)


@virtual_time
async def test_a_link_that_cuts_everything_keeps_all_models_away_until_there_is_a_new_one() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), model("n")))
    await views(scorer)
    await asyncio.sleep(1)
    await attempts(node, 3, Lesson.CUT)
    (view,) = await views(scorer)
    assert view.breaker.circuit is Circuit.OPEN
    assert view.models["m:latest"].breaker == CLOSED
    queue = get_actor(names.model_queue(NodeId("n1"), "n:latest"))
    assert (await queue.acquire.remote(ticket(1))).reason.text.startswith("could not be reached 3 times in a row")
    node.link_down.tell("gone")
    node.link_up.tell(NodeName("studio"), Machine(), "")
    assert (await views(scorer))[-1].breaker == CLOSED
    await end(node, scorer)


@virtual_time
async def test_a_declared_limit_of_one_where_nothing_was_declared_is_told_to_the_queue_too() -> None:
    """The view is the same, but nothing is to be learned any more."""
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    for backend in (UNDECLARED, OLLAMA_OF_ONE):
        node.reported.tell(report(model("m"), backends=(backend,)))
    await settled()
    await learn_two(get_actor(names.model_queue(NodeId("n1"), "m:latest")), learns=False)
    await end(node, scorer)


@virtual_time
async def test_the_queues_hear_of_a_model_that_has_come_into_memory() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m", resident=True), model("n"), backends=(UNDECLARED,)))
    await settled()
    queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
    await learn_two(queue, answers=LEAST - 1, learns=False)
    both = report(model("m", resident=True), model("n", resident=True), backends=(UNDECLARED,))
    node.reported.tell(both)
    await learn_two(queue, answers=LEAST - 1, learns=False)
    node.reported.tell(both)  # nothing was loaded
    await learn_two(queue, answers=1)
    await end(node, scorer)


@virtual_time
async def test_the_learner_hears_of_the_owner_and_what_it_expects_is_routings() -> None:
    learner: Any = remote(Learner).options(name=names.CAPACITY_LEARNER).remote()
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), owner_load=0.2, week_slot=33))
    node.reported.tell(report(model("m"), owner_load=0.2, week_slot=201, pauses=(MEETING,)))
    node.reported.tell(report(model("m"), week_slot=33, dedicated=True))
    await views(scorer)
    heard = await learner.heard.remote()
    assert [seen for seen, _ in heard] == [
        OwnerSeen(NodeId("n1"), 33, 0.2),
        OwnerSeen(NodeId("n1"), 33, 1.0),
        OwnerSeen(NodeId("n1"), 33, None, dedicated=True),
    ]
    assert [knows for _, knows in heard] == [UNKNOWN] * 3
    node.owner_expected.tell(Forecast(0.8, 7.5))
    (view,) = await views(scorer)
    assert (view.availability, view.trend, view.state) == (0.8, 7.5, NodeState.READY)
    node.reported.tell(report(model("m"), week_slot=33, dedicated=True))
    assert await views(scorer) == []
    assert (await learner.heard.remote())[0][1] == Forecast(0.8, 7.5)
    await end(node, scorer, learner)


class Learner:
    """In place of the CapacityLearner."""

    def __init__(self) -> None:
        self._heard: list[tuple[OwnerSeen, Forecast]] = []

    def reported(self, seen: OwnerSeen, knows: Forecast) -> None:
        self._heard.append((seen, knows))

    def heard(self) -> list[tuple[OwnerSeen, Forecast]]:
        heard, self._heard = self._heard, []
        return heard


@virtual_time
async def test_a_machine_that_is_its_owners_is_paused_and_says_since_when_and_until_when() -> None:
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m")))
    await asyncio.sleep(1)
    mine = Reason("availability", "is its owner's", until=Seconds(EPOCH + 3600))
    node.owner_expected.tell(Forecast(0.1, 1.0, mine))
    await asyncio.sleep(1)
    node.owner_expected.tell(Forecast(0.1, 0.5, mine))
    view = (await views(scorer))[-1]
    assert (view.state, view.reasons) == (NodeState.PAUSED, (replace(mine, since=Seconds(EPOCH + 1)),))
    node.link_down.tell("the lid")
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m")))  # it is the same hour still
    assert [view.state for view in await views(scorer)] == [NodeState.OFFLINE, NodeState.JOINING, NodeState.PAUSED]
    node.owner_expected.tell(Forecast(0.9, 8.0))
    assert [view.state for view in await views(scorer)] == [NodeState.READY]
    await end(node, scorer)


async def learn_two(queue: ActorHandle, *, answers: int = LEAST, learns: bool = True) -> None:
    """Answers, one after another, from which a queue that is to learn its limit learns to try two."""
    seen = Observed(NodeId("n1"), "m:latest", Tokens(0), Tokens(100), Seconds(0.0), Seconds(0.0), Seconds(0.0))
    for number in range(answers):
        await queue.acquire.remote(ticket(number))
        await asyncio.sleep(5)
        queue.completed.tell(Completion(ticket(number).id, seen))
        queue.release.tell(ticket(number).id)
    assert (await queue.status.remote()).limit == 1 + learns


@virtual_time
async def test_the_queue_of_a_model_that_is_gone_ends_once_nothing_runs_there() -> None:
    def queues() -> list[str]:
        names_of = (names.model_queue(NodeId("n1"), f"{model}:latest") for model in ("m", "idle", "made-up-98"))
        return [name for name in names_of if exists(name)]

    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m"), model("idle")))
    await settled()
    busy, idle = queues()
    assert isinstance(await get_actor(busy).acquire.remote(ticket(1)), Lease)
    for number in range(100):  # a node that makes up names
        node.reported.tell(report(model(f"made-up-{number}")))
        await settled()
    assert queues() == [busy]
    get_actor(busy).release.tell(ticket(1).id)
    node.reported.tell(report(model("idle")))
    await settled()
    assert queues() == [idle]
    assert isinstance(await get_actor(idle).acquire.remote(ticket(2)), Lease)
    await end(node, scorer)


def exists(name: str) -> bool:
    try:
        get_actor(name)
    except ValueError:
        return False
    return True


@virtual_time
async def test_a_limit_that_was_learned_in_an_earlier_life_holds_and_learning_goes_on_from_there() -> None:
    file = Database(None)
    file.save(
        [
            KnownLimit(NodeId("n1"), "m:latest", 3, Seconds(EPOCH)),
            KnownLimit(NodeId("n2"), "m:latest", 9, Seconds(EPOCH)),
        ]
    )
    store = remote(Store).options(name=names.STORE).remote(lambda: file, InlineExecutor(), LoopClock())
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m", UNDECLARED), backends=(UNDECLARED,)))
    assert (await views(scorer))[-1].models["m:latest"].limit == 3
    queue = get_actor(names.model_queue(NodeId("n1"), "m:latest"))
    assert (await queue.status.remote()).limit == 3
    node.limit_changed.tell("m:latest", 4)
    assert (await views(scorer))[-1].models["m:latest"].limit == 4
    await store.load.remote()  # after what waits was written
    assert file.node(NodeId("n1")).limits[0].limit == 4
    await end(node, scorer, store)


@virtual_time
@pytest.mark.parametrize(("limit", "taken_for"), [(0, 1), (-3, 1), (1 << 40, 16)])
async def test_a_limit_that_no_queue_has_ever_learned_is_taken_for_the_nearest_that_one_may(
    limit: int, taken_for: int
) -> None:
    file = Database(None)
    file.save([KnownLimit(NodeId("n1"), "m:latest", limit, Seconds(EPOCH))])
    store = remote(Store).options(name=names.STORE).remote(lambda: file, InlineExecutor(), LoopClock())
    node, scorer = await started()
    node.link_up.tell(NodeName("studio"), Machine(), "")
    node.reported.tell(report(model("m", UNDECLARED), backends=(UNDECLARED,)))
    assert (await views(scorer))[-1].models["m:latest"].limit == taken_for
    await end(node, scorer, store)
