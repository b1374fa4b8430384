from dataclasses import replace
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.protocols.messages import Usage
from herd.protocols.usage import TAIL, UsageReader
from herd.types import Dialect, Seconds, Tokens

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

CASES = [
    (Dialect.OLLAMA, OLLAMA_STREAM, OLLAMA_USAGE),
    (Dialect.OLLAMA, b'{"model":"m","response":"Hi",' + METRICS, OLLAMA_USAGE),
    (
        Dialect.OLLAMA,
        b'{"model":"m","response":"Hi","prompt_eval_cached_count":20,' + METRICS,
        replace(OLLAMA_USAGE, cached=Tokens(20)),
    ),
    (Dialect.OPENAI, LLAMACPP_STREAM, LLAMACPP_USAGE),
    (Dialect.OPENAI, LLAMACPP_STREAM.replace(b"\n", b"\r\n"), LLAMACPP_USAGE),
    (Dialect.OPENAI, LLAMACPP_JSON, LLAMACPP_USAGE),
    (Dialect.OPENAI, LLAMACPP_JSON + b"\n", LLAMACPP_USAGE),
    (Dialect.ANTHROPIC, ANTHROPIC_STREAM, ANTHROPIC_USAGE),
    (
        Dialect.ANTHROPIC,
        b'{"type":"message","content":[],"usage":{"cache_read_input_tokens":30,"input_tokens":1,"output_tokens":3}}',
        ANTHROPIC_USAGE,
    ),
]


def usage_of(dialect: Dialect, *chunks: bytes, streamed: bool = True) -> Usage:
    reader = UsageReader(dialect, streamed)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.usage()


@pytest.mark.parametrize(("dialect", "answer", "expected"), CASES)
def test_the_sums_stand_at_the_end_of_every_answer(dialect: Dialect, answer: bytes, expected: Usage) -> None:
    assert usage_of(dialect, answer) == expected


def test_timings_count_where_no_usage_was_asked_for() -> None:
    answer = b'data: {"choices":[],' + LLAMACPP_TIMINGS + b"}\n\ndata: [DONE]\n\n"
    assert usage_of(Dialect.OPENAI, answer) == LLAMACPP_USAGE


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        (Dialect.OLLAMA, b'{"model":"m","response":"data: Hi",' + METRICS),
        (Dialect.OLLAMA, b'{\n"response": "Hi",\n' + METRICS),
        (Dialect.OPENAI, LLAMACPP_JSON.replace(b",", b",\n")),
    ],
)
def test_what_is_no_stream_is_one_document_however_it_is_spaced(dialect: Dialect, answer: bytes) -> None:
    assert usage_of(dialect, answer, streamed=False).complete is True


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        (Dialect.OLLAMA, b""),
        (Dialect.OLLAMA, OLLAMA_STREAM[:-2]),
        (Dialect.OLLAMA, OLLAMA_STREAM[: OLLAMA_STREAM.index(b"\n") + 1]),
        (Dialect.OLLAMA, b"upstream died"),
        (Dialect.OLLAMA, b'{"done":false}'),
        (Dialect.OPENAI, LLAMACPP_STREAM.removesuffix(b"data: [DONE]\n\n")),
        (Dialect.OPENAI, LLAMACPP_JSON[:-1]),
        (Dialect.OPENAI, b"data: \n\n"),
        (Dialect.ANTHROPIC, ANTHROPIC_STREAM.partition(b"event: message_stop")[0]),
    ],
)
def test_an_answer_without_its_terminator_is_not_complete(dialect: Dialect, answer: bytes) -> None:
    usage = usage_of(dialect, answer)
    assert (usage.complete, usage.failed) == (False, False)


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        (Dialect.OLLAMA, OLLAMA_STREAM + b'{"error":"an error was encountered while running the model"}\n'),
        (Dialect.OLLAMA, b'{"error":"model \'x\' not found"}'),
        (Dialect.OPENAI, b'data: {"error":{"message":"slot lost"}}\n\ndata: [DONE]\n\n'),
        (Dialect.OPENAI, b'{"error":{"code":400,"message":"no","type":"invalid_request_error"}}'),
        (Dialect.ANTHROPIC, b'{"type":"error","error":{"type":"api_error","message":"no"}}'),
    ],
)
def test_an_answer_that_says_itself_that_it_broke_failed(dialect: Dialect, answer: bytes) -> None:
    usage = usage_of(dialect, answer)
    assert (usage.complete, usage.failed) == (False, True)


@pytest.mark.parametrize(
    ("dialect", "answer", "expected"),
    [
        (Dialect.OLLAMA, b'{"message":{"content":"' + b"x" * TAIL + b'"},' + METRICS, OLLAMA_USAGE),
        (
            Dialect.OLLAMA,
            b'{"response":"x","done":true,"context":[' + b"1," * TAIL + b"1]," + METRICS[METRICS.index(b'"total') :],
            OLLAMA_USAGE,
        ),
        (
            Dialect.OPENAI,
            LLAMACPP_JSON.replace(b"Hello", b'\\"usage\\":{}' * (TAIL // 8)),
            LLAMACPP_USAGE,
        ),
    ],
)
def test_of_a_long_answer_only_the_tail_is_kept(dialect: Dialect, answer: bytes, expected: Usage) -> None:
    assert len(answer) > TAIL
    assert usage_of(dialect, answer) == expected
    assert usage_of(dialect, *(answer[i : i + 1000] for i in range(0, len(answer), 1000))) == expected
    assert usage_of(dialect, answer[:-1]).complete is False


@pytest.mark.parametrize(
    "answer",
    [
        {"done": True, "eval_count": "many", "eval_duration": None, "prompt_eval_count": -1, "load_duration": True},
        {"done": True, "eval_count": 1.5},
    ],
)
def test_counts_that_are_none_are_zero(answer: dict[str, object]) -> None:
    assert usage_of(Dialect.OLLAMA, orjson.dumps(answer)) == Usage(complete=True)


@given(st.sampled_from(CASES), st.lists(st.integers(0, 800), max_size=10))
@settings(max_examples=100)
def test_usage_does_not_depend_on_where_the_chunks_are_cut(case: tuple[Dialect, bytes, Usage], cuts: list[int]) -> None:
    dialect, answer, expected = case
    marks = [0, *sorted(cuts), len(answer)]
    assert usage_of(dialect, *(answer[a:b] for a, b in pairwise(marks))) == expected


@given(
    st.sampled_from(Dialect),
    st.lists(
        st.sampled_from([b"data: ", b"\n\n", b"{", b"}", b'"usage":', b'"error":', b'"timings":', b"[]", b"1", b"null"])
        | st.binary(max_size=4),
        max_size=12,
    ),
)
@settings(max_examples=200)
def test_no_answer_makes_the_reader_fail(dialect: Dialect, pieces: list[bytes]) -> None:
    assert usage_of(dialect, b"".join(pieces)).prompt >= 0


def test_what_is_kept_is_bounded() -> None:
    reader = UsageReader(Dialect.OPENAI, streamed=True)
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
    reader = UsageReader(Dialect.OLLAMA, True)
    reader.feed(tail)
    assert (reader.usage().complete, reader.usage().failed) == (complete, failed)
