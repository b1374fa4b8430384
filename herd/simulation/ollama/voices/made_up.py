"""Values that fit a JSON schema, made up from a hash: what a simulated model calls tools with and answers JSON with."""

import random
from typing import Any

# A schema may refer to itself; values end at these bounds, deep and large enough for any real one.
_DEPTH = 8
_VALUES = 500

_WORDS = ("simulated", "plausible", "nearby", "patient", "spare", "steady", "recent")


def made_up(schema: Any, seed: bytes) -> Any:
    """A value that fits `schema`: types, properties, items, enumerations, references and simple bounds are heeded.

    The same value for the same two arguments. What is not a schema gets a word.
    """
    return _Maker(schema, seed).value(schema, 0)


class _Maker:
    def __init__(self, root: Any, seed: bytes) -> None:
        self._root = root
        self._random = random.Random(seed)  # noqa: S311 - the same request has the same answer, that is the point
        self._left = _VALUES

    def value(self, schema: Any, depth: int) -> Any:
        """A value for a part of the schema."""
        self._left -= 1
        if self._left < 0 or depth > _DEPTH:
            return None
        if not isinstance(schema, dict):
            return self._word()
        if "const" in schema:
            return schema["const"]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return self._random.choice(choices)
        inner = self._inner(schema)
        if inner is not None:
            return self.value(inner, depth + 1)
        return self._of_type(_type(schema), schema, depth)

    def _of_type(self, of: Any, schema: dict[str, Any], depth: int) -> Any:
        made: Any = None  # of the type "null"
        match of:
            case "object":
                properties = schema.get("properties")
                parts = properties.items() if isinstance(properties, dict) else ()
                made = {name: self.value(part, depth + 1) for name, part in parts}
            case "array":
                made = [self.value(schema.get("items"), depth + 1) for _ in range(self._count(schema))]
            case "integer" | "number":
                low = _number(schema.get("minimum"), 1)
                high = _number(schema.get("maximum"), low + 9)
                made = self._random.randint(low, max(low, high))
            case "boolean":
                made = self._random.random() < 0.5
            case "null":
                pass
            case _:
                made = self._word()
        return made

    def _inner(self, schema: dict[str, Any]) -> Any:
        """What a schema stands for that says so by others: a reference, or the first of several."""
        if isinstance(path := schema.get("$ref"), str):
            found = self._root
            for step in path.removeprefix("#").strip("/").split("/"):
                found = found.get(step) if isinstance(found, dict) else None
            return {} if found is None else found
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(parts := schema.get(name), list) and parts:
                return parts[0]
        return None

    def _count(self, schema: dict[str, Any]) -> int:
        """One item, or as few as are allowed."""
        return min(max(1, _number(schema.get("minItems"), 1)), _VALUES)

    def _word(self) -> str:
        return self._random.choice(_WORDS)


def _type(schema: dict[str, Any]) -> Any:
    of = schema.get("type")
    if isinstance(of, list):
        return next((one for one in of if one != "null"), "null")
    return "object" if of is None and "properties" in schema else of


def _number(value: Any, otherwise: int) -> int:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return int(value) if usable else otherwise
