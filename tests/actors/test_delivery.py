"""The Delivery: what is held, what is streamed, and how an answer that breaks looks to its client."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors.delivery import HOLD_LIMIT, Attempt, Delivery, Failed
from herd.actors.ports import Headers
from herd.errors import ProtocolError, StreamFailed
from herd.policy.retrying import RETRIED_STATUSES
from herd.protocols.messages import Failure, Head, Usage
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded, StreamEvent, StreamReset
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import RecordingSink
from herd.types import Api, Dialect, StreamId
from tests.actors.doubles import FakeExchange

ONE = StreamId(1)
OWN: Headers = (("X-Herd-Node", "studio"), ("X-Request-Id", "r1"))
WHOLE = Usage(complete=True)
CUT = Usage()
RESET = StreamReset(ONE, Failure("reset", "the server closed the connection"))
JSON: Headers = (("Content-Type", "application/json"),)
NDJSON: Headers = (("Content-Type", "application/x-ndjson"),)
SSE: Headers = (("Content-Type", "text/event-stream"),)


def head(status: int = 200, headers: Headers = NDJSON) -> HeadReceived:
    return HeadReceived(ONE, Head(status, headers))


def data(text: bytes) -> DataReceived:
    return DataReceived(ONE, text)


def end(usage: Usage = WHOLE) -> StreamEnded:
    return StreamEnded(ONE, usage)


async def deliver(sink: RecordingSink, *events: StreamEvent, dialect: Dialect = Dialect.OLLAMA) -> Usage | Failed:
    return await Delivery(FakeExchange(*events), sink, Attempt(dialect, True, OWN)).run()


@virtual_time
async def test_a_stream_goes_through_piece_by_piece_with_herds_headers() -> None:
    sink = RecordingSink()
    pieces = (b'{"a":', b"1}\n", b'{"done":true}\n')
    assert await deliver(sink, head(), *map(data, pieces), end()) == WHOLE
    assert (sink.status, tuple(sink.pieces), sink.finished, sink.aborted) == (200, pieces, True, False)
    assert sink.headers == (*NDJSON, *OWN)


@virtual_time
async def test_herds_own_headers_are_no_backends_to_set() -> None:
    sink = RecordingSink()
    await deliver(sink, head(headers=(*NDJSON, ("x-request-id", "another"), ("X-Else", "1"))), data(b"{}\n"), end())
    assert sink.headers == (*NDJSON, ("X-Else", "1"), *OWN)


@pytest.mark.parametrize("before", [[], [head()]])
def test_a_stream_that_breaks_before_its_first_byte_can_be_retried(before: list[StreamEvent]) -> None:
    endings: list[tuple[StreamEvent, str]] = [(RESET, "reset")]
    if before:
        endings.append((end(CUT), "incomplete"))

    async def story() -> None:
        for last, kind in endings:
            sink = RecordingSink()
            failed = await deliver(sink, *before, last)
            assert isinstance(failed, Failed)
            assert failed.failure.kind == kind
            assert not sink.started

    run_virtual(story())


@virtual_time
async def test_an_empty_stream_that_is_whole_is_an_answer() -> None:
    sink = RecordingSink()
    assert await deliver(sink, head(), end()) == WHOLE
    assert (sink.status, sink.body, sink.finished) == (200, b"", True)


@pytest.mark.parametrize("last", [RESET, end(CUT)])
@pytest.mark.parametrize(
    ("dialect", "headers", "whole", "part"),
    [
        (Dialect.OLLAMA, NDJSON, b'{"response":"a"}\n', b'{"respo'),
        (Dialect.OPENAI, SSE, b'data: {"a":1}\n\n', b'data: {"a":1}\n'),
        (Dialect.OPENAI, SSE, b'data: {"a":1}\r\n\r\n', b"data"),
    ],
)
def test_a_stream_that_breaks_ends_in_an_error_event_or_a_cut(
    dialect: Dialect, headers: Headers, whole: bytes, part: bytes, last: StreamEvent
) -> None:
    async def story() -> None:
        sink = RecordingSink()
        with pytest.raises(StreamFailed):
            await deliver(sink, head(headers=headers), data(whole), last, dialect=dialect)
        event = sink.pieces[-1].removeprefix(b"data: ")
        assert "error" in json.loads(event)
        assert (sink.pieces[0], sink.finished, sink.aborted) == (whole, True, False)
        assert b"[DONE]" not in sink.body
        sink = RecordingSink()
        with pytest.raises(StreamFailed):
            await deliver(sink, head(headers=headers), data(whole), data(part), last, dialect=dialect)
        assert (sink.body, sink.finished, sink.aborted) == (whole + part, False, True)

    run_virtual(story())


@virtual_time
async def test_a_stream_that_says_itself_that_it_broke_is_passed_on() -> None:
    sink = RecordingSink()
    failed = Usage(failed=True)
    assert await deliver(sink, head(), data(b'{"error":"out of memory"}\n'), end(failed)) == failed
    assert (sink.body, sink.finished) == (b'{"error":"out of memory"}\n', True)


@virtual_time
async def test_a_document_is_held_until_its_end() -> None:
    sink = RecordingSink()
    failed = await deliver(sink, head(headers=JSON), data(b"x" * HOLD_LIMIT), RESET)
    assert isinstance(failed, Failed)
    assert not sink.started
    sink = RecordingSink()
    assert await deliver(sink, head(headers=JSON), data(b'{"a":'), data(b"1}"), end()) == WHOLE
    assert (sink.pieces, sink.finished) == ([b'{"a":1}'], True)


@virtual_time
async def test_a_document_over_the_limit_goes_through_as_it_comes_and_is_cut_when_it_breaks() -> None:
    long, rest = b"x" * (HOLD_LIMIT + 1), b"y"
    sink = RecordingSink()
    assert await deliver(sink, head(headers=JSON), data(long), data(rest), end()) == WHOLE
    assert (sink.pieces, sink.finished) == ([long, rest], True)
    sink = RecordingSink()
    with pytest.raises(StreamFailed):
        await deliver(sink, head(headers=JSON), data(long), data(rest), RESET)
    assert (sink.body, sink.finished, sink.aborted) == (long + rest, False, True)


@pytest.mark.parametrize("status", RETRIED_STATUSES)
def test_a_server_that_cannot_serve_now_leaves_its_words_for_the_case_that_nobody_can(status: int) -> None:
    async def story() -> None:
        sink = RecordingSink()
        failed = await deliver(sink, head(status, JSON), data(b'{"error":"busy"}'), end(CUT))
        assert isinstance(failed, Failed)
        assert not sink.started
        assert failed.answer is not None
        await failed.answer.send(sink)
        assert (sink.status, sink.body, sink.finished) == (status, b'{"error":"busy"}', True)
        assert sink.header("X-Herd-Node") == "studio"

    run_virtual(story())


@pytest.mark.parametrize("status", [400, 401, 501])
def test_what_another_node_would_say_too_goes_to_the_client(status: int) -> None:
    async def story() -> None:
        sink = RecordingSink()
        await deliver(sink, head(status, JSON), data(b'{"error":"no"}'), end(CUT))
        assert (sink.status, sink.body, sink.finished) == (status, b'{"error":"no"}', True)

    run_virtual(story())


@virtual_time
async def test_an_error_in_the_clothes_of_a_stream_is_a_document() -> None:
    sink = RecordingSink()
    failed = await deliver(sink, head(503, NDJSON), data(b'{"error":"busy"}\n'), end(CUT))
    assert isinstance(failed, Failed)
    assert not sink.started


@virtual_time
async def test_an_answer_without_a_head_is_the_nodes_mistake() -> None:
    with pytest.raises(ProtocolError):
        await deliver(RecordingSink(), data(b"x"), end())


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=10), st.booleans(), st.booleans())
def test_bytes_arrive_unchanged_and_a_broken_stream_never_ends_cleanly_inside_an_event(
    pieces: list[bytes], breaks: bool, streamed: bool
) -> None:
    async def story() -> None:
        sink = RecordingSink()
        events = (head(headers=NDJSON if streamed else JSON), *map(data, pieces), RESET if breaks else end())
        body = b"".join(pieces)
        if not breaks:
            assert await deliver(sink, *events) == WHOLE
            assert (sink.body, sink.finished) == (body, True)
        elif not streamed:
            assert isinstance(await deliver(sink, *events), Failed)
            assert not sink.started
        else:
            with pytest.raises(StreamFailed):
                await deliver(sink, *events)
            assert sink.aborted != sink.finished
            assert sink.finished == body.endswith(b"\n")
            assert sink.body.startswith(body)

    run_virtual(story())


@pytest.mark.parametrize(
    ("api", "content_type", "body"),
    [
        (Api.GENERATE_IMAGE, "image/png", b"\x89PNG"),
        (Api.TRANSCRIPTIONS, "text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:01,000\nHello.\n"),
        (Api.TRANSCRIBE, "application/json", b'{"text": "hello"}\n'),
        (Api.TRANSCRIPTIONS, "application/json", b'"hello"'),
        (Api.TRANSCRIPTIONS, "application/json", b'[{"text": "hello"}]'),
    ],
)
def test_pictures_and_transcriptions_need_no_end_that_a_dialect_knows(api: Api, content_type: str, body: bytes) -> None:
    async def story() -> None:
        sink = RecordingSink()
        events = (head(headers=(("Content-Type", content_type),)), data(body), end(CUT))
        assert await Delivery(FakeExchange(*events), sink, Attempt(api.dialect, False, OWN, api=api)).run() == CUT
        assert (sink.body, sink.finished) == (body, True)

    run_virtual(story())


@pytest.mark.parametrize("half", [b'{"data": [{"b64', b'[{"text": "hel', b" ", b""])
def test_an_object_about_pictures_without_its_end_can_be_retried(half: bytes) -> None:
    async def story() -> None:
        sink = RecordingSink()
        attempt = Attempt(Dialect.OPENAI, False, OWN, api=Api.IMAGES)
        failed = await Delivery(FakeExchange(head(headers=JSON), data(half), end(CUT)), sink, attempt).run()
        assert isinstance(failed, Failed)
        assert (failed.failure.kind, sink.started) == ("incomplete", False)

    run_virtual(story())


@virtual_time
async def test_an_object_about_pictures_that_is_too_long_to_hold_is_cut_where_it_lacks_its_end() -> None:
    long, attempt = b'{"data": [{"b64_json": "' + b"A" * HOLD_LIMIT, Attempt(Dialect.OPENAI, False, OWN, api=Api.IMAGES)
    sink = RecordingSink()
    whole = FakeExchange(head(headers=JSON), data(long), data(b'"}]}'), end())
    assert await Delivery(whole, sink, attempt).run() == WHOLE
    assert sink.finished
    sink = RecordingSink()
    with pytest.raises(StreamFailed):
        await Delivery(FakeExchange(head(headers=JSON), data(long), end(CUT)), sink, attempt).run()
    assert (sink.finished, sink.aborted) == (False, True)
