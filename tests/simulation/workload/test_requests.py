"""A request's text has exactly its tokens, and begins like those of the requests with which it shares blocks."""

import dataclasses
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.paths import find
from herd.protocols.requests import read_request
from herd.simulation.ollama.asks.native import read_chat
from herd.simulation.ollama.language import count_tokens
from herd.simulation.workload.requests import BLOCK_TOKENS, SimulatedRequest, body, embeds, prompt_text, target
from herd.types import Seconds, Tokens

CHAT, VECTORS = "llama3.2:3b", "nomic-embed-text:latest"


def asked(prompt: int, *blocks: int, client: str = "person-1", at: float = 1.5, model: str = CHAT) -> SimulatedRequest:
    return SimulatedRequest(Seconds(at), client, model, Tokens(prompt), Tokens(40), blocks=blocks)


@given(
    prompt=st.integers(5, 5000),
    blocks=st.lists(st.integers(0, 2**63), max_size=12),
    client=st.text("abcäöü -1", max_size=8),
)
def test_the_fake_counts_the_tokens_that_were_asked_for(prompt: int, blocks: list[int], client: str) -> None:
    # However many ids there are: too few are filled up, too many cut.
    request = asked(prompt, *blocks, client=client)
    ask = read_chat(orjson.dumps(body(request)))
    assert (ask.model, ask.prompt) == (CHAT, prompt)
    assert (ask.wishes.num_predict, ask.wishes.stream) == (40, True)


@pytest.mark.parametrize("prompt", [0, 1, 4, 5])
def test_a_prompt_has_one_letter_at_least(prompt: int) -> None:
    assert 1 <= len(prompt_text(asked(prompt))) <= 4


@given(
    shared=st.lists(st.integers(0, 2**63), min_size=1, max_size=4),
    others=st.tuples(st.lists(st.integers(0, 2**63), max_size=3), st.lists(st.integers(0, 2**63), max_size=3)),
    prompts=st.tuples(st.integers(5, 4000), st.integers(5, 4000)),
)
def test_equal_leading_blocks_are_an_equal_leading_text(
    shared: list[int], others: tuple[list[int], list[int]], prompts: tuple[int, int]
) -> None:
    one, other = (prompt_text(asked(prompt, *shared, *own)) for prompt, own in zip(prompts, others, strict=True))
    covered = min(len(one), len(other), 4 * BLOCK_TOKENS * len(shared))
    assert one[:covered] == other[:covered]


def test_a_block_that_was_cut_short_is_the_beginning_of_the_same_block_when_it_is_whole() -> None:
    assert prompt_text(asked(900, 1, 2, 3)).startswith(prompt_text(asked(600, 1, 2)))


def test_other_blocks_are_another_text_from_their_first_letters_on() -> None:
    one, other = prompt_text(asked(900, 1, 2)), prompt_text(asked(900, 1, 22))
    first = next(index for index, pair in enumerate(zip(one, other, strict=True)) if len({*pair}) > 1)
    assert 4 * BLOCK_TOKENS <= first < 4 * BLOCK_TOKENS + 4


@pytest.mark.parametrize("change", [{"client": "person-2"}, {"at": 1.75}])
def test_without_blocks_a_text_is_its_clients_and_its_moments_own(change: dict[str, object]) -> None:
    request = asked(100)
    assert prompt_text(request) == prompt_text(asked(100))
    assert prompt_text(dataclasses.replace(request, **change)) != prompt_text(request)  # type: ignore[arg-type]


def test_a_model_that_makes_vectors_is_asked_for_them() -> None:
    request = asked(250, 7, model=VECTORS)
    assert target(request) == "/api/embed"
    assert sorted(body(request)) == ["input", "model"]
    assert count_tokens(str(body(request)["input"])) == 250  # nothing is put around an input
    assert target(asked(250)) == "/api/chat"


def test_a_router_learns_how_long_an_answer_will_be_only_from_a_client_that_tells() -> None:
    for tells, limit in ((False, None), (True, 40)):
        sent = orjson.dumps(body(dataclasses.replace(asked(250), tells_length=tells)))
        assert read_chat(sent).wishes.num_predict == 40  # the model server is told in either case
        assert read_request(find("POST", "/api/chat"), sent).max_tokens == limit


def test_a_model_that_nobody_knows_is_asked_for_an_answer() -> None:
    assert not embeds("made-up:1b")
    assert target(asked(9, model="made-up:1b")) == "/api/chat"


def test_a_client_waits_for_ever_unless_told_otherwise() -> None:
    assert asked(9).patience == math.inf
