"""The story of a request as spans: one for the request, and one for each of its stages.

Names and attributes are those of OpenTelemetry's conventions for HTTP and for generative models, where these have one:
https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and .../gen-ai/gen-ai-spans/. What is Herd's own begins
with `herd.`. Nothing that a story does not tell is in them: no text of a prompt or an answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from herd.protocols import stories
from herd.protocols.stories import Event, RequestEntry
from herd.protocols.trace_context import TraceContext
from herd.types import Api, Outcome

Value = str | int | float | bool
Attributes = dict[str, Value]

# Ids of the spans below a request's follow from its own, so that nobody has to remember them: those of the attempts,
# which are told to nodes before they are made, and then all others. A story has at most 64 events.
FIRST_PART = 128  # and those of its parts from here
_FIRST_STAGE = 256

# What an API does, in the words of the conventions.
_OPERATIONS = {
    Api.OLLAMA_GENERATE: "text_completion",
    Api.COMPLETIONS: "text_completion",
    Api.OLLAMA_EMBED: "embeddings",
    Api.OLLAMA_EMBEDDINGS: "embeddings",
    Api.EMBEDDINGS: "embeddings",
    Api.COUNT_TOKENS: "count_tokens",
    Api.GENERATE_IMAGE: "generate_content",
    Api.IMAGES: "generate_content",
    Api.IMAGE_EDITS: "generate_content",
    Api.TRANSCRIBE: "generate_content",
    Api.TRANSCRIPTIONS: "generate_content",
}


class SpanKind(StrEnum):
    """Which side of a call a span is."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with a name."""

    name: str
    id: int
    parent: int  # 0: it has none in this process
    start: float  # seconds since the Unix epoch
    end: float
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Attributes = field(default_factory=dict)
    failed: bool = False
    why: str = ""  # it failed


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came in, before anybody knew what would become of it."""

    context: TraceContext  # of its own span
    parent: int  # its caller's span; 0: it began the trace
    method: str
    api: Api
    request_id: str
    received: float  # seconds since the Unix epoch


@dataclass(frozen=True, slots=True)
class Trace:
    """What is told of one call: its own span, which is the first, and those below it."""

    call: Call
    spans: tuple[Span, ...]


def attempt_context(context: TraceContext, attempt: int) -> TraceContext:
    """The span of one of a request's attempts, as the node is told of it; they count from 1."""
    return TraceContext(context.trace, context.span + attempt, context.flags, context.state)


def untold(call: Call, ended: float, status: int | None, why: str) -> Trace:
    """A call without a story: it was answered or refused before a node was looked for."""
    attributes: Attributes = _of_call(call)
    if status is not None:
        attributes["http.response.status_code"] = status
    failed = status is not None and status >= 500
    if why:
        attributes["error.type"] = str(status) if status is not None else Outcome.CANCELLED.value
    root = Span(
        f"{call.method} {call.api.value}",
        call.context.span,
        call.parent,
        call.received,
        ended,
        SpanKind.SERVER,
        attributes,
        failed,
        why if failed else "",
    )
    return Trace(call, (root,))


def told(call: Call, request: RequestEntry, events: Iterable[Event], read_s: float, size: int) -> Trace:
    """A call and its story.

    Args:
        call: the call.
        request: the line of its story, once it is over.
        events: the story; their times count from the arrival, which is when the body was read.
        read_s: seconds until the arrival.
        size: of the body, in bytes.
    """
    return _Teller(call, request, read_s, size).tell(events)


