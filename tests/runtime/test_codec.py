import asyncio
import contextlib
import dataclasses
import enum
from typing import Any, NewType

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime import ActorHandle, context, kill, remote, stop
from herd.runtime.codec import MAX_DEPTH, dumps, loads
from herd.runtime.testing import serialize_messages, virtual_time

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


@dataclasses.dataclass(frozen=True)
class Shape:
    name: Name
    colour: Colour
    points: tuple[Point, ...] = ()
    extra: Any = None
    area: int = dataclasses.field(init=False, default=0)


atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from([*Colour, *Level])
    | st.builds(Point, st.integers(0, 9))
)
hashables = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.builds(Shape, st.text().map(Name), st.sampled_from(Colour), extra=inner)
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


def test_bytes_that_nest_without_end_are_an_ordinary_error() -> None:
    data = b"\xc0"
    for _ in range(5000):
        data = msgpack.packb(msgpack.ExtType(1, data))
    with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH}"):
        loads(data)


def test_cyclic_values_cannot_travel() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH} levels, or cyclic"):
        dumps(cycle)


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


@pytest.mark.parametrize("name", [b"os:system", b"nowhere:Po", f"{__name__}:Nix".encode()])
def test_only_dataclasses_and_enums_that_are_imported_are_built(name: bytes) -> None:
    known = f"{__name__}:Point".encode()
    data = dumps(Point(1)).replace(known, name.ljust(len(known), b"_")[: len(known)])
    with pytest.raises((TypeError, ValueError)):
        loads(data)


class Echo:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def say(self, value: Any) -> Any:
        self.heard.append(value)
        return value

    def live(self) -> Any:
        return self.heard

    def leak(self) -> object:
        return object()

    def me(self) -> ActorHandle:
        return context(self).handle


@virtual_time
async def test_with_serialize_messages_nothing_is_shared_and_nothing_alive_gets_through() -> None:
    echo = remote(Echo).remote()
    with serialize_messages():
        sent = {"points": [Point(1)]}
        got = await echo.say.remote(sent)
        assert got == sent
        assert got is not sent
        heard = await echo.live.remote()
        heard.clear()
        assert await echo.live.remote() == [sent]
        with pytest.raises(TypeError, match="cannot travel"):
            echo.say.remote(asyncio.Event())
        with pytest.raises(TypeError, match="cannot travel"):
            echo.say.tell(value=asyncio.Event())
        with pytest.raises(TypeError, match=r"value cannot travel: a builtins\.object"):
            await echo.leak.remote()
    alive = asyncio.Event()
    assert await echo.say.remote(alive) is alive
    await stop(echo)


@virtual_time
async def test_with_serialize_messages_handles_travel_even_those_of_the_dead() -> None:
    echo, other = remote(Echo).remote(), remote(Echo).remote()
    kill(other)
    with serialize_messages():
        assert await echo.me.remote() is echo
        assert await echo.say.remote([other]) == [other]
    await stop(echo)
