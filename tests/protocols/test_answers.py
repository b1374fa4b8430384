import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import BodyTooLarge, HerdError, RequestError, StreamFailed
from herd.protocols.answers import BoundaryWatch, StreamFormat, error_answer, error_event, stream_format
from herd.types import Dialect


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
        (429, "rate_limit_error"),
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
