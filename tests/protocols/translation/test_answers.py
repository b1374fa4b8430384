"""What the client of Ollama's API gets from an answer of OpenAI's."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import RequestError, StreamFailed
from herd.protocols.messages import Usage
from herd.protocols.sse import MAX_EVENT
from herd.protocols.translation import MAX_ANSWER, Now
from herd.protocols.translation.standin import DocumentReader, StreamReader
from herd.types import Api, BackendKind, MiB, Seconds, Tokens
from tests.protocols.translation.asking import CHAT, GENERATE, HELLO, translated

NOW = Now(Seconds(1_780_272_000.25), Seconds(1.5))
STAMP = "2026-06-01T00:00:00.250000Z"
SSE, JSON = "text/event-stream; charset=utf-8", "application/json"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
TIMINGS = {"cache_n": 4, "prompt_n": 7, "prompt_ms": 20.5, "predicted_n": 3, "predicted_ms": 30.0}


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def delta(reason: str | None = None, **fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]})


def fragment(index: int, arguments: str, **more: Any) -> bytes:
    name: dict[str, Any] = {"name": more.pop("name")} if "name" in more else {}
    return delta(tool_calls=[{"index": index, **more, "function": {**name, "arguments": arguments}}])


def counted(**more: Any) -> bytes:
    return event({"choices": [], "usage": USAGE, **more})


def stream_reader(api: Api = CHAT, **fields: Any) -> StreamReader:
    reader = translated(api, {"messages": HELLO, "prompt": "a", **fields}).reader(SSE)
    assert isinstance(reader, StreamReader)
    return reader


def document_reader() -> DocumentReader:
    reader = translated(CHAT, {"messages": HELLO, "stream": False}).reader(JSON)
    assert isinstance(reader, DocumentReader)
    return reader


def read_all(reader: StreamReader | DocumentReader, pieces: Iterable[bytes]) -> bytes:
    """What the client gets of a server's whole answer."""
    return b"".join([reader.feed(piece, NOW) for piece in pieces]) + reader.end(NOW)


def lines(reader: StreamReader, *pieces: bytes) -> list[dict[str, Any]]:
    """What a whole stream becomes."""
    return [orjson.loads(line) for line in read_all(reader, pieces).splitlines()]


def whole(answer: Any, api: Api = CHAT, **fields: Any) -> dict[str, Any]:
    """What a whole document becomes."""
    reader = translated(api, {"messages": HELLO, "prompt": "a", "input": "a", "stream": False, **fields}).reader(JSON)
    assert isinstance(reader, DocumentReader)
    assert reader.feed(orjson.dumps(answer), NOW) == b""
    found: dict[str, Any] = orjson.loads(reader.end(NOW))
    return found


def message(reason: str = "stop", **fields: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "Hi", **fields}
    return {"choices": [{"index": 0, "message": said, "finish_reason": reason}], "usage": USAGE}


# --- Streams ----------------------------------------------------------------------------------------------------------


def test_each_piece_is_a_line_and_the_last_one_has_the_counts() -> None:
    said = lines(
        stream_reader(),
        delta(role="assistant", content=None),
        delta(content="Hel"),
        delta(content="lo"),
        delta("length"),
        counted(timings=TIMINGS),
        DONE,
    )
    head = {"model": "m", "created_at": STAMP}
    assert said == [
        {**head, "message": {"role": "assistant", "content": "Hel"}, "done": False},
        {**head, "message": {"role": "assistant", "content": "lo"}, "done": False},
        {
            **head,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "length",
            "total_duration": 1_500_000_000,
            "prompt_eval_count": 11,
            "prompt_eval_cached_count": 4,
            "prompt_eval_duration": 20_500_000,
            "eval_count": 3,
            "eval_duration": 30_000_000,
        },
    ]


