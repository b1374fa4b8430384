"""What those who watch are told, as bytes."""

import orjson
import pytest

from herd.errors import RequestError
from herd.protocols.happenings import Happening, HappeningKind
from herd.protocols.live import LogLine, Topic, encode_happenings, encode_log, event, topics_of
from herd.protocols.sse import EventReader, ServerSentEvent


def test_an_event_has_its_topic_for_a_name() -> None:
    written = event(Topic.STATUS, b'{"nodes":[]}')
    assert written == b'event: status\ndata: {"nodes":[]}\n\n'
    assert EventReader().feed(b": here\n\n" + written) == [ServerSentEvent("status", b'{"nodes":[]}')]


@pytest.mark.parametrize(
    ("query", "topics"),
    [
        ("", (Topic.STATUS,)),
        ("x=1", (Topic.STATUS,)),
        ("topics=log", (Topic.LOG,)),
        ("topics=requests,status,requests", (Topic.REQUESTS, Topic.STATUS)),
        ("topics=requests%2Cstatus", (Topic.REQUESTS, Topic.STATUS)),
    ],
)
def test_topics_are_named_in_the_query_and_the_status_is_the_default(query: str, topics: tuple[Topic, ...]) -> None:
    assert topics_of(query) == topics


@pytest.mark.parametrize("query", ["topics=", "topics=status,", "topics=STATUS", "topics=" + "x" * 1000])
def test_another_topic_is_refused_in_few_words(query: str) -> None:
    with pytest.raises(
        RequestError, match=r"^there is no topic '.*': topics are status, requests, happenings, log$"
    ) as told:
        topics_of(query)
    assert told.value.status == 400
    assert len(str(told.value)) < 150


def test_happenings_and_lines_are_json_on_one_line() -> None:
    happened = Happening(HappeningKind.MOVED, 12.5, "a\nb", "m:latest", "one has moved")
    document = encode_happenings([(7, happened)])
    assert b"\n" not in document
    assert orjson.loads(document)["happenings"] == [
        {
            "number": 7,
            "kind": "moved",
            "at": 12.5,
            "node": "a\nb",
            "model": "m:latest",
            "text": "one has moved",
            "cause": "",
        }
    ]
    line = LogLine(1, "2026-11-30T09:15:00.123Z", "info", "herd", "text", None)
    assert orjson.loads(encode_log([line]))["lines"][0]["request_id"] is None
