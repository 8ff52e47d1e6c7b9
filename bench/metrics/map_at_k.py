"""mAP@k: rectangular average precision over the first k of each list.

    AP@k = sum over r <= k of rel(r) * precision(r) / min(k, positives)

with rel(r) = 1 where the r-th entry is relevant and precision(r) the share of relevant entries among the first r.
No interpolation. Sources: Weyand et al., Google Landmarks Dataset v2 (CVPR 2020), where k = 100.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError
from bench.metrics.relevance import checked_pair
from bench.metrics.scores import Scores


def evaluate(relevant: ArrayLike, positives: ArrayLike, *, k: int | None = None) -> Scores:
    """mAP@k of relevance (queries, depth) bool, best first.

    positives: (queries,) how many images are relevant to each query, in its list or not; NaN where it is 0.
    k: cut, the depth of the lists when None. A list shorter than k still has min(k, positives) as its divisor.
    An image that is listed twice counts twice: then AP can exceed 1 (see `bench.metrics.ranks.first_copies`).
    """
    hits, counts = checked_pair(relevant, positives)
    k = hits.shape[1] if k is None else k
    if k < 0:
        raise BenchError(f"k = {k}", wanted="a cut from 0", cure="Pass the number of entries to look at.")
    hits = hits[:, :k]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    gained = (precision * hits).sum(axis=1)
    # A list of no entries has earned nothing: 0 of its positives, not 0 / 0.
    divisor = np.maximum(np.minimum(k, counts), 1)
    return Scores.of(np.where(counts > 0, gained / divisor, np.nan))
