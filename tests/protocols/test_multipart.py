"""Forms with files: read in any pieces, written anew as another server wants them, and refused with a reason."""

from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.multipart import (
    MAX_BOUNDARY,
    MAX_FIELD,
    MAX_HEAD,
    MAX_LOOKALIKES,
    MAX_PADDING,
    MAX_PARTS,
    Event,
    FormEnds,
    FormReader,
    PartBegins,
    PartData,
    PartEnds,
    Rewriter,
    boundary_of,
)
from tests.protocols.forms import BOUNDARY, FORM_TYPE, Part, cut, form

MARK = BOUNDARY.encode()
# What is easily taken for a boundary.
TRICKY = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"--", MARK, b"\r\n--" + MARK, b"-", b" ", b"x", b"\0\xff"]), max_size=8
).map(b"".join)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"\\'), max_size=6)


def is_content(content: bytes) -> bool:
    """Whether no line of it is a boundary, which clients see to."""
    lines = (b"\r\n" + content).split(b"\r\n--" + MARK)[1:]
    return not any(line.startswith(b"--") or line.lstrip(b" \t")[:2] in {b"", b"\r", b"\r\n"} for line in lines)


CONTENTS = TRICKY.filter(is_content)
PARTS = st.lists(st.tuples(TEXTS, st.one_of(CONTENTS, TEXTS)), min_size=1, max_size=4)
CUTS = st.lists(st.integers(0, 400), max_size=6)


def read(body: bytes, cuts: list[int] | None = None) -> list[tuple[PartBegins, bytes, int]]:
    """The parts of a form: how each begins, what is in it, and where it ends."""
    reader = FormReader(MARK)
    events = [event for piece in cut(body, cuts or []) for event in reader.feed(piece)]
    reader.end()
    assert events[-1] == FormEnds()
    return parts_of(events[:-1])


def parts_of(events: list[Event]) -> list[tuple[PartBegins, bytes, int]]:
    parts: list[tuple[PartBegins, bytes, int]] = []
    begun, content = PartBegins("", None, b"", 0), b""
    for event in events:
        match event:
            case PartBegins():
                begun, content = event, b""
            case PartData(data):
                assert data
                content += data
            case PartEnds(at):
                parts.append((begun, content, at))
    return parts


def refusal(body: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        read(body)
    assert caught.value.status in {400, 413}
    return str(caught.value)


def told(parts: list[Part]) -> list[tuple[str, bool, bytes]]:
    """The name of each part, whether it is a file, and its content."""
    return [(name, isinstance(what, bytes), what if isinstance(what, bytes) else what.encode()) for name, what in parts]


@given(PARTS, CUTS)
@example([("a", b"\r\n--" + MARK + b"x"), ("b", "")], [])
def test_a_form_is_read_as_it_was_written_wherever_it_is_cut(parts: list[Part], cuts: list[int]) -> None:
    body = form(*parts)
    found = read(body, cuts)
    assert [(one.name, one.filename is not None, content) for one, content, _ in found] == told(parts)
    assert [body[one.at : end] for one, _, end in found] == [content for _, content, _ in found]


def test_a_form_is_read_byte_by_byte() -> None:
    body = form(("file", b"RIFF\r\n--" + MARK + b"?"), ("model", "tiny.en"))
    assert read(body, list(range(len(body)))) == read(body)


def test_what_stands_around_a_form_means_nothing() -> None:
    body = form(("model", "tiny"))
    around = b"This is a form.\r\n" + body.replace(MARK + b"\r\n", MARK + b" \t\r\n") + b"\r\n--" + MARK + b"\r\nend"
    assert [content for _, content, _ in read(around)] == [b"tiny"]


def test_heads_are_read_as_clients_write_them() -> None:
    heads = {
        b'Content-Disposition: form-data; name="file"; filename="a; name=\\"q\\".wav"': ("file", 'a; name="q".wav'),
        b"content-disposition:form-data;name=file;filename=": ("file", ""),
        b"Content-Disposition: form-data; name=file; filename*=utf-8''%C3%BC.wav": ("file", "utf-8''%C3%BC.wav"),
        b"Content-Disposition: form-data; name=f; filename=\"u.wav\"; filename*=utf-8''%C3%BC.wav": ("f", "u.wav"),
        "CONTENT-DISPOSITION: form-data; filename=\"ü.wav\"; name='x'".encode(): ("'x'", "ü.wav"),
        b'Content-Type: audio/wav\r\nContent-Disposition: form-data; NAME="m"\r\nX-Else: 1': ("m", None),
        b"Content-Disposition: attachment": ("", None),
        b'Content-Disposition: form-data; name="\xff"': ("\ufffd", None),
        b"": ("", None),
    }
    for head, (name, filename) in heads.items():
        end = head + b"\r\n\r\n" if head else b"\r\n"
        (part,) = read(b"--" + MARK + b"\r\n" + end + b"x\r\n--" + MARK + b"--")
        assert (part[0].name, part[0].filename, part[0].head, part[1]) == (name, filename, head, b"x")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the form is empty: the boundary that its Content-Type names is nowhere in it"),
        (b'{"model": "tiny"}', "the form is empty: the boundary that its Content-Type names is nowhere in it"),
        (form(("a", "b"), boundary="other"), "the form is empty"),
        (form(("a", "b"))[:-4], "the form is not whole: it ends in a part"),
        (b"--" + MARK + b"\r\n", "the form is not whole: it ends in the head of a part"),
        (form(("a", "b")).replace(b"form-data;", b"form-data\r\n;"), "the head of a part of the form is malformed"),
        (b"--" + MARK + b"\r\nX: " + b"y" * MAX_HEAD, f"a part of the form has a head of more than {MAX_HEAD} bytes"),
        (form(*[("a", "b")] * (MAX_PARTS + 1)), f"the form has more than {MAX_PARTS} parts"),
        (
            form(("a", (b"\r\n--" + MARK + b"x") * (MAX_LOOKALIKES + 1))),
            "the boundary of the form is in its content again and again",
        ),
    ],
)
def test_what_is_no_form_is_refused_with_the_reason(body: bytes, why: str) -> None:
    assert refusal(body).startswith(why)


