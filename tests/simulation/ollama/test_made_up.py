"""Values made up for schemas: they fit, they end, and they follow from the seed."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.simulation.ollama.voices.made_up import made_up

SEED = bytes(32)

FITTING: list[tuple[Any, type]] = [
    ({"type": "string"}, str),
    ({"type": "boolean"}, bool),
    ({"type": "integer", "minimum": 5, "maximum": 5}, int),
    ({"type": "number"}, int),
    ({"type": "array"}, list),
    ({"type": "object"}, dict),
    ({"properties": {}}, dict),
    ({"type": ["null", "string"]}, str),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, int),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}, dict),
    ({}, str),
    (None, str),
]


@pytest.mark.parametrize(("schema", "kind"), FITTING)
def test_a_value_is_of_the_type_of_its_schema(schema: Any, kind: type) -> None:
    assert type(made_up(schema, SEED)) is kind


def test_bounds_choices_and_constants_are_heeded() -> None:
    for seed in (bytes([number]) * 32 for number in range(20)):
        assert 3 <= made_up({"type": "integer", "minimum": 3, "maximum": 5}, seed) <= 5
        assert made_up({"enum": ["a", "b"]}, seed) in {"a", "b"}
        assert made_up({"const": {"x": 1}}, seed) == {"x": 1}
        assert len(made_up({"type": "array", "minItems": 3}, seed)) == 3


def test_other_seeds_make_other_values() -> None:
    schema = {"type": "array", "minItems": 10}
    assert len({json.dumps(made_up(schema, bytes([number]) * 32)) for number in range(5)}) == 5


def test_a_schema_that_refers_to_itself_ends() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert len(json.dumps(made_up(node, SEED))) < 20_000


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["object", "array", "#", "#/items"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "properties", "items", "enum", "anyOf", "$ref", "minItems", "minimum", "a"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_any_json_is_a_schema_and_its_value_is_json_again(schema: Any) -> None:
    value = made_up(schema, SEED)
    assert json.dumps(value) == json.dumps(made_up(schema, SEED))
