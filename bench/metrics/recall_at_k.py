"""Recall@k of metric learning and place recognition: the share of queries with a relevant image in the first k.

    R@k = |queries with a relevant entry among the first k| / |queries|

It is not the share of relevant images found. Source: Jegou, Douze and Schmid, Product Quantization for Nearest
Neighbor Search (TPAMI 2011), and Song et al., Deep Metric Learning via Lifted Structured Feature Embedding (CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError
from bench.metrics.relevance import checked_pair
from bench.metrics.scores import Scores


def evaluate(
    relevant: ArrayLike, positives: ArrayLike | None = None, *, ks: Sequence[int] = (1, 10, 100)
) -> dict[int, Scores]:
    """Recall at each k of relevance (queries, depth) bool, best first; 1 or 0 per query.

    positives: (queries,) how many images are relevant to each query; those with 0 are NaN and leave the mean. Without
    it every query counts, as the official codes of SOP, CUB and In-Shop have it.
    """
    everyone = np.ones(len(np.asarray(relevant)), dtype=np.int64)
    hits, counts = checked_pair(relevant, everyone if positives is None else positives)
    if min(ks, default=1) < 1:
        raise BenchError(f"k = {min(ks)}", wanted="cuts from 1", cure="Pass the numbers of entries to look at.")
    return {k: Scores.of(np.where(counts > 0, hits[:, :k].any(axis=1), np.nan)) for k in ks}
