"""The official JavaScript clients: their tests are in `js`, and run under node's own test runner."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.house import Home

HERE = Path(__file__).parent / "js"
NODE = shutil.which("node")
MISSING = "node" if NODE is None else "" if (HERE / "node_modules").is_dir() else "packages: npm ci in tests/clients/js"

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
    pytest.mark.parametrize("client", ["openai", "ollama"]),
]

PATIENCE_S = 50.0


def command(home: Home, *words: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a script."""
    told = {
        "HERD_URL": home.url,
        "HERD_CHAT": home.chat,
        "HERD_VECTORS": home.vectors,
        "HERD_DIMENSIONS": str(home.dimensions),
        "HERD_SIMULATED": str(int(home.simulated)),
    }
    return [NODE or "", *words], os.environ | told


def test_the_client_gets_what_it_asks_for(home: Home, client: str) -> None:
    words, variables = command(home, "--test", f"{client}.test.js")
    done = subprocess.run(
        words, cwd=HERE, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_client_that_hangs_up_frees_the_model(home: Home, client: str) -> None:
    words, variables = command(home, f"{client}.hang-up.js")
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=HERE, env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            with home.abandoned():
                assert process.stdout is not None
                assert process.stdout.readline() == "left\n"
        finally:
            process.kill()
