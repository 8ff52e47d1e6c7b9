"""Energy of a window of time, where the system lets a counter be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


@dataclass(frozen=True, kw_only=True)
class Energy:
    """joules: of the whole package or GPU, other programs included; None with the reason why not. source: counters."""

    joules: float | None = None
    reason: str = ""
    source: str = ""


class EnergyCounter:
    """Counters at one moment, to be held against a later one.

    On the CPU RAPL's package domains (powercap of Linux), whose parts are not added again; on CUDA the counter of NVML.
    """

    def __init__(self, device: str = "cpu", *, powercap: Path = POWERCAP) -> None:
        self.device, self.powercap = device, powercap
        self.reason = ""
        self.joules: dict[str, tuple[float, float | None]] = {}
        try:
            self.joules = _gpu_joules(device) if device.startswith("cuda") else _package_joules(powercap)
        except (OSError, ValueError, RuntimeError) as error:
            self.reason = f"the energy counter cannot be read: {error}"
        if not self.joules and not self.reason:
            self.reason = f"no energy counter here: {powercap} has no package"

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
        return Energy(joules=used, source=", ".join(sorted(now.joules)))


def _package_joules(powercap: Path) -> dict[str, tuple[float, float | None]]:
    """Package -> (its count, where it starts again from 0)."""
    found: dict[str, tuple[float, float | None]] = {}
    for folder in sorted(powercap.glob("*:*")) if powercap.is_dir() else []:
        if folder.name.count(":") != 1 or not (folder / "energy_uj").exists():
            continue  # core, uncore, dram: parts of a package, or not of it
        count, most = ((folder / name).read_text(encoding="ascii") for name in ("energy_uj", "max_energy_range_uj"))
        found[folder.name] = int(count) * MICRO, int(most) * MICRO
    return found


def _gpu_joules(device: str) -> dict[str, tuple[float, float | None]]:
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
            return {device: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * MILLI, None)}
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise RuntimeError(str(error)) from error
