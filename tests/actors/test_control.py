"""Control requests, as the router's HTTP surface takes them."""

from typing import Any

import pytest

from herd.actors.control import MAX_LISTED, unknown_node
from herd.actors.node import NodeStatus
from herd.protocols.messages import Machine, Report
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House, house
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.types import NodeId, NodeName, NodeState

LLAMA = "llama3.2:3b"


async def asked(home: House, target: str, body: bytes = b"", **fields: Any) -> RecordingSink:
    """A POST, and its answer."""
    sink = RecordingSink()
    await home.http.send(InMemoryRequest("POST", target, body, **fields), sink)
    return sink


@virtual_time
async def test_a_node_is_told_by_its_name_however_that_is_written() -> None:
    async with house() as home:
        await home.node("den-1", [LLAMA])
        for name in ("den-1", "%64en%2D1"):
            drained = await asked(home, f"/herd/v1/nodes/{name}/drain")
            assert (drained.status, drained.json["name"], drained.json["state"]) == (200, "den-1", "draining")
            resumed = await asked(home, f"//herd/v1/./nodes/{name}/resume/")
            assert (resumed.status, resumed.json["state"], resumed.json["reasons"]) == (200, "ready", [])


@virtual_time
async def test_a_node_that_nobody_knows_is_a_404_that_names_those_there_are() -> None:
    async with house() as home:
        empty = await asked(home, "/herd/v1/nodes/attic/drain")
        assert (empty.status, empty.json["error"]) == (
            404,
            "there is no node 'attic': no node has joined since the router started",
        )
        for name in ("den", "cellar"):
            await home.node(name, [LLAMA])
        unknown = await asked(home, f"/herd/v1/nodes/{'x' * 500}/pause?for=1h")
        assert unknown.status == 404
        assert unknown.json["error"] == f"there is no node '{'x' * 32}...': the nodes are cellar, den"


def test_of_many_nodes_those_are_named_that_stand_near_it_in_the_alphabet() -> None:
    there = [f"{room}-{number}" for room in ("attic", "cellar", "den") for number in range(40)]
    nodes = tuple(
        NodeStatus(NodeId(name), NodeName(name), NodeState.READY, (), Machine(), "", Report(), ()) for name in there
    )
    for wrong, near in (("cellar-3O", "cellar-30"), ("aaa", "attic-0"), ("zzz", "den-9")):
        text = unknown_node(wrong, nodes)
        assert text.startswith(f"there is no node {wrong!r}: the nodes are ")
        assert near in text.replace(",", "").split(" ")
        assert text.count(", ") == MAX_LISTED - 1
        assert text.endswith(f" and {len(there) - MAX_LISTED} more")


@virtual_time
async def test_nobody_from_elsewhere_and_no_web_page_tells_a_node_anything() -> None:
    """Failure 11: control endpoints open to anyone on the network or to any web page in the browser."""
    async with house() as home:
        await home.node("den", [LLAMA])
        foreign: list[dict[str, Any]] = [
            {"peer": "192.168.1.7"},
            {"headers": (("Host", "127.0.0.1:11435"), ("Origin", "http://evil.example"))},
            {"headers": (("Sec-Fetch-Site", "cross-site"),)},
        ]
        for fields in foreign:
            for order in ("drain", "pause", "resume"):
                refused = await asked(home, f"/herd/v1/nodes/den/{order}", **fields)
                assert (refused.status, b"the fleet" in refused.body) == (403, "Origin" not in str(fields))
        (node,) = await home.fleet()
        assert node.state.value == "ready"


@virtual_time
@pytest.mark.parametrize(
    ("target", "body", "status", "words"),
    [
        ("/herd/v1/nodes/den/pause?for=soon", b"", 400, "such as 90s, 30m, 2h"),
        ("/herd/v1/nodes/den/pause", b'{"for": "2 hours"}', 400, "such as 90s, 30m, 2h"),
        ("/herd/v1/nodes/den/pause", b"for=2h", 400, "the body is no JSON"),
        ("/herd/v1/nodes/den/pause", b" " * 5000, 413, "longer than"),
        ("/herd/v1/nodes/den/explode", b"", 404, "404 page not found"),
        ("/herd/v1/nodes//drain", b"", 405, "405 method not allowed"),
        ("/herd/v1/nodes/drain", b"", 405, "405 method not allowed"),
    ],
)
async def test_what_is_no_order_is_refused_in_a_sentence(target: str, body: bytes, status: int, words: str) -> None:
    async with house() as home:
        answer = await asked(home, target, body)
        assert answer.status == status
        assert words in answer.body.decode()


@virtual_time
async def test_orders_are_posted() -> None:
    async with house() as home:
        got = await home.ask("/herd/v1/nodes/den/drain", method="GET")
        assert (got.status, got.header("Allow")) == (405, "POST")
