"""What stands between an agent and its router: an owner who pauses the machine, and reports that are not true."""

from collections.abc import Callable
from dataclasses import replace

from herd.actors.command_ends import unable
from herd.actors.ports import AgentLink, Dialer, Obey, Relay
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Goodbye, Hello, Pause, Report, Welcome
from herd.types import Seconds

Tale = Callable[[Report], Report]  # what becomes of a report on its way


class Owner:
    """A `Dialer` that adds the pauses of a machine's owner to what the agent reports, and may tell tales.

    Args:
        links: how the router is really reached.
    """

    def __init__(self, links: Dialer) -> None:
        self._links = links
        self._link: AgentLink | None = None
        self._report: Report | None = None  # the agent's own, the latest
        self._pauses: tuple[Pause, ...] = ()
        self._tale: Tale | None = None

    def pause(self, *pauses: Pause) -> None:
        """From now on these pauses are in force; none to resume."""
        self._pauses = pauses
        self._repeat()

    def tell(self, tale: Tale | None) -> None:
        """From now on reports are changed so; None for the truth."""
        self._tale = tale
        self._repeat()

    def report(self, report: Report) -> None:
        """The agent reports."""
        self._report = report
        self._repeat()

    def _repeat(self) -> None:
        if self._link is not None and self._report is not None:
            told = self._tale(self._report) if self._tale is not None else self._report
            self._link.report(replace(told, pauses=self._pauses))

    async def locate(self, url: str) -> RouterAddress:
        return await self._links.locate(url)

    async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = unable) -> "OwnedLink":
        self._link = await self._links.dial(address, hello, relay, obey)
        return OwnedLink(self._link, self)


class OwnedLink:
    """The agent's link, with an owner in between."""

    def __init__(self, link: AgentLink, owner: Owner) -> None:
        self._link = link
        self.report = owner.report

    @property
    def welcome(self) -> Welcome:
        return self._link.welcome

    @property
    def peer(self) -> str:
        return self._link.peer

    def drain(self) -> None:
        self._link.drain()

    async def wait_closed(self) -> str:
        return await self._link.wait_closed()

    async def close(self, goodbye: Goodbye, grace: Seconds) -> None:
        await self._link.close(goodbye, grace)
