"""The files of public traces of requests, read into rows.

Azure's (Azure/AzurePublicDataset on GitHub) is a CSV file with the columns TIMESTAMP,
ContextTokens and GeneratedTokens. Mooncake's (kvcache-ai/Mooncake on GitHub) has a JSON object on every line: timestamp
in milliseconds, input_length, output_length, and hash_ids, the prompt's blocks of 512 tokens; equal ids mean equal text
up to the end of that block.
"""

import csv
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

from herd.errors import ConfigError
from herd.types import Seconds, Tokens

# Rows that are read of a file unless told otherwise: half a day at five requests a second, and some 200 MB of memory
# with Mooncake's blocks. Azure's week of 2024 has millions.
MOST_ROWS = 200_000

# The longest line that is read: the ids of a million tokens take some 20 KB, so this is no trace.
LONGEST_LINE = 1_000_000

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

# A count beyond every context window is no count of tokens.
MOST_TOKENS = 100_000_000

_ADVICE = "a trace is a CSV file with TIMESTAMP, ContextTokens and GeneratedTokens, or JSON lines as Mooncake's"


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of a trace."""

    at: Seconds  # since the first one
    prompt: Tokens
    completion: Tokens
    blocks: tuple[int, ...] = ()  # ids of the prompt's blocks; none where the trace has no such thing
    client: str = ""  # who asked, and which model of the catalogue: public traces do not tell, a router's history does
    model: str = ""


def read_trace(path: Path, *, limit: int = MOST_ROWS) -> list[TraceRow]:
    """The first `limit` rows of a trace in either format, in order of time.

    Raises:
        ConfigError: the file cannot be read, or a line is not what it should be: which one, and why.
    """
    return _read(path, _rows, limit)


def read_azure(path: Path, *, limit: int = MOST_ROWS) -> list[TraceRow]:
    """The first `limit` rows of one of Azure's traces, in order of time; columns beside the three are not read.

    Raises:
        ConfigError: the file cannot be read, or a line is not what it should be.
    """
    return _read(path, _azure_rows, limit)


def read_mooncake(path: Path, *, limit: int = MOST_ROWS) -> list[TraceRow]:
    """The first `limit` rows of one of Mooncake's traces, in order of time; a row may lack its hash_ids.

    Raises:
        ConfigError: the file cannot be read, or a line is not what it should be.
    """
    return _read(path, _mooncake_rows, limit)


class _BadLineError(ValueError):
    """What is wrong with a line."""


_Lines = Iterator[tuple[int, str]]  # the number of a line, and its text


def _read(path: Path, parse: Callable[[Path, _Lines], Iterator[TraceRow]], limit: int) -> list[TraceRow]:
    with _opened(path) as file:
        rows = sorted(itertools.islice(parse(path, _lines(path, file)), limit), key=lambda row: row.at)
    if not rows:
        raise ConfigError(f"{path} holds no request: {_ADVICE}")
    return [replace(row, at=Seconds(row.at - rows[0].at)) for row in rows]


def _rows(path: Path, lines: _Lines) -> Iterator[TraceRow]:
    """Rows in the format that the first line is in. The file is opened once: a pipe says everything once."""
    first = next(lines, (1, ""))
    parse = _mooncake_rows if first[1].startswith("{") else _azure_rows
    yield from parse(path, itertools.chain([first], lines) if first[1] else lines)


def _opened(path: Path) -> IO[str]:
    try:
        # What is no UTF-8 is no number either: it fails as one, with its line.
        return path.open(encoding="utf-8-sig", errors="replace", newline="\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}; name a trace's file") from error


def _lines(path: Path, file: IO[str]) -> _Lines:
    """Number and text of the lines that are not empty, without the spaces around them."""
    for number in itertools.count(1):
        try:
            line = file.readline(LONGEST_LINE + 1)
        except OSError as error:  # a directory opens on some systems, and disks fail
            raise ConfigError(f"{path} cannot be read: {error.strerror or error}; name a trace's file") from error
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise ConfigError(f"{path}, line {number} is longer than {LONGEST_LINE} letters: {_ADVICE}")
        if text := line.strip():
            yield number, text


def _azure_rows(path: Path, lines: _Lines) -> Iterator[TraceRow]:
    number, line = next(lines, (1, ",".join(_AZURE)))
    try:
        head = [name.strip() for name in next(csv.reader([line]))]
    except csv.Error:  # a field that is longer than any name
        head = []
    missing = [name for name in _AZURE if name not in head]
    if missing:
        raise ConfigError(f"{path}, line {number} has no column {missing[0]}: {_ADVICE}")
    columns = [head.index(name) for name in _AZURE]
    for number, line in lines:
        try:
            cells = next(csv.reader([line]))
            time, prompt, completion = (cells[column].strip() for column in columns)
            yield TraceRow(_instant(time), _count("ContextTokens", prompt), _count("GeneratedTokens", completion))
        except IndexError:
            raise ConfigError(f"{path}, line {number} has fewer than {max(columns) + 1} columns: {_ADVICE}") from None
        except (_BadLineError, csv.Error) as error:
            raise ConfigError(f"{path}, line {number}: {error}; mend the line or leave it out") from None


def _instant(text: str) -> Seconds:
    """Seconds since 1970 of "2023-11-16 18:15:46.6805900", to the microsecond; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _BadLineError(f"{text[:40]!r} is no time such as 2023-11-16 18:15:46.6805900") from None
    return Seconds((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def _mooncake_rows(path: Path, lines: _Lines) -> Iterator[TraceRow]:
    for number, line in lines:
        try:
            yield _mooncake_row(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise ConfigError(f"{path}, line {number} is no JSON: {_ADVICE}") from None
        except _BadLineError as error:
            raise ConfigError(f"{path}, line {number}: {error}; mend the line or leave it out") from None


def _mooncake_row(fields: Any) -> TraceRow:
    if not isinstance(fields, dict):
        raise _BadLineError("it is no JSON object")
    time, blocks = fields.get("timestamp"), fields.get("hash_ids", [])
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise _BadLineError(f"timestamp is {repr(time)[:40]}, not a number of milliseconds")
    if not isinstance(blocks, list) or not all(type(block) is int for block in blocks):
        raise _BadLineError("hash_ids is not a list of whole numbers")
    prompt, completion = (_count(name, fields.get(name)) for name in ("input_length", "output_length"))
    return TraceRow(Seconds(time / 1000), prompt, completion, tuple(blocks))


def _count(name: str, value: Any) -> Tokens:
    """A number of tokens, from a cell or a JSON number."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if type(value) is not int or not 0 <= value <= MOST_TOKENS:
        raise _BadLineError(
            f"{name} is {value if isinstance(value, int) else repr(value)[:40]}, not a number of tokens"
        )
    return Tokens(value)
