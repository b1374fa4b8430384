"""What Pykka promises of every kind of actor holds for ours: Pykka's own tests run on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.suite import FETCH_SECONDS, SUITE_SECONDS, NoSuiteError, fetch, run, unpack
from tests.conftest import PYKKA_TESTS_PASSED


@pytest.fixture(name="suite")
def pykkas_own_tests(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    cache = getattr(request.config, "cache", None)  # there is none with -p no:cacheprovider
    try:
        archive = fetch(tmp_path if cache is None else cache.mkdir("pykka"))
    except NoSuiteError as missing:
        pytest.skip(str(missing))
    return unpack(archive, tmp_path)


@pytest.mark.timeout(FETCH_SECONDS + SUITE_SECONDS + 30)  # they end what hangs themselves, and say more about it
def test_pykkas_own_tests_pass_on_our_actors(suite: Path, record_property: Callable[[str, object], None]) -> None:
    outcome = run(suite)

    if not outcome.good:
        pytest.fail(f"{outcome.output}\n{outcome.ending}, {outcome.passed} tests passed", pytrace=False)
    record_property(PYKKA_TESTS_PASSED, outcome.passed)
