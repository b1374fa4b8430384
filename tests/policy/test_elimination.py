from dataclasses import replace

import pytest

from herd.policy.elimination import absent, unable
from herd.policy.values import Ask, NodeView, Reason
from herd.types import Api, Capability, NodeId, NodeState
from tests.policy.views import ASK, CHAT_ONLY, OPENAI_ONLY, model, node


def eliminate(ask: Ask, view: NodeView) -> Reason | None:
    """Why the node cannot serve this request, if it cannot."""
    return absent(ask.model, view) or unable(ask, view, view.models[ask.model])


@pytest.mark.parametrize("state", [NodeState.READY, NodeState.DEGRADED])
def test_a_node_that_is_heard_and_has_the_model_can_serve(state: NodeState) -> None:
    assert eliminate(ASK, node("studio", model(), state=state)) is None


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.PAUSED, NodeState.DRAINING, NodeState.OFFLINE])
def test_a_node_in_any_other_state_cannot_and_its_own_reason_says_why(state: NodeState) -> None:
    meeting = Reason("meeting", "is in a meeting")

    assert eliminate(ASK, node("studio", model(), state=state, reasons=(meeting,))) == meeting


def test_a_node_without_the_model_cannot_serve() -> None:
    reason = eliminate(ASK, node("studio", model("qwen3:8b")))

    assert reason is not None
    assert (reason.kind, reason.text) == ("no-model", "does not have llama3.2:3b on disk")


def test_a_node_whose_model_server_is_away_is_not_said_to_lack_the_model() -> None:
    away = Reason("no-backend", "has no model server that answers")

    assert eliminate(ASK, node("studio", state=NodeState.DEGRADED, reasons=(away,))) == away


def test_a_node_that_is_short_of_memory_serves_what_is_loaded_and_loads_nothing() -> None:
    short = Reason("memory-pressure", "is short of memory")
    view = node("studio", model(), model("qwen3:8b", resident=True), reasons=(short,))

    assert eliminate(ASK, view) == short
    assert eliminate(replace(ASK, model="qwen3:8b"), view) is None


def test_a_node_that_failed_this_request_is_not_asked_again() -> None:
    reason = eliminate(replace(ASK, excluded=(NodeId("studio"),)), node("studio", model()))

    assert reason is not None
    assert reason.kind == "failed"


def test_a_server_that_does_not_speak_the_clients_language_cannot_serve() -> None:
    view = replace(model(), dialects=OPENAI_ONLY, apis=CHAT_ONLY)

    assert eliminate(ASK, node("studio", view)) is None
    reason = eliminate(replace(ASK, api=Api.OLLAMA_CHAT), node("studio", view))
    assert reason is not None
    assert reason.kind == "dialect"


def test_a_model_that_says_what_it_can_do_is_held_to_it() -> None:
    seeing = replace(ASK, needs=(Capability.VISION,))
    blind = replace(model(), capabilities=(Capability.COMPLETION, Capability.TOOLS))

    reason = eliminate(seeing, node("studio", blind))
    assert reason is not None
    assert reason.kind == "capability"
    assert eliminate(seeing, node("studio", replace(blind, capabilities=(Capability.VISION,)))) is None


def test_what_a_model_cannot_do_is_said_of_a_node_that_failed_too() -> None:
    """Else its failure, which may pass, would hide that nobody can."""
    ask = replace(ASK, needs=(Capability.VISION,), excluded=(NodeId("studio"),))
    for abilities, kind in ((("completion",), "capability"), (("completion", "vision"), "failed")):
        reason = eliminate(ask, node("studio", model(capabilities=abilities)))
        assert reason is not None
        assert reason.kind == kind


def test_a_model_that_does_not_say_is_trusted() -> None:
    assert eliminate(replace(ASK, needs=(Capability.VISION,)), node("studio", model())) is None
