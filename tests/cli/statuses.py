"""Statuses as a router tells them, for tests of what is made of them."""

from typing import Any

from herd.types import GiB


def model(name: str, **more: Any) -> dict[str, Any]:
    """A model on a node's disk."""
    usual = {"resident": False, "limit": 1, "backend": "o", "size": 2 * GiB, "breaker": None, "pinned": False}
    return {"name": name, **usual, "capabilities": [], **more}


def node(name: str, *models: dict[str, Any], state: str = "ready", reasons: Any = (), **more: Any) -> dict[str, Any]:
    """A node that runs nothing."""
    return {
        "id": f"id-{name}",
        "name": name,
        "state": state,
        "reasons": list(reasons),
        "breaker": None,
        "models": list(models),
        "running": 0,
        "waiting": 0,
        "memory_total": 16 * GiB,
        "memory_free": 8 * GiB,
        "agent_version": "0.1.0",
        **more,
    }


def reason(kind: str, text: str, since: float | None = None, until: float | None = None) -> dict[str, Any]:
    """Why a node is not ready."""
    return {"kind": kind, "text": text, "since": since, "until": until}


def status(*nodes: dict[str, Any], held: int = 0, pins: dict[str, str | None] | None = None, **more: Any) -> Any:
    """A status with totals that fit."""
    serving = sum(each["state"] in ("ready", "degraded") and bool(each["models"]) for each in nodes)
    names = {each["name"] for one in nodes for each in one["models"]}
    return {
        "router": {"id": "r1", "version": "0.1.0", "link_port": 11436, "protocol_versions": [1], "pins": pins or {}},
        "nodes": list(nodes),
        "queues": [],
        "totals": {
            "nodes": len(nodes),
            "serving": serving,
            "models": len(names),
            "running": 0,
            "waiting": 0,
            "held": held,
        },
        **more,
    }
