"""What a request may wish of its answer: thoughts, tools, JSON; and that tokens may be gathered on their way."""

import json
import re
from typing import Any

import pytest

from herd.runtime.testing import run_virtual
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Seconds

HI = [{"role": "user", "content": "hi"}]
MODEL, THINKER = "llama3.2:3b", "qwen3:8b"
PARAMETERS = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 3},
        "unit": {"type": "string", "enum": ["C", "F"]},
    },
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "of a place", "parameters": PARAMETERS}}]


@pytest.fixture
def fake() -> FakeOllama:
    return FakeOllama(PROFILES["mini-pc"].faster(1e6), CATALOG.values())


def lines(answer: RecordingSink) -> list[Any]:
    return [json.loads(piece) for piece in answer.pieces]


async def test_a_model_that_can_think_does_so_first_and_its_thoughts_count(fake: FakeOllama) -> None:
    said = lines(await call(fake.handle, "POST", "/api/chat", {"model": THINKER, "messages": HI}))
    *tokens, last = said
    thoughts = [token["message"]["thinking"] for token in tokens if "thinking" in token["message"]]
    words = [token["message"]["content"] for token in tokens if "thinking" not in token["message"]]
    assert [token["message"]["content"] for token in tokens] == [""] * len(thoughts) + words
    assert len(thoughts) >= 20
    assert "".join(thoughts).startswith("Simulated thoughts:")
    assert "".join(words).startswith("Simulated answer")
    assert last["eval_count"] == len(thoughts) + len(words)
    whole = await call(fake.handle, "POST", "/api/chat", {"model": THINKER, "messages": HI, "stream": False})
    assert whole.json["message"] == {"role": "assistant", "content": "".join(words), "thinking": "".join(thoughts)}


@pytest.mark.parametrize(("think", "thinks"), [(None, True), (True, True), ("low", True), (False, False)])
async def test_a_request_says_whether_there_are_thoughts(fake: FakeOllama, think: Any, thinks: bool) -> None:
    body = {"model": THINKER, "prompt": "hi", "think": think, "stream": False}
    answer = await call(fake.handle, "POST", "/api/generate", body)
    assert ("thinking" in answer.json) == thinks
    assert answer.json["response"].startswith("Simulated answer")


async def test_an_answer_that_is_cut_off_is_half_thoughts_at_most(fake: FakeOllama) -> None:
    body = {"model": THINKER, "messages": HI, "options": {"num_predict": 9}}
    *tokens, last = lines(await call(fake.handle, "POST", "/api/chat", body))
    assert ["thinking" in token["message"] for token in tokens] == [True] * 4 + [False] * 5
    assert (last["eval_count"], last["done_reason"]) == (9, "length")


async def test_some_requests_with_tools_are_answered_by_a_call_of_one(fake: FakeOllama) -> None:
    calls = 0
    for number in range(20):
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"weather {number}"}], "tools": TOOLS}
        *tokens, last = lines(await call(fake.handle, "POST", "/api/chat", body))
        assert last["done_reason"] == "stop"
        if "tool_calls" not in tokens[0]["message"]:
            continue
        calls += 1
        assert len(tokens) == 1
        (made,) = tokens[0]["message"]["tool_calls"]
        assert tokens[0]["message"]["content"] == ""
        assert re.fullmatch(r"call_[a-z0-9]{8}", made["id"])
        assert (made["function"]["index"], made["function"]["name"]) == (0, "weather")
        arguments = made["function"]["arguments"]
        assert list(arguments) == ["place", "days", "unit"]  # in the order of the declaration
        assert isinstance(arguments["place"], str)
        assert 1 <= arguments["days"] <= 3
        assert arguments["unit"] in {"C", "F"}
        assert last["eval_count"] > 1
    assert 3 < calls < 17


async def test_what_a_tool_said_is_answered_in_words(fake: FakeOllama) -> None:
    for number in range(10):
        messages = [*HI, {"role": "assistant", "content": ""}, {"role": "tool", "content": str(number)}]
        body = {"model": MODEL, "messages": messages, "tools": TOOLS, "stream": False}
        assert "tool_calls" not in (await call(fake.handle, "POST", "/api/chat", body)).json["message"]


