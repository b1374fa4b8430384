from dataclasses import replace

import pytest

from herd.policy.catalog import preferred
from herd.policy.holding import TRY_AGAIN_S, Patience, hold_for, unlocked, worth_waiting_for
from herd.policy.retrying import Blame, blame
from herd.policy.values import CLOSED, BreakerState, Circuit, Decision, Eliminated, Memory, NodeView, Reason
from herd.types import Bytes, GiB, NodeId, NodeName, NodeState, Seconds, Workload
from tests.policy.views import CHAT_ONLY, OPENAI_ONLY, card, model, node

NOW = Seconds(100.0)
PATIENCE = Patience(until=Seconds(130.0), grace_until=Seconds(105.0))
KNOWN = Decision((), (), known=True)
UNKNOWN_YET = Decision((), (), known=False, complete=False)
UNKNOWN = Decision((), (), known=False, complete=True)


@pytest.mark.parametrize(
    ("decision", "seconds"),
    [(KNOWN, 30.0), (UNKNOWN_YET, 5.0), (UNKNOWN, 0.0)],
    ids=["some node had the model", "known nodes are still missing", "nobody ever had it"],
)
def test_a_request_waits_for_what_may_still_come(decision: Decision, seconds: float) -> None:
    assert hold_for(decision, PATIENCE, NOW, away=False) == seconds


def test_nobody_waits_beyond_the_deadline_nor_for_what_rounding_leaves_of_it() -> None:
    assert hold_for(KNOWN, PATIENCE, Seconds(129.995), away=False) == 0.0
    assert hold_for(KNOWN, PATIENCE, Seconds(200.0), away=True) == 0.0


def test_a_node_that_could_not_be_reached_is_tried_again_soon() -> None:
    assert hold_for(KNOWN, PATIENCE, NOW, away=True) == TRY_AGAIN_S
    assert hold_for(KNOWN, PATIENCE, Seconds(129.0), away=True) == 1.0


def test_a_node_that_may_be_made_to_make_room_is_looked_at_again_when_it_may() -> None:
    assert hold_for(replace(KNOWN, retry_in=Seconds(4.0)), PATIENCE, NOW, away=False) == 4.0
    assert hold_for(replace(KNOWN, retry_in=Seconds(40.0)), PATIENCE, NOW, away=False) == 30.0


WANTED = ("m", "n", "elsewhere")


@pytest.mark.parametrize("state", [NodeState.OFFLINE, NodeState.PAUSED, NodeState.JOINING])
def test_a_node_that_takes_requests_again_unlocks_all_of_its_models_that_are_wanted(state: NodeState) -> None:
    before, after = node("a", model("m"), state=state), node("a", model("m"), model("n", limit=3), model("o"))

    assert unlocked(before, after, WANTED) == {"m": 1, "n": 3}
    assert unlocked(None, after, WANTED) == {"m": 1, "n": 3}
    assert unlocked(after, before, WANTED) == {}


def test_a_node_that_took_requests_before_unlocks_what_is_new_and_what_is_in_memory() -> None:
    had = node("a", model("m"), **card(24, 10))

    assert unlocked(had, node("a", model("m"), model("n"), **card(24, 10)), WANTED) == {"n": 1}
    assert unlocked(had, node("a", model("m"), state=NodeState.DEGRADED, **card(24, 10)), WANTED) == {}
    assert unlocked(had, node("a", model("m", resident=True), **card(24, 10)), WANTED) == {"m": 1}


def test_a_node_with_more_free_memory_than_before_may_have_room_for_what_did_not_fit() -> None:
    had = node("a", model("m"), **card(24, 10))

    assert unlocked(had, node("a", model("m"), **card(24, 12)), WANTED) == {"m": 1}
    assert unlocked(had, node("a", model("m"), **card(24, 8)), WANTED) == {}


