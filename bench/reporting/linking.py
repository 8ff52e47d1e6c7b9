"""How far transitive positives fall where their linking positives no longer show what both share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.reporting import provenance
from bench.reporting.numbers import count, percent, significant
from bench.reporting.statistics import CONFIDENCE, Difference, paired_difference
from bench.reporting.tables import Cell, Column, Table, figure_cell, missing
from bench.results.record import LinkingKey, Record

#: Series of which a table has the means.
MEANS = ("replaced", "deviation")
EXTENT = ("queries", *MEANS)
#: Figures of a record as they are.
FIGURES = ("cases", "unlinked", "skipped", "capped", "at_stake")

PLACES = "Places lost: among all candidates but the linking positive. "


def _signed(value: float) -> str:
    """Nothing but an exact zero is 0."""
    return "0" if value == 0 else f"{value:+.3f}" if abs(value) >= 5e-4 else f"{value:+.0e}"


@dataclass(frozen=True)
class Measure:
    """A mean over cases of one series of a record minus another; of scores, in deviations of the scores of a list."""

    title: str
    minuend: str
    subtrahend: str

    @property
    def of_scores(self) -> bool:
        return "score" in self.minuend


#: By the name in a sheet.
MEASURES = {
    "fall_covisible": Measure("fall, co-visible", "score", "score_covisible"),
    "fall_elsewhere": Measure("fall, elsewhere", "score", "score_elsewhere"),
    "fall_difference": Measure("difference", "score_elsewhere", "score_covisible"),
    "places_covisible": Measure("places lost, co-visible", "rank_covisible", "rank"),
    "places_elsewhere": Measure("places lost, elsewhere", "rank_elsewhere", "rank"),
    "places_difference": Measure("difference", "rank_covisible", "rank_elsewhere"),
    "link_fall_covisible": Measure("linking positive's fall, co-visible", "link_score", "link_score_covisible"),
    "link_fall_elsewhere": Measure("linking positive's fall, elsewhere", "link_score", "link_score_elsewhere"),
}


@dataclass(frozen=True)
class Group:
    """Linking records that may stand in one table: one data set, descriptors, shortlist, policy and draws."""

    dataset: str
    dataset_sha256: str
    descriptors: str
    shortlist: int
    policy: str
    draws: int
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        return f"Linking positives on {self.dataset}, shortlist of {self.shortlist}, {self.policy}"


def groups(records: Iterable[Record]) -> list[Group]:
    """Linking records by what makes them comparable, then by name."""
    found: dict[tuple[str, str, str, int, str, int], list[Record]] = {}
    for record in sorted((one for one in records if isinstance(one.key, LinkingKey)), key=lambda one: one.key.reranker):
        key = record.key
        assert isinstance(key, LinkingKey)
        place = key.dataset, key.dataset_sha256, key.descriptors, key.shortlist, key.policy, key.draws
        found.setdefault(place, []).append(record)
    return [Group(*place, tuple(rows)) for place, rows in sorted(found.items())]


def linking_table(records: Sequence[Record]) -> Table:
    """The table of the records of one group. Raises ValueError for records that do not compare."""
    found = groups(records)
    if len(found) != 1:
        raise ValueError(f"linking records of one data set and shortlist are wanted, not of {len(found)} kinds")
    return group_table(found[0])


def group_table(group: Group) -> Table:
    """A row for each re-ranker: how far scores and ranks fall, each with its interval."""
    caption = (
        f"Transitive positives among the first {group.shortlist} candidates of {group.dataset} (sha256 "
        f"{group.dataset_sha256[:12]}) and within the re-ranker's window; descriptors {group.descriptors}, candidate "
        f"policy: {group.policy}. In the strongest linking positive of each, local descriptors are replaced by those "
        "of random negatives of the same list: those in the part of the front, up to its eaves, that the transitive "
        f"positive shows too (co-visible), or as many elsewhere; means over {group.draws} draws. At stake: what "
        "transitive positives can add to mAP hard, that of the best order of each list less that of the best one that "
        "leaves them last. Fall: of the transitive positive's score, in standard deviations of all scores of its list. "
        f"{PLACES}Means over the cases of a query, then over queries, with {CONFIDENCE:.0%} bootstrap intervals over "
        "queries. Scores of a pair-wise re-ranker cannot fall."
    )
    columns = (
        Column("re-ranker"),
        Column("cases", count),
        Column("queries", count),
        Column("at stake", percent),
        Column("replaced", lambda value: f"{value:.1f}"),
        Column("deviation of scores", significant),
        *(Column(f"{measure.title} [{CONFIDENCE:.0%}]", _signed) for measure in MEASURES.values()),
    )
    rows = tuple(
        (
            Cell(name, (*record.notes, *_remarks(record))),
            figure_cell(record.figure("cases")),
            queries,
            figure_cell(record.figure("at_stake")),
            *means,
            *(_cell(difference(record, measure)) for measure in MEASURES.values()),
        )
        for name, record in zip(provenance.labels(group.records), group.records, strict=True)
        for queries, *means in [_extent(record)]
    )
    return Table(columns=columns, rows=rows, caption=caption)


def paper_table(group: Group) -> Table:
    """What papers print of a group: how far scores fall."""
    falls = [f"{MEASURES[name].title} [{CONFIDENCE:.0%}]" for name in MEASURES if name.startswith("fall")]
    wide = group_table(group)
    narrow = replace(wide, caption=wide.caption.replace(PLACES, ""))
    return narrow.only("re-ranker", "cases", "queries", "at stake", *falls)


def sheet(records: Iterable[Record]) -> Table:
    """Every linking record in full precision, a row each."""
    values = [f"{name}{part}" for name in MEASURES for part in ("", "_low", "_high", "_p_value")]
    rows = [
        (
            record,
            (
                *(figure_cell(record.figure(name)) for name in FIGURES),
                *_extent(record),
                *(cell for measure in MEASURES.values() for cell in _sheet_cells(difference(record, measure))),
            ),
        )
        for group in groups(records)
        for record in group.records
    ]
    head = ("reranker", "weights", "dataset", "dataset_sha256", "descriptors", "shortlist", "policy", "draws")
    return provenance.sheet(head, (*FIGURES, *EXTENT, *values), rows)


def difference(record: Record, measure: Measure) -> Difference | str:
    """What the measure comes to over queries, or why it does not."""
    if record.status != "ok":
        return record.reason or "not measured"
    after, before = (
        _by_query(record, name, relative=measure.of_scores) for name in (measure.minuend, measure.subtrahend)
    )
    if len(after) < 2:
        return "fewer than two queries have a case"
    return paired_difference(before, after)


def _by_query(record: Record, name: str, *, relative: bool = False) -> NDArray[np.float64]:
    """A series' mean over the cases of each query (queries,): they share a list, and often a linking positive.

    relative: of each case, in deviations of the scores of its list.
    """
    values, deviation = (np.array(record.series[one], dtype=np.float64) for one in (name, "deviation"))
    if relative:
        values = values / np.where(deviation > 0, deviation, 1.0)
    queries = np.array(record.series["query"])
    return np.array([values[queries == query].mean() for query in np.unique(queries)])


def _extent(record: Record) -> list[Cell]:
    """Queries with a case, and the MEANS of all cases."""
    if record.status != "ok":
        return [missing(record.reason or "not measured")] * len(EXTENT)
    means = [_by_query(record, name) for name in MEANS]
    return [Cell(len(means[0])), *(Cell(float(one.mean())) for one in means)]


def _remarks(record: Record) -> tuple[str, ...]:
    """What became of cases that are not like the others."""
    words = {
        "unlinked": "transitive positive(s) without a linking positive in the list",
        "skipped": "case(s) left out, with no descriptor in the co-visible part or none elsewhere",
        "capped": "case(s) with fewer descriptors elsewhere than in the co-visible part: as few replaced there",
    }
    counts = {text: record.figures[name].value for name, text in words.items() if name in record.figures}
    told = [f"{value:.0f} {text}" for text, value in counts.items() if value]
    return ("; ".join(told),) if told else ()


def _cell(found: Difference | str) -> Cell:
    if isinstance(found, str):
        return missing(found)
    return Cell(f"{_signed(found.mean)} [{_signed(found.low)}, {_signed(found.high)}]")


def _sheet_cells(found: Difference | str) -> list[Cell]:
    if isinstance(found, str):
        return [missing(found)] * 4
    return [Cell(value) for value in (found.mean, found.low, found.high, found.p_value)]
