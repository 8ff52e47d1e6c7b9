"""Energy of a window of time, where the system lets a counter be read.

A counter covers its whole package or GPU: what other programs draw meanwhile is in it, and so is what idles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


@dataclass(frozen=True, kw_only=True)
class Energy:
    """joules: of whole packages or the GPU, other programs included; None with the reason why not. source: counters."""

    joules: float | None = None
    reason: str = ""
    source: str = ""


class EnergyCounter:
    """Counters at one moment, to be held against a later one.

    On the CPU RAPL's package domains (powercap of Linux), whose parts are not added again; on CUDA the counter of NVML.
    RAPL's start again from 0 after some minutes at full power: a window must not be longer than that.
    """

    def __init__(self, device: str = "cpu", *, powercap: Path = POWERCAP) -> None:
        self.device, self.powercap = device, powercap
        self.reason = ""
        self.joules: dict[str, tuple[float, float | None]] = {}
        try:
            self.joules = _gpu_joules(device) if device.startswith("cuda") else _package_joules(powercap)
        except PermissionError as error:
            self.reason = f"the energy counter cannot be read: {error.filename} needs root"
        except (AssertionError, ImportError, OSError, ValueError, RuntimeError) as error:
            self.reason = f"the energy counter cannot be read: {error}"
        if not self.joules and not self.reason:
            self.reason = f"no energy counter here: {powercap} {'has no package' if powercap.is_dir() else 'is absent'}"

    def until_now(self) -> Energy:
        """Joules since this counter was made."""
        now = EnergyCounter(self.device, powercap=self.powercap)
        if self.reason or now.reason or set(now.joules) != set(self.joules):
            return Energy(reason=self.reason or now.reason or "the energy counters changed meanwhile")
        used = 0.0
        for name, (end, most) in now.joules.items():
            start = self.joules[name][0]
            if end < start and most is None:
                return Energy(reason=f"the energy counter {name} went back")
            used += end - start + (most or 0.0 if end < start else 0.0)
        source = ", ".join(sorted(now.joules))
        if used == 0:  # NVML's moves every 20 to 100 ms
            return Energy(reason="the energy counter did not move in so short a window", source=source)
        return Energy(joules=used, source=source)


def _package_joules(powercap: Path) -> dict[str, tuple[float, float | None]]:
    """Package -> (its count, where it starts again from 0).

    Left out: core, uncore and dram below a package; psys, which is the whole board with the packages in it; and
    intel-rapl-mmio, another door to the same counters. AMD's packages go by intel-rapl too.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") > 1 or not _text(folder / "name").startswith("package"):
            continue
        count, most = (int(_text(folder / name)) for name in ("energy_uj", "max_energy_range_uj"))
        found[folder.name] = count * MICRO, most * MICRO
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _gpu_joules(device: str) -> dict[str, tuple[float, float | None]]:
    """By the GPU's own number: NVML knows nothing of CUDA_VISIBLE_DEVICES, nor of the order in which CUDA counts."""
    import pynvml
    import torch

    identity = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(identity)
            return {identity: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * MILLI, None)}
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise RuntimeError(str(error)) from error
