"""Anthropic's messages in front of a model server that speaks OpenAI's API alone."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import RequestError, StreamFailed
from herd.protocols.translation import Now, StandIn, standin
from herd.protocols.translation.standin import DocumentReader, StreamReader
from herd.simulation.ollama.asks.openai import read_chat_completion
from herd.types import Api, BackendKind, Seconds

OPENAI, VLLM, LMSTUDIO = BackendKind.OPENAI, BackendKind.VLLM, BackendKind.LMSTUDIO
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
NOW = Now(Seconds(0.0), Seconds(0.0))
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def translated(kind: BackendKind = OPENAI, api: Api = Api.MESSAGES, **fields: Any) -> StandIn:
    body = {"model": "m", "max_tokens": 9, "messages": HELLO, **fields}
    return standin(api, kind, orjson.dumps(body), "r1")


def asked(kind: BackendKind = OPENAI, **fields: Any) -> dict[str, Any]:
    """What a request with these fields asks beside what each one asks."""
    body: dict[str, Any] = orjson.loads(translated(kind, **fields).wanted.body or b"")
    known = {"model": "m", "max_tokens": 9, "messages": HELLO, "stream": False}
    return {key: value for key, value in body.items() if known.get(key, ...) != value}


def messages(*messages: Any, kind: BackendKind = OPENAI, **fields: Any) -> list[Any]:
    found: list[Any] = asked(kind, messages=messages, **fields)["messages"]
    return found


def block(of: str, **fields: Any) -> dict[str, Any]:
    return {"type": of, **fields}


def chunk(reason: str | None = None, stop: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "stop_reason": stop}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


def counted() -> bytes:
    return b"data: " + orjson.dumps({"choices": [], "usage": USAGE}) + b"\n\n"


def events(*pieces: bytes) -> list[dict[str, Any]]:
    """The events that a whole stream becomes, each named by its type."""
    reader = translated(stream=True).reader("text/event-stream")
    assert isinstance(reader, StreamReader)
    assert dict(reader.headers) == {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    out = b"".join([reader.feed(piece, NOW) for piece in pieces]) + reader.end(NOW)
    found = []
    for event in out.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        value = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found


def whole(answer: Any, **fields: Any) -> dict[str, Any]:
    reader = translated(**fields).reader("application/json")
    assert isinstance(reader, DocumentReader)
    reader.feed(orjson.dumps(answer), NOW)
    found: dict[str, Any] = orjson.loads(reader.end(NOW))
    return found


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_message_is_a_chat() -> None:
    assert asked() == {}
    assert asked(stream=True) == {"stream": True, "stream_options": {"include_usage": True}}
    assert messages(*HELLO, system="Be brief.")[0] == {"role": "system", "content": "Be brief."}
    blocks = [block("text", text="Be brief.", cache_control={"type": "ephemeral"}), block("text", text="Be kind.")]
    assert messages(*HELLO, system=blocks)[0]["content"] == "Be brief.\n\nBe kind."


def test_parameters_go_to_servers_that_have_them() -> None:
    fields: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["X"],
        "metadata": {"user_id": "u"},
    }
    assert asked(**fields) == {"temperature": 0.5, "top_p": 0.9, "stop": ["X"]}
    assert asked(VLLM, **fields) == {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["X"]}


@pytest.mark.parametrize(
    ("kind", "fields", "sent"),
    [
        (
            VLLM,
            {"thinking": {"type": "disabled"}},
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
        (
            VLLM,
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
        ),
        (LMSTUDIO, {"output_config": {"effort": "xhigh"}}, {"reasoning_effort": "high"}),
        (LMSTUDIO, {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, {}),
    ],
)
def test_thinking_is_switched_where_the_server_has_a_switch(
    kind: BackendKind, fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert asked(kind, **fields) == sent


def test_a_conversation_with_tools_and_images() -> None:
    image = block("image", source={"type": "base64", "media_type": "image/png", "data": "AAAA"})
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = block("tool_use", id="t1", name="f", input={"z": 1, "a": 2})
    said = [block("thinking", thinking="hm", signature=""), block("text", text="I look."), call]
    result = block("tool_result", tool_use_id="t1", content=[block("text", text="rain"), image])
    user, assistant, tool, more = messages(
        {"role": "user", "content": [block("text", text="What?"), image]},
        {"role": "assistant", "content": said},
        {"role": "user", "content": [block("text", text="And?"), result]},
        kind=VLLM,
    )
    assert user == {"role": "user", "content": [{"type": "text", "text": "What?"}, shown]}
    function = {"name": "f", "arguments": '{"z":1,"a":2}'}
    assert assistant == {
        "role": "assistant",
        "content": "I look.",
        "reasoning": "hm",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "t1", "type": "function", "function": function}],
    }
    assert tool == {"role": "tool", "tool_call_id": "t1", "content": "rain"}
    assert more == {"role": "user", "content": [{"type": "text", "text": "And?"}, shown]}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (None, {}),
    ],
)
def test_tools_are_functions(choice: Any, sent: dict[str, Any]) -> None:
    tool = {"name": "f", "description": "d", "input_schema": SCHEMA}
    function = {"name": "f", "parameters": SCHEMA, "description": "d"}
    assert asked(tools=[tool], tool_choice=choice) == {"tools": [{"type": "function", "function": function}], **sent}


def test_lm_studio_is_told_that_some_function_is_to_be_called() -> None:
    tool = {"name": "f", "input_schema": SCHEMA}
    assert asked(LMSTUDIO, tools=[tool], tool_choice={"type": "tool", "name": "f"})["tool_choice"] == "required"


def test_vllm_counts_the_tokens_of_a_prompt() -> None:
    request = translated(VLLM, Api.COUNT_TOKENS, tools=[{"name": "f", "input_schema": SCHEMA}])
    assert (request.wanted.path, request.wanted.streamed) == ("/tokenize", False)
    assert list(orjson.loads(request.wanted.body or b"")) == ["model", "messages", "tools"]
    reader = request.reader("application/json")
    reader.feed(b'{"count":7,"max_model_len":4096,"tokens":[1]}', NOW)
    assert reader.end(NOW) == b'{"input_tokens":7}'


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": " "}, "model is required"),
        ({"max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"messages": []}, "messages is required"),
        ({"messages": [{"role": "tool", "content": ""}]}, 'messages.0.role: must be "user" or "assistant"'),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: must be a string or a list of blocks"),
        ({"messages": [{"role": "user", "content": [block("video")]}]}, "messages.0: blocks of the type video cannot"),
        (
            {"messages": [{"role": "user", "content": [block("image", source={"type": "url", "url": "http://x"})]}]},
            "messages.0: an image must be base64 data, not url",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0: the model server has no web_se"),
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"stop_sequences": "X"}, 'option "stop" must be of type array'),
    ],
)
def test_what_cannot_be_is_refused_in_anthropics_form(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as refused:
        translated(**fields)
    assert refused.value.status == 400
    assert str(refused.value).startswith(text)
    answer = orjson.loads(translated().error(refused.value).body)
    assert (answer["type"], answer["error"]["type"]) == ("error", "invalid_request_error")


def test_a_refusal_of_the_servers_is_in_anthropics_form() -> None:
    reply = translated().refused(503, b'{"error":{"message":"Loading model"}}')
    error = {"type": "overloaded_error", "message": "Loading model"}
    assert (reply.status, orjson.loads(reply.body)) == (503, {"type": "error", "error": error, "request_id": "r1"})


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_a_message_of_blocks() -> None:
    call = {"index": 0, "id": "t1", "function": {"name": "f", "arguments": '{"city": "Bern"}'}}
    start, *blocks, delta, stop = events(
        chunk(role="assistant", content=""),
        chunk(reasoning_content="hm"),
        chunk(content="I "),
        chunk(content="look."),
        chunk(tool_calls=[call]),
        chunk("tool_calls"),
        counted(),
        DONE,
    )
    assert start["message"] == {
        "id": "msg_r1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    assert [(event["type"], event["index"]) for event in blocks] == [
        *[("content_block_start", 0), ("content_block_delta", 0), ("content_block_stop", 0)],
        *[
            ("content_block_start", 1),
            ("content_block_delta", 1),
            ("content_block_delta", 1),
            ("content_block_stop", 1),
        ],
        *[("content_block_start", 2), ("content_block_delta", 2), ("content_block_stop", 2)],
    ]
    assert [event["delta"] for event in blocks if "delta" in event] == [
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "text_delta", "text": "I "},
        {"type": "text_delta", "text": "look."},
        {"type": "input_json_delta", "partial_json": '{"city":"Bern"}'},
    ]
    assert blocks[7]["content_block"] == {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    assert delta["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert delta["usage"] == {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 4}
    assert stop == {"type": "message_stop"}


@pytest.mark.parametrize(
    ("reason", "stop", "told"),
    [
        ("stop", None, ("end_turn", None)),
        ("stop", "X", ("stop_sequence", "X")),
        ("length", None, ("max_tokens", None)),
        ("content_filter", None, ("refusal", None)),
    ],
)
def test_why_an_answer_ended(reason: str, stop: str | None, told: tuple[str, str | None]) -> None:
    *_, delta, _ = events(chunk(content="Hi"), chunk(reason, stop), DONE)
    assert (delta["delta"]["stop_reason"], delta["delta"]["stop_sequence"]) == told


def test_an_empty_answer_is_a_whole_message() -> None:
    assert [event["type"] for event in events(chunk("stop"), DONE)] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_an_error_within_a_stream_is_its_last_event() -> None:
    *_, last = events(chunk(content="Hi"), b'data: {"error":{"message":"out of memory"}}\n\n')
    assert last == {"type": "error", "error": {"type": "api_error", "message": "out of memory"}}


def test_a_whole_answer() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {"content": "Hi", "reasoning": "hm", "tool_calls": [call]}
    said = whole({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE})
    assert said["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ]
    assert (said["stop_reason"], said["usage"]["output_tokens"], said["model"]) == ("tool_use", 3, "m")


@given(st.integers(1, 400))
def test_a_stream_cut_off_before_its_end_is_never_complete(missing: int) -> None:
    data = chunk(content="Hi") + chunk("stop") + counted() + DONE
    reader = translated(stream=True).reader("text/event-stream")
    reader.feed(data[: -min(missing, len(data))], NOW)
    assert not reader.usage().complete
    with pytest.raises(StreamFailed):
        reader.end(NOW)


texts = st.text(max_size=10)
said_blocks = (
    st.builds(lambda text: block("text", text=text), texts)
    | st.builds(lambda text: block("thinking", thinking=text), texts)
    | st.builds(lambda name, value: block("tool_use", id="t", name=name, input={"a": value}), texts, texts)
)
user_blocks = st.builds(lambda text: block("text", text=text), texts) | st.builds(
    lambda text: block("tool_result", tool_use_id="t", content=text), texts
)
turns = st.builds(
    lambda blocks: {"role": "user", "content": blocks}, texts | st.lists(user_blocks, max_size=3)
) | st.builds(lambda blocks: {"role": "assistant", "content": blocks}, texts | st.lists(said_blocks, max_size=3))


@given(st.lists(turns, min_size=1, max_size=4), st.booleans())
@settings(max_examples=150)
def test_a_valid_request_becomes_a_chat_that_a_strict_reader_understands(turns: list[Any], stream: bool) -> None:
    for kind in (OPENAI, VLLM, LMSTUDIO):
        request = translated(kind, messages=turns, stream=stream)
        assert read_chat_completion(request.wanted.body or b"").wishes.stream is stream


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("type", "text", "role", "content", "source", "name", "input", "id")), inner)
    ),
    max_leaves=10,
)
names = st.sampled_from(
    ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences", "max_tokens")
)


@given(st.dictionaries(names, json_values))
@settings(max_examples=150)
def test_any_json_is_translated_or_refused(fields: dict[str, Any]) -> None:
    for api in (Api.MESSAGES, Api.COUNT_TOKENS):
        with suppress(RequestError):
            translated(VLLM, api, **fields)
