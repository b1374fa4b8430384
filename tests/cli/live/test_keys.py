"""Which keys are made of which bytes, however those come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.cli.live.keys import KeyDecoder, console_key

NAMED = {
    "up", "down", "left", "right", "enter", "esc", "backspace", "tab", "shift-tab", "page-up", "page-down", "home",
    "end", "ctrl-l",
}  # fmt: skip

BYTES: dict[bytes, list[str]] = {
    b"q": ["q"],
    b" ": [" "],
    b"Qq?/": ["Q", "q", "?", "/"],
    "é€中😀".encode(): ["é", "€", "中", "😀"],
    b"\r": ["enter"],
    b"\n": ["enter"],
    b"\t": ["tab"],
    b"\x7f": ["backspace"],
    b"\x08": ["backspace"],
    b"\x0c": ["ctrl-l"],
    b"\x1b[A\x1b[B\x1b[C\x1b[D": ["up", "down", "right", "left"],
    b"\x1bOA\x1bOB\x1bOC\x1bOD": ["up", "down", "right", "left"],  # where "application cursor keys" are on
    b"\x1b[H\x1b[F\x1bOH\x1bOF": ["home", "end", "home", "end"],
    b"\x1b[1~\x1b[4~\x1b[7~\x1b[8~": ["home", "end", "home", "end"],
    b"\x1b[5~\x1b[6~": ["page-up", "page-down"],
    b"\x1b[1;5A\x1b[5;2~": ["up", "page-up"],  # with Ctrl, with Shift
    b"\x1b[Z": ["shift-tab"],
    b"\x1bOM": ["enter"],  # of the keypad
    b"\x1b\x1b[A": ["esc", "up"],
    b"\x1bj": ["esc", "j"],  # over a slow line
    b"\x1b\r": ["esc", "enter"],
    # No keys, or none that is named.
    b"\x00\x01\x04\x1c\x1f": [],
    b"\x1b[3~\x1b[2~\x1b[15~\x1bOP\x1b[[A": [],  # delete, insert, F5, F1, and F1 of the Linux console
    b"\x1b[?62;22c\x1b[24;80R": [],  # answers of terminals
    b"\x1b]11;rgb:0000/0000/0000\x07\x1b]11;rgb:ffff\x1b\\\x1bP1$r0m\x1b\\": [],
    b"\x1b[12\x18\x1b[1\x1a": [],  # broken off
    b"\xff\xfe\x80\xc0": [],
    "\u200b\u2028\u0085".encode(): [],  # not printable
    # What is broken off by something else does not take that with it.
    b"\x1b[1\x1b[B": ["down"],
    b"\x1b[1\r": ["enter"],
    b"\xe2\x82q": ["q"],
    b"\xe2\x82\x1b[A": ["up"],
    b"\x1b[" + b"1;" * 500 + b"A": ["up"],
}


@pytest.mark.parametrize("data", BYTES)
def test_keys_are_the_same_whole_and_byte_by_byte_and_with_more_behind(data: bytes) -> None:
    keys = BYTES[data]
    assert KeyDecoder().feed(data) == keys
    decoder = KeyDecoder()
    assert [key for byte in data for key in decoder.feed(bytes((byte,)))] == keys
    assert not decoder.pending
    assert KeyDecoder().feed(data + b"z") == [*keys, "z"]


def test_an_escape_that_stays_alone_is_the_key() -> None:
    decoder = KeyDecoder()
    assert (decoder.feed(b"\x1b"), decoder.pending) == ([], True)
    assert (decoder.alone(), decoder.pending) == (["esc"], False)
    assert decoder.feed(b"[A") == ["[", "A"]
    assert decoder.feed(b"\x1b\x1b") == ["esc"]
    assert decoder.alone() == ["esc"]


@pytest.mark.parametrize("begun", [b"\x1b[", b"\x1b[1;", b"\x1bO", b"\x1b]0;title", b"\x1b[["])
def test_what_has_begun_and_does_not_go_on_is_given_up(begun: bytes) -> None:
    decoder = KeyDecoder()
    assert decoder.feed(begun) == []
    assert decoder.pending
    assert decoder.alone() == []
    assert decoder.feed(b"q") == ["q"]


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_whatever_comes_there_are_only_keys(pieces: list[bytes]) -> None:
    decoder, whole = KeyDecoder(), KeyDecoder()
    keys = [key for piece in pieces for key in decoder.feed(piece)]
    assert keys == whole.feed(b"".join(pieces))
    assert all(key in NAMED or (len(key) == 1 and key.isprintable()) for key in keys)
    assert set(decoder.alone()) <= {"esc"}


def test_what_never_ends_is_not_kept() -> None:
    decoder = KeyDecoder()
    decoder.feed(b"\x1b[" + b"0" * 100_000)
    assert len(decoder._parameters) < 100
    decoder.feed(b"m\x1b]" + b"0" * 100_000)
    assert decoder.alone() == []


@pytest.mark.parametrize(
    ("characters", "key"),
    [
        ("q", "q"),
        ("ß", "ß"),
        ("\r", "enter"),
        ("\x08", "backspace"),
        ("\x1b", "esc"),
        ("\x0c", "ctrl-l"),
        ("\xe0H", "up"),
        ("\x00P", "down"),
        ("\xe0I", "page-up"),
        ("\xe0\x86", None),  # F12
        ("\x01", None),
    ],
)
def test_keys_of_a_windows_console(characters: str, key: str | None) -> None:
    assert console_key(*characters) == key
