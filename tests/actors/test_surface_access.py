"""Keys, names and web pages at the router's HTTP surface: what each dialect is told, and what an answer carries."""

import json
from typing import Any

import pytest

from herd.protocols.access import Access, Key, digest_of
from herd.protocols.origins import Hosts, Origins
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House, house
from herd.simulation.http import InMemoryRequest, RecordingSink

LLAMA = "llama3.2:3b"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}]}
HOST = ("Host", "192.168.1.5:11435")
PAGE = "http://localhost:3000"
PHONE = ("Authorization", "Bearer phone-secret")
KEYED = Access(keys=(Key("phone", digest_of("phone-secret")), Key("", digest_of("nameless"))))


async def asked(home: House, target: str, *headers: tuple[str, str], **fields: Any) -> RecordingSink:
    sink = RecordingSink()
    method, body, peer = fields.get("method", "GET"), fields.get("body"), fields.get("peer", "192.168.1.9")
    data = b"" if body is None else json.dumps(body).encode()
    await home.http.send(InMemoryRequest(method, target, data, headers, peer), sink)
    return sink


@pytest.mark.parametrize(
    ("target", "content_type", "answer"),
    [
        ("/api/chat", "application/json; charset=utf-8", {"error": "unauthorized"}),
        (
            "/v1/chat/completions",
            "application/json",
            {
                "error": {
                    "message": "Incorrect API key provided: it is none of this router's.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "invalid_api_key",
                }
            },
        ),
        (
            "/v1/messages",
            "application/json",
            {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
        ),
    ],
)
def test_a_wrong_key_is_refused_in_the_words_of_the_dialect(target: str, content_type: str, answer: Any) -> None:
    async def story() -> None:
        async with house(access=KEYED) as home:
            node = await home.node("a", [LLAMA])
            refused = await asked(home, target, ("x-api-key", "guess-guess"), method="POST", body=CHAT)
            said = {name: value for name, value in refused.json.items() if name != "request_id"}
            assert (refused.status, said) == (401, answer)
            assert refused.header("Content-Type") == content_type
            assert refused.header("WWW-Authenticate") == "Bearer"
            assert refused.header("X-Request-Id")
            assert not node.ollama.requests[target]

    run_virtual(story())


@virtual_time
async def test_a_client_is_who_it_says_else_its_key_else_its_address() -> None:
    async with house(access=KEYED) as home:
        await home.node("a", [LLAMA])
        user = ("X-OpenWebUI-User-Id", "ada")
        for number, headers in enumerate(((PHONE, user), (PHONE,), (("x-api-key", "nameless"),))):
            named = ("X-Request-Id", f"q{number}")
            assert (await asked(home, "/api/chat", *headers, named, method="POST", body=CHAT)).status == 200
        listed = (await asked(home, "/herd/v1/requests", PHONE)).json["requests"]
        assert {one["id"]: one["client"] for one in listed} == {"q0": "ada", "q1": "phone", "q2": "192.168.1.9"}


@virtual_time
async def test_the_local_network_changes_the_fleet_where_it_is_let() -> None:
    for access, status in ((Access(), 403), (Access(lan_admin=True), 200)):
        async with house(access=access) as home:
            await home.node("den", [LLAMA])
            drained = await asked(home, "/herd/v1/nodes/den/drain", method="POST")
            pinned = await asked(home, f"/herd/v1/pins/{LLAMA}", method="POST")
            assert (drained.status, pinned.status) == (status, status)


@pytest.mark.parametrize(
    "target", ["/api/tags", "/v1/models", "/nowhere", "/api/chat", "/v1/messages", "/herd/v1/status"]
)
def test_whatever_a_page_is_answered_it_may_read_if_it_may_ask(target: str) -> None:
    async def story() -> None:
        async with house() as home:
            await home.node("a", [LLAMA])
            allowed = await asked(home, target, HOST, ("Origin", PAGE))
            assert allowed.status in {200, 404, 405}
            assert (allowed.header("Access-Control-Allow-Origin"), allowed.header("Vary")) == (PAGE, "Origin")
            refused = await asked(home, target, HOST, ("Origin", "http://evil.example"))
            assert (refused.status, refused.body, refused.finished) == (403, b"", True)
            plain = await asked(home, target, HOST)
            assert not [name for name, _ in plain.headers if name.startswith("Access-Control") or name == "Vary"]

    run_virtual(story())


@virtual_time
async def test_a_stream_of_a_nodes_has_the_routers_headers_and_not_the_nodes() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        for target in ("/api/chat", "/v1/chat/completions"):
            origin = ("Origin", "app://obsidian.md")
            streamed = await asked(home, target, HOST, origin, method="POST", body=CHAT | {"stream": True})
            assert (streamed.status, streamed.finished) == (200, True)
            names = [name for name, _ in streamed.headers]
            assert names.count("Access-Control-Allow-Origin") == names.count("Vary") == 1
            assert streamed.header("Access-Control-Allow-Origin") == "app://obsidian.md"


@virtual_time
async def test_a_preflight_is_answered_for_any_path_and_needs_no_key() -> None:
    async with house(access=KEYED) as home:
        for target in ("/v1/chat/completions", "/nowhere", "*"):
            asks = ("Access-Control-Request-Method", "POST")
            answer = await asked(home, target, HOST, ("Origin", PAGE), asks, method="OPTIONS")
            assert (answer.status, answer.body) == (204, b"")
            assert answer.header("Access-Control-Allow-Origin") == PAGE
        without = await asked(home, "/api/chat", HOST, method="OPTIONS")
        assert (without.status, without.header("Allow")) == (405, "POST")


@virtual_time
async def test_the_router_is_asked_by_its_own_names() -> None:
    access = Access(hosts=Hosts(own=("studio",), allowed=("ai.example.com",)), origins=Origins(("https://x.example",)))
    async with house(access=access) as home:
        for host in ("studio:11435", "ai.example.com", "192.168.1.5:11435", ""):
            assert (await asked(home, "/api/version", ("Host", host))).status == 200
        for target, form in (("/api/version", str), ("/v1/models", dict)):
            refused = await asked(home, target, ("Host", "evil.example"))
            assert refused.status == 403
            assert isinstance(refused.json["error"], form)
            assert b"--allowed-host" in refused.body
        further = await asked(home, "/api/version", HOST, ("Origin", "https://x.example"))
        assert further.header("Access-Control-Allow-Origin") == "https://x.example"
