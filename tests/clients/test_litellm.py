"""`litellm`, which speaks Ollama's own API to it, and asks what a model can before it asks the model."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.house import Home, needs
from tests.clients.questions import (
    HELLO,
    SCHEMA,
    STORY,
    TRIES,
    WEATHER,
    check_schema,
    check_weather,
    user,
    weather_in,
)

pytestmark = [
    *needs("litellm", slow=True),
    # Types of its own, read by Pydantic when the first answer comes.
    pytest.mark.filterwarnings("ignore:Items? '.*' on TypedDict class:UserWarning"),
]


@pytest.fixture(name="litellm")
def litellm_offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """It fetches a list of prices when it is imported, unless it is told to take its own."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    yield litellm
    litellm.in_memory_llm_clients_cache.flush_cache()


def asked(litellm: Any, home: Home, text: str, *, kind: str = "ollama_chat", name: str = "", **more: Any) -> Any:
    options = {"max_tokens": 12, "num_retries": 0} | more
    return litellm.completion(model=f"{kind}/{name or home.chat}", messages=user(text), api_base=home.url, **options)


@pytest.mark.parametrize("kind", ["ollama_chat", "ollama"])
def test_a_chat_is_answered(home: Home, litellm: Any, kind: str) -> None:
    """By /api/chat, and by /api/generate; without a Content-Type."""
    answer = asked(litellm, home, HELLO, kind=kind)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("kind", ["ollama_chat", "ollama"])
def test_a_chat_is_streamed(home: Home, litellm: Any, kind: str) -> None:
    pieces = list(asked(litellm, home, HELLO, kind=kind, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces).strip()


async def test_a_chat_is_answered_asynchronously(home: Home, litellm: Any) -> None:
    answer = await litellm.acompletion(
        model=f"ollama_chat/{home.chat}", messages=user(HELLO), api_base=home.url, max_tokens=12
    )
    assert answer.choices[0].message.content


def test_a_tool_is_called(simulated: Home, litellm: Any) -> None:
    for number in range(TRIES):
        message = asked(litellm, simulated, weather_in(number), tools=[WEATHER], max_tokens=100).choices[0].message
        if message.tool_calls:
            break
    call = message.tool_calls[0].function
    check_weather(call.name, json.loads(call.arguments))


def test_an_answer_keeps_to_a_schema(home: Home, litellm: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "light", "schema": SCHEMA}}
    answer = asked(litellm, home, "Which light?", response_format=form, max_tokens=100)
    check_schema(answer.choices[0].message.content)


def test_texts_become_vectors(home: Home, litellm: Any) -> None:
    answer = litellm.embedding(model=f"ollama/{home.vectors}", input=["one", "two"], api_base=home.url)
    assert [len(item["embedding"]) for item in answer.data] == [home.dimensions] * 2


def test_a_model_that_nobody_has_is_not_found(home: Home, litellm: Any) -> None:
    with pytest.raises(litellm.exceptions.NotFoundError, match="model 'nothing:1b' not found"):
        asked(litellm, home, HELLO, name="nothing:1b")


def test_a_client_that_hangs_up_frees_the_model(home: Home, litellm: Any) -> None:
    with home.abandoned():
        stream = asked(litellm, home, STORY, stream=True, max_tokens=1900)
        next(stream)
        stream.close()
