from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.house import House, running_house


@pytest_asyncio.fixture(name="house", scope="package", loop_scope="package")
async def house_of_these_files(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One house for all files beside this one: three processes cost three seconds of a processor.

    They are one unit of work for pytest-xdist (tests/conftest.py): where other tests came between them, the loop would
    stand still, and with it the model servers that the agents ask.
    """
    async with running_house(tmp_path_factory.mktemp("house")) as house:
        yield house
