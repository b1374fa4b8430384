import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import BodyTooLarge, HerdError, RequestError, StreamFailed
from herd.protocols.answers import BoundaryWatch, StreamFormat, error_answer, error_event, stream_format
from herd.types import Api, Dialect


def test_ollamas_errors_are_one_string() -> None:
    reply = error_answer(Dialect.OLLAMA, RequestError("model 'x' not found", status=404))
    assert reply.status == 404
    assert reply.body == b'{"error":"model \'x\' not found"}'
    assert reply.headers == (("Content-Type", "application/json; charset=utf-8"), ("Content-Length", "31"))


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RequestError("no"), 400, "invalid_request_error"),
        (RequestError("no", status=404), 404, "not_found_error"),
        (RequestError("no", status=401), 401, "invalid_request_error"),  # OpenAI's own, as its clients know it
        (RequestError("no", status=429), 429, "rate_limit_error"),
        (RequestError("no", status=503), 503, "api_error"),
        (BodyTooLarge("no"), 413, "api_error"),
        (StreamFailed("no"), 502, "api_error"),
        (HerdError("no"), 500, "api_error"),
    ],
)
def test_openais_errors_have_ollamas_types(error: HerdError, status: int, kind: str) -> None:
    reply = error_answer(Dialect.OPENAI, error)
    assert (reply.status, dict(reply.headers)["Content-Type"]) == (status, "application/json")
    assert orjson.loads(reply.body) == {"error": {"message": "no", "type": kind, "param": None, "code": None}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (504, "timeout_error"),
        (503, "overloaded_error"),
        (529, "overloaded_error"),
        (502, "api_error"),
    ],
)
def test_anthropics_errors_have_its_types(status: int, kind: str) -> None:
    reply = error_answer(Dialect.ANTHROPIC, RequestError("no", status=status), request_id="req_1")
    assert orjson.loads(reply.body) == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "req_1",
    }


def test_codes_and_headers_of_an_error_reach_the_client() -> None:
    busy = RequestError("busy", status=503, code="queue_full", headers=(("Retry-After", "2"),))
    reply = error_answer(Dialect.OPENAI, busy)
    assert orjson.loads(reply.body)["error"]["code"] == "queue_full"
    assert reply.headers[-1] == ("Retry-After", "2")


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(("status", "wait"), [(429, "5"), (503, "5"), (500, None), (404, None)])
def test_whoever_is_to_come_back_later_is_told_when(dialect: Dialect, status: int, wait: str | None) -> None:
    reply = error_answer(dialect, RequestError("busy", status=status))
    assert dict(reply.headers).get("Retry-After") == wait


def test_errors_are_written_as_go_writes_them() -> None:
    odd = RequestError("model '<a&b>' not found", status=404)
    assert error_answer(Dialect.OLLAMA, odd).body == b'{"error":"model \'\\u003ca\\u0026b\\u003e\' not found"}'
    assert error_answer(Dialect.OPENAI, odd).body.endswith(b"}}\n")  # an encoder ends its document with a line


def test_the_error_of_a_response_is_the_next_of_its_events() -> None:
    last = b'event: a\ndata: {"type":"a","sequence_number":6}\n\nevent: b\ndata: {"type":"b","sequence_number":7}\n\n'
    event = error_event(StreamFormat.RESPONSES_SSE, StreamFailed("the node left"), last=last)
    name, data = event.decode().rstrip("\n").split("\n")
    assert (name, event[-2:]) == ("event: error", b"\n\n")
    assert orjson.loads(data.removeprefix("data: ")) == {
        "type": "error",
        "sequence_number": 8,
        "code": "server_error",
        "message": "the node left",
        "param": None,
        "error": {"message": "the node left", "type": "api_error", "param": None, "code": None},
    }


@pytest.mark.parametrize(
    ("form", "event"),
    [
        (StreamFormat.NDJSON, b'{"error":"the node left"}\n'),
        (
            StreamFormat.OPENAI_SSE,
            b'data: {"error":{"message":"the node left","type":"api_error","param":null,"code":null}}\n\n',
        ),
        (
            StreamFormat.ANTHROPIC_SSE,
            b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"the node left"}}\n\n',
        ),
    ],
)
def test_a_broken_stream_ends_with_an_error_event_and_no_terminator(form: StreamFormat, event: bytes) -> None:
    assert error_event(form, StreamFailed("the node left")) == event


@pytest.mark.parametrize(
    ("dialect", "content_type", "form"),
    [
        (Dialect.OLLAMA, "application/x-ndjson", StreamFormat.NDJSON),
        (Dialect.OLLAMA, "application/json; charset=utf-8", None),
        (Dialect.OPENAI, "text/event-stream", StreamFormat.OPENAI_SSE),
        (Dialect.OPENAI, "Text/Event-Stream; charset=utf-8", StreamFormat.OPENAI_SSE),
        (Dialect.OPENAI, "application/json", None),
        (Dialect.ANTHROPIC, "text/event-stream", StreamFormat.ANTHROPIC_SSE),
        (Dialect.OLLAMA, "", None),
    ],
)
def test_the_content_type_tells_how_an_answer_is_cut(
    dialect: Dialect, content_type: str, form: StreamFormat | None
) -> None:
    assert stream_format(dialect, content_type) is form


def test_the_events_of_a_response_have_a_format_of_their_own() -> None:
    assert stream_format(Dialect.OPENAI, "text/event-stream", Api.RESPONSES) is StreamFormat.RESPONSES_SSE
    assert stream_format(Dialect.OPENAI, "text/event-stream", Api.COMPLETIONS) is StreamFormat.OPENAI_SSE
    assert stream_format(Dialect.OPENAI, "application/json", Api.RESPONSES) is None


@pytest.mark.parametrize(
    ("form", "sent", "at_boundary"),
    [
        (StreamFormat.NDJSON, b"", True),
        (StreamFormat.NDJSON, b'{"a":1}\n', True),
        (StreamFormat.NDJSON, b'{"a":1}\n{', False),
        (StreamFormat.OPENAI_SSE, b"", True),
        (StreamFormat.OPENAI_SSE, b"data: 1\n", False),
        (StreamFormat.OPENAI_SSE, b"data: 1\n\n", True),
        (StreamFormat.OPENAI_SSE, b"data: 1\r\n\r\n", True),
        (StreamFormat.OPENAI_SSE, b"data: 1\r\n", False),
        (StreamFormat.ANTHROPIC_SSE, b"event: a\ndata: 1\n\nevent", False),
        (StreamFormat.ANTHROPIC_SSE, b"event: a\ndata: 1\n\n", True),
    ],
)
def test_where_an_error_event_can_be_put(form: StreamFormat, sent: bytes, at_boundary: bool) -> None:
    watch = BoundaryWatch(form)
    watch.feed(sent)
    assert watch.at_boundary is at_boundary


@given(st.sampled_from(StreamFormat), st.lists(st.text("ab\r\n", max_size=5).map(str.encode), max_size=8))
@settings(max_examples=100)
def test_boundaries_do_not_depend_on_where_the_chunks_are_cut(form: StreamFormat, chunks: list[bytes]) -> None:
    whole, cut = BoundaryWatch(form), BoundaryWatch(form)
    whole.feed(b"".join(chunks))
    for chunk in chunks:
        cut.feed(chunk)
    assert cut.at_boundary is whole.at_boundary
