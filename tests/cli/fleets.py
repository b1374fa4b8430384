"""What routers say of fleets: a house of six machines, and crowds with nasty names."""

import random
from collections.abc import Sequence
from typing import Any

from herd.cli.fleet.seen import Seen, connected, heard
from herd.types import GiB

NOW = 1_800_000_000.0  # Friday, 2027-01-15 08:00 UTC

_MODELS = {"llama3.3:70b": 43, "qwen3:32b": 20, "gemma3:12b": 8, "llama3.2:3b": 2, "nomic-embed-text": 1}


def reason(kind: str, text: str, *, ago: float = 600.0, until: float | None = None) -> dict[str, Any]:
    return {"kind": kind, "text": text, "since": NOW - ago, "until": until}


MEETING = reason("meeting", "is in a meeting")
PAUSED = reason("manual", "is paused by hand", until=NOW + 5400.0)
SILENT = reason("offline", "is offline: the link was lost", ago=3700.0)


def gpu(name: str, total: int, free: int, *, unified: bool = False) -> dict[str, Any]:
    memory = {"memory_total": total * GiB, "memory_free": free * GiB}
    return {"id": "0", "name": name, "vendor": "", **memory, "unified": unified}


def node(name: str, state: str = "ready", **other: Any) -> dict[str, Any]:
    """A node as the status has it; `resident`: names of models, `memory`: GiB in all and free."""
    resident, (total, free) = other.pop("resident", ()), other.pop("memory", (16, 12))
    cpu = other.pop("cpu_name", "")
    return {
        "id": f"id of {name}",
        "name": name,
        "state": state,
        "reasons": [],
        "breaker": None,
        "models": [
            {
                "name": model,
                "resident": model in resident,
                "limit": 2,
                "backend": "ollama-11434",
                "size": size * GiB,
                "breaker": None,
                "pinned": model == "llama3.3:70b",
            }
            for model, size in _MODELS.items()
        ],
        "running": 0,
        "waiting": 0,
        "cpu": 0.25,
        "memory_total": total * GiB,
        "memory_free": free * GiB,
        "machine": {"os": "linux", "arch": "x86_64", "cpu": cpu, "cores": 8, "memory_total": total * GiB},
        "backends": [{"id": "ollama-11434", "kind": "ollama", "version": "0.12.3"}],
        "agent_version": "0.1.0",
        "gpus": [],
        "workload": "light",
        "owner_load": 0.2,
        "thermal": None,
        "dedicated": False,
        "availability": 0.8,
        "trend": 7.5,
        "tokens_per_s": 0.0,
        **other,
    }


HOUSE = [
    node(
        "studio",
        resident=("llama3.3:70b", "nomic-embed-text"),
        memory=(192, 141),
        gpus=[gpu("Apple M2 Ultra", 144, 98, unified=True)],
        running=2,
        waiting=1,
        tokens_per_s=31.4,
        availability=1.0,
        trend=10.0,
    ),
    node(
        "gaming-pc",
        cpu_name="AMD Ryzen 9 7950X 16-Core Processor",
        resident=("qwen3:32b",),
        memory=(64, 41),
        gpus=[gpu("NVIDIA GeForce RTX 4090", 24, 2)],
        running=1,
        tokens_per_s=38.9,
        availability=0.6,
        trend=2.5,
    ),
    node(
        "laptop-anna",
        "paused",
        reasons=[MEETING],
        resident=("gemma3:12b",),
        memory=(36, 9),
        gpus=[gpu("Apple M3 Pro", 27, 4, unified=True)],
        availability=0.1,
        trend=5.0,
    ),
    node("laptop-ben", "paused", reasons=[PAUSED], memory=(16, 2), gpus=[gpu("Apple M1", 11, 1, unified=True)]),
    node(
        "cellar",
        cpu_name="Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz",
        resident=("llama3.2:3b",),
        memory=(16, 10),
        running=1,
        waiting=3,
        tokens_per_s=9.8,
        availability=1.0,
        trend=10.0,
    ),
    node("attic", "offline", reasons=[SILENT], cpu_name="Intel(R) Celeron(R) N5105 @ 2.00GHz", memory=(8, 7)),
]
QUEUES = [
    {"node": "studio", "model": "llama3.3:70b", "running": 2, "waiting": 1, "limit": 2},
    {"node": "studio", "model": "nomic-embed-text", "running": 0, "waiting": 0, "limit": 4},
    {"node": "gaming-pc", "model": "qwen3:32b", "running": 1, "waiting": 0, "limit": 3},
    {"node": "cellar", "model": "llama3.2:3b", "running": 1, "waiting": 3, "limit": 1},
    {"node": "laptop-anna", "model": "gemma3:12b", "running": 0, "waiting": 0, "limit": 1},
]


def request(number: int, node: str | None, outcome: str | None, **other: Any) -> dict[str, Any]:
    return {
        "id": f"req_{number}",
        "model": "llama3.3:70b",
        "client": f"10.0.0.{number}",
        "arrived": NOW - 9.0 * number,
        "node": node,
        "outcome": outcome,
        "status": 200,
        "waited_s": 0.02 * number,
        "first_token_s": 0.31 * number,
        "total_s": 4.2 * number,
        "attempts": 1,
        "score": 57.5 - number,
        "prompt": 12,
        "completion": None,
        "edited": [],
        "predicted_s": None,
        "took_s": None,
        "served_model": None,
        **other,
    }


