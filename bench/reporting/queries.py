"""Two methods on the same queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.record import AccuracyKey, ChurnKey, LinkingKey, Record, TuneKey

#: Protocols as records and figures name them -> as people write them.
PROTOCOLS = {"easy": "easy", "medium": "medium", "hard": "hard", "hard_star": "hard*"}


@dataclass(frozen=True)
class Measure:
    """One number that rankings are judged by.

    title: as tables head it. figure, series: its mean and its values by query, as records name them. positives: the
    series with the positives in the shortlist. compared: whether gains over no re-ranking are shown at once.
    """

    title: str
    figure: str
    series: str
    positives: str = "positives_in_shortlist"
    compared: bool = False

    @property
    def graded(self) -> bool:
        """Whether a query's value can be more than yes or no."""
        return self.series.startswith("ap_")


#: Of all tasks, in the order of their columns.
MEASURES = {
    name: Measure(
        f"mAP {shown}", f"map_{name}", f"ap_{name}", f"positives_in_shortlist_{name}", name in ("medium", "hard")
    )
    for name, shown in PROTOCOLS.items()
} | {
    "recall_at_1": Measure("R@1", "recall_at_1", "recall_at_1", compared=True),
    "recall_at_10": Measure("R@10", "recall_at_10", "recall_at_10"),
    "recall_at_100": Measure("R@100", "recall_at_100", "recall_at_100"),
    "at_r": Measure("mAP@R", "map_at_r", "ap_at_r", compared=True),
    "at_r_locore": Measure("mAP@R as LOCORE sums it", "map_at_r_locore", "ap_at_r_locore"),
    "private": Measure("mAP@100 private", "map_private", "ap_private", compared=True),
    "public": Measure("mAP@100 public", "map_public", "ap_public", compared=True),
    "at_100": Measure("mAP@100", "map_at_100", "ap_at_100"),
}

#: What tables call a figure.
TITLES = {measure.figure: measure.title for measure in MEASURES.values()}

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


def measures_of(records: Iterable[Record]) -> list[str]:
    """Names of the MEASURES that any of these records has; those of Revisited Oxford and Paris where none has any."""
    known = {name for record in records for name in record.figures}
    return [name for name, measure in MEASURES.items() if measure.figure in known] or list(PROTOCOLS)


def compared(names: Sequence[str]) -> list[str]:
    """Those of these measures whose gains are shown at once: of every task a graded one."""
    found = [name for name in names if MEASURES[name].compared]
    return found if any(MEASURES[name].graded for name in found) else [*found, names[-1]]


def paired_ap(first: Record, second: Record, measure: str) -> PairedAP:
    """Per-query AP, or another of MEASURES, of two records of one group.

    Raises NotComparable when either has none, or of other queries, or when they re-ranked other first-stage lists.
    """
    lists = {one.lists.first_stage_sha256 for one in (first, second) if one.lists is not None}
    if len(lists) > 1:
        raise NotComparable(
            f"{first.key.reranker} and {second.key.reranker} re-ranked different first-stage lists: their descriptors "
            "were made on different machines, or anew"
        )
    one, two = _values(first, measure), _values(second, measure)
    if len(one) != len(two) or (np.isnan(one) != np.isnan(two)).any():
        raise NotComparable(f"{first.key.reranker} and {second.key.reranker} were not evaluated on the same queries")
    counts = first.series.get(MEASURES[measure].positives, [])
    if len(counts) != len(one) or any(count is None for count in counts):
        raise NotComparable(f"{first.key.reranker}: no number of positives in the shortlist for every query")
    valid = ~np.isnan(one)
    if valid.sum() < 2:
        raise NotComparable("fewer than two queries have positives")
    return PairedAP(one[valid], two[valid], np.array(counts, dtype=np.int64)[valid])


def _values(record: Record, measure: str) -> NDArray[np.float64]:
    values = record.series.get(MEASURES[measure].series)
    if not values:
        raise NotComparable(record.reason or f"{record.key.reranker}: no per-query AP")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
