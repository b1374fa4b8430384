from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.e2e.kinds import KindsHouse, kinds_house


@pytest_asyncio.fixture(name="house", scope="package", loop_scope="package")
async def house_of_every_kind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KindsHouse]:
    """One house for all files beside this one, as in `one_house`."""
    async with kinds_house(tmp_path_factory.mktemp("kinds")) as house:
        yield house


@pytest.fixture(autouse=True)
def servers_are_as_they_were(house: KindsHouse) -> Iterator[None]:
    """Whatever a test has told them to do."""
    yield
    for server in (house.listener, house.other_listener, house.painter):
        server.behave()
