"""Traces are read from both formats, bad ones are refused with their line, and the clock stretches to a rate."""

import errno
import io
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import ConfigError
from herd.simulation.workload.trace_files import LONGEST_LINE
from herd.simulation.workload.traces import TraceRow, read_azure, read_mooncake, read_trace, stretched
from herd.types import Seconds, Tokens

DATA = Path(__file__).parents[1] / "data"
HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:15:46.6805900,374,44\n"


def row(at: float, prompt: int = 10, completion: int = 5, *blocks: int) -> TraceRow:
    return TraceRow(Seconds(at), Tokens(prompt), Tokens(completion), blocks)


def lengths(rows: list[TraceRow]) -> list[tuple[int, int]]:
    return [(each.prompt, each.completion) for each in rows]


# --- Files ------------------------------------------------------------------------------------------------------------


def test_azures_rows_come_in_order_of_time_counted_from_the_first() -> None:
    rows = read_azure(DATA / "azure.csv")
    assert lengths(rows) == [(374, 44), (1059, 400), (396, 109), (879, 55), (4091, 0)]
    assert [each.at for each in rows] == pytest.approx([0.0, 1.31941, 4.314579, 4.541877, 4.541877], abs=1e-5)


def test_azures_columns_are_found_by_name_and_times_may_have_a_zone() -> None:
    assert lengths(rows := read_azure(DATA / "azure_zoned.csv")) == [(2162, 5), (2399, 15)]
    assert rows[1].at == pytest.approx(1.5)


def test_mooncakes_rows_have_blocks() -> None:
    assert read_mooncake(DATA / "mooncake.jsonl") == [
        row(0.0, 1100, 30, 0, 10, 11),
        row(0.0, 900, 0, 0, 20),
        row(3.0, 2000, 52, 0, 10, 11, 12),
        row(6.5, 12, 7),
    ]


@pytest.mark.parametrize(
    ("name", "read"), [("azure.csv", read_azure), ("azure_zoned.csv", read_azure), ("mooncake.jsonl", read_mooncake)]
)
def test_the_format_is_told_from_the_file(name: str, read: Callable[[Path], list[TraceRow]]) -> None:
    assert read_trace(DATA / name) == read(DATA / name)


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + GOOD).replace("\n", "\r\n").encode())
    assert lengths(read_trace(path)) == [(374, 44)]


