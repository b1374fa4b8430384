import asyncio
import contextlib
import dataclasses
import enum
from typing import Any, NamedTuple, NewType

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime.codec import MAX_DEPTH, dumps, loads

Name = NewType("Name", str)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


class Line(NamedTuple):
    begin: Point
    end: Point = Point(0)
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Shape:
    name: Name
    colour: Colour
    points: tuple[Point, ...] = ()
    extra: Any = None
    area: int = dataclasses.field(init=False, default=0)


class Plain:
    """Neither a dataclass, nor a named tuple, nor an enum."""


def nested(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels - 1):
        value = (value,)
    return value


points = st.builds(Point, st.integers(0, 9))
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from([*Colour, *Level])
    | points
)
hashables = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.builds(Shape, st.text().map(Name), st.sampled_from(Colour), extra=inner)
        | st.builds(Line, points, points, st.text())
    ),
    max_leaves=10,
)


@given(values)
@settings(max_examples=150)
def test_values_come_back_as_they_were(value: Any) -> None:
    back = loads(dumps(value))
    assert back == value
    if "{" not in repr(value):  # 1, 1.0, True and Level.LOW are equal, too; a set has no order to compare texts in
        assert repr(back) == repr(value)


def test_half_a_surrogate_pair_travels() -> None:
    assert loads(dumps({"\ud800": ["\udfff"]})) == {"\ud800": ["\udfff"]}


@given(st.binary(max_size=60))
@settings(max_examples=150)
def test_any_bytes_give_a_value_or_an_ordinary_error(data: bytes) -> None:
    with contextlib.suppress(ValueError, TypeError):
        loads(data)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, object()]}, r"value\['a'\]\[1\] cannot travel: a builtins.object is no value"),
        (Shape(Name("s"), Colour.RED, extra=print), r"value.extra cannot travel"),
        ((asyncio.Event(),), r"value\[0\] cannot travel: a asyncio.locks.Event"),
        ({object(): 1}, r"value key <object.*> cannot travel"),
        ([2**64], r"value\[0\] cannot travel: an integer of more than 64 bits"),
        (Point, r"value cannot travel: a builtins.type"),
    ],
)
def test_what_is_alive_cannot_travel_and_the_error_names_the_place(value: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        dumps(value)


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**64])
def test_an_integer_of_more_than_64_bits_cannot_travel(number: int) -> None:
    with pytest.raises(TypeError, match="more than 64 bits"):
        dumps(number)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 5000], ids=["one level too deep", "without end"])
def test_bytes_that_nest_too_deep_are_an_ordinary_error(levels: int) -> None:
    data = dumps(())
    for _ in range(levels - 1):
        data = msgpack.packb(msgpack.ExtType(1, b"\x91" + data))  # a tuple of what it was
    with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH}"):
        loads(data)


def test_cyclic_values_cannot_travel() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH} levels, or cyclic"):
        dumps(cycle)


@pytest.mark.parametrize("levels", range(MAX_DEPTH - 2, MAX_DEPTH + 3))
def test_what_can_be_encoded_can_be_decoded_however_deep(levels: int) -> None:
    if levels <= MAX_DEPTH:
        assert loads(dumps(nested(levels))) == nested(levels)
    else:
        with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH} levels"):
            dumps(nested(levels))


def test_many_values_side_by_side_are_not_nested() -> None:
    value = [(number,) for number in range(2 * MAX_DEPTH)]
    assert loads(dumps(value)) == value


def test_a_class_inside_a_function_cannot_travel() -> None:
    @dataclasses.dataclass
    class Hidden:
        x: int = 0

    with pytest.raises(TypeError, match="defined inside a function"):
        dumps([Hidden()])


def test_unknown_fields_are_ignored_and_missing_ones_take_their_default() -> None:
    data = dumps(Point(1, 2))
    assert loads(data.replace(b"\xa1y", b"\xa1z")) == Point(1, 0)
    with pytest.raises(TypeError, match="x"):
        loads(data.replace(b"\xa1x", b"\xa1z"))
    assert loads(dumps(Line(Point(1), Point(2), "a")).replace(b"\xa5label", b"\xa5liber")) == Line(Point(1), Point(2))


def test_a_named_tuple_comes_back_as_one_and_not_as_a_tuple() -> None:
    assert type(loads(dumps([Line(Point(1))]))[0]) is Line


@pytest.mark.parametrize("tag", [4, 5], ids=["as an enum", "as a record"])
@pytest.mark.parametrize(
    "name", ["os:system", "builtins:list", f"{__name__}:Plain", "nowhere:Point", f"{__name__}:Nix", 7, None]
)
def test_only_records_and_enums_that_are_imported_are_built(name: object, tag: int) -> None:
    data = msgpack.packb(msgpack.ExtType(tag, msgpack.packb([name, {}])))
    with pytest.raises(TypeError, match=r"or an enum that is imported here|is no name of a class"):
        loads(data)
