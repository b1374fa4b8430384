"""The progress of a pull as state: whoever looks now and then sees the truth, in order, and its end."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.progress import MAX_LINE, MAX_PARTS, Progress, is_success


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


@st.composite
def pulls(draw: st.DrawFn) -> list[bytes]:
    """What a server says: some words, then parts that come on side by side, each further and further, then the end."""
    far = dict.fromkeys(draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True)), 0)
    said = [line(status="pulling manifest")]
    for part in draw(st.lists(st.sampled_from(sorted(far)), max_size=30)):
        far[part] += draw(st.integers(0, 5))
        said.append(line(status=f"pulling {part}", digest=f"sha256:{part}", total=1000, completed=far[part]))
    return [*said, draw(st.sampled_from([line(status="success"), line(error="the disk is full")]))]


@given(pulls(), st.data())
def test_whenever_somebody_looks_what_it_sees_is_in_order_and_ends_as_the_pull_does(
    said: list[bytes], data: st.DataObject
) -> None:
    progress, whole = Progress(), b"".join(said)
    told = dict.fromkeys(range(data.draw(st.integers(1, 4))), 0)
    seen: dict[int, list[bytes]] = {name: [] for name in told}

    def look(name: int) -> None:
        news, told[name] = progress.since(told[name])
        seen[name] += news

    while whole:
        cut = data.draw(st.integers(1, len(whole)))
        progress.feed(whole[:cut])
        whole = whole[cut:]
        for name in data.draw(st.lists(st.sampled_from(list(told)), max_size=4)):
            look(name)
    for name in told:
        look(name)
        remaining = iter(said)
        assert all(one in remaining for one in seen[name])  # the server's own lines, in its order
        assert seen[name][-1] == said[-1] == progress.last
        for part in "abcd":
            mine = [json.loads(one)["completed"] for one in seen[name] if b"sha256:" + part.encode() in one]
            all_of_it = [json.loads(one)["completed"] for one in said if b"sha256:" + part.encode() in one]
            assert mine == sorted(mine)
            assert mine[-1:] == all_of_it[-1:]


@given(pulls())
def test_who_looks_at_every_line_sees_every_line(said: list[bytes]) -> None:
    progress, told, seen = Progress(), 0, []
    for one in said:
        assert progress.feed(one)
        news, told = progress.since(told)
        seen += news
    assert seen == said


@given(st.lists(st.binary(max_size=200)))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    progress = Progress()
    for piece in pieces:
        progress.feed(piece)
    progress.end()
    assert all(one.endswith(b"\n") for one in progress.since(0)[0])


def test_what_is_kept_is_bounded() -> None:
    progress = Progress()
    for number in range(2 * MAX_PARTS):
        progress.feed(line(status=f"pulling {number}"))
    assert len(progress.since(0)[0]) == MAX_PARTS
    progress.feed(b"x" * (MAX_LINE + 1))
    assert "in no way that is known" in progress.error


def test_a_last_line_without_its_end_counts_if_it_is_whole() -> None:
    whole, broken = Progress(), Progress()
    whole.feed(b'{"status":"success"}')
    broken.feed(b'{"status":"succ')
    assert (whole.succeeded, whole.end(), whole.succeeded) == (False, True, True)
    assert (broken.end(), broken.succeeded) == (False, False)


@pytest.mark.parametrize(
    ("said", "success"),
    [
        (b'{"status":"success"}', True),
        (b'{ "status" : "success", "more": 1 }\n', True),
        (b'{"status":"pulling success"}', False),
        (b'{"error":"success"}', False),
        (b'"success"', False),
        (b"success", False),
    ],
)
def test_only_ollamas_own_last_line_is_success(said: bytes, success: bool) -> None:
    assert is_success(said) is success
