"""What the clients ask, and what they must get."""

import json
from typing import Any

HELLO = "Say hello in one short sentence."
STORY = "Tell me a very long story."

# Every second question makes a simulated model call a tool; of so many one does, or none ever will.
TRIES = 16

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Lima"]}},
    "required": ["city"],
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather in a city.", "parameters": PARAMETERS},
}

# Few values, so that a small model is done with them in a few tokens.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green"]}, "bright": {"type": "boolean"}},
    "required": ["colour", "bright"],
    "additionalProperties": False,
}


def weather_in(number: int) -> str:
    """A question that a tool could answer; each number makes another one."""
    return f"What is the weather in the city of district {number}?"


def check_weather(name: str | None, arguments: Any) -> None:
    """What the tool is called with fits its parameters."""
    assert name == "weather"
    assert set(arguments) == {"city"}
    assert arguments["city"] in {"Oslo", "Lima"}


def check_schema(text: str | None) -> None:
    """A text is JSON as `SCHEMA` wants it."""
    value = json.loads(text or "")
    assert set(value) == {"colour", "bright"}
    assert value["colour"] in {"red", "green"}
    assert isinstance(value["bright"], bool)


def user(text: str) -> Any:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]
