from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.measure import peak
from bench.measure.clock import Noise, Timing
from bench.measure.energy import Energy


def test_rate_is_flops_over_the_median(monkeypatch):
    noise = Noise(wall_s=1.0, cpu_s=1.0, involuntary_switches=0, steal_share=None)
    timing = Timing(
        device="cpu",
        warmup=2,
        cold_ms=9.0,
        samples_ms=(1.0, 2.0, 50.0),
        wall_ms=3.0,
        noise=noise,
        energy=Energy(reason="none"),
    )
    products = []

    def time_calls(call, **options):
        products.append((tuple(call().shape), options["runs"]))
        return timing, None

    monkeypatch.setattr(peak, "time_calls", time_calls)
    assert peak.matmul_peak(size=100, runs=3) == 2 * 100**3 / 0.002
    assert products == [((100, 100), 3)]


@pytest.mark.parametrize("dtype", peak.DTYPES)
def test_every_dtype_is_measured(dtype):
    assert 1e5 < peak.matmul_peak(dtype, size=64, runs=2) < 1e17


def test_other_dtypes_are_refused():
    with pytest.raises(BenchError, match="Did you mean 'float32'"):
        peak.matmul_peak("fp32")


@pytest.mark.parametrize(
    ("rate", "sizes"),
    [(1e9, [512]), (24e9, [512, 768]), (170e9, [512, 1408]), (3e12, [512, 3584]), (1e14, [512, 4096])],
    ids=["no instructions for the type", "one core", "two cores", "many cores", "gpu"],
)
def test_a_product_takes_long_enough_to_be_timed(monkeypatch, rate, sizes):
    asked = []
    monkeypatch.setattr(peak, "_rate", lambda dtype, size, runs, device: (asked.append(size), rate)[1])
    assert peak.matmul_peak("bfloat16") == rate
    assert asked == sizes


def test_copying_reads_and_writes_every_byte(monkeypatch):
    seen = []

    def time_calls(call, **options):
        seen.append(call().numel() * 4)
        noise = Noise(wall_s=1.0, cpu_s=1.0, involuntary_switches=0, steal_share=None)
        samples = (1.0, 4.0, 50.0)
        energy = Energy(reason="none")
        timing = Timing(device="cpu", warmup=2, cold_ms=9, samples_ms=samples, wall_ms=3, noise=noise, energy=energy)
        return timing, None

    monkeypatch.setattr(peak, "time_calls", time_calls)
    assert peak.copy_rate(size_bytes=4000) == 2 * 4000 / 0.004
    assert seen == [4000]


def test_a_copy_is_timed_as_it_is():
    assert 1e6 < peak.copy_rate(size_bytes=1 << 20, runs=2) < 1e14
