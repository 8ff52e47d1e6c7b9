"""mAP@100 of Google Landmarks v2 retrieval, over the public and the private part of its queries.

    AP@100 = sum over r <= 100 of rel(r) * precision(r) / min(100, positives)

Source: Weyand et al., Google Landmarks Dataset v2 (CVPR 2020); the split is that of the challenge,
whose private queries are the last 750 (379 public ones stand before them). Two official codes differ:
`variant="revisited"` (LOCORE, AMES, ELViS) counts every copy of an image that a list repeats and takes the length of a
list below 100 as the cut; `variant="google"` (metric code of the challenge, RRT) counts an image once, though its later
copies keep their ranks, and always cuts at 100. On complete lists without repeats they are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError, unknown_name
from bench.metrics import map_at_k
from bench.metrics.ranks import checked, first_copies
from bench.metrics.relevance import by_images
from bench.metrics.scores import mean_defined

Variant = Literal["revisited", "google"]


@dataclass(frozen=True, eq=False)
class Gldv2Result:
    """mAP@100 as fractions; per_query_ap (queries,) float64, NaN without ground truth; NaN for an empty part."""

    map: float
    public_map: float
    private_map: float
    per_query_ap: np.ndarray


def evaluate(
    ranks: ArrayLike,
    positives: Sequence[ArrayLike],
    *,
    private: int = 750,
    depth: int = 100,
    variant: Variant = "revisited",
) -> Gldv2Result:
    """mAP@depth of ranked lists (queries, any depth), best first, negative = none.

    positives: for each query the gallery indices that are relevant. private: how many of the last queries are the
    private part; where there are fewer queries all are private, as slicing has it in the official codes.
    """
    if variant not in get_args(Variant):
        raise unknown_name("GLDv2 variant", variant, get_args(Variant))
    if private < 0 or depth < 1:
        raise BenchError(f"private = {private}, depth = {depth}", wanted="at least 0 and 1", cure="Use 750 and 100.")
    lists = checked(ranks)[:, :depth]
    relevant = by_images(lists, positives)
    if variant == "google":
        relevant &= first_copies(lists)
    counts = np.array([np.size(one) for one in positives], dtype=np.int64)
    per_query = map_at_k.evaluate(relevant, counts, k=depth if variant == "google" else None).per_query
    split = max(len(per_query) - private, 0)
    return Gldv2Result(
        map=mean_defined(per_query),
        public_map=mean_defined(per_query[:split]),
        private_map=mean_defined(per_query[split:]),
        per_query_ap=per_query,
    )
