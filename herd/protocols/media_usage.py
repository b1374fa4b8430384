"""What a picture or a transcription took, as far as its answer says: most of them say nothing.

Formats are those of OpenAI's `/v1/images/*` and `/v1/audio/transcriptions`: a JSON object, server-sent events, or for
transcriptions plain text, SRT and WebVTT. Programs that the agent runs itself add a member `herd` to their object:
`{"load_s": seconds, "work_s": seconds, "kilopixel_steps": number}`, or `audio_frames` of 10 ms; one without objects in
it. Where it has `width`, `height` and `steps`, these are multiplied.
"""

import math
import re
from dataclasses import replace
from typing import Any

from herd.protocols.headers import value_of
from herd.protocols.messages import Headers, Usage
from herd.protocols.speech_servers import LOAD_SECONDS
from herd.protocols.untrusted import json_object
from herd.types import Seconds, Tokens, Unit

_FRAMES = 100  # in a second
_KILO = 1000
# Pictures of a billion pixels in a thousand steps, recordings of a year: beyond it nobody means what they say.
_MOST = 10**12

# In a string each quote has a backslash before it, so these are real keys.
_EXTRA = re.compile(rb'"herd"[ \t\r\n]*:[ \t\r\n]*(\{[^{}]*\})')
_DURATION = re.compile(rb'"duration"[ \t\r\n]*:[ \t\r\n]*"?([0-9]{1,12}(?:\.[0-9]{1,20})?)')
# Events that others must follow.
_UNFINISHED = (".delta", ".partial_image")
_PARTIAL = b'"partial_image_index"'  # in such an event, whose beginning may be beyond reach


def media_usage(unit: Unit, tail: bytes, start: bytes, *, whole: bool, streamed: bool, status: int) -> Usage:
    """The sums, zero where the answer has none. Never raises.

    Text and pictures have no terminator: what HTTP calls whole is complete. So is a stream, unless its last event is
    one that others must follow.

    Args:
        unit: of the endpoint's work.
        tail: the last bytes of the answer, without white space around them.
        start: its first ones.
        whole: the tail is all there was.
        streamed: a stream was asked for; a server may still answer with one document.
        status: of the answer.
    """
    document = start.lstrip()[:1] == b"{"
    last = json_object(tail) if document and whole else {}
    ends = True
    if document and not last and b"\n" in tail:  # a line for each object, as some servers have it in place of events
        last = json_object(tail[tail.rfind(b"\n") + 1 :])
        ends = bool(last) or (not whole and tail.endswith(b"}"))
    elif document:
        ends = bool(last) if whole else tail.endswith(b"}")
    elif streamed or start.lstrip().startswith((b"data:", b"event:")):
        last, ends = _last_event(tail)
    failed = status >= 400 or bool(last.get("error")) or last.get("type") == "error"
    extra = _extra(tail, start) if document or streamed else {}
    amount = _pixels(extra) if unit is Unit.PIXEL_STEP else _sound(extra, last, tail, start, found=document)
    return Usage(
        completion=Tokens(0 if failed else amount),
        load_s=_seconds(extra.get("load_s")),
        decode_s=_seconds(extra.get("work_s") or extra.get("decode_s")),
        complete=ends and not failed,
        failed=failed,
    )


def started_for_it(usage: Usage, headers: Headers) -> Usage:
    """The usage with the seconds for which the answer waited until its server was started, where a header says so."""
    try:
        seconds = float(value_of(headers, LOAD_SECONDS) or 0.0)
    except ValueError:
        return usage
    return replace(usage, load_s=Seconds(seconds)) if 0.0 < seconds <= _MOST else usage


def _last_event(tail: bytes) -> tuple[dict[str, Any], bool]:
    """The last event of a stream, and whether the stream may end with it."""
    events = [line[len(b"data:") :].strip() for line in tail.splitlines() if line.startswith(b"data:")]
    if not events:  # the tail begins within a picture
        return {}, tail.endswith(b"}") and _PARTIAL not in tail
    last = json_object(events[-1])
    return last, bool(last or events[-1] == b"[DONE]") and not str(last.get("type", "")).endswith(_UNFINISHED)


def _extra(tail: bytes, start: bytes) -> dict[str, Any]:
    """What a program that the agent runs says beside its answer."""
    found = _EXTRA.findall(tail) or _EXTRA.findall(start)
    return json_object(found[-1]) if found else {}


def _pixels(extra: dict[str, Any]) -> int:
    """Kilopixel-steps."""
    if steps := _number(extra.get("kilopixel_steps")):
        return math.ceil(steps)
    width, height, steps = [_number(extra.get(name)) for name in ("width", "height", "steps")]
    product = width * height * steps / _KILO
    return math.ceil(product) if product <= _MOST else 0


def _sound(extra: dict[str, Any], last: dict[str, Any], tail: bytes, start: bytes, *, found: bool) -> int:
    """Frames: as the program says, else as long as the recording was by the answer's word."""
    if frames := _number(extra.get("audio_frames")):
        return round(frames)
    usage = last.get("usage")
    seconds = _number(last.get("duration")) or _number(usage.get("seconds") if isinstance(usage, dict) else None)
    if not seconds and found and not last:
        said = _DURATION.search(start) or _DURATION.search(tail)
        seconds = float(said[1]) if said is not None else 0.0
    return round(seconds * _FRAMES)


def _number(value: Any) -> float:
    """A number above 0, or 0; some servers give durations as strings."""
    if type(value) is str:
        try:
            value = float(value[:32])
        except ValueError:
            return 0.0
    return float(value) if type(value) in {int, float} and 0 < value <= _MOST else 0.0


def _seconds(value: Any) -> Seconds:
    return Seconds(_number(value))
