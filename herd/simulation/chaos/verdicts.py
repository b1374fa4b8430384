"""Whether a client got what one model server said: byte for byte, and never a broken answer as if it were whole."""

from collections.abc import Sequence

import orjson

from herd.simulation.chaos.overhearing import Execution
from herd.simulation.http import RecordingSink

SERVED_BY = "X-Herd-Node"

_LAST_EVENT = b"data: [DONE]\n\n"
_SSE = b"data: "

# What the fake's lie GARBAGE puts into an answer, which nobody can tell from a whole one without reading all of it.
_GARBAGE = b"simulated garbage"


def verdict(sink: RecordingSink, executions: Sequence[Execution], *, streamed: bool) -> str | None:
    """What is wrong with an answer that has begun, in the middle of a sentence; None when nothing is.

    Args:
        sink: what the client got.
        executions: all that was done for its request.
        streamed: it asked for a stream.
    """
    node = sink.header(SERVED_BY)
    if node is None:
        return _own_words(sink)
    complaint: str | None = f"is by {node}, which said nothing"
    for execution in executions:
        if execution.node == node:
            complaint = _compared(sink, execution, streamed=streamed)
            if complaint is None:
                return None
    return complaint


def is_error(sink: RecordingSink, *, streamed: bool) -> bool:
    """The answer says, or shows, that it broke or was refused."""
    return sink.status != 200 or sink.aborted or _error_in(_last_event(sink.body) if streamed else sink.body)


def _own_words(sink: RecordingSink) -> str | None:
    """The router's own answer is an error, and whole."""
    if sink.status < 400 or not _error_in(sink.body):
        return f"is nobody's, with status {sink.status}: {sink.body[:80]!r}"
    return None if sink.finished else "is an error of the router's that did not end"


def _compared(sink: RecordingSink, execution: Execution, *, streamed: bool) -> str | None:
    said, got = bytes(execution.said), sink.body
    if sink.status != execution.status:
        return f"has status {sink.status} in place of {execution.status}"
    if said.startswith(got):
        if not sink.finished:
            return None
        if len(got) < len(said) or not execution.clean:
            return f"ends cleanly after {len(got)} of at least {len(said)} bytes"
        return None if is_whole(execution, streamed=streamed) else f"ends cleanly, but is not whole: {got[-80:]!r}"
    last = _last_event(got)
    if streamed and sink.finished and _error_in(last) and said.startswith(got[: len(got) - len(last)]):
        return None
    same = next((at for at, (one, other) in enumerate(zip(said, got, strict=False)) if one != other), len(said))
    return f"differs from what {execution.node} said after {same} bytes: {got[same : same + 40]!r}"


def is_whole(execution: Execution, *, streamed: bool) -> bool:
    """The answer has what its form ends with, or says itself that it failed."""
    said = bytes(execution.said)
    if execution.status != 200 or _GARBAGE in said:
        return True
    if not streamed:
        return bool(_object(said))
    if said.startswith(_SSE):
        return said.endswith(_LAST_EVENT)
    last = _object(_last_event(said))
    return last.get("done") is True or "error" in last


def _last_event(body: bytes) -> bytes:
    """The last line of NDJSON, or the last event with its blank line; all of it when there is but one."""
    if body.endswith(b"\n\n"):
        return body[body.rfind(b"\n\n", 0, -2) + 2 :] if b"\n\n" in body[:-2] else body
    return body[body.rfind(b"\n", 0, -1) + 1 :]


def _error_in(event: bytes) -> bool:
    return "error" in _object(event.removeprefix(_SSE))


def _object(data: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
