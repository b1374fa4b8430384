"""What is known of each model on each node, worked out once and kept until something of it changes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from herd.actors.homes import Homes
from herd.actors.latency_learner import Lesson
from herd.actors.tables import keep_latest
from herd.policy.memory import Residency
from herd.policy.pace import Learned, pace
from herd.policy.prospects import Facts, Prospect, prospect
from herd.policy.values import Eliminated, NodeView
from herd.policy.work import USUAL
from herd.types import NodeId, Seconds, Unit

Unloaded = tuple[NodeId, str]  # a model (by canonical name) that has left a node's memory

# A thousand nodes with sixty models each.
MAX_PAIRS = 65_536
# Models whose prospects are kept: more than a house uses in a day, and little memory.
MAX_TABLES = 1024


@dataclass(slots=True)
class _Table:
    """What there is to say of one model on each node."""

    version: int = -1  # of everything that it is made of
    rows: dict[NodeId, tuple[NodeView, Prospect | Eliminated]] = field(default_factory=dict)  # each of this very view
    prospects: list[Prospect | Eliminated] = field(default_factory=list)  # of the rows


@dataclass(frozen=True, slots=True)
class Seen:
    """What a change of a node has shown."""

    before: NodeView | None  # the node as it was
    residencies: list[tuple[str, Residency]] = field(default_factory=list)  # of models, that are new
    unloaded: list[Unloaded] = field(default_factory=list)


class Prospectus:
    """State of the Scorer: views of the nodes, and what was seen and learned of their models.

    Args:
        homes: which models live where.
    """

    def __init__(self, homes: Homes) -> None:
        self.nodes: dict[NodeId, NodeView] = {}
        self._homes = homes
        self._tables: dict[str, _Table] = {}  # by model, the latest last
        self._changes = 0  # of anything that the tables are made of
        self._residencies: dict[str, Residency] = {}
        self._learned: dict[tuple[NodeId, str], Learned] = {}
        self._answers: dict[tuple[str, Unit], float] = {}
        self._unloaded: dict[tuple[NodeId, str], Seconds] = {}
        self._reloads: dict[NodeId, dict[str, float]] = {}  # of what is in each node's memory

    def of(self, model: str, *, kept: bool) -> list[Prospect | Eliminated]:
        """What there is to say of a model on each node.

        Args:
            model: canonical name.
            kept: the fleet has, or had, it; else it is any word that a client makes up, and not worth a table.
        """
        table = self._tables.pop(model, None) or _Table()
        if table.version != self._changes:
            for node, view in self.nodes.items():
                row = table.rows.get(node)
                if row is None or row[0] is not view:
                    table.rows[node] = (view, prospect(model, view, self._facts(node, model)))
            table.prospects = [row[1] for row in table.rows.values()]
            table.version = self._changes
        if kept:
            self._tables[model] = table
            keep_latest(self._tables, MAX_TABLES)
        return table.prospects

    def _facts(self, node: NodeId, model: str) -> Facts:
        key = (node, model)
        return Facts(
            self._residencies.get(model),
            self._learned.get(key),
            self._unloaded.get(key),
            home=self._homes.of(model) == node,
            pinned=self._homes.pinned_at(node),
            reloads=self._reloads.get(node, {}),
        )

    def answer(self, model: str, unit: Unit) -> float:
        """Tokens to expect of the model's answers; or how much other work, in its unit."""
        return self._answers.get((model, unit), float(USUAL[unit]))

    # --- what changes it ----------------------------------------------------------------------------------------------

    def recalled(
        self, residencies: Iterable[tuple[str, Residency]], unloaded: Iterable[tuple[Unloaded, Seconds]]
    ) -> None:
        """What was seen before the router started, the latest last; times are monotonic. Nothing takes no memory."""
        self._residencies.update(
            (model, one) for model, one in residencies if min(one.size, one.context, one.slots) > 0
        )
        self._unloaded.update(unloaded)

    def node_changed(self, view: NodeView, now: Seconds) -> Seen:
        """The node as it is now."""
        before = self.nodes.get(view.id)
        news = Seen(before)
        self.nodes[view.id] = view
        self._changes += 1
        self._reloads[view.id] = self._expected_reloads(view, now)
        for name, model in view.models.items():
            then = before.models.get(name) if before is not None else None
            # On a card there may be a part of it only: the whole takes at least what it takes on disk.
            if model.resident and model.size_resident >= max(model.size, 1) and model.context:
                seen = Residency(model.size_resident, model.context, model.slots)
                if self._residencies.get(name) != seen:
                    self._residencies[name] = seen
                    self._tables.pop(name, None)
                    news.residencies.append((name, seen))
            elif then is not None and then.resident and not model.resident:
                self._unloaded[view.id, name] = now
                news.unloaded.append((view.id, name))
        keep_latest(self._residencies, MAX_PAIRS)
        keep_latest(self._unloaded, MAX_PAIRS)
        return news

    def _expected_reloads(self, view: NodeView, now: Seconds) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, model in view.models.items():
            if model.resident and (chance := self._homes.wanted(name, view.id, now)):
                found[name] = chance * pace(view.hardware, model, self._learned.get((view.id, name))).load
        return found

    def learned(self, lesson: Lesson) -> None:
        """More is known of how fast a model runs on a node."""
        self._learned[lesson.node, lesson.model] = lesson.learned
        keep_latest(self._learned, MAX_PAIRS)
        self._answers[lesson.model, Unit.TOKEN] = lesson.answer
        for unit, amount in lesson.amounts:
            self._answers[lesson.model, unit] = amount
        keep_latest(self._answers, MAX_PAIRS)
        if lesson.model in self._tables:
            self._tables[lesson.model].rows.pop(lesson.node, None)
            self._changes += 1

    def homes_changed(self) -> None:
        """Other models live, or have to stay, somewhere."""
        self._tables.clear()
