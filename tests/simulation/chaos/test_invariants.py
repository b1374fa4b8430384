"""The observer of a house: what it lets pass and what it notices. Whole houses: tests/scenarios/test_chaos.py."""

import asyncio
from collections.abc import Sequence

import pytest

from herd.actors.ports import Headers
from herd.protocols.messages import BackendInfo, ModelInfo, Pause, Report, RequestHead
from herd.runtime import Leases
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.invariants import Asked, Invariant, Observer, left_over
from herd.simulation.chaos.overhearing import MARK, Execution, OverheardLinks, WatchedSink, recorded
from herd.simulation.chaos.truth import SETTLED_S, Truth
from herd.simulation.chaos.verdicts import verdict
from herd.simulation.fleet.house import OLLAMA, house
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.types import Bytes, LinkId, ModelName, NodeId, RequestId, Seconds, StreamId

LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"
A, B = NodeId("a"), NodeId("b")
ONE, TWO = StreamId(1), StreamId(2)
BACKEND = BackendInfo(OLLAMA, "ollama", parallel=1)
PAUSE = Pause("meeting", "is in a meeting", Seconds(0.0))

LINE, DONE = b'{"response":"a","done":false}\n', b'{"response":"","done":true}\n'
ERROR_LINE = b'{"error":"the link broke"}\n'
EVENT, LAST_EVENT, ERROR_EVENT = b'data: {"a":1}\n\n', b"data: [DONE]\n\n", b'data: {"error":{"message":"m"}}\n\n'


# --- Bytes ------------------------------------------------------------------------------------------------------------


def got(body: bytes, *, status: int = 200, node: str | None = "a", end: str = "finished") -> RecordingSink:
    """What a client got."""
    sink = RecordingSink()
    sink.status, sink.pieces = status, [body]
    sink.headers = (("X-Herd-Node", node),) if node else ()
    sink.finished, sink.aborted = end == "finished", end == "aborted"
    return sink


def did(said: bytes, *, status: int = 200, node: NodeId = A, clean: bool = True) -> Execution:
    """What a server said."""
    return Execution(node, Seconds(0.0), status, bytearray(said), clean)


RIGHT: list[tuple[RecordingSink, Sequence[Execution], bool]] = [
    (got(LINE + DONE), [did(LINE + DONE)], True),
    (got(EVENT + LAST_EVENT), [did(EVENT + LAST_EVENT)], True),
    (got(b'{"done":true}'), [did(b'{"done":true}')], False),
    (got(b'{"error":"no"}', status=500), [did(b'{"error":"no"}', status=500)], False),
    (got(LINE, end="aborted"), [did(LINE + DONE)], True),
    (got(LINE[:5], end="aborted"), [did(LINE + DONE)], True),
    (got(LINE, end="hung up"), [did(LINE + DONE)], True),
    (got(LINE + ERROR_LINE), [did(LINE + LINE, clean=False)], True),
    (got(LINE + DONE + ERROR_LINE), [did(LINE + DONE)], True),  # all was said, and its end did not come through
    (got(EVENT + ERROR_EVENT), [did(EVENT + EVENT, clean=False)], True),
    (got(ERROR_LINE), [did(ERROR_LINE)], True),  # the server's own words
    (got(LINE + DONE), [did(LINE, clean=False), did(LINE + DONE)], True),
    (got(LINE + DONE, node="b"), [did(LINE, clean=False), did(LINE + DONE, node=B)], True),
    (got(b'{"error":"no node"}', status=503, node=None), [], True),
    (got(b"refused", status=500), [did(b"refused", status=500)], True),
    (got(b"simulated garbage"), [did(b"simulated garbage")], True),  # nobody can tell
]
WRONG: list[tuple[RecordingSink, Sequence[Execution], bool, str]] = [
    (got(LINE.replace(b"a", b"b") + DONE), [did(LINE + DONE)], True, "differs"),
    (got(LINE + LINE + DONE), [did(LINE + DONE)], True, "differs"),
    (got(DONE + LINE), [did(LINE + DONE)], True, "differs"),
    (got(LINE + ERROR_LINE, end="hung up"), [did(LINE + DONE)], True, "differs"),
    (got(LINE[:5] + ERROR_LINE), [did(LINE + DONE)], True, "differs"),  # an error within an event
    (got(LINE + DONE + ERROR_LINE), [did(LINE)], True, "differs"),
    (got(LINE), [did(LINE + DONE)], True, "ends cleanly"),
    (got(LINE), [did(LINE, clean=False)], True, "ends cleanly"),
    (got(LINE + DONE), [did(LINE + DONE, clean=False)], True, "ends cleanly"),
    (got(LINE + ERROR_LINE), [did(LINE + DONE)], False, "differs"),  # only a stream may end in an error
    (got(b'{"error":"no node"}', node=None), [], True, "nobody's"),
    (got(LINE), [did(LINE)], True, "not whole"),
    (got(EVENT), [did(EVENT)], True, "not whole"),
    (got(b""), [did(b"")], False, "not whole"),
    (got(b'{"done":tr'), [did(b'{"done":tr')], False, "not whole"),
    (got(LINE + DONE, status=500), [did(LINE + DONE)], True, "status"),
    (got(LINE + DONE), [did(LINE + DONE, node=B)], True, "said nothing"),
    (got(LINE + DONE), [], True, "said nothing"),
    (got(LINE + DONE, node=None), [did(LINE + DONE)], True, "nobody's"),
    (got(b"", status=503, node=None), [], True, "nobody's"),
    (got(b'{"error":"no node"}', status=503, node=None, end="hung up"), [], True, "did not end"),
]


