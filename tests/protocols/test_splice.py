from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.json_scan import Span
from herd.protocols.splice import Edit, Splice, Splicer, plan, plan_form, spliced_size
from tests.protocols.forms import form


def edited(body: bytes, *edits: Edit) -> bytes:
    splicer = Splicer(plan(body, edits))
    return splicer.feed(body) + splicer.end()


@pytest.mark.parametrize(
    ("body", "edits", "expected"),
    [
        (b'{"model": "a" }', [Edit("model", "b:8b")], b'{"model": "b:8b" }'),
        (b'{"Model":"a","model":"b"}', [Edit("model", "c")], b'{"Model":"a","model":"c"}'),
        (b'{"x":1}', [Edit("model", "m")], b'{"model":"m","x":1}'),
        (b"{ }", [Edit("keep_alive", -1)], b'{"keep_alive":-1 }'),
        (b"{}", [Edit("keep_alive", "5m"), Edit("model", "m")], b'{"keep_alive":"5m","model":"m"}'),
        (b'{"options":{"num_ctx":1}}', [Edit("options.num_ctx", 4096)], b'{"options":{"num_ctx":4096}}'),
        (b'{"options":{"seed":1}}', [Edit("options.num_ctx", 8)], b'{"options":{"num_ctx":8,"seed":1}}'),
        (b'{"options":{}}', [Edit("options.num_ctx", 8)], b'{"options":{"num_ctx":8}}'),
        (b'{"options":null}', [Edit("options.num_ctx", 8)], b'{"options":{"num_ctx":8}}'),
        (b'{"x":1}', [Edit("options.num_ctx", 8)], b'{"options":{"num_ctx":8},"x":1}'),
        (b' {"model":"a"} trailing', [Edit("model", "b")], b' {"model":"b"} trailing'),
        (b'{"model":"a"}', [], b'{"model":"a"}'),
    ],
)
def test_an_edit_changes_its_own_bytes_and_no_others(body: bytes, edits: list[Edit], expected: bytes) -> None:
    assert edited(body, *edits) == expected


def test_options_match_their_keys_exactly() -> None:
    assert edited(b'{"options":{"NUM_CTX":1}}', Edit("options.num_ctx", 8)) == b'{"options":{"num_ctx":8,"NUM_CTX":1}}'


def test_only_the_named_edits_exist() -> None:
    with pytest.raises(ValueError, match="no such edit: temperature"):
        plan(b"{}", [Edit("temperature", 1)])


def test_only_objects_can_be_edited() -> None:
    with pytest.raises(RequestError, match="not a JSON object"):
        plan(b"[]", [Edit("model", "m")])


def test_a_body_that_ends_too_early_is_noticed() -> None:
    splicer = Splicer([Splice(2, 4, b"x")])
    splicer.feed(b"abc")
    with pytest.raises(RequestError, match="ended too early"):
        splicer.end()


BODIES = st.dictionaries(
    st.sampled_from(["model", "keep_alive", "options", "prompt", "x"]),
    st.none()
    | st.text(max_size=8)
    | st.integers(-9, 9)
    | st.dictionaries(st.sampled_from(["num_ctx", "y"]), st.integers(0, 9)),
)
EDITS = st.fixed_dictionaries(
    {},
    optional={"model": st.text(min_size=1), "options.num_ctx": st.integers(1, 10**6), "keep_alive": st.integers(-1, 9)},
)


@given(BODIES, EDITS, st.binary(max_size=5))
@settings(max_examples=100)
def test_a_decoder_sees_the_edits_and_everything_else_as_it_was(
    fields: dict[str, Any], edits: dict[str, Any], after: bytes
) -> None:
    body = orjson.dumps(fields, option=orjson.OPT_INDENT_2)
    splices = plan(body + after, edits.items())
    splicer = Splicer(splices)
    result = splicer.feed(body + after) + splicer.end()
    assert len(result) == spliced_size(len(body + after), splices)
    expected = dict(fields)
    for name, value in edits.items():
        if name == "options.num_ctx":
            options = fields.get("options")
            expected["options"] = {**(options if isinstance(options, dict) else {}), "num_ctx": value}
        else:
            expected[name] = value
    assert orjson.loads(result[: len(result) - len(after)]) == expected


@st.composite
def spliced_bodies(draw: st.DrawFn) -> tuple[bytes, list[Splice], list[int]]:
    body = draw(st.binary(max_size=30))
    marks = sorted(draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pairs = zip(marks[::2], marks[1::2], strict=False)
    splices = [Splice(start, end, draw(st.binary(max_size=3))) for start, end in pairs]
    return body, splices, sorted(draw(st.lists(st.integers(0, len(body)), max_size=6)))


@given(spliced_bodies())
@settings(max_examples=150)
def test_the_result_does_not_depend_on_where_the_chunks_are_cut(case: tuple[bytes, list[Splice], list[int]]) -> None:
    body, splices, cuts = case
    expected, done = b"", 0
    for start, end, replacement in splices:
        expected += body[done:start] + replacement
        done = end
    expected += body[done:]
    splicer = Splicer(splices)
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert b"".join([*map(splicer.feed, chunks), splicer.end()]) == expected


def test_what_is_behind_the_last_splice_passes_without_a_copy() -> None:
    splicer = Splicer(plan(b'{"model":"a"}', [Edit("model", "b")]))
    splicer.feed(b'{"model":"a"}')
    chunk = b" " * 100
    assert splicer.feed(chunk) is chunk


def test_in_a_form_only_the_model_is_another() -> None:
    body = form(("file", b"\0\1"), ("model", "gpt-4o-transcribe"), ("language", "de"))
    at = body.index(b"gpt")
    splices = plan_form(Span(at, at + len("gpt-4o-transcribe")), [Edit("model", "größer:1b")])
    splicer = Splicer(splices)
    out = b"".join(splicer.feed(body[i : i + 7]) for i in range(0, len(body), 7)) + splicer.end()
    assert out == form(("file", b"\0\1"), ("model", "größer:1b"), ("language", "de"))
    assert spliced_size(len(body), splices) == len(out)
    assert plan_form(Span(0, 1), []) == ()
    with pytest.raises(ValueError, match="no such edit of a form: keep_alive"):
        plan_form(Span(0, 1), [Edit("keep_alive", -1)])
