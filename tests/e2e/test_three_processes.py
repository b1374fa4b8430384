"""A router and two agents as processes of their own, and what a client sees of them."""

import asyncio
import contextlib
import io
import json
from typing import Any

import pytest

from herd.net.agent_files import agent_status
from tests.e2e.house import BOTH, DISKS, LOOK_EVERY_S, ONLY, House, question
from tests.e2e.model_servers import LOOPBACK
from tests.e2e.processes import PATIENCE_S, command, environment

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Everything that a client's library may send and that a router which parses and writes JSON again would change.
ODD_BODY = (
    b'{ "model" :"llama3.2:3b",\t"messages":[{"role":"user","content":"\\u003cb \\ud83d\\ude00 \xc3\xa9"}],\r\n'
    b' "keep_alive":"5m" ,'
    b' "options":{"num_ctx":131072,"num_predict":3, "seed": 12345678901234567890123, "temperature":1.0e-00,'
    b' "x_unknown":[1.10,1E2]},'
    b'"zz_unknown":{"b":1,"a":null,"b":2}, "stream" : false , "think":null}\n \n'
)


def lines(body: bytes) -> list[Any]:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


def events(body: bytes) -> list[str]:
    assert body.endswith(b"\n\n")
    return [event.removeprefix("data: ") for event in body.decode().split("\n\n")[:-1]]


async def sent_to(house: House, path: str, body: bytes, headers: dict[str, str]) -> tuple[Any, Any]:
    """What came out of the model server's end of the house, and the answer's headers."""
    before = {name: len(server.sent) for name, server in house.servers.items()}
    async with house.post(path, data=io.BytesIO(body), headers=headers) as answer:
        await answer.read()
        assert answer.status == 200
    [sent] = [sent for name, server in house.servers.items() for sent in server.sent[before[name] :]]
    return sent, answer.headers


async def test_an_openai_stream(house: House) -> None:
    async with house.chat(path="/v1/chat/completions", stream=True, tokens=8) as answer:
        *chunks, last = events(await answer.read())
    assert (answer.status, answer.content_type, last) == (200, "text/event-stream", "[DONE]")
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in json.loads(chunk)["choices"])
    assert answer.headers["X-Herd-Node"] in text


async def test_an_ollama_stream(house: House) -> None:
    async with house.chat(tokens=4) as answer:
        said = lines(await answer.read())
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert [line["done"] for line in said] == [False] * 4 + [True]
    assert said[-1]["eval_count"] == 4


async def test_a_request_tells_its_story_to_whoever_asks_on_the_command_line(house: House) -> None:
    async with house.chat(ONLY["attic"]) as answer:
        await answer.read()
        request_id = answer.headers["X-Request-Id"]
    words = command("herd", "story", request_id, "--router-url", house.url)
    program = await house.programs.start("story", words)
    assert await program.ended() == 0
    assert program.lines[0].startswith(f"{request_id}: {ONLY['attic']} for 127.0.0.1")
    assert program.lines[1].startswith("served by attic in ")
    assert any(line.split()[:2] == ["cellar", "out"] for line in program.lines)


async def test_a_generate_stream(house: House) -> None:
    async with house.post("/api/generate", json=question(prompt="Hello?", tokens=8)) as answer:
        said = lines(await answer.read())
    assert answer.headers["X-Herd-Node"] in "".join(line["response"] for line in said)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/api/generate"])
async def test_an_answer_that_is_not_streamed_has_its_length(house: House, path: str) -> None:
    async with house.post(path, json=question(prompt="Hello?", stream=False)) as answer:
        body = await answer.read()
    assert answer.headers["Content-Type"].startswith("application/json")
    assert int(answer.headers["Content-Length"]) == len(body)
    assert json.loads(body)["model"] == BOTH


async def test_the_headers_say_who_served(house: House) -> None:
    async with house.post("/api/chat", json=question(ONLY["cellar"]), headers={"X-Request-Id": "mine-1"}) as answer:
        await answer.read()
    headers = answer.headers
    assert (headers["X-Request-Id"], headers["X-Herd-Node"]) == ("mine-1", "cellar")
    assert (headers["X-Herd-Model"], headers["X-Herd-Attempts"]) == (ONLY["cellar"], "1")
    assert float(headers["X-Herd-Score"]) > 0
    assert int(headers["X-Herd-Queue-Ms"]) >= 0
    assert "X-Herd-Edited" not in headers


async def test_the_lists_show_the_models_of_all_nodes_once(house: House) -> None:
    every = sorted({model for disk in DISKS.values() for model in disk})
    assert sorted(model["name"] for model in (await house.get("/api/tags"))["models"]) == every
    assert sorted(model["id"] for model in (await house.get("/v1/models"))["data"]) == every
    assert {model["name"] for model in (await house.get("/api/ps"))["models"]} <= set(every)
    assert await house.get("/api/version") == {"version": "0.33.0"}


