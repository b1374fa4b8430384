"""The official `anthropic` client for Python."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.house import Home, needs
from tests.clients.questions import HELLO, PARAMETERS, STORY, TRIES, check_weather, user, weather_in

pytestmark = needs("anthropic")

WEATHER = {"name": "weather", "description": "The weather in a city.", "input_schema": PARAMETERS}


def connected(home: Home) -> Any:
    from anthropic import Anthropic

    return Anthropic(base_url=home.url, api_key="none", max_retries=0)


@pytest.fixture(name="client")
def client_of_the_house(home: Home) -> Iterator[Any]:
    with connected(home) as client:
        yield client


def test_a_message_is_answered(home: Home, client: Any) -> None:
    answer = client.messages.create(model=home.chat, max_tokens=12, system="Be short.", messages=user(HELLO))
    assert answer.content[0].text
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    assert answer.usage.input_tokens > 0
    assert 0 < answer.usage.output_tokens <= 12


def test_a_message_is_streamed(home: Home, client: Any) -> None:
    with client.messages.stream(model=home.chat, max_tokens=12, messages=user(HELLO)) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text.strip()
    assert message.content[0].text == text
    assert message.usage.output_tokens > 0


async def test_the_asynchronous_client_streams_too(home: Home) -> None:
    from anthropic import AsyncAnthropic

    async with (
        AsyncAnthropic(base_url=home.url, api_key="none", max_retries=0) as client,
        client.messages.stream(model=home.chat, max_tokens=12, messages=user(HELLO)) as stream,
    ):
        words = [word async for word in stream.text_stream]
    assert "".join(words).strip()


def test_a_tool_is_called_and_its_answer_taken(simulated: Home) -> None:
    with connected(simulated) as client:
        for number in range(TRIES):
            messages = user(weather_in(number))
            asked = client.messages.create(model=simulated.chat, max_tokens=100, messages=messages, tools=[WEATHER])
            if asked.stop_reason == "tool_use":
                break
        (call,) = [block for block in asked.content if block.type == "tool_use"]
        check_weather(call.name, call.input)
        told = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
        conversation = [*messages, {"role": "assistant", "content": asked.content}, told]
        answer = client.messages.create(model=simulated.chat, max_tokens=12, messages=conversation, tools=[WEATHER])
    assert answer.content[0].text


def test_a_streamed_tool_call_arrives_in_parts(simulated: Home) -> None:
    with connected(simulated) as client:
        for number in range(TRIES):
            with client.messages.stream(
                model=simulated.chat, max_tokens=100, messages=user(weather_in(number)), tools=[WEATHER]
            ) as stream:
                message = stream.get_final_message()
            if message.stop_reason == "tool_use":
                break
    (call,) = [block for block in message.content if block.type == "tool_use"]
    check_weather(call.name, call.input)


def test_tokens_are_counted(home: Home, client: Any) -> None:
    short = client.messages.count_tokens(model=home.chat, messages=user(HELLO)).input_tokens
    long = client.messages.count_tokens(model=home.chat, messages=user(HELLO * 20)).input_tokens
    assert 0 < short < long


def test_a_model_that_nobody_has_is_not_found(client: Any) -> None:
    from anthropic import NotFoundError

    with pytest.raises(NotFoundError, match="model 'nothing:1b' not found") as refused:
        client.messages.create(model="nothing:1b", max_tokens=12, messages=user(HELLO))
    body: Any = refused.value.body
    assert body["error"]["type"] == "not_found_error"


def test_a_client_that_hangs_up_frees_the_model(home: Home, client: Any) -> None:
    with home.abandoned():
        stream = client.messages.create(model=home.chat, max_tokens=1900, messages=user(STORY), stream=True)
        next(stream)
        stream.close()
