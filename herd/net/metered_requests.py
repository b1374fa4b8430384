"""What a router counts of its requests, and measures."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client import Metric

from herd.names import canonical
from herd.net.metric_series import Buckets, Labels, Series, counter, histogram
from herd.protocols.stories import RequestEntry
from herd.types import Api, Outcome

# From an embedding to the longest answers that clients wait for.
SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
# As far below 1 as above it, as ratios go, and finest where a prediction is as good as true.
RATIOS = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)
# From what nobody notices to the longest that a router holds: what waits for longer than a load has a queue before it.
WAITS = (0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)

_OF_A_PAIR = ("node", "model")
_STATUSES = {number: f"{number}xx" for number in range(1, 6)}


class _Pair:
    """One model on one node."""

    __slots__ = ("actual", "completion", "duration", "first_token", "outcomes", "predicted", "prompt", "ratio")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = defaultdict(int)
        self.prompt = self.completion = 0
        self.duration, self.first_token = Buckets(SECONDS), Buckets(SECONDS)
        self.predicted, self.actual, self.ratio = Buckets(SECONDS), Buckets(SECONDS), Buckets(RATIOS)


class RequestMetrics:
    """Told of each request's end, on the loop; collected in a thread, which may miss what ends at that very moment.

    Args:
        series: which pairs of a node and a model have series of their own.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        # All of them from the start, so that a rate has something to begin with.
        self._outcomes = dict.fromkeys((outcome.value for outcome in Outcome), 0)
        self._apis: dict[tuple[Api, str, str], int] = defaultdict(int)
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._held, self._queued = Buckets(WAITS), Buckets(WAITS)
        self._retries = self._moves = 0

    def ended(self, request: RequestEntry, api: Api, held_s: float, moves: int) -> None:
        """Count it, and measure what there is to measure of its end."""
        outcome, status = request["outcome"] or "", request["status"]
        if outcome not in self._outcomes:
            return
        self._outcomes[outcome] += 1
        self._apis[api, outcome, "none" if status is None else _STATUSES.get(status // 100, "other")] += 1
        self._held.observe(held_s)
        self._queued.observe(max(0.0, request["waited_s"] - held_s))
        self._moves += moves
        self.ended_at_node(request)

    def ended_at_node(self, request: RequestEntry) -> None:
        """Count it, and measure it, where it was placed last: all that there is to count of a part of a request."""
        outcome, first_token = request["outcome"] or "", request["first_token_s"]
        if request["attempts"] > 1:
            self._retries += request["attempts"] - 1
        if request["node"] is None:  # its model may be nobody's: whoever makes up names is to fill no table with them
            return
        pair = self._of(request["node"], canonical(request["served_model"] or request["model"]))
        pair.outcomes[outcome] += 1
        pair.prompt += max(0, request["prompt"] or 0)  # as an agent says, and a counter never goes back
        pair.completion += max(0, request["completion"] or 0)
        if first_token is not None:
            pair.first_token.observe(first_token)
        if outcome == Outcome.SERVED:
            pair.duration.observe(request["total_s"])
        predicted, took = request["predicted_s"], request["took_s"]
        if predicted and took is not None:
            pair.predicted.observe(predicted)
            pair.actual.observe(took)
            pair.ratio.observe(took / predicted)

    def _of(self, node: str, model: str) -> _Pair:
        labels = self._series.pair(node, model)
        found = self._pairs.get(labels)
        if found is None:
            found = self._pairs[labels] = _Pair()
        return found

    def collect(self) -> Iterator[Metric]:
        """All of it, as the library writes it."""
        outcomes = [((outcome,), count) for outcome, count in self._outcomes.items()]
        yield counter("herd_requests", "Requests that have ended, by outcome.", ("outcome",), outcomes)
        yield counter(
            "herd_api_requests",
            "Requests that have ended, by what was asked, outcome and class of the answer's status.",
            ("dialect", "api", "outcome", "status"),
            [((api.dialect, api, outcome, status), count) for (api, outcome, status), count in [*self._apis.items()]],
        )
        yield histogram(
            "herd_request_wait_seconds",
            "Seconds that requests waited, held for want of a node and queued at nodes, those that did not included.",
            ("kind",),
            [(("held",), self._held), (("queued",), self._queued)],
        )
        retries, moves = [((), self._retries)], [((), self._moves)]
        yield counter(
            "herd_request_retries", "Attempts of requests that have ended, beyond the first of each.", (), retries
        )
        yield counter("herd_request_moves", "Moves of requests that have ended from one queue to another.", (), moves)
        yield from self._of_pairs([*self._pairs.items()])

    @staticmethod
    def _of_pairs(pairs: list[tuple[tuple[str, str], _Pair]]) -> Iterator[Metric]:
        yield counter(
            "herd_node_requests",
            "Requests that have ended, by the node that they were placed at last, the model and outcome.",
            (*_OF_A_PAIR, "outcome"),
            [((*labels, outcome), count) for labels, pair in pairs for outcome, count in [*pair.outcomes.items()]],
        )
        tokens: list[tuple[Labels, float]] = []
        for labels, pair in pairs:
            tokens += [((*labels, "prompt"), pair.prompt), ((*labels, "completion"), pair.completion)]
        yield counter("herd_tokens", "Tokens of requests that were served.", (*_OF_A_PAIR, "kind"), tokens)
        measured: tuple[tuple[str, str, Callable[[_Pair], Buckets]], ...] = (
            (
                "herd_request_duration_seconds",
                "Seconds from the arrival of a request to the end of its whole answer.",
                lambda pair: pair.duration,
            ),
            (
                "herd_request_first_token_seconds",
                "Seconds from the arrival of a request until its answer, which is no error, began to reach the client.",
                lambda pair: pair.first_token,
            ),
            (
                "herd_request_predicted_seconds",
                "Seconds that a request was predicted to take to its whole answer, when it was placed or moved last.",
                lambda pair: pair.predicted,
            ),
            (
                "herd_request_actual_seconds",
                "Seconds that the same requests took, from the same moment to the whole answer.",
                lambda pair: pair.actual,
            ),
            (
                "herd_request_actual_predicted_ratio",
                "Actual over predicted seconds of the same requests; over 1: they took longer.",
                lambda pair: pair.ratio,
            ),
        )
        for name, about, of in measured:
            yield histogram(name, about, _OF_A_PAIR, [(labels, of(pair)) for labels, pair in pairs])
