"""How much work an image or a recording is, as its request says it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.media import WAV_HEAD, generated, heard, painted, recorded
from herd.types import GiB
from tests.protocols.forms import wav


@pytest.mark.parametrize(
    ("fields", "amount"),
    [
        ({"width": 1024, "height": 1024, "steps": 4}, 4195),  # rounded up
        ({"width": 512, "steps": 1}, 525),  # the other side is 1024
        ({"height": 512, "steps": 1}, 525),
        ({"width": 512, "height": 512}, None),
        ({"steps": 4}, None),
        ({}, None),
    ],
)
def test_an_image_is_its_thousands_of_pixels_times_its_steps(fields: dict[str, Any], amount: int | None) -> None:
    assert generated(fields) == amount


@pytest.mark.parametrize(
    ("fields", "amount"),
    [
        ({"size": "512x256", "steps": 10, "n": 3}, 3933),
        ({"size": "512x256", "steps": "10", "n": "3"}, 3933),  # as in forms
        ({"size": "512x256", "steps": 10}, 1311),
        ({"size": "auto", "steps": 10}, None),
        ({"size": "512x256"}, None),
        ({"size": "512x256", "steps": 10, "n": "many"}, None),
        ({"size": "0x256", "steps": 10}, None),
        ({"size": "99999x256", "steps": 10}, None),  # nobody makes that
        ({"size": "512x256", "steps": 1001}, None),
        ({"size": "512x256", "steps": 10, "n": 11}, None),
        ({"size": "1\u0660x256", "steps": 10}, None),
        ({"steps": 10}, None),
    ],
)
def test_so_it_is_in_openais_form(fields: dict[str, Any], amount: int | None) -> None:
    assert painted(fields) == amount


@pytest.mark.parametrize(
    ("file", "frames"),
    [
        (wav(1.5), 150),
        (wav(0.001), 1),
        (wav(2, rate=44_100), 200),
        (wav(2, before=b"LIST\5\0\0\0INFO!\0"), 200),  # an odd chunk is filled up
        (wav(2, length=0), 200),  # written as it was recorded
        (wav(2, length=2**32 - 1), 200),
        (wav(2).replace(b"RIFF", b"RF64"), 200),
        (wav(2)[: 44 + 32_000], 100),  # the rest of it is missing
    ],
)
def test_a_wav_file_says_how_long_it_plays(file: bytes, frames: int) -> None:
    assert heard(file[:WAV_HEAD], len(file)) == frames


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"ID3\4",
        b"RIFF",
        wav(1)[:20],
        wav(1).replace(b"WAVE", b"AVI "),
        wav(1, rate=0),
        wav(1, rate=400),  # it would play for days
        wav(1e-5, rate=2**30),
        b"RIFF\0\0\0\0WAVEdata\0",
    ],
)
def test_other_files_do_not(start: bytes) -> None:
    assert heard(start[:WAV_HEAD], GiB) is None


@given(st.binary(max_size=60), st.integers(0, 4 * GiB))
def test_no_head_is_too_odd(rest: bytes, size: int) -> None:
    frames = heard(b"RIFF\0\0\0\0WAVE" + rest, size)
    assert frames is None or 0 <= frames <= size / 10 + 1


def test_of_other_files_the_size_suggests_it() -> None:
    assert [recorded(size) for size in (0, 1, 16_000, 160_000)] == [0, 1, 100, 1000]
