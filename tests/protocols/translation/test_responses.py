"""OpenAI's responses in front of a model server that has its chats alone."""

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

OPENAI, VLLM = BackendKind.OPENAI, BackendKind.VLLM
NOW = Now(Seconds(1_780_272_000.0), Seconds(0.0))
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}


def translated(kind: BackendKind = OPENAI, **fields: Any) -> StandIn:
    return standin(Api.RESPONSES, kind, orjson.dumps({"model": "m", "input": "Hello", **fields}), "r1")


def asked(kind: BackendKind = OPENAI, **fields: Any) -> dict[str, Any]:
    """What a request with these fields asks beside what each one asks."""
    body: dict[str, Any] = orjson.loads(translated(kind, **fields).wanted.body or b"")
    known = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    return {key: value for key, value in body.items() if known.get(key, ...) != value}


def messages(*items: Any, kind: BackendKind = OPENAI, **fields: Any) -> list[Any]:
    found: list[Any] = asked(kind, input=items, **fields)["messages"]
    return found


def chunk(reason: str | None = None, **delta: Any) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}) + b"\n\n"


def counted() -> bytes:
    return b"data: " + orjson.dumps({"choices": [], "usage": USAGE}) + b"\n\n"


def events(*pieces: bytes, **fields: Any) -> list[dict[str, Any]]:
    """The events that a whole stream becomes, numbered and named by their types."""
    reader = translated(stream=True, **fields).reader("text/event-stream")
    assert isinstance(reader, StreamReader)
    out = b"".join([reader.feed(piece, NOW) for piece in pieces]) + reader.end(NOW)
    found = []
    for number, event in enumerate(out.decode().split("\n\n")[:-1]):
        name, data = event.split("\n")
        value = orjson.loads(data.removeprefix("data: "))
        assert (name, value["sequence_number"]) == (f"event: {value['type']}", number)
        found.append(value)
    return found


def whole(answer: Any, **fields: Any) -> dict[str, Any]:
    reader = translated(**fields).reader("application/json")
    assert isinstance(reader, DocumentReader)
    reader.feed(orjson.dumps(answer), NOW)
    found: dict[str, Any] = orjson.loads(reader.end(NOW))
    return found


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_an_input_is_a_chat() -> None:
    assert asked() == {}
    assert asked(stream=True) == {"stream": True, "stream_options": {"include_usage": True}}
    assert asked(instructions="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked(max_output_tokens=5, temperature=0.5, top_p=0.9, store=True) == {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
    }
    assert asked(reasoning={"effort": "minimal"}) == {"reasoning_effort": "low"}
    assert asked(VLLM, reasoning={"effort": "none"})["chat_template_kwargs"]["enable_thinking"] is False
    form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    assert asked(text=form)["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_conversation_with_tools_and_images() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    system, user, assistant, tool = messages(
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What?"}, image]},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "t1", "name": "f", "arguments": '{"z": 1}'},
        {"type": "function_call_output", "call_id": "t1", "output": "rain"},
    )
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"z": 1}'}}
    assert assistant == {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    assert tool == {"role": "tool", "tool_call_id": "t1", "content": "rain"}


def test_functions_are_tools_and_of_others_the_model_does_not_hear() -> None:
    function = {"name": "f", "parameters": SCHEMA, "description": "d"}
    sent = {"tools": [{"type": "function", "function": function}]}
    assert asked(tools=[TOOL, {"type": "web_search"}]) == sent
    assert asked(tools=[TOOL], tool_choice="required", parallel_tool_calls=False) == {
        **sent,
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    named = {"type": "function", "name": "f"}
    assert asked(tools=[TOOL], tool_choice=named)["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert asked(tools=[{"type": "web_search"}]) == {}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": ""}, "model is required"),
        ({"input": []}, "input is required"),
        ({"input": [3]}, "input[0]: invalid input item"),
        ({"input": [{"type": "video"}]}, 'input[0]: unknown input item type: "video"'),
        ({"input": [{"role": "nobody", "content": ""}]}, "input[0].role: must be"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0]: parts of the type input_file"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
            "input[0]: an image must be a data: URI",
        ),
        ({"previous_response_id": "resp_1"}, "previous_response_id: the model server keeps no responses"),
        ({"max_output_tokens": "many"}, 'option "max_output_tokens" must be of type integer'),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as refused:
        translated(**fields)
    assert refused.value.status == 400
    assert str(refused.value).startswith(text)