class _Teller:
    """Goes through a story once, event by event, and knows what is under way."""

    def __init__(self, call: Call, request: RequestEntry, read_s: float, size: int) -> None:
        self._call = call
        self._request = request
        self._arrived = call.received + read_s
        self._size = size
        self._spans: list[Span] = []
        self._since = 0.0  # when what is under way began, in the story's time, as are those below
        self._wait = ""  # hold or queue, if it waits
        self._node = ""  # where it waits, or was sent
        self._attempt = 0  # that is under way; 0: none
        self._opened = 0.0
        self._answers: float | None = None  # the answer has been going out since then

    def tell(self, events: Iterable[Event]) -> Trace:
        self._stage("read body", -self._arrived + self._call.received, 0.0, {"http.request.body.size": self._size})
        ended: stories.Ended | None = None
        for event in events:
            if event["kind"] == "ended":
                ended = event
            else:
                self._event(event)
        at = self._request["total_s"] if ended is None else ended["at"]
        outcome = self._request["outcome"] or ""
        self._wait_over(at, outcome)
        if self._attempt:
            self._attempt_over(at, outcome, "" if ended is None else ended["text"])
        elif self._answers is not None:  # of an attempt that had failed: nobody had a better one
            self._stage("answer", self._answers, at, {})
        return Trace(self._call, (self._root(at, "" if ended is None else ended["text"]), *self._spans))

    def _event(self, event: Event) -> None:  # noqa: C901, PLR0912 - a line for each kind
        at = event["at"]
        match event["kind"]:
            case "placed":
                self._placed(event)
            case "held":
                self._wait, self._node, self._since = "hold", "", at
            case "queued":
                self._wait, self._node, self._since = "queue", event["node"], at
            case "woken":
                self._wait_over(at, event["by"])
            case "moved":
                self._wait_over(at, "moved")
                self._wait, self._node, self._since = "queue", event["candidate"]["node"], at
            case "refused":
                self._wait_over(at, event["reason"]["kind"])
            case "granted":
                self._wait_over(at, "granted")
            case "opened":
                self._attempt, self._node, self._opened, self._answers = event["attempt"], event["node"], at, None
            case "first-byte":
                self._answers = at
            case "failed":
                self._failed(event)
            case "served":
                self._served(event)
            case "part":
                self._part(event)
            case _:  # some are left out, or a newer one
                self._since = at

    # --- stages -------------------------------------------------------------------------------------------------------

    def _placed(self, event: stories.Placed) -> None:
        self._wait_over(event["at"], "placed")
        attributes: Attributes = {
            "herd.candidates": len(event["candidates"]) + event["candidates_left_out"],
            "herd.eliminated": len(event["eliminated"]) + event["eliminated_left_out"],
        }
        if event["node"] is not None:
            attributes["herd.node"] = event["node"]
        if event["candidates"]:
            attributes["herd.score"] = event["candidates"][0]["score"]
        self._stage("place", self._since, event["at"], attributes)
        self._since = event["at"]

    def _wait_over(self, at: float, by: str) -> None:
        """It waits no longer, if it did."""
        if self._wait:
            attributes: Attributes = {"herd.ended_by": by}
            if self._node:
                attributes["herd.node"] = self._node
            self._stage(self._wait, self._since, at, attributes)
            self._wait, self._since = "", at

    def _failed(self, event: stories.AttemptFailed) -> None:
        reason = event["reason"]
        if self._attempt:
            self._attempt_over(event["at"], reason["kind"], reason["text"])
        else:
            attributes: Attributes = {"herd.node": event["node"], "error.type": reason["kind"]}
            self._stage("open", self._since, event["at"], attributes, why=reason["text"])
        self._since = event["at"]

    def _served(self, event: stories.Served) -> None:
        seconds: Attributes = {
            "herd.load_s": event["load_s"],
            "herd.prefill_s": event["prefill_s"],
            "herd.decode_s": event["decode_s"],
        }
        broken = "" if event["complete"] and not event["failed"] else "the answer itself says that it broke"
        self._attempt_over(event["at"], "answer" if broken else "", broken, seconds)
        self._since, self._answers = event["at"], None

    def _part(self, event: stories.PartServed) -> None:
        """All parts begin at once, so that its own span began when the one before it did."""
        number = attempt_context(self._call.context, FIRST_PART + event["part"]).span
        start = self._arrived + self._since
        attributes = {**self._model(), "herd.node": event["node"], "herd.request_id": event["id"]}
        name, failed = f"{self._operation()} {self._request['model']}", event["status"] >= 500
        root, end = self._call.context.span, self._arrived + event["at"]
        self._spans.append(Span(name, number, root, start, end, SpanKind.CLIENT, attributes, failed))

    def _attempt_over(self, at: float, kind: str, why: str, stream: Attributes | None = None) -> None:
        """The attempt has ended: its own span, and what it was made of."""
        context = attempt_context(self._call.context, self._attempt)
        attributes = {**self._model(), "herd.node": self._node, "herd.attempt": self._attempt}
        if stream is not None:
            attributes |= self._tokens()
        failed = bool(kind) and kind != Outcome.CANCELLED
        if kind:
            attributes["error.type"] = kind
        start, end = self._arrived + self._since, self._arrived + at
        name, why = f"{self._operation()} {self._request['model']}", why if failed else ""
        root = self._call.context.span
        self._spans.append(Span(name, context.span, root, start, end, SpanKind.CLIENT, attributes, failed, why))
        self._stage("open", self._since, self._opened, {}, parent=context.span)
        self._stage("first byte", self._opened, at if self._answers is None else self._answers, {}, parent=context.span)
        if self._answers is not None:
            self._stage("stream", self._answers, at, stream or {}, parent=context.span)
        self._attempt, self._answers = 0, None

    def _stage(
        self, name: str, start: float, end: float, attributes: Attributes, *, parent: int = 0, why: str = ""
    ) -> None:
        root = self._call.context.span
        begun, over = self._arrived + start, self._arrived + end
        number = root + _FIRST_STAGE + len(self._spans)
        self._spans.append(
            Span(name, number, parent or root, begun, over, attributes=attributes, failed=bool(why), why=why)
        )

    # --- what is said of the whole ------------------------------------------------------------------------------------

    def _root(self, at: float, text: str) -> Span:
        call, request = self._call, self._request
        attributes = _of_call(call) | self._model() | self._tokens()
        attributes |= {"herd.client": request["client"], "herd.attempts": request["attempts"]}
        attributes["herd.waited_s"] = request["waited_s"]
        known: dict[str, Value | None] = {
            "http.response.status_code": request["status"],
            "herd.outcome": request["outcome"],
            "herd.node": request["node"],
            "herd.score": request["score"],
            "herd.edited": ", ".join(request["edited"]) or None,
        }
        attributes |= {name: value for name, value in known.items() if value is not None}
        status, outcome = request["status"], request["outcome"]
        failed = outcome in {Outcome.FAILED, Outcome.EXPIRED} or (status is not None and status >= 500)
        if failed or (status is not None and status >= 400) or outcome == Outcome.CANCELLED:
            bad = status is not None and status >= 400
            attributes["error.type"] = str(status) if bad else outcome or Outcome.FAILED.value
        name, why = f"{call.method} {call.api.value}", text if failed else ""
        start, end = call.received, self._arrived + at
        return Span(name, call.context.span, call.parent, start, end, SpanKind.SERVER, attributes, failed, why)

    def _operation(self) -> str:
        return _OPERATIONS.get(self._call.api, "chat")

    def _model(self) -> Attributes:
        request = self._request
        attributes: Attributes = {
            "gen_ai.operation.name": self._operation(),
            "gen_ai.request.model": request["model"],
        }
        if request["node"] is not None:
            attributes["gen_ai.response.model"] = request["served_model"] or request["model"]
        return attributes

    def _tokens(self) -> Attributes:
        """Of the answer, where the model server has counted them."""
        counts = {"input": self._request["prompt"], "output": self._request["completion"]}
        return {f"gen_ai.usage.{which}_tokens": count for which, count in counts.items() if count}


def _of_call(call: Call) -> Attributes:
    return {
        "http.request.method": call.method,
        "http.route": call.api.value,
        "url.path": call.api.value,
        "herd.request_id": call.request_id,
    }
