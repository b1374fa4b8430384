"""What the Scorer says of a batch before it is placed: which nodes could share it."""

from herd.actors.ledger import Ledger
from herd.actors.ports import Clock
from herd.actors.prospectus import Prospectus
from herd.actors.trials import Trials
from herd.policy.batches import Spread, spread
from herd.policy.placement import Ranking
from herd.policy.scoring import Moment
from herd.policy.values import Ask


class Spreads:
    """A part of the Scorer that reads its state, and writes nothing."""

    _clock: Clock
    _ever_had: dict[str, None]
    _ledger: Ledger
    _prospectus: Prospectus
    _ranking: Ranking
    _trials: Trials

    def spread(self, ask: Ask) -> Spread | None:
        """The nodes that could share the batch; None when one will do it. No ticket is held against any of them."""
        looked_at = self._prospectus.of(ask.model, kept=ask.model in self._ever_had)
        # Vectors have no answer whose length would count, and a batch is of no conversation.
        moment = Moment(self._clock.monotonic(), tried=self._trials.nodes(ask.model))
        return spread(self._ranking(ask, looked_at, self._ledger.loads, moment), looked_at)