@given(st.lists(st.one_of(TRICKY, st.binary(max_size=20)), max_size=12), PARTS, st.integers(0, 400))
def test_any_bytes_are_read_or_refused_and_held_to_a_bound(pieces: list[bytes], parts: list[Part], at: int) -> None:
    reader = FormReader(MARK)
    fed = given_back = 0
    try:
        for piece in (form(*parts)[:at], *pieces):
            fed += len(piece)
            given_back += sum(len(event.data) for event in reader.feed(piece) if isinstance(event, PartData))
        reader.end()
    except RequestError:
        return
    assert given_back <= fed


def test_of_a_long_file_only_the_length_of_a_boundary_is_held_back() -> None:
    reader = FormReader(MARK)
    begun = form(("file", b"")).partition(b"\r\n--")[0]
    reader.feed(begun)
    piece = b"\r\n--5c0" * 100
    events = [event for _ in range(100) for event in reader.feed(piece)]
    out = sum(len(event.data) for event in events if isinstance(event, PartData))
    assert 0 < 100 * len(piece) - out <= len(MARK) + MAX_PADDING + 6


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (FORM_TYPE, MARK),
        (' Multipart/Form-Data ; charset=utf-8; BOUNDARY="a b=?"', b"a b=?"),
        (f"multipart/form-data; boundary={'x' * MAX_BOUNDARY}", b"x" * MAX_BOUNDARY),
    ],
)
def test_the_boundary_is_that_of_the_content_type(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "why"),
    [
        ("", "the request must be a form with a file: Content-Type multipart/form-data"),
        ("application/json", "the request must be a form with a file: Content-Type multipart/form-data"),
        ("multipart/mixed; boundary=x", "the request must be a form with a file: Content-Type multipart/form-data"),
        ("multipart/form-data", "the Content-Type multipart/form-data has no valid boundary"),
        ("multipart/form-data; boundary=", "the Content-Type multipart/form-data has no valid boundary"),
        ('multipart/form-data; boundary="x "', "the Content-Type multipart/form-data has no valid boundary"),
        ("multipart/form-data; boundary=ü", "the Content-Type multipart/form-data has no valid boundary"),
        (f"multipart/form-data; boundary={'x' * 71}", "the Content-Type multipart/form-data has no valid boundary"),
    ],
)
def test_a_content_type_without_a_boundary_is_refused(content_type: str, why: str) -> None:
    with pytest.raises(RequestError, match=f"^{why}"):
        boundary_of(content_type)


# --- written anew -----------------------------------------------------------------------------------------------------

NAMES = {"file": "audio", "language": "language"}
ADDED = {"timestamps": "true"}


def rewritten(body: bytes, cuts: list[int] | None = None) -> tuple[bytes, dict[str, str]]:
    rewriter = Rewriter(MARK, names=NAMES, added=ADDED)
    out = b"".join([rewriter.feed(piece) for piece in cut(body, cuts or [])]) + rewriter.end()
    return out, rewriter.fields


def by_another_parser(body: bytes) -> list[tuple[str, str | None, bytes]]:
    """The name, the file's name and the content of every part, as Python's `email` reads them."""
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + FORM_TYPE.encode() + b"\r\n\r\n" + body)
    found: list[tuple[str, str | None, bytes]] = []
    for part in message.iter_parts():
        params, content = part["content-disposition"].params, part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((params["name"], params.get("filename"), content))
    return found


@given(CONTENTS, CUTS)
def test_fields_are_left_out_and_renamed_and_files_pass_as_they_are(content: bytes, cuts: list[int]) -> None:
    body = form(("model", "tiny.en"), ("file", content), ("language", "de"), ("response_format", "srt"))
    out, fields = rewritten(body, cuts)
    found = [(one.name, one.filename, content) for one, content, _ in read(out)]
    assert found == [("timestamps", None, b"true"), ("audio", "a.bin", content), ("language", None, b"de")]
    assert fields == {"model": "tiny.en", "language": "de", "response_format": "srt"}


def test_what_is_written_anew_is_a_form_to_others_too() -> None:
    out, _ = rewritten(form(("model", "tiny.en"), ("file", b"\1\2"), ("language", "de")))
    assert by_another_parser(out) == [
        ("timestamps", None, b"true"),
        ("audio", "a.bin", b"\1\2"),
        ("language", None, b"de"),
    ]


def test_only_the_name_in_a_head_is_another() -> None:
    head = b'Content-Type: audio/wav\r\ncontent-disposition: form-data; filename="x; name=y"; name=file\r\nX-Else: 1'
    out, _ = rewritten(b"--" + MARK + b"\r\n" + head + b"\r\n\r\nx\r\n--" + MARK + b"--")
    assert head.replace(b"name=file", b'name="audio"') in out


def test_of_a_long_field_only_the_beginning_is_kept() -> None:
    _, fields = rewritten(form(("prompt", "x" * (MAX_FIELD + 1)), ("prompt", "y" * MAX_FIELD), ("file", b"z")))
    assert fields == {"prompt": "y" * MAX_FIELD}


def test_a_form_that_is_not_whole_cannot_be_written_to_its_end() -> None:
    with pytest.raises(RequestError, match="not whole"):
        rewritten(form(("file", b"z"))[:-6])
