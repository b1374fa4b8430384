"""The official `ollama` client for Python."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
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
from tests.e2e.house import LOOK_EVERY_S

pytestmark = needs("ollama")

SHORT = {"num_predict": 12}


def connected(home: Home) -> Any:
    from ollama import Client

    return Client(host=home.url)


@pytest.fixture(name="client")
def client_of_the_house(home: Home) -> Iterator[Any]:
    client = connected(home)
    yield client
    client.close()


@pytest.fixture(name="native")
def client_of_ollamas_alone(simulated: Home) -> Iterator[Any]:
    """What only Ollama has."""
    client = connected(simulated)
    yield client
    client.close()


def test_models_are_listed(home: Home, client: Any) -> None:
    assert {home.chat, home.vectors} <= {model.model for model in client.list().models}


def test_models_in_memory_are_listed(home: Home, client: Any) -> None:
    client.chat(home.chat, user(HELLO), options=SHORT)
    while home.chat not in {model.model for model in client.ps().models}:
        time.sleep(LOOK_EVERY_S)  # the agent looks every two seconds


def test_a_model_is_shown(home: Home, client: Any) -> None:
    shown = client.show(home.chat)
    assert "completion" in shown.capabilities
    assert shown.details.format == "gguf"


def test_a_chat_is_answered(home: Home, client: Any) -> None:
    answer = client.chat(home.chat, user(HELLO), options=SHORT)
    assert answer.message.content
    assert answer.done
    assert 0 < answer.eval_count <= 12
    assert answer.total_duration > 0


def test_a_chat_is_streamed(home: Home, client: Any) -> None:
    pieces = list(client.chat(home.chat, user(HELLO), options=SHORT, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces).strip()
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].eval_count > 0


async def test_the_asynchronous_client_streams_too(home: Home) -> None:
    from ollama import AsyncClient

    client: Any = AsyncClient(host=home.url)
    stream = await client.chat(home.chat, user(HELLO), options=SHORT, stream=True)
    assert "".join([piece.message.content or "" async for piece in stream]).strip()
    await client.close()


def test_a_prompt_is_continued(home: Home, client: Any) -> None:
    assert client.generate(home.chat, "Once upon a time", options=SHORT).response
    pieces = list(client.generate(home.chat, "Once upon a time", options=SHORT, stream=True))
    assert "".join(piece.response for piece in pieces).strip()
    assert pieces[-1].done


def test_a_tool_is_called_and_its_answer_taken(simulated: Home, native: Any) -> None:
    for number in range(TRIES):
        messages = user(weather_in(number))
        asked = native.chat(simulated.chat, messages, tools=[WEATHER]).message
        if asked.tool_calls:
            break
    check_weather(asked.tool_calls[0].function.name, asked.tool_calls[0].function.arguments)
    told = {"role": "tool", "tool_name": "weather", "content": "rain"}
    answer = native.chat(simulated.chat, [*messages, asked, told], tools=[WEATHER], options=SHORT)
    assert answer.message.content


def test_an_answer_keeps_to_a_schema(home: Home, client: Any) -> None:
    check_schema(client.chat(home.chat, user("Which light?"), format=SCHEMA).message.content)


def test_texts_become_vectors(home: Home, client: Any) -> None:
    answer = client.embed(home.vectors, ["one", "two"])
    assert [len(vector) for vector in answer.embeddings] == [home.dimensions] * 2
    assert sum(number * number for number in answer.embeddings[0]) == pytest.approx(1.0, abs=1e-3)
    assert len(client.embeddings(home.vectors, "one").embedding) == home.dimensions


@pytest.mark.parametrize("kind", ["chat", "generate", "embed", "embeddings", "show"])
def test_a_model_that_nobody_has_is_not_found(home: Home, client: Any, kind: str) -> None:
    from ollama import ResponseError

    asks = {
        "chat": lambda: client.chat("nothing:1b", user(HELLO)),
        "generate": lambda: client.generate("nothing:1b", "one"),
        "embed": lambda: client.embed("nothing:1b", "one"),
        "embeddings": lambda: client.embeddings("nothing:1b", "one"),
        "show": lambda: client.show("nothing:1b"),
    }
    with pytest.raises(ResponseError, match=r"model [\"']nothing:1b[\"'] not found") as refused:
        asks[kind]()
    assert refused.value.status_code == 404


def test_a_client_that_hangs_up_frees_the_model(home: Home, client: Any) -> None:
    with home.abandoned():
        stream = client.chat(home.chat, user(STORY), options={"num_predict": 1900}, stream=True)
        next(stream)
        stream.close()


# --- what only Ollama has ---------------------------------------------------------------------------------------------


def test_a_model_is_loaded_and_unloaded_without_a_question(simulated: Home, native: Any) -> None:
    assert native.generate(simulated.chat).done_reason == "load"
    assert native.chat(simulated.chat, []).done_reason == "load"
    assert native.generate(simulated.chat, keep_alive=0).done_reason == "unload"


def test_a_model_is_pulled_and_deleted(native: Any) -> None:
    steps = [step.status for step in native.pull("gemma3:1b", stream=True)]
    assert (steps[0], steps[-1]) == ("pulling manifest", "success")
    assert native.pull("gemma3:1b").status == "success"
    assert "gemma3:1b" in {model.model for model in native.list().models}
    assert native.delete("gemma3:1b").status == "success"
    assert "gemma3:1b" not in {model.model for model in native.list().models}


def test_a_model_that_no_registry_has_is_not_pulled(native: Any) -> None:
    from ollama import ResponseError

    with pytest.raises(ResponseError, match="pull model manifest: file does not exist"):
        native.pull("nothing:1b")
    with pytest.raises(ResponseError, match="pull model manifest: file does not exist"):
        list(native.pull("nothing:1b", stream=True))


def test_a_model_is_copied(simulated: Home, native: Any) -> None:
    assert native.copy(simulated.chat, "twin:1b").status == "success"
    assert "twin:1b" in {model.model for model in native.list().models}
    assert native.chat("twin:1b", user(HELLO), options=SHORT).message.content
    native.delete("twin:1b")


def test_a_model_is_made_of_another(simulated: Home, native: Any) -> None:
    steps = [step.status for step in native.create("pirate:1b", from_=simulated.chat, system="Arr.", stream=True)]
    assert steps[-1] == "success"
    assert native.show("pirate:1b").modelfile
    native.delete("pirate:1b")


def test_a_part_of_a_model_is_uploaded(native: Any, tmp_path: Path) -> None:
    part = tmp_path / "part.gguf"
    part.write_bytes(b"GGUF" + bytes(1000))
    assert native.create_blob(part) == f"sha256:{hashlib.sha256(part.read_bytes()).hexdigest()}"
