from dataclasses import replace
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.protocols.messages import Usage
from herd.protocols.usage import TAIL, UsageReader
from herd.types import Api, Seconds, Tokens

METRICS = (
    b'"done":true,"done_reason":"stop","total_duration":9000000000,"load_duration":2000000000,"prompt_eval_count":26,'
    b'"prompt_eval_duration":500000000,"eval_count":290,"eval_duration":4000000000}'
)
OLLAMA_STREAM = (
    b'{"model":"m","created_at":"2026-08-01T10:00:00Z","message":{"role":"assistant","content":"Hi"},"done":false}\n'
    b'{"model":"m","created_at":"2026-08-01T10:00:01Z","message":{"role":"assistant","content":""},' + METRICS + b"\n"
)
OLLAMA_USAGE = Usage(Tokens(26), Tokens(290), Seconds(2.0), Seconds(0.5), Seconds(4.0), complete=True)

# A llama.cpp server's answers, shortened.
LLAMACPP_TIMINGS = (
    b'"timings":{"cache_n":30,"prompt_n":1,"prompt_ms":27.659,"prompt_per_second":36.15,"predicted_n":3,'
    b'"predicted_ms":67.139,"predicted_per_second":29.78}'
)
LLAMACPP_STREAM = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hello"}}],"object":"chat.completion.chunk"}'
    b'\n\ndata: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[],"object":"chat.completion.chunk","usage":{"completion_tokens":3,"prompt_tokens":31,'
    b'"total_tokens":34,"prompt_tokens_details":{"cached_tokens":30}},' + LLAMACPP_TIMINGS + b"}\n\ndata: [DONE]\n\n"
)
LLAMACPP_JSON = (
    b'{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":"Hello! How"}}],'
    b'"object":"chat.completion","usage":{"completion_tokens":3,"prompt_tokens":31,"total_tokens":34},'
    b'"id":"chatcmpl-t6M54iK9",' + LLAMACPP_TIMINGS + b"}"
)
LLAMACPP_USAGE = Usage(
    Tokens(31),
    Tokens(3),
    prefill_s=Seconds(27.659 / 1000),
    decode_s=Seconds(67.139 / 1000),
    complete=True,
    cached=Tokens(30),
)
ANTHROPIC_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"x","role":"assistant","content":[],'
    b'"usage":{"cache_read_input_tokens":30,"input_tokens":1,"output_tokens":0}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}'
    b'\n\nevent: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},'
    b'"usage":{"output_tokens":3}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
ANTHROPIC_USAGE = Usage(Tokens(31), Tokens(3), complete=True)


