"""The shapes of /v1: completions, responses and messages; chats are with the other answers."""

import json
from typing import Any

import pytest

from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

MODEL, THINKER = "llama3.2:3b", "qwen3:8b"
HI = [{"role": "user", "content": "hi"}]
PARAMETERS = {"type": "object", "properties": {"place": {"type": "string"}}}
WALL = 1_780_315_200


@pytest.fixture
def fake() -> FakeOllama:
    made = FakeOllama(PROFILES["mini-pc"].faster(1e6), CATALOG.values())
    made.wall = lambda: float(WALL)
    return made


async def ask(fake: FakeOllama, path: str, **body: Any) -> RecordingSink:
    answer = await call(fake.handle, "POST", path, {"model": MODEL, **body})
    assert answer.finished
    assert answer.status == 200, answer.body
    return answer


def data(answer: RecordingSink) -> list[Any]:
    """The objects of unnamed events, one a write, that end with [DONE]."""
    assert answer.header("Content-Type") == "text/event-stream"
    assert answer.pieces[-1] == b"data: [DONE]\n\n"
    return [json.loads(piece.removeprefix(b"data: ")) for piece in answer.pieces[:-1]]


def named(answer: RecordingSink) -> list[Any]:
    """The objects of named events, one a write; the name is their type."""
    assert answer.header("Content-Type") == "text/event-stream"
    assert answer.header("Cache-Control") == "no-cache"
    found = []
    for piece in answer.pieces:
        name, rest = piece.decode().removesuffix("\n\n").split("\n")
        found.append(json.loads(rest.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def types(events: list[Any]) -> list[str]:
    """Their types in order, with those of several deltas in a row once."""
    found = [event["type"] for event in events]
    return [one for index, one in enumerate(found) if index == 0 or one != found[index - 1]]


async def first_with_call(fake: FakeOllama, path: str, **body: Any) -> RecordingSink:
    """The answer to the first of some requests that is answered by a call: which it is is decided by their hash."""
    for number in range(20):
        field = "input" if path == "/v1/responses" else "messages"
        said = f"weather {number}" if field == "input" else [{"role": "user", "content": f"weather {number}"}]
        answer = await ask(fake, path, **{field: said}, **body)
        if b'weather"' in answer.body:
            return answer
    raise AssertionError("no call")


# --- Chats --------------------------------------------------------------------------------------------------------

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]


async def test_thoughts_of_a_chat_are_its_reasoning(fake: FakeOllama) -> None:
    path = "/v1/chat/completions"
    deltas = [c["choices"][0]["delta"] for c in data(await ask(fake, path, model=THINKER, messages=HI, stream=True))]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [sorted(delta) for delta in deltas[1:3]] == [["reasoning"], ["reasoning"]]
    assert sorted(deltas[-2]) == ["content"]
    message = (await ask(fake, path, model=THINKER, messages=HI)).json["choices"][0]["message"]
    assert message["reasoning"] == "".join(delta.get("reasoning", "") for delta in deltas)
    assert message["content"] == "".join(delta.get("content", "") for delta in deltas)
    still = await ask(fake, path, model=THINKER, messages=HI, reasoning_effort="none")
    assert "reasoning" not in still.json["choices"][0]["message"]


async def test_a_call_of_a_chat_comes_whole_and_ends_it(fake: FakeOllama) -> None:
    answer = await first_with_call(fake, "/v1/chat/completions", tools=TOOLS, stream=True)
    first, called, last = (chunk["choices"][0] for chunk in data(answer))
    assert first["delta"] == {"role": "assistant", "content": ""}
    (call_,) = called["delta"]["tool_calls"]
    assert (call_["index"], call_["type"], call_["function"]["name"]) == (0, "function", "weather")
    assert list(json.loads(call_["function"]["arguments"])) == ["place"]
    assert (last["delta"], last["finish_reason"]) == ({}, "tool_calls")
    whole = await first_with_call(fake, "/v1/chat/completions", tools=TOOLS)
    assert whole.json["choices"][0]["message"]["tool_calls"] == [call_]
    assert whole.json["choices"][0]["finish_reason"] == "tool_calls"


# --- Completions --------------------------------------------------------------------------------------------------


async def test_a_whole_text_completion(fake: FakeOllama) -> None:
    answer = await ask(fake, "/v1/completions", prompt="hi", max_tokens=2)
    assert answer.json.pop("id").startswith("cmpl-")
    assert answer.json["object"] == "text_completion"
    assert answer.json["choices"] == [{"text": "Simulated", "index": 0, "finish_reason": "length"}]
    assert answer.json["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


async def test_a_streamed_text_completion_has_no_usage_until_its_last_chunk(fake: FakeOllama) -> None:
    usage = {"include_usage": True}
    answer = await ask(fake, "/v1/completions", prompt="hi", max_tokens=2, stream=True, stream_options=usage)
    *chunks, last = data(answer)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Simulat", "ed", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "length"]
    assert {chunk["usage"]["total_tokens"] for chunk in chunks} == {0}
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_text_completion_without_a_prompt_loads_the_model(fake: FakeOllama, stream: bool) -> None:
    answer = await ask(fake, "/v1/completions", prompt="", stream=stream)
    last = data(answer)[-1] if stream else answer.json
    assert last["choices"][0] == {"text": "", "index": 0, "finish_reason": "load"}
    assert list(fake.resident) == [MODEL]


async def test_thoughts_have_no_place_in_a_text_completion(fake: FakeOllama) -> None:
    answer = await ask(fake, "/v1/completions", model=THINKER, prompt="hi")
    assert answer.json["choices"][0]["text"].startswith("Simulated answer")


# --- Responses ----------------------------------------------------------------------------------------------------

FUNCTION = [{"type": "function", "name": "weather", "parameters": PARAMETERS}, {"type": "web_search"}]
MESSAGE_EVENTS = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


async def test_a_streamed_response_is_created_grows_and_is_completed(fake: FakeOllama) -> None:
    events = named(await ask(fake, "/v1/responses", input="hi", stream=True))
    assert types(events) == ["response.created", "response.in_progress", *MESSAGE_EVENTS, "response.completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(event["delta"] for event in events if event["type"].endswith("delta"))
    response = events[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == text
    assert (response["status"], response["store"], response["model"]) == ("completed", False, MODEL)
    assert events[0]["response"]["status"] == "in_progress"
    whole = await ask(fake, "/v1/responses", input="hi")
    assert whole.json == response


async def test_a_thinking_models_response_begins_with_its_reasoning(fake: FakeOllama) -> None:
    events = named(await ask(fake, "/v1/responses", model=THINKER, input="hi", stream=True))
    assert types(events)[2:] == [
        "response.output_item.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.output_item.done",
        *MESSAGE_EVENTS,
        "response.completed",
    ]
    assert [event["output_index"] for event in events if event["type"].endswith("item.done")] == [0, 1]
    response = events[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    usage = response["usage"]
    assert 20 <= usage["output_tokens_details"]["reasoning_tokens"] < usage["output_tokens"]
    assert (await ask(fake, "/v1/responses", model=THINKER, input="hi")).json == response


async def test_a_call_of_a_response_is_an_item_of_its_own(fake: FakeOllama) -> None:
    events = named(await first_with_call(fake, "/v1/responses", tools=FUNCTION, stream=True))
    assert types(events)[2:] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["status"]) == ("function_call", "weather", "completed")
    assert list(json.loads(item["arguments"])) == ["place"]


async def test_a_response_goes_on_from_items_and_after_a_tools_output_it_speaks(fake: FakeOllama) -> None:
    for number in range(8):
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "weather"}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": str(number)},
        ]
        answer = await ask(fake, "/v1/responses", input=items, instructions="be brief", tools=FUNCTION)
        assert [item["type"] for item in answer.json["output"]] == ["message"]


async def test_a_limit_of_a_response_is_no_wish(fake: FakeOllama) -> None:
    free = await ask(fake, "/v1/responses", input="hi")
    roomy = await ask(fake, "/v1/responses", input="hi", max_output_tokens=100_000)
    tight = await ask(fake, "/v1/responses", input="hi", max_output_tokens=3)
    assert roomy.json["usage"]["output_tokens"] < 200
    assert tight.json["usage"]["output_tokens"] == 3 < free.json["usage"]["output_tokens"]


async def test_a_response_in_json(fake: FakeOllama) -> None:
    form = {"format": {"type": "json_schema", "name": "x", "schema": PARAMETERS}}
    answer = await ask(fake, "/v1/responses", input="hi", text=form)
    assert list(json.loads(answer.json["output"][0]["content"][0]["text"])) == ["place"]


# --- Messages -----------------------------------------------------------------------------------------------------


async def test_a_streamed_message_starts_grows_and_stops(fake: FakeOllama) -> None:
    events = named(await ask(fake, "/v1/messages?beta=true", messages=HI, max_tokens=1_000, stream=True))
    assert types(events) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, stop = events[0]["message"], events[-2]
    assert (start["content"], start["stop_reason"], start["usage"]["input_tokens"]) == ([], None, 5)
    assert events[1]["content_block"] == {"type": "text", "text": ""}
    assert {event["delta"]["type"] for event in events[2:-3]} == {"text_delta"}
    assert stop["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    whole = (await ask(fake, "/v1/messages", messages=HI, max_tokens=1_000)).json
    assert whole["content"] == [{"type": "text", "text": "".join(event["delta"]["text"] for event in events[2:-3])}]
    assert whole["usage"] == stop["usage"] == {"input_tokens": 5, "output_tokens": len(events) - 5}
    assert (whole["id"], whole["role"], whole["model"]) == (start["id"], "assistant", MODEL)


async def test_a_message_that_is_cut_off_says_so(fake: FakeOllama) -> None:
    answer = await ask(fake, "/v1/messages", messages=HI, max_tokens=3)
    assert (answer.json["stop_reason"], answer.json["usage"]["output_tokens"]) == ("max_tokens", 3)


async def test_thoughts_of_a_message_are_a_block(fake: FakeOllama) -> None:
    events = named(await ask(fake, "/v1/messages", model=THINKER, messages=HI, max_tokens=1_000, stream=True))
    starts = [event for event in events if event["type"] == "content_block_start"]
    assert [(start["index"], start["content_block"]["type"]) for start in starts] == [(0, "thinking"), (1, "text")]
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert list(dict.fromkeys(deltas)) == ["thinking_delta", "text_delta"]
    off = {"type": "disabled"}
    still = await ask(fake, "/v1/messages", model=THINKER, messages=HI, max_tokens=1_000, thinking=off)
    assert [block["type"] for block in still.json["content"]] == ["text"]


async def test_a_call_of_a_message_is_a_block_and_the_reason_it_stops(fake: FakeOllama) -> None:
    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    events = named(await first_with_call(fake, "/v1/messages", tools=tools, max_tokens=1_000, stream=True))
    assert types(events)[1:4] == ["content_block_start", "content_block_delta", "content_block_stop"]
    assert (events[1]["content_block"]["name"], events[1]["content_block"]["input"]) == ("weather", {})
    arguments = json.loads(events[2]["delta"]["partial_json"])
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    whole = (await first_with_call(fake, "/v1/messages", tools=tools, max_tokens=1_000)).json
    assert (whole["content"][0]["input"], whole["stop_reason"]) == (arguments, "tool_use")


async def test_a_message_of_blocks_counts_like_plain_ones_and_a_tools_result_is_answered_in_words(
    fake: FakeOllama,
) -> None:
    plain = await ask(fake, "/v1/messages", messages=HI, system="be brief", max_tokens=9)
    blocks = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    system = [{"type": "text", "text": "be brief"}]
    assert (await ask(fake, "/v1/messages", messages=blocks, system=system, max_tokens=9)).body == plain.body
    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    for number in range(8):
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": str(number)}
        called = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
        talk = [*HI, {"role": "assistant", "content": [called]}, {"role": "user", "content": [result]}]
        answer = await ask(fake, "/v1/messages", messages=talk, tools=tools, max_tokens=100)
        assert [block["type"] for block in answer.json["content"]] == ["text"]


# --- Official clients ---------------------------------------------------------------------------------------------


def with_newer_usage(event: Any) -> Any:
    """The event with the one number that the client's types want and Ollama does not know of."""
    usage = event.get("response", {}).get("usage")
    if usage is not None:
        usage["input_tokens_details"]["cache_write_tokens"] = 0
    return event


async def test_the_openai_clients_types_accept_events_of_responses(fake: FakeOllama) -> None:
    pydantic = pytest.importorskip("pydantic")
    responses = pytest.importorskip("openai.types.responses")
    of_event = pydantic.TypeAdapter(responses.ResponseStreamEvent)
    for model in (MODEL, THINKER):
        answer = await first_with_call(fake, "/v1/responses", model=model, tools=FUNCTION, stream=True)
        for event in (*named(answer), *named(await ask(fake, "/v1/responses", model=model, input="hi", stream=True))):
            of_event.validate_python(with_newer_usage(event))
        whole = await ask(fake, "/v1/responses", model=model, input="hi")
        responses.Response.model_validate(with_newer_usage({"response": whole.json})["response"])


async def test_the_openai_clients_types_accept_the_other_answers(fake: FakeOllama) -> None:
    types_ = pytest.importorskip("openai.types")
    chat = pytest.importorskip("openai.types.chat")
    for chunk in data(await first_with_call(fake, "/v1/chat/completions", tools=TOOLS, stream=True)):
        chat.ChatCompletionChunk.model_validate(chunk)
    chat.ChatCompletion.model_validate((await first_with_call(fake, "/v1/chat/completions", tools=TOOLS)).json)
    types_.Model.model_validate((await call(fake.handle, "GET", f"/v1/models/{MODEL}")).json)
    vectors = await ask(fake, "/v1/embeddings", model="nomic-embed-text", input=["a", "b"])
    types_.CreateEmbeddingResponse.model_validate(vectors.json)
