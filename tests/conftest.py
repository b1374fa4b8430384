import gc
from collections import deque
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# How long a busy machine takes to make up an example says nothing of the code.
settings.register_profile("herd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("herd")

# Directories whose files share a house: its processes take seconds to start.
SHARED_HOUSES = {"one_house", "every_kind", "clients"}

PYKKA_TESTS_PASSED = "pykka_tests_passed"  # a property of the test that runs them, see tests/conformance


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many of Pykka's own tests stand behind one of ours.

    Here, for pytest-xdist's controller, which prints the summary, knows of tests by their reports alone, and loads no
    conftest of a directory further down.
    """
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == PYKKA_TESTS_PASSED:
                terminalreporter.write_line(f"{value} Pykka runtime tests passed")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all that stays for the whole session again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers of pytest-xdist take units in turn, take one with few tests, one with many, and so on.

    What has few tests takes long for each, and mostly waits: begun last, it would have the processor to itself, and
    beside what computes it costs little.
    """
    if not hasattr(config, "workerinput"):
        return
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit_of(item.nodeid), []).append(item)
    waiting = deque(sorted(units.values(), key=len))  # the same in every worker, as it must be
    items.clear()
    while waiting:
        items += waiting.popleft()
        if waiting:
            items += waiting.pop()


def unit_of(nodeid: str) -> str:
    """What a test is done with in one go: its file, or its directory where the files of one share a house.

    So whatever is made once for a file is made once.
    """
    file = PurePosixPath(nodeid.partition("::")[0])
    return str(file.parent if file.parent.name in SHARED_HOUSES else file)


class Units(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Units of work for pytest-xdist, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Units:
    """Cut the work into units, whatever `--dist` says."""
    return Units(config, log)
