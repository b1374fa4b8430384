"""`herd nodes` and `herd nodes NAME`: what they ask of a router, and what they show."""

import io
import json
import time
from typing import Any

import pytest
from rich.console import Console

from herd.cli.remote import asking, node_view
from tests.cli.command_line import CommandLine

MEETING = {"kind": "meeting", "text": "is in a meeting", "since": 1.0, "until": None}
LISTED: dict[str, Any] = {
    "name": "laptop",
    "state": "paused",
    "reasons": [MEETING],
    "models": [
        {"name": "llama3.2:3b", "resident": True, "limit": 2, "size": 2 * 2**30},
        {"name": "mistral", "resident": False, "limit": 1, "size": 4 * 2**30},
    ],
    "running": 1,
    "waiting": 2,
    "memory_total": 16 * 2**30,
    "memory_free": 8 * 2**30,
    "machine": {"os": "darwin", "arch": "arm64", "cpu": "Apple M3"},
}
UNKNOWN = {"load": None, "confidence": 0.0, "mean": None, "spread": None, "weight": 0.0}
WEEK = [UNKNOWN] * 168


def hour(load: float, confidence: float = 1.0) -> dict[str, Any]:
    return {**UNKNOWN, "load": load, "confidence": confidence}


NODE: dict[str, Any] = {
    **LISTED,
    "owner_load": 0.25,
    "workload": "light",
    "dedicated": False,
    "availability": 0.8,
    "trend": 7.5,
    "learned": [
        {
            "model": "llama3.2:3b",
            "load_s": 1.5,
            "first_token_s": 0.4,
            "prefill": 812.0,
            "decode": 61.24,
            "answer": 200.0,
            "calibration": {"ratio": 1.12, "spread": 0.33, "weight": 41.3},
        }
    ],
    "calibration": {"ratio": 1.12, "spread": 0.33, "weight": 56.7},
    "week_slot": 33,
    "week": [hour(0.0)] * 24 + [hour(slot / 24) for slot in range(24)] + WEEK[48:143] + [hour(1.0, 0.01)] * 25,
}


