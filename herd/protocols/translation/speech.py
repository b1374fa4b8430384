"""`/api/transcribe` in the words of servers that make text of speech: the form that they want, and what they answer.

The answer is one document: `{"model", "text", "language", "duration", "segments": [{"start", "end", "text"}]}`, with
times in seconds. What a server does not say is null, or no segments.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from herd.errors import RequestError, StreamFailed
from herd.protocols.headers import value_of
from herd.protocols.messages import Headers
from herd.protocols.translation import refusals
from herd.protocols.untrusted import mapping, text
from herd.types import Api, BackendKind

JOBS = "/jobs/"  # of mlx-qwen3-asr, followed by a job's id
WHISPERCPP = "/inference"  # where whisper.cpp takes sound, unless it was started with OpenAI's path

# With their own words for each segment these have the times that clients want; the others refuse the format, or ignore
# it: Ollama has `text` and `json`, and vLLM and llama.cpp took up `verbose_json` late or not at all.
_JSON_ONLY = frozenset((BackendKind.OLLAMA, BackendKind.VLLM, BackendKind.LLAMACPP))
_SOUND = {"file": "file", "audio": "file"}
_QWEN_ASR = {"file": "audio", "audio": "audio", "language": "language", "prompt": "context"}
_OPENAI = _SOUND | {name: name for name in ("model", "language", "prompt", "temperature")}

_FRAMES = 100  # of sound, in a second
_JOB = re.compile(r"[\w-]{1,64}", re.ASCII)
_RETRIED = (429, 503)
_LOCKED = (401, 403)


@dataclass(frozen=True, slots=True)
class SpeechForm:
    """The form that a server wants: which of the client's fields go by which names, and what else it is told."""

    path: str
    names: Mapping[str, str] = field(default_factory=lambda: _OPENAI)
    added: Mapping[str, str] = field(default_factory=dict)
    job: bool = False  # the answer names a job, which is asked for until it has ended


def speech_form(kind: BackendKind) -> SpeechForm:
    """In which form a server of this kind is asked."""
    if kind is BackendKind.QWEN_ASR:
        # Its other endpoint has times only with the help of a second model, which it would fetch first.
        return SpeechForm("/transcribe", _QWEN_ASR, job=True)
    if kind is BackendKind.WHISPERCPP:
        return SpeechForm(WHISPERCPP, added={"response_format": "verbose_json"})
    return SpeechForm(Api.TRANSCRIPTIONS, added={"response_format": "json" if kind in _JSON_ONLY else "verbose_json"})


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of what was said, and when, in seconds from the beginning."""

    start: float | None
    end: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. None where the server does not say."""

    text: str
    language: str | None = None
    duration: float | None = None  # of the sound, in seconds
    segments: tuple[Segment, ...] = ()

    @property
    def frames(self) -> int:
        """The sound in the unit of its work; 0: not known."""
        return round(self.duration * _FRAMES) if self.duration is not None else 0

    def answer(self, model: str) -> bytes:
        """The document for the client."""
        return orjson.dumps(
            {
                "model": model,
                "text": self.text,
                "language": self.language,
                "duration": self.duration,
                "segments": [{"start": each.start, "end": each.end, "text": each.text} for each in self.segments],
            }
        )


def read_transcript(body: bytes) -> Transcript:
    """What OpenAI's endpoint answers, as `json` or as `verbose_json`. Raises StreamFailed: it is neither."""
    value = _object(body)
    if "error" in value and "text" not in value:
        raise StreamFailed("the model server's answer says that it failed")
    return _transcript(value, value.get("segments"))


@dataclass(frozen=True, slots=True)
class Job:
    """A job of mlx-qwen3-asr as it is now."""

    transcript: Transcript | None = None
    failed: str | None = None  # why, for a person

    @property
    def ended(self) -> bool:
        """Nothing more will come of it."""
        return self.transcript is not None or self.failed is not None


def read_job_id(body: bytes) -> str:
    """The id of a job that was taken. Raises StreamFailed: there is none."""
    job = text(_object(body), "job_id")
    if not _JOB.fullmatch(job):
        raise StreamFailed("the model server took the sound, and named no job")
    return job


def read_job(value: Any) -> Job:
    """A job, from what the server says of it. Raises StreamFailed: that makes no sense."""
    job = value if isinstance(value, dict) else {}
    match text(job, "status"):
        case "queued" | "processing":
            return Job()
        case "failed":
            why = text(job, "error")[: refusals.MAX_TEXT]
            return Job(failed=f"the model server failed: {why}" if why else "the model server failed")
        case "completed":
            result = mapping(job, "result")
            transcript = _transcript(result, result.get("chunks"))
            ends = [segment.end for segment in transcript.segments if segment.end is not None]
            # Its own answers elsewhere take the end of the last piece for the length, too.
            return Job(Transcript(transcript.text, transcript.language, max(ends, default=None), transcript.segments))
    raise StreamFailed("the model server says nothing of the job that it took")


def refused(model: str, status: int, headers: Headers, body: bytes) -> RequestError:
    """How a refusal is told to the client, and to the router, which asks elsewhere after some.

    Args:
        model: by the name that the server was asked for.
        status: of the server's answer.
        headers: of it.
        body: of it, or its beginning.
    """
    if status in _LOCKED:  # it is the agent's own key
        return RequestError("the model server does not let this node in: its key is missing or wrong", status=502)
    told, said = refusals.refused(Api.TRANSCRIBE, model, status, body)
    if status in _RETRIED:
        later = value_of(headers, "retry-after")
        return RequestError(said, status=503, headers=(("Retry-After", later),) if later.isdigit() else ())
    return RequestError(said, status=told)


def _transcript(value: dict[str, Any], segments: Any) -> Transcript:
    if not isinstance(value.get("text"), str):
        raise StreamFailed("the model server's answer has no text")
    listed = segments if isinstance(segments, list) else []
    return Transcript(
        text(value, "text").strip(),
        text(value, "language") or None,
        _seconds(value, "duration"),
        tuple(
            Segment(_seconds(item, "start"), _seconds(item, "end"), text(item, "text").strip())
            for item in listed
            if isinstance(item, dict) and text(item, "text").strip()
        ),
    )


def _seconds(holder: dict[str, Any], key: str) -> float | None:
    value = holder.get(key)
    if isinstance(value, str):  # as some of OpenAI's own answers have it
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(float(value), 3) if 0 <= value <= 1e9 else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise StreamFailed("the model server's answer is no JSON object")
    return value