REQUESTS = [
    request(1, "studio", None),
    request(2, None, None, waited_s=18.0, first_token_s=None, total_s=18.0, score=None, model="mistral-large"),
    request(3, "gaming-pc", "served", completion=320, model="qwen3:32b"),
    request(4, "studio", "served", completion=180, model="gpt-4o", served_model="llama3.3:70b"),
    request(5, "cellar", "failed", first_token_s=None, model="llama3.2:3b"),
    request(6, "laptop-anna", "cancelled", model="gemma3:12b"),
    request(7, "cellar", "served", completion=41, model="llama3.2:3b", first_token_s=29.3),
    *(request(number, "studio", "served", completion=100) for number in range(8, 20)),
]
TOLD = [
    ("joined", "attic", "attic joined"),
    ("joined", "studio", "studio joined"),
    ("pre-warmed", "studio", "llama3.3:70b is loaded at studio before it is asked for"),
    ("left", "attic", "attic is offline: the link was lost"),
    ("breaker-opened", "cellar", "cellar fails with gemma3:12b: it gets no more of it for 30 s"),
    ("moved", "laptop-anna", "2 requests for gemma3:12b moved from laptop-anna to studio"),
    ("paused", "laptop-anna", "laptop-anna is paused: is in a meeting"),
]


def status_of(nodes: Sequence[dict[str, Any]], queues: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A status, as `GET /herd/v1/status` answers."""
    totals = {word: sum(node[word] for node in nodes) for word in ("running", "waiting")}
    serving = sum(node["state"] in {"ready", "degraded"} for node in nodes)
    return {
        "router": {"id": "r", "version": "0.1.0", "link_port": 11436, "protocol_versions": [1], "pins": {}},
        "nodes": list(nodes),
        "queues": list(queues),
        "totals": {"nodes": len(nodes), "serving": serving, "models": len(_MODELS), **totals, "held": 1},
    }


def happenings() -> dict[str, Any]:
    told = [
        {
            "number": number,
            "at": NOW - 60.0 * (len(TOLD) - number),
            "kind": kind,
            "node": name,
            "model": "",
            "text": text,
        }
        for number, (kind, name, text) in enumerate(TOLD)
    ]
    return {"happenings": told}


def house() -> Seen:
    """All of the house, as a dashboard has heard of it."""
    seen = connected(Seen(url="http://studio.local:11435"), NOW - 60.0)
    seen = heard(seen, "status", status_of(HOUSE, QUEUES))
    seen = heard(seen, "requests", {"requests": REQUESTS})
    return heard(seen, "happenings", happenings())


def detail(entry: dict[str, Any]) -> dict[str, Any]:
    """A node as `GET /herd/v1/nodes/NAME` answers."""
    unknown = {"load": None, "confidence": 0.0, "mean": None, "spread": None, "weight": 0.0}
    week = [{**unknown, "load": (hour % 24) / 24, "confidence": 1.0} if hour < 120 else unknown for hour in range(168)]
    calibration = {"ratio": 1.12, "spread": 0.33, "weight": 41.3}
    speed = {"model": "llama3.3:70b", "load_s": 11.5, "first_token_s": 0.8, "prefill": 190.0, "decode": 14.2}
    learned = [{**speed, "answer": 200.0, "rates": [], "calibration": calibration}]
    return {**entry, "learned": learned, "calibration": calibration, "week_slot": 104, "week": week}


def crowd(names: Sequence[str], seed: int) -> dict[str, Any]:
    """The status of machines with these names, in any state, with figures of any size."""
    chosen = random.Random(seed)  # the same for the same seed
    states = ("joining", "ready", "degraded", "paused", "draining", "offline", "some-new-state", "")
    chips = ("", "Apple M2 Ultra", "NVIDIA GeForce RTX 4090", "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "\u6f22" * 30)
    numbers = (0, 1, 7, 120, 10**9, 2**53)
    found = []
    for name in names:
        why = chosen.choice(
            (MEETING, PAUSED, {"kind": "x", "text": f"is away with {name}", "since": None, "until": 1e300})
        )
        found.append(
            node(
                name,
                chosen.choice(states),
                reasons=[why] * chosen.randint(0, 2),
                resident=chosen.sample(sorted(_MODELS), chosen.randint(0, 5)),
                memory=(chosen.choice((0, 8, 192, 2**32)), chosen.choice((0, 8, 100, 2**32))),
                gpus=[gpu(chosen.choice(chips), 24, 2, unified=chosen.random() < 0.5)] * chosen.randint(0, 3),
                cpu_name=chosen.choice(chips),
                running=chosen.choice(numbers),
                waiting=chosen.choice(numbers),
                availability=chosen.choice((None, 0.0, 0.5, 1.0, 1e300, float("nan"))),
                trend=chosen.choice((None, 0.0, 5.0, 7.5, -1e300, float("inf"))),
                tokens_per_s=chosen.choice((None, 0.0, 12.3, 1e300, float("inf"))),
            )
        )
    pairs = [(name, chosen.choice(names), chosen.choice(numbers)) for name in names]
    queues = [
        {"node": a, "model": b, "running": n, "waiting": n, "limit": chosen.choice((1, 4, n))} for a, b, n in pairs
    ]
    return status_of(found, queues)
