import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.simulation.ollama.golang import GoError, decode_fields, encode, format_time, parse_duration


def test_the_first_value_counts_and_what_follows_is_ignored() -> None:
    assert decode_fields(b'  {"model":"a"} trailing', "api.ChatRequest") == {"model": "a"}


def test_field_names_match_in_any_case_and_the_last_of_two_wins() -> None:
    assert decode_fields(b'{"Model":"a","MODEL":"b"}', "api.ChatRequest") == {"model": "b"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b'{"a":1', "unexpected EOF"),
        (b'{"a":"b', "unexpected EOF"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_bad_json_gets_the_words_of_gos_decoder(body: bytes, words: str) -> None:
    with pytest.raises(GoError) as refused:
        decode_fields(body, "api.ChatRequest")
    assert str(refused.value) == words


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_a_go_error(body: bytes) -> None:
    try:
        fields = decode_fields(body, "api.ChatRequest")
    except GoError:
        return
    assert all(name == name.lower() for name in fields)


def test_html_characters_are_written_as_escapes_and_nothing_is_spaced() -> None:
    written = encode({"text": "<a> & b", "n": 1})
    assert written == b'{"text":"\\u003ca\\u003e \\u0026 b","n":1}'
    assert json.loads(written) == {"text": "<a> & b", "n": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300.0), ("1h30m", 5400.0), ("-1m", -60.0), ("0", 0.0), ("1.5s", 1.5), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-1", 'time: missing unit in duration "-1"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("", 'time: invalid duration ""'),
        ("soon", 'time: invalid duration "soon"'),
    ],
)
def test_what_is_no_duration(text: str, words: str) -> None:
    with pytest.raises(GoError) as refused:
        parse_duration(text)
    assert str(refused.value) == words


def test_times_are_utc_with_nanoseconds_but_without_trailing_zeros() -> None:
    assert format_time(0.0) == "1970-01-01T00:00:00Z"
    assert format_time(1_780_272_000.25) == "2026-06-01T00:00:00.25Z"
