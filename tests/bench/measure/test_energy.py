"""Energy counters, on folders that look like those of the kernel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench.measure import energy
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


def test_the_board_and_a_second_door_to_a_package_are_not_added(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl-mmio:0"):
        package(tmp_path, name, 0)
    (tmp_path / "intel-rapl:1" / "name").write_text("psys\n")
    counter = EnergyCounter(powercap=tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl-mmio:0"):
        (tmp_path / name / "energy_uj").write_text("500000")
    found = counter.until_now()
    assert (found.joules, found.source) == (pytest.approx(0.5), "intel-rapl:0")


def test_a_counter_that_stood_still_is_no_zero(tmp_path):
    package(tmp_path, "intel-rapl:0", 5)
    found = EnergyCounter(powercap=tmp_path).until_now()
    assert found.joules is None and "did not move" in found.reason


def test_reasons_say_what_is_wrong(tmp_path, monkeypatch):
    assert EnergyCounter(powercap=tmp_path).until_now().reason.endswith("has no package")
    assert EnergyCounter(powercap=tmp_path / "absent").until_now().reason.endswith("absent is absent")
    package(tmp_path, "intel-rapl:0", 5)
    read = energy._text

    def denied(path):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(energy, "_text", denied)  # root, as whom tests may run, is never denied
    assert EnergyCounter(powercap=tmp_path).until_now().reason.endswith("intel-rapl:0/energy_uj needs root")


def test_a_gpu_is_found_by_its_own_number(monkeypatch):
    import pynvml
    import torch

    counts = iter([1000, 3500, 9000, 100])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"of {device}"))
    for name in ("nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda identity: identity)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: next(counts))
    found = EnergyCounter("cuda:1").until_now()
    assert (found.joules, found.source) == (pytest.approx(2.5), "GPU-of cuda:1")
    assert EnergyCounter("cuda:1").until_now().reason == "the energy counter GPU-of cuda:1 went back"
