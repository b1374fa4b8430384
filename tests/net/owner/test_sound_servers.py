"""What PulseAudio and PipeWire say of who records."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.owner.meeting import Meeting
from herd.net.owner.sound_servers import microphones, read_pipewire, recorded_sources
from herd.net.sensing import SensorFailed

# Where they come from: data/README.md
DATA = Path(__file__).parent / "data"
PULSE_SOURCES = (
    "0\tn1.monitor\tmodule-null-sink.c\ts16le 2ch 44100Hz\tRUNNING\n"
    "1\tmic\tmodule-null-source.c\ts16le 2ch 44100Hz\tRUNNING\n"
)
PIPEWIRE_SOURCES = (
    "40\tn1.monitor\tPipeWire\tfloat32le 2ch 48000Hz\tSUSPENDED\n44\tmic\tPipeWire\tfloat32le 2ch 48000Hz\tRUNNING\n"
)


def recorded(name: str) -> str:
    return (DATA / name).read_text("utf-8")


def changed(name: str, **changes: Any) -> str:
    """Its last stream is another one."""
    streams = json.loads(recorded(name))
    streams[-1] |= changes
    return json.dumps(streams)


# --- pactl ------------------------------------------------------------------------------------------------------------


def test_a_stream_records_from_its_source() -> None:
    assert recorded_sources(recorded("pactl-16.1-pulseaudio-call-and-recorder.json")) == {0, 1}
    assert recorded_sources(recorded("pactl-16.1-pipewire-call.json")) == {44}
    assert recorded_sources("[]") == frozenset()


def test_a_stream_that_waits_records_nothing() -> None:
    assert recorded_sources(changed("pactl-16.1-pipewire-call.json", corked=True)) == frozenset()


@pytest.mark.parametrize("server", ["pulseaudio", "pipewire"])
def test_a_level_meter_records_nothing(server: str) -> None:
    assert recorded_sources(recorded(f"pactl-16.1-{server}-meter.json")) == frozenset()


def test_what_an_output_plays_comes_from_no_microphone() -> None:
    assert microphones(PULSE_SOURCES) == {1}
    assert microphones(PIPEWIRE_SOURCES) == {44}
    assert microphones("") == frozenset()
    assert not recorded_sources(recorded("pactl-16.1-pipewire-recorder.json")) & microphones(PIPEWIRE_SOURCES)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Connection failure: Connection refused",
        "null",
        "{}",
        "[1]",
        "[{}]",
        '[{"source": 1}]',
        '[{"source": "1", "corked": false}]',
        '[{"source": 1, "corked": "no"}]',
        '[{"source": 1, "corked": false, "balance": 0,00}]',
        "[" * 100_000,
        '[{"source": 1, "corked": false, "properties": {"a": ' + "[" * 50_000,
        '[{"a": ' * 5_000,
    ],
)
def test_other_streams_are_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="pactl says something else than expected"):
        recorded_sources(said)


@pytest.mark.parametrize("said", ["mic", "0", "0 mic", "Failure: Timeout\tx", "-1\tmic", "²\tmic", "9" * 11 + "\tmic"])
def test_other_sources_are_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="pactl says something else than expected"):
        microphones(f"{PULSE_SOURCES}{said}\n")


# --- pw-dump ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meeting"),
    [
        ("idle", Meeting(camera=False, microphone=False)),
        ("call", Meeting(camera=False, microphone=True)),
        ("recorder", Meeting(camera=False, microphone=False)),
        ("meter", Meeting(camera=False, microphone=False)),
        ("camera", Meeting(camera=True, microphone=False)),
        ("camera-idle", Meeting(camera=False, microphone=False)),
    ],
)
def test_pipewire_says_whether_a_microphone_is_recorded_from_and_a_camera_runs(name: str, meeting: Meeting) -> None:
    assert read_pipewire(recorded(f"pw-dump-0.3.65-{name}.json")) == meeting


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('"active"', '"paused"'),  # the links
        ('"running"', '"idle"'),  # the nodes
        ('"Stream/Input/Audio"', '"Stream/Output/Audio"'),
        ('"Audio/Source/Virtual"', '"Audio/Sink"'),
    ],
)
def test_a_microphone_is_recorded_from_by_a_stream_that_runs_and_is_linked_to_it(was: str, becomes: str) -> None:
    said = recorded("pw-dump-0.3.65-call.json")
    assert was in said
    assert read_pipewire(said.replace(was, becomes)).microphone is False


@pytest.mark.parametrize("kind", ["Audio/Source", "Audio/Duplex"])
def test_a_microphone_is_real_or_in_a_headset_or_behind_a_filter(kind: str) -> None:
    said = recorded("pw-dump-0.3.65-call.json").replace("Audio/Source/Virtual", kind)
    assert read_pipewire(said).microphone is True


@pytest.mark.parametrize(
    "said", ["", "can't connect: Host is down", "null", "{}", "[1]", '[{"id": ]', '[{"id": ' + "[" * 100_000]
)
def test_another_dump_is_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="pw-dump says something else than expected"):
        read_pipewire(said)


# --- Whatever they say ------------------------------------------------------------------------------------------------

NAMES = ["id", "type", "info", "state", "props", "media.class", "source", "corked", "properties", "output-node-id"]
WORDS = ["PipeWire:Interface:Node", "PipeWire:Interface:Link", "running", "active", "Audio/Source", "Video/Source"]
SCALARS = st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(WORDS) | st.floats(allow_nan=False)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), max_size=4) | JSON)
@settings(max_examples=60, derandomize=True, database=None)
def test_whatever_json_they_say_it_is_read_or_refused(value: Any) -> None:
    said = json.dumps(value)
    for read in (recorded_sources, read_pipewire):
        try:
            read(said)
        except SensorFailed:
            continue


@given(st.text(alphabet='[]{}",:0123456789\tntue.monitor\n', max_size=60))
@settings(max_examples=200, derandomize=True, database=None)
def test_whatever_text_they_say_it_is_read_or_refused(said: str) -> None:
    for read in (recorded_sources, microphones, read_pipewire):
        try:
            read(said)
        except SensorFailed:
            continue
