"""What a node is told of the attempts that were made at it."""

import asyncio
from contextlib import nullcontext

import pytest

from herd.actors.attempts import Attempts
from herd.actors.delivery import Failed, WholeAnswer
from herd.errors import LinkClosed, RequestError, StreamFailed
from herd.policy.breaker import AttemptEnd
from herd.policy.values import Candidate
from herd.protocols.messages import Failure, Usage
from herd.runtime import get_actor, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, ModelName, NodeId, NodeName
from tests.actors.doubles import settled


class Taught:
    """In place of a Node."""

    def __init__(self) -> None:
        self._lessons: list[str] = []

    def attempted(self, model: str, end: AttemptEnd) -> None:
        assert model == "m"
        self._lessons.append(end.lesson.value)

    def lessons(self) -> list[str]:
        return self._lessons


def candidate(node: str, *, trial: bool = False) -> Candidate:
    return Candidate(NodeId(node), NodeName(node), ModelName("m"), BackendId("ollama"), (), 0.0, trial=trial)


async def taught(*outcomes: tuple[str, Usage | Failed | BaseException]) -> dict[str, list[str]]:
    """What nodes a and b are told of one request's attempts, each of which answers with a 200 if it has a Usage."""
    nodes = {name: remote(Taught).options(name=f"node:{name}").remote() for name in "ab"}
    attempts = Attempts(get_actor, LoopClock(), "m")

    async def attempt(node: str, outcome: Usage | Failed | BaseException) -> Usage | Failed:
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, Usage):
            attempts.answering(candidate(node))(200)
        return outcome

    for node, outcome in outcomes:
        expected = pytest.raises(type(outcome)) if isinstance(outcome, BaseException) else nullcontext()
        with expected:
            assert await attempts.judged(NodeId(node), attempt(node, outcome)) is outcome
    await settled()
    found = {name: await actor.lessons.remote() for name, actor in nodes.items()}
    for actor in nodes.values():
        await stop(actor)
    return found


SERVED = Usage(complete=True)
SAYS_500 = Failed(Failure("status", "500"), WholeAnswer(500, (), b""))


@pytest.mark.parametrize(
    ("outcome", "lessons"),
    [
        (SERVED, ["worked"]),
        (Usage(failed=True), ["answered"]),
        (Failed(Failure("status", "503"), WholeAnswer(503, (), b"")), ["failed"]),
        (SAYS_500, ["doubtful"]),
        (Failed(Failure("link", "gone")), ["cut"]),
        (StreamFailed("broke off after its first byte"), ["failed"]),
        (StreamFailed("the link was lost", "link"), ["cut"]),
        (LinkClosed("gone"), ["cut"]),
        (RequestError("takes nothing of the request", status=504), ["failed"]),
        (RequestError("has no such field"), []),
        (ConnectionResetError("the client"), []),
        (asyncio.CancelledError(), []),
    ],
    ids=str,
)
def test_how_an_attempt_ends_is_told_to_its_node(outcome: Usage | Failed | BaseException, lessons: list[str]) -> None:
    @virtual_time
    async def story() -> None:
        assert await taught(("a", outcome)) == {"a": lessons, "b": []}

    story()


@virtual_time
async def test_a_500_is_held_against_a_node_once_another_answers_the_same_request() -> None:
    assert await taught(("a", SAYS_500), ("b", SAYS_500)) == {"a": ["doubtful"], "b": ["doubtful"]}


@virtual_time
async def test_a_500_is_held_against_a_node_as_soon_as_another_begins_to_answer() -> None:
    assert await taught(("a", SAYS_500), ("b", SERVED)) == {"a": ["doubtful", "failed"], "b": ["worked"]}


@virtual_time
async def test_a_node_that_recovers_itself_is_not_held_to_its_500() -> None:
    assert await taught(("a", SAYS_500), ("a", SERVED)) == {"a": ["doubtful", "worked"], "b": []}


@virtual_time
async def test_one_request_counts_once_against_a_node() -> None:
    reset = Failed(Failure("reset", "broke"))
    assert await taught(("a", reset), ("b", reset), ("a", reset)) == {"a": ["failed"], "b": ["failed"]}


@virtual_time
async def test_a_trial_teaches_as_soon_as_it_is_answered() -> None:
    node = remote(Taught).options(name="node:a").remote()
    attempts = Attempts(get_actor, LoopClock(), "m")
    attempts.answering(candidate("a"))(200)
    attempts.answering(candidate("a", trial=True))(501)
    assert await node.lessons.remote() == []
    attempts.answering(candidate("a", trial=True))(200)
    assert await node.lessons.remote() == ["answered"]
    await stop(node)


@virtual_time
async def test_a_node_that_is_gone_is_told_nothing() -> None:
    attempts = Attempts(get_actor, LoopClock(), "m")

    async def attempt(outcome: Usage | Failed) -> Usage | Failed:
        return outcome

    for outcome in (SERVED, SAYS_500):
        assert await attempts.judged(NodeId("gone"), attempt(outcome)) is outcome