def test_what_a_server_does_not_measure_is_left_out() -> None:
    last = lines(stream_reader(), delta("stop"), DONE)[-1]
    assert last["done_reason"] == "stop"
    assert sorted(last.keys() - {"model", "created_at", "message", "done", "done_reason"}) == ["total_duration"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_come_apart_from_the_text(name: str) -> None:
    said = lines(stream_reader(), delta(**{name: "hm"}), delta(content="yes"), delta("stop"), DONE)
    assert [(line["message"].get("thinking"), line["message"]["content"]) for line in said] == [
        ("hm", ""),
        (None, "yes"),
        (None, ""),
    ]


def test_thoughts_that_a_server_leaves_in_the_text_are_taken_out_of_it() -> None:
    said = lines(
        stream_reader(),
        *[delta(content=piece) for piece in ("<thi", "nk>h", "m</think>\n", "yes <")],
        delta("stop"),
        DONE,
    )
    shown = [(line["message"].get("thinking", ""), line["message"]["content"]) for line in said]
    assert shown == [("h", ""), ("m", ""), ("", "yes <"), ("", "")]
    message_text = "<think>hm</think>yes"
    assert whole(message(content=message_text))["message"] == {"role": "assistant", "content": "yes", "thinking": "hm"}
    raw = {"choices": [{"text": message_text, "finish_reason": "stop"}]}
    assert whole(raw, GENERATE, raw=True)["response"] == message_text  # what was asked for as it is stays as it is


def test_the_usage_is_what_the_server_told() -> None:
    reader = stream_reader()
    assert reader.usage() == Usage()
    lines(reader, delta(content="Hi"), delta("stop"), counted(timings=TIMINGS), DONE)
    took = Usage(
        Tokens(11), Tokens(3), prefill_s=Seconds(0.0205), decode_s=Seconds(0.03), complete=True, cached=Tokens(4)
    )
    assert reader.usage() == took
    document = document_reader()
    read_all(document, [orjson.dumps(message() | {"timings": TIMINGS})])
    assert document.usage() == took
    broken = stream_reader()
    lines(broken, delta(content="Hi"), b'data: {"error":"out of memory"}\n\n')
    assert broken.usage() == Usage(failed=True)


def test_a_prompt_is_answered_by_a_response() -> None:
    said = lines(stream_reader(GENERATE), delta(reasoning="hm"), delta(content="yes"), delta("stop"), DONE)
    assert [(line.get("thinking"), line["response"], line["done"]) for line in said] == [
        ("hm", "", False),
        (None, "yes", False),
        (None, "", True),
    ]
    raw = lines(
        stream_reader(GENERATE, raw=True),
        event({"choices": [{"text": "yes", "finish_reason": None}]}),
        event({"choices": [{"text": "", "finish_reason": "stop"}], "usage": USAGE}),
        DONE,
    )
    assert [(line["response"], line["done"]) for line in raw] == [("yes", False), ("", True)]
    assert raw[-1]["eval_count"] == 3


def test_fragments_of_tool_calls_are_gathered_and_given_whole() -> None:
    said = lines(
        stream_reader(),
        fragment(0, "", id="c1", name="f", type="function"),
        fragment(0, '{"z": 1, '),
        fragment(0, '"a": "\\u00fc"}'),
        fragment(1, '{"b":', id="c2", name="g"),
        fragment(1, "[2]}"),
        delta("tool_calls"),
        DONE,
    )
    calls = [line["message"]["tool_calls"] for line in said[:-1]]
    assert calls == [
        [{"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"z": 1, "a": "ü"}}}],
        [{"id": "c2", "function": {"index": 1, "name": "g", "arguments": {"b": [2]}}}],
    ]
    assert list(calls[0][0]["function"]["arguments"]) == ["z", "a"]  # in the model's order
    assert said[-1]["done_reason"] == "stop"


def test_two_calls_under_one_index_are_two_calls() -> None:
    said = lines(
        stream_reader(), fragment(0, "{}", id="c1", name="f"), fragment(0, "{}", id="c2", name="g"), delta("stop"), DONE
    )
    names = [call["function"]["name"] for line in said for call in line["message"].get("tool_calls", ())]
    assert names == ["f", "g"]


@pytest.mark.parametrize("arguments", ['{"a": 1', "[1]", '"a"', "3", "nonsense"])
def test_arguments_that_are_no_object_break_the_answer(arguments: str) -> None:
    with pytest.raises(StreamFailed, match="arguments that are no JSON object"):
        lines(stream_reader(), fragment(0, arguments, id="c", name="f"), delta("length"), DONE)


@pytest.mark.parametrize("levels", [250, 900])
def test_arguments_that_are_nested_deeper_than_can_be_written_break_the_answer(levels: int) -> None:
    arguments = '{"a":' * levels + "1" + "}" * levels
    with pytest.raises(StreamFailed, match="nested too deeply"):
        lines(stream_reader(), fragment(0, arguments, id="x", name="f"), delta("tool_calls"), DONE)


def test_probabilities_are_of_the_tokens_in_the_line() -> None:
    token = {"id": 7, "token": "é", "logprob": -0.5, "bytes": [195, 169]}
    other = {"token": "e", "logprob": -1.5}
    content = [{**token, "top_logprobs": [token, other]}]
    choice = {"delta": {"content": "é"}, "logprobs": {"content": content}}
    found = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    for most, beside in ((0, {}), (1, {"top_logprobs": [found]})):
        reader = stream_reader(logprobs=True, top_logprobs=most)
        said = lines(reader, event({"choices": [choice]}), delta("stop"), DONE)
        assert said[0]["logprobs"] == [{**found, **beside}]
        assert "logprobs" not in said[1]


def test_probabilities_of_a_completion_are_read_in_the_older_form_too() -> None:
    logprobs = {"tokens": [" a"], "token_logprobs": [-0.5], "top_logprobs": [{" a": -0.5, " b": -1.0}]}
    answer = {"choices": [{"text": " a", "logprobs": logprobs, "finish_reason": "stop"}]}
    found = whole(answer, GENERATE, raw=True, logprobs=True, top_logprobs=2)["logprobs"]
    assert [(token["token"], token["logprob"], len(token["top_logprobs"])) for token in found] == [(" a", -0.5, 2)]


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error":{"message":"out of memory","type":"server_error","code":500}}\n\n',
        b'data: {"error":"out of memory"}\n\n',
        b'error: {"message":"out of memory","code":500}\n\n',
        b'data: {"object":"error","message":"out of memory","code":500}\n\n',
        b'event: error\ndata: {"error":{"message":"out of memory"}}\n\n',
    ],
)
def test_an_error_within_a_stream_is_its_last_line_and_one_before_it_is_a_whole_answer(error: bytes) -> None:
    said = lines(stream_reader(), delta(content="Hi"), error, delta(content="more"), DONE)
    assert [line.get("error") for line in said] == [None, "out of memory"]
    with pytest.raises(RequestError, match="out of memory") as failed:
        stream_reader().feed(error, NOW)
    assert failed.value.status == 500


def test_a_request_that_a_server_gives_up_is_an_error() -> None:
    said = lines(stream_reader(), delta(content="Hi"), delta("abort"), DONE)
    assert said[-1] == {"error": "the model server gave the answer up"}


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [delta(content="Hi")],
        [delta(content="Hi"), delta("stop")],
        [delta(content="Hi"), delta("stop"), b"data: [DO"],
        [delta(content="Hi"), DONE],
        [b"<html>\n\n"],
    ],
)
def test_a_stream_that_does_not_end_itself_never_ends_cleanly(pieces: list[bytes]) -> None:
    with pytest.raises(StreamFailed) as failed:
        lines(stream_reader(), *pieces)
    assert failed.value.kind == "incomplete"