# --- Answers ----------------------------------------------------------------------------------------------------------


def full_stream() -> list[dict[str, Any]]:
    call = {"index": 0, "id": "t1", "function": {"name": "f", "arguments": '{"city": "Bern"}'}}
    return events(
        chunk(role="assistant", content=""),
        chunk(reasoning="hm"),
        chunk(content="I "),
        chunk(content="look."),
        chunk(tool_calls=[call]),
        chunk("tool_calls"),
        counted(),
        DONE,
        tools=[TOOL],
        temperature=0.5,
    )


def test_a_stream_is_a_response_whose_items_grow() -> None:
    said = full_stream()
    assert [(event["type"].removeprefix("response."), event.get("output_index")) for event in said] == [
        *[("created", None), ("in_progress", None)],
        *[("output_item.added", 0), ("reasoning_summary_text.delta", 0), ("reasoning_summary_text.done", 0)],
        *[("output_item.done", 0), ("output_item.added", 1), ("content_part.added", 1)],
        *[("output_text.delta", 1), ("output_text.delta", 1), ("output_text.done", 1), ("content_part.done", 1)],
        *[("output_item.done", 1), ("output_item.added", 2), ("function_call_arguments.delta", 2)],
        *[("function_call_arguments.done", 2), ("output_item.done", 2), ("completed", None)],
    ]
    response = said[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call"]
    assert response["output"] == [event["item"] for event in said if event["type"] == "response.output_item.done"]
    assert response["output"][1]["content"][0]["text"] == "I look."
    assert response["output"][2]["arguments"] == '{"city":"Bern"}'
    assert (response["usage"]["input_tokens"], response["usage"]["total_tokens"]) == (11, 14)
    assert (response["tools"], response["temperature"], response["status"]) == ([TOOL], 0.5, "completed")


def test_the_openai_clients_types_accept_every_event() -> None:
    responses = pytest.importorskip("openai.types.responses")
    pydantic = pytest.importorskip("pydantic")
    read = pydantic.TypeAdapter(responses.ResponseStreamEvent)
    for event in full_stream():
        assert read.validate_python(event).type == event["type"]
    answer = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
    assert responses.Response.model_validate(whole(answer)).output_text == "Hi"


def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    last = events(chunk(content="Hi"), chunk("length"), counted(), DONE)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_error_within_a_stream_is_its_last_event() -> None:
    last = events(chunk(content="Hi"), b'data: {"error":{"message":"out of memory"}}\n\n')[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "server_error", "message": "out of memory"}


def test_a_stream_cut_off_before_its_end_is_broken() -> None:
    with pytest.raises(StreamFailed):
        events(chunk(content="Hi"), chunk("stop"), counted())


texts = st.text(max_size=10)
items = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(("user", "developer")), texts),
    st.builds(lambda text: {"role": "assistant", "content": [{"type": "output_text", "text": text}]}, texts),
    st.builds(lambda text: {"type": "reasoning", "content": [{"type": "reasoning_text", "text": text}]}, texts),
    st.builds(lambda name: {"type": "function_call", "call_id": "t", "name": name, "arguments": "{}"}, texts),
    st.builds(lambda text: {"type": "function_call_output", "call_id": "t", "output": text}, texts),
)


@given(st.lists(items, max_size=6), st.booleans())
@settings(max_examples=150)
def test_a_valid_request_becomes_a_chat_that_a_strict_reader_understands(items: list[Any], stream: bool) -> None:
    for kind in (OPENAI, VLLM):
        request = translated(kind, input=[*items, {"role": "user", "content": "Hello"}], stream=stream)
        assert read_chat_completion(request.wanted.body or b"").wishes.stream is stream


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("type", "text", "role", "content", "format", "effort", "name", "output")), inner
        )
    ),
    max_leaves=10,
)
names = st.sampled_from(("model", "input", "tools", "tool_choice", "reasoning", "text", "instructions", "temperature"))


@given(st.dictionaries(names, json_values))
@settings(max_examples=150)
def test_any_json_is_translated_or_refused(fields: dict[str, Any]) -> None:
    with suppress(RequestError):
        translated(VLLM, **fields)
