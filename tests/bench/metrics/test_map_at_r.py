from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bench.errors import BenchError
from bench.metrics import map_at_r

# R = 3: only the first three entries count.
RELEVANT = np.array([[True, False, True, True]])


def test_musgrave_counts_precision_at_relevant_entries():
    assert map_at_r.evaluate(RELEVANT, [3]).mean == pytest.approx((1 + 2 / 3) / 3)


def test_locore_counts_precision_at_every_entry():
    assert map_at_r.evaluate(RELEVANT, [3], variant="locore").mean == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)


def test_a_query_without_positives_scores_zero():
    score = map_at_r.evaluate(np.array([[True, True], [False, False]]), [2, 0])
    assert_allclose(score.per_query, [1, 0])
    assert score.mean == 0.5


@pytest.mark.parametrize("variant", ["musgrave", "locore"])
def test_every_query_looks_at_its_own_r(variant):
    score = map_at_r.evaluate(np.array([[True, False, False], [True, True, True]]), [1, 3], variant=variant)
    assert_allclose(score.per_query, [1, 1])


def test_bad_input_is_refused():
    with pytest.raises(BenchError, match="4 entries for a query with 5 positives"):
        map_at_r.evaluate(RELEVANT, [5])
    with pytest.raises(BenchError, match="musgrave"):
        map_at_r.evaluate(RELEVANT, [1], variant="musgrav")