@pytest.mark.parametrize(("sink", "executions", "streamed"), RIGHT)
def test_what_one_server_said_and_what_broke_visibly_passes(
    sink: RecordingSink, executions: Sequence[Execution], streamed: bool
) -> None:
    assert verdict(sink, executions, streamed=streamed) is None


@pytest.mark.parametrize(("sink", "executions", "streamed", "why"), WRONG)
def test_what_nobody_said_and_what_only_looks_whole_does_not_pass(
    sink: RecordingSink, executions: Sequence[Execution], streamed: bool, why: str
) -> None:
    assert why in (verdict(sink, executions, streamed=streamed) or "")


def test_two_answers_are_no_answer() -> None:
    one, two = LINE + LINE + DONE, LINE.replace(b"a", b"b") * 2 + DONE
    mixed = LINE + two[len(LINE) :]
    assert verdict(got(mixed), [did(one), did(two)], streamed=True) is not None


@pytest.mark.parametrize(
    ("calls", "wrong"),
    [
        (["start", "write", "finish"], []),
        (["start", "write", "abort"], []),
        (["abort"], []),
        (["write"], ["got bytes before a head"]),
        (["finish"], ["got an end before a head"]),
        (["start", "start"], ["got a second head"]),
        (["start", "finish", "write"], ["got bytes after the end"]),
        (["start", "abort", "write"], ["got bytes after the end"]),
        (["start", "finish", "finish"], ["got a second end"]),
        (["start", "finish", "abort"], ["was cut off after the end"]),
    ],
)
def test_an_answer_is_written_in_order(calls: list[str], wrong: list[str]) -> None:
    async def story() -> None:
        complaints: list[str] = []
        sink = WatchedSink(complaints.append)
        for call in calls:
            match call:
                case "start":
                    await sink.start(200, ())
                case "write":
                    await sink.write(b"a")
                case "finish":
                    await sink.finish()
                case _:
                    sink.abort()
        assert complaints == wrong

    run_virtual(story())


# --- What the router knows --------------------------------------------------------------------------------------------


def report(*models: str, pauses: tuple[Pause, ...] = (), parallel: int = 1) -> Report:
    infos = tuple(ModelInfo(ModelName(model), OLLAMA, Bytes(1)) for model in models)
    return Report((BackendInfo(OLLAMA, "ollama", parallel=parallel),), infos, pauses)


def head(asked: Asked) -> RequestHead:
    return RequestHead(RequestId(asked.mark), OLLAMA, "POST", asked.path)


def ask(observer: Observer, mark: str = "r1", model: str = LLAMA) -> Asked:
    return observer.ask(mark, model, "/api/chat", streamed=True)


def a_ready(observer: Observer, link: int = 1, parallel: int = 1) -> None:
    """Node a has joined, and reported a model."""
    observer.joined(LinkId(link), A)
    observer.reported(LinkId(link), A, report(LLAMA, parallel=parallel))


def invariants(observer: Observer) -> list[Invariant]:
    """Those that were violated."""
    return [one for text in observer.violations for one in Invariant if text.startswith(f"invariant {one} ")]


@virtual_time
async def test_a_request_may_go_to_a_node_that_takes_it() -> None:
    observer = Observer()
    a_ready(observer)
    await asyncio.sleep(1)
    observer.opened(A, ONE, head(ask(observer)))
    observer.closed(ONE, given_up=False)
    assert observer.violations == []


@virtual_time
async def test_a_request_may_not_go_to_a_node_without_the_model() -> None:
    observer = Observer()
    a_ready(observer)
    observer.opened(A, ONE, head(ask(observer, model=QWEN)))
    assert invariants(observer) == [Invariant.MODEL]
    assert observer.violations[0].endswith("r1 goes to a, which reports no qwen3:8b")


@pytest.mark.parametrize("change", ["pauses", "drains", "leaves", "joins anew", "router restarts"])
def test_a_change_counts_from_the_next_moment_on(change: str) -> None:
    async def story() -> None:
        observer = Observer()
        a_ready(observer)
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
    a_ready(observer, link=2)
    observer.reported(LinkId(1), A, report(LLAMA, pauses=(PAUSE,)))
    observer.draining(LinkId(1), A)
    observer.left(LinkId(1), A)
    await asyncio.sleep(1)
    observer.opened(A, ONE, head(ask(observer)))
    assert observer.violations == []


