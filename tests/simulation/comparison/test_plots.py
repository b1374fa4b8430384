"""The pictures of a comparison."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from herd.simulation.comparison.runs import Plan
from herd.simulation.comparison.standings import standings
from tests.simulation.comparison.made import LEAST, OURS, ROUND_ROBIN, runs_of

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib: pip install -e '.[plots]'"
)


@pytest.fixture(scope="module")
def plots() -> Any:
    return importlib.import_module("herd.simulation.comparison.plots")


def drawn(plots: Any, folder: Path, policies: tuple[str, ...] = (OURS, ROUND_ROBIN, LEAST), seeds: int = 6) -> Any:
    plan = Plan(policies, (0.3, 0.9), seeds)
    runs = runs_of(plan, lambda cell: (1 + cell.seed) * (1 + policies.index(cell.policy)) * cell.load)
    folder.mkdir(exist_ok=True)
    return list(plots.draw(plan, standings(plan, runs), folder / "page.md"))


def words(path: Path) -> str:
    return " ".join(ET.fromstring(path.read_text(encoding="utf-8")).itertext())


def test_each_picture_shows_every_policy_and_load(plots: Any, tmp_path: Path) -> None:
    names = [name for _, name in drawn(plots, tmp_path)]

    assert names == ["page-generator.svg", "page-generator-ratios.svg"]
    for word in (OURS, ROUND_ROBIN, LEAST, "30", "90"):
        assert all(word in words(tmp_path / name) for name in names), word


def test_the_same_comparison_gives_the_same_bytes(plots: Any, tmp_path: Path) -> None:
    names = [name for _, name in drawn(plots, tmp_path / "a")]
    drawn(plots, tmp_path / "b")

    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert "dc:date" not in (tmp_path / "a" / name).read_text()


def test_one_policy_or_one_seed_is_drawn_as_far_as_it_goes(plots: Any, tmp_path: Path) -> None:
    assert len(drawn(plots, tmp_path, (OURS,), 1)) == 1
    assert len(drawn(plots, tmp_path, (OURS, LEAST), 1)) == 2
