"""Batches of texts for vectors: each goes to one node, or in parts to several when that is clearly faster.

A part is a request like any other, with a ticket, a place in a queue, retries and a story of its own. What makes it a
part is that it wants one build of the model, that it is meant for one node, and that nobody holds it: a batch whose
parts cannot all run now is better off in one piece, which any node may serve, whatever build it has.
"""

import asyncio
import logging
from dataclasses import replace

from herd.actors.batch_story import BatchDiary, PartDiary
from herd.actors.batch_times import TimedSink, number_in
from herd.actors.body import SplicedBody
from herd.actors.log_context import logged_for
from herd.actors.ports import Headers, Sink
from herd.actors.request import Inbound, RouterParts, begun, serve
from herd.errors import RequestError, StreamFailed
from herd.policy.batches import Split, Spread, split
from herd.policy.values import Ask, PartOf
from herd.protocols.answers import request_ids
from herd.protocols.batches import (
    MOST_INPUTS,
    MOST_VECTOR,
    VECTORS,
    AnswerReader,
    Inputs,
    PartAnswer,
    joined,
    read_inputs,
)
from herd.protocols.headers import value_of
from herd.protocols.messages import Usage
from herd.protocols.requests import BYTES_PER_TOKEN
from herd.protocols.spans import FIRST_PART
from herd.types import Bytes, KiB, MiB, RequestId, Seconds, Tokens

logger = logging.getLogger(__name__)

# Bytes of a batch that may be split, at least: what a model server reads in one step (512 tokens) no split shortens.
LEAST_BODY = 512 * BYTES_PER_TOKEN
# And at most: 2,048 texts of 8 KiB, the longest that usual models for vectors read. Each part reads the whole body.
MOST_BODY = 16 * MiB
# Bytes of vectors that the router holds at once, of all batches together: of the largest batch with the largest
# vectors, or of many usual ones. Whoever finds no room is served in one piece, which takes none.
ROOM = MOST_INPUTS * MOST_VECTOR
# Of an answer to a part that is an error: more of it nobody reads.
MOST_ERROR = 64 * KiB

# Headers of a part's answer that are not true of the whole; those of Herd's own are made anew.
_OF_A_PART = ("content-length", "transfer-encoding", "x-request-id", "request-id")


class Batches:
    """Serves requests, and of those for vectors the large ones in parts where that is faster.

    Args:
        parts: of the router.
    """

    def __init__(self, parts: RouterParts) -> None:
        self._parts = parts
        self._free = ROOM

    async def serve(self, inbound: Inbound, sink: Sink) -> None:
        """Answer one request. Raises as `request.serve` does."""
        if inbound.endpoint.api not in VECTORS or not LEAST_BODY <= inbound.body.size <= MOST_BODY:
            await serve(inbound, sink, self._parts)
            return
        found = await self._spread(inbound)
        inputs = None if found is None else await inbound.body.examine(read_inputs)
        if found is None or inputs is None:
            await serve(inbound, sink, self._parts)
            return
        plan = split(found, inputs.sizes)
        room = len(inputs.texts) * MOST_VECTOR
        if plan is None or room > self._free:
            await self._whole(inbound, sink, found)
            return
        diary = begun(inbound, self._parts, BatchDiary)
        with diary:
            self._free -= room
            try:
                batch = _Batch(inbound, self._parts, plan, inputs, diary)
                why = await batch.run(sink)
            finally:
                self._free += room
            for timed, size in batch.timed:
                self._learn(found, timed, size / inbound.body.size, size)
            if why is not None:
                logger.info("request %s: begun again in one piece: %s", inbound.id, why)
                diary.unsplit(why)
                await serve(inbound, sink, self._parts, diary)

    async def _whole(self, inbound: Inbound, sink: Sink, found: Spread) -> None:
        """Serve a batch in one piece that others could be split like, and learn from how long it takes."""
        timed = TimedSink(sink, self._parts.clock)
        await serve(inbound, timed, self._parts)
        self._learn(found, timed, 1.0, inbound.body.size)

    def _learn(self, found: Spread, timed: TimedSink, share: float, size: int) -> None:
        """A share of a batch, or all of it, was served: `size` bytes of texts."""
        if (took := timed.ratio(found, share, size)) is not None:
            self._parts.learner.batch_served.tell(took[0], found.model, took[1])

    async def _spread(self, inbound: Inbound) -> Spread | None:
        """The nodes that could share it, if there are several."""
        routing = inbound.routing
        model = self._parts.names.chain(routing.model, routing.fallbacks)[0]
        ask = Ask(
            model=model,
            api=inbound.endpoint.api,
            needs=routing.needs,
            prompt_tokens=routing.prompt_tokens,
            max_tokens=routing.max_tokens,
            num_ctx=routing.num_ctx,
        )
        found: Spread | None = await self._parts.scorer.spread.remote(ask)
        return found


