"""The small model in llama.cpp servers that can what the embedded one cannot: call tools, or make vectors of texts.

    python -m tests.clients.llama_cpp tools|vectors --model FILE --alias NAME ...

takes the options of `herd.net.embedded_server`, and serves until its standard input closes.
"""

import argparse
import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.e2e.processes import PATIENCE_S, ROOT

TALKING = "smollm2:135m"
VECTORS = "smollm2-vectors:135m"
DIMENSIONS = 576  # the model's width


class Kind(StrEnum):
    """What a server is for."""

    TOOLS = "tools"
    VECTORS = "vectors"


# The model's own template has no place for tools. This is its form with that which Llama has for them: a bare object. A
# model so small never makes one by itself; with `tool_choice="required"` and a bias for `{` it can do nothing else.
TEMPLATE = r"""
{%- if tools %}
    {{- "<|im_start|>system\n# Tools\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nAnswer with {\"name\": a tool's name, \"parameters\": its arguments}.<|im_end|>\n" }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {{- "<|im_start|>user\n<tool_response>\n" + message.content + "\n</tool_response><|im_end|>\n" }}
    {%- else %}
        {{- "<|im_start|>" + message.role }}
        {%- if message.content %}
            {{- "\n" + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls or [] %}
            {%- set called = tool_call.function %}
            {{- '\n{"name": "' }}
            {{- called.name }}
            {{- '", "parameters": ' }}
            {{- called.arguments | tojson }}
            {{- "}" }}
        {%- endfor %}
        {{- "<|im_end|>\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\n" }}
{%- endif %}
"""


@asynccontextmanager
async def llama_cpp(kind: Kind, alias: str, model: Path) -> AsyncIterator[str]:
    """Serve a model file as `alias` while the block runs; the base URL."""
    options = {"model": model, "alias": alias, "context": 4096, "parallel": 2, "threads": 2, "port": 0}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.clients.llama_cpp", kind, *words),
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening "), f"llama.cpp did not start: {line!r}"
        yield line.split()[1]
    finally:
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


def main() -> None:
    """Serve until standard input ends."""
    import xllamacpp

    from herd.net import embedded_server

    kind = Kind(sys.argv.pop(1))
    plain = embedded_server._parameters

    def parameters(options: argparse.Namespace) -> Any:
        made = plain(options)
        if kind is Kind.VECTORS:
            made.embedding = True
            made.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        else:
            made.chat_template = TEMPLATE
        return made

    embedded_server._parameters = parameters
    embedded_server.main()


if __name__ == "__main__":
    main()
