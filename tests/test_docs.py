"""What the documents say is true: they are read, and held against the code."""

import ast
import inspect
import math
import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
import typer

from herd import runtime
from herd.cli.application import Script
from herd.cli.scripts import HERD, HERD_NODE
from herd.config import NodeSettings, RouterSettings, settings_of
from herd.policy.memory import CEILINGS
from herd.policy.owner import LEVELS, RULES, Sign
from herd.protocols.messages import FrameType
from herd.protocols.paths import ENDPOINTS
from herd.protocols.session import describe_states
from herd.runtime import ActorStatus, DeadLetterReason, RestartPolicy
from herd.runtime.testing import run_virtual
from herd.types import Workload

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRACTS = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
OWNERS = (ROOT / "docs" / "owners.md").read_text(encoding="utf-8")
RUNTIME = (ROOT / "docs" / "runtime.md").read_text(encoding="utf-8")
EXAMPLES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.py")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_dependency_has_its_reason_in_the_readme() -> None:
    table = README.partition("## Dependencies")[2].partition("\n## ")[0]
    named = set(re.findall(r"pypi\.org/project/([a-z.-]+)/", table))

    declared = {re.split(r"[><=; \[]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert named == declared


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        *(
            f"docs/{name}.md"
            for name in (
                "contracts",
                "learning",
                "link",
                "multimodal",
                "observability",
                "owners",
                "queues",
                "routing",
                "routing-quality",
                "runtime",
                "simulation",
                "store",
            )
        ),
    ],
)
def test_every_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = [ROOT / document / ".." / target for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
    named = [ROOT / path for path in re.findall(r"`((?:herd|examples|docs|tests)/[\w/.]+\.(?:py|md))`", text)]

    missing = [str(path) for path in [*linked, *named] if not path.resolve().exists()]
    assert not missing


@pytest.mark.parametrize("script", [HERD, HERD_NODE], ids=lambda script: script.name)
def test_every_command_has_help_with_an_example_and_the_readme_lists_them_all(script: Script) -> None:
    group = typer.main.get_command(script.app())
    commands = group.commands  # type: ignore[attr-defined]

    assert list(commands) == list(script.commands)
    for name, command in commands.items():
        assert "Example:" in (command.help or ""), f"{script.name} {name} shows no example"
    rows = re.findall(rf"^\| `{script.name} ([\w-]+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(commands)


@pytest.mark.parametrize("role", [RouterSettings, NodeSettings])
def test_every_setting_is_in_the_contracts(role: type) -> None:
    for name in settings_of(role):
        assert f"`--{name.replace('_', '-')}`" in CONTRACTS


def test_every_endpoint_and_every_frame_is_in_the_contracts() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.path in CONTRACTS
    for frame in FrameType:
        assert frame.name in CONTRACTS


def test_the_state_tables_are_those_of_the_code() -> None:
    assert describe_states().strip() in (ROOT / "docs" / "link.md").read_text(encoding="utf-8")


def cells(row: str) -> list[str]:
    """What stands in the first row of the page about owners that begins with this."""
    (line,) = re.findall(rf"^\| {re.escape(row)} \|.*$", OWNERS, flags=re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("row", "sign"),
    [
        ("`meeting`", Sign.CAMERA),
        ("`meeting`", Sign.MICROPHONE),
        ("`owner-load`", Sign.BUSY),
        ("`thermal`", Sign.HOT),
        ("throttled", Sign.SLOWED),
        ("`memory-pressure`", Sign.SHORT),
    ],
)
def test_the_signs_of_owners_count_as_the_page_about_them_says(row: str, sign: Sign) -> None:
    begins, ends = cells(row)[2:4]
    assert begins == (f"{RULES[sign].begins:g} s" if RULES[sign].begins else "at once")
    assert ends.startswith(f"{RULES[sign].ends:g} s")


@pytest.mark.parametrize("workload", Workload)
def test_the_classes_of_workloads_are_those_of_the_page_about_owners(workload: Workload) -> None:
    cores, gpu, memory, _, share = cells(workload)[1:]
    assert share == f"{CEILINGS[workload] * 100:g} %"
    if workload is Workload.IDLE:
        limits = (math.inf, math.inf, math.inf)
    else:
        level = LEVELS[Sign(workload.value)]
        limits = (level.cpu, level.gpu, level.memory)
    assert [cores, gpu, memory] == [f"{limit * 100:g} %" if limit < math.inf else "" for limit in limits]


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in set(re.findall(r"^make (\w+)|`make (\w+)", README, flags=re.MULTILINE)):
        name = target[0] or target[1]
        assert f"\n{name}:" in makefile


def chapters(document: str) -> dict[str, list[str]]:
    """The Python code of each chapter that has some; each piece behind as many lines as stand before it."""
    found: dict[str, list[str]] = {}
    for piece in re.finditer(r"^```python\n(.*?)^```$", document, flags=re.MULTILINE | re.DOTALL):
        before = document[: piece.start(1)]
        title = re.findall(r"^## (.+)$", before, flags=re.MULTILINE)[-1]
        found.setdefault(title, []).append("\n" * before.count("\n") + piece[1])
    return found


def no_links(document: str) -> set[str]:
    """Links to chapters of the document that it does not have."""
    titles = re.findall(r"^#+ (.+)$", document, flags=re.MULTILINE)
    return set(re.findall(r"\]\(#([^)]+)\)", document)) - {title.lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(("title", "pieces"), chapters(RUNTIME).items(), ids=chapters(RUNTIME))
def test_the_code_about_the_runtime_runs_or_is_a_piece_of_an_example(
    title: str, pieces: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("runtime_md")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("import asyncio\nfrom herd.runtime import *", vars(module))

    async def read() -> None:
        for piece in pieces:
            if piece.strip() in EXAMPLES:
                continue
            code = compile(piece, "docs/runtime.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, vars(module))
            if inspect.iscoroutine(running):
                await running

    run_virtual(read(), allow_alive=True, allow_lost=True)


def test_the_chapters_that_the_text_about_the_runtime_links_to_are_there() -> None:
    assert not no_links(RUNTIME)


def test_each_name_of_the_runtime_is_compared_with_ray() -> None:
    table = RUNTIME.partition("## For those who know Ray")[2].partition("\n## ")[0]

    assert [name for name in runtime.__all__ if not re.search(rf"\b{name}\b", table)] == []


def test_states_reasons_and_defaults_of_the_runtime_are_those_of_the_code() -> None:
    for word in (*ActorStatus, *DeadLetterReason):
        assert re.search(rf"^\| {word.name} \|", RUNTIME, flags=re.MULTILINE), word
    for item in fields(RestartPolicy):
        assert re.search(rf"^\| `{item.name}` \| {item.default:g}( s)? \|", RUNTIME, flags=re.MULTILINE), item.name
