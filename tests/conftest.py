import gc

import pytest
from hypothesis import HealthCheck, settings

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
