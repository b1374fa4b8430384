from dataclasses import replace

import pytest

from herd.policy.edits import edits
from herd.policy.naming import unique_name
from herd.policy.values import Edit
from herd.types import Api, ModelName, NodeName, Tokens
from tests.policy.views import ASK, CHAT_ONLY, OPENAI_ONLY, model

UNKNOWN = Tokens(0)


@pytest.mark.parametrize(
    ("taken", "name"),
    [((), "mini"), (("studio",), "mini"), (("mini",), "mini-2"), (("mini", "mini-2", "mini-4"), "mini-3")],
)
def test_a_name_that_is_taken_gets_a_number(taken: tuple[str, ...], name: str) -> None:
    assert unique_name(NodeName("mini"), [NodeName(other) for other in taken]) == name


@pytest.mark.parametrize("sent", ["LLama3.2:3b", "registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"])
def test_ollama_gets_the_name_as_the_client_wrote_it(sent: str) -> None:
    assert edits(replace(ASK, sent=sent), model(), UNKNOWN, UNKNOWN) == ()


def test_another_server_gets_exactly_the_name_that_it_lists() -> None:
    listed = replace(model(), name=ModelName("Qwen/Qwen3-8B"), dialects=OPENAI_ONLY, apis=CHAT_ONLY)

    assert edits(replace(ASK, sent="qwen/qwen3-8b:latest"), listed, UNKNOWN, UNKNOWN) == (
        Edit("model", "Qwen/Qwen3-8B"),
    )
    assert edits(replace(ASK, sent="Qwen/Qwen3-8B"), listed, UNKNOWN, UNKNOWN) == ()


@pytest.mark.parametrize(
    ("num_ctx", "loaded", "default", "edited"),
    [
        (2048, 8192, 4096, True),
        (8192, 8192, 4096, False),
        (16384, 8192, 4096, False),  # a larger one is a reload, which the score sees
        (None, 8192, 4096, True),  # else Ollama would load its default
        (None, 4096, 4096, False),
        (2048, 0, 4096, False),  # it is not loaded, or its server does not say with what
    ],
)
def test_a_context_that_fits_into_the_resident_one_does_not_reload_the_model(
    num_ctx: int | None, loaded: int, default: int, *, edited: bool
) -> None:
    ask = replace(ASK, api=Api.OLLAMA_CHAT, num_ctx=Tokens(num_ctx) if num_ctx else None)

    expected = (Edit("options.num_ctx", loaded),) if edited else ()
    assert edits(ask, model(), Tokens(loaded), Tokens(default)) == expected
    assert edits(replace(ask, api=Api.CHAT), model(), Tokens(loaded), Tokens(default)) == ()


def test_what_is_no_number_of_tokens_is_left_for_the_model_server_to_refuse() -> None:
    ask = replace(ASK, api=Api.OLLAMA_CHAT, odd_context=True)

    assert edits(ask, model(), Tokens(8192), Tokens(4096)) == ()


@pytest.mark.parametrize("api", [Api.OLLAMA_CHAT, Api.CHAT])
def test_a_model_that_the_client_named_otherwise_gets_its_own_name_from_every_server(api: Api) -> None:
    ask = replace(ASK, sent="gpt-4o", renamed=True, api=api)
    named = Edit("model", "llama3.2:3b")
    other = replace(model(), dialects=OPENAI_ONLY, apis=CHAT_ONLY)

    assert edits(ask, model(), UNKNOWN, UNKNOWN) == (named,)
    assert edits(ask, other, UNKNOWN, UNKNOWN) == (named,)


def test_it_gets_the_other_edits_too() -> None:
    ask = replace(ASK, sent="gpt-4o", renamed=True, api=Api.OLLAMA_CHAT)

    found = edits(ask, model(), Tokens(8192), Tokens(4096), home=True)
    assert [edit.field for edit in found] == ["model", "options.num_ctx", "keep_alive"]


def test_of_requests_for_images_and_speech_only_the_name_is_ever_another() -> None:
    ask = replace(ASK, api=Api.GENERATE_IMAGE)

    assert edits(ask, model(), Tokens(8192), Tokens(4096), home=True) == ()
    renamed = replace(ask, sent="dall-e", renamed=True)
    assert edits(renamed, model(), Tokens(8192), Tokens(4096), home=True) == (Edit("model", "llama3.2:3b"),)
