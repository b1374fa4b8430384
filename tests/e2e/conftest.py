from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.house import House, running_house


@pytest_asyncio.fixture(name="house", scope="session", loop_scope="session")
async def one_house_for_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One house for all tests that leave it as they found it: its three processes take seconds to start."""
    async with running_house(tmp_path_factory.mktemp("house")) as house:
        yield house
