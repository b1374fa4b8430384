"""The official `openai` client for Python asks for pictures, for what was said, and for vectors."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.house import needs
from tests.e2e.kinds import CHATS, DRAWN, SEES, SPOKEN, KindsHouse, kinds_house
from tests.e2e.media_servers import FORMS_ARE_READ, PNG, picture, sound
from tests.e2e.processes import ROOT
from tests.loop_thread import Elsewhere, elsewhere

pytestmark = [*needs("openai"), FORMS_ARE_READ]

TEXT = (ROOT / "docs" / "multimodal.md").read_text(encoding="utf-8")
USUAL = "http://localhost:11435"


@pytest.fixture(name="house", scope="module")
def house_of_every_kind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere[KindsHouse]]:
    with elsewhere(kinds_house(tmp_path_factory.mktemp("kinds"))) as house:
        yield house


@pytest.fixture(name="client")
def client_of_the_house(house: Elsewhere[KindsHouse]) -> Iterator[Any]:
    from openai import OpenAI

    with OpenAI(base_url=f"{house.value.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_example_of_the_documents_runs(
    house: Elsewhere[KindsHouse],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert USUAL in code
    monkeypatch.chdir(tmp_path)
    Path("speech.wav").write_bytes(sound(3.0))
    names: dict[str, Any] = {}
    exec(code.replace(USUAL, house.value.url), names)
    names["client"].close()
    printed = capsys.readouterr().out.splitlines()
    length, heard, vectors = [line for line in printed if " | " not in line]  # the programs of the house print, too
    assert int(length) > len(PNG)
    assert (heard, vectors) == ("3.0 seconds of sound", "2")


def test_a_picture_is_edited(client: Any) -> None:
    before = ("photo.png", io.BytesIO(picture(32, 16)), "image/png")
    answer = client.images.edit(model=DRAWN, image=before, prompt="the same at night")
    assert base64.b64decode(answer.data[0].b64_json).startswith(PNG)


def test_the_segments_of_a_speech_are_told(client: Any) -> None:
    told = client.audio.transcriptions.create(
        model=SPOKEN, file=("speech.wav", sound(4.0)), response_format="verbose_json", language="en"
    )
    assert (told.duration, told.language, [one.end for one in told.segments]) == (4.0, "en", [4.0])


def test_a_subtitle_is_a_text(client: Any) -> None:
    told = client.audio.transcriptions.create(model=SPOKEN, file=("a.wav", sound(1.0)), response_format="srt")
    assert told.startswith("1\n00:00:00,000 --> 00:00:01,000\n")


def test_a_model_of_another_kind_is_refused_in_words_that_the_client_understands(client: Any) -> None:
    from openai import BadRequestError, NotFoundError

    with pytest.raises(BadRequestError, match=CHATS):
        client.images.generate(model=CHATS, prompt="a lighthouse")
    with pytest.raises(NotFoundError, match="nothing:1b"):
        client.images.generate(model="nothing:1b", prompt="a lighthouse")
    with pytest.raises(NotFoundError, match="nothing:1b"):
        client.audio.transcriptions.create(model="nothing:1b", file=("a.wav", sound(1.0)))


def test_each_model_says_what_it_can_do(client: Any) -> None:
    can = {model.id: model.capabilities for model in client.models.list()}
    assert can[SPOKEN] == ["audio"]
    assert can[DRAWN] == ["image"]
    assert "vision" in can[SEES]
