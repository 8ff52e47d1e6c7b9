"""Blends chosen on a validation set, and the oracle apart from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.reporting import provenance
from bench.reporting.numbers import percent
from bench.reporting.queries import trained
from bench.reporting.tables import Cell, Column, Table, figure_cell
from bench.results.record import Record, TuneKey

ORACLE = "oracle (tuned on the evaluated set)"


def _tenth(value: float) -> str:
    return f"{value:.1f}"


#: Name in a record -> heading.
CHOSEN = {
    "weight": Column("weight", _tenth),
    "temperature": Column("temperature", _tenth),
    "validation_map_medium": Column("validation mAP medium", percent, "highest"),
    "validation_map_hard": Column("validation mAP hard", percent, "highest"),
    "first_stage_map_medium": Column("first stage mAP medium", percent),
    "first_stage_map_hard": Column("first stage mAP hard", percent),
    "map_medium": Column("mAP medium", percent, "highest"),
    "map_hard": Column("mAP hard", percent, "highest"),
}
BY_ORACLE = {
    "oracle_weight": Column("weight", _tenth),
    "oracle_temperature": Column("temperature", _tenth),
    "oracle_map_medium": Column("mAP medium", percent, "highest"),
    "oracle_map_hard": Column("mAP hard", percent, "highest"),
}


@dataclass(frozen=True)
class Group:
    """Tuning records that may stand in one table: one pair of data sets, descriptors, shortlist and policy."""

    dataset: str
    dataset_sha256: str
    validation: str
    validation_sha256: str
    descriptors: str
    shortlist: int
    policy: str
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        return f"Blends chosen on {self.validation} for {self.dataset}, shortlist of {self.shortlist}, {self.policy}"


def groups(records: Iterable[Record]) -> list[Group]:
    """Tuning records by what makes them comparable, then by name."""
    found: dict[tuple[str, str, str, str, str, int, str], list[Record]] = {}
    for record in sorted((one for one in records if isinstance(one.key, TuneKey)), key=lambda one: one.key.reranker):
        key = record.key
        assert isinstance(key, TuneKey)
        sets = key.dataset, key.dataset_sha256, key.validation, key.validation_sha256
        found.setdefault((*sets, key.descriptors, key.shortlist, key.policy), []).append(record)
    return [Group(*place, tuple(rows)) for place, rows in sorted(found.items())]


def tune_table(records: Sequence[Record]) -> Table:
    """The chosen blends of one group. Raises ValueError for records that do not compare."""
    return group_table(_only(records))


def oracle_table(records: Sequence[Record]) -> Table:
    """The oracle's blends of one group. Raises ValueError for records that do not compare."""
    return group_oracle_table(_only(records))


def group_table(group: Group) -> Table:
    """A row for each re-ranker: its blend as chosen, and mAP on both sets."""
    caption = (
        f"mAP in percent; blends chosen on {group.validation} (sha256 {group.validation_sha256[:12]}), then evaluated "
        f"on {group.dataset} (sha256 {group.dataset_sha256[:12]}); descriptors {group.descriptors}, shortlist of "
        f"{group.shortlist}, candidate policy: {group.policy}. Images are sorted by weight * similarity + (1 - weight) "
        "* sigmoid(temperature * score), both from 0, 0.1, ..., 1; chosen is the best mean of medium and hard on the "
        "validation set, in a tie the larger weight, then the smaller temperature. First stage: weight 1."
    )
    return _table(Column("re-ranker"), CHOSEN, group, caption)


def group_oracle_table(group: Group) -> Table:
    """A row for each re-ranker: the best blend that hindsight could have chosen."""
    caption = (
        f"mAP in percent on {group.dataset}, of the blend with the best mean of medium and hard on {group.dataset} "
        "itself: an upper bound for comparison, not a result of the method."
    )
    return _table(Column(ORACLE), BY_ORACLE, group, caption)


def paper_tables(group: Group) -> list[Table]:
    """What papers print of a group: the chosen blends, and the oracle's apart from them."""
    chosen = group_table(group).only("re-ranker", "weight", "temperature", "mAP medium", "mAP hard")
    return [chosen, group_oracle_table(group)]


def sheet(records: Iterable[Record]) -> Table:
    """Every tuning record in full precision, a row each; mAP as fractions of 1."""
    figures = (*CHOSEN, *BY_ORACLE)
    rows = [
        (record, [figure_cell(record.figure(name)) for name in figures])
        for group in groups(records)
        for record in group.records
    ]
    sets = ("dataset", "dataset_sha256", "validation", "validation_sha256")
    return provenance.sheet(("reranker", "weights", *sets, "descriptors", "shortlist", "policy"), figures, rows)


def _only(records: Sequence[Record]) -> Group:
    found = groups(records)
    if len(found) != 1:
        raise ValueError(f"tuning records of one pair of data sets are wanted, not of {len(found)} kinds")
    return found[0]


def _table(first: Column, columns: dict[str, Column], group: Group, caption: str) -> Table:
    rows = tuple(
        (Cell(name, tuple(record.notes)), *(figure_cell(record.figure(figure)) for figure in columns))
        for name, record in zip(provenance.labels(group.records), group.records, strict=True)
    )
    random = frozenset(place for place, record in enumerate(group.records) if not trained(record))
    return Table(columns=(first, *columns.values()), rows=rows, caption=caption, uncounted=random)
