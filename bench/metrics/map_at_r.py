"""mAP@R: average precision over the first R of each list, R being the number of positives of its query.

    AP@R = sum over r <= R of P(r) / R

`variant="musgrave"`: P(r) is the precision at r where the r-th entry is relevant and else 0: Musgrave, Belongie and
Lim, A Metric Learning Reality Check (ECCV 2020). `variant="locore"`: P(r) is the precision at every r, relevant or not,
as LOCORE's evaluation code sums it; it is the larger figure, so a table must say which one it shows.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError, unknown_name
from bench.metrics.relevance import checked_pair
from bench.metrics.scores import Scores

Variant = Literal["musgrave", "locore"]


def evaluate(relevant: ArrayLike, positives: ArrayLike, *, variant: Variant = "musgrave") -> Scores:
    """mAP@R of relevance (queries, depth) bool, best first.

    positives: (queries,) R of each query. LOCORE counts the query itself in R where it lies in the gallery, and puts it
    at the end of its own list; Musgrave et al. leave it out of both. A query with R = 0 scores 0 and stays in the mean.
    Raises BenchError when a list is shorter than its R, where the metric is not defined.
    """
    hits, counts = checked_pair(relevant, positives)
    if variant not in get_args(Variant):
        raise unknown_name("mAP@R variant", variant, get_args(Variant))
    longest = int(counts.max(initial=0))
    if longest > hits.shape[1]:
        raise BenchError(
            f"lists of {hits.shape[1]} entries for a query with {longest} positives",
            wanted="at least R entries of every list",
            cure="Rank deeper, or use mAP@k.",
        )
    hits = hits[:, :longest]
    precision = np.cumsum(hits, axis=1) / np.arange(1, longest + 1)
    counted = np.arange(longest) < counts[:, None]
    if variant == "musgrave":
        counted &= hits
    return Scores.of((precision * counted).sum(axis=1) / np.maximum(counts, 1))
