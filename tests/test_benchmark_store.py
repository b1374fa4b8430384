"""The benchmark of the store runs, and what it fills is what a router starts with. No time is asserted here."""

import json
from pathlib import Path

import pytest

from benchmarks import store
from benchmarks.store import DAYS, FULL, MODELS, NODES, Load, Row, fill, main
from herd.simulation.clock import EPOCH
from herd.store.database import Database
from herd.store.records import KnownCalibration, KnownEstimate, KnownSlot
from herd.store.tables import MAX_TRACES


def test_files_are_filled_and_routers_start_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"

    assert main(["--smoke", "--json", str(path)]) == 0

    out, _ = capsys.readouterr()
    assert "| requests a day | days | remembered |" in out
    assert "aim: under 50 MB and 1 s" in out
    (load,) = json.loads(path.read_bytes())["loads"]
    assert load["traces"] == 3 * 40 + store.FLUSHES
    assert load["size_mb"] > 0
    assert 0 < load["flush_ms"]["median"] <= load["flush_ms"]["most"]
    assert min(load["start_s"], load["empty_start_s"], load["prune_ms"]["most"]) > 0


def test_the_file_knows_what_a_fleet_of_that_size_teaches_in_a_month(tmp_path: Path) -> None:
    fill(tmp_path / "herd.db", Load(8, 31), Row(Load(8, 31)), EPOCH)

    database = Database(tmp_path / "herd.db")
    assert len(database.all(KnownEstimate)) == NODES * MODELS * 12 + MODELS
    assert len(database.all(KnownCalibration)) == NODES * MODELS
    assert len(database.all(KnownSlot)) == NODES * 168
    assert len(database.traces(MAX_TRACES)) == DAYS * 8 + store.FLUSHES
    database.close()


def test_a_month_of_the_smaller_load_is_remembered_whole_and_of_the_larger_what_there_is_room_for() -> None:
    small, large = FULL
    assert small.a_day * DAYS < MAX_TRACES < large.a_day * DAYS
