"""The Surface: every endpoint of the router, against a house in memory."""

import json
from typing import Any

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.errors import BodyTooLarge
from herd.runtime import kill
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House, house
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.types import Bytes

LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}], "stream": False}


async def get(home: House, path: str, method: str = "GET") -> RecordingSink:
    return await home.ask(path, method=method)


@virtual_time
async def test_the_lists_are_those_of_all_nodes_together() -> None:
    async with house() as home:
        await home.node("a", [LLAMA, QWEN], resident=[QWEN])
        await home.node("b", [LLAMA])
        assert [model["name"] for model in (await get(home, "/api/tags")).json["models"]] == [LLAMA, QWEN]
        assert [model["name"] for model in (await get(home, "/api/ps")).json["models"]] == [QWEN]
        assert [model["id"] for model in (await get(home, "/v1/models")).json["data"]] == [LLAMA, QWEN]
        assert (await get(home, "/api/version")).json == {"version": "0.33.0"}


@virtual_time
async def test_an_empty_house_answers_too() -> None:
    async with house() as home:
        assert (await get(home, "/")).body == b"Ollama is running"
        assert (await get(home, "/api/tags")).json == {"models": []}
        assert (await get(home, "/v1/models")).json == {"object": "list", "data": []}
        assert (await get(home, "/healthz")).status == 200
        metrics = await get(home, "/metrics")  # of a router that nobody gave a meter
        assert (metrics.status, metrics.body) == (200, b"")
        assert metrics.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        ready = await get(home, "/readyz")
        assert (ready.status, ready.json) == (503, {"status": "no node can serve a model now"})


@virtual_time
async def test_the_router_tells_who_it_is_and_how_its_fleet_stands() -> None:
    async with house() as home:
        await home.node("a", [LLAMA], resident=[LLAMA], parallel=3)
        info = (await get(home, "/herd/v1/info")).json
        who = {"router_id": "simulated", "version": "simulated"}
        assert info == {**who, "link_port": 11436, "protocol_versions": [1], "link_tls": False, "join_token": False}
        assert (await get(home, "/readyz")).status == 200
        status = (await get(home, "/herd/v1/status")).json
        (node,) = status["nodes"]
        assert (node["name"], node["state"], node["reasons"], node["breaker"]) == ("a", "ready", [], None)
        assert node["models"][0] | {"size": 0} == {
            "name": LLAMA,
            "resident": True,
            "limit": 3,
            "backend": "ollama",
            "size": 0,
            "breaker": None,
            "pinned": False,
            "capabilities": ["completion", "tools"],
            "step": 0,
            "steps": 0,
        }
        assert status["queues"] == [{"node": "a", "model": LLAMA, "running": 0, "waiting": 0, "limit": 3}]
        assert status["totals"] == {"nodes": 1, "serving": 1, "models": 1, "running": 0, "waiting": 0, "held": 0}


@virtual_time
async def test_a_node_is_shown_with_what_was_learned_of_it() -> None:
    async with house() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA])
        await home.ask("/api/chat", {**CHAT, "options": {"num_predict": 50}})
        (listed, _) = (await get(home, "/herd/v1/status")).json["nodes"]
        shown = (await get(home, "/herd/v1/nodes/a")).json
        assert {name: shown[name] for name in listed} == listed
        assert (shown["owner_load"], shown["availability"], shown["trend"]) == (None, 1.0, 5.0)
        (speed,) = shown["learned"]
        assert (speed["model"], speed["decode"] > 0, speed["load_s"]) == (LLAMA, True, None)
        unknown = {"load": None, "confidence": 0.0, "mean": None, "spread": None, "weight": 0.0}
        assert (shown["week_slot"], shown["week"]) == (0, [unknown] * 168)
        assert (await get(home, "/herd/v1/nodes/b")).json["learned"] == []


@virtual_time
async def test_a_node_that_there_is_not_is_a_404_that_names_those_there_are() -> None:
    async with house() as home:
        empty = await get(home, "/herd/v1/nodes/attic")
        await home.node("den", [LLAMA])
        answer = await get(home, "/herd/v1/nodes/attic")
        assert (empty.status, answer.status) == (404, 404)
        assert empty.json["error"] == "there is no node 'attic': no node has joined since the router started"
        assert answer.json["error"] == "there is no node 'attic': the nodes are den"


