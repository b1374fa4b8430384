"""Every example of docs/multimodal.md runs as it stands there, and what comes back is what was asked for."""

import asyncio
import base64
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from herd.types import Api
from tests.e2e.house import House
from tests.e2e.media_servers import FORMS_ARE_READ, PNG, picture, sound
from tests.e2e.processes import PATIENCE_S, ROOT, environment

pytestmark = [pytest.mark.asyncio(loop_scope="package"), FORMS_ARE_READ]

TEXT = (ROOT / "docs" / "multimodal.md").read_text(encoding="utf-8")
# Where a reader's router is.
USUAL = "http://localhost:11435"

EXAMPLES = dict(re.findall(r"^### POST (/\S+)$(?:\n(?!#|```).*)*\n```bash\n((?:(?!```).*\n)*)```$", TEXT, re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Came:
    """What an example leaves: its standard output, and files in its directory."""

    out: bytes
    home: Path

    def json(self) -> dict[str, object]:
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def drawn(came: Came) -> tuple[int, int]:
    (one,) = json.loads(came.out)["data"]
    return size_of(base64.b64decode(one["b64_json"]))


CHECKS: dict[Api, Callable[[Came], bool]] = {
    Api.GENERATE_IMAGE: lambda came: size_of((came.home / "lighthouse.png").read_bytes()) == (512, 256),
    Api.IMAGES: lambda came: drawn(came) == (512, 256),
    Api.IMAGE_EDITS: lambda came: drawn(came) == (64, 48),
    Api.TRANSCRIBE: lambda came: came.json()["text"] == "2.0 seconds of sound",
    Api.TRANSCRIPTIONS: lambda came: came.out.startswith(b"1\n00:00:00,000 --> 00:00:02,000\n2.0 seconds of sound"),
    Api.OLLAMA_EMBED: lambda came: [len(one) for one in json.loads(came.out)["embeddings"]] == [768, 768],
    Api.OLLAMA_EMBEDDINGS: lambda came: len(json.loads(came.out)["embedding"]) == 768,
    Api.EMBEDDINGS: lambda came: [one["index"] for one in json.loads(came.out)["data"]] == [0, 1],
    Api.OLLAMA_CHAT: lambda came: bool(json.loads(came.out)["message"]["content"]),
    Api.CHAT: lambda came: bool(json.loads(came.out)["choices"][0]["message"]["content"]),
}


async def test_there_is_an_example_for_each_endpoint() -> None:
    assert set(EXAMPLES) == set(CHECKS)


@pytest.mark.parametrize("path", EXAMPLES)
async def test_the_example_does_what_it_says(house: House, path: Api, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(picture(64, 48))
    (tmp_path / "speech.wav").write_bytes(sound(2.0))
    assert USUAL in EXAMPLES[path]
    run = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-o", "pipefail", "-c", EXAMPLES[path].replace(USUAL, house.url)),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await run.communicate()
    assert run.returncode == 0, out
    assert CHECKS[path](Came(out, tmp_path)), out
