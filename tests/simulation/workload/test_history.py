"""A router's history becomes the shape of its traffic: numbers, models of the catalogue, and nothing of anybody's."""

import dataclasses
import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import ConfigError
from herd.simulation.machine.catalog import CATALOG, SimulatedModel
from herd.simulation.runs.asking import body_of, headers_of
from herd.simulation.runs.households import Household, household, playable
from herd.simulation.runs.run import Scenario
from herd.simulation.workload.history import SHOWN, USUAL_ANSWER, USUAL_PROMPT, Recorded, recorded
from herd.simulation.workload.requests import SimulatedRequest
from herd.simulation.workload.traces import requests_of, stretched
from herd.store.history import AskedRequest, History
from herd.store.records import KnownResidency
from herd.types import Bytes, GiB, Outcome, Priority, Seconds, Tokens

HOUSE = Household(nodes=3)
PLAYABLE = playable(HOUSE)
LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"


def asked(
    at: float = 0.0,
    model: str = LLAMA,
    client: str = "10.0.0.7",
    lengths: tuple[int | None, int | None] = (100, 20),
    *,
    outcome: Outcome = Outcome.SERVED,
    status: int | None = 200,
) -> AskedRequest:
    return AskedRequest(Seconds(1.8e9 + at), model, client, outcome.value, status, *lengths)


def replayed(requests: Sequence[AskedRequest], *residencies: KnownResidency) -> Recorded:
    return recorded(History(tuple(requests), residencies), PLAYABLE)


def lengths(found: Recorded) -> list[tuple[int, int]]:
    return [(row.prompt, row.completion) for row in found.rows]


def test_times_lengths_and_models_are_those_of_the_history() -> None:
    found = replayed([asked(0.0), asked(7.5, QWEN, lengths=(30, 4))])
    assert [(row.at, row.model, row.prompt, row.completion) for row in found.rows] == [
        (0.0, LLAMA, 100, 20),
        (7.5, QWEN, 30, 4),
    ]
    assert (found.began, dict(found.played), found.assumed, found.unknown, found.vectors) == (1.8e9, {}, 0, 0, 0)
    assert found.document() == {
        "requests": 2,
        "clients": 1,
        "played": {},
        "assumed_lengths": 0,
        "left_out": {"unknown_model": 0, "vectors": 0},
    }


def test_clients_are_numbers_in_order_of_how_much_they_ask() -> None:
    found = replayed([asked(at, client=name) for at, name in enumerate(("ann", "bob", "cleo", "bob", "cleo", "bob"))])
    assert [row.client for row in found.rows] == [f"client-{number}" for number in (3, 1, 2, 1, 2, 1)]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_whatever_became_of_a_request_it_was_asked(outcome: Outcome) -> None:
    found = replayed([asked(), asked(1.0, outcome=outcome, status=503, lengths=(None, None))])
    assert lengths(found) == [(100, 20), (100, 20)]
    assert found.assumed == 1


def test_names_that_no_machine_has_and_models_for_vectors_are_left_out_and_told() -> None:
    rejected = asked(1.0, "made-up", outcome=Outcome.REJECTED, status=404, lengths=(None, None))
    full = asked(2.0, outcome=Outcome.REJECTED, status=429, lengths=(None, None))
    found = replayed([asked(), rejected, full, asked(3.0, "nomic-embed-text")])
    assert [row.at for row in found.rows] == [0.0, 2.0]
    told = " / ".join(found.remarks())
    assert "requests left out: for models that no machine has had: 1" in told
    assert "requests left out: for vectors, which no simulated fleet is asked for: 1" in told


def test_unknown_lengths_are_their_models_median_else_that_of_all_else_an_assumption() -> None:
    known = [asked(lengths=(prompt, 10 * prompt)) for prompt in (1, 5, 9)]
    found = replayed([*known, asked(lengths=(None, 7)), asked(model=QWEN, lengths=(0, 0))])
    assert lengths(found)[3:] == [(5, 7), (5, 10)]
    assert found.assumed == 2
    assert "for nobody knows their length: 2" in " / ".join(found.remarks())
    assert lengths(replayed([asked(lengths=(None, None))])) == [(USUAL_PROMPT, USUAL_ANSWER)]


def test_an_answer_that_broke_off_does_not_tell_how_long_it_would_have_been() -> None:
    found = replayed([asked(), asked(1.0, lengths=(90, 3), outcome=Outcome.FAILED)])
    assert lengths(found) == [(100, 20), (90, 20)]


@pytest.mark.parametrize("count", [2**53, -(2**53), 100_000_001])
def test_a_length_that_no_prompt_has_is_not_known(count: int) -> None:
    assert lengths(replayed([asked(), asked(1.0, lengths=(count, count))])) == [(100, 20), (100, 20)]


# --- Models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qwen3:8b", "QWEN3:8B", "library/qwen3:8b", "registry.ollama.ai/library/qwen3:8b"])
def test_a_model_that_the_catalogue_has_plays_itself(name: str) -> None:
    found = replayed([asked(model=name)])
    assert found.rows[0].model == QWEN
    assert not [remark for remark in found.remarks() if "played" in remark]


@given(st.sampled_from(PLAYABLE), st.integers(1, 200_000), st.integers(1, 4), st.floats(0.99, 1.01))
def test_another_model_is_played_by_the_nearest_in_size_with_its_context(
    model: SimulatedModel, context: int, slots: int, off: float
) -> None:
    def resident(one: SimulatedModel) -> Bytes:
        return one.resident(Tokens(min(context, one.context)), slots)

    seen = KnownResidency(
        "hf.co/some/model:q8", Bytes(int(resident(model) * off)), Tokens(context), slots, Seconds(0.0)
    )
    found = replayed([asked(model="hf.co/some/model:Q8")], seen)
    player = found.rows[0].model
    assert abs(math.log(resident(CATALOG[player]) / seen.size)) <= abs(math.log(resident(model) / seen.size))
    assert dict(found.played) == {"hf.co/some/model:q8": player}
    assert f"hf.co/some/model:q8 by {player}" in next(found.remarks())


