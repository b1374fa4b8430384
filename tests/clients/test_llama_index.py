"""LlamaIndex's `llama-index-llms-ollama`, which asks for the whole context that a model was trained for."""

from typing import Any

import pytest

from tests.clients.house import Home, needs
from tests.clients.questions import HELLO, SCHEMA, STORY, TRIES, check_schema, weather_in

pytestmark = needs("llama-index-llms-ollama", slow=True)


def model(home: Home, name: str = "", tokens: int = 12) -> Any:
    from llama_index.llms.ollama import Ollama

    options = {"num_predict": tokens}
    return Ollama(model=name or home.chat, base_url=home.url, request_timeout=50, additional_kwargs=options)


def said(text: str) -> Any:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="user", content=text)]


def test_a_chat_is_answered(home: Home) -> None:
    answer = model(home).chat(said(HELLO))
    assert answer.message.content
    assert answer.raw["eval_count"] > 0


def test_a_prompt_is_completed(home: Home) -> None:
    assert model(home).complete("Once upon a time").text


def test_a_chat_is_streamed(home: Home) -> None:
    assert "".join(piece.delta or "" for piece in model(home).stream_chat(said(HELLO))).strip()


async def test_a_chat_is_streamed_asynchronously(home: Home) -> None:
    stream = await model(home).astream_chat(said(HELLO))
    assert "".join([piece.delta or "" async for piece in stream]).strip()


def test_a_tool_is_called(simulated: Home) -> None:
    from llama_index.core.tools import FunctionTool

    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    llm = model(simulated, tokens=100)
    tool = FunctionTool.from_defaults(weather)
    for number in range(TRIES):
        answer = llm.chat_with_tools([tool], user_msg=weather_in(number))
        if calls := llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False):
            break
    assert calls[0].tool_name == "weather"
    assert isinstance(calls[0].tool_kwargs["city"], str)


def test_an_answer_keeps_to_a_schema(home: Home) -> None:
    check_schema(model(home, tokens=100).chat(said("Which light?"), format=SCHEMA).message.content)


def test_a_model_that_nobody_has_is_not_found(home: Home) -> None:
    from ollama import ResponseError

    with pytest.raises(ResponseError, match=r"model [\"']nothing:1b[\"'] not found"):
        model(home, "nothing:1b").chat(said(HELLO))


def test_a_client_that_hangs_up_frees_the_model(home: Home) -> None:
    with home.abandoned():
        stream = model(home, tokens=1900).stream_chat(said(STORY))
        next(stream)
        stream.close()
