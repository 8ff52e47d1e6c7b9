"""The rates that this machine reaches: of its matrix product, which a share of the peak relates to, and of copying."""

from __future__ import annotations

import math

from bench.errors import unknown_name
from bench.measure.clock import time_calls

DTYPES = ("float32", "float64", "bfloat16", "float16")
#: What one product should take: long enough to be timed, on one core or a hundred.
PRODUCT_S = 0.03
#: Sides of the matrices that the size is judged by, and of the largest ones. On two shared cores 1024, 1536, 2048 and
#: 4096 differed by 4 %, less than the rate varies from run to run.
PROBE, LARGEST = 512, 4096
WARMUP, RUNS = 1, 3


def matmul_peak(dtype: str = "float32", *, size: int | None = None, runs: int = RUNS, device: str = "cpu") -> float:
    """FLOP/s of the product of two matrices (size, size) with the threads in force: the median of `runs`.

    2 size^3 FLOPs a product; size: None for one that takes some `PRODUCT_S` seconds here. A measured rate, not a data
    sheet's: it is comparable only with figures of the same run.
    Raises BenchError for a dtype that is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if size is None:
        probed = _rate(dtype, PROBE, runs, device)
        size = suiting(probed)
        if size == PROBE:
            return probed
    return _rate(dtype, size, runs, device)


def suiting(rate: float) -> int:
    """The side of matrices whose product takes `PRODUCT_S` seconds at `rate` FLOP/s, in 128s, within the two limits."""
    side = round(math.cbrt(PRODUCT_S * rate / 2) / 128) * 128
    return min(LARGEST, max(PROBE, side))


def _rate(dtype: str, size: int, runs: int, device: str) -> float:
    import torch

    # Not ones or zeros: GPUs draw less power on constant matrices, and clock higher.
    noise = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=noise, device=device).to(getattr(torch, dtype)) for _ in range(2))
    product = torch.empty_like(left)
    timing, _ = time_calls(lambda: torch.mm(left, right, out=product), warmup=WARMUP, runs=runs, device=device)
    return 2 * size**3 / (timing.summary.median / 1e3)


def copy_rate(*, size_bytes: int = 1 << 27, runs: int = RUNS, device: str = "cpu") -> float:
    """Bytes/s, read and written, of copying `size_bytes` that no cache holds, with the threads in force: the median."""
    import torch

    source = torch.ones(size_bytes // 4, device=device)
    copy = torch.empty_like(source)
    timing, _ = time_calls(lambda: copy.copy_(source), warmup=WARMUP, runs=runs, device=device)
    return 2 * source.numel() * source.element_size() / (timing.summary.median / 1e3)
