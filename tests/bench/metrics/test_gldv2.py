from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bench.errors import BenchError
from bench.metrics import gldv2


def test_parts_and_missing_ground_truth():
    ranks = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]])
    found = gldv2.evaluate(ranks, [[0, 2], [], [1], [9]], private=2)
    # (1 + 2/3) / 2; none; 1/2; nothing found.
    assert_allclose(found.per_query_ap, [5 / 6, np.nan, 1 / 2, 0])
    assert (found.public_map, found.private_map) == (pytest.approx(5 / 6), pytest.approx(1 / 4))
    assert found.map == pytest.approx((5 / 6 + 1 / 2) / 3)


def test_few_queries_are_all_private():
    found = gldv2.evaluate(np.array([[0]]), [[0]])
    assert np.isnan(found.public_map)
    assert found.private_map == found.map == 1


def test_lists_are_cut_and_the_cut_is_the_divisor():
    ranks = np.arange(200)[None]
    assert gldv2.evaluate(ranks, [list(range(150))]).map == pytest.approx(1)
    assert gldv2.evaluate(ranks, [[150]]).map == 0


def test_repeats():
    ranks = np.array([[5, 5, 6]])
    # revisited: hits at 1, 2 and 3 for two positives; google: hits at 1 and 3, precision 1 and 2/3.
    assert gldv2.evaluate(ranks, [[5, 6]]).map == pytest.approx(3 / 2)
    assert gldv2.evaluate(ranks, [[5, 6]], variant="google").map == pytest.approx((1 + 2 / 3) / 2)


def test_short_lists():
    ranks, positives = np.array([[0, 1]]), [[0, 1, 2, 3]]
    assert gldv2.evaluate(ranks, positives).map == 1
    assert gldv2.evaluate(ranks, positives, variant="google").map == pytest.approx(1 / 2)


def test_bad_input_is_refused():
    with pytest.raises(BenchError, match="google, revisited"):
        gldv2.evaluate(np.array([[0]]), [[0]], variant="official")
    with pytest.raises(BenchError, match="private = -1"):
        gldv2.evaluate(np.array([[0]]), [[0]], private=-1)
    with pytest.raises(BenchError, match="2 lists of relevant images"):
        gldv2.evaluate(np.array([[0]]), [[0], [1]])