class _Gathered:
    """The answer to a part; a `Sink` that keeps it."""

    def __init__(self, reader: AnswerReader) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.error = bytearray()  # what it says if it is none of vectors
        self.vectors: PartAnswer | None = None
        self._reader = reader

    @property
    def started(self) -> bool:
        return self.status != 0

    async def start(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    async def write(self, data: bytes) -> None:
        if self.status == 200:
            self._reader.feed(data)
        elif len(self.error) < MOST_ERROR:
            self.error += data[: MOST_ERROR - len(self.error)]

    async def finish(self) -> None:
        if self.status == 200:
            self.vectors = self._reader.end()

    def abort(self) -> None:
        """Whoever breaks an answer off raises as well."""

    def number(self, name: str) -> int:
        """Of a header that holds one."""
        return number_in(self.headers, name)


class _RefusedError(Exception):
    """A model server has answered a part with an error, which is the answer to the whole."""


class _Batch:
    """One batch in parts."""

    def __init__(self, inbound: Inbound, parts: RouterParts, plan: Split, inputs: Inputs, diary: BatchDiary) -> None:
        self.timed: list[tuple[TimedSink, Bytes]] = []  # parts that are served, and the size of each
        self._inbound = inbound
        self._parts = replace(parts, hold_timeout=Seconds(0.0), grace_until=Seconds(0.0))
        self._plan = plan
        self._inputs = inputs
        self._diary = diary
        self._ids = [RequestId(f"{inbound.id}/{number}") for number, _ in enumerate(plan.shares, 1)]
        api = inbound.endpoint.api
        self._gathered = [_Gathered(AnswerReader(api, share.last - share.first)) for share in plan.shares]

    async def run(self, sink: Sink) -> str | None:
        """Serve it; or say why it has to be served in one piece: then no byte of an answer is out.

        Raises:
            HerdError: a part has failed for good, and with it the whole.
        """
        self._diary.split(self._plan, self._ids)
        sink = self._diary.watching(sink)
        failure = await self._all_parts()
        if isinstance(failure, _RefusedError):
            await self._pass_on(sink)
            return None
        if isinstance(failure, StreamFailed) or (isinstance(failure, RequestError) and failure.status == 503):
            return str(failure)  # the client has nothing of it yet, however much of an answer was gathered
        if failure is not None:
            raise failure
        if any(one.vectors is None or value_of(one.headers, "content-encoding") for one in self._gathered):
            return "the answers to its parts are not what such answers look like"
        await self._answer(sink)
        return None

    async def _all_parts(self) -> BaseException | None:
        """Serve the parts until all are over, or one has failed: then the others are over too.

        No `TaskGroup`: of a failure and a hang-up in the same turn it tells the failure alone.
        """
        tasks = [
            asyncio.create_task(self._part(number), name=f"request {request_id}")
            for number, request_id in enumerate(self._ids)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(_failure)  # of one that fails on its way out nobody else asks
            await asyncio.wait(tasks)
        return next((one for one in map(_failure, [task for task in tasks if task in done]) if one), None)

    async def _part(self, number: int) -> None:
        """Serve one part, which is done when its answer is gathered."""
        got, request_id = self._gathered[number], self._ids[number]
        inbound, timed = self._inbound_of(number), TimedSink(got, self._parts.clock)
        with logged_for(request_id), begun(inbound, self._parts, PartDiary) as diary:
            await serve(inbound, timed, self._parts, diary)
        self._diary.part_answered(request_id, number + 1, got.status, timed.node, timed.attempts)
        self.timed.append((timed, inbound.body.size))
        if got.status != 200:
            raise _RefusedError(request_id)

    def _inbound_of(self, number: int) -> Inbound:
        whole, share, trail = self._inbound, self._plan.shares[number], self._inbound.trail
        body = SplicedBody(whole.body, self._inputs.cut(share.first, share.last))
        return replace(
            whole,
            id=self._ids[number],
            headers=whole.headers if trail is None else trail.onward(whole.headers, FIRST_PART + number + 1),
            # Another model's vectors are not to be among this one's.
            routing=replace(whole.routing, prompt_tokens=Tokens(body.size // BYTES_PER_TOKEN), fallbacks=()),
            body=body,
            session="",
            trail=None,
            part=PartOf(self._plan.digest, share.place.node),
        )

    async def _pass_on(self, sink: Sink) -> None:
        """A part was refused: the client gets that answer, as if it had been the whole's."""
        got = next(one for one in self._gathered if one.status not in {0, 200})
        kept = [pair for pair in got.headers if pair[0].lower() not in _OF_A_PART]
        ids = request_ids(self._inbound.endpoint.dialect, str(self._inbound.id))
        await sink.start(got.status, (*kept, *ids, ("Content-Length", str(len(got.error)))))
        await sink.write(bytes(got.error))
        await sink.finish()

    async def _answer(self, sink: Sink) -> None:
        api = self._inbound.endpoint.api
        whole = joined(api, [one.vectors for one in self._gathered if one.vectors is not None])
        waited = max(one.number("x-herd-queue-ms") for one in self._gathered)
        headers = self._headers(waited)
        await sink.start(200, (*headers, ("Content-Length", str(whole.size))))
        for piece in whole.pieces:
            await sink.write(piece)
        await sink.finish()
        usage = Usage(prompt=whole.prompt, load_s=Seconds(whole.load_s), complete=True)
        self._diary.joined(headers, usage, waited / 1000)
        logger.info(
            "request %s: served in %d parts by %s, %d tokens in",
            self._inbound.id,
            len(self._gathered),
            value_of(headers, "x-herd-node"),
            whole.prompt,
        )

    def _headers(self, waited: int) -> Headers:
        """What the answer says of itself: what the first part's says, and of its way what is true of all parts."""
        got = self._gathered
        theirs = [
            pair
            for pair in got[0].headers
            if pair[0].lower() not in _OF_A_PART and not pair[0].lower().startswith("x-herd-")
        ]
        edits = dict.fromkeys(
            edit for one in got for edit in value_of(one.headers, "x-herd-edited").split(", ") if edit
        )
        edited = [("X-Herd-Edited", ", ".join(edits))] if edits else []
        return (
            *theirs,
            *request_ids(self._inbound.endpoint.dialect, str(self._inbound.id)),
            ("X-Herd-Node", ", ".join([value_of(one.headers, "x-herd-node") for one in got])),
            ("X-Herd-Model", value_of(got[0].headers, "x-herd-model")),
            ("X-Herd-Score", ", ".join([value_of(one.headers, "x-herd-score") for one in got])),
            ("X-Herd-Queue-Ms", str(waited)),
            ("X-Herd-Attempts", str(sum([one.number("x-herd-attempts") for one in got]))),
            ("X-Herd-Placed-Ms", str(round(self._diary.split_at * 1000))),
            ("X-Herd-Predicted-Ms", str(round(self._plan.seconds * 1000))),
            ("X-Herd-Parts", str(len(got))),
            *edited,
        )


def _failure(task: "asyncio.Task[None]") -> BaseException | None:
    return None if task.cancelled() else task.exception()
