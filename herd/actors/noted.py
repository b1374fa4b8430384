"""A relay that tells the Agent what runs, and what has."""

import asyncio
from collections import Counter
from dataclasses import dataclass

from herd.actors.desk import ShownRequest, ShownWork
from herd.actors.ports import Clock, Relay, Serving
from herd.actors.throughput import Throughput
from herd.errors import LinkClosed
from herd.protocols.fitness import sentence
from herd.protocols.messages import Failure, Head, RequestHead, Usage
from herd.protocols.usage import measured
from herd.runtime import ActorHandle
from herd.types import ModelName, Outcome, Seconds, Tokens

MAX_RUNNING = 64  # requests that are shown: no screen has more lines for them


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """How a request ended beside the agent: served, failed, or cancelled where nobody waited for it any more."""

    outcome: Outcome
    tokens: Tokens = Tokens(0)  # of its answer


class NotedRelay:
    """Implements the port `Relay`.

    Args:
        relay: serves the requests.
        agent: the Agent, told when one begins and when it ends.
        clock: when they began.
    """

    def __init__(self, relay: Relay, agent: ActorHandle, clock: Clock) -> None:
        self._relay = relay
        self._agent = agent
        self._clock = clock
        self._count = 0

    async def __call__(self, serving: Serving) -> None:
        """Serve one stream to its end."""
        self._count += 1
        number, noted = self._count, _NotedServing(serving)
        self._agent.request_began.tell(number, _shown(serving.head, Seconds(self._clock.wall())))
        try:
            await self._relay(noted)
        except (asyncio.CancelledError, LinkClosed):
            raise
        except Exception:
            noted.ended = RequestEnd(Outcome.FAILED)
            raise
        finally:
            self._agent.request_ended.tell(number, noted.ended)


class _NotedServing:
    """The agent's end of a stream, with an eye on how it ends; implements the port `Serving`.

    To read and to send are the other's own: nothing is added to a token.
    """

    __slots__ = ("_serving", "_status", "body", "ended", "head", "send")

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._status = 0
        self.ended = RequestEnd(Outcome.CANCELLED)
        self.head = serving.head
        self.body = serving.body
        self.send = serving.send

    async def send_head(self, head: Head) -> None:
        """Begin the answer."""
        self._status = head.status
        await self._serving.send_head(head)

    def end(self, usage: Usage) -> None:
        """The answer is whole."""
        self._serving.end(usage)
        failed = usage.failed or self._status >= 500
        tokens = Tokens(0) if measured(self.head.path) else usage.completion  # else it is other work
        self.ended = RequestEnd(Outcome.FAILED if failed else Outcome.SERVED, tokens)

    def reset(self, failure: Failure) -> None:
        """The answer broke."""
        self._serving.reset(failure)
        self.ended = RequestEnd(Outcome.FAILED)


def _shown(head: RequestHead, since: Seconds) -> ShownRequest:
    """Without its query, and without what a terminal would obey."""
    path = sentence(head.path.partition("?")[0])
    return ShownRequest(head.request_id, ModelName(sentence(head.model)), head.backend, path, since)


class Work:
    """What the model servers do and have done: state of the Agent."""

    def __init__(self) -> None:
        self._running: dict[int, ShownRequest] = {}  # at most as many as a link has streams
        self._ended: Counter[Outcome] = Counter()
        self._throughput = Throughput()

    def began(self, number: int, request: ShownRequest) -> None:
        """A request is being answered."""
        self._running[number] = request

    def ended(self, number: int, end: RequestEnd, now: Seconds) -> None:
        """It is not any more; one from before a crash is not known, and counts all the same. `now` is monotonic."""
        self._running.pop(number, None)
        self._ended[end.outcome] += 1
        if end.tokens:
            self._throughput.answered("", end.tokens, now)

    def shown(self, now: Seconds) -> ShownWork:
        """All of it. `now` is monotonic."""
        return ShownWork(
            running=tuple(list(self._running.values())[:MAX_RUNNING]),
            under_way=len(self._running),
            served=self._ended[Outcome.SERVED],
            failed=self._ended[Outcome.FAILED],
            cancelled=self._ended[Outcome.CANCELLED],
            tokens_per_s=round(self._throughput.rates(now).get("", 0.0), 1),
        )
