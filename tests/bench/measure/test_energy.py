"""Energy counters, on folders that look like those of the kernel."""

from __future__ import annotations

import pytest

from bench.measure.energy import EnergyCounter


def package(root, name, count, most=1_000_000):
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "energy_uj").write_text(f"{count}\n")
    (root / name / "max_energy_range_uj").write_text(f"{most}\n")
    (root / name / "name").write_text("core\n" if name.count(":") > 1 else f"package-{name[-1]}\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 100_000)
    counter = EnergyCounter(powercap=tmp_path)
    package(tmp_path, "intel-rapl:0", 350_000)
    package(tmp_path, "intel-rapl:1", 200_000)
    package(tmp_path, "intel-rapl:0:0", 900_000)
    found = counter.until_now()
    assert found.joules == pytest.approx(0.35)
    assert (found.reason, found.source) == ("", "intel-rapl:0, intel-rapl:1")


def test_a_counter_that_started_again_has_gone_on(tmp_path):
    package(tmp_path, "intel-rapl:0", 900_000)
    counter = EnergyCounter(powercap=tmp_path)
    package(tmp_path, "intel-rapl:0", 50_000)
    assert counter.until_now().joules == pytest.approx(0.15)


def test_without_counters_there_is_a_reason(tmp_path):
    for root in (tmp_path, tmp_path / "absent"):
        found = EnergyCounter(powercap=root).until_now()
        assert found.joules is None and "no energy counter" in found.reason


def test_counters_that_may_not_be_read_or_are_nonsense_give_a_reason(tmp_path):
    package(tmp_path, "intel-rapl:0", "not a number")
    assert "cannot be read" in EnergyCounter(powercap=tmp_path).until_now().reason
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # reading it fails for root, too
    assert "cannot be read" in EnergyCounter(powercap=tmp_path).until_now().reason


def test_packages_that_vanish_give_a_reason(tmp_path):
    package(tmp_path, "intel-rapl:0", 1)
    counter = EnergyCounter(powercap=tmp_path)
    package(tmp_path, "intel-rapl:1", 1)
    assert counter.until_now().reason == "the energy counters changed meanwhile"


def test_a_gpu_that_is_not_there_gives_a_reason():
    found = EnergyCounter("cuda:99").until_now()
    assert found.joules is None and found.reason
