"""The NodeProxy: one node's TCP link, as the rest of the router sees it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from herd.actors.ports import Links
from herd.errors import HerdError, StreamFailed
from herd.policy.liveness import HEARTBEAT_S, OFFLINE_AFTER, next_look, state_when_silent
from herd.protocols.messages import Command, Goodbye, RequestHead, Result
from herd.runtime import ActorHandle, Timer, context
from herd.types import LinkId, NodeState, Seconds, StreamId

# Rounding may leave a silence a hair short of a limit; to look again after that hair could take no time, for ever.
LOOK_AT_LEAST_S = 0.01

# A load takes 5 minutes at most, and its result a moment more. An older agent answers no command, ever.
COMMAND_S = Seconds(330.0)
# Of one node, at once: loads go one after another, and what lets models go, for clients too, is quick.
MAX_COMMANDS = 8

# To an agent whose link nobody looks after since a crash; it joins anew within seconds.
STARTS_ANEW = Goodbye("shutdown", "this part of the router starts anew")


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is open: attach to it."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The stream could not be opened; `text` is for a person."""

    text: str


class NodeProxy:
    """Owns a node's current link, and watches over its silence.

    Args:
        links: the TCP links of the router.
        node: the Node actor, told when the link falls silent, speaks again, or is gone.
        heartbeat: seconds between two heartbeats of the node.
    """

    def __init__(self, links: Links, node: ActorHandle, heartbeat: Seconds = HEARTBEAT_S) -> None:
        self._links = links
        self._node = node
        self._heartbeat = heartbeat
        self._link: LinkId | None = None
        self._state = NodeState.OFFLINE
        self._timer: Timer | None = None
        self._commands = 0  # given so far; numbers them
        self._under_way = 0

    def on_stop(self) -> None:
        """When the node's actors start anew, nobody looks after this link any more."""
        if context(self).restarting:
            self._hang_up()

    def on_failure(self, *_crash: object) -> None:
        """Nobody looks after this link any more."""
        self._hang_up()

    def link_up(self, link: LinkId) -> None:
        """The node has (re)connected: this link replaces the one before."""
        old, self._link = self._link, link
        if old is not None:
            self._links.disconnect(old, Goodbye("replaced", "the same node has connected anew"))
        self._state = NodeState.READY
        # Its hello was just heard. To ask for its silence would be too early: the listener still waits for our welcome.
        self._look_in(next_look(Seconds(0.0), self._heartbeat), link)

    def link_down(self, link: LinkId, why: str) -> None:
        """A link is gone; only the current one matters."""
        if link == self._link:
            self._link = None
            self._state = NodeState.OFFLINE
            self._node.link_down.tell(why)

    def open(self, stream: StreamId, head: RequestHead) -> Opened | Unavailable:
        """Begin a stream to the node."""
        if self._link is None:
            return Unavailable("the node is not connected")
        try:
            self._links.open(self._link, stream, head)
        except StreamFailed as error:
            return Unavailable(str(error))
        return Opened(stream)

    async def command(self, name: str, args: dict[str, Any]) -> Result:
        """Have the agent do something. What came of it, or why nothing did; ends with the link, and after `COMMAND_S`.

        Args:
            name: of the command.
            args: what it needs to know; see docs/contracts.md.
        """
        self._commands += 1
        command = Command(self._commands, name, args)
        if self._link is None:
            return Result(command.id, False, text="the node is not connected")
        if self._under_way >= MAX_COMMANDS:
            return Result(command.id, False, text=f"the node has {MAX_COMMANDS} commands under way")
        self._under_way += 1
        try:
            async with asyncio.timeout(COMMAND_S):
                return await self._links.command(self._link, command)
        except TimeoutError:
            return Result(command.id, False, text=f"the node did not answer within {COMMAND_S:.0f} s")
        except HerdError as error:
            return Result(command.id, False, text=str(error))
        finally:
            self._under_way -= 1

    def _hang_up(self) -> None:
        """Have the agent join anew."""
        if self._link is not None:
            self._links.disconnect(self._link, STARTS_ANEW)

    def _look(self, link: LinkId) -> None:
        """Judge the link by its silence; look again when that would change."""
        if link != self._link:
            return
        silence = self._links.silence(link)
        state = state_when_silent(silence, self._heartbeat)
        if state is NodeState.OFFLINE:
            self._links.disconnect(
                link, Goodbye("silent", f"nothing was heard from the node for {OFFLINE_AFTER * self._heartbeat:.0f} s")
            )
            return
        if state is not self._state:
            self._state = state
            self._node.silence.tell(state)
        self._look_in(next_look(silence, self._heartbeat), link)

    def heard(self, link: LinkId) -> None:
        """A report came in: a degraded node is well again at once."""
        if link == self._link and self._state is NodeState.DEGRADED:
            self._state = NodeState.READY
            self._node.silence.tell(NodeState.READY)
            self._look_in(next_look(self._links.silence(link), self._heartbeat), link)

    def _look_in(self, seconds: Seconds, link: LinkId) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = context(self).after(max(seconds, LOOK_AT_LEAST_S), self._look, link)
