"""What `herd doctor` found, as a person reads it and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from herd.cli.doctor.diagnosis import Finding, Grade

_COLOURS = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.FAILED: "bold red"}


def findings(found: Sequence[Finding]) -> RenderableType:
    """A line for each finding, what to do below it, and a last line that counts."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        said: RenderableType = Text(finding.seen)
        if finding.advice:
            said = Group(said, Padding(Text(finding.advice, "dim"), (0, 0, 0, 2)))
        table.add_row(Text(finding.grade.value, _COLOURS[finding.grade]), Text(finding.check), said)
    return Group(table, Text(), _sum(found))


def _sum(found: Sequence[Finding]) -> Text:
    failed, warned = (sum(each.grade is grade for each in found) for grade in (Grade.FAILED, Grade.WARNING))
    if not failed and not warned:
        return Text("nothing is wrong", "green")
    text = Text()
    if failed:
        text.append(f"{failed} failed", _COLOURS[Grade.FAILED])
    if warned:
        text.append(f"{', ' if failed else ''}{warned} to look at", _COLOURS[Grade.WARNING])
    return text


def as_document(found: Sequence[Finding]) -> dict[str, Any]:
    """As JSON."""
    return {"ok": not any(each.grade is Grade.FAILED for each in found), "findings": [asdict(each) for each in found]}