# What Ollama sends at the end of a response, shortened; the fields of events come in alphabetical order there.
RESPONSE_STREAM = (
    b'event: response.created\ndata: {"response":{"id":"resp_1","usage":null,"error":null},"sequence_number":0,'
    b'"type":"response.created"}\n\n'
    b'event: response.output_text.delta\ndata: {"delta":"Hi","sequence_number":1,"type":"response.output_text.delta"}'
    b'\n\nevent: response.completed\ndata: {"response":{"error":null,"id":"resp_1","output":[{"text":"Hi"}],"tools":[],'
    b'"usage":{"input_tokens":31,"input_tokens_details":{"cached_tokens":30},"output_tokens":3,"total_tokens":34},'
    b'"user":null},"sequence_number":2,"type":"response.completed"}\n\n'
)
RESPONSE_JSON = (
    b'{"id":"resp_1","object":"response","status":"completed","error":null,"output":[{"text":"Hi"}],"usage":'
    b'{"input_tokens":31,"output_tokens":3,"total_tokens":34,"input_tokens_details":{"cached_tokens":30}},"user":null}\n'
)
RESPONSE_USAGE = Usage(Tokens(31), Tokens(3), complete=True, cached=Tokens(30))
COMPLETION_STREAM = (
    b'data: {"choices":[{"text":"Hi"}],"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n'
    b'data: {"object":"text_completion","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)
OLLAMA_VECTORS = (
    b'{"model":"m","embeddings":[[0.5,-1e-05]],"total_duration":7,"load_duration":2e9,"prompt_eval_count":4}'
)
LLAMACPP_VECTORS = (
    b'{"model":"m","object":"list","usage":{"prompt_tokens":4,"total_tokens":4},'
    b'"data":[{"embedding":[0.5,-1],"index":0,"object":"embedding"}]}'
)

CASES = [
    (Api.OLLAMA_CHAT, OLLAMA_STREAM, OLLAMA_USAGE),
    (Api.OLLAMA_CHAT, b'{"model":"m","response":"Hi",' + METRICS, OLLAMA_USAGE),
    (
        Api.OLLAMA_CHAT,
        b'{"model":"m","response":"Hi","prompt_eval_cached_count":20,' + METRICS,
        replace(OLLAMA_USAGE, cached=Tokens(20)),
    ),
    (Api.CHAT, LLAMACPP_STREAM, LLAMACPP_USAGE),
    (Api.CHAT, LLAMACPP_STREAM.replace(b"\n", b"\r\n"), LLAMACPP_USAGE),
    (Api.CHAT, LLAMACPP_JSON, LLAMACPP_USAGE),
    (Api.CHAT, LLAMACPP_JSON + b"\n", LLAMACPP_USAGE),
    (Api.MESSAGES, ANTHROPIC_STREAM, ANTHROPIC_USAGE),
    (
        Api.MESSAGES,
        b'{"type":"message","content":[],"usage":{"cache_read_input_tokens":30,"input_tokens":1,"output_tokens":3}}',
        ANTHROPIC_USAGE,
    ),
    (Api.COMPLETIONS, COMPLETION_STREAM, Usage(Tokens(4), Tokens(2), complete=True)),
    (Api.RESPONSES, RESPONSE_STREAM, RESPONSE_USAGE),
    (Api.RESPONSES, RESPONSE_STREAM.replace(b".completed", b".incomplete"), RESPONSE_USAGE),
    (Api.RESPONSES, RESPONSE_JSON, RESPONSE_USAGE),
    (Api.OLLAMA_EMBED, OLLAMA_VECTORS, Usage(Tokens(4), load_s=Seconds(2.0), complete=True)),
    (Api.OLLAMA_EMBED, b'{"model":"m","embeddings":[]}', Usage(complete=True)),
    (Api.OLLAMA_EMBEDDINGS, b'{"embedding":[0.5,-1e-05]}', Usage(complete=True)),
    (Api.EMBEDDINGS, LLAMACPP_VECTORS, Usage(Tokens(4), complete=True)),
    (Api.COUNT_TOKENS, b'{"input_tokens":12}', Usage(complete=True)),
]


def usage_of(api: Api, *chunks: bytes, streamed: bool = True) -> Usage:
    reader = UsageReader(api, streamed)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.usage()


@pytest.mark.parametrize(("api", "answer", "expected"), CASES)
def test_the_sums_stand_at_the_end_of_every_answer(api: Api, answer: bytes, expected: Usage) -> None:
    assert usage_of(api, answer) == expected


def test_timings_count_where_no_usage_was_asked_for() -> None:
    answer = b'data: {"choices":[],' + LLAMACPP_TIMINGS + b"}\n\ndata: [DONE]\n\n"
    assert usage_of(Api.CHAT, answer) == LLAMACPP_USAGE


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        (Api.OLLAMA_CHAT, b'{"model":"m","response":"data: Hi",' + METRICS),
        (Api.OLLAMA_CHAT, b'{\n"response": "Hi",\n' + METRICS),
        (Api.CHAT, LLAMACPP_JSON.replace(b",", b",\n")),
    ],
)
def test_what_is_no_stream_is_one_document_however_it_is_spaced(api: Api, answer: bytes) -> None:
    assert usage_of(api, answer, streamed=False).complete is True


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        (Api.OLLAMA_CHAT, b""),
        (Api.OLLAMA_CHAT, OLLAMA_STREAM[:-2]),
        (Api.OLLAMA_CHAT, OLLAMA_STREAM[: OLLAMA_STREAM.index(b"\n") + 1]),
        (Api.OLLAMA_CHAT, b"upstream died"),
        (Api.OLLAMA_CHAT, b'{"done":false}'),
        (Api.CHAT, LLAMACPP_STREAM.removesuffix(b"data: [DONE]\n\n")),
        (Api.CHAT, LLAMACPP_JSON[:-1]),
        (Api.CHAT, b"data: \n\n"),
        (Api.MESSAGES, ANTHROPIC_STREAM.partition(b"event: message_stop")[0]),
        (Api.COMPLETIONS, COMPLETION_STREAM.removesuffix(b"data: [DONE]\n\n")),
        (Api.RESPONSES, RESPONSE_STREAM.partition(b"event: response.completed")[0]),
        (Api.RESPONSES, RESPONSE_STREAM[:-4]),
        (Api.RESPONSES, RESPONSE_JSON[:-2]),
        (Api.OLLAMA_EMBED, OLLAMA_VECTORS[:-1]),
        (Api.OLLAMA_EMBED, b"{}"),
        (Api.OLLAMA_EMBEDDINGS, b'{"embedding":[0.5,-1e-05]'),
        (Api.EMBEDDINGS, LLAMACPP_VECTORS[:-1]),
        (Api.COUNT_TOKENS, b'{"input_tokens":null}'),
    ],
)
def test_an_answer_without_its_terminator_is_not_complete(api: Api, answer: bytes) -> None:
    usage = usage_of(api, answer)
    assert (usage.complete, usage.failed) == (False, False)


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        (Api.OLLAMA_CHAT, OLLAMA_STREAM + b'{"error":"an error was encountered while running the model"}\n'),
        (Api.OLLAMA_CHAT, b'{"error":"model \'x\' not found"}'),
        (Api.CHAT, b'data: {"error":{"message":"slot lost"}}\n\ndata: [DONE]\n\n'),
        (Api.CHAT, b'{"error":{"code":400,"message":"no","type":"invalid_request_error"}}'),
        (Api.MESSAGES, b'{"type":"error","error":{"type":"api_error","message":"no"}}'),
        (Api.RESPONSES, RESPONSE_STREAM.replace(b"response.completed", b"response.failed")),
        (Api.RESPONSES, b'event: error\ndata: {"type":"error","code":"server_error","message":"no"}\n\n'),
        (Api.RESPONSES, b'event: error\ndata: {"error":{"code":500,"message":"no"}}\n\n'),
        (Api.RESPONSES, b'{"error":{"message":"no","type":"api_error","param":null,"code":null}}\n'),
        (Api.OLLAMA_EMBED, b'{"error":"invalid input type"}'),
        (Api.COUNT_TOKENS, b'{"type":"error","error":{"type":"api_error","message":"no"}}'),
    ],
)
def test_an_answer_that_says_itself_that_it_broke_failed(api: Api, answer: bytes) -> None:
    usage = usage_of(api, answer)
    assert (usage.complete, usage.failed) == (False, True)