def test_an_owner_who_does_less_may_leave_room_for_what_did_not_fit() -> None:
    def mac(workload: Workload) -> NodeView:
        memory = Memory(Bytes(32 * GiB), Bytes(20 * GiB), Bytes(32 * GiB))
        return node("a", model("m"), workload=workload, memory=memory)

    assert unlocked(mac(Workload.HEAVY), mac(Workload.LIGHT), WANTED) == {"m": 1}
    assert unlocked(mac(Workload.LIGHT), mac(Workload.HEAVY), WANTED) == {}


def test_a_node_that_is_short_of_memory_unlocks_what_is_loaded_and_the_rest_when_that_is_over() -> None:
    short = (Reason("memory-pressure", "is short of memory"),)
    pressed = node("a", model("m"), model("n", resident=True), reasons=short, **card(24, 10))
    free = node("a", model("m"), model("n"), **card(24, 10))

    assert unlocked(None, pressed, WANTED) == {"n": 1}
    assert unlocked(pressed, replace(pressed, memory=free.memory), WANTED) == {"n": 1}
    assert unlocked(pressed, free, WANTED) == {"m": 1, "n": 1}


def test_a_breaker_that_lets_more_pass_than_before_unlocks_its_model() -> None:
    def studio(breaker: BreakerState, link: BreakerState = CLOSED) -> NodeView:
        return replace(node("studio", replace(model("m"), breaker=breaker), model("n")), breaker=link)

    opened, half = BreakerState(Circuit.OPEN), BreakerState(Circuit.HALF_OPEN)

    def freed(before: NodeView | None, after: NodeView) -> list[str]:
        return list(unlocked(before, after, WANTED))

    assert freed(studio(opened), studio(half)) == ["m"]
    assert freed(studio(half), studio(CLOSED)) == ["m"]
    assert freed(studio(CLOSED), studio(half)) == freed(studio(CLOSED), studio(opened)) == []
    assert freed(studio(CLOSED, link=opened), studio(CLOSED, link=half)) == ["m", "n"]
    assert freed(studio(opened, link=opened), studio(opened)) == ["n"]
    assert freed(None, studio(opened)) == ["n"]


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("connect", Blame.AWAY),
        ("link", Blame.AWAY),
        ("no-backend", Blame.AWAY),
        ("reset", Blame.BROKE),
        ("status", Blame.BROKE),
        ("incomplete", Blame.BROKE),
        ("internal", Blame.BROKE),
        ("of a newer agent", Blame.BROKE),
    ],
)
def test_only_a_node_that_could_not_be_reached_is_free_of_suspicion(kind: str, where: Blame) -> None:
    assert blame(kind) is where


def test_of_two_servers_with_one_model_the_one_that_can_serve_more_requests_does() -> None:
    ollama, llamacpp = model(), replace(model(resident=True), dialects=OPENAI_ONLY, apis=CHAT_ONLY)

    assert preferred(ollama, llamacpp) is ollama
    assert preferred(llamacpp, ollama) is ollama
    assert preferred(model(), model(resident=True)).resident


OUT = Eliminated(NodeId("a"), NodeName("a"), Reason("offline", "is offline"))
NEVER = replace(KNOWN, eliminated=(OUT._replace(reason=Reason("capability", "has a build of it without vision")),))


def test_of_several_models_those_are_waited_for_that_a_change_may_help() -> None:
    assert worth_waiting_for([KNOWN]) is KNOWN
    assert worth_waiting_for([NEVER, KNOWN]) is KNOWN
    assert worth_waiting_for([NEVER]) is worth_waiting_for([NEVER, NEVER]) is None


def test_who_waits_for_several_models_waits_for_the_first_that_may_come_and_misses_no_change() -> None:
    first = replace(UNKNOWN_YET, version=7, eliminated=(OUT,), retry_in=Seconds(9.0))
    second = replace(KNOWN, version=5, eliminated=(OUT,), retry_in=Seconds(4.0))
    third = replace(UNKNOWN, version=6)

    assert worth_waiting_for([first, second, third]) == Decision(
        (), (OUT, OUT), known=True, complete=False, version=5, retry_in=Seconds(4.0)
    )
    assert worth_waiting_for([UNKNOWN, UNKNOWN]) == UNKNOWN