@pytest.mark.parametrize(("size", "player"), [(1, "gemma3:1b"), (2**62, "gpt-oss:120b")])
def test_beyond_the_catalogue_the_smallest_and_the_largest_play(size: int, player: str) -> None:
    seen = KnownResidency("own:latest", Bytes(size), Tokens(4096), 1, Seconds(0.0))
    assert replayed([asked(model="own")], seen).rows[0].model == player


@pytest.mark.parametrize("seen", [(), (KnownResidency("other:latest", Bytes(0), Tokens(0), 0, Seconds(0.0)),)])
def test_a_model_of_unknown_size_is_played_by_the_most_usual_one(seen: tuple[KnownResidency, ...]) -> None:
    assert replayed([asked(model="other")], *seen).rows[0].model == PLAYABLE[0].name == LLAMA


def test_what_fits_no_machine_of_the_house_is_played_too() -> None:
    small = [CATALOG[name] for name in ("gemma3:1b", LLAMA)]
    seen = KnownResidency("llama3.3:70b", Bytes(45 * GiB), Tokens(4096), 1, Seconds(0.0))
    assert recorded(History((asked(model="llama3.3:70b"),), (seen,)), small).rows[0].model == LLAMA


def test_a_remark_names_some_models_and_counts_the_others() -> None:
    found = replayed([asked(model=f"own-{number}") for number in range(SHOWN + 3)])
    remark = next(found.remarks())
    assert remark.count(" by ") == SHOWN + 1  # "played by others"
    assert remark.endswith(", and 3 more")
    assert len(found.document()["played"]) == SHOWN + 3


@pytest.mark.parametrize("requests", [[], [asked(outcome=Outcome.REJECTED, status=404)], [asked(model="bge-m3")]])
def test_a_history_of_which_nothing_can_be_asked_is_refused(requests: list[AskedRequest]) -> None:
    with pytest.raises(ConfigError, match="nothing that was asked of the router can be asked again"):
        replayed(requests)


# --- As requests ------------------------------------------------------------------------------------------------------


def requests(found: Recorded, seed: int = 1) -> list[SimulatedRequest]:
    return requests_of(found.rows, seed=seed, models={LLAMA: 1.0, QWEN: 1.0})


def test_a_clients_conversations_are_with_one_model_each() -> None:
    turns = [asked(100.0 * at, (LLAMA, QWEN)[at % 2], lengths=(100 + 200 * at, 20)) for at in range(200)]
    made = requests(replayed(turns))
    assert [one.model for one in made] == [one.model for one in turns]
    models: dict[str, list[str]] = {}
    for one in made:
        models.setdefault(one.session, []).append(one.model)
    assert all(len(dict.fromkeys(found)) == 1 for found in models.values())
    assert max(len(found) for found in models.values()) > 3  # one goes on although the other model is asked in between


def test_all_are_people_and_patience_alone_is_the_seeds() -> None:
    found = replayed([asked(10.0 * at, client=f"{at % 4}") for at in range(40)])
    one, other = requests(found, 1), requests(found, 2)
    assert {each.priority for each in one} == {Priority.INTERACTIVE}
    assert [(each.at, each.client, each.model, each.prompt, each.completion) for each in one] == [
        (each.at, each.client, each.model, each.prompt, each.completion) for each in other
    ]
    assert [each.patience for each in one] != [each.patience for each in other]


def test_stretched_rows_keep_their_clients_and_models() -> None:
    found = replayed([asked(0.0), asked(1.0, QWEN, "other")])
    assert [(row.at, row.client, row.model) for row in stretched(found.rows, rate=0.1)] == [
        (0.0, "client-1", LLAMA),
        (10.0, "client-2", QWEN),
    ]


def test_the_models_of_a_history_are_on_the_disks_of_the_house_and_no_others() -> None:
    found = replayed([asked(at, model) for at, model in enumerate(("gemma3:27b", "phi4:14b", LLAMA))])
    for seed in range(10):
        made = household(seed, HOUSE, found.rows)
        assert {model for node in made.nodes for model in node.models} == {"gemma3:27b", "phi4:14b", LLAMA}
        assert [one.model for one in made.requests] == ["gemma3:27b", "phi4:14b", LLAMA]


# --- Whose it is ------------------------------------------------------------------------------------------------------

# What a client might have put into a name, and nothing else in a scenario would hold.
SECRETS = st.text("äöüßéñ日本語кит€", min_size=3, max_size=12)


def everything(scenario: Scenario) -> str:
    """All of it, and what is sent of it."""
    sent = [(headers_of(one), body_of(one)) for one in scenario.requests]
    return repr([dataclasses.asdict(scenario), [(headers, body.decode()) for headers, body in sent]])


@given(st.lists(st.tuples(st.floats(0, 1e5), SECRETS, SECRETS, st.sampled_from(Outcome)), min_size=1, max_size=6))
def test_no_name_reaches_the_scenario(drawn: list[tuple[float, str, str, Outcome]]) -> None:
    found = replayed([asked(at, model, client, (12, 3), outcome=how) for at, client, model, how in sorted(drawn)])
    made = everything(household(0, HOUSE, found.rows))
    for _, client, model, _ in drawn:
        assert client not in made
        assert model not in made
        assert client not in repr(found.rows) + repr(list(found.remarks())[1:])
    assert not re.search("[äöüßéñ日本語кит€]", made)
