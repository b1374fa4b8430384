"""The observer: what it lets pass and what it notices. In a house: test_house_observed.py."""

import asyncio

import pytest

from herd.actors.ports import Headers
from herd.actors.request import OVER_BUDGET
from herd.protocols.messages import Pause, Report
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.invariants import MOST, Asked, Invariant, Observer
from herd.simulation.chaos.truth import SETTLED_S
from herd.types import LinkId, Seconds, StreamId
from tests.simulation.chaos.observed import LLAMA, QWEN, A, B, ask, head, invariants, ready, report

ONE, TWO = StreamId(1), StreamId(2)
PAUSE = Pause("meeting", "is in a meeting", Seconds(0.0))


def test_of_what_is_violated_again_and_again_the_first_cases_are_kept() -> None:
    async def story() -> None:
        observer = Observer()
        for number in range(MOST + 5):
            observer.violated(Invariant.BYTES, f"answer {number}")
        assert [text.rpartition(" ")[2] for text in observer.violations] == [str(number) for number in range(MOST)]

    run_virtual(story())


# --- What the router knows --------------------------------------------------------------------------------------------


@virtual_time
async def test_a_request_may_go_to_a_node_that_takes_it() -> None:
    observer = Observer()
    ready(observer)
    await asyncio.sleep(1)
    observer.opened(A, ONE, head(ask(observer)))
    observer.closed(ONE, given_up=False)
    assert observer.violations == []


@virtual_time
async def test_a_request_may_not_go_to_a_node_without_the_model() -> None:
    observer = Observer()
    ready(observer)
    observer.opened(A, ONE, head(ask(observer, model=QWEN)))
    assert invariants(observer) == [Invariant.MODEL]
    assert observer.violations[0].endswith("r1 goes to a, which reports no qwen3:8b")


@pytest.mark.parametrize("change", ["pauses", "drains", "leaves", "joins anew", "router restarts"])
def test_a_change_counts_from_the_next_moment_on(change: str) -> None:
    async def story() -> None:
        observer = Observer()
        ready(observer)
        await asyncio.sleep(1)
        match change:
            case "pauses":
                observer.reported(LinkId(1), A, report(LLAMA, pauses=(PAUSE,)))
            case "drains":
                observer.draining(LinkId(1), A)
            case "leaves":
                observer.left(LinkId(1), A)
            case "joins anew":
                observer.joined(LinkId(2), A)
            case _:
                observer.router_began()
        if change != "router restarts":
            observer.opened(A, ONE, head(ask(observer)))
            observer.closed(ONE, given_up=False)
            assert observer.violations == []  # messages may be under way
        await asyncio.sleep(0.001)
        observer.opened(A, ONE, head(ask(observer)))
        assert invariants(observer) in ([Invariant.STANDING], [Invariant.MODEL])

    run_virtual(story())


@virtual_time
async def test_what_an_older_link_says_is_not_heard() -> None:
    observer = Observer()
    ready(observer, link=2)
    observer.reported(LinkId(1), A, report(LLAMA, pauses=(PAUSE,)))
    observer.draining(LinkId(1), A)
    observer.left(LinkId(1), A)
    await asyncio.sleep(1)
    observer.opened(A, ONE, head(ask(observer)))
    assert observer.violations == []


@virtual_time
async def test_no_more_requests_run_than_the_node_runs_at_once() -> None:
    observer = Observer()
    ready(observer, parallel=2)
    for number in (1, 2):
        observer.opened(A, StreamId(number), head(ask(observer, f"r{number}")))
    assert observer.violations == []
    observer.opened(A, StreamId(3), head(ask(observer, "r3")))
    assert invariants(observer) == [Invariant.LEASES]


@virtual_time
async def test_other_models_and_other_nodes_run_requests_of_their_own() -> None:
    observer = Observer()
    ready(observer, A, LLAMA, QWEN)
    ready(observer, B)
    for number, (node, model) in enumerate(((A, LLAMA), (A, QWEN), (B, LLAMA)), 1):
        observer.opened(node, StreamId(number), head(ask(observer, f"r{number}", model)))
    assert observer.violations == []


@virtual_time
async def test_a_server_that_does_not_say_how_many_it_runs_at_once_runs_one() -> None:
    observer = Observer()
    ready(observer, parallel=0)
    observer.opened(A, ONE, head(ask(observer, "r1")))
    assert observer.violations == []
    observer.opened(A, TWO, head(ask(observer, "r2")))
    assert invariants(observer) == [Invariant.LEASES]


@virtual_time
async def test_a_request_is_in_one_place_at_a_time() -> None:
    observer = Observer()
    ready(observer, parallel=2)
    asked = ask(observer)
    observer.opened(A, ONE, head(asked))
    observer.opened(A, TWO, head(asked))
    assert invariants(observer) == [Invariant.OUTCOME]


@virtual_time
async def test_after_its_first_byte_a_request_goes_nowhere_and_is_executed_by_nobody() -> None:
    observer = Observer()
    ready(observer)
    asked = ask(observer)
    await asked.sink.start(200, ())
    observer.opened(A, ONE, head(asked))
    observer.executed(A, asked.mark)
    assert invariants(observer) == [Invariant.AGAIN, Invariant.AGAIN]


@pytest.mark.parametrize(("excuse", "violated"), [("", 1), ("the client leaves", 0), ("the router stops", 0)])
def test_what_runs_is_given_up_with_a_reason_only(excuse: str, violated: int) -> None:
    async def story() -> None:
        observer = Observer()
        ready(observer)
        asked = ask(observer)
        observer.opened(A, ONE, head(asked))
        if excuse == "the client leaves":
            asked.leaving = True
        elif excuse:
            observer.router_stops()
        observer.closed(ONE, given_up=True)
        assert invariants(observer) == [Invariant.STANDING] * violated

    run_virtual(story())


