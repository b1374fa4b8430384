import gc
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# How long a busy machine takes to make up an example says nothing of the code.
settings.register_profile("herd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("herd")

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


class Units(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """What one worker of pytest-xdist does in one go: the tests of a file, or of a directory whose files share a house.

    So whatever is made once for a file is made once.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(super()._split_scope(nodeid))
        return str(file.parent if file.parent.name == "one_house" else file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Units:
    """Cut the work into units, whatever `--dist` says."""
    return Units(config, log)
