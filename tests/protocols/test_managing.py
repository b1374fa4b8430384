import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.names import canonical
from herd.protocols.managing import ModelRequest, displayed, error_in, lets_go, not_found, read, streaming, wanted_node

ENDPOINTS = [f"ollama.{name}" for name in ("show", "pull", "push", "create", "copy", "delete")]


def refusal(endpoint: str, body: bytes) -> tuple[int, str]:
    with pytest.raises(RequestError) as raised:
        read(endpoint, body)
    return raised.value.status, str(raised.value)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", [b"", b" \n\t"])
def test_no_body_is_refused_in_ollamas_words(endpoint: str, body: bytes) -> None:
    assert refusal(endpoint, body) == (400, "missing request body")


@pytest.mark.parametrize(
    ("endpoint", "body", "words"),
    [
        ("ollama.show", b"{}", "model is required"),
        ("ollama.pull", b"null", "invalid model name"),
        ("ollama.push", b'{"model":null}', "model is required"),
        ("ollama.create", b'{"model":""}', "invalid model name"),
        ("ollama.delete", b'{"model":"  "}', "model is required"),
        ("ollama.copy", b"{}", 'source "" is invalid'),
        ("ollama.copy", b'{"source":"x"}', 'destination "" is invalid'),
        ("ollama.show", b"{", "unexpected EOF"),
        ("ollama.show", b"[1]", "json: cannot unmarshal array into Go value of type api.ShowRequest"),
        ("ollama.show", b"1e400", "json: cannot unmarshal number into Go value of type api.ShowRequest"),
        (
            "ollama.pull",
            b'{"model":"x","stream":"no"}',
            "json: cannot unmarshal string into Go struct field PullRequest.stream of type bool",
        ),
        (
            "ollama.create",
            b'{"model":"x","files":["a"]}',
            "json: cannot unmarshal array into Go struct field CreateRequest.files of type map[string]string",
        ),
        ("ollama.show", json.dumps({"model": "x" * 600}).encode(), "invalid model name"),
    ],
)
def test_what_no_server_can_be_asked_for_is_refused_in_ollamas_words(endpoint: str, body: bytes, words: str) -> None:
    assert refusal(endpoint, body) == (400, words)


def test_what_is_read_is_the_model_and_where_it_comes_from() -> None:
    assert read("ollama.show", b'{"Name":" x ","verbose":true} trailing') == ModelRequest("x")
    assert read("ollama.show", b'{"name":"old","MODEL":"new","model":"last"}').model == "last"
    assert read("ollama.copy", b'{"source":"a","destination":"b"}') == ModelRequest("a", destination="b")
    made = read("ollama.create", b'{"model":"x","from":"base","adapters":{"a":"sha256:1"},"messages":[{}]}')
    assert (made.base, made.blobs, made.stream) == ("base", True, True)
    assert not read("ollama.create", b'{"model":"x","from":"base","files":{ }}').blobs
    assert read("ollama.pull", b'{"model":"x","insecure":true}').extras != read("ollama.pull", b'{"model":"x"}').extras


@given(
    st.dictionaries(st.sampled_from(["model", "stream", "insecure", "Else"]), st.booleans() | st.none() | st.text()),
    st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
def test_a_pull_becomes_one_that_tells_its_progress_and_nothing_else_of_it_changes(
    fields: dict[str, Any], separators: Any
) -> None:
    fields |= {"model": "x"}
    if not isinstance(fields.get("stream", True), bool | None):
        del fields["stream"]
    if not isinstance(fields.get("insecure", True), bool | None):
        del fields["insecure"]
    body = json.dumps(fields, separators=separators).encode()
    sent = streaming(read("ollama.pull", body), body)
    if fields.get("stream") is False:
        assert json.loads(sent) == fields | {"stream": True}
        assert len(sent) == len(body) - 1
    else:
        assert sent == body


@pytest.mark.parametrize(
    ("keep_alive", "goes"),
    [
        *((value, True) for value in (0, 0.0, -0.0, "0", "-0", "+0s", "0s", "0h0m", "0.00ms", ".0s", "0µs")),
        *((value, False) for value in (None, 1, -1, 0.5, "", "5m", "-1s", "0x", "0 s", "00", "1ns", "0s1s", "s")),
        ("0s" * 200, False),
    ],
)
def test_a_model_shall_go_only_by_a_duration_of_nothing(keep_alive: Any, goes: bool) -> None:
    assert lets_go(keep_alive) is goes


def test_the_node_that_a_client_names_stands_in_the_query() -> None:
    assert wanted_node("node=attic%202&x=1") == "attic 2"
    assert (wanted_node(""), wanted_node("node="), wanted_node("nodes=a")) == ("", "", "")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("X", "X:latest"),
        ("library/x:1b", "x:1b"),
        ("registry.ollama.ai/library/x", "x:latest"),
        ("hf.co/U/R:Q4", "hf.co/U/R:Q4"),
        ("team/x", "team/x:latest"),
    ],
)
def test_a_name_is_shown_as_ollama_shows_it(name: str, shown: str) -> None:
    assert displayed(name) == shown
    assert canonical(shown) == canonical(name)


def test_a_model_that_nobody_has_is_refused_in_the_words_of_each_endpoint() -> None:
    assert str(not_found("ollama.show", "x")) == "model 'x:latest' not found"
    assert str(not_found("ollama.delete", "x")) == "model 'x' not found"
    assert str(not_found("ollama.copy", "x")) == 'model "x" not found'
    assert not_found("ollama.copy", "x").status == 404


def test_what_a_server_says_is_wrong_is_found_where_it_is() -> None:
    assert error_in(b'{"error":"full"}') == "full"
    assert [error_in(body) for body in (b"", b"[]", b'{"error":1}', b'"error"', b"\xff")] == [""] * 5