@virtual_time
async def test_a_server_that_has_not_had_the_model_for_long_is_not_asked_for_it() -> None:
    observer = Observer()
    observer.truth.add(A, [LLAMA], 0.0)
    asked = ask(observer)
    await asyncio.sleep(100)
    observer.truth.delete(A, LLAMA, 100.0)
    await asyncio.sleep(SETTLED_S)
    observer.executed(A, asked.mark)
    assert observer.violations == []
    await asyncio.sleep(0.1)
    observer.executed(A, asked.mark)
    assert invariants(observer) == [Invariant.MODEL]


@virtual_time
async def test_a_server_that_never_had_the_model_is_not_asked_for_it() -> None:
    observer = Observer()
    observer.truth.add(A, [QWEN], 0.0)
    await asyncio.sleep(SETTLED_S + 1)
    observer.executed(A, ask(observer).mark)
    assert invariants(observer) == [Invariant.MODEL]


# --- Ends -------------------------------------------------------------------------------------------------------------


async def ended(observer: Observer, asked: Asked, *, cancelled: bool = False, failure: Exception | None = None) -> None:
    """The router is done with a request."""

    async def answer() -> None:
        await asyncio.sleep(1 if cancelled else 0)
        if failure is not None:
            raise failure

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    if cancelled:
        task.cancel()
    await asyncio.wait([task])
    observer.over(asked, task)


async def refuse(asked: Asked, status: int, why: str = "no") -> None:
    """The router's own answer."""
    headers: Headers = ()
    await asked.sink.start(status, headers)
    await asked.sink.write(f'{{"error":"{why}"}}'.encode())
    await asked.sink.finish()


@pytest.mark.parametrize("excuse", ["", "left", "stop"])
def test_only_a_client_that_left_and_a_router_that_stops_leave_an_answer_without_an_end(excuse: str) -> None:
    async def story() -> None:
        observer = Observer()
        asked = ask(observer)
        asked.leaving = excuse == "left"
        if excuse == "stop":
            observer.router_stops()
        await ended(observer, asked, cancelled=True)
        assert invariants(observer) == ([] if excuse else [Invariant.OUTCOME])

    run_virtual(story())


@virtual_time
async def test_a_stop_before_a_request_began_is_no_reason_to_leave_it_without_an_end() -> None:
    observer = Observer()
    observer.router_stops()
    await asyncio.sleep(1)
    asked = ask(observer)
    asked.began = 1.0
    await ended(observer, asked, cancelled=True)
    assert invariants(observer) == [Invariant.OUTCOME]


@virtual_time
async def test_a_request_that_raises_is_a_failure_of_herds_own() -> None:
    observer = Observer()
    asked = ask(observer)
    await refuse(asked, 500)
    await ended(observer, asked, failure=ZeroDivisionError())
    assert invariants(observer) == [Invariant.CRASH]
    assert observer.violations[0].endswith("r1 raised ZeroDivisionError()")


@pytest.mark.parametrize(
    ("well_for", "status", "violated"),
    [(SETTLED_S, 503, True), (SETTLED_S, 404, True), (SETTLED_S - 1, 503, False), (SETTLED_S, 502, False)],
)
def test_nobody_is_refused_while_a_node_that_could_is_well(well_for: float, status: int, violated: bool) -> None:
    async def story() -> None:
        observer = Observer()
        observer.truth.add(A, [LLAMA], 0.0)
        await asyncio.sleep(well_for)
        asked = ask(observer)
        asked.began = well_for
        await refuse(asked, status)
        await ended(observer, asked)
        assert invariants(observer) == [Invariant.HELD] * violated

    run_virtual(story())


@virtual_time
async def test_a_router_that_stops_may_refuse_what_a_node_could_serve() -> None:
    observer = Observer()
    observer.truth.add(A, [LLAMA], 0.0)
    await asyncio.sleep(SETTLED_S)
    asked = ask(observer)
    asked.began = SETTLED_S
    observer.router_stops()
    await refuse(asked, 503)
    await ended(observer, asked)
    assert observer.violations == []


@virtual_time
async def test_a_request_that_failed_when_retries_were_used_up_may_be_refused() -> None:
    observer = Observer()
    observer.truth.add(A, [LLAMA], 0.0)
    await asyncio.sleep(SETTLED_S)
    asked = ask(observer)
    asked.began = SETTLED_S
    await refuse(asked, 503, f"it failed; {OVER_BUDGET}")
    await ended(observer, asked)
    assert observer.violations == []


@virtual_time
async def test_a_model_whose_nodes_are_all_away_may_be_refused_but_not_be_unknown() -> None:
    observer = Observer()
    ready(observer)
    for mark, status, expected in (("r1", 503, []), ("r2", 404, [Invariant.HELD])):
        asked = ask(observer, mark)
        await refuse(asked, status)
        await ended(observer, asked)
        assert invariants(observer) == expected


@virtual_time
async def test_a_model_that_some_router_was_told_of_is_never_unknown() -> None:
    observer = Observer()
    ready(observer)
    observer.reported(LinkId(1), A, Report())  # its server is down: what is on the disk stays there
    observer.router_began()
    for model, expected in ((QWEN, []), (LLAMA, [Invariant.HELD])):
        asked = ask(observer, model=model)
        await refuse(asked, 404)
        await ended(observer, asked)
        assert invariants(observer) == expected