@pytest.mark.parametrize(
    ("api", "answer", "expected"),
    [
        (Api.OLLAMA_CHAT, b'{"message":{"content":"' + b"x" * TAIL + b'"},' + METRICS, OLLAMA_USAGE),
        (
            Api.OLLAMA_CHAT,
            b'{"response":"x","done":true,"context":[' + b"1," * TAIL + b"1]," + METRICS[METRICS.index(b'"total') :],
            OLLAMA_USAGE,
        ),
        (
            Api.CHAT,
            LLAMACPP_JSON.replace(b"Hello", b'\\"usage\\":{}' * (TAIL // 8)),
            LLAMACPP_USAGE,
        ),
        (
            Api.RESPONSES,
            RESPONSE_STREAM.replace(b'"Hi"}', b'"' + b'\\"usage\\":{}' * (TAIL // 8) + b'"}'),
            RESPONSE_USAGE,
        ),
        (Api.RESPONSES, RESPONSE_JSON.replace(b"Hi", b"x" * TAIL), RESPONSE_USAGE),
        (
            Api.MESSAGES,
            ANTHROPIC_STREAM.replace(
                b"event: content", b"event: ping\ndata: {}\n\n" * (TAIL // 16) + b"event: content"
            ),
            ANTHROPIC_USAGE,
        ),
        (
            Api.OLLAMA_EMBED,
            OLLAMA_VECTORS.replace(b"0.5", b"0.5," * TAIL + b"1"),
            Usage(Tokens(4), load_s=Seconds(2.0), complete=True),
        ),
        (Api.OLLAMA_EMBEDDINGS, b'{"embedding":[' + b"-0.5e-7," * TAIL + b"1]}", Usage(complete=True)),
        (Api.EMBEDDINGS, LLAMACPP_VECTORS.replace(b"0.5", b"0.5," * TAIL + b"1"), Usage(Tokens(4), complete=True)),
        (
            Api.EMBEDDINGS,
            LLAMACPP_VECTORS.replace(b"[0.5,-1]", b'"' + b"A" * TAIL + b'"'),
            Usage(Tokens(4), complete=True),
        ),
    ],
)
def test_of_a_long_answer_only_the_tail_is_kept(api: Api, answer: bytes, expected: Usage) -> None:
    assert len(answer) > TAIL
    assert usage_of(api, answer) == expected
    assert usage_of(api, *(answer[i : i + 1000] for i in range(0, len(answer), 1000))) == expected
    assert usage_of(api, answer.rstrip()[:-1]).complete is False


@pytest.mark.parametrize(
    "answer",
    [
        {"done": True, "eval_count": "many", "eval_duration": None, "prompt_eval_count": -1, "load_duration": True},
        {"done": True, "eval_count": 1.5},
    ],
)
def test_counts_that_are_none_are_zero(answer: dict[str, object]) -> None:
    assert usage_of(Api.OLLAMA_CHAT, orjson.dumps(answer)) == Usage(complete=True)


@given(st.sampled_from(CASES), st.lists(st.integers(0, 800), max_size=10))
@settings(max_examples=100)
def test_usage_does_not_depend_on_where_the_chunks_are_cut(case: tuple[Api, bytes, Usage], cuts: list[int]) -> None:
    api, answer, expected = case
    marks = [0, *sorted(cuts), len(answer)]
    assert usage_of(api, *(answer[a:b] for a, b in pairwise(marks))) == expected


@given(
    st.sampled_from(Api),
    st.lists(
        st.sampled_from([b"data: ", b"\n\n", b"{", b"}", b'"usage":', b'"error":', b'"timings":', b"[]", b"1", b"null"])
        | st.binary(max_size=4),
        max_size=12,
    ),
)
@settings(max_examples=200)
def test_no_answer_makes_the_reader_fail(api: Api, pieces: list[bytes]) -> None:
    assert usage_of(api, b"".join(pieces)).prompt >= 0


def test_a_query_changes_nothing_and_what_is_no_endpoint_of_ours_is_ollamas() -> None:
    for path, answer in (("/v1/messages?beta=true", ANTHROPIC_STREAM), ("/api/blobs/sha256:1", OLLAMA_STREAM)):
        reader = UsageReader(path, streamed=True)
        reader.feed(answer)
        assert reader.usage().complete is True


def test_what_is_kept_is_bounded() -> None:
    reader = UsageReader(Api.CHAT, streamed=True)
    for _ in range(40):
        reader.feed(b"x" * 10_000)
    assert len(reader._tail) <= 2 * TAIL


@pytest.mark.parametrize(
    ("tail", "complete", "failed"),
    [
        (b'{"status":"writing manifest"}\n{"status":"success"}\n', True, False),
        (b'{"status":"writing manifest"}\n', False, False),
        (b'{"status":"writing manifest"}\n{"error":"the disk is full"}\n', False, True),
    ],
)
def test_a_model_that_was_pulled_or_made_is_there_when_its_last_line_says_so(
    tail: bytes, complete: bool, failed: bool
) -> None:
    reader = UsageReader("/api/pull", streamed=True)
    reader.feed(tail)
    assert (reader.usage().complete, reader.usage().failed) == (complete, failed)


@pytest.mark.parametrize("end", [b'"}', b'","completed":9,"total":9}'])
def test_a_picture_at_the_end_of_ollamas_last_line_hides_its_sums_and_not_that_it_is_whole(end: bytes) -> None:
    last = b'{"model":"m","response":"","done":true,"total_duration":5,"image":"' + b"iVBO" * TAIL
    lines = b'{"response":"","done":false,"completed":8,"total":9}\n' + last + end + b"\n"
    for answer, complete in ((lines, True), (lines[:-20], False)):
        reader = UsageReader(Api.OLLAMA_GENERATE, streamed=True)
        reader.feed(answer)
        assert reader.usage() == Usage(complete=complete)
