"""A trace's rows become a household's requests: what traces do not tell is drawn, the same for the same seed."""

import dataclasses
import math
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import ConfigError
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.workload.generator import READING_RATE
from herd.simulation.workload.lengths import CONVERSATION
from herd.simulation.workload.requests import SimulatedRequest, prompt_text
from herd.simulation.workload.traces import (
    COMMON_SHARE,
    CONTINUES,
    MOST_TURNS,
    TraceRow,
    read_mooncake,
    requests_of,
    stretched,
)
from herd.types import Priority, Seconds, Tokens

MODELS = {"llama3.2:3b": 2.0, "qwen3:8b": 1.0}
MOONCAKE = Path(__file__).parents[1] / "data" / "mooncake.jsonl"


def row(at: float, prompt: int = 10, completion: int = 5, *blocks: int) -> TraceRow:
    return TraceRow(Seconds(at), Tokens(prompt), Tokens(completion), blocks)


def plain_rows(count: int = 4000, pause: float = 60.0) -> list[TraceRow]:
    """Like Azure's: lengths, and nothing more."""
    rng = random.Random(1)
    return [row(number * pause, *CONVERSATION.draw(rng)) for number in range(count)]


def talks_of(requests: list[SimulatedRequest]) -> list[list[SimulatedRequest]]:
    turns: dict[str, list[SimulatedRequest]] = {}
    for request in requests:
        turns.setdefault(request.session, []).append(request)
    return list(turns.values())


@pytest.fixture(scope="module")
def replayed() -> list[SimulatedRequest]:
    return requests_of(plain_rows(), seed=1, models=MODELS)


def test_times_and_lengths_are_the_traces(replayed: list[SimulatedRequest]) -> None:
    assert [(each.at, each.prompt, each.completion) for each in replayed] == [
        (each.at, each.prompt, each.completion) for each in plain_rows()
    ]


def test_models_clients_and_priorities_are_drawn_by_weight(replayed: list[SimulatedRequest]) -> None:
    models = Counter(request.model for request in replayed)
    assert models["llama3.2:3b"] / models["qwen3:8b"] == pytest.approx(2.0, rel=0.2)
    jobs = [request for request in replayed if request.priority is Priority.BATCH]
    assert len(jobs) / len(replayed) == pytest.approx(0.15, abs=0.03)
    assert {request.client for request in jobs} == {f"job-{rank}" for rank in range(1, 5)}
    people = Counter(request.client for request in replayed if request.priority is Priority.INTERACTIVE)
    assert people["person-1"] / people["person-4"] == pytest.approx(4.0, rel=0.3)
    assert len(people) == 8


def test_people_hang_up_and_jobs_wait(replayed: list[SimulatedRequest]) -> None:
    assert all(math.isinf(each.patience) is (each.priority is Priority.BATCH) for each in replayed)


def test_rows_without_blocks_are_threaded_into_conversations(replayed: list[SimulatedRequest]) -> None:
    talks = talks_of(replayed)
    assert mean(map(len, talks)) > 1.1
    for turns in talks:
        assert len({(turn.client, turn.model, turn.priority) for turn in turns}) == 1
        for before, after in pairwise(turns):
            assert after.prompt > before.prompt + before.completion
            assert after.at - before.at >= before.completion / READING_RATE
            assert prompt_text(after).startswith(prompt_text(before))


def test_nobody_goes_on_before_the_answer_can_be_read() -> None:
    at_once = requests_of(plain_rows(500, pause=0.01), seed=1, models=MODELS, clients=1)
    assert all(len(turns) == 1 for turns in talks_of(at_once)[:100])


def test_rows_that_begin_alike_are_one_conversation_and_what_all_begin_with_is_none() -> None:
    # Block 0 is the service's; 100 conversations of three turns each grow by a block a turn.
    rows = [
        row(float(turn * 100 + talk), 512 * (turn + 2), 9, 0, *(1000 * (talk + 1) + step for step in range(turn + 1)))
        for turn in range(3)
        for talk in range(100)
    ]
    requests = requests_of(rows, seed=1, models=MODELS)
    assert [request.blocks for request in requests] == [each.blocks for each in rows]
    talks = talks_of(requests)
    assert [len(turns) for turns in talks] == [3] * 100
    for turns in talks:
        assert len({(turn.client, turn.model, turn.priority, turn.blocks[1]) for turn in turns}) == 1
    assert len({turns[0].client for turns in talks}) > 5