@pytest.mark.parametrize("piece", [b"data: {\n\n", b"data: 3\n\n", b"data: <html>\n\n", b"data: \xff\n\n"])
def test_an_event_that_is_no_object_breaks_the_answer(piece: bytes) -> None:
    with pytest.raises(StreamFailed):
        stream_reader().feed(delta(content="Hi") + piece, NOW)


def test_what_has_no_end_is_given_up() -> None:
    with pytest.raises(StreamFailed, match="an event of more than 8 MiB"):
        lines(stream_reader(), *[b"data: " + b"x" * MiB] * (2 * MAX_EVENT // MiB))
    with pytest.raises(StreamFailed, match="has no end"):
        lines(stream_reader(), *[fragment(0, "x" * MiB)] * (2 * MAX_EVENT // MiB))
    with pytest.raises(StreamFailed, match="longer than 64 MiB"):
        read_all(document_reader(), [b"x" * MiB] * (2 * MAX_ANSWER // MiB))


def test_an_answer_of_another_kind_than_was_asked_for_is_refused() -> None:
    with pytest.raises(StreamFailed, match="asked for a stream of events, and sent text/html"):
        translated(CHAT, {"messages": HELLO}).reader("text/html; charset=utf-8")
    with pytest.raises(StreamFailed, match="asked for one document, and sent text/event-stream"):
        translated(CHAT, {"messages": HELLO, "stream": False}).reader(SSE)


# --- Documents --------------------------------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    said = whole(message("tool_calls", content=None, reasoning_content="hm", tool_calls=[call]) | {"timings": TIMINGS})
    assert said["message"] == {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
        "tool_calls": [{"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
    }
    assert (said["done"], said["done_reason"], said["eval_count"], said["eval_duration"]) == (
        True,
        "stop",
        3,
        30_000_000,
    )
    assert whole(message("length"), GENERATE)["response"] == "Hi"


@pytest.mark.parametrize("answer", [{}, [], 3, {"choices": []}, {"choices": [{"message": {"content": "Hi"}}]}])
def test_a_document_that_is_no_answer_breaks_it(answer: Any) -> None:
    with pytest.raises(StreamFailed):
        whole(answer)


def test_an_error_in_a_document_is_an_error() -> None:
    with pytest.raises(RequestError, match="Unexpected endpoint"):
        whole({"error": "Unexpected endpoint or method. (POST /v1/chat/completions)"})


def vectors(*rows: list[float], **usage: int) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return {"object": "list", "data": data[::-1], "usage": usage}


def test_vectors_come_in_the_order_of_the_inputs_cut_and_of_length_one() -> None:
    answer = vectors([3.0, 4.0, 12.0], [0, 2, 0], [0.0, 0.0, 0.0], prompt_tokens=5)
    said = whole(answer, Api.OLLAMA_EMBED, input=["a", "b", "c"], dimensions=2)
    assert said == {
        "model": "m",
        "embeddings": [[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]],
        "total_duration": 1_500_000_000,
        "prompt_eval_count": 5,
    }
    assert whole(vectors([3.0, 4.0]), Api.OLLAMA_EMBEDDINGS) == {"embedding": [3.0, 4.0]}


@pytest.mark.parametrize("data", [[], None, [{"index": 0}], [{"index": 0, "embedding": "AAAA"}], [{"embedding": [1]}]])
def test_what_are_no_vectors_breaks_the_answer(data: Any) -> None:
    with pytest.raises(StreamFailed):
        whole({"data": data}, Api.OLLAMA_EMBED)


def test_without_anything_to_ask_the_answer_is_ollamas() -> None:
    def answered(api: Api, **fields: Any) -> Any:
        reply = translated(api, fields).answered(NOW)
        assert (reply.status, dict(reply.headers)["Content-Type"]) == (200, "application/json; charset=utf-8")
        return orjson.loads(reply.body)

    head = {"model": "m", "created_at": STAMP}
    assert answered(GENERATE) == {**head, "response": "", "done": True, "done_reason": "load"}
    assert answered(CHAT, keep_alive=0) == {
        **head,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "unload",
    }
    assert answered(Api.OLLAMA_EMBED, input=[]) == {"model": "m", "embeddings": []}
    assert answered(Api.OLLAMA_EMBEDDINGS) == {"embedding": []}


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "status", "body", "answer"),
    [
        (CHAT, 404, {"error": {"message": "The model `m` does not exist."}}, (404, "model 'm' not found")),
        (Api.OLLAMA_EMBED, 404, {"error": "Model not found"}, (404, 'model "m" not found, try pulling it first')),
        (Api.OLLAMA_EMBED, 404, {"detail": "Not Found"}, (501, "the model server that has m does not serve this")),
        (CHAT, 400, {"error": {"message": "too long", "code": 400}}, (400, "too long")),
        (CHAT, 400, {"object": "error", "message": "too long"}, (400, "too long")),
        (CHAT, 422, {"detail": [{"loc": ["body"], "msg": "a"}, {"msg": "b"}]}, (400, "a; b")),
        (CHAT, 503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, (503, "Loading model")),
        (CHAT, 500, "<html>", (500, "the model server answered 500")),
        (CHAT, 301, "", (502, "the model server answered 301")),
    ],
)
def test_refusals_are_in_ollamas_words(api: Api, status: int, body: Any, answer: tuple[int, str]) -> None:
    request = translated(api, {"messages": HELLO, "input": "a"})
    reply = request.refused(status, body.encode() if isinstance(body, str) else orjson.dumps(body))
    assert (reply.status, orjson.loads(reply.body)) == (answer[0], {"error": answer[1]})


@pytest.mark.parametrize(
    ("kind", "fields", "resident", "path"),
    [
        (BackendKind.LLAMACPP, {}, True, "/tokenize"),
        (BackendKind.LLAMACPP, {"keep_alive": 0}, True, "/models/unload"),
        (BackendKind.LMSTUDIO, {}, False, "/api/v1/models/load"),
        (BackendKind.LMSTUDIO, {}, True, None),
        (BackendKind.LMSTUDIO, {"keep_alive": 0}, True, "/api/v1/models/unload"),
        (BackendKind.LMSTUDIO, {"keep_alive": 0}, False, None),
        (BackendKind.VLLM, {}, False, None),
        (BackendKind.OPENAI, {"keep_alive": 0}, True, None),
    ],
)
def test_a_model_is_loaded_and_let_go_where_the_server_can(
    kind: BackendKind, fields: dict[str, Any], resident: bool, path: str | None
) -> None:
    request = translated(GENERATE, fields, kind)
    errand = request.errand(resident=resident)
    assert (errand.path if errand else None) == path
    if errand is not None:
        assert request.failed_errand(200, b"{}", errand) is None
        unknown = request.failed_errand(200, b'{"error":"Unexpected endpoint"}', errand)
        assert unknown is not None
        assert unknown.status == 501
        gone = request.failed_errand(404, b'{"error":"File Not Found"}', errand)
        assert (gone is None) is (path == "/models/unload")


# --- Properties -------------------------------------------------------------------------------------------------------

tokens = st.text(min_size=1, max_size=6)
pieces = st.lists(
    st.builds(lambda text: delta(content=text), tokens)
    | st.builds(lambda text: delta(reasoning_content=text), tokens)
    | st.sampled_from((b": ping\n\n", b"event: x\n", b"retry: 3\n\n", delta(role="assistant", content=""))),
    max_size=8,
)


@given(pieces, st.sampled_from((b"\n", b"\r\n")), st.lists(st.integers(1, 40), max_size=30))
@settings(max_examples=200)
def test_bytes_may_be_cut_anywhere(said: list[bytes], line_end: bytes, cuts: list[int]) -> None:
    data = b"".join((*said, delta("stop"), counted(), DONE)).replace(b"\n", line_end)
    at_once = lines(stream_reader(), data)
    assert lines(stream_reader(), *cut(data, cuts)) == at_once
    assert [line["done"] for line in at_once] == [False] * (len(at_once) - 1) + [True]


@given(pieces, st.integers(1, 200))
def test_a_stream_cut_off_before_its_end_is_never_complete(said: list[bytes], missing: int) -> None:
    data = b"".join((*said, delta("stop"), counted(), DONE))
    reader = stream_reader()
    reader.feed(data[: -min(missing, len(data))], NOW)
    assert not reader.usage().complete
    with pytest.raises(StreamFailed):
        reader.end(NOW)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    for reader in (stream_reader(), document_reader()):
        with pytest.raises((StreamFailed, RequestError)):
            read_all(reader, pieces)


def cut(data: bytes, lengths: Iterable[int]) -> list[bytes]:
    cuts: list[bytes] = []
    for length in lengths:
        cuts.append(data[:length])
        data = data[length:]
    return [*cuts, data]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("choices", "delta", "message", "content", "finish_reason", "tool_calls", "function", "arguments"),
                    *("usage", "timings", "prompt_ms", "logprobs", "tokens", "token_logprobs", "top_logprobs", "data"),
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
@settings(max_examples=150)
def test_any_json_is_an_answer_or_none(value: Any) -> None:
    for api in (CHAT, GENERATE, Api.OLLAMA_EMBED):
        with suppress(StreamFailed, RequestError):
            whole(value, api, logprobs=True)
    with suppress(StreamFailed, RequestError):
        stream_reader(logprobs=True).feed(event(value), NOW)
