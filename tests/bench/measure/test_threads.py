from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.measure.threads import THREAD_VARIABLES, limit_threads, thread_environment, threads_in_force


def test_every_variable_says_the_same_number():
    assert thread_environment(3) == dict.fromkeys(THREAD_VARIABLES, "3")
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} < set(THREAD_VARIABLES)


def test_less_than_one_thread_is_refused():
    with pytest.raises(BenchError, match="0 threads; wanted 1 or more"):
        limit_threads(0)


def test_one_number_reaches_what_is_loaded(monkeypatch):
    import cv2
    import faiss
    import torch

    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")  # put back after the test
    before = torch.get_num_threads(), cv2.getNumThreads(), faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            limit_threads(threads)
            said = threads_in_force()
            assert {"torch", "cv2", "faiss"} < set(said)
            assert set(said.values()) == {threads}
    finally:
        limit_threads(max(before))
