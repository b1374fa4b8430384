"""The Discovery: what it announces, and when it lets go of the network."""

import asyncio

from herd.actors.discovery import REFRESH_S, Discovery
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import PROTOCOL_VERSIONS
from herd.runtime import remote, stop
from herd.runtime.testing import virtual_time
from herd.types import RouterId
from tests.actors.doubles import FakeAdvertiser

ADDRESS = RouterAddress((), 11435, 11436, RouterId("r1"), PROTOCOL_VERSIONS)


@virtual_time
async def test_a_discovery_that_crashes_lets_go_of_the_network_and_announces_again() -> None:
    advertiser = FakeAdvertiser(failures=1)
    discovery = remote(Discovery).options(max_restarts=1).remote(advertiser, ADDRESS)
    await asyncio.sleep(2 * REFRESH_S + 1)
    assert advertiser.diary == ["announces", "says goodbye", "announces"]
    await stop(discovery)
    assert advertiser.diary[3:] == ["says goodbye"]
