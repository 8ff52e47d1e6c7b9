"""Freed memory is taken again without a page fault: counted in a process of its own, which keeps it for good."""

from __future__ import annotations

import subprocess
import sys
from platform import libc_ver

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from bench.training.allocation import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual, kept, first, later = faults(), keep_freed_memory(), faults(), faults()
print(usual, kept, first, later)
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")
def test_pages_are_asked_for_once():
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    usual, kept, _, later = said.split()
    assert kept == "True" and int(usual) > 100 and int(later) < int(usual) / 10


def test_elsewhere_nothing_is_changed(monkeypatch):
    from bench.training import allocation

    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda name: object())
    assert not allocation.keep_freed_memory()
