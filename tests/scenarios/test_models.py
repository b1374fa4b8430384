"""The fleet's models as those of one Ollama: what is asked of one node, and what is done on all that have the model."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.actors.pre_warmer import HOMES_EVERY_S
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.blobs import PATH as BLOBS
from herd.simulation.ollama.server import FakeOllama
from herd.types import NodeState
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, begun, chat, lines, scenario, served_by, turns

BIG, SMALL = PROFILES["mac-studio"], PROFILES["mini-pc"]
GEMMA = "gemma3:4b"
SHOW, PULL, PUSH, CREATE, COPY, DELETE = (
    f"/api/{name}" for name in ("show", "pull", "push", "create", "copy", "delete")
)
POSTS = (SHOW, PULL, PUSH, CREATE, COPY)
GENERATE = "/api/generate"


async def delete(home: House, model: str) -> RecordingSink:
    return await home.ask(DELETE, {"model": model}, method="DELETE")


async def listed(home: House, path: str = "/api/tags") -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = (await home.ask(path, method="GET")).json["models"]
    return models


async def names(home: House, path: str = "/api/tags") -> list[str]:
    return [model["name"] for model in await listed(home, path)]


# --- one node is asked ------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_model_is_shown_by_a_node_that_has_it_byte_for_byte() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [QWEN])
        answer = await home.ask(SHOW, {"model": QWEN})
        assert (answer.status, answer.header("X-Herd-Node")) == (200, "b")
        assert answer.body == (await call(b.ollama.handle, "POST", SHOW, {"model": QWEN})).body
        copilot = await home.ask(SHOW, {"name": QWEN}, (("User-Agent", "GitHubCopilotChat/0.3"),))
        assert copilot.json["model_info"]["general.basename"] == QWEN


@virtual_time
async def test_a_paused_node_still_shows_what_it_alone_has() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        await home.node("b", [QWEN, LLAMA])
        await home.ask("/herd/v1/nodes/b/pause")
        assert (await home.ask(SHOW, {"model": QWEN})).header("X-Herd-Node") == "b"
        assert (await home.ask(SHOW, {"model": LLAMA})).header("X-Herd-Node") == "a"


@virtual_time
async def test_of_builds_that_differ_the_one_that_is_listed_is_shown_and_the_lists_tell_them_apart() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [LLAMA, QWEN])
        (before,) = [model for model in await listed(home) if model["name"] == LLAMA]
        assert "herd" not in before
        await call(b.ollama.handle, "POST", COPY, {"source": QWEN, "destination": LLAMA})
        await home.until(lambda fleet: len({m.digest for n in fleet for m in n.report.models if m.name == LLAMA}) == 2)
        (entry,) = [model for model in await listed(home) if model["name"] == LLAMA]
        assert entry["herd"] == {"digests": {before["digest"]: ["a"], entry["digest"]: ["b"]}}
        assert (await home.ask(SHOW, {"model": LLAMA})).header("X-Herd-Node") == "b"


@virtual_time
async def test_a_model_whose_nodes_are_all_away_is_not_unknown() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [QWEN])
        await b.stop_agent()
        await home.until_node("b", NodeState.OFFLINE)
        for method, path, body in (
            ("POST", SHOW, {"model": QWEN}),
            ("GET", f"/v1/models/{QWEN}", None),
            ("POST", PUSH, {"model": QWEN}),
            ("POST", COPY, {"source": QWEN, "destination": "x"}),
            ("DELETE", DELETE, {"model": QWEN}),
        ):
            answer = await home.ask(path, body, method=method)
            assert (answer.status, answer.header("Retry-After")) == (503, "5")
            assert f"{QWEN} is on b only, which is not connected now" in str(answer.json["error"])


@virtual_time
async def test_one_model_of_the_openai_list_is_found_under_every_spelling() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await home.ask(COPY, {"source": LLAMA, "destination": "team/x"})
        for path in ("/v1/models/team/x", "/v1/models/team%2Fx:latest", "/v1/models/TEAM/X"):
            found = await home.ask(path, method="GET")
            assert (found.status, found.json["id"], found.json["owned_by"]) == (200, "team/x:latest", "team")
        direct = await call(a.ollama.handle, "GET", f"/v1/models/{LLAMA}")
        (entry,) = [model for model in await listed(home) if model["name"] == LLAMA]
        shown = (await home.ask(f"/v1/models/{LLAMA}", method="GET")).json
        assert shown == direct.json | {"capabilities": entry["capabilities"]}
        unknown = await home.ask("/v1/models/team/y", method="GET")
        assert (unknown.status, unknown.json["error"]["message"]) == (404, "model 'team/y:latest' not found")


@virtual_time
async def test_a_push_goes_to_a_node_that_has_the_model_and_its_progress_comes_as_it_is_made() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [QWEN])
        pushed = await home.ask(PUSH, {"model": QWEN})
        assert (served_by(pushed), b.ollama.requests[PUSH]) == ("b", 1)
        assert [line["status"] for line in (lines(pushed)[0], lines(pushed)[-1])] == ["retrieving manifest", "success"]
        assert (await home.ask(PUSH, {"model": QWEN, "stream": False})).json == {"status": "success"}


@virtual_time
async def test_a_model_made_of_another_is_made_where_that_is_and_is_there_at_once() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], profile=BIG)
        await home.node("b", [QWEN], profile=SMALL)
        made = await home.ask(CREATE, {"model": "mine", "from": QWEN, "system": "Be brief."})
        assert (served_by(made), lines(made)[-1]) == ("b", {"status": "success"})
        assert "mine:latest" in await names(home)
        assert served_by(await home.ask(CHAT, chat("mine"))) == "b"


@virtual_time
async def test_a_model_made_of_blobs_is_made_where_they_are() -> None:
    blob = b"GGUF" + bytes(1000)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    async with scenario() as home:
        await home.node("a", [LLAMA], profile=BIG)
        await home.node("b", [QWEN], profile=SMALL)
        for query, node in (("", "a"), ("?node=b", "b")):
            assert (await home.ask(f"{BLOBS}{digest}{query}", method="HEAD")).status == 404
            assert (await home.ask(f"{BLOBS}{digest}{query}", blob)).header("X-Herd-Node") == node
            recipe = {"model": f"mine-{node}", "files": {"m.gguf": digest}, "stream": False}
            made = await home.ask(f"{CREATE}{query}", recipe)
            assert (made.status, made.json, made.header("X-Herd-Node")) == (200, {"status": "success"}, node)
            assert f"mine-{node}:latest" in await names(home)


@virtual_time
async def test_a_node_that_there_is_not_or_that_cannot_be_asked_is_named() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [LLAMA])
        await b.stop_agent()
        await home.until_node("b", NodeState.OFFLINE)
        for path, body in (
            (PULL, {"model": GEMMA}),
            (CREATE, {"model": "x", "from": LLAMA}),
            (BLOBS + "sha256:" + "0" * 64, b"x"),
        ):
            nobody = await home.ask(f"{path}?node=c", body)
            assert (nobody.status, nobody.json["error"]) == (404, "there is no node 'c': the nodes are a, b")
            away = await home.ask(f"{path}?node=b", body)
            assert (away.status, away.json["error"].startswith("b is offline")) == (503, True)


async def studio(request: HttpRequest, sink: Sink) -> None:
    """Another model server: it lists its model as LM Studio does, and knows nothing else."""
    model = {"id": "qwen/qwen3-vl", "arch": "qwen3", "state": "loaded", "type": "vlm", "loaded_context_length": 8192}
    known = request.path in {"/v1/models", "/api/v0/models"}
    await sink.start(200 if known else 404, (("Content-Type", "application/json"),))
    await sink.write(json.dumps({"data": [model]} if known else {"error": "no such endpoint"}).encode())
    await sink.finish()


@virtual_time
async def test_what_another_model_server_has_is_shown_in_ollamas_shape_and_changed_there_alone() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        # It never says what its models take, as the house waits for.
        starting = asyncio.create_task(home.node("lm", [], around=lambda _: studio))
        await home.until_node("lm", NodeState.READY)
        starting.cancel()
        answer = await home.ask(SHOW, {"model": "Qwen/Qwen3-VL"})
        assert answer.status == 200
        assert answer.json["model_info"]["qwen3.context_length"] == 8192
        assert "vision" in answer.json["capabilities"]
        assert (await home.ask("/v1/models/qwen/qwen3-vl", method="GET")).json["id"] == "qwen/qwen3-vl"
        deleted = await delete(home, "qwen/qwen3-vl")
        assert (deleted.status, "is kept by a model server that is no Ollama" in deleted.json["error"]) == (400, True)
        pull = await home.ask(f"{PULL}?node=lm", {"model": GEMMA})
        assert (pull.status, pull.json["error"].startswith("lm has no Ollama")) == (400, True)


# --- out of memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0", "0s", "-0m", "0h0m0.0s"])
@virtual_time
async def test_a_model_that_is_to_go_goes_from_every_node(keep_alive: Any) -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA], resident=[LLAMA])
        assert (await listed(home, "/api/ps"))[0]["herd"] == {"nodes": ["a", "b"]}
        answer = await home.ask(GENERATE, {"model": LLAMA, "keep_alive": keep_alive})
        assert [node.ollama.resident for node in home.nodes] == [(), ()]
        assert await names(home, "/api/ps") == []
        direct = await call(a.ollama.handle, "POST", GENERATE, {"model": LLAMA, "keep_alive": keep_alive})
        assert answer.header("Content-Type") == direct.header("Content-Type")
        assert answer.json | {"created_at": ""} == direct.json | {"created_at": ""}
        assert list(answer.json) == list(direct.json)
        assert answer.header("X-Herd-Node") == "a, b"


@virtual_time
async def test_a_chat_without_messages_lets_a_model_go_too_and_one_that_is_not_loaded_is_gone_already() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        for _ in range(2):
            answer = await home.ask(CHAT, {"model": LLAMA, "messages": [], "keep_alive": 0})
            assert (answer.status, answer.json["done_reason"]) == (200, "unload")
            assert answer.json["message"] == {"role": "assistant", "content": ""}
        assert a.ollama.loads[LLAMA] == 0
        unknown = await home.ask(CHAT, {"model": "nobody", "keep_alive": 0})
        assert (unknown.status, unknown.json) == (404, {"error": "model 'nobody' not found"})


@virtual_time
async def test_a_model_that_was_let_go_does_not_come_back_by_itself_even_at_its_home() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)
        await home.ask(GENERATE, {"model": LLAMA, "keep_alive": 0})
        await asyncio.sleep(3 * HOMES_EVERY_S)
        assert (a.ollama.resident, a.ollama.loads[LLAMA]) == ((), 1)
        await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)
        assert (await home.ask(CHAT, chat())).header("X-Herd-Edited") == "keep_alive"


@virtual_time
async def test_a_pinned_model_stays_where_it_is_pinned_and_the_answer_says_so() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA], resident=[LLAMA])
        pinned = (await home.ask(f"/herd/v1/pins/{LLAMA}")).json["home"]
        answer = await home.ask(GENERATE, {"model": LLAMA, "keep_alive": 0})
        assert (answer.status, answer.header("X-Herd-Missed")) == (200, pinned)
        assert [node.id for node in home.nodes if node.ollama.resident] == [pinned]


@virtual_time
async def test_a_load_without_a_prompt_goes_its_usual_way() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        for keep_alive in (None, -1, "5m", 3):
            loaded = await home.ask(GENERATE, {"model": LLAMA, "keep_alive": keep_alive})
            assert (loaded.json["done_reason"], a.ollama.resident) == ("load", (LLAMA,))


@pytest.mark.parametrize("path", [PUSH, CREATE])
@virtual_time
async def test_what_breaks_off_in_the_middle_says_so_in_its_last_line(path: str) -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        sent = home.send(path, {"model": LLAMA if path == PUSH else "x", "from": GEMMA})  # which has to be fetched
        await begun(sent.sink, 5)
        home.links.cut(a.id)
        await sent.task
        assert (sent.sink.status, sent.sink.finished, list(lines(sent.sink)[-1])) == (200, True, ["error"])


# --- every node that has the model ------------------------------------------------------------------------------------


@virtual_time
async def test_a_copy_is_made_on_every_node_that_has_the_model() -> None:
    async with scenario() as home:
        nodes = [await home.node(name, [LLAMA]) for name in ("a", "b")]
        await home.node("c", [QWEN])
        copied = await home.ask(COPY, {"source": LLAMA, "destination": "mine"})
        assert (copied.status, copied.body, copied.header("X-Herd-Node")) == (200, b"", "a, b")
        assert [node.ollama.requests[COPY] for node in home.nodes] == [1, 1, 0]
        assert "mine:latest" in await names(home)
        assert all("mine" in node.ollama._library for node in nodes)


@virtual_time
async def test_a_model_is_deleted_on_every_node_and_unknown_from_then_on() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA, QWEN], resident=[LLAMA])
        await home.node("b", [LLAMA])
        deleted = await delete(home, LLAMA)
        assert (deleted.status, deleted.body, deleted.header("X-Herd-Node")) == (200, b"", "a, b")
        assert await names(home) == [QWEN]
        assert [node.ollama.resident for node in home.nodes] == [(), ()]
        for answer in (await delete(home, LLAMA), await home.ask(CHAT, chat())):
            assert (answer.status, answer.json) == (404, {"error": f"model '{LLAMA}' not found"})


@virtual_time
async def test_a_model_that_was_loaded_a_moment_ago_goes_with_its_file() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await home.ask(CHAT, chat())
        await delete(home, LLAMA)
        assert (a.ollama.resident, await names(home)) == ((), [])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", SHOW, {"model": LLAMA}),
        ("POST", PUSH, {"model": LLAMA}),
        ("POST", CREATE, {"model": "x", "from": LLAMA}),
        ("POST", COPY, {"source": LLAMA, "destination": "y"}),
        ("DELETE", DELETE, {"model": "x"}),
        ("POST", GENERATE, {"model": LLAMA, "keep_alive": 0}),
    ],
    ids=str,
)
@virtual_time
async def test_a_client_that_leaves_at_whatever_moment_leaves_nothing_behind(
    method: str, path: str, body: dict[str, Any]
) -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA])
        await home.ask(COPY, {"source": LLAMA, "destination": "x"})
        for when in range(40):
            sent = home.send(path, body, method=method)
            await turns(when)
            await sent.hang_up()
        after = await home.ask(SHOW, {"model": LLAMA})
        assert after.status == 200


@virtual_time
async def test_a_node_that_is_away_keeps_its_copy_and_the_answer_says_so() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [LLAMA])
        await b.stop_agent()
        await home.until_node("b", NodeState.OFFLINE)
        deleted = await delete(home, LLAMA)
        assert (deleted.status, deleted.header("X-Herd-Node"), deleted.header("X-Herd-Missed")) == (200, "a", "b")


@virtual_time
async def test_a_node_that_fails_is_named_and_the_others_have_done_it() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        b = await home.node("b", [LLAMA])
        b.stop_server()
        answer = await delete(home, LLAMA)
        assert answer.status == 502
        assert answer.json["error"].startswith("the request failed on b: cannot connect")
        assert LLAMA not in a.ollama._library


@virtual_time
async def test_what_no_node_is_known_to_have_is_asked_for_once() -> None:
    """Somebody may have fetched it on the machine itself a moment ago."""
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await call(a.ollama.handle, "POST", COPY, {"source": LLAMA, "destination": "secret"})
        assert (await home.ask(SHOW, {"model": "secret"})).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *(
            ("POST", path, body)
            for path in (SHOW, PULL, PUSH, CREATE, COPY)
            for body in (b"", b"{", b"[]", b"{}", b"null")
        ),
        *(("DELETE", DELETE, body) for body in (b"", b" ", b'{"model": 5}', b'"x"', b"{}")),
        *(
            ("POST", path, {"model": name})
            for path in (SHOW, PULL, PUSH, CREATE)
            for name in ("nobody", "a b", "x:cloud")
        ),
        *(("DELETE", DELETE, {"model": name}) for name in ("nobody", "a b")),
        ("POST", SHOW, {"name": LLAMA}),
        ("POST", SHOW, {"MODEL": f"library/{LLAMA}", "extra": [1, {"x": "<&>"}]}),
        ("POST", PULL, {"model": "nobody", "stream": False}),
        ("POST", PULL, {"model": GEMMA, "stream": False}),
        ("POST", PUSH, {"model": "nobody", "stream": False}),
        ("POST", CREATE, {"model": "x", "files": {"a": "sha256:12"}}),
        ("POST", CREATE, {"model": "x", "files": {"a": "sha256:12"}, "stream": False}),
        ("POST", COPY, {"source": "nobody", "destination": "x"}),
        ("POST", COPY, {"source": LLAMA, "destination": "a b"}),
        ("POST", COPY, {"source": LLAMA, "destination": ""}),
        ("POST", COPY, {"source": LLAMA, "destination": "copied"}),
        ("GET", "/v1/models/nobody", b""),
        ("GET", "/api/tags", b""),
        ("GET", "/api/ps", b""),
    ],
    ids=str,
)
@virtual_time
async def test_one_node_behind_the_router_answers_as_without_it(method: str, path: str, body: Any) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        twin = FakeOllama(BIG, [CATALOG[LLAMA]])
        await call(twin.handle, "POST", GENERATE, {"model": LLAMA, "keep_alive": -1})
        through = await home.ask(path, body, method=method)
        direct = await call(twin.handle, method, path, body)
        assert (through.status, through.header("Content-Type")) == (direct.status, direct.header("Content-Type"))
        assert _without_times(through.body) == _without_times(direct.body)


def _without_times(body: bytes) -> Any:
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if isinstance(document, dict):
        for model in document.get("models", ()):
            model.pop("expires_at", None)
    return document
