from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bench.errors import BenchError
from bench.metrics import map_at_k

RELEVANT = np.array([[True, False, True, False, True]])


@pytest.mark.parametrize(
    ("positives", "k", "wanted"),
    [
        (3, None, (1 + 2 / 3 + 3 / 5) / 3),
        (9, None, (1 + 2 / 3 + 3 / 5) / 5),
        (9, 3, (1 + 2 / 3) / 3),
        (2, 4, (1 + 2 / 3) / 2),
        (9, 100, (1 + 2 / 3 + 3 / 5) / 9),
    ],
)
def test_known_values(positives, k, wanted):
    assert map_at_k.evaluate(RELEVANT, [positives], k=k).mean == pytest.approx(wanted, abs=1e-15)


def test_a_query_without_positives_leaves_the_mean():
    score = map_at_k.evaluate(np.array([[True], [False], [False]]), [1, 0, 2])
    assert_allclose(score.per_query, [1, np.nan, 0])
    assert score.mean == 0.5


def test_nothing_retrieved_scores_zero():
    assert map_at_k.evaluate(np.empty((1, 0), dtype=bool), [3]).mean == 0


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 40))
def test_agrees_with_the_slow_way(hits, positives, k):
    ap = sum(sum(hits[: r + 1]) / (r + 1) for r in range(min(k, len(hits))) if hits[r]) / min(k, positives)
    assert map_at_k.evaluate(np.array([hits]), [positives], k=k).mean == pytest.approx(ap, abs=1e-12)


def test_a_negative_cut_is_refused():
    with pytest.raises(BenchError, match="k = -1"):
        map_at_k.evaluate(RELEVANT, [1], k=-1)
