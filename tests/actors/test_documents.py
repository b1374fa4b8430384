import math
from dataclasses import replace

from herd.actors.documents import (
    can_serve,
    node_document,
    node_entry,
    ollama_versions,
    served_models,
    status,
    with_aliases,
)
from herd.actors.latency_learner import Lesson
from herd.actors.model_queue import QueueStatus
from herd.actors.node import NodeStatus
from herd.policy.breaker import Breaker
from herd.policy.calibration import HALF_LIFE_S, Calibration
from herd.policy.pace import Learned
from herd.policy.values import Circuit, Reason
from herd.protocols.herd_api import BreakerEntry, CalibrationEntry, GpuEntry, InfoDocument, ReasonEntry, TotalsEntry
from herd.protocols.messages import Gpu, Machine, Report
from herd.types import Bytes, NodeId, NodeName, NodeState, Seconds
from tests.actors.doubles import LLAMACPP, OLLAMA, model, report

INFO = InfoDocument("r1", "1.2", 11436, (1,))
MEETING = Reason("meeting", "is in a meeting", Seconds(1.0), Seconds(2.0))


def node(
    name: str, state: NodeState, what: Report, *queues: QueueStatus, reasons: tuple[Reason, ...] = ()
) -> NodeStatus:
    return NodeStatus(NodeId(name), NodeName(name), state, reasons, Machine(), "0.1", what, queues)


def queue(name: str, running: int, waiting: int) -> QueueStatus:
    return QueueStatus(NodeName(name), "m:latest", running, waiting, 2)


READY = node("a", NodeState.READY, report(model("m")), queue("a", 2, 3))
PAUSED = node("b", NodeState.PAUSED, report(model("m"), model("n")), queue("b", 1, 0), reasons=(MEETING,))
OFFLINE = node("c", NodeState.OFFLINE, report(model("gone")))
JOINING = node("d", NodeState.JOINING, report(model("stale")))


def test_connected_nodes_have_their_models_whether_they_take_requests_or_not() -> None:
    listed = served_models((READY, PAUSED, OFFLINE, JOINING))
    assert [(name, info.name) for name, info in listed] == [("a", "m"), ("b", "m"), ("b", "n")]


def test_versions_are_those_of_ollamas() -> None:
    mixed = node("a", NodeState.READY, report(backends=(OLLAMA, LLAMACPP)))
    assert ollama_versions((mixed, replace(mixed, state=NodeState.OFFLINE))) == ("0.33.0",)


def test_the_router_can_serve_when_a_node_takes_requests_and_has_a_model() -> None:
    empty = node("e", NodeState.READY, report())
    degraded = node("f", NodeState.DEGRADED, report(model("m")))
    assert not can_serve((PAUSED, OFFLINE, JOINING, empty))
    assert can_serve((PAUSED, degraded))


def test_the_status_adds_up() -> None:
    document = status(INFO, (READY, PAUSED, OFFLINE), held=4)
    assert document.totals == TotalsEntry(nodes=3, serving=1, models=3, running=3, waiting=3, held=4)
    assert document.router.pins == {}
    assert [(entry.running, entry.waiting) for entry in document.nodes] == [(2, 3), (1, 0), (0, 0)]
    assert [(entry.node, entry.running) for entry in document.queues] == [("a", 2), ("b", 1)]
    assert document.nodes[1].reasons == (ReasonEntry("meeting", "is in a meeting", 1.0, 2.0),)
    assert [entry.state for entry in document.nodes] == ["ready", "paused", "offline"]


def test_the_status_lists_every_pin_also_of_models_that_live_nowhere_now() -> None:
    pins = {"n:latest": NodeId(""), "m:latest": READY.id}
    assert status(INFO, (READY, PAUSED), 0, pins).router.pins == {"m:latest": READY.name, "n:latest": None}


