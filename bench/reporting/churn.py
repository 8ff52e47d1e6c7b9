"""How far rankings depend on number type and batch size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.reporting import provenance
from bench.reporting.numbers import count, significant
from bench.reporting.tables import Cell, Column, Table, figure_cell
from bench.results.record import ChurnKey, Record

#: Name in a record -> heading.
ALTERNATIVES = {
    "bfloat16": "bfloat16",
    "float16": "float16",
    "batch_1": "one candidate at a time",
    "batch_7": "seven at a time",
}
MEASURES = {
    "kendall_tau_mean": Column("Kendall tau", lambda value: f"{value:.4f}"),
    "kendall_tau_min": Column("worst query", lambda value: f"{value:.4f}"),
    "left_top_10": Column("left the top 10", count),
    "queries_changed": Column("queries changed", count),
    "score_change_max": Column("largest change of a score", significant),
}


@dataclass(frozen=True)
class Group:
    """Churn records that may stand in one table: one data set, descriptors, shortlist, queries and device."""

    dataset: str
    descriptors: str
    shortlist: int
    queries: int
    device: str
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        return f"Steadiness of rankings on {self.dataset}, {self.device}"


def groups(records: Iterable[Record]) -> list[Group]:
    """Churn records by what makes them comparable, then by name."""
    found: dict[tuple[str, str, int, int, str], list[Record]] = {}
    for record in sorted((one for one in records if isinstance(one.key, ChurnKey)), key=lambda one: one.key.reranker):
        key = record.key
        assert isinstance(key, ChurnKey)
        place = key.dataset, key.descriptors, key.shortlist, key.queries, key.device
        found.setdefault(place, []).append(record)
    return [Group(*place, tuple(rows)) for place, rows in sorted(found.items())]


def churn_table(records: Sequence[Record]) -> Table:
    """The table of the records of one group. Raises ValueError for records that do not compare."""
    found = groups(records)
    if len(found) != 1:
        raise ValueError(f"churn records of one data set and device are wanted, not of {len(found)} kinds")
    return group_table(found[0])


def group_table(group: Group) -> Table:
    """A row for each re-ranker and alternative."""
    caption = (
        f"The first {group.shortlist} candidates of {group.queries} queries of {group.dataset} "
        f"({group.descriptors}), against the ranking in float32 with all candidates handed over at once. Kendall tau: "
        "mean over queries, 1 for the same order. Left the top 10: images, over all queries."
    )
    return Table(
        columns=(Column("re-ranker"), Column("against float32"), *MEASURES.values()),
        rows=tuple(
            (
                Cell(provenance.label(record), tuple(record.notes)),
                Cell(shown),
                *(figure_cell(record.figure(f"{measure}_{name}")) for measure in MEASURES),
            )
            for record in group.records
            for name, shown in ALTERNATIVES.items()
        ),
        caption=caption,
    )


def paper_table(group: Group) -> Table:
    """What papers print of a group."""
    told = ("Kendall tau", "worst query", "left the top 10", "queries changed")
    return group_table(group).only("re-ranker", "against float32", *told)


def sheet(records: Iterable[Record]) -> Table:
    """Every churn record in full precision, a row for each alternative."""
    rows = [
        (record, (Cell(name), *(figure_cell(record.figure(f"{measure}_{name}")) for measure in MEASURES)))
        for group in groups(records)
        for record in group.records
        for name in ALTERNATIVES
    ]
    head = ("reranker", "weights", "device", "dataset", "dataset_sha256", "descriptors", "shortlist", "queries")
    return provenance.sheet(head, ("alternative", *MEASURES), rows)
