from dataclasses import replace

import pytest

from herd.policy.edits import edits
from herd.policy.naming import unique_name
from herd.policy.values import Edit
from herd.types import ModelName, NodeName
from tests.policy.views import ASK, OPENAI_ONLY, model


@pytest.mark.parametrize(
    ("taken", "name"),
    [((), "mini"), (("studio",), "mini"), (("mini",), "mini-2"), (("mini", "mini-2", "mini-4"), "mini-3")],
)
def test_a_name_that_is_taken_gets_a_number(taken: tuple[str, ...], name: str) -> None:
    assert unique_name(NodeName("mini"), [NodeName(other) for other in taken]) == name


@pytest.mark.parametrize("sent", ["LLama3.2:3b", "registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"])
def test_ollama_gets_the_name_as_the_client_wrote_it(sent: str) -> None:
    assert edits(replace(ASK, sent=sent), model()) == ()


def test_another_server_gets_exactly_the_name_that_it_lists() -> None:
    listed = replace(model(), name=ModelName("Qwen/Qwen3-8B"), dialects=OPENAI_ONLY)

    assert edits(replace(ASK, sent="qwen/qwen3-8b:latest"), listed) == (Edit("model", "Qwen/Qwen3-8B"),)
    assert edits(replace(ASK, sent="Qwen/Qwen3-8B"), listed) == ()
