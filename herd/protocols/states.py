"""The rules of the link as tables: which frame may come in which state, and what state follows.

`describe_states` writes them out for the documentation. What is in no row is not allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from herd.protocols.messages import FrameType


class LinkState(StrEnum):
    """Where a link stands, in words that complete "while the link is ..."."""

    GREETING = "greeting"  # nothing has come in yet, and no join token is set
    GUARDED = "guarded"  # nothing has come in yet, and a join token is set
    PROVING = "proving"  # the token is being proven
    DECIDING = "deciding"  # router: its owner has the HELLO and has not answered
    OPEN = "open"
    CLOSED = "closed"


class StreamState(StrEnum):
    """Where a stream stands, by what it has received, in words that complete "on a stream that is ..."."""

    WAITING = "waiting"  # router: no HEAD yet
    ANSWERING = "answering"  # router: HEAD came
    RECEIVING = "receiving"  # agent: more BODY is to come
    SERVING = "serving"  # agent: the request is whole
    ENDED = "ended"


LinkTable = Mapping[LinkState, Mapping[int, LinkState]]
StreamTable = Mapping[StreamState, Mapping[int, StreamState]]


@dataclass(frozen=True, slots=True)
class Side:
    """What distinguishes the two ends of a link. The tables hold the frames that this end may receive."""

    name: str
    links: LinkTable
    streams: StreamTable
    receives: FrameType  # the type of the bulk frames that come in ...
    sends: FrameType  # ... and of those that go out
    ends_streams: bool  # a stream is over once this end has sent all of its half


def _stay(state: LinkState, *frames: FrameType) -> dict[int, LinkState]:
    return dict.fromkeys(frames, state)


_F = FrameType
_LEAVE: dict[int, LinkState] = {_F.GOODBYE: LinkState.CLOSED}
_EITHER = (_F.WINDOW, _F.PING, _F.PONG)

ROUTER = Side(
    name="router",
    links={
        LinkState.GREETING: {_F.HELLO: LinkState.DECIDING, **_LEAVE},
        LinkState.GUARDED: {_F.HELLO: LinkState.PROVING, **_LEAVE},
        LinkState.PROVING: {_F.PROOF: LinkState.DECIDING, **_LEAVE},
        LinkState.DECIDING: {**_LEAVE},
        LinkState.OPEN: {
            **_stay(LinkState.OPEN, _F.HEARTBEAT, _F.HEAD, _F.DATA, _F.END, _F.RESET, _F.RESULT, _F.DRAIN, *_EITHER),
            **_LEAVE,
        },
    },
    streams={
        StreamState.WAITING: {
            _F.HEAD: StreamState.ANSWERING,
            _F.WINDOW: StreamState.WAITING,
            _F.RESET: StreamState.ENDED,
        },
        StreamState.ANSWERING: {
            _F.DATA: StreamState.ANSWERING,
            _F.WINDOW: StreamState.ANSWERING,
            _F.END: StreamState.ENDED,
            _F.RESET: StreamState.ENDED,
        },
    },
    receives=_F.DATA,
    sends=_F.BODY,
    ends_streams=False,
)

AGENT = Side(
    name="agent",
    links={
        # Without a token a CHALLENGE cannot be answered, and with one a WELCOME without a CHALLENGE is not believed.
        LinkState.GREETING: {_F.WELCOME: LinkState.OPEN, _F.CHALLENGE: LinkState.CLOSED, **_LEAVE},
        LinkState.GUARDED: {_F.CHALLENGE: LinkState.PROVING, _F.WELCOME: LinkState.CLOSED, **_LEAVE},
        LinkState.PROVING: {_F.WELCOME: LinkState.OPEN, **_LEAVE},
        LinkState.OPEN: {**_stay(LinkState.OPEN, _F.OPEN, _F.BODY, _F.CANCEL, _F.COMMAND, *_EITHER), **_LEAVE},
    },
    streams={
        StreamState.RECEIVING: {
            _F.BODY: StreamState.RECEIVING,  # the last one: serving
            _F.WINDOW: StreamState.RECEIVING,
            _F.CANCEL: StreamState.ENDED,
        },
        StreamState.SERVING: {_F.WINDOW: StreamState.SERVING, _F.CANCEL: StreamState.ENDED},
    },
    receives=_F.BODY,
    sends=_F.DATA,
    ends_streams=True,
)


def describe_states() -> str:
    """The tables as markdown, one for the link and one for the streams of each side."""
    lines = [
        "A link leaves `deciding` by what the router's owner answers: WELCOME makes it `open`, GOODBYE `closed`.",
        "OPEN begins a stream; without a body it is `serving` at once, else once the last BODY has come.",
        "",
    ]
    for side in (ROUTER, AGENT):
        for title, table in ((f"Link, at the {side.name}", side.links), (f"Streams, at the {side.name}", side.streams)):
            lines += [f"**{title}**", "", "| state | frame received | next state |", "|---|---|---|"]
            for state, row in table.items():
                for following in dict.fromkeys(row.values()):
                    frames = ", ".join(FrameType(kind).name for kind in row if row[kind] is following)
                    lines.append(f"| {state} | {frames} | {following} |")
            lines.append("")
    return "\n".join(lines)
