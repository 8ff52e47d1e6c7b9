from __future__ import annotations

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics import recall_at_k

RELEVANT = np.array([[False, True, False], [True, False, False], [False, False, False], [False, False, True]])


def test_known_values():
    found = recall_at_k.evaluate(RELEVANT, ks=(1, 2, 3, 100))
    assert {k: score.mean for k, score in found.items()} == {1: 0.25, 2: 0.5, 3: 0.75, 100: 0.75}
    assert found[2].per_query.tolist() == [1, 1, 0, 0]


def test_queries_without_positives_leave_the_mean_if_told():
    found = recall_at_k.evaluate(RELEVANT, [1, 1, 0, 1], ks=(1,))[1]
    assert found.mean == pytest.approx(1 / 3)
    assert np.isnan(found.per_query[2])


def test_a_cut_of_nothing_is_refused():
    with pytest.raises(BenchError, match="k = 0"):
        recall_at_k.evaluate(RELEVANT, ks=(0, 1))