class Router:
    """In place of a router: keeps what it is asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, Any]] = {
            "status": (200, {"nodes": [LISTED], "totals": {}}),
            "laptop": (200, NODE),
        }
        patch.setattr(asking, "_fetched", self._fetched)

    async def _fetched(self, url: str, body: Any, headers: Any, method: str) -> tuple[int, Any]:
        assert body is None
        self.asked.append(url)
        return self.answers[url.rpartition("/")[2]]


@pytest.fixture(name="router")
def a_router(monkeypatch: pytest.MonkeyPatch) -> Router:
    return Router(monkeypatch)


def test_all_nodes_have_a_line_each_with_what_keeps_them(run: CommandLine, router: Router) -> None:
    ended = run("herd nodes")
    assert (ended.code, ended.err) == (0, "")
    line, why = [line for line in ended.out.splitlines() if "laptop" in line]
    words = [word.strip() for word in line.split("  ") if word.strip()]
    assert words == ["laptop", "paused", "llama3.2:3b", "2", "1", "2", "8.0 GiB of 16.0 GiB"]
    when = time.strftime("%m-%d %H:%M:%S", time.localtime(1.0))
    assert why == f"laptop is in a meeting since {when}"
    router.answers["status"] = (200, {"nodes": []})
    assert "no node has joined" in run("herd nodes").out


def test_one_node_has_its_speeds_and_its_owner(run: CommandLine, router: Router) -> None:
    out = run("herd nodes laptop").out
    assert out.startswith("laptop is paused\n  it is in a meeting since")
    assert "Apple M3, darwin, arm64; memory: 8.0 GiB of 16.0 GiB free" in out
    assert "its owner takes 25% (workload: light); 80% is there for requests, 7.5 of 10 points for what comes" in out
    llama, mistral = (next(line.split() for line in out.splitlines() if name in line) for name in ("llama", "mistral"))
    assert llama == ["llama3.2:3b", "2.0", "GiB", "yes", "2", "1.5", "s", "0.4", "s", "812.0", "61.2", "+12", "%"]
    assert mistral == ["mistral", "4.0", "GiB", "no", "1", *["-"] * 5]
    unsaid = {"name": "whisper-1", "resident": True, "limit": 1, "size": 0}  # by servers of speech
    router.answers["laptop"] = (200, {**NODE, "models": [unsaid], "owner_load": None, "workload": None})
    assert ["whisper-1", "-", "yes"] in [line.split()[:3] for line in run("herd nodes laptop").out.splitlines()]
    assert "what its owner takes is not known" in run("herd nodes laptop").out
    router.answers["laptop"] = (200, {**NODE, "dedicated": True})
    assert "it has no owner" in run("herd nodes laptop").out


def test_a_model_that_makes_an_image_shows_how_far_it_is(run: CommandLine, router: Router) -> None:
    assert "step" not in run("herd nodes laptop").out
    drawing = {"name": "z-image-turbo", "resident": True, "limit": 1, "size": 0, "step": 4, "steps": 9}
    router.answers["laptop"] = (200, {**NODE, "models": [drawing]})
    assert "  z-image-turbo, step 4 of 9\n" in run("herd nodes laptop").out


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        ((1.12, 0.33, 56.7), "answers take 12 % longer than predicted, half of them within 25 % of that (57 answers)"),
        ((0.8, 0.1, 3.0), "answers take 20 % less than predicted, half of them within 7 % of that (3 answers)"),
        ((3.14, 0.1, 2.4), "answers take 3.1 times as long as predicted (2 answers)"),
        ((0.05, 0.0, 1.0), "answers take 95 % less than predicted (1 answer)"),
        ((1.004, 0.0, 0.01), "answers take as long as predicted (1 answer)"),
        (None, "none was checked against an answer yet"),
    ],
)
def test_how_predictions_come_true_is_a_sentence(
    run: CommandLine, router: Router, calibration: tuple[float, float, float] | None, sentence: str
) -> None:
    named = None if calibration is None else dict(zip(("ratio", "spread", "weight"), calibration, strict=True))
    router.answers["laptop"] = (200, {**NODE, "calibration": named})
    assert f"  predictions: {sentence}\n" in run("herd nodes laptop").out


def test_the_week_is_a_picture_of_seven_days_that_reads_without_colour(run: CommandLine, router: Router) -> None:
    lines = run("herd nodes laptop").out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  Mon"))
    picture = lines[at - 1 : at + 9]
    assert picture[0].split() == ["0", "3", "6", "9", "12", "15", "18", "21"]
    assert picture[1] == "  Mon " + "··" * 24
    assert picture[2] == "> Tue " + "·" * 10 + "░" * 10 + "▒" * 10 + "▓" * 10 + "█" * 8
    assert picture[3] == "  Wed " + "??" * 24
    assert picture[7] == "  Sun " + "??" * 24
    assert picture[8] == " " * 24 + "^ now"
    assert picture[9].split("  ") == ["· 0-20%", "░ 20-40%", "▒ 40-60%", "▓ 60-80%", "█ 80-100%", "? not known yet"]
    assert (picture[0].index("9"), picture[2].index("░")) == (24, 16)


def test_with_json_they_print_what_the_router_answers(run: CommandLine, router: Router) -> None:
    assert json.loads(run("herd nodes --json").out) == {"nodes": [LISTED]}
    assert json.loads(run("herd nodes laptop --json --router-url http://other:1").out) == NODE
    assert router.asked == ["http://127.0.0.1:11435/herd/v1/status", "http://other:1/herd/v1/nodes/laptop"]


def test_what_cannot_be_shown_is_a_sentence(run: CommandLine, router: Router) -> None:
    router.answers["my%2Fnode"] = (404, {"error": "there is no node 'my/node': the nodes are laptop"})
    ended = run("herd nodes my/node")
    assert (ended.code, "the nodes are laptop" in ended.err) == (1, True)
    router.answers["laptop"] = (200, {"name": "laptop"})
    ended = run("herd nodes laptop")
    assert (ended.code, ended.out, "of another version" in ended.err) == (1, "", True)
    router.answers["status"] = (200, {})
    assert run("herd nodes").code == 1
    router.asked.clear()
    ended = run('herd nodes ""')
    assert (ended.code, router.asked) == (2, [])


def test_a_machine_that_draws_or_hears_says_how_fast_and_of_others_nothing_is_said() -> None:
    drawing = [{"unit": "kilopixel-step", "rate": 476.2, "amount": 4195.0}]
    hearing = [{"unit": "audio-frame", "rate": 1400.0, "amount": 6000.0}]
    learned = [{**NODE["learned"][0], "work": drawing + hearing}]

    assert "llama3.2:3b: 2.1 s per megapixel-step, 14x real time\n" in printed({**NODE, "learned": learned})
    assert "real time" not in printed(NODE)


def printed(document: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(node_view.node(document, plain=True))
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO
    return text
