"""The rates that this machine reaches: of its matrix product, which a share of the peak relates to, and of copying."""

from __future__ import annotations

from bench.errors import unknown_name
from bench.measure.clock import time_calls

DTYPES = ("float32", "float64", "bfloat16", "float16")
#: Sides of matrices that come near the full rate. On two shared cores 4096 was some 3 % faster than 2048, less than the
#: rate varies from run to run, and cost eight times as much.
SIZE_ON_CPU, SIZE_ON_DEVICE = 2048, 4096
#: Below this rate in FLOP/s at this size a processor has no instructions for a type: seen 1.2e9 for bfloat16 and 17e9
#: for float32 on the same two cores. Larger products of such a type are no faster, and take many seconds each.
SLOW_RATE, SIZE_WHEN_SLOW = 2.5e9, 512


def matmul_peak(dtype: str = "float32", *, size: int | None = None, runs: int = 5, device: str = "cpu") -> float:
    """FLOP/s of the product of two matrices (size, size) with the threads in force: the median of `runs`.

    2 size^3 FLOPs a product; size: None for one that suits device and type. A measured rate, not a data sheet's: it is
    comparable only with figures of the same run.
    Raises BenchError for a dtype that is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if size is not None or device != "cpu":
        return _rate(dtype, size or SIZE_ON_DEVICE, runs, device)
    slow = _rate(dtype, SIZE_WHEN_SLOW, runs, device)
    return slow if slow < SLOW_RATE else _rate(dtype, SIZE_ON_CPU, runs, device)


def _rate(dtype: str, size: int, runs: int, device: str) -> float:
    import torch

    # Not ones or zeros: GPUs draw less power on constant matrices, and clock higher.
    noise = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=noise, device=device).to(getattr(torch, dtype)) for _ in range(2))
    product = torch.empty_like(left)
    timing, _ = time_calls(lambda: torch.mm(left, right, out=product), warmup=2, runs=runs, device=device)
    return 2 * size**3 / (timing.summary.median / 1e3)


def copy_rate(*, size_bytes: int = 1 << 28, runs: int = 5, device: str = "cpu") -> float:
    """Bytes/s, read and written, of copying `size_bytes` that no cache holds, with the threads in force: the median."""
    import torch

    source = torch.ones(size_bytes // 4, device=device)
    copy = torch.empty_like(source)
    timing, _ = time_calls(lambda: copy.copy_(source), warmup=2, runs=runs, device=device)
    return 2 * source.numel() * source.element_size() / (timing.summary.median / 1e3)
