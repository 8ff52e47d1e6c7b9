"""Peak memory of one call, on the host as the kernel keeps it and on the device under three names."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError

T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Resident memory of this process before a call and at its highest during it; None with the reason why not.

    anon_bytes, file_bytes: by how much the anonymous and the file-backed part had grown when the call returned, its
    output still held. Memory-mapped features that were touched are file-backed, and stay counted in the peak.
    """

    baseline_bytes: int | None = None
    peak_bytes: int | None = None
    anon_bytes: int | None = None
    file_bytes: int | None = None
    reason: str = ""

    @property
    def delta_bytes(self) -> int | None:
        """Peak over baseline."""
        if self.peak_bytes is None or self.baseline_bytes is None:
            return None
        return self.peak_bytes - self.baseline_bytes


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Memory of one CUDA device; None with the reason why not.

    baseline_bytes: allocated by tensors before the call. allocated_bytes <= reserved_bytes < driver_bytes: the peak
    that tensors held, the peak that torch's allocator held for them, and what the driver shows as used afterwards
    (it includes the context, libraries and other processes).
    """

    baseline_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    driver_bytes: int | None = None
    reason: str = ""

    @property
    def delta_bytes(self) -> int | None:
        """Allocated peak over baseline."""
        if self.allocated_bytes is None or self.baseline_bytes is None:
            return None
        return self.allocated_bytes - self.baseline_bytes


def host_memory(call: Callable[[], T]) -> tuple[HostMemory, T]:
    """Calls `call` once, and gives the resident memory it took and its output.

    Warm up before, or the first call's libraries and caches are counted too. The peak is VmHWM, which the kernel sets
    back to the present size when 5 is written to clear_refs (proc(5)). Not ru_maxrss: it is inherited through exec.
    """
    gc.collect()
    _give_back_freed_memory()
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
        before = _resident()
    except (OSError, KeyError) as error:
        return HostMemory(reason=f"the system does not say the peak of a process ({error})"), call()
    output = call()
    after = _resident()
    memory = HostMemory(
        baseline_bytes=before["VmRSS"],
        peak_bytes=after["VmHWM"],
        anon_bytes=after["RssAnon"] - before["RssAnon"],
        file_bytes=after["RssFile"] - before["RssFile"],
    )
    return memory, output


def device_memory(call: Callable[[], T], *, device: str) -> tuple[DeviceMemory, T]:
    """Calls `call` once, and gives what it took of `device` ("cuda" or "cuda:N") and its output.

    Only torch's own tensors are in the first two figures. Warm up before. On "cpu" the figures are None.
    """
    if not device.startswith("cuda"):
        return DeviceMemory(reason=f"{device} has no memory of its own"), call()
    import torch

    if not torch.cuda.is_available():
        raise BenchError(f"device {device!r} without CUDA", wanted="a GPU that torch can use", cure="Choose cpu.")
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    baseline = torch.cuda.memory_allocated(device)
    output = call()
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    memory = DeviceMemory(
        baseline_bytes=baseline,
        allocated_bytes=torch.cuda.max_memory_allocated(device),
        reserved_bytes=torch.cuda.max_memory_reserved(device),
        driver_bytes=total - free,
    )
    return memory, output


def _resident() -> dict[str, int]:
    """Bytes behind VmRSS, VmHWM, RssAnon and RssFile of this process."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf8").splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile")}


def _give_back_freed_memory() -> None:
    """Lets glibc return freed pages; a call that took them again would seem to need less than it does."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return
