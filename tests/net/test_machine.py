import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.clock import SystemClock
from herd.net.machine import PsutilProbe, cpu_name, memory_limits, week_slot
from herd.types import GiB, MiB, Seconds


class FixedClock:
    """A clock that stands still."""

    def __init__(self, wall: float) -> None:
        self._wall = wall

    def monotonic(self) -> Seconds:
        return Seconds(0.0)

    def wall(self) -> Seconds:
        return Seconds(self._wall)


class Cgroups:
    """The files of Linux's control groups, for one process."""

    def __init__(self, root: Path, membership: str) -> None:
        self.proc = root / "proc"
        self.tree = root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text(membership)
        self.tree.mkdir()

    def group(self, path: str, limit: str, used: int, inactive_file: int = 0) -> None:
        directory = self.tree / path
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.max").write_text(f"{limit}\n")
        (directory / "memory.current").write_text(f"{used}\n")
        (directory / "memory.stat").write_text(f"anon 5\ninactive_file {inactive_file}\nactive_file 7\n")

    def limits(self) -> list[tuple[int, int]]:
        return list(memory_limits(self.proc, self.tree))


class TestWeekSlot:
    def test_the_week_begins_on_monday_at_midnight(self) -> None:
        assert week_slot(datetime(2026, 6, 1, 0, 0, tzinfo=UTC)) == 0
        assert week_slot(datetime(2026, 6, 1, 13, 59, 59, tzinfo=UTC)) == 13
        assert week_slot(datetime(2026, 6, 7, 23, 59, 59, tzinfo=UTC)) == 167

    def test_it_follows_the_clock_on_the_wall_through_the_changes_of_the_year(self) -> None:
        try:
            berlin = ZoneInfo("Europe/Berlin")
        except ZoneInfoNotFoundError:
            pytest.skip("this system has no time zone database")
        before_spring = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # Sunday, 01:30 in Berlin
        hours = [week_slot((before_spring + timedelta(hours=n)).astimezone(berlin)) for n in range(3)]
        assert hours == [145, 147, 148]  # there is no 02:00
        before_autumn = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)  # Sunday, 01:30 in Berlin
        hours = [week_slot((before_autumn + timedelta(hours=n)).astimezone(berlin)) for n in range(4)]
        assert hours == [145, 146, 146, 147]  # 02:00 comes twice

    @given(st.datetimes(timezones=st.just(UTC)))
    @settings(max_examples=50)
    def test_it_is_a_slot_of_the_week_and_the_same_a_week_later(self, moment: datetime) -> None:
        assert 0 <= week_slot(moment) <= 167
        if moment.year < 9999:
            assert week_slot(moment + timedelta(days=7)) == week_slot(moment)


class TestMemoryLimits:
    def test_a_container_sees_its_own_limit(self, tmp_path: Path) -> None:
        cgroups = Cgroups(tmp_path, "0::/\n")
        cgroups.group("", str(2 * GiB), 512 * MiB)
        assert cgroups.limits() == [(2 * GiB, 512 * MiB)]

    def test_a_limit_on_a_group_around_this_one_counts_too(self, tmp_path: Path) -> None:
        cgroups = Cgroups(tmp_path, "0::/user.slice/herd.service\n")
        cgroups.group("user.slice", str(4 * GiB), 3 * GiB)
        cgroups.group("user.slice/herd.service", str(2 * GiB), 1 * GiB)
        assert cgroups.limits() == [(2 * GiB, 1 * GiB), (4 * GiB, 3 * GiB)]

    def test_pages_of_files_that_nobody_uses_are_not_in_use(self, tmp_path: Path) -> None:
        cgroups = Cgroups(tmp_path, "0::/\n")
        cgroups.group("", str(2 * GiB), 1536 * MiB, inactive_file=1024 * MiB)
        assert cgroups.limits() == [(2 * GiB, 512 * MiB)]

    @pytest.mark.parametrize("membership", ["", "9:name=systemd:/\n4:memory:/job\n", "nonsense"])
    def test_without_version_2_there_is_no_limit(self, tmp_path: Path, membership: str) -> None:
        assert Cgroups(tmp_path, membership).limits() == []

    def test_a_group_without_a_limit_has_none(self, tmp_path: Path) -> None:
        cgroups = Cgroups(tmp_path, "0::/\n")
        cgroups.group("", "max", 512 * MiB)
        assert cgroups.limits() == []

    def test_a_system_without_proc_has_no_limits(self, tmp_path: Path) -> None:
        assert list(memory_limits(tmp_path / "proc", tmp_path / "cgroup")) == []


class TestCpuName:
    def test_it_is_what_linux_says(self, tmp_path: Path) -> None:
        (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel\t\t: 33\nmodel name\t: AMD Ryzen 9 5950X\n\n")
        assert cpu_name(tmp_path / "cpuinfo") == "AMD Ryzen 9 5950X"

    def test_it_is_empty_where_the_system_does_not_say(self, tmp_path: Path) -> None:
        (tmp_path / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 48.00\n")
        assert cpu_name(tmp_path / "cpuinfo") == ""
        assert cpu_name(tmp_path / "missing") == ""


def test_the_probe_tells_of_this_machine() -> None:
    machine = PsutilProbe(SystemClock()).machine()
    assert machine.os in ("linux", "darwin", "windows")
    assert machine.arch
    assert machine.cores == os.cpu_count()
    assert machine.memory_total > 64 * MiB


def test_a_sample_is_within_what_the_machine_has() -> None:
    probe = PsutilProbe(SystemClock())
    for _ in range(2):  # the first one, too, has a share to measure from
        sample = probe.sample()
        assert 0.0 <= sample.cpu <= 1.0
        assert 0 < sample.memory_free <= sample.memory_total == probe.machine().memory_total
        assert 0 <= sample.week_slot <= 167


def test_a_container_is_offered_no_more_than_it_may_have(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "0::/\n")
    cgroups.group("", str(48 * MiB), 40 * MiB)
    sample = PsutilProbe(SystemClock(), cgroups.proc, cgroups.tree).sample()
    assert (sample.memory_total, sample.memory_free) == (48 * MiB, 8 * MiB)
    cgroups.group("", str(48 * MiB), 49 * MiB)  # the kernel is about to take some back
    assert PsutilProbe(SystemClock(), cgroups.proc, cgroups.tree).sample().memory_free == 0


def test_the_slot_is_that_of_the_clock_in_local_time() -> None:
    moment = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
    sample = PsutilProbe(FixedClock(moment.timestamp())).sample()
    assert sample.week_slot == week_slot(moment.astimezone())


def test_the_system_clock_moves_forward_and_tells_the_present() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall() > datetime(2025, 1, 1, tzinfo=UTC).timestamp()


def test_what_was_true_a_moment_ago_will_do_when_nothing_can_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def out_of_descriptors() -> None:
        raise OSError(24, "Too many open files")

    probe = PsutilProbe(FixedClock(0.0))
    before = probe.sample()
    monkeypatch.setattr("psutil.virtual_memory", out_of_descriptors)
    assert probe.sample() == before
    assert "Too many open files" in caplog.text