@pytest.mark.parametrize(
    ("rows", "alike", "talks"),
    [
        (MOST_TURNS, MOST_TURNS, 1),
        (MOST_TURNS + 1, MOST_TURNS + 1, MOST_TURNS + 1),  # too many turns for a conversation
        (2000, int(2000 * COMMON_SHARE), 1),  # in a long trace there are longer ones
        (2000, int(2000 * COMMON_SHARE) + 1, int(2000 * COMMON_SHARE) + 1),
    ],
)
def test_a_block_that_a_great_part_of_the_rows_begins_with_is_no_conversation(
    rows: int, alike: int, talks: int
) -> None:
    told = [row(float(number), 1024, 5, *((7, 7) if number < alike else (100 + number,))) for number in range(rows)]
    requests = requests_of(told, seed=1, models=MODELS)
    assert len({request.session for request in requests[:alike]}) == talks


def test_a_client_that_can_go_on_does_so_by_chance() -> None:
    rows = [row(number * 1000.0, 100 * (number + 1), 5) for number in range(400)]
    talks = talks_of(requests_of(rows, seed=1, models={"llama3.2:3b": 1.0}, clients=1, batch=0.0))
    assert len(talks) / len(rows) == pytest.approx(1 - CONTINUES, abs=0.08)


def test_a_trace_of_the_second_format_is_replayed_whole() -> None:
    rows = stretched(read_mooncake(MOONCAKE), rate=0.1)
    requests = requests_of(rows, seed=1, models=MODELS)
    assert [len(request.blocks) for request in requests] == [3, 2, 4, 0]
    assert [request.completion for request in requests] == [30, 1, 52, 7]  # an answer has a token
    # In so few rows no block is common.
    assert requests[0].session == requests[1].session == requests[2].session != requests[3].session


def test_prompts_and_their_blocks_are_cut_to_the_context() -> None:
    (request,) = requests_of([row(0.0, 100_000, 500, *range(196))], seed=1, models={"qwen3:8b": 1.0})
    assert request.prompt == CATALOG["qwen3:8b"].context - 500
    assert request.blocks == tuple(range(80))


@given(
    rows=st.lists(
        st.builds(
            row, st.just(1.0), st.integers(0, 200_000), st.integers(0, 200_000), st.integers(0, 5), st.integers(0, 5)
        ),
        max_size=30,
    ),
    blocks=st.booleans(),
    seed=st.integers(),
)
def test_any_rows_are_requests_that_can_be_sent(rows: list[TraceRow], blocks: bool, seed: int) -> None:
    rows = rows if blocks else [dataclasses.replace(each, blocks=()) for each in rows]
    requests = requests_of(rows, seed=seed, models=MODELS)
    assert len(requests) == len(rows)
    for request in requests:
        assert request.prompt >= 1
        assert request.completion >= 1
        assert request.session.startswith(request.client)
        assert len(request.blocks) <= math.ceil(request.prompt / 512)


def test_another_seed_draws_anew(replayed: list[SimulatedRequest]) -> None:
    assert requests_of(plain_rows(), seed=1, models=MODELS) == replayed
    assert requests_of(plain_rows(), seed=2, models=MODELS) != replayed


_SCRIPT = """
import sys
from pathlib import Path
from herd.simulation.workload.traces import read_trace, requests_of
print(requests_of(read_trace(Path(sys.argv[1])) * 50, seed=7, models={"llama3.2:3b": 2.0, "qwen3:8b": 1.0}))
"""


@pytest.mark.parametrize("name", ["azure.csv", "mooncake.jsonl"])
def test_the_same_seed_draws_the_same_whatever_pythons_hashes_are(name: str) -> None:
    lists = [
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(MOONCAKE.parent / name)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": {}}, "needs a model that answers"),
        ({"models": {"nomic-embed-text:latest": 1.0}}, "needs a model that answers"),
        ({"models": {"gpt-9": 1.0}}, "no model gpt-9"),
        ({"models": {"qwen3:8b": -1.0}}, "the weight of qwen3:8b is -1.0"),
        ({"clients": 0}, "0 clients"),
        ({"batch": 1.5}, "a share of 1.5"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        requests_of([row(0.0)], **{"seed": 1, "models": MODELS, **change})  # type: ignore[arg-type]
