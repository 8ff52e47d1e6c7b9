"""Which machine this is: figures of two fingerprints are never compared."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

GIB = 1 << 30

#: Extensions that decide how fast a matrix product can be.
INSTRUCTIONS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2"),
)
#: Whose versions a record carries.
PACKAGES = (
    *("torch", "numpy", "scipy", "faiss-cpu", "faiss-gpu-cu12", "opencv-python-headless", "opencv-python"),
    *("transformers", "deepspeed", "h5py", "safetensors", "triton"),
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The hardware as this process may use it, and the system on it.

    cores: those that affinity and control group leave. memory_bytes: the smaller of what is built in and what the
    control group allows. instructions: the extensions among `INSTRUCTIONS` that the processor has.
    """

    cpu: str
    instructions: tuple[str, ...]
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]
    gpu_driver: str | None
    system: str
    python: str

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits over the hardware: processor, cores, memory in GiB, GPUs.

        Software is left out, so that a change of version shows as a change of version (see `versions`).
        """
        hardware = asdict(self) | {"memory_gib": round(self.memory_bytes / GIB)}
        for name in ("memory_bytes", "gpu_driver", "system", "python"):
            del hardware[name]
        return hashlib.sha256(json.dumps(hardware, sort_keys=True).encode()).hexdigest()[:12]


@cache
def this_machine() -> Machine:
    """The machine this runs on, looked at once."""
    gpus, driver = _gpus()
    cpu, instructions = _cpu()
    return Machine(
        cpu=cpu,
        instructions=instructions,
        cores=_cores(),
        memory_bytes=_memory_bytes(),
        gpus=gpus,
        gpu_driver=driver,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that decide speed or results, without importing any."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> tuple[str, tuple[str, ...]]:
    """Name with family, model and stepping (virtual machines often give the bare name of the brand); extensions."""
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    except OSError:
        facts["model name"] = _run("sysctl", "-n", "machdep.cpu.brand_string")
    name = facts.get("model name") or platform.processor() or platform.machine()
    numbers = [facts[key] for key in ("cpu family", "model", "stepping") if key in facts]
    numbers = numbers or [facts[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in facts]
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return " ".join([name, "/".join(numbers)]).strip(), tuple(name for name in INSTRUCTIONS if name in flags)


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for text in _control_group("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def _memory_bytes() -> int:
    built_in = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([built_in, *(int(text) for text in _control_group("memory.max") if text != "max")])


def _control_group(setting: str) -> list[str]:
    """What the control group (version 2) of this process and those above it say; nothing where there are none."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf8").splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    root = Path("/sys/fs/cgroup")
    folder = root / own.lstrip("/")
    files = [one / setting for one in (folder, *folder.parents) if one == root or root in one.parents]
    return [file.read_text(encoding="ascii").strip() for file in files if file.is_file()]


def _gpus() -> tuple[tuple[str, ...], str | None]:
    """Names of the NVIDIA GPUs and the version of their driver."""
    try:
        import pynvml
    except ImportError:
        return (), None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return tuple(pynvml.nvmlDeviceGetName(handle) for handle in handles), pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return (), None
    finally:
        pynvml.nvmlShutdown()


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
