"""The official `openai` client for Python."""

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
from tests.protocols.forms import wav

pytestmark = needs("openai")


@pytest.fixture(name="client")
def client_of_the_house(home: Home) -> Iterator[Any]:
    from openai import OpenAI

    with OpenAI(base_url=f"{home.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models_are_listed(home: Home, client: Any) -> None:
    assert {home.chat, home.vectors} <= {model.id for model in client.models.list()}


def test_a_model_says_whether_it_makes_vectors(home: Home, client: Any) -> None:
    makes = {model.id: "embedding" in model.capabilities for model in client.models.list()}
    assert (makes[home.vectors], makes[home.chat]) == (True, False)


def test_one_model_is_shown(home: Home, client: Any) -> None:
    assert client.models.retrieve(home.chat).id == home.chat


def test_a_chat_is_answered(home: Home, client: Any) -> None:
    answer = client.chat.completions.create(model=home.chat, messages=user(HELLO), max_tokens=12)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 12


def test_a_chat_is_streamed(home: Home, client: Any) -> None:
    stream = client.chat.completions.create(
        model=home.chat, messages=user(HELLO), max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices).strip()
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert 0 < chunks[-1].usage.completion_tokens <= 12


async def test_the_asynchronous_client_streams_too(home: Home) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"{home.url}/v1", api_key="none", max_retries=0) as client:
        stream: Any = await client.chat.completions.create(
            model=home.chat, messages=user(HELLO), max_tokens=12, stream=True
        )
        words = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    assert "".join(words).strip()


def test_a_tool_is_called_and_its_answer_taken(home: Home, client: Any) -> None:
    for number in range(TRIES):
        messages = user(weather_in(number))
        asked = client.chat.completions.create(
            model=home.chat,
            messages=messages,
            tools=[WEATHER],
            tool_choice="required",
            parallel_tool_calls=False,
            logit_bias={"{": 100},  # the real one begins no call by itself
            max_tokens=100,
        )
        if calls := asked.choices[0].message.tool_calls:
            break
    check_weather(calls[0].function.name, json.loads(calls[0].function.arguments))
    assert asked.choices[0].finish_reason == "tool_calls"
    told = {"role": "tool", "tool_call_id": calls[0].id, "content": "rain"}
    conversation = [*messages, asked.choices[0].message.model_dump(exclude_none=True), told]
    answer = client.chat.completions.create(model=home.chat, messages=conversation, max_tokens=12)
    assert answer.choices[0].message.content


def test_an_answer_keeps_to_a_schema(home: Home, client: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "light", "schema": SCHEMA, "strict": True}}
    answer = client.chat.completions.create(model=home.chat, messages=user("Which light?"), response_format=form)
    check_schema(answer.choices[0].message.content)


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
def test_texts_become_vectors(home: Home, client: Any, form: dict[str, Any]) -> None:
    """The client asks for base64 unless it is told otherwise, and decodes it."""
    answer = client.embeddings.create(model=home.vectors, input=["one", "two"], **form)
    assert [item.index for item in answer.data] == [0, 1]
    assert [len(item.embedding) for item in answer.data] == [home.dimensions] * 2
    assert answer.data[0].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens > 0


def test_tokens_in_place_of_texts_are_refused_as_ollama_does(simulated: Home) -> None:
    """LangChain sends them unless it is told `check_embedding_ctx_length=False`."""
    from openai import BadRequestError, OpenAI

    with (
        OpenAI(base_url=f"{simulated.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(BadRequestError, match="invalid input type"),
    ):
        client.embeddings.create(model=simulated.vectors, input=[[1, 2, 3]])


def test_a_text_is_completed(home: Home, client: Any) -> None:
    answer = client.completions.create(model=home.chat, prompt="Once upon a time", max_tokens=12)
    assert answer.choices[0].text
    chunks = list(client.completions.create(model=home.chat, prompt="Once upon a time", max_tokens=12, stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices)


def test_a_response_is_given(home: Home, client: Any) -> None:
    answer = client.responses.create(model=home.chat, input=HELLO, max_output_tokens=12)
    assert answer.output_text
    assert answer.usage.output_tokens > 0


def test_a_response_is_streamed(home: Home, client: Any) -> None:
    events = list(client.responses.create(model=home.chat, input=HELLO, max_output_tokens=12, stream=True))
    assert events[0].type == "response.created"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type in {"response.completed", "response.incomplete"}


@pytest.mark.parametrize("kind", ["chat", "embeddings", "completions", "responses"])
def test_a_model_that_nobody_has_is_not_found(home: Home, client: Any, kind: str) -> None:
    from openai import NotFoundError

    asks = {
        "chat": lambda: client.chat.completions.create(model="nothing:1b", messages=user(HELLO)),
        "embeddings": lambda: client.embeddings.create(model="nothing:1b", input="one"),
        "completions": lambda: client.completions.create(model="nothing:1b", prompt="one"),
        "responses": lambda: client.responses.create(model="nothing:1b", input="one"),
    }
    with pytest.raises(NotFoundError, match=r"model [\"']nothing:1b[\"'] not found") as refused:
        asks[kind]()
    assert refused.value.request_id


def test_a_client_comes_back_when_it_is_told_to(simulated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from openai import OpenAI

    waits: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", waits.append)
    with OpenAI(base_url=f"{simulated.url}/v1", api_key="none", max_retries=1) as client:
        simulated.busy()
        answer = client.chat.completions.create(model=simulated.chat, messages=user(HELLO), max_tokens=12)
    assert answer.choices[0].message.content
    assert len(waits) == 1
    assert waits[0] >= 1
    assert waits[0] == int(waits[0])  # as the router said; its own waits are shorter, and no whole seconds


def test_a_client_that_hangs_up_frees_the_model(home: Home, client: Any) -> None:
    with home.abandoned():
        stream = client.chat.completions.create(model=home.chat, messages=user(STORY), max_tokens=1900, stream=True)
        next(stream)
        stream.close()


def test_forms_with_files_are_understood_and_refused_where_the_model_cannot_do_it(home: Home, client: Any) -> None:
    from openai import BadRequestError

    why = f"no node can do this with {home.chat}"
    with pytest.raises(BadRequestError, match=why):
        client.audio.transcriptions.create(model=home.chat, file=("a.wav", wav(1)), language="en")
    with pytest.raises(BadRequestError, match=why):
        client.images.edit(model=home.chat, prompt="red", image=("a.png", b"\x89PNG", "image/png"))


def test_what_is_missing_for_an_image_is_said(home: Home, client: Any) -> None:
    from openai import InternalServerError

    with pytest.raises(InternalServerError, match="image models need a node with mflux") as caught:
        client.images.generate(model="z-image-turbo", prompt="a cat")
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "5")