def test_cells_may_be_quoted_the_names_of_columns_among_them(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text('"TIMESTAMP","ContextTokens","GeneratedTokens"\n"2023-11-16 18:15:46","374","100000000"\n')
    assert lengths(read_trace(path)) == [(374, 100_000_000)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["azure.csv", "mooncake.jsonl"])
def test_a_trace_may_come_through_a_pipe_which_says_everything_once(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes((DATA / name).read_bytes()))
    writer.start()
    rows = read_trace(pipe)
    writer.join()
    assert rows == read_trace(DATA / name)


def test_no_more_is_read_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(HEAD + GOOD * 3 + "and then nonsense that is never reached\n")
    assert len(read_trace(path, limit=3)) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no request"),
        ("\n\n", "holds no request"),
        ("\n\nnonsense\n", "line 3 has no column TIMESTAMP"),
        ("x" * 200_000, "line 1 has no column TIMESTAMP"),
        (HEAD, "holds no request"),
        ("TIMESTAMP,Tokens\n", "line 1 has no column ContextTokens"),
        (HEAD + GOOD + "\nyesterday,1,2\n", "line 4: 'yesterday' is no time"),
        (HEAD + "2023-11-16 18:15:46,1\n", "line 2 has fewer than 3 columns"),
        (HEAD + "2023-11-16 18:15:46,-1,2\n", "line 2: ContextTokens is '-1', not a number of tokens"),
        (HEAD + "2023-11-16 18:15:46,1,2.5\n", "line 2: GeneratedTokens is '2.5', not a number of tokens"),
        (HEAD + "2023-11-16 18:15:46,1,\u0663\n", "line 2: GeneratedTokens is '\u0663', not a number of tokens"),
        (HEAD + "2023-11-16 18:15:46,1,100000001\n", "line 2: GeneratedTokens is 100000001, not a number"),
        (HEAD + f"2023-11-16 18:15:46,1,{'9' * 5000}\n", "line 2: GeneratedTokens is '999"),
        (HEAD + "\udcff\x00,1,2\n", "line 2: "),
        ("{\n", "line 1 is no JSON"),
        ("{}\n", "line 1: timestamp is None, not a number of milliseconds"),
        ('{"timestamp": 0}\n[]\n', "line 1: input_length is None, not a number of tokens"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1}\n[]\n', "line 2: it is no JSON object"),
        ('{"timestamp": true}\n', "line 1: timestamp is True"),
        ('{"timestamp": "' + "x" * 5000 + '"}\n', "line 1: timestamp is 'xxx"),
        ('{"timestamp": 0, "input_length": 1, "output_length": true}\n', "line 1: output_length is True"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1000000000}\n', "line 1: output_length is 1000000000"),
        ('{"timestamp": 0, "hash_ids": 3}\n', "line 1: hash_ids is not a list of whole numbers"),
        ('{"timestamp": 0, "hash_ids": ["a"]}\n', "line 1: hash_ids is not a list of whole numbers"),
        ('{"timestamp": 0, "hash_ids": [true]}\n', "line 1: hash_ids is not a list of whole numbers"),
        ('{"timestamp": NaN}\n', "line 1 is no JSON"),
        ("[" * 100_000 + "\n", "line 1 has no column TIMESTAMP"),
        ('{"hash_ids": ' + "[" * 100_000 + "\n", "line 1 is no JSON"),
        ("x" * (LONGEST_LINE + 1), f"line 1 is longer than {LONGEST_LINE} letters"),
    ],
)
def test_a_bad_file_is_refused_with_the_line_and_what_is_wrong_there(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as refused:
        read_trace(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(tmp_path / name)


def test_a_disk_that_fails_under_a_trace_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: int) -> str:
        raise OSError(errno.EIO, "Input/output error")

    file = io.StringIO()
    monkeypatch.setattr(file, "readline", broken)
    monkeypatch.setattr(Path, "open", lambda *_, **__: file)
    with pytest.raises(ConfigError, match="trace cannot be read: Input/output error; name a trace's file"):
        read_trace(tmp_path / "trace")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's time zone is not its environment's")
def test_a_time_without_a_zone_is_utc_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace"
    path.write_text(HEAD + "2023-11-16 18:00:00,1,1\n2023-11-16 18:00:05+00:00,2,1\n")
    try:
        monkeypatch.setenv("TZ", "EST5")
        time.tzset()
        assert [each.at for each in read_trace(path)] == [0.0, 5.0]
    finally:
        monkeypatch.undo()
        time.tzset()


@given(data=st.binary(max_size=400))
def test_any_bytes_are_a_trace_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for start in (b"", HEAD.encode(), b"{"):
        path.write_bytes(start + data)
        with suppress(ConfigError):
            assert read_trace(path)


# --- The clock --------------------------------------------------------------------------------------------------------


@given(
    times=st.lists(st.integers(0, 10**6), min_size=1, max_size=60).map(sorted),
    rate=st.floats(0.001, 100.0),
)
def test_a_stretched_trace_comes_at_its_rate_and_in_order(times: list[int], rate: float) -> None:
    rows = stretched([row(time / 10, prompt=number) for number, time in enumerate(times)], rate=rate)
    assert [each.prompt for each in rows] == list(range(len(times)))
    ats = [each.at for each in rows]
    assert ats == sorted(ats)
    assert ats[0] == 0.0
    if len(rows) > 1:  # n requests are n gaps, of which the last one has no end to see
        assert ats[-1] / (len(rows) - 1) == pytest.approx(1 / rate)


def test_the_gaps_keep_their_proportions() -> None:
    rows = stretched([row(0.0), row(1.0), row(1.5), row(9.0)], rate=0.1)
    assert [each.at for each in rows] == pytest.approx([0.0, 10 / 3, 5.0, 30.0])


def test_rows_with_the_same_time_are_spread_until_the_next_one() -> None:
    rows = stretched([row(0.0), row(3.0), row(3.0), row(3.0), row(6.0)], rate=1.0)
    gaps = [later.at - earlier.at for earlier, later in pairwise(rows)]
    assert gaps == pytest.approx([2.0, 2 / 3, 2 / 3, 2 / 3])


def test_rows_at_the_last_time_are_spread_as_far_as_the_others_stand_apart() -> None:
    rows = stretched([row(0.0), row(4.0), row(8.0), row(8.0)], rate=0.3)
    assert [each.at for each in rows] == pytest.approx([0.0, 4.0, 8.0, 10.0])


def test_a_part_of_a_trace_is_taken_by_its_clock_by_the_new_one_and_by_number() -> None:
    rows = [row(float(number), prompt=number) for number in range(10)]
    taken = stretched(rows, rate=0.5, start=Seconds(4.0), duration=8.0)
    assert [(each.at, each.prompt) for each in taken] == [(0.0, 4), (2.0, 5), (4.0, 6), (6.0, 7)]
    assert [each.prompt for each in stretched(rows, rate=0.5, start=Seconds(4.0), limit=2)] == [4, 5]


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_no_clock_stretches_to_a_senseless_rate(rate: float) -> None:
    with pytest.raises(ConfigError, match="give a number above 0"):
        stretched([row(0.0)], rate=rate)


def test_a_start_after_the_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="start earlier"):
        stretched([row(0.0)], rate=1.0, start=Seconds(1.0))
