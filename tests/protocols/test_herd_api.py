import json

from herd.protocols.herd_api import (
    GpuEntry,
    InfoDocument,
    ModelEntry,
    NodeEntry,
    QueueEntry,
    ReasonEntry,
    StatusDocument,
    encode,
)

NODE = NodeEntry(
    id="6f1c",
    name="studio",
    state="paused",
    reasons=(ReasonEntry("pause", "is paused by its owner", 1_700_000_000.0, None),),
    breaker=None,
    models=(ModelEntry("llama3.3:70b", True, 2, "ollama", 42_520_413_916),),
    running=1,
    waiting=0,
    cpu=0.25,
    memory_total=2**37,
    memory_free=2**36,
    machine={"os": "darwin"},
    backends=({"id": "ollama", "kind": "ollama"},),
    agent_version="0.1.0",
    gpus=(GpuEntry("apple", "Apple M2 Ultra", "apple", 3 * 2**35, 2**35, unified=True),),
)


def test_info_says_who_the_router_is_and_where_agents_connect() -> None:
    assert json.loads(encode(InfoDocument("r-1", "0.1.0", 11436, (1,)))) == {
        "router_id": "r-1",
        "version": "0.1.0",
        "link_port": 11436,
        "protocol_versions": [1],
        "link_tls": False,
    }


def test_status_has_the_fields_of_the_contract() -> None:
    """Programs outside read these: docs/contracts.md."""
    status = StatusDocument({"id": "r-1"}, (NODE,), (QueueEntry("studio", "llama3.3:70b", 1, 0, 2),), {"held": 0})
    document = json.loads(encode(status))
    assert list(document) == ["router", "nodes", "queues", "totals"]
    (node,) = document["nodes"]
    assert {"id", "name", "state", "reasons", "breaker", "models", "running", "waiting"} <= set(node)
    assert node["breaker"] is None
    (reason,) = node["reasons"]
    assert reason == {"kind": "pause", "text": "is paused by its owner", "since": 1_700_000_000.0, "until": None}
    (gpu,) = node["gpus"]
    assert gpu == {
        "id": "apple",
        "name": "Apple M2 Ultra",
        "vendor": "apple",
        "memory_total": 3 * 2**35,
        "memory_free": 2**35,
        "unified": True,
    }
    (model,) = node["models"]
    assert {"name", "resident", "limit"} <= set(model)
    assert document["queues"] == [
        {"node": "studio", "model": "llama3.3:70b", "running": 1, "waiting": 0, "limit": 2},
    ]


def test_a_router_without_nodes_has_a_status_too() -> None:
    assert encode(StatusDocument({}, (), (), {})) == b'{"router":{},"nodes":[],"queues":[],"totals":{}}'
