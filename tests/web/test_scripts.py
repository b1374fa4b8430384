"""The page's scripts without a browser: under node's own test runner, and held against what the router says."""

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from herd.protocols import stories
from herd.protocols.web_page import FILES
from herd.types import NodeState, Outcome

HERE = Path(__file__).parent
NODE = shutil.which("node")
# From these on it sees by itself that a file is a module, and has the clock that the tests set.
MODULES_SINCE = ((20, 19), (22, 7))
PATIENCE_S = 50.0
SCRIPTS = [file for file in FILES.values() if file.endswith(".js")]
WORDS = files("herd").joinpath("web", "words.js").read_text(encoding="utf-8")


def missing() -> str:
    """Why nothing can be run; empty where it can."""
    if NODE is None:
        return "not installed: node"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = (int(part) for part in version.lstrip("v").split(".")[:2])
    (old, old_minor), (new, new_minor) = MODULES_SINCE
    fits = (major == old and minor >= old_minor) or (major, minor) >= (new, new_minor)
    return "" if fits else f"too old: node {version.strip()}"


needs_node = pytest.mark.skipif(bool(missing()), reason=missing())


@needs_node
@pytest.mark.parametrize("name", ["live", "words"])
def test_under_nodes_test_runner(name: str) -> None:
    words = [NODE or "", "--test", str(HERE / f"{name}.test.mjs")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
@pytest.mark.parametrize("file", SCRIPTS)
def test_a_script_can_be_read(file: str) -> None:
    script = files("herd").joinpath("web", file).read_text(encoding="utf-8")
    words = [NODE or "", "--input-type=module", "--check"]
    done = subprocess.run(words, input=script, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr


def names_in(table: str) -> set[str]:
    """The names of a table of the script."""
    body = re.search(rf"const {table} = \{{(.*?)\n?\}};", WORDS, flags=re.DOTALL)
    assert body is not None
    return set(re.findall(r"""(?:^|[\s,])"?([a-z_-]+)"?: (?=["(])""", body[1]))


def test_the_scripts_have_words_for_all_that_the_router_tells() -> None:
    assert names_in("STATES") == set(NodeState)
    assert names_in("OUTCOMES") == set(Outcome)
    kinds = {event.__annotations__["kind"].__args__[0] for event in stories.Event.__args__}
    assert names_in("EVENTS") | {"placed"} == kinds


@pytest.mark.parametrize("file", [file for file in FILES.values() if not file.endswith(".html")])
def test_a_script_stays_readable(file: str) -> None:
    lines = files("herd").joinpath("web", file).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400
    assert max(map(len, lines)) <= 120
