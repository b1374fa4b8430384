import json

from herd.protocols.herd_api import (
    GpuEntry,
    InfoDocument,
    ModelEntry,
    NodeEntry,
    QueueEntry,
    ReasonEntry,
    RouterEntry,
    StatusDocument,
    TotalsEntry,
    encode,
)
from herd.protocols.messages import BackendInfo, Machine
from herd.types import BackendId

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
    machine=Machine(os="darwin"),
    backends=(BackendInfo(BackendId("ollama"), "ollama"),),
    agent_version="0.1.0",
    gpus=(GpuEntry("apple", "Apple M2 Ultra", "apple", 3 * 2**35, 2**35, unified=True),),
)


ROUTER = RouterEntry("r-1", "0.1.0", 11436, (1,), {"m:latest": None})
TOTALS = TotalsEntry(nodes=1, serving=0, models=1, running=1, waiting=0, held=4)


def test_info_says_who_the_router_is_and_where_agents_connect() -> None:
    assert json.loads(encode(InfoDocument("r-1", "0.1.0", 11436, (1,)))) == {
        "router_id": "r-1",
        "version": "0.1.0",
        "link_port": 11436,
        "protocol_versions": [1],
        "link_tls": False,
        "join_token": False,
    }


def test_status_has_the_fields_of_the_contract() -> None:
    """Programs outside read these: docs/contracts.md."""
    status = StatusDocument(ROUTER, (NODE,), (QueueEntry("studio", "llama3.3:70b", 1, 0, 2),), TOTALS)
    document = json.loads(encode(status))
    assert list(document) == ["router", "nodes", "queues", "totals"]
    assert document["router"]["pins"] == {"m:latest": None}
    assert document["totals"] == {"nodes": 1, "serving": 0, "models": 1, "running": 1, "waiting": 0, "held": 4}
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
    assert (node["machine"]["os"], node["backends"][0]["kind"]) == ("darwin", "ollama")