async def test_tools_are_a_part_of_the_prompt(fake: FakeOllama) -> None:
    body = {"model": MODEL, "messages": HI, "stream": False}
    bare = await call(fake.handle, "POST", "/api/chat", body)
    equipped = await call(fake.handle, "POST", "/api/chat", {**body, "tools": TOOLS})
    assert equipped.json["prompt_eval_count"] > bare.json["prompt_eval_count"] + 20


SCHEMA = {
    "type": "object",
    "properties": {
        "names": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "inner": {"$ref": "#/$defs/inner"},
        "sure": {"type": "boolean"},
        "maybe": {"type": ["null", "integer"]},
    },
    "$defs": {"inner": {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}},
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("form", ["json", SCHEMA])
async def test_an_answer_in_json_is_json_of_the_form_that_was_asked_for(
    fake: FakeOllama, form: Any, stream: bool
) -> None:
    body = {"model": MODEL, "prompt": "hi", "format": form, "stream": stream}
    said = [json.loads(piece) for piece in (await call(fake.handle, "POST", "/api/generate", body)).pieces]
    answer = json.loads("".join(line["response"] for line in said))
    if form == "json":
        assert isinstance(answer, dict)
    else:
        assert [isinstance(name, str) for name in answer["names"]] == [True, True]
        assert answer["inner"]["kind"] in {"a", "b"}
        assert isinstance(answer["sure"], bool)
        assert isinstance(answer["maybe"], int)
    assert said[-1]["done_reason"] == "stop"


async def test_json_that_does_not_fit_is_cut_off(fake: FakeOllama) -> None:
    body = {"model": MODEL, "prompt": "hi", "format": SCHEMA, "options": {"num_predict": 5}, "stream": False}
    answer = (await call(fake.handle, "POST", "/api/generate", body)).json
    assert (answer["eval_count"], answer["done_reason"], len(answer["response"])) == (5, "length", 20)


CHANGES: list[dict[str, Any]] = [
    {"prompt": "ho"},
    {"system": "be brief"},
    {"options": {"seed": 5}},
    {"format": "json"},
    {"context": [1, 2]},
    {"model": "qwen3:8b", "think": False},
]


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_changes_the_answer_changes_its_text(fake: FakeOllama, change: dict[str, Any]) -> None:
    body = {"model": MODEL, "prompt": "hi", "stream": False}
    one = await call(fake.handle, "POST", "/api/generate", body)
    other = await call(fake.handle, "POST", "/api/generate", {**body, **change})
    assert other.status == 200
    assert one.json["response"] != other.json["response"]


async def test_an_image_costs_prompt_tokens(fake: FakeOllama) -> None:
    counts = [
        (await call(fake.handle, "POST", "/api/generate", body)).json["prompt_eval_count"]
        for extra in ({}, {"images": ["aGk="]})
        for body in [{"model": "gemma3:4b", "prompt": "hi", "stream": False, **extra}]
    ]
    assert counts[1] - counts[0] == 256


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": HI}),
        ("/api/generate", {"prompt": "hi"}),
        ("/v1/chat/completions", {"messages": HI, "stream": True}),
        ("/v1/completions", {"prompt": "hi", "stream": True}),
        ("/v1/responses", {"input": "hi", "stream": True}),
        ("/v1/messages", {"messages": HI, "max_tokens": 500, "stream": True}),
    ],
)
def test_progress_gathers_tokens_and_loses_none(path: str, body: dict[str, Any]) -> None:
    async def said(progress: float) -> tuple[int, str]:
        fake = FakeOllama(PROFILES["mini-pc"], CATALOG.values(), progress=Seconds(progress))
        fake.wall = lambda: 0.0
        answer = await call(fake.handle, "POST", path, {"model": THINKER, **body})
        texts = re.findall(
            r'"(?:content|response|text|delta|thinking|reasoning)":"((?:[^"\\]|\\.)*)"', answer.body.decode()
        )
        return len(answer.pieces), "".join(texts)

    many, text = run_virtual(said(0.0))
    few, gathered = run_virtual(said(5.0))
    assert few < many / 2
    assert gathered == text
    assert "Simulated answer" in text
