"""What a person wants of an agent's dashboard: a key in, the next state out, and what is to be done."""

from dataclasses import dataclass, replace
from enum import StrEnum

from herd.actors.desk import AgentDocument


class Wish(StrEnum):
    """What a key asks for beyond the picture."""

    QUIT = "quit"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class AgentState:
    """How the dashboard is looked at."""

    helping: bool = False  # the keys are shown in place of the agent
    held: AgentDocument | None = None  # what is shown though there is news
    scroll: int = 0  # models that are passed over
    message: str = ""  # in the last row, until the next key


_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -10, "page-down": 10}
_WISHES = {"q": Wish.QUIT, "x": Wish.PAUSE, "e": Wish.RESUME}


def pressed(
    state: AgentState, key: str, document: AgentDocument | None, hidden: int = 0
) -> tuple[AgentState, Wish | None]:
    """The state after a key, and what it asks for.

    Args:
        state: before it.
        key: its name, or the character.
        document: the latest news.
        hidden: models that the last picture had no room for.
    """
    state = replace(state, message="")
    if key in _WISHES:
        return state, _WISHES[key]
    if key == "?" or (state.helping and key in {"esc", "enter", " "}):
        return replace(state, helping=not state.helping), None
    if key in {"p", " "}:
        return replace(state, held=document if state.held is None else None), None
    if key in {"home", "end"}:
        return replace(state, scroll=0 if key == "home" else hidden), None
    if key in _STEPS:
        return replace(state, scroll=max(0, min(state.scroll + _STEPS[key], hidden))), None
    return state, None


def told(state: AgentState, text: str) -> AgentState:
    """A message for the person."""
    return replace(state, message=text)