@virtual_time
async def test_no_more_requests_run_than_the_node_runs_at_once() -> None:
    observer = Observer()
    a_ready(observer, parallel=2)
    for number in (1, 2):
        observer.opened(A, StreamId(number), head(ask(observer, f"r{number}")))
    assert observer.violations == []
    observer.opened(A, StreamId(3), head(ask(observer, "r3")))
    assert invariants(observer) == [Invariant.LEASES]


@virtual_time
async def test_a_request_is_in_one_place_at_a_time() -> None:
    observer = Observer()
    a_ready(observer, parallel=2)
    asked = ask(observer)
    observer.opened(A, ONE, head(asked))
    observer.opened(A, TWO, head(asked))
    assert invariants(observer) == [Invariant.OUTCOME]


@virtual_time
async def test_after_its_first_byte_a_request_goes_nowhere_and_is_executed_by_nobody() -> None:
    observer = Observer()
    a_ready(observer)
    asked = ask(observer)
    await asked.sink.start(200, ())
    observer.opened(A, ONE, head(asked))
    observer.executed(A, asked.mark)
    assert invariants(observer) == [Invariant.AGAIN, Invariant.AGAIN]


@pytest.mark.parametrize(("excuse", "violated"), [("", 1), ("the client leaves", 0), ("the router stops", 0)])
def test_what_runs_is_given_up_with_a_reason_only(excuse: str, violated: int) -> None:
    async def story() -> None:
        observer = Observer()
        a_ready(observer)
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


# --- Ends -------------------------------------------------------------------------------------------------------------


async def ended(observer: Observer, asked: Asked, *, cancelled: bool = False) -> None:
    """The router is done with a request."""
    task = asyncio.create_task(asyncio.sleep(0 if not cancelled else 1))
    await asyncio.sleep(0)
    if cancelled:
        task.cancel()
    await asyncio.wait([task])
    observer.over(asked, task)


async def refuse(asked: Asked, status: int) -> None:
    """The router's own answer."""
    headers: Headers = ()
    await asked.sink.start(status, headers)
    await asked.sink.write(b'{"error":"no"}')
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
async def test_a_model_that_some_router_was_told_of_is_never_unknown() -> None:
    observer = Observer()
    a_ready(observer)
    observer.reported(LinkId(1), A, Report())  # its server is down: what is on the disk stays there
    observer.router_began()
    for model, expected in ((QWEN, []), (LLAMA, [Invariant.HELD])):
        asked = ask(observer, model=model)
        await refuse(asked, 404)
        await ended(observer, asked)
        assert invariants(observer) == expected


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


# --- In a house -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_ticket_in_two_queues_and_a_lease_too_many_are_seen() -> None:
    observer = Observer()
    async with house() as home:
        one, two = Leases[str](1), Leases[str](1)
        for leases in (one, two):
            await leases.acquire("t1", asked_again="")
        await observer.look(home)
        assert invariants(observer) == [Invariant.OUTCOME]
        two.release("t1", "")
        two.resize(2)
        for ticket in ("t2", "t3"):
            await two.acquire(ticket, asked_again="")
        two.resize(1)
        await observer.look(home)
        assert invariants(observer) == [Invariant.OUTCOME, Invariant.LEASES]
        for leases, tickets in ((one, ("t1",)), (two, ("t2", "t3"))):
            for ticket in tickets:
                leases.release(ticket, "")


@virtual_time
async def test_what_is_left_over_is_named() -> None:
    async with house() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        assert await left_over(home) == []
        body = {"model": LLAMA, "prompt": "hello", "options": {"num_predict": 100_000}}
        running = home.send("/api/generate", body)
        held = home.send("/api/generate", {"model": "other"})
        await asyncio.sleep(1)
        assert held.task.done()  # nobody ever had it
        found = await left_over(home)
        assert found[0] == f"1 run and 0 wait for {LLAMA} at a"
        assert found[1] == "the ledger has 1 tickets at a"
        assert found[2].startswith("streams are open")
        assert found[3].startswith("at work")
        await running.hang_up()


@virtual_time
async def test_a_house_is_overheard_from_the_request_to_the_answer() -> None:
    observer = Observer()
    async with house(links=OverheardLinks(observer)) as home:
        await home.node("a", [LLAMA], around=lambda server: recorded(server, A, observer))
        observer.truth.add(A, [LLAMA], 0.0)
        asked = ask(observer)
        body = {"model": LLAMA, "messages": [{"role": "user", "content": "hello"}], "options": {"num_predict": 3}}
        sent = home.send(asked.path, body, ((MARK, asked.mark),), sink=asked.sink)
        await sent.task
        observer.over(asked, sent.task)
        unmarked = RecordingSink()
        await home.nodes[0].handler(InMemoryRequest("GET", "/api/tags"), unmarked)
        assert unmarked.finished
    assert [execution.said for execution in asked.executions] == [asked.sink.body]
    assert (observer.counts["served"], observer.violations) == (1, [])
    lines = [line.partition(" ")[2] for line in observer.log]
    assert lines == ["a router begins", "r1 goes to a", "r1 served, 200 by a after 1 executions"]
