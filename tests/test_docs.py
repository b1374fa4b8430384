"""What the documents say is true: they are read, and held against the code."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from herd.cli import node, router
from herd.config import NodeSettings, RouterSettings
from herd.protocols.messages import FrameType
from herd.protocols.paths import ENDPOINTS
from herd.protocols.session import describe_states

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRACTS = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_dependency_has_its_reason_in_the_readme() -> None:
    table = README.partition("## Dependencies")[2].partition("\n## ")[0]
    named = set(re.findall(r"pypi\.org/project/([a-z-]+)/", table))

    declared = {re.split(r"[><=; \[]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert named == declared


@pytest.mark.parametrize("document", ["README.md", "docs/contracts.md", "docs/link.md"])
def test_every_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = [ROOT / document / ".." / target for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
    named = [ROOT / path for path in re.findall(r"`((?:herd|examples|docs|tests)/[\w/.]+\.(?:py|md))`", text)]

    missing = [str(path) for path in [*linked, *named] if not path.resolve().exists()]
    assert not missing


@pytest.mark.parametrize(("script", "app"), [("herd", router.app), ("herd-node", node.app)])
def test_every_command_has_help_with_an_example_and_a_line_in_the_readme(script: str, app: typer.Typer) -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]

    for name, command in commands.items():
        assert "Example:" in (command.help or ""), f"{script} {name} shows no example"
        assert f"| `{script} {name}` |" in README, f"{script} {name} is not in the README's table"


@pytest.mark.parametrize("role", [RouterSettings, NodeSettings])
def test_every_setting_is_in_the_contracts(role: type) -> None:
    for item in fields(role):
        assert f"`--{item.name.replace('_', '-')}`" in CONTRACTS


def test_every_endpoint_and_every_frame_is_in_the_contracts() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.path in CONTRACTS
    for frame in FrameType:
        assert frame.name in CONTRACTS


def test_the_state_tables_are_those_of_the_code() -> None:
    assert describe_states().strip() in (ROOT / "docs" / "link.md").read_text(encoding="utf-8")


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in set(re.findall(r"^make (\w+)|`make (\w+)", README, flags=re.MULTILINE)):
        name = target[0] or target[1]
        assert f"\n{name}:" in makefile
