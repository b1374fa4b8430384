import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from herd.net.server_processes import PsutilServerProcesses

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a process that listens with OLLAMA_NUM_PARALLEL=4 in its environment."""
    environment = {**os.environ, "OLLAMA_NUM_PARALLEL": "4"}
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
        child.communicate(timeout=10)


async def test_a_variable_of_the_listening_process_is_read(server: str) -> None:
    processes = PsutilServerProcesses()

    assert await processes.variable(server, "OLLAMA_NUM_PARALLEL") == "4"
    assert await processes.variable(server, "OLLAMA_NO_SUCH_THING") is None


@pytest.mark.parametrize("url", ["http://192.0.2.1:11434", "http://example.org:11434", "http://127.0.0.1:1"])
async def test_a_server_elsewhere_or_nowhere_says_nothing(url: str) -> None:
    assert await PsutilServerProcesses().variable(url, "PATH") is None
