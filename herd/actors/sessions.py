"""Which node served a conversation last, and what its prefix cache is likely to hold of it still."""

from typing import NamedTuple

from herd.actors.tables import keep_latest
from herd.policy.values import Ask
from herd.types import NodeId, Tokens

# Conversations whose node is remembered: more than a model server's prefix cache remembers of them.
MAX_SESSIONS = 16_384
# Pairs of node and model whose requests are counted: a thousand nodes with sixty models each.
MAX_PAIRS = 65_536


class Turn(NamedTuple):
    """The latest request of a conversation."""

    node: NodeId
    prompt: Tokens
    number: int  # among those for the model on that node


class Sessions:
    """State of the Scorer."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], Turn] = {}  # by model and conversation, the latest last
        self._requests: dict[tuple[NodeId, str], int] = {}  # by node and model, the latest last

    def turn(self, ask: Ask) -> Turn | None:
        """The latest request of the conversation that `ask` goes on with."""
        return self._turns.get((ask.model, ask.session)) if ask.continues else None

    def cached(self, turn: Turn, model: str, slots: int) -> Tokens:
        """How much of the conversation's prompt the node's prefix cache holds: each slot keeps its latest prompt."""
        since = self._requests.get((turn.node, model), turn.number) - turn.number
        return turn.prompt if since < slots else Tokens(0)

    def placed(self, ask: Ask, node: NodeId) -> None:
        """A request goes to a node; the conversation, if it is of one, goes on there."""
        pair = (node, ask.model)
        number = self._requests.pop(pair, 0) + 1
        self._requests[pair] = number
        keep_latest(self._requests, MAX_PAIRS)
        if ask.session:
            session = (ask.model, ask.session)
            self._turns.pop(session, None)
            self._turns[session] = Turn(node, ask.prompt_tokens, number)
            keep_latest(self._turns, MAX_SESSIONS)
