"""What the person at a dashboard wants to see, and what a key makes of it. Keys are named as in `live.keys`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar

from herd.cli.fleet.seen import Node, Seen

# A filter is a few letters of a name; more would not fit beside the question.
MAX_FILTER = 40

E = TypeVar("E", bound=StrEnum)


class Sort(StrEnum):
    """By what nodes are sorted."""

    NAME = "name"
    STATE = "state"
    RUNNING = "running"
    WAITING = "waiting"
    MEMORY = "memory"
    SPEED = "tok/s"


class Panel(StrEnum):
    """What the screen belongs to."""

    ALL = "all"
    NODES = "nodes"
    REQUESTS = "requests"
    QUEUES = "queues"
    HAPPENINGS = "happenings"


@dataclass(frozen=True, slots=True)
class Quit:
    """Close the dashboard."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Send a node nothing new."""

    node: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a node take requests again."""

    node: str


Action = Quit | Drain | Resume


class Shown(NamedTuple):
    """What the last frame could show: how far keys go."""

    page: int = 10  # lines that page-up and page-down move by
    bottom: int = 0  # how far what is scrolled can be


@dataclass(frozen=True, slots=True)
class TopState:
    """What the person has asked for."""

    sort: Sort = Sort.NAME
    reverse: bool = False
    filter: str = ""
    typing: bool = False  # the filter is being typed
    selected: str | None = None  # name of a node; it stays so while the node is away
    focused: str | None = None  # name of the node that is shown whole
    panel: Panel = Panel.ALL
    held: Seen | None = None  # the view is paused: this is what it shows
    help: bool = False
    asking: Drain | Resume | None = None  # is this meant?
    message: str = ""  # until the next key
    scroll: int = 0  # lines that are passed over, of what is no list of nodes

    def picture(self, seen: Seen) -> Seen:
        """What is to be shown: of a paused view only the connection and the node that is asked for are of now."""
        if self.held is None:
            return seen
        return replace(
            self.held, connection=seen.connection, since=seen.since, why=seen.why, detail=seen.detail, url=seen.url
        )


def told(state: TopState, text: str) -> TopState:
    """With a message for the person: what came of an order, say."""
    return replace(state, message=text)


def pressed(state: TopState, key: str, seen: Seen, shown: Shown = Shown()) -> tuple[TopState, Action | None]:  # noqa: B008 - a value
    """What is wanted after a key, and what is to be done at once."""
    if key == "ctrl-l":  # the screen's own
        return state, None
    state = replace(state, message="")
    if state.asking is not None:
        return _answered(state, state.asking, key)
    if state.typing:
        return _typed(state, key), None
    if state.help:
        return replace(state, help=False), None
    return _ordered(state, key, seen, shown)


def listed(state: TopState, seen: Seen) -> tuple[Node, ...]:
    """The nodes that pass the filter, in order: of equals the first by name comes first."""
    wanted = state.filter.casefold()
    found = sorted((node for node in seen.nodes if not wanted or _passes(node, wanted)), key=_by_name)
    if state.sort is Sort.NAME:
        return tuple(reversed(found)) if state.reverse else tuple(found)
    # Whoever sorts by a number looks for the most of it, and by state for what is not as it should be.
    found.sort(key=_KEYS[state.sort], reverse=not state.reverse)
    return tuple(found)


# --- modes ------------------------------------------------------------------------------------------------------------


def _answered(state: TopState, order: Drain | Resume, key: str) -> tuple[TopState, Action | None]:
    if key in {"y", "Y"}:
        return replace(state, asking=None), order
    if key in {"n", "N", "q", "esc"}:
        return replace(state, asking=None, message=f"{order.node} stays as it is"), None
    return state, None


def _typed(state: TopState, key: str) -> TopState:
    match key:
        case "enter":
            return replace(state, typing=False)
        case "esc":
            return replace(state, typing=False, filter="")
        case "backspace":
            return replace(state, filter=state.filter[:-1])
    if len(key) == 1 and key.isprintable():
        return replace(state, filter=(state.filter + key)[:MAX_FILTER])
    return state


def _ordered(state: TopState, key: str, seen: Seen, shown: Shown) -> tuple[TopState, Action | None]:
    if key == "q":
        return state, Quit()
    change = _CHANGES.get(key)
    return (change(state, seen) if change is not None else _moved(state, key, seen, shown)), None


def _moved(state: TopState, key: str, seen: Seen, shown: Shown) -> TopState:
    """Further in the list of nodes, or in what is scrolled."""
    page, end = shown.page, len(seen.nodes) + shown.bottom
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -page, "page-down": page, "home": -end, "end": end}
    if state.focused is not None and key in {"left", "right"}:
        return _focused(_selected(state, seen, -1 if key == "left" else 1), seen)
    if key not in steps:
        return state
    if state.focused is not None or state.panel not in {Panel.ALL, Panel.NODES}:
        return replace(state, scroll=max(0, min(state.scroll + steps[key], shown.bottom)))
    return _selected(state, seen, steps[key])


def _selected(state: TopState, seen: Seen, step: int) -> TopState:
    """Another node; if none was chosen, or the one that was is away, the first one or, with `end`, the last."""
    names = [node.name for node in listed(state, state.picture(seen))]
    if not names:
        return state
    at = names.index(state.selected) + step if state.selected in names else step - 1
    return replace(state, selected=names[max(0, min(at, len(names) - 1))])


# --- keys -------------------------------------------------------------------------------------------------------------


def _back(state: TopState, _seen: Seen) -> TopState:
    """One step: out of the node, else of the panel, else of the filter, else of the selection."""
    if state.focused is not None:
        return replace(state, focused=None, scroll=0)
    if state.panel is not Panel.ALL:
        return replace(state, panel=Panel.ALL, scroll=0)
    return replace(state, filter="") if state.filter else replace(state, selected=None)


def _focused(state: TopState, seen: Seen) -> TopState:
    names = [node.name for node in listed(state, state.picture(seen))]
    if state.selected not in names:
        return replace(state, message="choose a node first, with the arrow keys")
    return replace(state, focused=state.selected, scroll=0)


def _asked(order: type[Drain | Resume]) -> Callable[[TopState, Seen], TopState]:
    def ask(state: TopState, seen: Seen) -> TopState:
        name = state.focused or state.selected
        if name is None or all(node.name != name for node in seen.nodes):
            return replace(state, message="choose a node first, with the arrow keys")
        return replace(state, asking=order(name))

    return ask


def _paused(state: TopState, seen: Seen) -> TopState:
    return replace(state, held=seen if state.held is None else None)


def _sorted(state: TopState, _seen: Seen) -> TopState:
    return replace(state, sort=_after(Sort, state.sort), reverse=False)


def _turned(state: TopState, _seen: Seen) -> TopState:
    return replace(state, reverse=not state.reverse)


def _next_panel(state: TopState, _seen: Seen) -> TopState:
    return replace(state, panel=_after(Panel, state.panel), focused=None, scroll=0)


def _filtering(state: TopState, _seen: Seen) -> TopState:
    return replace(state, typing=True, focused=None, panel=Panel.ALL, scroll=0)


def _helped(state: TopState, _seen: Seen) -> TopState:
    return replace(state, help=True)


_CHANGES: dict[str, Callable[[TopState, Seen], TopState]] = {
    "s": _sorted,
    "r": _turned,
    "/": _filtering,
    "enter": _focused,
    "esc": _back,
    "backspace": _back,
    "tab": _next_panel,
    "d": _asked(Drain),
    "u": _asked(Resume),
    "p": _paused,
    " ": _paused,
    "?": _helped,
}


def _after(kind: type[E], value: E) -> E:
    values = list(kind)
    return values[(values.index(value) + 1) % len(values)]


# --- order ------------------------------------------------------------------------------------------------------------

# What wants a look comes first when states are sorted: the reverse of this.
_STATES = ("ready", "joining", "paused", "draining", "degraded", "offline")


def _passes(node: Node, wanted: str) -> bool:
    texts = (node.name, node.state, *(model.name for model in node.models if model.resident))
    return any(wanted in text.casefold() for text in texts)


def _by_name(node: Node) -> tuple[tuple[str, int], ...]:
    return _natural(node.name)


@lru_cache(maxsize=1024)
def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """`node-2` before `node-10`; digits beyond the eighteenth are letters."""
    parts = re.findall(r"([^0-9]*)([0-9]{0,18})", name.casefold())
    return tuple((letters, int(digits or -1)) for letters, digits in parts)


def _used(node: Node) -> float:
    return 1.0 - node.memory_free / node.memory_total if node.memory_total > 0 else -1.0


_KEYS: dict[Sort, Callable[[Node], float]] = {
    Sort.STATE: lambda node: _STATES.index(node.state) if node.state in _STATES else len(_STATES),
    Sort.RUNNING: lambda node: node.running or 0,
    Sort.WAITING: lambda node: node.waiting or 0,
    Sort.MEMORY: _used,
    Sort.SPEED: lambda node: node.tokens_per_s or 0.0,
}
