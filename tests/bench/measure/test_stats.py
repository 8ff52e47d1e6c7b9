from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.measure.stats import quantile, summarise


def test_summary_of_hand_computed_samples():
    summary = summarise([4.0, 1.0, 3.0, 2.0, 10.0])
    assert (summary.count, summary.mean, summary.median, summary.minimum, summary.maximum) == (5, 4.0, 3.0, 1.0, 10.0)
    assert summary.std == pytest.approx(math.sqrt((0 + 9 + 1 + 4 + 36) / 4))
    assert summary.p95 == pytest.approx(4.0 + 0.8 * 6.0)


def test_a_single_sample_has_no_spread():
    summary = summarise([2.5])
    assert (summary.mean, summary.std, summary.p95) == (2.5, 0.0, 2.5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 1))
def test_quantile_is_that_of_numpy(samples, q):
    assert quantile(samples, q) == pytest.approx(float(np.quantile(samples, q)), rel=1e-9, abs=1e-6)


def test_nothing_has_no_summary():
    with pytest.raises(BenchError, match="no samples"):
        summarise([])
    with pytest.raises(BenchError, match="0 to 1"):
        quantile([1.0], 95)
