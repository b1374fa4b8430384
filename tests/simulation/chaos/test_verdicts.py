"""Answers that a verdict lets pass, and those that it does not; and that an answer is written in order."""

from collections.abc import Sequence

import pytest

from herd.runtime.testing import run_virtual
from herd.simulation.chaos.overhearing import Execution, WatchedSink
from herd.simulation.chaos.verdicts import is_error, verdict
from herd.simulation.http import RecordingSink
from herd.types import NodeId, Seconds

A, B = NodeId("a"), NodeId("b")

LINE, DONE = b'{"response":"a","done":false}\n', b'{"response":"","done":true}\n'
ERROR_LINE = b'{"error":"the link broke"}\n'
EVENT, LAST_EVENT, ERROR_EVENT = b'data: {"a":1}\n\n', b"data: [DONE]\n\n", b'data: {"error":{"message":"m"}}\n\n'


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
    (got(ERROR_EVENT), [did(b"")], True),  # the link broke before the first event
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


@pytest.mark.parametrize(
    ("sink", "streamed", "error"),
    [
        (got(LINE + DONE), True, False),
        (got(LINE + DONE, status=500), True, True),
        (got(LINE, end="aborted"), True, True),
        (got(LINE + ERROR_LINE), True, True),
        (got(ERROR_LINE + DONE), True, False),  # it went on, so that was no end
        (got(EVENT + ERROR_EVENT), True, True),
        (got(ERROR_EVENT), True, True),
        (got(EVENT + LAST_EVENT), True, False),
        (got(b'{"done":true}'), False, False),
        (got(b'{"error":"no"}'), False, True),
        (got(b'{\n"error":"no"\n}\n'), False, True),  # no stream: its lines are no events
    ],
)
def test_an_answer_that_broke_shows_it_in_its_status_its_end_or_its_last_words(
    sink: RecordingSink, streamed: bool, error: bool
) -> None:
    assert is_error(sink, streamed=streamed) is error


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
