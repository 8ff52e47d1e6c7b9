"""The rate that this machine's matrix product reaches: what a share of the peak is a share of."""

from __future__ import annotations

from bench.errors import unknown_name
from bench.measure.clock import time_calls

DTYPES = ("float32", "float64", "bfloat16", "float16")


def matmul_peak(dtype: str = "float32", *, size: int = 4096, runs: int = 5, device: str = "cpu") -> float:
    """FLOP/s of the product of two matrices (size, size) with the threads in force: the median of `runs`.

    2 size^3 FLOPs a product. A measured rate, not a data sheet's: it is comparable only with figures of the same run.
    Raises BenchError for a dtype that is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    import torch

    # Not ones or zeros: GPUs draw less power on constant matrices, and clock higher.
    noise = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=noise, device=device).to(getattr(torch, dtype)) for _ in range(2))
    product = torch.empty_like(left)
    timing, _ = time_calls(lambda: torch.mm(left, right, out=product), warmup=2, runs=runs, device=device)
    return 2 * size**3 / (timing.summary.median / 1e3)