@virtual_time
async def test_a_request_is_asked_for_by_its_id_in_any_spelling() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        await home.ask("/api/chat", CHAT, (("X-Request-Id", "team/a:7"),))
        for spelling in ("team/a:7", "team%2Fa%3A7", "team/a:7/"):
            assert (await get(home, f"/herd/v1/requests/{spelling}")).json["id"] == "team/a:7"
        for path in ("/herd/v1/requests", "/herd/v1/requests/", "/herd/v1/requests?limit=1000"):
            assert [one["id"] for one in (await get(home, path)).json["requests"]] == ["team/a:7"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "answer"),
    [
        ("GET", "/herd/v1/requests/team%2Fb", None, 404, b"no request 'team/b' is known: the router remembers those"),
        ("GET", "/herd/v1/requests?limit=0", None, 400, b"limit must be a whole number from 1 to 1000, not '0'"),
        ("GET", "/herd/v1/requests?limit=many", None, 400, b"limit must be a whole number from 1 to 1000, not 'many'"),
        ("POST", "/herd/v1/requests/team%2Fb", None, 405, b"405 method not allowed"),
        ("GET", "/nowhere", None, 404, b"404 page not found"),
        ("GET", "/api/chat", None, 405, b"405 method not allowed"),
        ("POST", "/api/chat", b"{", 400, b"unexpected EOF"),
        ("POST", "/api/chat", {"messages": []}, 400, b"model is required"),
        ("POST", "/v1/chat/completions", b"nonsense", 400, b"invalid_request_error"),
        ("POST", "/api/chat", CHAT | {"model": "nobody-has-it"}, 404, b"model 'nobody-has-it' not found"),
        ("POST", "/v1/chat/completions", CHAT | {"model": "nobody-has-it"}, 404, b"not_found_error"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_the_clients_dialect(
    method: str, path: str, body: Any, status: int, answer: bytes
) -> None:
    async def story() -> None:
        async with house() as home:
            refusal = await home.ask(path, body, method=method)
            assert (refusal.status, refusal.finished) == (status, True)
            assert answer in refusal.body
            assert refusal.header("X-Request-Id")
            assert refusal.header("Content-Length") == str(len(refusal.body))

    run_virtual(story())


@virtual_time
async def test_a_wrong_method_is_told_the_right_ones() -> None:
    async with house() as home:
        assert (await get(home, "/api/chat")).header("Allow") == "POST"


@virtual_time
async def test_the_clients_request_id_is_kept_where_it_is_fit_for_a_header() -> None:
    async with house() as home:
        for wanted, kept in (("my-id:7", True), ("bad id", False), ("x" * 129, False), ("", False)):
            answer = await home.ask("/healthz", headers=(("x-request-id", wanted),), method="GET")
            assert (answer.header("X-Request-Id") == wanted) is kept
            assert answer.header("X-Request-Id")


@virtual_time
async def test_a_body_over_the_limit_is_too_large() -> None:
    class Endless(InMemoryRequest):
        async def read_body(self, limit: Bytes, *, inflate: bool = False) -> Any:
            raise BodyTooLarge("request body too large")

    async with house() as home:
        sink = RecordingSink()
        await home._http.send(Endless("POST", "/api/chat"), sink)
        assert (sink.status, sink.json) == (413, {"error": "request body too large"})


@virtual_time
async def test_a_failure_of_the_router_itself_says_nothing_of_its_inside() -> None:
    async with house() as home:
        kill(home.router.fleet)
        answer = await get(home, "/api/tags")
        assert (answer.status, answer.json) == (500, {"error": "the router failed on this request"})


@virtual_time
async def test_a_failure_of_the_router_in_the_middle_of_an_answer_cuts_it() -> None:
    class Breaks(RecordingSink):
        async def write(self, data: bytes) -> None:
            raise ValueError("a mistake of ours")

    async with house() as home:
        a = await home.node("a", [LLAMA])
        sink = Breaks()
        request = InMemoryRequest("POST", "/api/chat", json.dumps(CHAT | {"stream": True}).encode())
        await home._http.send(request, sink)
        assert (sink.started, sink.finished, sink.aborted) == (True, False, True)
        assert a.ollama.requests["/api/chat"] == 1


@virtual_time
async def test_headers_pass_the_hop_but_for_those_that_are_the_routers_own() -> None:
    seen: list[tuple[str, str]] = []

    async with house() as home:
        a = await home.node("a", [LLAMA])

        async def spy(request: HttpRequest, sink: Sink) -> None:
            seen.extend(request.headers)
            await a.ollama.handle(request, sink)

        home.servers.serve(a.base_url, spy)
        headers = (("X-Custom", "1"), ("Authorization", "Bearer secret"), ("Host", "localhost"), ("Cookie", "c"))
        answer = await home.ask("/api/chat?x=1", CHAT, headers)
        assert answer.status == 200
    assert ("X-Custom", "1") in seen
    assert not {name.lower() for name, _ in seen} & {"authorization", "host", "cookie"}
