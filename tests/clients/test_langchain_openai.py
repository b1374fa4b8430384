"""LangChain's `langchain-openai`."""

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

pytestmark = needs("langchain-openai", slow=True)


def model(home: Home, name: str = "", tokens: int = 12) -> Any:
    from langchain_openai import ChatOpenAI

    kinds: Any = {"model": name or home.chat, "max_tokens": tokens, "api_key": "none", "max_retries": 0}
    return ChatOpenAI(base_url=f"{home.url}/v1", **kinds)


def test_a_chat_is_answered(home: Home) -> None:
    answer = model(home).invoke(HELLO)
    assert answer.text
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_chat_is_streamed(home: Home) -> None:
    pieces = list(model(home).stream(HELLO))
    assert "".join(piece.text for piece in pieces).strip()


async def test_a_chat_is_streamed_asynchronously(home: Home) -> None:
    assert "".join([piece.text async for piece in model(home).astream(HELLO)]).strip()


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
    """It counts tokens itself, and sends them in place of texts, unless it is told not to."""
    from langchain_openai import OpenAIEmbeddings

    kinds: Any = {"model": home.vectors, "api_key": "none", "check_embedding_ctx_length": False}
    embedder = OpenAIEmbeddings(base_url=f"{home.url}/v1", **kinds)
    vectors = embedder.embed_documents(["one", "two"])
    assert [len(vector) for vector in vectors] == [home.dimensions] * 2


def test_a_model_that_nobody_has_is_not_found(home: Home) -> None:
    from openai import NotFoundError

    with pytest.raises(NotFoundError, match="model 'nothing:1b' not found"):
        model(home, "nothing:1b").invoke(HELLO)


def test_a_client_that_hangs_up_frees_the_model(home: Home) -> None:
    with home.abandoned():
        stream = model(home, tokens=1900).stream(STORY)
        next(stream)
        stream.close()
