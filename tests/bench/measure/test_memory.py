from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from bench.measure import memory
from bench.measure.memory import device_memory, host_memory

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")


@linux
def test_allocating_64_mib_shows_64_mib():
    host_memory(lambda: None)
    seen, output = host_memory(lambda: b"x" * (64 * MIB))
    assert len(output) == 64 * MIB
    assert seen.delta_bytes == pytest.approx(64 * MIB, abs=4 * MIB)
    assert seen.anon_bytes == pytest.approx(64 * MIB, abs=4 * MIB)
    assert abs(seen.file_bytes) < 4 * MIB
    assert seen.peak_bytes == seen.baseline_bytes + seen.delta_bytes and seen.reason == ""


@linux
def test_256_mib_are_measured_within_two_percent():
    host_memory(lambda: None)
    seen, output = host_memory(lambda: b"x" * (256 * MIB))
    assert len(output) == 256 * MIB
    assert seen.delta_bytes == pytest.approx(256 * MIB, rel=0.02)
    assert seen.anon_bytes == pytest.approx(256 * MIB, rel=0.02)


@linux
def test_what_was_freed_within_the_call_is_in_the_peak():
    def call():
        """Memory of its own: the heap may hold as much that an earlier test has freed."""
        with mmap.mmap(-1, 64 * MIB) as block:
            return sum(block.write(b"x" * MIB) for _ in range(64))

    seen, output = host_memory(call)
    assert output == 64 * MIB
    assert seen.delta_bytes == pytest.approx(64 * MIB, abs=4 * MIB)
    assert abs(seen.anon_bytes) < 4 * MIB


@linux
def test_an_earlier_peak_is_not():
    assert len(b"x" * (128 * MIB)) == 128 * MIB
    seen, _ = host_memory(lambda: None)
    assert 0 <= seen.delta_bytes < 4 * MIB


@linux
def test_memory_that_was_freed_before_counts_when_it_is_taken_again():
    """Blocks under the threshold of mmap come from the heap, which keeps all that lies below one still in use."""
    import numpy as np

    def blocks():
        return [np.ones(100 * 1024, dtype=np.uint8) for _ in range(320)]

    kept = blocks()[-1]
    seen, output = host_memory(blocks)
    assert len(output) == 320 and kept.all()
    assert seen.delta_bytes == pytest.approx(320 * 100 * 1024, abs=4 * MIB)


@linux
def test_a_mapped_file_is_told_apart(tmp_path):
    path = tmp_path / "features"
    path.write_bytes(b"x" * (32 * MIB))

    def touch():
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return mapped, sum(mapped[::4096])

    seen, (mapped, _) = host_memory(touch)
    mapped.close()
    assert seen.file_bytes == pytest.approx(32 * MIB, abs=4 * MIB)
    assert abs(seen.anon_bytes) < 4 * MIB
    assert seen.delta_bytes == pytest.approx(32 * MIB, abs=4 * MIB)


def test_where_the_kernel_does_not_say_there_is_a_reason_and_no_figure(monkeypatch):
    monkeypatch.setattr(memory, "_CLEAR_REFS", Path("/nowhere/clear_refs"))
    seen, output = host_memory(lambda: "output")
    assert output == "output"
    assert (seen.baseline_bytes, seen.peak_bytes, seen.delta_bytes, seen.anon_bytes) == (None,) * 4
    assert "does not say" in seen.reason


def test_errors_of_the_call_go_through():
    def call():
        raise OSError("its own")

    with pytest.raises(OSError, match="its own"):
        host_memory(call)


def test_the_cpu_has_no_device_memory():
    seen, output = device_memory(lambda: 3, device="cpu")
    assert output == 3
    assert (seen.allocated_bytes, seen.delta_bytes, seen.reason) == (None, None, "cpu has no memory of its own")


def test_cuda_peaks_are_reset_before_the_call_and_named_apart(monkeypatch):
    import torch

    log = []
    answers = {
        "synchronize": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 10,
        "mem_get_info": (600, 1000),
        "max_memory_allocated": 110,
        "max_memory_reserved": 200,
    }

    def replacement(name):
        return lambda device: (log.append(name), answers[name])[1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in answers:
        monkeypatch.setattr(torch.cuda, name, replacement(name))
    seen, _ = device_memory(lambda: log.append("call"), device="cuda")
    assert log[:5] == ["synchronize", "reset_peak_memory_stats", "memory_allocated", "call", "synchronize"]
    assert (seen.baseline_bytes, seen.allocated_bytes, seen.delta_bytes) == (10, 110, 100)
    assert (seen.reserved_bytes, seen.driver_bytes) == (200, 400)