def test_the_status_shows_the_memory_that_models_run_in() -> None:
    card = Gpu("GPU-1", "NVIDIA GeForce RTX 4090", "nvidia", Bytes(24), Bytes(20), bandwidth=1008)
    document = status(INFO, (node("a", NodeState.READY, report(gpus=(card,))), PAUSED), held=0)
    assert document.nodes[0].gpus == (GpuEntry("GPU-1", "NVIDIA GeForce RTX 4090", "nvidia", 24, 20, unified=False),)
    assert document.nodes[1].gpus == ()


def test_the_status_shows_how_far_an_image_is() -> None:
    drawing = replace(model("m"), step=4, steps=9)
    hidden = replace(model("m", LLAMACPP), step=1, steps=2)  # another server's model of that name
    document = status(INFO, (node("a", NodeState.READY, report(drawing, hidden, model("n"))),), held=0)
    assert [(shown.step, shown.steps) for shown in document.nodes[0].models] == [(4, 9), (0, 0)]


def test_breakers_are_shown_where_something_has_failed() -> None:
    opened = Breaker(Circuit.OPEN, 4, Seconds(10.0), Seconds(7.0), Seconds(1000.0))
    shaky = replace(READY, link=Breaker(failures=1), breakers={"m:latest": opened})
    shown, untouched = status(INFO, (shaky, PAUSED), held=0).nodes
    assert shown.breaker == BreakerEntry("closed", 1, None, None)
    assert shown.models[0].breaker == BreakerEntry("open", 4, 1000.0, 1010.0)
    assert (untouched.breaker, untouched.models[0].breaker) == (None, None)


def lesson(name: str, model: str, calibration: Calibration | None) -> Lesson:
    return Lesson(NodeId(name), model, Learned(calibration=calibration))


def test_a_node_shows_how_predictions_came_true_as_of_now_and_for_all_its_models_together() -> None:
    day = Seconds(HALF_LIFE_S)
    lessons = (
        lesson("a", "m:latest", Calibration(math.log(2.0), 0.09, 8.0, Seconds(0.0))),
        lesson("a", "n:latest", Calibration(math.log(1.0), 0.09, 4.0, day)),
        lesson("a", "o:latest", None),
        lesson("b", "m:latest", Calibration(9.0, 1.0, 100.0, day)),
    )
    shown = node_document(READY, node_entry(READY), lessons, (), day)
    assert [speed.calibration for speed in shown.learned] == [
        CalibrationEntry(2.0, 0.3, 4.0),  # of yesterday
        CalibrationEntry(1.0, 0.3, 4.0),
        None,
    ]
    apart = math.log(2.0) / 2
    assert shown.calibration == CalibrationEntry(round(math.sqrt(2), 4), round(math.hypot(0.3, apart), 4), 8.0)
    assert node_document(READY, node_entry(READY), lessons[2:], (), day).calibration is None


def test_the_status_shows_what_is_known_of_the_owner() -> None:
    owned = node("a", NodeState.READY, report(workload="light", owner_load=0.25, thermal="throttled"))
    told, unknown = status(INFO, (owned, node("b", NodeState.READY, report(dedicated=True))), held=0).nodes
    assert (told.workload, told.owner_load, told.thermal, told.dedicated) == ("light", 0.25, "throttled", False)
    assert (unknown.workload, unknown.owner_load, unknown.thermal, unknown.dedicated) == (None, None, None, True)


def test_an_alias_is_listed_with_what_it_means_and_in_place_of_a_model_of_its_name() -> None:
    listed = served_models((READY, PAUSED))
    assert with_aliases(listed, {}) == listed

    shown = with_aliases(listed, {"GPT": "m:latest", "N:latest": "m:latest", "other": "gone:latest"})

    assert [(name, info.name) for name, info in shown] == [
        *[("a", "m"), ("b", "m")],
        *[("a", "GPT"), ("a", "N:latest"), ("b", "GPT"), ("b", "N:latest")],
    ]
    assert all(replace(info, name=listed[0][1].name) == listed[0][1] for _, info in shown)
