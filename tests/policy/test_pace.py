"""How fast a node is, before and after something was seen of it."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.hardware import bandwidth
from herd.policy.pace import (
    CROWDING,
    HALF_LIFE_S,
    THROTTLED,
    UNKNOWN,
    UNSURE,
    Learned,
    Observed,
    crowded,
    doubt,
    learned,
    pace,
    seen,
)
from herd.policy.values import Hardware, MemoryKind
from herd.types import NodeId, Seconds, Tokens
from tests.policy.views import model

NOW = Seconds(0.0)
SERVED = Observed(NodeId("a"), "m", Tokens(500), Tokens(100), Seconds(4.0), Seconds(0.5), Seconds(2.0))


@pytest.mark.parametrize(
    ("chip", "kind", "rate"),
    [
        ("Apple M2 Ultra", MemoryKind.UNIFIED, 800e9),
        ("Apple M2", MemoryKind.UNIFIED, 100e9),
        ("Apple M4 Max", MemoryKind.UNIFIED, 410e9),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", MemoryKind.VIDEO, 672e9),
        ("NVIDIA GeForce RTX 4070 Ti", MemoryKind.VIDEO, 504e9),
        ("NVIDIA RTX A6000", MemoryKind.VIDEO, 768e9),
        ("NVIDIA A100-SXM4-80GB", MemoryKind.VIDEO, 2039e9),
        ("AMD Radeon RX 7900 XTX", MemoryKind.VIDEO, 960e9),
        ("AMD Ryzen AI Max+ 395", MemoryKind.UNIFIED, 256e9),
        ("a card of next year", MemoryKind.VIDEO, 400e9),
        ("Intel(R) Core(TM) i5-6500", MemoryKind.RAM, 51e9),
        ("", MemoryKind.RAM, 51e9),
    ],
)
def test_a_chip_is_known_by_its_longest_name(chip: str, kind: MemoryKind, rate: float) -> None:
    assert bandwidth(chip, kind) == rate


def test_before_anything_was_seen_decoding_reads_the_active_weights_once_a_token() -> None:
    fast, slow = Hardware(MemoryKind.VIDEO, 1000e9), Hardware(MemoryKind.RAM, 50e9)
    dense = model(gib=10)
    sparse = replace(dense, active_share=0.1)

    assert pace(fast, dense).decode == pytest.approx(20 * pace(slow, dense).decode)
    assert pace(fast, sparse).decode == pytest.approx(10 * pace(fast, dense).decode)
    assert pace(fast, dense).prefill > 10 * pace(fast, dense).decode
    assert pace(fast, model(gib=20)).load > pace(fast, dense).load


def test_a_machine_and_a_model_that_say_nothing_still_have_a_pace() -> None:
    unknown = pace(Hardware(), model())

    assert min(unknown.load, unknown.prefill, unknown.decode) > 0


def test_what_was_seen_counts_instead_of_the_hardware() -> None:
    known = learned(Learned(), SERVED, NOW)
    found = pace(Hardware(), model(gib=10), known)

    assert (found.load, found.prefill, found.decode) == pytest.approx((4.0, 1000.0, 50.0))


def test_a_request_that_ran_beside_others_says_how_fast_it_would_have_been_alone() -> None:
    alone, beside = learned(Learned(), SERVED, NOW), learned(Learned(), replace(SERVED, at_once=4), NOW)

    assert beside.decode.alone > alone.decode.alone


def taught(*at_once: int, slower: float, times: int = 30) -> Learned:
    """What is known of a model that makes 50 tokens/s alone, and with each further stream takes so much longer."""
    known = Learned()
    for _ in range(times):
        for streams in at_once:
            decode = Seconds(2.0 * (1.0 + slower * (streams - 1)))
            known = learned(known, replace(SERVED, at_once=streams, decode=decode), NOW)
    return known


@pytest.mark.parametrize("slower", [0.0, 0.3, 0.9])
def test_how_much_slower_a_machine_gets_beside_others_is_learned(slower: float) -> None:
    found = pace(Hardware(), model(gib=10), taught(1, 2, 4, slower=slower))

    assert found.decode == pytest.approx(50.0)
    for streams in (1, 2, 3, 4, 8):
        assert crowded(found.decode_crowd, streams) == pytest.approx(1.0 + slower * (streams - 1), rel=0.15)
    assert found.prefill_crowd[0] == 1.0


def test_until_something_was_seen_of_it_a_machine_is_taken_for_one_like_most() -> None:
    unknown, alone = pace(Hardware(), model()), pace(Hardware(), model(), taught(1, slower=0.5))
    once = pace(Hardware(), model(), taught(1, 4, slower=0.9, times=1))

    for streams in (1, 3, 20):
        assert crowded(unknown.decode_crowd, streams) == pytest.approx(1.0 + CROWDING * (streams - 1))
        assert crowded(alone.decode_crowd, streams) == pytest.approx(1.0 + CROWDING * (streams - 1))
    assert 1.3 < crowded(once.decode_crowd, 4) < 2.8  # not yet the 3.7 that was seen once


def test_what_ran_alone_says_how_fast_a_machine_is_alone_once_enough_of_it_was_seen() -> None:
    crowded_only, both = taught(4, slower=0.5), taught(1, 4, slower=0.5)

    assert crowded_only.decode.alone == pytest.approx(50 / 2.5 * 1.3)
    assert both.decode.alone == pytest.approx(50.0)
    assert taught(3, slower=0.5).decode.alone == pytest.approx(50 / 2.0 * 1.2)  # though it counts for four at once


def test_what_was_seen_long_ago_alone_gives_way_to_what_was_seen_lately_beside_others() -> None:
    """Else a machine with a new card would be taken for the old one until it runs a request alone."""
    known = taught(1, slower=0.1)
    for _ in range(10):
        faster = replace(SERVED, at_once=2, decode=Seconds(0.2))
        known = learned(known, faster, Seconds(8 * HALF_LIFE_S))

    assert known.decode.alone > 300.0


@given(
    st.lists(
        st.tuples(st.integers(0, 100), st.floats(1e-6, 1e9), st.floats(0, 1e9)),
        max_size=20,
    )
)
def test_beside_more_nothing_gets_faster_nor_slower_than_one_after_another(
    seen: list[tuple[int, float, float]],
) -> None:
    known = Learned()
    for at_once, decode, at in seen:
        known = learned(known, replace(SERVED, at_once=at_once, decode=Seconds(decode)), Seconds(at))
    factors = [crowded(known.decode.crowd, streams) for streams in range(1, 40)]

    assert factors[0] == 1.0
    assert factors == sorted(factors)
    assert all(factor <= streams * 1.000001 for streams, factor in enumerate(factors, 1))


def test_the_time_to_the_first_token_is_that_of_a_model_in_memory() -> None:
    warm = replace(SERVED, load=Seconds(0.1), first_token=Seconds(0.7))
    known = learned(Learned(), warm, NOW)

    assert known.first_token is not None
    assert known.first_token.value == pytest.approx(0.7)
    assert learned(Learned(), replace(warm, first_token=Seconds(0.0)), NOW).first_token is None
    assert learned(Learned(), replace(warm, load=Seconds(9.0), first_token=Seconds(9.7)), NOW).first_token is None


def test_what_is_too_short_teaches_nothing() -> None:
    short = replace(SERVED, prompt=Tokens(5), completion=Tokens(1), load=Seconds(0.02))

    assert learned(Learned(), short, NOW) == Learned()


def test_what_was_still_in_memory_of_a_prompt_says_nothing_of_how_fast_prompts_are_read() -> None:
    half = learned(Learned(), replace(SERVED, cached=Tokens(400)), Seconds(0.0))
    assert half.prefill.alone == pytest.approx(100 / 0.5)
    nearly_all = learned(Learned(), replace(SERVED, cached=Tokens(499)), Seconds(0.0))
    assert (nearly_all.prefill, nearly_all.decode) == (UNKNOWN, half.decode)


def test_one_outlier_moves_little_and_a_machine_that_has_changed_is_known_anew() -> None:
    known = None
    for _ in range(10):
        known = seen(known, 50.0, NOW)
    outlier = seen(known, 5000.0, NOW)
    assert outlier.value < 55.0
    for _ in range(60):
        outlier = seen(outlier, 200.0, NOW)
    assert outlier.value > 150.0


def test_what_is_old_counts_less() -> None:
    known = None
    for _ in range(4):
        known = seen(known, 10.0, NOW)
    fresh, old = seen(known, 19.0, NOW), seen(known, 19.0, Seconds(4 * HALF_LIFE_S))

    assert fresh.value < old.value


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30))
def test_an_estimate_stays_within_what_was_seen(values: list[float]) -> None:
    known = None
    for value in values:
        known = seen(known, value, NOW)

    assert known is not None
    assert min(values) * 0.999 <= known.value <= max(values) * 1.001


def test_times_that_no_machine_takes_leave_a_number() -> None:
    """An estimate that is none would spoil the order of all nodes, for good."""
    known = Learned()
    for _ in range(3):
        one = Observed(NodeId("a"), "m", Tokens(2**63), Tokens(2**63), Seconds(1e300), Seconds(5e-324), Seconds(5e-324))
        known = learned(known, one, Seconds(0.0))
    assert known.load is not None
    for number in (known.load.value, known.prefill.alone, known.decode.alone, *known.prefill.crowd):
        assert math.isfinite(number)


def test_a_throttled_machine_is_slower_than_its_hardware_and_than_what_was_learned_but_its_disk_is_not() -> None:
    cool = Hardware(MemoryKind.UNIFIED, 400e9)
    for known in (None, learned(Learned(), SERVED, NOW)):
        expected, hot = pace(cool, model(gib=4), known), pace(replace(cool, throttled=True), model(gib=4), known)
        assert hot.decode == pytest.approx(THROTTLED * expected.decode)
        assert hot.prefill == pytest.approx(THROTTLED * expected.prefill)
        assert hot.load == expected.load


@given(st.lists(st.floats(1.0, 500.0), max_size=12))
def test_the_more_answers_were_seen_the_less_is_doubtful(rates: list[float]) -> None:
    known, doubts = Learned(), [doubt(None)]
    for tokens in rates:
        known = learned(known, replace(SERVED, decode=Seconds(100 / tokens)), Seconds(0.0))
        doubts.append(doubt(known))

    assert all(0.0 < later < before for before, later in pairwise(doubts))
    assert doubts[0] == 1.0 - math.exp(-UNSURE)
