"""The Discovery: makes the router known on the local network, and keeps that true."""

import logging

from herd.actors.ports import Advertiser
from herd.protocols.discovery import RouterAddress
from herd.runtime import context

logger = logging.getLogger(__name__)

# No system that Herd runs on tells of a changed address in the same way; agents look for a lost router within seconds.
REFRESH_S = 5.0


class Discovery:
    """Owns the mDNS advertisement.

    Args:
        advertiser: announces.
        address: what to announce; the hosts are found by the advertiser.
    """

    def __init__(self, advertiser: Advertiser, address: RouterAddress) -> None:
        self._advertiser = advertiser
        self._address = address
        self._busy = False

    async def on_start(self) -> None:
        """Announce, and look for changed addresses from then on."""
        await self._advertiser.start(self._address)
        context(self).every(REFRESH_S, self.refresh)

    async def on_stop(self) -> None:
        """Say goodbye, so that agents do not dial a router that is gone."""
        await self._advertiser.stop()

    async def on_failure(self, *_crash: object) -> None:
        """Let go of the network, which the next incarnation may find in order again."""
        await self._advertiser.stop()

    async def refresh(self) -> None:
        """Announce anew if this machine's addresses have changed; one look at a time."""
        if self._busy:
            return
        self._busy = True
        try:
            if await self._advertiser.refresh():
                logger.info("this machine's addresses have changed; announced anew")
        finally:
            self._busy = False
