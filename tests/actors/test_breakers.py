"""A node's table of breakers: what is in it, for how long, and what a change of the node does to it."""

from dataclasses import replace

from herd.actors.breakers import LINK, MAX_BREAKERS, Breakers
from herd.policy.breaker import AttemptEnd, Lesson
from herd.policy.values import CLOSED, Circuit, ModelView
from herd.types import BackendId, ModelName, Seconds

M = ModelView(ModelName("m"), BackendId("ollama"), ("ollama",), apis=("/api/chat",))
HERE = {"m": M}


def fail(
    table: Breakers, count: int = 3, model: str = "m", lesson: Lesson = Lesson.FAILED, now: float = 1.0
) -> list[tuple[str, float]]:
    """The pauses that begin when so many attempts end."""
    return [
        (pause.model, pause.lasts)
        for _ in range(count)
        for pause in table.heed(model, M, AttemptEnd(lesson, Seconds(now)), Seconds(now), Seconds(100.0))
    ]


def test_a_table_has_breakers_of_what_fails_and_says_when_they_pause() -> None:
    table = Breakers()
    assert fail(table, 2) == []
    assert table.shown(HERE) == HERE
    assert fail(table, 1) == [("m", 5.0)]
    assert table.shown(HERE | {"n": M})["m"].breaker.circuit is Circuit.OPEN
    assert table.shown(HERE | {"n": M})["n"].breaker == CLOSED
    table.pause_over("m", Seconds(1.0))
    assert table.standing("m")[1].circuit is Circuit.HALF_OPEN
    assert fail(table, 1, now=6.0) == [("m", 10.0)]
    table.pause_over("m", Seconds(6.0))
    fail(table, 1, lesson=Lesson.WORKED, now=16.5)
    assert (table.models(), table.standing("m")) == ({}, (CLOSED, CLOSED))


def test_the_link_has_its_own_which_a_new_link_replaces() -> None:
    table = Breakers()
    assert fail(table, lesson=Lesson.CUT) == [(LINK, 5.0)]
    assert table.models() == {}
    table.pause_over(LINK, Seconds(1.0))
    assert table.link.circuit is Circuit.HALF_OPEN
    table.joined(Seconds(7.0))
    assert fail(table, lesson=Lesson.CUT, now=6.5) == [], "these went over the link before"
    assert table.link.failures == 0


def test_a_model_that_is_deleted_or_served_by_another_server_begins_anew() -> None:
    for after in ({}, {"m": replace(M, backend=BackendId("llamacpp"))}):
        table = Breakers()
        fail(table)
        table.reported(HERE, after, [M.backend])
        assert table.models() == {}


def test_a_server_that_dies_of_every_request_is_not_forgiven_each_time_it_comes_back() -> None:
    table = Breakers()
    for _ in range(3):
        fail(table, 1)
        table.reported(HERE, {}, [])
        table.reported({}, HERE, [M.backend])
    assert table.models()["m"].circuit is Circuit.HALF_OPEN
    fail(table, 1, now=2.0)
    table.reported(HERE, {}, [])
    table.reported({}, HERE, [M.backend])
    assert table.models()["m"].circuit is Circuit.OPEN


def test_a_node_that_makes_up_models_cannot_fill_the_table() -> None:
    table = Breakers()
    for number in range(MAX_BREAKERS + 10):
        fail(table, 1, f"m{number}")
    assert len(table.models()) == MAX_BREAKERS
    assert table.heed("gone", None, AttemptEnd(Lesson.FAILED, Seconds(1.0)), Seconds(1.0), Seconds(1.0)) == []
    assert "gone" not in table.models()
