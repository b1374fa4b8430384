"""What agents tell their views: of a workstation in a meeting, and of machines with nasty names."""

from collections.abc import Sequence
from dataclasses import replace

from herd.actors.desk import (
    AgentDocument,
    ShownGpu,
    ShownMachine,
    ShownModel,
    ShownRequest,
    ShownServer,
    ShownWeek,
    ShownWork,
)
from herd.policy.values import Reason
from herd.types import BackendId, Bytes, GiB, ModelName, NodeName, RequestId, RouterId, Seconds, Tokens
from tests.cli.fleets import NOW

OLLAMA = BackendId("127.0.0.1:11434")


def model(name: str, size: float, *, resident: bool = False, expires: str = "") -> ShownModel:
    """`size`: GiB."""
    whole, taken = Bytes(int(size * GiB)), Bytes(int(1.2 * size * GiB) if resident else 0)
    return ShownModel(
        ModelName(name), OLLAMA, resident, whole, taken, taken, Tokens(8192 if resident else 0), expires_at=expires
    )


def asked(number: int, name: str, path: str, ago: float) -> ShownRequest:
    return ShownRequest(RequestId(f"01JCS3Q8{number:018}"), ModelName(name), OLLAMA, path, Seconds(NOW - ago))


# Nights are free, offices busy, evenings in between; of Monday nothing is known yet.
WEEK = ShownWeek(
    tuple(None if hour < 24 else (0.05, 0.85, 0.45)[(hour % 24 > 8) + (hour % 24 > 17)] for hour in range(168)),
    tuple(0.0 if hour < 24 else 0.8 for hour in range(168)),
)

STUDIO = AgentDocument(
    id="4f6c",
    wanted_name="studio",
    version="0.1.0",
    linked=True,
    router_id=RouterId("8a1d"),
    router_url="http://192.168.1.10:11435",
    router_peer="192.168.1.10",
    router_version="0.1.0",
    link_since=Seconds(NOW - 7500.0),
    lost="the router is shutting down",
    lost_at=Seconds(NOW - 7512.0),
    name=NodeName("studio-2"),
    backends=(OLLAMA,),
    servers=(ShownServer(OLLAMA, "http://127.0.0.1:11434", "ollama", "0.33.0"),),
    models=(
        model("llama3.3:70b-instruct-q4_K_M", 40.0, resident=True, expires="2027-01-15T08:04:00.123456789Z"),
        model("qwen3:8b", 5.0, resident=True, expires="2318-01-15T08:00:00Z"),
        *(model(f"gemma{number}:27b", 17.0) for number in range(12)),
    ),
    all_models=14,
    pauses=(Reason("meeting", "is in a meeting: its camera is in use", Seconds(NOW - 900.0)),),
    work=ShownWork(
        (
            asked(1, "llama3.3:70b-instruct-q4_K_M", "/api/chat", 12.3),
            asked(2, "qwen3:8b", "/v1/chat/completions", 0.4),
        ),
        under_way=2,
        served=1204,
        failed=3,
        cancelled=17,
        tokens_per_s=43.2,
    ),
    machine=ShownMachine(
        0.42,
        Bytes(64 * GiB),
        Bytes(20 * GiB),
        (ShownGpu("NVIDIA GeForce RTX 4090", Bytes(24 * GiB), Bytes(3 * GiB)),),
    ),
    owner_load=0.23,
    workload="moderate",
    thermal="nominal",
    week_slot=4 * 24 + 8,
    week=WEEK,
    at=Seconds(NOW),
)

# A server in a cupboard, whose router is away, and one of whose model servers is down.
CUPBOARD = replace(
    STUDIO,
    name=NodeName("cupboard"),
    linked=False,
    link_since=Seconds(NOW - 200.0),
    lost="the router has been silent for 15 s",
    lost_at=Seconds(NOW - 200.0),
    trouble="no router on link port 11436 (192.168.1.10: Connection refused)",
    pauses=(),
    servers=(
        *STUDIO.servers,
        ShownServer(BackendId("127.0.0.1:8080"), "http://127.0.0.1:8080", trouble="connection refused"),
    ),
    models=(),
    all_models=0,
    work=ShownWork(),
    dedicated=True,
    owner_load=None,
    workload="",
    thermal="throttled",
    week=None,
)

# An agent that has only just begun.
NEW = AgentDocument(id="4f6c", wanted_name="studio", version="0.1.0", link_since=Seconds(NOW - 1.0), at=Seconds(NOW))


def nasty(words: Sequence[str], count: int, number: float) -> AgentDocument:
    """An agent with the same words everywhere, as many of everything, and a number that is none."""

    def word(place: int) -> str:
        return words[place % len(words)]

    return replace(
        STUDIO,
        name=NodeName(word(0)),
        version=word(1),
        router_url=word(2),
        router_peer=word(3),
        router_version=word(4),
        trouble=word(5),
        lost=word(6),
        lost_at=Seconds(number),
        link_since=Seconds(number),
        linked=count % 2 == 0,
        workload=word(7),
        thermal=word(8),
        owner_load=number,
        servers=tuple(
            ShownServer(BackendId(word(place)), word(place), word(place), word(place), word(place) * (place % 2))
            for place in range(count)
        ),
        models=tuple(
            replace(model(name, 1.0, resident=place % 2 == 0, expires=name), backend=BackendId(name))
            for place, name in enumerate(word(place) for place in range(count))
        ),
        pauses=tuple(Reason(word(place), word(place), Seconds(number), Seconds(number)) for place in range(count % 7)),
        work=ShownWork(
            tuple(
                ShownRequest(
                    RequestId(word(place)), ModelName(word(place)), BackendId(word(place)), word(place), Seconds(number)
                )
                for place in range(count)
            ),
            count,
            tokens_per_s=number,
        ),
        machine=ShownMachine(
            number,
            Bytes(2**62),
            Bytes(0),
            tuple(ShownGpu(word(place), Bytes(place), Bytes(-1)) for place in range(count % 5)),
        ),
    )
