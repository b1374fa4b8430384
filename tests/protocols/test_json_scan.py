import json
import mmap
import tempfile
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols import json_scan
from herd.protocols.json_scan import MAX_DEPTH, Span, is_blank, is_empty, outline, text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


def complaint(data: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        outline(data, {})
    assert caught.value.status == 400
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "EOF"),
        (b" \r\n\t", "EOF"),
        (b"{", "unexpected EOF"),
        (b'{"a', "unexpected EOF"),
        (b'{"a":tr', "unexpected EOF"),
        (b"[1.", "unexpected EOF"),
        (b"[-", "unexpected EOF"),
        (b"[1e+", "unexpected EOF"),
        (b'"\\', "unexpected EOF"),
        (b'"\\u12', "unexpected EOF"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"model=llama", "invalid character 'm' looking for beginning of value"),
        (b"'", "invalid character '\\'' looking for beginning of value"),
        (b"[,]", "invalid character ',' looking for beginning of value"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"\x00", "invalid character '\\x00' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        (b"\x80", "invalid character '\\u0080' looking for beginning of value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"', "invalid character '\"' after object key:value pair"),
        (b'{"a":1.5.2}', "invalid character '.' after object key:value pair"),
        (b'{"a":1e5.2}', "invalid character '.' after object key:value pair"),
        (b'{"a":01}', "invalid character '1' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1}", "invalid character '}' after array element"),
        (b'"a\nb"', "invalid character '\\n' in string literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"[1.x]", "invalid character 'x' after decimal point in numeric literal"),
        (b"[1ex]", "invalid character 'x' in exponent of numeric literal"),
        (b"[1e-]", "invalid character ']' in exponent of numeric literal"),
        (b"txue", "invalid character 'x' in literal true (expecting 'r')"),
        (b"falsy", "invalid character 'y' in literal false (expecting 'e')"),
        (b"nul!", "invalid character '!' in literal null (expecting 'l')"),
        (b"[" * (MAX_DEPTH + 1), "invalid character '[' exceeded max depth"),
    ],
)
def test_broken_json_is_refused_in_the_words_of_go(data: bytes, words: str) -> None:
    assert complaint(data) == words


def test_depth_is_bounded_where_go_bounds_it() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert outline(deep, {}).value == Span(0, len(deep))


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_scan, "MAX_STEPS", 1000)
    with pytest.raises(RequestError, match="too many JSON values") as caught:
        outline(b"[" + b"[1]," * 1000 + b"1]", {})
    assert caught.value.status == 413


def test_the_number_of_noted_members_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_scan, "MAX_NESTED", 2)
    found = outline(b'[{"a":1},{"a":1},{"a":1}]', {2: frozenset("a")})
    assert len(found.nested) == 2


@pytest.mark.parametrize("after", [b"", b" ", b"x", b"{", b"\x00"])
def test_only_the_first_value_counts(after: bytes) -> None:
    assert outline(b' {"a":1}' + after, {}).value == Span(1, 8)


def test_top_level_keys_match_in_any_case_and_the_last_one_counts() -> None:
    data = b'{"Model":1,"MODEL":2,"\\u006dodel":"three"}'
    span = outline(data, {1: frozenset(("model",))}).members["model"]
    assert data[span.start : span.end] == b'"three"'


def test_keys_of_a_map_match_exactly() -> None:
    data = b'{"NUM_CTX":1,"num_ctx":2,"Num_ctx":3}'
    span = outline(data, {1: frozenset(("num_ctx",))}, fold=False).members["num_ctx"]
    assert data[span.start : span.end] == b"2"


def test_members_of_inner_objects_are_noted_with_their_depth() -> None:
    data = b'{"messages":[{"images":["aa"]},{"x":{"images":[]}}]}'
    found = outline(data, {3: frozenset(("images",))})
    assert [(item.depth, data[item.span.start : item.span.end]) for item in found.nested] == [(3, b'["aa"]')]


def test_blank_and_empty() -> None:
    assert is_blank(b" \n")
    assert not is_blank(b" {")
    assert is_empty(b" [ ]", Span(1, 4))
    assert not is_empty(b"[1]", Span(0, 3))


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (b'"a"', "a"),
        (b'"\\u00e9\\n"', "é\n"),
        (b'"\\ud800x"', "\ufffdx"),
        (b'"\xffx"', "\ufffdx"),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_what_is_no_unicode_in_a_string_is_replaced(literal: bytes, value: str) -> None:
    assert text(literal) == value


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
@settings(max_examples=60)
def test_all_json_is_valid_and_its_members_lie_where_they_should(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    keys = {key.lower(): item for key, item in value.items()} if isinstance(value, dict) else {}
    found = outline(data, {1: frozenset(keys)})
    assert found.value == Span(0, len(data))
    short = {key: item for key, item in keys.items() if key and len(key) < 20}
    assert {key: json.loads(data[slice(*found.members[key])]) for key in short} == short


@given(st.lists(st.sampled_from(list(b'{}[]",:\\u0123456789abcdefE.-+truefalsn \n\x01\xff')), max_size=30).map(bytes))
@settings(max_examples=300)
def test_the_scanner_takes_all_that_orjson_takes_and_what_it_refuses_has_a_reason(data: bytes) -> None:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        valid = False
    else:
        valid = True
    try:
        found = outline(data, {})
    except RequestError:
        assert not valid
    else:
        assert found.value.end <= len(data)
        first = data[found.value.start : found.value.end]
        json.loads(first.decode("utf-8", "replace"))


@given(JSON, st.integers(0, 100))
@settings(max_examples=60)
def test_a_container_that_is_cut_off_ends_unexpectedly(value: Any, cut: int) -> None:
    data = orjson.dumps([value])
    assert complaint(data[: 1 + cut % max(1, len(data) - 1)]) == "unexpected EOF"


def test_a_mapped_file_is_scanned_in_place() -> None:
    body = b'{"images":["' + b"A" * (2 << 20) + b'\\n"],"numbers":[' + b"1.5, " * 5000 + b'1],"model":"m"}'
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            span = outline(mapped, {1: frozenset(("model",))}).members["model"]
            assert mapped[span.start : span.end] == b'"m"'
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            assert outline(view, {1: frozenset(("model",))}).members["model"] == span


def test_a_string_of_many_escapes_is_one_string() -> None:
    data = b'["' + b"\\n" * 5000 + b'\\u0041"]'
    assert outline(data, {}).value == Span(0, len(data))
