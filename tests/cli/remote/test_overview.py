"""`herd status`, `herd models` and `herd queues`: what they ask of a router, and what they show."""

import json
from typing import Any

import pytest

from herd.cli.remote import asking
from tests.cli.command_line import CommandLine
from tests.cli.statuses import model, node, reason, status

LLAMA = model("llama3.2:3b", resident=True)
DEN = node("den", LLAMA, model("qwen3:8b", size=5 * 2**30), running=1)
ATTIC = node(
    "attic", model("llama3.2:3b"), model("old:1b"), state="paused", reasons=[reason("meeting", "is in a call")]
)
QUEUES = [
    {"node": "attic", "model": "llama3.2:3b", "running": 0, "waiting": 0, "limit": 1},
    {"node": "den", "model": "llama3.2:3b", "running": 1, "waiting": 2, "limit": 4},
]
STATUS = status(DEN, ATTIC, pins={"qwen3:8b": "den", "gone:1b": None}, queues=QUEUES)
TAGS = {
    "models": [
        {"name": "llama3.2:3b", "digest": "d1", "capabilities": ["completion", "tools"]},
        {"name": "qwen3:8b", "digest": "d2", "herd": {"digests": {"d2": ["den"], "d3": ["attic"]}}},
        {"name": "gpt-4o:latest", "digest": "d2"},
        {"name": "old:1b", "digest": ""},
    ]
}


