"""`/api/transcribe` in other servers' words, without a socket."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import StreamFailed
from herd.protocols.multipart import Rewriter
from herd.protocols.translation.speech import (
    Segment,
    Transcript,
    read_job,
    read_job_id,
    read_transcript,
    refused,
    speech_form,
)
from herd.types import BackendKind
from tests.net.tools.speech import BOUNDARY, form

UNTIMED = Segment(None, None, "a")
SOUND = b"RIFF\r\n--not the boundary\r\n" + bytes(range(256))
VERBOSE = {
    "task": "transcribe",
    "language": "en",
    "duration": 2.7846875,
    "text": " The quick brown fox.",
    "segments": [{"id": 0, "start": 0.0, "end": 2.56, "text": " The quick brown fox.", "tokens": [50363, 383]}],
}


def rewritten(kind: BackendKind, body: bytes) -> bytes:
    wanted = speech_form(kind)
    rewriter = Rewriter(BOUNDARY.encode(), names=wanted.names, added=wanted.added)
    return rewriter.feed(body) + rewriter.end()


def part(name: str, content: bytes, filename: str = "") -> bytes:
    more = f'; filename="{filename}"\r\nContent-Type: audio/wav' if filename else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


@pytest.mark.parametrize(
    ("kind", "path", "form_of_answer"),
    [
        (BackendKind.OPENAI, "/v1/audio/transcriptions", b"verbose_json"),
        (BackendKind.WHISPERCPP, "/inference", b"verbose_json"),
        (BackendKind.OLLAMA, "/v1/audio/transcriptions", b"json"),
        (BackendKind.VLLM, "/v1/audio/transcriptions", b"json"),
        (BackendKind.LLAMACPP, "/v1/audio/transcriptions", b"json"),
    ],
)
@pytest.mark.parametrize("name", ["file", "audio"])
def test_the_form_is_openais_and_asks_for_what_the_kind_of_server_knows(
    kind: BackendKind, path: str, form_of_answer: bytes, name: str
) -> None:
    assert (speech_form(kind).path, speech_form(kind).job) == (path, False)
    end = f"--{BOUNDARY}--\r\n".encode()
    model, language = part("model", b"m"), part("language", b"en")
    unknown = part("response_format", b"srt") + part("timestamps", b"1")
    sent = model + unknown + part(name, SOUND, "a.wav") + language + end
    assert rewritten(kind, sent) == b"".join(
        [part("response_format", form_of_answer), model, part("file", SOUND, "a.wav"), language, end]
    )


def test_mlx_qwen3_asr_is_given_a_job_with_its_own_names_for_everything() -> None:
    wanted = speech_form(BackendKind.QWEN_ASR)
    assert (wanted.path, wanted.job) == ("/transcribe", True)
    found = rewritten(BackendKind.QWEN_ASR, form(SOUND, "file", prompt="names", model="m", language="en"))
    assert b'name="audio"; filename="a.wav"' in found
    assert b'name="context"\r\n\r\nnames\r\n' in found
    assert b'name="language"\r\n\r\nen\r\n' in found
    assert b'name="model"' not in found
    assert SOUND in found


def test_what_was_said_is_told_with_all_that_the_server_knows() -> None:
    transcript = read_transcript(orjson.dumps(VERBOSE))
    text = "The quick brown fox."
    assert transcript == Transcript(text, "en", 2.785, (Segment(0.0, 2.56, text),))
    assert transcript.frames == 278
    assert orjson.loads(transcript.answer("whisper-1")) == {
        "model": "whisper-1",
        "text": text,
        "language": "en",
        "duration": 2.785,
        "segments": [{"start": 0.0, "end": 2.56, "text": text}],
    }


def test_what_the_server_does_not_say_is_null() -> None:
    transcript = read_transcript(b'{"text":"hello"}')
    assert orjson.loads(transcript.answer("m")) == {
        "model": "m",
        "text": "hello",
        "language": None,
        "duration": None,
        "segments": [],
    }
    assert transcript.frames == 0


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"duration": "7.5"}, Transcript("t", None, 7.5)),  # as whisper-1 at OpenAI's has it
        ({"duration": True, "language": 5, "segments": {}}, Transcript("t")),
        ({"segments": [None, {"text": ""}, {"text": "a", "start": "x"}]}, Transcript("t", segments=(UNTIMED,))),
        ({"duration": -1}, Transcript("t")),
        ({"duration": 1e300}, Transcript("t")),
    ],
)
def test_what_makes_no_sense_counts_as_not_said(changes: dict[str, Any], found: Transcript) -> None:
    assert read_transcript(orjson.dumps({"text": "t", **changes})) == found


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"text":5}', b'{"error":{"message":"no"}}'])
def test_an_answer_without_a_text_is_a_failure_of_the_server(body: bytes) -> None:
    with pytest.raises(StreamFailed):
        read_transcript(body)


def test_a_job_is_asked_for_until_it_has_ended() -> None:
    assert read_job_id(b'{"job_id":"j_0af","status":"queued"}') == "j_0af"
    assert [read_job({"status": status}).ended for status in ("queued", "processing", "failed")] == [False, False, True]
    assert (
        read_job({"status": "failed", "error": "ffmpeg not found"}).failed
        == "the model server failed: ffmpeg not found"
    )
    chunks = [{"text": "a b", "start": 0.0, "end": 30.0}, {"text": "c", "start": 30.0, "end": 41.5}]
    done = read_job({"status": "completed", "result": {"text": "a b c", "language": "English", "chunks": chunks}})
    assert done.transcript == Transcript(
        "a b c", "English", 41.5, (Segment(0.0, 30.0, "a b"), Segment(30.0, 41.5, "c"))
    )


@pytest.mark.parametrize("body", [b"{}", b'{"job_id":"../health"}', b'{"job_id":""}', b'{"job_id":7}', b"[]"])
def test_a_job_whose_id_could_be_something_else_in_a_path_is_none(body: bytes) -> None:
    with pytest.raises(StreamFailed):
        read_job_id(body)


@pytest.mark.parametrize(
    "said", [None, {}, {"status": "lost"}, {"status": "completed"}, {"status": "completed", "result": {"text": None}}]
)
def test_a_job_of_which_nothing_is_said_is_a_failure_of_the_server(said: Any) -> None:
    with pytest.raises(StreamFailed):
        read_job(said)


WORDS = st.sampled_from(["status", "result", "text", "chunks", "start", "end", "completed", "failed"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | WORDS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
)


@given(st.dictionaries(st.just("status"), WORDS).flatmap(lambda job: JSON.map(lambda said: {"result": said, **job})))
def test_no_job_makes_the_agent_stumble(said: Any) -> None:
    try:
        job = read_job(said)
    except StreamFailed:
        return
    assert job.transcript is None or orjson.loads(job.transcript.answer("m"))["text"] == job.transcript.text


@pytest.mark.parametrize(
    ("status", "body", "told", "words"),
    [
        (401, b'{"detail":"Missing Authorization header"}', 502, "does not let this node in"),
        (403, b'{"detail":"Invalid API key"}', 502, "does not let this node in"),
        (400, b'{"error":"failed to read audio data"}', 400, "failed to read audio data"),
        (400, b'{"detail":{"error":{"message":"Unsupported response_format: text"}}}', 400, "Unsupported"),
        (413, b'{"detail":"File too large. Max: 2048 MB"}', 413, "File too large. Max: 2048 MB"),
        (422, b'{"detail":"Audio too long (9s). Max: 3s"}', 400, "Audio too long (9s). Max: 3s"),
        (429, b'{"detail":"Rate limit exceeded"}', 503, "Rate limit exceeded"),
        (503, b'{"detail":"Server at capacity"}', 503, "Server at capacity"),
        (503, b"", 503, "the model server answered 503"),
        (404, b'{"detail":"Model m is not installed"}', 404, "model 'm' not found"),
        (404, b"File Not Found (/inference)", 501, "does not serve this"),
        (500, b"Internal Server Error", 500, "the model server answered 500"),
    ],
)
def test_a_refusal_says_whose_fault_it_is_and_the_router_sees_whether_to_ask_elsewhere(
    status: int, body: bytes, told: int, words: str
) -> None:
    error = refused("m", status, (), body)
    assert (error.status, error.headers) == (told, ())
    assert words in str(error)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_says_until_when(status: int) -> None:
    assert refused("m", status, (("retry-after", "37"),), b"").headers == (("Retry-After", "37"),)
    assert refused("m", status, (("Retry-After", "Mon, 30 Nov"),), b"").headers == ()
