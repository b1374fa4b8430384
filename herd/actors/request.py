"""The one request flow: place, acquire, open, carry the bytes, account. Without sockets; in the caller's task."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from herd.actors.attempts import Attempts
from herd.actors.delivery import Attempt, Delivery, Failed
from herd.actors.ids import Ids
from herd.actors.line import GONE, Line
from herd.actors.model_queue import Completion
from herd.actors.placing import Choice, Placing, unavailable
from herd.actors.ports import Body, Clock, Headers, Sink, Streams
from herd.actors.pulls import Pulls
from herd.actors.sending import SEND_SIZE, carried, opened
from herd.actors.story import D, Diary
from herd.actors.tracing import NoTracer, Tracer, Trail
from herd.actors.watch_ports import Meter
from herd.errors import RequestError
from herd.names import Names, canonical
from herd.policy.calibration import Check
from herd.policy.holding import Patience
from herd.policy.pace import Observed
from herd.policy.retrying import Blame, blame, costs
from herd.policy.values import Ask, Candidate, Lease, PartOf, Ticket
from herd.protocols.answers import request_ids
from herd.protocols.messages import RequestHead, Usage
from herd.protocols.paths import Endpoint
from herd.protocols.requests import Routing
from herd.protocols.splice import Splice, Splicer, plan, plan_form, spliced_size
from herd.runtime import ActorHandle
from herd.types import Api, Bytes, MiB, Outcome, Priority, RequestId, Seconds, Tokens, Unit

logger = logging.getLogger(__name__)

OVER_BUDGET = "too many requests fail now for all of them to be tried again"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request that was read to its end and understood as far as routing needs."""

    id: RequestId
    endpoint: Endpoint
    target: str  # path and query, as the backend shall get them
    headers: Headers  # those that pass the hop
    routing: Routing
    body: Body
    client: str
    method: str = "POST"
    priority: Priority = Priority.INTERACTIVE
    session: str = ""  # the client's own name for the conversation
    trail: Trail | None = None  # where it is traced
    part: PartOf | None = None  # it is a part of a batch


@dataclass(frozen=True, slots=True)
class RouterParts:
    """What the flow needs of the router."""

    scorer: ActorHandle
    pen: ActorHandle
    learner: ActorHandle
    traces: ActorHandle
    find: Callable[[str], ActorHandle]  # by name; raises ValueError when there is no such actor
    streams: Streams
    clock: Clock
    ids: Ids
    meter: Meter
    tracer: Tracer = field(default_factory=NoTracer)
    hold_timeout: Seconds = Seconds(30.0)
    pulls: Pulls = field(default_factory=Pulls)
    grace_until: Seconds = Seconds(0.0)  # monotonic; until then unknown models are held while known nodes are missing
    names: Names = field(default_factory=Names)


def begun(inbound: Inbound, parts: RouterParts, kind: type[D]) -> D:
    """The diary of a request that arrives now."""
    ticket = Ticket(parts.ids.ticket(), inbound.client, parts.clock.monotonic(), inbound.priority, inbound.id)
    return kind(
        inbound.id,
        inbound.routing.model,
        ticket,
        parts.clock,
        parts.traces,
        api=inbound.endpoint.api,
        meter=parts.meter,
        trail=inbound.trail,
    )


async def serve(inbound: Inbound, sink: Sink, parts: RouterParts, diary: Diary | None = None) -> Outcome:
    """Answer one request.

    Cancelled when the client hangs up: whatever the request holds is given back.

    Args:
        inbound: the request.
        sink: where the answer goes.
        parts: of the router.
        diary: of a request that has a story already, which whoever began it ends; None: it has none yet.

    Raises:
        RequestError: it cannot be served, and no byte of an answer is out yet.
    """
    flow = _Flow(inbound, sink, parts, diary or begun(inbound, parts, Diary))
    try:
        if diary is not None:
            return await flow.run()
        with flow.diary:
            return await flow.run()
    except asyncio.CancelledError:
        logger.info("request %s: the client hung up", inbound.id)
        raise
    finally:
        flow.let_go()


