"""Sinks for answers that go no straight way."""

import pytest

from herd.actors.passing import SettledSink
from herd.runtime.testing import virtual_time
from herd.simulation.http import RecordingSink

PULLING = b'{"status":"pulling manifest"}\n'
SUCCESS = b'{"status":"success"}'


@pytest.mark.parametrize(
    "pieces",
    [
        (PULLING, SUCCESS + b"\n"),
        (PULLING + SUCCESS, b"\n"),
        (PULLING, SUCCESS[:9], SUCCESS[9:] + b"\n"),
        (SUCCESS[:-1], b"}"),
        (PULLING + SUCCESS + b"\n\n",),
    ],
)
@virtual_time
async def test_a_success_is_whole_only_once_it_is_so_however_its_line_is_cut(pieces: tuple[bytes, ...]) -> None:
    sink = RecordingSink()
    told: list[bytes] = []

    async def settle() -> None:
        told.append(sink.body)

    settled = SettledSink(sink, settle)
    for piece in pieces:
        await settled.write(piece)
    (before,) = told
    assert SUCCESS not in before
    assert sink.body == b"".join(pieces)


@virtual_time
async def test_an_answer_without_a_success_waits_for_nothing() -> None:
    async def settle() -> None:
        raise AssertionError

    settled = SettledSink(RecordingSink(), settle)
    for piece in (PULLING, b'{"error":"no \\"success\\""}\n', b'{"status":"successful"}\n', b"x" * 100_000):
        await settled.write(piece)
