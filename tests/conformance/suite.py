"""Pykka's own tests: fetched, told of our runtime, and run in a pytest of their own.

They cannot run in ours: their package is called `tests`, as ours is.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

import herd

# Some 2 s on a good line: the archive, and what pip needs to look into it.
FETCH_SECONDS = 60.0

# No test of the suite waits for longer than twice 5 s for anything but the end of an actor.
TEST_SECONDS = 20.0

# All of them take 1 s. The rest is for a busy machine, and for a few hung tests: the report is to name them all.
SUITE_SECONDS = 120.0

_RUNTIME = Path(__file__).parent / "asyncio_runtime.py"
_FIXTURE = '@pytest.fixture(scope="session", params=RUNTIMES.values())\n'
_ADDITION = f"import {_RUNTIME.stem}\n\n{_RUNTIME.stem}.add(RUNTIMES, Runtime)\n\n\n"

# The stacks of all threads come before the end of a test that hangs: it may be the loop's thread that does.
_INI = f"""\
[pytest]
timeout = {TEST_SECONDS:g}
faulthandler_timeout = {TEST_SECONDS / 2:g}
"""


class NoSuiteError(Exception):
    """Pykka's tests cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    passed: int
    others: int  # failed, in error, or skipped
    ending: str  # of the process
    output: str

    @property
    def good(self) -> bool:
        return self.ending == "exit status 0" and self.passed > 0 and not self.others


def fetch(cache: Path) -> Path:
    """The source archive of the installed Pykka, in `cache` from then on.

    Raises:
        NoSuiteError: there is no pip, no network, or no such archive.
    """
    wanted = f"pykka-{version('pykka')}.tar.gz"
    kept = cache / wanted
    if kept.exists():
        return kept
    if importlib.util.find_spec("pip") is None:
        raise NoSuiteError("Pykka's tests are fetched with pip, which is not installed")
    # Inside the cache, so that a whole archive takes its place there in one step, and half an archive never does.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
        command += ["--retries", "1", "--timeout", "10", "--no-deps", "--no-binary", "pykka", "--dest", folder]
        command += [f"pykka=={version('pykka')}"]
        ending, output = _run(command, Path(folder), FETCH_SECONDS, {})
        fetched = Path(folder) / wanted
        if not fetched.exists():
            last = next(reversed(output.strip().splitlines()), "no output")
            raise NoSuiteError(f"Pykka's tests could not be fetched: pip download: {ending}: {last}")
        fetched.replace(kept)
    return kept


def unpack(archive: Path, folder: Path) -> Path:
    """Put the tests of the source archive into `folder`, with our runtime in their table, and say where they are."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if PurePosixPath(member.name).parts[1:2] == ("tests",)]
        tar.extractall(folder, members, filter="data")
    root = folder / archive.name.removesuffix(".tar.gz")
    conftest = root / "tests" / "conftest.py"
    before, fixture, after = conftest.read_text(encoding="utf-8").partition(_FIXTURE)
    if not fixture:
        raise AssertionError(f"{conftest} has no fixture {_FIXTURE!r} any more: where is a runtime to be added now?")
    conftest.write_text(before + _ADDITION + fixture + after, encoding="utf-8")
    return root


def run(root: Path, arguments: Sequence[str] = ()) -> Outcome:
    """Run the tests of the unpacked suite at `root` that our runtime is for.

    Args:
        root: see `unpack`.
        arguments: more of them for pytest.
    """
    (root / "pytest.ini").write_text(_INI, encoding="utf-8")
    results = root / "results.xml"
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--verbose", f"--junitxml={results}"]
    command += ["-p", _RUNTIME.stem, "-p", "pytest_mock", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    paths = [str(_RUNTIME.parent), str(Path(herd.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    extra = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those that happen to be installed have no say in Pykka's tests
    }
    ending, output = _run([*command, *arguments, "tests"], root, SUITE_SECONDS, extra)
    passed, others = _count(results)
    return Outcome(passed, others, ending, output)


def _run(command: Sequence[str], folder: Path, seconds: float, extra: dict[str, str]) -> tuple[str, str]:
    """Run `command` in `folder`, with `extra` in its environment; how it ended, and what it said."""
    # What is set there for the pytest that this runs in is not meant for another.
    ours = ("PYTEST", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | extra
    # Into a file, from which what was said can be read even when the process has to be killed.
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                command,
                check=False,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=seconds,
            )
            ending = f"exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            ending = f"killed after {seconds:g} s"
        said.seek(0)
        return ending, said.read().decode(errors="replace")


def _count(results: Path) -> tuple[int, int]:
    """How many tests passed, and how many did not."""
    if not results.exists():  # written at the end, to which it did not come
        return 0, 0
    suites = ET.parse(results).getroot().findall("testsuite")
    everything = sum(int(suite.attrib["tests"]) for suite in suites)
    others = sum(int(suite.attrib[kind]) for suite in suites for kind in ("failures", "errors", "skipped"))
    return everything - others, others