class _Flow:
    """One request on its way."""

    def __init__(self, inbound: Inbound, sink: Sink, parts: RouterParts, diary: Diary) -> None:
        self._inbound = inbound
        self._parts = parts
        self.diary = diary
        self._ticket = diary.ticket
        self._arrived = diary.ticket.arrived
        self._sink = self.diary.watching(sink)
        self._line = Line(parts.find, parts.scorer, parts.clock, self._ticket, self.diary)
        # To load or unload a model is meant for that one.
        own = () if inbound.routing.loads_only else inbound.routing.fallbacks
        models = parts.names.chain(inbound.routing.model, own)
        self._placing = Placing(
            scorer=parts.scorer,
            pen=parts.pen,
            clock=parts.clock,
            diary=self.diary,
            ticket=self._ticket,
            patience=Patience(Seconds(parts.clock.monotonic() + parts.hold_timeout), parts.grace_until),
            size=Bytes(min(inbound.body.size, MiB)),  # longer ones lie in files
            sent=inbound.routing.model,
            api=inbound.endpoint.api,
            choices=tuple([Choice(model, Attempts(parts.find, parts.clock, model)) for model in models]),
            ask=self._ask,
        )
        self._tried = self._placing.tried

    async def run(self) -> Outcome:
        while True:
            placed = await self._placing.place()
            if placed is None:
                return await self._give_up()
            holder = await self._acquire(placed)
            if holder is None:
                continue
            delivery = await self._placing.choice.attempts.judged(holder.node, self._attempt(holder))
            if isinstance(delivery, Usage):
                return self._served(holder, delivery)
            self._line.leave()
            self._failed(holder, delivery)

    def let_go(self) -> None:
        """The request is over, however it ended."""
        self._line.leave()
        self._parts.scorer.released.tell(self._ticket.id)
        if self._tried.held:
            self._parts.pen.passed.tell(self._ticket.id)

    # --- 2: place, or hold --------------------------------------------------------------------------------------------

    def _ask(self, choice: Choice) -> Ask:
        routing = self._inbound.routing
        return Ask(
            model=choice.model,
            api=self._inbound.endpoint.api,
            sent=routing.model,
            renamed=choice.model != canonical(routing.model),
            needs=routing.needs,
            replaceable=choice is not self._placing.choices[-1],
            prompt_tokens=routing.prompt_tokens,
            max_tokens=routing.max_tokens,
            unit=self._inbound.endpoint.api.unit,
            amount=_amount(routing),
            num_ctx=routing.num_ctx,
            odd_context=routing.odd_context,
            keep_alive=routing.keep_alive is not None,
            session=self._inbound.session or routing.conversation,
            continues=bool(self._inbound.session) or routing.continues,
            part=self._inbound.part,
            excluded=(*self._tried.gone, *choice.broke, *choice.full),
            retry=self._tried.retries,
            moves=self._line.moves,
        )

    # --- 3: acquire ---------------------------------------------------------------------------------------------------

    async def _acquire(self, placed: Candidate) -> Candidate | None:
        """A lease at the winner's queue, or where that sends the request: of which node. None: place it again."""
        choice = self._placing.choice
        found = await self._line.acquire(placed, choice.model)
        if isinstance(found.answer, Lease):
            return found.placed
        kind = found.answer.reason.kind
        if kind == "queue-full":
            choice.full.append(found.placed.node)
        elif kind == GONE.kind:
            self._tried.gone.append(found.placed.node)  # its actors are being started again
        return None

    # --- 4 and 5: open, and carry the bytes ---------------------------------------------------------------------------

    async def _attempt(self, placed: Candidate) -> Usage | Failed:
        """Send the request to the node and its answer to the client."""
        parts = self._parts
        stream = parts.ids.stream()
        self._tried.sent = False
        try:
            splices = await self._splices(placed)
            head = self._head(placed, splices)
            exchange = await opened(parts.find, parts.streams, placed.node, stream, head)
            if isinstance(exchange, Failed):
                return exchange  # no attempt: nothing was sent
            self._tried.attempts += 1
            self._tried.sent = True
            self.diary.opened(placed, self._tried.attempts)
            begins = self._placing.choice.attempts.answering(placed)
            api, request_id = self._inbound.endpoint.api, str(self._inbound.id)
            attempt = Attempt(
                head.dialect, head.streamed, self._shown(placed), begins=begins, api=api, request_id=request_id
            )
            pieces = _spliced(self._inbound.body, splices)
            # Nothing that it raises is an attempt that failed: bytes of the answer may be out.
            return await carried(exchange, pieces, head.size, Delivery(exchange, self._sink, attempt))
        finally:
            parts.streams.close(stream)

    async def _splices(self, placed: Candidate) -> tuple[Splice, ...]:
        if not placed.edits:
            return ()
        edits = [(edit.field, edit.value) for edit in placed.edits]
        model_at = self._inbound.routing.model_at
        if model_at is not None:
            return plan_form(model_at, edits)
        return await self._inbound.body.examine(partial(plan, edits=edits))

    def _head(self, placed: Candidate, splices: tuple[Splice, ...]) -> RequestHead:
        inbound, trail = self._inbound, self._inbound.trail
        return RequestHead(
            request_id=inbound.id,
            backend=placed.backend,
            method=inbound.method,
            path=inbound.target,
            headers=inbound.headers if trail is None else trail.onward(inbound.headers, self._tried.attempts + 1),
            dialect=inbound.endpoint.dialect,
            streamed=inbound.routing.streamed,
            size=spliced_size(inbound.body.size, splices),
            model=placed.model,
        )

    def _shown(self, placed: Candidate) -> Headers:
        """What the answer says of its way, always of the node that really served."""
        shown = [
            *request_ids(self._inbound.endpoint.dialect, str(self._inbound.id)),
            ("X-Herd-Node", str(placed.name)),
            ("X-Herd-Model", str(placed.model)),
            ("X-Herd-Score", f"{placed.score:.1f}"),
            ("X-Herd-Queue-Ms", str(round(self._line.waited * 1000))),
            ("X-Herd-Attempts", str(self._tried.attempts)),
        ]
        prediction = self._line.prediction
        if prediction is not None:
            shown.append(("X-Herd-Placed-Ms", str(round((prediction.at - self._arrived) * 1000))))
            shown.append(("X-Herd-Predicted-Ms", str(round(prediction.seconds * 1000))))
        if placed.edits:
            shown.append(("X-Herd-Edited", ", ".join(edit.field for edit in placed.edits)))
        return tuple(shown)

    # --- 6: account ---------------------------------------------------------------------------------------------------

    def _served(self, placed: Candidate, usage: Usage) -> Outcome:
        unit = self._inbound.endpoint.api.unit
        tokens = unit is Unit.TOKEN
        if not tokens and not usage.completion:
            usage = replace(usage, completion=_amount(self._inbound.routing) or Tokens(0))
        outcome = Outcome.FAILED if usage.failed else Outcome.SERVED
        whole = usage.complete and not usage.failed
        teaches = whole and self._inbound.endpoint.api is not Api.COUNT_TOKENS  # which is no work for a model
        check = self._line.check() if teaches else None
        if teaches:
            self._teach(placed, usage, check)
        self.diary.served(placed.name, usage, outcome, check)
        logger.info(
            "request %s: %s %s by %s in %.0f ms (queued %.0f ms, attempt %d, %s)",
            self._inbound.id,
            placed.model,
            outcome.value,
            placed.name,
            (self._parts.clock.monotonic() - self._arrived) * 1000,
            self._line.waited * 1000,
            self._tried.attempts,
            f"{usage.prompt} tokens in, {usage.completion} out" if tokens else f"{usage.completion} {unit.value}s",
        )
        return outcome

    def _teach(self, placed: Candidate, usage: Usage, check: Check | None) -> None:
        """Tell whoever learns from whole answers."""
        observed = Observed(
            placed.node,
            self._placing.choice.model,
            usage.prompt,
            usage.completion,
            usage.load_s,
            usage.prefill_s,
            usage.decode_s,
            self._placing.choice.attempts.first_byte if self._inbound.routing.streamed else Seconds(0.0),
            cached=usage.cached,
            predicted=check.predicted if check is not None else Seconds(0.0),
            took=check.took if check is not None else Seconds(0.0),
            unit=self._inbound.endpoint.api.unit,
        )
        if self._line.queue is not None:
            self._line.queue.completed.tell(Completion(self._ticket.id, observed))

    def _failed(self, placed: Candidate, failed: Failed) -> None:
        """Before the first byte: exclude the node, and go on."""
        tried = self._tried
        what = f"attempt {tried.attempts} at {placed.name} failed" if tried.sent else f"{placed.name} was not reached"
        logger.warning("request %s: %s: %s", self._inbound.id, what, failed)
        self.diary.failed(placed.name, failed.failure)
        tried.last = failed
        status = failed.answer.status if failed.answer is not None else 0
        tried.retries |= tried.sent and costs(failed.failure.kind, status)
        if status == 500:
            tried.first_500 = tried.first_500 or failed.answer
        left_out = tried.gone if blame(failed.failure.kind) is Blame.AWAY else self._placing.choice.broke
        left_out.append(placed.node)

    async def _give_up(self) -> Outcome:
        """Nothing is left to try: the last answer as it came, else an error."""
        last, said = self._tried.last, self._tried.said
        if said is not None:
            await said.send(self._sink)
            return Outcome.FAILED
        why = last.failure.text if last is not None else "no node took it"
        failed = f"the request failed on {self._tried.attempts} attempts: {why}"
        if self._tried.over_budget:
            raise unavailable(f"{failed}; {OVER_BUDGET}")
        raise RequestError(failed, status=502)


def _amount(routing: Routing) -> Tokens | None:
    """The work that the request is, as far as its body says or suggests."""
    return routing.guess or None if routing.amount is None else routing.amount


def _spliced(body: Body, splices: tuple[Splice, ...]) -> AsyncGenerator[bytes]:
    """The body as the node shall get it."""
    chunks = body.chunks(SEND_SIZE)
    return _edited(chunks, Splicer(splices)) if splices else chunks


async def _edited(chunks: AsyncGenerator[bytes], splicer: Splicer) -> AsyncGenerator[bytes]:
    async with aclosing(chunks):
        async for chunk in chunks:
            if data := splicer.feed(chunk):
                yield data
    if data := splicer.end():
        yield data
