"""What people are told of a node: each thing once, whatever the node does in between."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from herd.actors import names, news
from herd.actors.herald import Herald
from herd.policy.values import BreakerState, Circuit, ModelView, NodeView, Reason
from herd.protocols.happenings import Happening, HappeningKind, LoadCause
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, ModelName, NodeId, NodeName, NodeState

OPEN, HALF = BreakerState(Circuit.OPEN), BreakerState(Circuit.HALF_OPEN)
GONE = Reason("offline", "is offline: the connection was closed")
LEAVES, BY_HAND = Reason("draining", "is shutting down"), Reason("drained", "is drained by hand")


class Listener:
    """In place of the Feed."""

    def __init__(self) -> None:
        self._heard: list[Happening] = []

    def happened(self, happening: Happening) -> None:
        self._heard.append(happening)

    def heard(self) -> list[Happening]:
        return self._heard


class Later:
    """Timers that wait for the test."""

    def __init__(self) -> None:
        self.due: Callable[[], None] | None = None

    def __call__(self, _seconds: float, method: Callable[[NodeView], None], view: NodeView) -> Any:
        self.due = lambda: method(view)
        return self

    def cancel(self) -> None:
        self.due = None


class Story:
    """A node that goes from view to view."""

    def __init__(self) -> None:
        self.later = Later()
        self.herald = Herald(LoopClock(), self.later)
        self.view = NodeView(NodeId("s"), NodeName("studio"), NodeState.OFFLINE, reasons=(GONE,))
        self._feed: ActorHandle = remote(Listener).options(name=names.FEED).remote()

    def becomes(self, state: NodeState = NodeState.READY, *reasons: Reason, **changes: Any) -> None:
        before, self.view = self.view, replace(self.view, state=state, reasons=reasons, **changes)
        self.herald.changed(before, self.view)

    async def end(self) -> list[Happening]:
        heard: list[Happening] = await self._feed.heard.remote()
        await stop(self._feed)
        return heard


def model(*, resident: bool = False, backend: str = "ollama") -> ModelView:
    return ModelView(ModelName("m:latest"), BackendId(backend), resident=resident)


@virtual_time
async def test_a_node_that_says_that_it_will_leave_leaves_and_takes_no_requests_again_in_between() -> None:
    story = Story()
    story.becomes(NodeState.JOINING)
    story.becomes(NodeState.DRAINING, BY_HAND)
    story.becomes(NodeState.DRAINING, LEAVES, BY_HAND)
    story.becomes(NodeState.OFFLINE, GONE)
    assert story.later.due is not None
    story.later.due()
    assert [one.kind for one in await story.end()] == ["joined", "drained", "left"]


@virtual_time
async def test_what_it_comes_back_with_after_a_moment_is_what_people_know() -> None:
    story = Story()
    paused = Reason("meeting", "is in a meeting")
    story.becomes()
    story.becomes(NodeState.PAUSED, paused)
    story.becomes(NodeState.OFFLINE, GONE)
    story.becomes(NodeState.JOINING)
    assert story.later.due is None
    story.becomes(NodeState.PAUSED, paused)
    story.becomes(NodeState.DEGRADED, Reason("silent", "has fallen silent"))
    story.becomes(NodeState.READY)
    assert [one.kind for one in await story.end()] == ["joined", "paused", "resumed"]


@virtual_time
async def test_the_breaker_of_a_link_is_a_new_one_with_a_new_link() -> None:
    story = Story()
    story.becomes()
    story.becomes(breaker=OPEN)
    story.becomes(breaker=HALF)
    story.becomes(breaker=OPEN)
    story.becomes(breaker=BreakerState())
    story.becomes(breaker=OPEN)
    story.becomes(NodeState.JOINING, breaker=BreakerState())
    story.becomes()
    heard = await story.end()
    assert [one.kind for one in heard] == ["joined", "breaker-opened", "breaker-closed", "breaker-opened"]
    assert [one.text for one in heard[1:3]] == [
        "studio fails again and again: it is left alone for a while",
        "studio serves again",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {"m:latest": model(resident=True)}, id="a model that is new to the node"),
        pytest.param({"m:latest": model(resident=True)}, {}, id="a model that is gone"),
        pytest.param(
            {"m:latest": model(resident=True)}, {"m:latest": model(backend="lms")}, id="one that another server serves"
        ),
    ],
)
@virtual_time
async def test_nothing_was_loaded_nor_evicted(before: dict[str, ModelView], after: dict[str, ModelView]) -> None:
    story = Story()
    story.becomes(models=before)
    story.becomes(models=after)
    assert [one.kind for one in await story.end()] == ["joined"]


@virtual_time
async def test_a_load_has_the_cause_that_the_router_gave_it_and_but_once() -> None:
    story = Story()
    story.becomes(models={"m:latest": model()})
    story.herald.load_ordered("m:latest", LoadCause.HOME)
    story.herald.load_failed("m:latest", "no room", story.view)
    for cause in (LoadCause.QUEUE, None):
        if cause is not None:
            story.herald.load_ordered("m:latest", cause)
        story.becomes(models={"m:latest": model(resident=True)})
        story.becomes(models={"m:latest": model()})
    heard = [(one.kind.value, one.cause) for one in await story.end()]
    assert heard == [
        ("joined", ""),
        ("load-failed", ""),
        ("pre-warmed", "queue"),
        ("evicted", ""),
        ("loaded", "request"),
        ("evicted", ""),
    ]


@virtual_time
async def test_what_a_node_was_asked_for_before_it_joined_anew_is_forgotten() -> None:
    story = Story()
    story.becomes(models={"m:latest": model()})
    story.herald.load_ordered("m:latest", LoadCause.QUEUE)
    story.becomes(NodeState.JOINING)
    story.becomes()
    story.becomes(models={"m:latest": model(resident=True)})
    assert [one.cause for one in await story.end()] == ["", "request"]


@virtual_time
async def test_what_strangers_made_up_is_shown_and_not_obeyed_and_ends_somewhere() -> None:
    feed = remote(Listener).options(name=names.FEED).remote()
    text = "is\x1b[2J " + 1000 * "x"
    news.happened(HappeningKind.PAUSED, LoopClock(), text, node="a\nb", model="m\ud800", cause=1000 * "\0")
    [told] = await feed.heard.remote()
    assert told.text.startswith("is\\x1b[2J xx")
    assert (told.node, told.model) == ("a\\nb", "m\\ud800")
    assert len(told.text) <= news.MAX_TEXT + 3
    assert all(part.isprintable() for part in (told.text, told.cause))
    await stop(feed)