async def test_what_the_router_says_of_itself(house: House) -> None:
    status, info = await house.get("/herd/v1/status"), await house.get("/herd/v1/info")
    assert [(node["name"], node["state"]) for node in status["nodes"]] == [("attic", "ready"), ("cellar", "ready")]
    assert info["router_id"] == status["router"]["id"]
    assert await house.get("/readyz") == {"status": "ready"}
    assert await house.get("/healthz") == {"status": "alive"}
    async with house.client.get(house.url) as answer:
        assert await answer.text() == "Ollama is running"


async def test_a_body_reaches_the_model_server_byte_for_byte(house: House) -> None:
    sent, _ = await sent_to(house, "/api/chat?beta=true", ODD_BODY, {"Content-Type": "text/plain; charset=odd"})
    assert sent.body == ODD_BODY
    assert (sent.method, sent.target) == ("POST", "/api/chat?beta=true")
    assert sent.header("content-type") == "text/plain; charset=odd"


async def test_a_body_of_many_frames_reaches_the_model_server_byte_for_byte(house: House) -> None:
    named = b'"keep_alive":"5m","options":{"num_ctx":131072}'  # else the router may name them
    pictures = b'{"model":"gemma3:4b","messages":[],"stream":false,' + named + b',"x":"' + b"QUJD" * 700_000 + b'"}'
    sent, _ = await sent_to(house, "/api/chat", pictures, {"Expect": "100-continue"})
    assert sent.body == pictures


async def test_the_clients_headers_go_on_and_those_of_the_connection_do_not(house: House) -> None:
    client = {
        "User-Agent": "GitHubCopilotChat/1",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Origin": "http://localhost:3000",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Tracestate": "rojo=1",
    }
    sent, _ = await sent_to(house, "/api/chat", ODD_BODY, client)
    assert sent.header("user-agent") == "GitHubCopilotChat/1"
    assert sent.header("x-hop") is None
    assert sent.header("origin") is None
    assert (sent.header("traceparent"), sent.header("tracestate")) == (client["Traceparent"], client["Tracestate"])
    assert sent.header("host") in {server.url.removeprefix("http://") for server in house.servers.values()}


async def test_a_client_that_hangs_up_in_mid_stream_frees_the_model_server(house: House) -> None:
    server = house.servers["attic"]
    cancelled = server.fake.cancelled
    server.gate.clear()
    async with house.chat(ONLY["attic"], tokens=50) as answer:
        await answer.content.readline()
        answer.close()
    await server.fake.until(lambda fake: fake.cancelled == cancelled + 1 and not fake.running)
    server.gate.set()
    await house.settled()


async def test_a_client_that_hangs_up_before_the_answer_frees_the_model_server(house: House) -> None:
    server = house.servers["attic"]
    cancelled = server.fake.cancelled
    asking = asyncio.create_task(endless_question(house))
    await server.fake.until(lambda fake: fake.running > 0)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await server.fake.until(lambda fake: fake.cancelled == cancelled + 1 and not fake.running)


async def endless_question(house: House) -> None:
    """A question whose answer comes in one piece, after a million tokens."""
    async with house.chat(ONLY["attic"], tokens=10**6, stream=False):
        raise AssertionError("a million tokens came")


async def test_a_model_server_that_stops_is_replaced_and_used_again_once_it_is_back(house: House) -> None:
    attic = house.servers["attic"]
    await attic.stop()
    for _ in range(3):
        async with house.chat(stream=False) as answer:
            assert (answer.status, answer.headers["X-Herd-Node"]) == (200, "cellar")
    await attic.start()
    async with house.chat(ONLY["attic"], stream=False) as answer:
        assert (answer.status, answer.headers["X-Herd-Node"]) == (200, "attic")


async def test_an_agent_shows_its_router_and_what_that_has_learned_of_its_owner(house: House) -> None:
    shown: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE_S):
        while shown.get("week") is None:  # it is told when the first report has come
            await asyncio.sleep(LOOK_EVERY_S)
            shown = agent_status(house.programs.home / "attic")
    assert (shown["router_url"], shown["router_peer"]) == (house.url, LOOPBACK)
    assert shown["link_since"] <= shown["at"]
    assert [(one["url"], one["kind"]) for one in shown["servers"]] == [(house.servers["attic"].url, "ollama")]
    assert len(shown["week"]["load"]) == len(shown["week"]["confidence"]) == 168


async def test_what_the_router_was_asked_is_simulated_beside_it_while_it_runs(house: House) -> None:
    async with house.chat(ONLY["attic"], stream=False) as answer:
        assert answer.status == 200
        await answer.read()
    listed = (await house.get("/herd/v1/requests?limit=1000"))["requests"]
    asked = [one for one in listed if (one["outcome"], one["status"]) != ("rejected", 404)]
    words = command("herd", "simulate", "--from-history", "--data-dir", "router", "--nodes", "1", "--json")
    found = -1
    async with asyncio.timeout(PATIENCE_S):
        while found != len(asked):  # the latest are written within half a second
            home = house.programs.home
            out = asyncio.subprocess.PIPE
            ended = await asyncio.create_subprocess_exec(*words, cwd=home, env=environment(home), stdout=out)
            document = json.loads((await ended.communicate())[0])
            found = document["summary"]["counts"]["requests"]
    assert document["summary"]["models"][ONLY["attic"]]["served"] > 0
    assert await house.get("/healthz") == {"status": "alive"}
