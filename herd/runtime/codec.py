"""One codec for the values that actors send each other, and that are kept: msgpack, with a tag where it has no word.

None, bool, int (64 bits), float, str, bytes, list and dict are msgpack's own. Tagged are tuple, set, frozenset, enum
members, dataclasses and named tuples: these by the name of their class, which the reader must have imported. Fields
that the reader's class does not know are ignored, missing ones take their default. A NewType is its underlying value.
Everything else, such as a socket, a session or a future, is alive and cannot travel.
"""

import dataclasses
import enum
import sys
from collections.abc import Callable
from typing import Any

import msgpack

# Deeper values are taken for cyclic ones; msgpack itself stops at 512. Messages nest some five levels.
MAX_DEPTH = 64

_TUPLE, _SET, _FROZENSET, _ENUM, _RECORD, _REFERENCE = range(1, 7)  # msgpack ext codes; numbers are never reused

_ATOMS = frozenset({type(None), bool, float, str, bytes})
_CONTAINERS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what msgpack has room for

Refer = Callable[[object], str | None]
Resolve = Callable[[str], object]


def dumps(value: Any, *, refer: Refer | None = None) -> bytes:
    """Encode `value`.

    Args:
        value: what to encode.
        refer: gives a name to an object that travels by reference, None to all others.

    Raises:
        TypeError: something in it cannot travel; the text names the place.
    """
    return _pack(_plain(value, "value", 0, refer))


def loads(data: bytes, *, resolve: Resolve | None = None) -> Any:
    """Decode what `dumps` made.

    Args:
        data: the encoded value.
        resolve: the object that `refer` gave a name to.

    Raises:
        ValueError: this is no encoded value.
        TypeError: it names a class that is not imported here, is no dataclass or enum, or does not take these fields.
    """

    depth = 0

    def from_ext(code: int, payload: bytes) -> Any:
        nonlocal depth
        if depth >= MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        depth += 1
        content = unpack(payload)
        depth -= 1
        if code == _REFERENCE and resolve is not None:
            return resolve(content)
        return _from_tag(code, content)

    def unpack(packed: bytes) -> Any:
        return msgpack.unpackb(packed, ext_hook=from_ext, strict_map_key=False, unicode_errors="surrogatepass")

    return unpack(data)


def _pack(plain: Any) -> bytes:
    packed: bytes = msgpack.packb(plain, unicode_errors="surrogatepass")
    return packed


def _plain(value: Any, at: str, depth: int, refer: Refer | None) -> Any:  # noqa: PLR0911 - one for each kind of value
    """`value` in msgpack's terms; `at` is where it is, for the error."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise TypeError(f"{at} cannot travel: an integer of more than 64 bits")
        return value
    if depth >= MAX_DEPTH:
        raise TypeError(f"{at[:200]} cannot travel: nested deeper than {MAX_DEPTH} levels, or cyclic")
    if kind is list:
        return _plain_items(value, at, depth, refer)
    if kind is dict:
        return {
            _plain(key, f"{at} key {key!r}", depth + 1, refer): _plain(item, f"{at}[{key!r}]", depth + 1, refer)
            for key, item in value.items()
        }
    if kind in _CONTAINERS:
        return msgpack.ExtType(_CONTAINERS[kind], _pack(_plain_items(value, at, depth, refer)))
    if isinstance(value, enum.Enum):
        content = [_class_name(kind, at), _plain(value.value, f"{at}.value", depth + 1, refer)]
        return msgpack.ExtType(_ENUM, _pack(content))
    if _is_record(kind):
        return msgpack.ExtType(_RECORD, _pack([_class_name(kind, at), _plain_fields(value, at, depth, refer)]))
    name = refer(value) if refer is not None else None
    if name is None:
        raise TypeError(f"{at} cannot travel: a {kind.__module__}.{kind.__qualname__} is no value")
    return msgpack.ExtType(_REFERENCE, _pack(name))


def _plain_fields(value: Any, at: str, depth: int, refer: Refer | None) -> dict[str, Any]:
    return {name: _plain(getattr(value, name), f"{at}.{name}", depth + 1, refer) for name in _field_names(type(value))}


def _plain_items(values: Any, at: str, depth: int, refer: Refer | None) -> list[Any]:
    return [_plain(item, f"{at}[{index}]", depth + 1, refer) for index, item in enumerate(values)]


def _class_name(kind: type, at: str) -> str:
    if "<locals>" in kind.__qualname__:
        raise TypeError(f"{at} cannot travel: the class {kind.__qualname__} is defined inside a function")
    return f"{kind.__module__}:{kind.__qualname__}"


def _from_tag(code: int, content: Any) -> Any:
    if code == _TUPLE:
        return tuple(content)
    if code == _SET:
        return set(content)
    if code == _FROZENSET:
        return frozenset(content)
    if code == _ENUM:
        name, value = content
        return _class(name)(value)
    if code == _RECORD:
        name, fields = content
        kind = _class(name)
        known = _field_names(kind)
        return kind(**{key: value for key, value in fields.items() if key in known})
    raise ValueError(f"unknown tag {code}")


def _class(name: str) -> Any:
    """A class by its name; nothing is imported and only values are built, whatever the data says."""
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no name of a class")
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not (_is_record(found) or issubclass(found, enum.Enum)):
        raise TypeError(f"{name} is not a dataclass, a named tuple or an enum that is imported here")
    return found


def _is_record(kind: type) -> bool:
    """A class of values with named fields: a dataclass, or a named tuple (which is made several times as fast)."""
    return dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _field_names(kind: Any) -> tuple[str, ...]:
    """What a record is made of."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if field.init)
    names: tuple[str, ...] = kind._fields
    return names