class Router:
    """In place of a router: keeps what it is asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, Any]] = {"/herd/v1/status": (200, STATUS), "/api/tags": (200, TAGS)}
        patch.setattr(asking, "_fetched", self._fetched)

    async def _fetched(self, url: str, body: Any, headers: Any, method: str) -> tuple[int, Any]:
        path = url.removeprefix("http://127.0.0.1:11435")
        self.asked.append(path)
        return self.answers[path]


@pytest.fixture(name="router")
def a_router(monkeypatch: pytest.MonkeyPatch) -> Router:
    return Router(monkeypatch)


def rows(out: str) -> list[list[str]]:
    """The words of each line, columns apart by two spaces or more."""
    return [[word.strip() for word in line.split("  ") if word.strip()] for line in out.splitlines() if line.strip()]


def test_the_status_is_one_screen_with_what_is_wrong(run: CommandLine, router: Router) -> None:
    ended = run("herd status")
    assert (ended.code, ended.err, router.asked) == (0, "", ["/herd/v1/status"])
    first, second, heads, _, den, attic, *troubles = rows(ended.out)
    assert first == ["herd 0.1.0, router r1, link port 11436"]
    assert second == ["2 nodes, 1 serving; 3 models; 0 running, 0 waiting, 0 held"]
    assert heads[0] == "node"
    assert den == ["den", "ready", "llama3.2:3b", "2", "1", "0", "8.0 GiB of 16.0 GiB"]
    assert attic[:3] == ["attic", "paused", "-"]
    assert [line[0] for line in troubles] == [
        "! no node serves old:1b now: only attic has it",
        "herd pull old:1b fetches it to a node that takes requests",
        "- gone:1b is pinned, and no node can keep it loaded",
        "that takes a node with Ollama and room for it; herd unpin gone:1b takes it back",
        "- attic is in a call",
    ]


def test_a_fleet_without_troubles_is_well(run: CommandLine, router: Router) -> None:
    router.answers["/herd/v1/status"] = (200, status(DEN))
    assert run("herd status").out.endswith("all is well\n")


def test_a_hundred_nodes_away_are_not_a_hundred_sentences(run: CommandLine, router: Router) -> None:
    gone = [node(f"n{number}", state="offline", reasons=[reason("offline", "is away")]) for number in range(100)]
    router.answers["/herd/v1/status"] = (200, status(*gone))
    out = run("herd status").out
    assert out.endswith("and 81 more: herd nodes lists all of them\n")


def test_the_models_with_where_they_are_and_what_they_can_do(run: CommandLine, router: Router) -> None:
    ended = run("herd models")
    assert (ended.code, ended.err, router.asked) == (0, "", ["/herd/v1/status", "/api/tags"])
    _, _, gone, llama, old, qwen = rows(ended.out)
    assert gone == ["gone:1b", "-", "-", "-", "-", "no node serves it now; pinned, and nobody can keep it"]
    assert llama == ["llama3.2:3b", "2.0 GiB", "den, attic", "den", "completion, tools"]
    assert old == ["old:1b", "2.0 GiB", "attic", "-", "-", "no node serves it now"]
    notes = "pinned to den; 2 builds that differ; also called gpt-4o:latest"
    assert qwen == ["qwen3:8b", "5.0 GiB", "den", "-", "-", notes]


def test_models_of_every_kind_are_in_one_list(run: CommandLine, router: Router) -> None:
    spoken, drawn = model("whisper-1", size=0, capabilities=["audio"]), model("z-image-turbo", capabilities=["image"])
    seen = model("gemma3:4b", capabilities=["completion", "vision"])
    mini = node("mini", drawn, model("gemma3:4b", capabilities=["completion"]))
    router.answers["/herd/v1/status"] = (200, status(node("den", spoken, seen), mini))
    router.answers["/api/tags"] = (401, {"error": "unauthorized"})  # the status says it all
    _, _, gemma, whisper, image, _ = rows(run("herd models").out)
    assert gemma == ["gemma3:4b", "2.0 GiB", "den, mini", "-", "completion, vision"]
    assert whisper == ["whisper-1", "-", "den", "-", "audio"]
    assert image == ["z-image-turbo", "2.0 GiB", "mini", "-", "image"]
    listed = json.loads(run("herd models --json").out)["models"]
    assert [one["capabilities"] for one in listed] == [["completion", "vision"], ["audio"], ["image"]]


def test_models_of_a_router_that_tells_others_what_else_they_are_called_with_a_key_alone(
    run: CommandLine, router: Router
) -> None:
    router.answers["/api/tags"] = (401, {"error": "unauthorized"})
    ended = run("herd models")
    assert (ended.code, ended.err) == (0, "")
    assert "llama3.2:3b" in ended.out
    assert "the router tells with a key alone: --admin-key" in ended.out
    router.answers["/api/tags"] = (500, {"error": "it burns"})
    assert run("herd models").err == "error: it burns\n"


def test_the_queues_with_the_fullest_first(run: CommandLine, router: Router) -> None:
    _, _, first, second = rows(run("herd queues").out)
    assert first == ["den", "llama3.2:3b", "1", "4", "2"]
    assert second[0] == "attic"
    router.answers["/herd/v1/status"] = (200, status(held=2))
    out = run("herd queues").out
    assert out.startswith("no queue: nothing runs or waits")
    assert "2 requests held: no node can serve them now" in out


def test_their_json(run: CommandLine, router: Router) -> None:
    assert json.loads(run("herd status --json").out) == STATUS
    assert json.loads(run("herd queues --json").out) == {"queues": QUEUES, "held": 0}
    models = {one["name"]: one for one in json.loads(run("herd models --json").out)["models"]}
    assert list(models) == ["gone:1b", "llama3.2:3b", "old:1b", "qwen3:8b"]
    assert models["qwen3:8b"] == {
        "name": "qwen3:8b",
        "size": 5 * 2**30,
        "builds": 2,
        "nodes": ["den"],
        "in_memory": [],
        "serving": ["den"],
        "pinned": True,
        "home": "den",
        "capabilities": [],
        "aliases": ["gpt-4o:latest"],
    }


@pytest.mark.parametrize("command", ["status", "models", "queues"])
def test_a_document_of_another_kind_is_said_to_be_one(run: CommandLine, router: Router, command: str) -> None:
    for document in ({}, {"nodes": 3, "router": [], "totals": None, "queues": None}):
        router.answers["/herd/v1/status"] = (200, document)
        ended = run(f"herd {command}")
        assert (ended.code, ended.out) == (1, "")
        assert "in another way: is it of another version?" in ended.err


def test_strangers_texts_are_no_markup_and_no_control_characters(run: CommandLine, router: Router) -> None:
    router.answers["/herd/v1/status"] = (200, status(node("[red]den\x1b[2J", model("[bold]m\n", resident=True))))
    for command in ("status", "models", "queues"):
        out = run(f"herd {command}").out
        assert "\x1b" not in out
        assert command == "queues" or "[bold]m\\n" in out
