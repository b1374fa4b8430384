"""How the machines of a house are, whatever the router believes."""

from herd.simulation.chaos.truth import SETTLED_S, Truth
from herd.types import NodeId

LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"
A, B = NodeId("a"), NodeId("b")


def test_who_could_serve_has_had_the_model_and_no_trouble_for_a_while() -> None:
    truth = Truth()
    truth.add(A, [LLAMA], 0.0)
    truth.add(B, [LLAMA, QWEN], 50.0)
    assert truth.who_could(LLAMA, SETTLED_S - 1) is None
    assert truth.who_could(LLAMA, SETTLED_S) == A
    with truth.trouble(A, lambda: 100.0):
        assert truth.who_could(LLAMA, 60.0) is None
        assert truth.who_could(LLAMA, 90.0) == B
        with truth.trouble(A, lambda: 90.0):
            pass
        assert truth.who_could(LLAMA, 60.0) is None  # one trouble is over, and another is not
    truth.delete(B, LLAMA, 110.0)
    assert truth.who_could(LLAMA, 112.0) is None
    assert truth.who_could(LLAMA, 100.0 + SETTLED_S) == A
    assert truth.who_could("none", 1000.0) is None
    assert truth.models(B) == (QWEN,)
