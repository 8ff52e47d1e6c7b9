"""The rates that this machine reaches: of its matrix product, which a share of the peak relates to, and of copying."""

from __future__ import annotations

from bench.errors import unknown_name
from bench.measure.clock import time_calls

DTYPES = ("float32", "float64", "bfloat16", "float16")
#: Sides of matrices that reach the full rate: on CPUs larger ones are no faster, and cost eight times as much.
SIZE_ON_CPU, SIZE_ON_DEVICE = 2048, 4096


def matmul_peak(dtype: str = "float32", *, size: int | None = None, runs: int = 5, device: str = "cpu") -> float:
    """FLOP/s of the product of two matrices (size, size) with the threads in force: the median of `runs`.

    2 size^3 FLOPs a product; size: None for one that suits the device. A measured rate, not a data sheet's: it is
    comparable only with figures of the same run.
    Raises BenchError for a dtype that is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    import torch

    size = size or (SIZE_ON_CPU if device == "cpu" else SIZE_ON_DEVICE)
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
