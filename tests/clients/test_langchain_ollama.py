"""LangChain's `langchain-ollama`."""

from typing import Any

import pytest

from tests.clients.house import Home, needs
from tests.clients.questions import (
    HELLO,
    SCHEMA,
    STORY,
    TRIES,
    WEATHER,
    check_weather,
    weather_in,
)

pytestmark = needs("langchain-ollama", slow=True)


def model(home: Home, name: str = "", tokens: int = 12, **options: Any) -> Any:
    from langchain_ollama import ChatOllama

    return ChatOllama(model=name or home.chat, base_url=home.url, num_predict=tokens, **options)


def test_a_chat_is_answered(home: Home) -> None:
    """It streams in any case."""
    answer = model(home).invoke(HELLO)
    assert answer.text
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["done_reason"] in {"stop", "length"}


def test_a_chat_is_streamed(home: Home) -> None:
    assert "".join(piece.text for piece in model(home).stream(HELLO)).strip()


async def test_a_chat_is_streamed_asynchronously(home: Home) -> None:
    assert "".join([piece.text async for piece in model(home).astream(HELLO)]).strip()


def test_a_model_is_found_in_the_list_when_it_is_set_up(home: Home) -> None:
    assert model(home, validate_model_on_init=True).invoke(HELLO).text
    with pytest.raises(ValueError, match="nothing:1b"):
        model(home, "nothing:1b", validate_model_on_init=True)


def test_a_tool_is_called(simulated: Home) -> None:
    chat = model(simulated, tokens=100).bind_tools([WEATHER])
    for number in range(TRIES):
        if calls := chat.invoke(weather_in(number)).tool_calls:
            break
    check_weather(calls[0]["name"], calls[0]["args"])


def test_an_answer_keeps_to_a_schema(home: Home) -> None:
    light = model(home, tokens=100).with_structured_output({"title": "light", **SCHEMA}, method="json_schema")
    assert set(light.invoke("Which light?")) == {"colour", "bright"}


def test_texts_become_vectors(home: Home) -> None:
    """It sends some ten options, most of them null."""
    from langchain_ollama import OllamaEmbeddings

    vectors = OllamaEmbeddings(model=home.vectors, base_url=home.url).embed_documents(["one", "two"])
    assert [len(vector) for vector in vectors] == [home.dimensions] * 2


def test_a_model_that_nobody_has_is_not_found(home: Home) -> None:
    from ollama import ResponseError

    with pytest.raises(ResponseError, match="model 'nothing:1b' not found"):
        model(home, "nothing:1b").invoke(HELLO)


def test_a_client_that_hangs_up_frees_the_model(home: Home) -> None:
    with home.abandoned():
        stream = model(home, tokens=1900).stream(STORY)
        next(stream)
        stream.close()
