"""What Linux's sound servers say of who records: the output of their programs `pactl` and `pw-dump`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from herd.net.owner.meeting import Meeting
from herd.net.sensing import SensorFailed

STREAMS = ("-f", "json", "list", "source-outputs")  # needs version 16 of pactl
SOURCES = ("list", "short", "sources")

_NODE, _LINK = "PipeWire:Interface:Node", "PipeWire:Interface:Link"
# What a microphone is, to PipeWire: as it is, behind a filter, or in a headset.
_MICROPHONES = frozenset({"Audio/Source", "Audio/Source/Virtual", "Audio/Duplex"})
# What a sound server plays can be recorded too; such a source has the name of the output, and this.
_MONITOR = ".monitor"


class _Stream(msgspec.Struct):
    """A stream that records, as pactl shows it."""

    source: int
    corked: bool  # it waits
    resample_method: str | None = None
    properties: dict[str, Any] = {}


def recorded_sources(said: str) -> frozenset[int]:
    """The sources that programs record from, by what pactl says to `STREAMS`; level meters are no recording.

    The same words come from PulseAudio and from PipeWire, which may stand in for it.

    Raises:
        SensorFailed: it says something else.
    """
    try:
        streams = msgspec.json.decode(said, type=list[_Stream])
    except (msgspec.DecodeError, RecursionError) as error:
        raise SensorFailed(f"pactl says something else than expected: {error}") from error
    return frozenset(
        stream.source
        for stream in streams
        if not stream.corked and stream.resample_method != "peaks" and not _is_meter(stream.properties)
    )


def microphones(said: str) -> frozenset[int]:
    """The sources that are no monitor of an output, by what pactl says to `SOURCES`: a line each, with tabs.

    Raises:
        SensorFailed: it says something else.
    """
    found = set()
    for line in said.splitlines():
        number, *rest = line.split("\t")
        if not number.isascii() or not number.isdigit() or len(number) > 10 or not rest:
            raise SensorFailed(f"pactl says something else than expected: {line[:100]!r}")
        if not rest[0].endswith(_MONITOR):
            found.add(int(number))
    return frozenset(found)


def read_pipewire(said: str) -> Meeting:
    """Whether a program records from a microphone, and whether a camera that PipeWire serves runs, by pw-dump.

    Raises:
        SensorFailed: it says something else.
    """
    nodes, links = list[tuple[Any, Mapping[str, Any]]](), list[Mapping[str, Any]]()
    for thing in _objects(said):
        info = _mapping(thing, "info")
        if thing.get("type") == _NODE:
            nodes.append((thing.get("id"), info))
        elif thing.get("type") == _LINK and info.get("state") == "active":
            links.append(info)
    sources = [node for node, info in nodes if _class(info) in _MICROPHONES]
    streams = [
        node
        for node, info in nodes
        if _class(info) == "Stream/Input/Audio" and _runs(info) and not _is_meter(_mapping(info, "props"))
    ]
    return Meeting(
        camera=any(_class(info) == "Video/Source" and _runs(info) for _, info in nodes),
        microphone=any(
            link.get("output-node-id") in sources and link.get("input-node-id") in streams for link in links
        ),
    )


def _class(info: Mapping[str, Any]) -> Any:
    return _mapping(info, "props").get("media.class")


def _runs(info: Mapping[str, Any]) -> bool:
    return info.get("state") == "running"


def _is_meter(properties: Mapping[str, Any]) -> bool:
    """It shows how loud it is, as a window of settings does. pactl says so in text, pw-dump by a truth value."""
    return properties.get("resample.peaks") in (True, "true")


def _mapping(thing: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping inside of one; empty where there is none."""
    value = thing.get(name)
    return value if isinstance(value, dict) else {}


def _objects(said: str) -> list[Mapping[str, Any]]:
    try:
        things = msgspec.json.decode(said, type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError) as error:
        raise SensorFailed(f"pw-dump says something else than expected: {error}") from error
    return list(things)
