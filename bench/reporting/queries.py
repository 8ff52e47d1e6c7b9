"""Two methods on the same queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.record import AccuracyKey, ChurnKey, LinkingKey, Record, TuneKey

#: Protocols as records and figures name them -> as people write them.
PROTOCOLS = {"easy": "easy", "medium": "medium", "hard": "hard", "hard_star": "hard*"}

BASELINE = "none"


class NotComparable(Exception):
    """Two records do not share their queries; the text says why."""


@dataclass(frozen=True)
class PairedAP:
    """AP of two methods (queries,) as fractions, queries with positives only.

    positives: how many positives the shortlist holds, (queries,).
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    positives: NDArray[np.int64]


def family(record: Record) -> str:
    """`ames` of `ames:dinov2+blend=0.55/0.3`."""
    return record.key.reranker.split(":")[0].split("+")[0]


def baseline_of(records: tuple[Record, ...]) -> Record | None:
    """The finished record without re-ranking, if there is one."""
    return next((record for record in records if is_baseline(record) and record.status == "ok"), None)


def is_baseline(record: Record) -> bool:
    """Whether a record is the first stage itself."""
    return family(record) == BASELINE and "+" not in record.key.reranker


def trained(record: Record) -> bool:
    """False where a record on a data set comes of random weights."""
    random = isinstance(record.key, AccuracyKey | ChurnKey | TuneKey | LinkingKey) and record.key.weights == "random"
    return not (random and record.status == "ok")


def paired_ap(first: Record, second: Record, protocol: str) -> PairedAP:
    """Per-query AP of two records of one group. Raises NotComparable when either has none, or of other queries."""
    one, two = _ap(first, protocol), _ap(second, protocol)
    if len(one) != len(two) or (np.isnan(one) != np.isnan(two)).any():
        raise NotComparable(f"{first.key.reranker} and {second.key.reranker} were not evaluated on the same queries")
    counts = first.series.get(f"positives_in_shortlist_{protocol}", [])
    if len(counts) != len(one) or any(count is None for count in counts):
        raise NotComparable(f"{first.key.reranker}: no number of positives in the shortlist for every query")
    valid = ~np.isnan(one)
    if valid.sum() < 2:
        raise NotComparable("fewer than two queries have positives")
    return PairedAP(one[valid], two[valid], np.array(counts, dtype=np.int64)[valid])


def _ap(record: Record, protocol: str) -> NDArray[np.float64]:
    values = record.series.get(f"ap_{protocol}")
    if not values:
        raise NotComparable(record.reason or f"{record.key.reranker}: no per-query AP")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
