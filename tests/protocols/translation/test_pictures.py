"""A picture out of a server's JSON, however that is cut."""

import base64
import os
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import RequestError, StreamFailed
from herd.protocols.translation.pictures import MAX_PICTURE, MAX_REST, Figures, PictureReader
from herd.types import KiB, MiB
from tests.protocols.translation.pictures_made import JPEG, WEBP, png

PICTURE = png(640, 480, noise=bytes(range(256)))
TEXT = base64.b64encode(PICTURE)
OPENAI = b'{"created":1,"data":[{"b64_json":"%s","revised_prompt":"a \\"b64_json\\":\\"x\\" cat"}]}' % TEXT
OLLAMA = (
    b'{"model":"m","response":"","done":false,"completed":1,"total":9}\n'
    b'{"model":"m","response":"","done":true,"total_duration":5000000000,"load_duration":1000000000,"image":"%s"}\n'
) % TEXT


def read(key: str, *pieces: bytes) -> tuple[bytes, PictureReader, Figures]:
    reader = PictureReader(key, lines=key == "image")
    picture = b"".join([reader.feed(piece) for piece in pieces])
    return picture, reader, reader.end()


@pytest.mark.parametrize(("key", "answer"), [("b64_json", OPENAI), ("image", OLLAMA)])
def test_a_picture_is_found_whole_or_byte_by_byte(key: str, answer: bytes) -> None:
    for pieces in ((answer,), tuple(answer[i : i + 1] for i in range(len(answer)))):
        picture, reader, _ = read(key, *pieces)
        assert picture == PICTURE
        assert (reader.content_type, reader.width, reader.height) == ("image/png", 640, 480)


@given(st.data())
def test_it_may_be_cut_anywhere_and_escaped_in_any_way(data: st.DataObject) -> None:
    letters = TEXT.decode()
    escapes = {"/": ["/", "\\/", "\\u002f"], "+": ["+", "\\u002B"], "=": ["=", "\\u003d"]}
    wild = data.draw(st.booleans())
    if wild:
        letters = "".join(data.draw(st.sampled_from(escapes[each])) if each in escapes else each for each in letters)
    if data.draw(st.booleans()):
        letters = "data:image/png;base64," + letters
    if data.draw(st.booleans()):
        letters = letters[:76] + "\\r\\n" + letters[76:]
    space = data.draw(st.sampled_from(["", " ", "\n  "]))
    answer = f'{{{space}"data":{space}[{{"url":null,{space}"b64_json"{space}:{space}"{letters}"}}]}}'.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert read("b64_json", *pieces)[0] == PICTURE


def test_the_figures_are_ollamas_or_those_of_the_agents_own_tools() -> None:
    assert read("image", OLLAMA)[2] == Figures(steps=9, load_s=1.0, decode_s=4.0)  # type: ignore[arg-type]
    own = {"load_s": 12.5, "work_s": 18, "kilopixel_steps": 4194, "width": 1024, "height": 1024, "steps": 4}
    answer = orjson.dumps({"data": [{"b64_json": TEXT.decode()}], "herd": own})
    assert read("b64_json", answer)[2] == Figures(4194, 4, 12.5, 18.0)  # type: ignore[arg-type]
    odd = orjson.dumps({"data": [{"b64_json": TEXT.decode()}], "herd": {"load_s": -1, "work_s": "a", "steps": None}})
    assert read("b64_json", odd)[2] == Figures()


@pytest.mark.parametrize(("picture", "kind"), [(JPEG, "image/jpeg"), (WEBP, "image/webp")])
def test_what_kind_of_picture_it_is_is_seen_in_its_bytes(picture: bytes, kind: str) -> None:
    answer = orjson.dumps({"data": [{"b64_json": base64.b64encode(picture).decode()}]})
    assert read("b64_json", answer)[0] == picture
    assert read("b64_json", answer)[1].content_type == kind


def test_of_several_pictures_the_first_one_counts_and_an_empty_string_is_none() -> None:
    both = [{"b64_json": ""}, {"b64_json": TEXT.decode()}, {"b64_json": base64.b64encode(JPEG).decode()}]
    assert read("b64_json", orjson.dumps({"data": both}))[0] == PICTURE


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"data": []}, StreamFailed),
        ({"data": [{"b64_json": None}]}, StreamFailed),
        ({"data": [{"b64_json": "!!!!"}]}, StreamFailed),
        ({"data": [{"b64_json": "a"}]}, StreamFailed),
        ({"data": [{"b64_json": base64.b64encode(b"no picture, but words of some length").decode()}]}, StreamFailed),
        ({"error": "out of memory"}, RequestError),
        ({"error": {"message": "out of memory"}}, RequestError),
        ({"data": [{"url": "http://127.0.0.1/a.png"}]}, RequestError),
        ([], StreamFailed),
    ],
)
def test_an_answer_without_a_picture_is_a_failure_and_says_why(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read("b64_json", orjson.dumps(answer))


@pytest.mark.parametrize("length", [1, len(OPENAI) // 2, len(OPENAI) - 1])
def test_an_answer_that_ends_early_is_a_failure(length: int) -> None:
    with pytest.raises(StreamFailed):
        read("b64_json", OPENAI[:length])


def test_the_json_around_a_picture_has_a_bound_and_so_has_the_picture() -> None:
    with pytest.raises(StreamFailed, match="beside its picture"):
        read("b64_json", b'{"a":"' + b"a" * MAX_REST + b'"}')
    reader = PictureReader("b64_json", lines=False)
    reader.feed(b'{"b64_json":"' + TEXT[:60])
    letters = base64.b64encode(bytes(3 * KiB)) * 1024
    for _ in range(MAX_PICTURE // (3 * MiB)):
        reader.feed(letters)
    with pytest.raises(StreamFailed, match="longer than 64 MiB"):
        reader.feed(letters)


def test_what_is_held_of_a_long_picture_is_a_piece() -> None:
    piece = base64.b64encode(os.urandom(48 * KiB))
    reader = PictureReader("b64_json", lines=False)
    reader.feed(b'{"b64_json":"' + TEXT[:60])
    tracemalloc.start()
    try:
        size = sum(len(reader.feed(piece)) for _ in range(300))
        assert size > 14 * MiB
        assert tracemalloc.get_traced_memory()[1] < MiB
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300), st.booleans(), st.sampled_from([b"", b'{"image":"', b'{"b64_json":"iVBOR']))
def test_any_bytes_give_a_picture_or_a_failure(data: bytes, lines: bool, before: bytes) -> None:
    reader = PictureReader("image" if lines else "b64_json", lines=lines)
    try:
        reader.feed(before + data)
        reader.end()
    except (StreamFailed, RequestError):
        return
    assert reader.content_type.startswith("image/")
