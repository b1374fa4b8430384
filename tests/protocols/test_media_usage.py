"""What pictures and transcriptions took, by what their answers say."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.protocols.media_usage import started_for_it
from herd.protocols.messages import Usage
from herd.protocols.usage import TAIL, UsageReader, measured
from herd.types import Api, Seconds, Tokens, Unit

PICTURE = b"iVBORw0KGgo" * 9000  # longer than the tail
MFLUX = (
    b'{"created":1,"data":[{"b64_json":"' + PICTURE + b'"}],"herd":{"load_s":6.5,"work_s":18.0,"kilopixel_steps":4195,'
    b'"width":1024,"height":1024,"steps":4}}'
)
DRAWN = Usage(completion=Tokens(4195), load_s=Seconds(6.5), decode_s=Seconds(18.0), complete=True)
# OpenAI's, as faster-whisper-server and mlx-qwen3-asr have it.
VERBOSE = b'{"task":"transcribe","language":"english","duration":44.4,"text":"It was","segments":[]}'
LONG_VERBOSE = VERBOSE[:-2] + b",".join([b'{"id":1,"start":0.0,"end":2.5,"text":"was"}'] * 3000) + b"]}"
HEARD = Usage(completion=Tokens(4440), complete=True)
WHOLE = Usage(complete=True)

CASES = [
    (Api.IMAGES, False, MFLUX, DRAWN),
    (Api.IMAGE_EDITS, False, MFLUX.replace(b'"kilopixel_steps":4195,', b""), DRAWN),
    (Api.IMAGES, False, MFLUX.replace(b'"herd"', b'"heard"'), WHOLE),
    (Api.IMAGES, False, b'{"created":1,"data":[{"b64_json":"AA=="}],"usage":{"output_tokens":9}}', WHOLE),
    (Api.TRANSCRIPTIONS, False, VERBOSE, HEARD),
    (Api.TRANSCRIPTIONS, False, VERBOSE.replace(b"44.4", b'"44.40"'), HEARD),
    (Api.TRANSCRIPTIONS, False, LONG_VERBOSE, HEARD),
    (Api.TRANSCRIPTIONS, False, b'{"text":"It was","usage":{"type":"duration","seconds":44.4}}', HEARD),
    (Api.TRANSCRIPTIONS, False, b'{"text":"\\"duration\\": 9"}', WHOLE),
    (Api.TRANSCRIPTIONS, False, b"It was the best of times\n", WHOLE),
    (Api.TRANSCRIPTIONS, False, b"WEBVTT\n\n00:00.000 --> 00:02.000\nIt was", WHOLE),
    (Api.TRANSCRIPTIONS, False, b'{"text":"It"}\n{"text":"was"}\n', WHOLE),  # mlx_audio, unasked
    (Api.TRANSCRIPTIONS, False, b'data: {"text":"It was"}\n\n', WHOLE),
    (Api.TRANSCRIPTIONS, True, b'data: {"type":"transcript.text.delta","delta":"It"}\n\ndata: [DONE]\n\n', WHOLE),
    (Api.TRANSCRIPTIONS, True, b'data: {"type":"transcript.text.done","text":"It was"}\n\n', WHOLE),
    (Api.TRANSCRIBE, False, b'{"text":"It was","herd":{"audio_frames":4440}}', HEARD),
    (Api.GENERATE_IMAGE, False, b"\x89PNG\r\n\x1a\n" + bytes(TAIL), WHOLE),
    (
        Api.IMAGES,
        True,
        b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"' + PICTURE + b'"}',
        WHOLE,
    ),
]


def read(path: str, body: bytes, *, streamed: bool = False, status: int = 200, size: int = 0) -> Usage:
    reader = UsageReader(path, streamed, status)
    for start in range(0, len(body), size or max(1, len(body))):
        reader.feed(body[start : start + (size or len(body))])
    return reader.usage()


@pytest.mark.parametrize(("api", "streamed", "body", "usage"), CASES)
def test_what_the_answer_says_is_read_of_its_ends_however_it_is_cut(
    api: Api, streamed: bool, body: bytes, usage: Usage
) -> None:
    assert read(api, body, streamed=streamed) == usage
    for size in (1, 1021, TAIL):
        if len(body) / size < 5000:
            assert read(api, body, streamed=streamed, size=size) == usage


@pytest.mark.parametrize(
    ("streamed", "body"),
    [
        (False, VERBOSE[:-1]),
        (False, LONG_VERBOSE[:-1]),
        (False, b'{"text":"It"}\n{"text":"wa'),
        (True, b'data: {"type":"transcript.text.delta","delta":"It"}\n\n'),
        (True, b'data: {"type":"transcript.text.do'),
        (True, b""),
    ],
)
def test_what_breaks_off_is_not_complete(streamed: bool, body: bytes) -> None:
    found = read(Api.TRANSCRIPTIONS, body, streamed=streamed)
    assert not found.complete
    assert not found.failed


def test_a_picture_that_others_must_follow_is_no_end_though_its_beginning_is_lost() -> None:
    body = b'data: {"type":"image_generation.partial_image","b64_json":"' + PICTURE + b'","partial_image_index":0}\n\n'
    assert not read(Api.IMAGES, body, streamed=True).complete


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"error":{"message":"out of memory"}}'),
        (200, b'data: {"type":"error","message":"out of memory"}\n\n'),
        (400, b"Unsupported file"),
        (500, b'{"detail":"Internal Server Error"}'),
    ],
)
def test_a_failure_teaches_nothing(status: int, body: bytes) -> None:
    found = read(Api.TRANSCRIPTIONS, body, status=status)
    assert (found.complete, found.failed, found.completion) == (False, True, 0)


@pytest.mark.parametrize("said", [b"-1", b"1e300", b'"x"', b"null", b"true", b"[1]", b"NaN"])
def test_a_number_that_makes_no_sense_is_not_believed(said: bytes) -> None:
    body = b'{"text":"","duration":' + said + b',"herd":{"audio_frames":' + said + b',"load_s":' + said + b"}}"
    found = read(Api.TRANSCRIPTIONS, body)
    assert (found.completion, found.load_s) == (0, 0.0)


@given(body=st.binary(max_size=400), streamed=st.booleans(), api=st.sampled_from([Api.IMAGES, Api.TRANSCRIPTIONS]))
@settings(max_examples=200)
def test_no_bytes_make_it_fail_and_where_they_are_cut_does_not_matter(body: bytes, streamed: bool, api: Api) -> None:
    assert read(api, body, streamed=streamed) == read(api, body, streamed=streamed, size=7)


@given(extra=st.dictionaries(st.sampled_from(["load_s", "work_s", "kilopixel_steps"]), st.integers(1, 10**6)))
def test_what_a_program_of_the_agents_says_is_read_wherever_it_stands(extra: dict[str, int]) -> None:
    expected = Usage(
        completion=Tokens(extra.get("kilopixel_steps", 0)),
        load_s=Seconds(extra.get("load_s", 0.0)),
        decode_s=Seconds(extra.get("work_s", 0.0)),
        complete=True,
    )
    first, last = {"herd": extra, "data": PICTURE.decode()}, {"data": PICTURE.decode(), "herd": extra}
    assert [read(Api.IMAGES, orjson.dumps(one)) for one in (first, last)] == [expected, expected]


def test_a_header_says_for_how_long_its_server_was_started() -> None:
    assert started_for_it(WHOLE, (("x-herd-load-seconds", "12.5"),)).load_s == 12.5
    for said in ("", "-1", "nan", "soon", "inf"):
        assert started_for_it(WHOLE, (("X-Herd-Load-Seconds", said),)) == WHOLE


def test_only_what_is_counted_otherwise_is_measured_by_the_agent() -> None:
    assert {api for api in Api if measured(api)} == {api for api in Api if api.unit is not Unit.TOKEN}
    assert measured("/v1/audio/transcriptions?x=1")
