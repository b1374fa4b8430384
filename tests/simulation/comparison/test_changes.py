"""What is changed in a house, and that nothing else is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import ConfigError
from herd.simulation.comparison.changes import Added, Removed, Rescored, Setup, change_of
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.households import Household, fits, household
from herd.simulation.runs.run import owner_seed
from herd.types import ScorerKind

USUAL, OTHER = ScorerKind
SIZE = Household(nodes=6, models=6, clients=2, requests=10, days=0.03)


def base(seed: int = 0, size: Household = SIZE) -> Setup:
    return Setup.of(household(seed, size))


def owners(setup: Setup) -> dict[str, int]:
    """The seed of each machine's owner."""
    return {plan.name: owner_seed(setup.scenario, number) for number, plan in enumerate(setup.scenario.nodes)}


def names(setup: Setup) -> list[str]:
    return [plan.name for plan in setup.scenario.nodes]


def test_a_house_as_it_is_has_the_owners_that_it_always_had() -> None:
    made = household(7, SIZE)
    assert owners(Setup.of(made)) == {plan.name: owner_seed(made, number) for number, plan in enumerate(made.nodes)}


@given(st.integers(0, 50), st.sampled_from(sorted(PROFILES)), st.integers(1, 12))
def test_a_machine_more_leaves_requests_disks_and_owners_as_they_are(seed: int, profile: str, nodes: int) -> None:
    before = base(seed, replace(SIZE, nodes=nodes))
    after = Added(profile).changed(before)
    *others, added = after.scenario.nodes
    assert tuple(others) == before.scenario.nodes
    assert after.scenario.requests is before.scenario.requests
    assert {name: owners(after)[name] for name in owners(before)} == owners(before)
    assert added.machine == PROFILES[profile]
    assert not HABITS[added.habits].sessions
    wanted = {model for plan in others for model in plan.models}
    assert {*added.models} == {model for model in wanted if fits(CATALOG[model], added.machine, 1)}
    assert added.name not in names(before)
    assert added.name.startswith(profile)


def test_several_machines_of_a_kind_have_names_of_their_own() -> None:
    after = base()
    for _ in range(3):
        after = Added("mini-pc").changed(after)
    assert names(after)[-3:] == ["mini-pc-2", "mini-pc-3", "mini-pc-4"]


@given(st.integers(0, 50), st.data())
def test_a_machine_less_leaves_requests_and_owners_as_they_are_and_every_model_somewhere(
    seed: int, data: st.DataObject
) -> None:
    before = base(seed)
    gone = data.draw(st.sampled_from(before.scenario.nodes))
    after = Removed(gone.name).changed(before)
    assert names(after) == [name for name in names(before) if name != gone.name]
    assert after.scenario.requests is before.scenario.requests
    assert owners(after) == {name: seed for name, seed in owners(before).items() if name != gone.name}
    disks = {plan.name: plan.models for plan in before.scenario.nodes}
    awake = [plan for plan in after.scenario.nodes if not HABITS[plan.habits].lid]
    for plan in after.scenario.nodes:
        assert plan.models[: len(disks[plan.name])] == disks[plan.name]
        assert {*plan.models[len(disks[plan.name]) :]} <= {*gone.models}
    for model in gone.models:
        homes = [plan for plan in awake if fits(CATALOG[model], plan.machine, 1)]
        assert not homes or any(model in plan.models for plan in awake)


def test_changes_follow_one_another() -> None:
    after = Removed("rtx").changed(Added("rtx-4090").changed(base()))
    assert after == base()


def test_the_requests_are_answered_by_the_fleet_as_it_would_be() -> None:
    before = base()
    result = Added("rtx-4090").changed(before).run()
    assert [node.name for node in result.nodes][-1] == "rtx-4090"
    assert len(result.samples) == len(before.run().samples) == len(before.scenario.requests)


def test_another_scorer_changes_nothing_else() -> None:
    before, after = base().scenario, Rescored(OTHER).changed(base()).scenario
    assert after == replace(before, scorer=OTHER) != before


# --- As they are written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("+rtx-4090", Added("rtx-4090")),
        (" + rtx ", Added("rtx-4090")),
        ("+mac-mini", Added("mac-mini")),  # a whole name, though others begin with it
        ("+rasp", Added("raspberry-pi")),
        ("-mini", Removed("mini")),
        ("- studio", Removed("studio")),
        *(
            (text, Rescored(USUAL))
            for text in (f"scorer={USUAL}", f"scorer {USUAL}", f"--scorer {USUAL}", f" --scorer={USUAL}")
        ),
    ],
)
def test_a_change_is_written_in_a_word(text: str, change: object) -> None:
    assert change_of(text) == change


@pytest.mark.parametrize("text", ["", "rtx-4090", "scorer=", "scorer", "*x"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--what-if takes \+PROFILE, -MACHINE or scorer=NAME, not "):
        change_of(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("+toaster", "+toaster is no kind of machine: take one of mac-studio, "),
        ("+", "+ may be several kinds of machines: take one of mac-studio, "),
        ("+pc-30", "+pc-30 may be several kinds of machines: take one of pc-3060, pc-3070, pc-3080, pc-3090"),
        ("scorer=dice", "there is no scorer dice: take seven-signals or completion-time"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        change_of(text)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "- may be several machines: take one of studio (mac-studio), gaming-pc, air (macbook-air)"),
        (
            "toaster",
            "-toaster is no machine of the house: take one of studio (mac-studio), gaming-pc, air (macbook-air)",
        ),
        (
            "mac",
            "-mac may be several machines: take one of studio (mac-studio), air (macbook-air), dev (macbook-pro-m3)",
        ),
    ],
)
def test_a_machine_that_is_not_there_or_may_be_several_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Removed(name).changed(base())
    assert str(refused.value).startswith(sentence)


def test_of_a_larger_house_the_name_says_which() -> None:
    large = base(0, replace(SIZE, nodes=14))
    assert names(Removed("mini-pc").changed(large)) == [name for name in names(large) if name != "mini-pc"]
    assert names(Removed("mini-pc-2").changed(large)) == [name for name in names(large) if name != "mini-pc-2"]
    with pytest.raises(ConfigError, match="-mini may be several machines: take one of mini-pc, mini-pc-2"):
        Removed("mini").changed(large)


def test_the_last_machine_stays() -> None:
    alone = base(0, replace(SIZE, nodes=1))
    with pytest.raises(ConfigError, match="without studio no machine is left: add one first"):
        Removed("studio").changed(alone)
    assert names(Removed("studio").changed(Added("pc-3090").changed(alone))) == ["pc-3090"]


def test_a_machine_that_has_room_for_nothing_is_refused() -> None:
    large = base(0, replace(SIZE, nodes=1))
    only = replace(large.scenario.nodes[0], models=("llama3.3:70b",))
    large = Setup(replace(large.scenario, nodes=(only,), requests=()))
    with pytest.raises(ConfigError, match="macbook-air-m1 has room for none of the models that are asked for"):
        Added("macbook-air-m1").changed(large)
