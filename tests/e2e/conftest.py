import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.battered import all_given_back, battered_house
from tests.e2e.house import House, running_house


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def house_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One house for all tests of a file that leave it as they found it: its three processes take seconds to start.

    Files whose tests do not even ask what was before them share one: `one_house`, and `every_kind`.
    """
    async with running_house(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest_asyncio.fixture(name="large_house", scope="module", loop_scope="module")
async def large_house_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with battered_house(tmp_path_factory.mktemp("large")) as house:
        yield house


@pytest_asyncio.fixture(name="battered", loop_scope="module")
async def house_that_is_whole_again_afterwards(large_house: House) -> AsyncIterator[House]:
    """A house with 25 slots on each machine. Whatever a test did to it: afterwards no lease is missing."""
    yield large_house
    for program in (large_house.router, *large_house.agents.values()):
        if program.running:
            program.tell(signal.SIGCONT)  # a test that failed may have left it frozen
    for server in large_house.servers.values():
        server.gate.set()
    await large_house.settled()
    await all_given_back(large_house)
