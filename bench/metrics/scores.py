"""The result that the metrics share: a value per query, and their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric over a set of queries.

    per_query: (queries,) float64, a fraction; NaN where the metric is not defined for a query.
    mean: over the queries that have a value; NaN when none has one.
    """

    per_query: np.ndarray
    mean: float

    @classmethod
    def of(cls, per_query: np.ndarray) -> Scores:
        return cls(per_query, mean_defined(per_query))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the entries that are not NaN, NaN (without a warning) when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
