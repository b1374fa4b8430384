"""A picture that is to be changed: the form of OpenAI's clients as the JSON that Ollama takes."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import BodyTooLarge, RequestError
from herd.protocols.translation.edits import MAX_FIELD, MAX_IMAGE, EditForm
from herd.types import MiB
from tests.protocols.translation.pictures_made import JPEG, WEBP, png


def part(name: str, content: bytes, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


END = b"--b--\r\n"
PICTURE = part("image", png(), "a.png")
WORDS = part("model", b"m") + part("prompt", b"at night")


def read(*pieces: bytes) -> dict[str, object]:
    form = EditForm(b"b")
    for piece in pieces:
        form.feed(piece)
    body: dict[str, object] = orjson.loads(form.body())
    return body


@given(st.lists(st.integers(0, 2000), max_size=6))
def test_a_form_may_be_cut_anywhere(places: list[int]) -> None:
    whole = WORDS + part("size", b"64x32") + part("n", b"1") + part("seed", b"-7") + part("user", b"x") + PICTURE + END
    cuts = sorted(min(place, len(whole)) for place in places)
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    image = "data:image/png;base64," + base64.b64encode(png()).decode()
    said = {"model": "m", "prompt": "at night", "size": "64x32", "n": 1, "seed": -7, "image": image}
    assert read(*pieces) == said


@pytest.mark.parametrize(("picture", "kind"), [(png(), "png"), (JPEG, "jpeg"), (WEBP, "webp")])
def test_the_kind_of_the_picture_is_told(picture: bytes, kind: str) -> None:
    image = read(WORDS, part("image[]", picture, "a"), END)["image"]
    assert str(image).startswith(f"data:image/{kind};base64,")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (WORDS + END, "image is required"),
        (WORDS + part("image", b"", "a.png") + END, "image is required"),
        (WORDS + part("image", b"GIF89a", "a.gif") + END, "takes PNG, JPEG and WebP"),
        (PICTURE + PICTURE + END, "one picture at a time"),
        (PICTURE + part("mask", png(), "m.png") + END, "knows no mask"),
        (PICTURE + part("n", b"two") + END, "n must be a whole number"),
        (PICTURE, "the form is not whole"),
        (b"{}", "the form is empty"),
    ],
)
def test_what_ollama_cannot_do_is_refused(form: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read(form)


def test_pictures_and_fields_have_bounds() -> None:
    form = EditForm(b"b")
    form.feed(part("image", b"", "a.png")[:-2])
    for _ in range(MAX_IMAGE // MiB):
        form.feed(bytes(MiB))
    with pytest.raises(BodyTooLarge):
        form.feed(bytes(MiB))
    with pytest.raises(BodyTooLarge):
        read(part("prompt", bytes(MAX_FIELD + 1)), END)
