"""What re-ranking earns: mAP, the gain over no re-ranking with its interval, precision."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.reporting import provenance
from bench.reporting.numbers import SIGNIFICANT, count, percent, points, probability, stars
from bench.reporting.queries import (
    MEASURES,
    PROTOCOLS,
    NotComparable,
    baseline_of,
    compared,
    is_baseline,
    measures_of,
    paired_ap,
    trained,
)
from bench.reporting.statistics import CONFIDENCE, RESAMPLES, Difference, holm, paired_difference
from bench.reporting.tables import Cell, Column, Table, figure_cell, missing
from bench.results.record import AccuracyKey, Record

CUTS = (1, 5, 10)
TRANSITIVE = "map_transitive"
OTHER_TASK = "not a measure of this data set"
UNTRAINED = "random weights: the accuracy of this row means nothing"
INTERVAL = (
    f"Gain: mAP points over no re-ranking, with its {CONFIDENCE:.0%} bootstrap interval over queries. "
    "Some 70 queries rarely separate methods one point apart: an interval that holds 0 shows no difference."
)
MARKS = (
    f"{', '.join(f'{stars(level / 2)} p < {level:g}' for level in SIGNIFICANT)}: two-sided paired randomisation test "
    "of the gain over queries, after Holm's correction over the re-rankers of the table for that measure "
    f"({RESAMPLES:,} resamples: no p is below {2 / (RESAMPLES + 1):g} before it)."
)
UNCOUNTED = " Rows of random weights are never the best."


@dataclass(frozen=True)
class Group:
    """Accuracy records that may stand in one table: one data set, descriptors, shortlist and candidate policy.

    ablation: of re-rankers that were told how many local descriptors to read; the first stage is among them too.
    """

    dataset: str
    dataset_sha256: str
    descriptors: str
    shortlist: int
    policy: str
    ablation: bool
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        what = "Accuracy by number of local descriptors" if self.ablation else "Accuracy"
        return f"{what} on {self.dataset}, shortlist of {self.shortlist}, {self.policy}"

    @property
    def description(self) -> str:
        """The evaluation in one line, for captions and plots."""
        return (
            f"data set {self.dataset} (sha256 {self.dataset_sha256[:12]}), descriptors {self.descriptors}, "
            f"shortlist of {self.shortlist}, candidate policy: {self.policy}"
        )

    @property
    def baseline(self) -> Record | None:
        return baseline_of(self.records)

    @cached_property
    def measures(self) -> list[str]:
        """Names of what the records are judged by."""
        return measures_of(self.records)

    @property
    def revisited(self) -> bool:
        """Whether the protocols are those of Revisited Oxford and Paris."""
        return set(self.measures) <= set(PROTOCOLS)

    @cached_property
    def gains(self) -> dict[tuple[int, str], Difference | str]:
        """(row, measure) -> the gain over no re-ranking, or why there is none."""
        return {
            (row, measure): self._gain(record, measure)
            for row, record in enumerate(self.records)
            for measure in self.measures
        }

    @cached_property
    def corrected(self) -> dict[tuple[int, str], float]:
        """(row, measure) -> the p value of the gain, corrected over the re-rankers of the group for that measure."""
        found: dict[tuple[int, str], float] = {}
        for measure in self.measures:
            known = {
                row: gain.p_value
                for (row, name), gain in self.gains.items()
                if name == measure and isinstance(gain, Difference)
            }
            values = holm(list(known.values()))
            found |= {(row, measure): value for row, value in zip(known, values, strict=True)}
        return found

    @property
    def uncounted(self) -> frozenset[int]:
        """Rows that are never the best of a table: those of random weights."""
        return frozenset(row for row, record in enumerate(self.records) if not trained(record))

    def _gain(self, record: Record, measure: str) -> Difference | str:
        if is_baseline(record):
            return record.reason or "this row is the baseline"
        if self.baseline is None:
            return "no finished record of 'none' to compare with"
        try:
            pairs = paired_ap(self.baseline, record, measure)
        except NotComparable as error:
            return str(error)
        return paired_difference(pairs.first, pairs.second)


def groups(records: Iterable[Record]) -> list[Group]:
    """Accuracy records by what makes them comparable; no re-ranking first, untrained methods last, then by name."""
    found: dict[tuple[str, str, str, int, str, bool], list[Record]] = {}
    for record in sorted((one for one in records if isinstance(one.key, AccuracyKey)), key=standing):
        key = record.key
        assert isinstance(key, AccuracyKey)
        place = key.dataset, key.dataset_sha256, key.descriptors, key.shortlist, key.policy, key.read is not None
        found.setdefault(place, []).append(record)
    for place in [place for place in found if place[-1]]:
        found[place][:0] = filter(is_baseline, found.get((*place[:-1], False), []))
    return [Group(*place, tuple(rows)) for place, rows in sorted(found.items())]


def accuracy_table(records: Sequence[Record]) -> Table:
    """The table of the records of one group. Raises ValueError for records that do not compare."""
    found = [one for one in groups(records) if one.ablation == any(map(_read, records))]
    if len(found) != 1:
        raise ValueError(f"accuracy records of one data set and shortlist are wanted, not of {len(found)} kinds")
    return group_table(found[0])


def group_table(group: Group) -> Table:
    """Every measure, and the gain over no re-ranking of those that are compared."""
    shown = compared(group.measures)
    gains = tuple(Column(f"gain {_short(name)} [{CONFIDENCE:.0%}]", points) for name in shown)
    further = [TRANSITIVE] if any(TRANSITIVE in one.figures for one in group.records) else []
    columns = (
        *_what_columns(group),
        *(Column(MEASURES[name].title, percent, "highest") for name in group.measures),
        *(Column("mAP transitive", percent, "highest") for _ in further),
        *gains,
        Column("commit"),
    )
    rows = tuple(
        (
            *cells,
            *_figures(record, [MEASURES[name].figure for name in group.measures]),
            *_figures(record, further),
            *(_gain_cell(group, row, name) for name in shown),
            provenance.commit_cell(record),
        )
        for row, (record, cells) in enumerate(zip(group.records, _what(group), strict=True))
    )
    caption = _revisited_caption(group) if group.revisited else _caption(group)
    if further:
        caption += (
            " transitive: only positives that the query alone hardly shows, over "
            f"{_queries(group, 'ap_transitive')} queries; all other positives are ignored."
        )
    if group.ablation:
        caption += (
            " L: local descriptors read of an image, the strongest first; weights are those of the variant, which were "
            "not trained for it. +slide=N/K/S: windows of K candidates, S apart, over the first N."
        )
    caption = f"{caption} {MARKS}{_uncounted(group)}"
    return Table(columns=columns, rows=rows, caption=caption, notes=(INTERVAL,), uncounted=group.uncounted)


def paper_table(group: Group) -> Table:
    """What papers print of a group: mAP of every protocol, and the gains that are compared, in points."""
    shown = compared(group.measures)
    columns = (
        Column("re-ranker"),
        *([Column("L", count)] if group.ablation else []),
        *(Column(MEASURES[name].title, percent, "highest") for name in group.measures),
        *(Column(f"gain {_short(name)}", points) for name in shown),
    )
    rows = tuple(
        (
            Cell(name, notes_of(record)),
            *([_read_cell(record)] if group.ablation else []),
            *_figures(record, [MEASURES[measure].figure for measure in group.measures]),
            *(_gain_cell(group, row, measure, interval=False) for measure in shown),
        )
        for row, (name, record) in enumerate(zip(provenance.labels(group.records), group.records, strict=True))
    )
    text = f"mAP in percent; {group.description}. Gain: points over no re-ranking; {MARKS}{_uncounted(group)}"
    return Table(columns=columns, rows=rows, caption=text, uncounted=group.uncounted)


def _revisited_caption(group: Group) -> str:
    counts = ", ".join(f"{shown} {_queries(group, MEASURES[name].series)}" for name, shown in PROTOCOLS.items())
    return (
        f"mAP in percent; {group.description}. AP is divided by the number of all positives (the revisitop divisor); "
        f"mAP is the mean over queries with positives ({counts}). hard*: easy images are taken out before re-ranking."
    )


def _caption(group: Group) -> str:
    counts = ", ".join(f"{_short(name)} {_queries(group, MEASURES[name].series)}" for name in group.measures)
    text = f"Percent; {group.description}. Means over the queries with positives ({counts})."
    if "recall_at_1" in group.measures:
        text += " R@k: share of queries with a positive among the first k; a query's own image is left out."
    if "at_r_locore" in group.measures:
        text += (
            " mAP@R: AP over the first R images, R the number of positives (Musgrave et al., 2020); as LOCORE sums it: "
            "precision at every rank counts, and the query's own image in R."
        )
    return text


def gain_table(group: Group) -> Table:
    """Every gain over no re-ranking with its interval, its p value, and the queries that gained and lost."""
    titles = (
        *(Column(title, points) for title in ("gain", "low", "high")),
        *(Column(title, probability) for title in ("p", "p (Holm)")),
    )
    counts = tuple(Column(title, count) for title in ("queries", "better", "worse", "equal"))
    rows = []
    for row, (record, cells) in enumerate(zip(group.records, _what(group), strict=True)):
        if is_baseline(record):
            continue
        for name in group.measures:
            found = group.gains[row, name]
            figures = [missing(found)] * 9 if isinstance(found, str) else _gain_cells(found, group.corrected[row, name])
            rows.append((*cells, Cell(_short(name)), *figures))
    what = "mAP points (revisitop divisor)" if group.revisited else "points"
    caption = (
        f"Gain over no re-ranking in {what}; {group.description}. low, high: {CONFIDENCE:.0%} "
        f"percentile bootstrap over queries. p: two-sided paired randomisation test over queries, {RESAMPLES:,} "
        "resamples, not corrected for the number of comparisons; p (Holm): corrected over the re-rankers of this table "
        "for that measure. better, worse: queries whose value rose or fell."
    )
    if group.revisited:
        caption = caption.replace("whose value", "whose AP")
    return Table(
        columns=(*_what_columns(group), Column("protocol" if group.revisited else "measure"), *titles, *counts),
        rows=tuple(rows),
        caption=caption,
    )


def precision_table(group: Group) -> Table:
    """Precision at 1, 5 and 10."""
    names = [(f"precision_at_{cut}_{name}", f"{shown} P@{cut}") for name, shown in PROTOCOLS.items() for cut in CUTS]
    return Table(
        columns=(*_what_columns(group), *(Column(title, percent, "highest") for _, title in names)),
        rows=tuple(
            (*cells, *_figures(record, [name for name, _ in names]))
            for record, cells in zip(group.records, _what(group), strict=True)
        ),
        caption=f"Precision among the first 1, 5 and 10 images, in percent; {group.description}.{_uncounted(group)}",
        uncounted=group.uncounted,
    )


def divisor_table(group: Group) -> Table:
    """mAP under the other official divisor."""
    names = [f"map_{name}_shortlist_divisor" for name in PROTOCOLS]
    return Table(
        columns=(*_what_columns(group), *(Column(f"mAP {shown}", percent, "highest") for shown in PROTOCOLS.values())),
        rows=tuple(
            (*cells, *_figures(record, names)) for record, cells in zip(group.records, _what(group), strict=True)
        ),
        caption=f"mAP in percent with AP divided by min(positives, length of the list): no figure of this table "
        f"compares with the revisitop divisor; {group.description}.{_uncounted(group)}",
        uncounted=group.uncounted,
    )


def sheet(records: Iterable[Record]) -> Table:
    """Every accuracy record in full precision, a row each; mAP, precision and gains as fractions of 1."""
    found = groups(records)
    figures = _figure_names([record for group in found for record in group.records])
    names = list(dict.fromkeys([*PROTOCOLS, *(name for group in found for name in group.measures)]))
    gains = [f"{part}_{name}" for name in names for part in ("gain", "gain_low", "gain_high", "p_value")]
    rows = [
        (
            record,
            (
                _read_cell(record),
                *_figures(record, figures),
                *(cell for name in names for cell in _sheet_gain(group.gains.get((row, name), OTHER_TASK))),
            ),
        )
        for group in found
        for row, record in enumerate(group.records)
        if not (group.ablation and is_baseline(record))
    ]
    head = ("reranker", "weights", "dataset", "dataset_sha256", "descriptors", "shortlist", "policy")
    return provenance.sheet(head, ("read", *figures, *gains), rows, notes=notes_of)


def standing(record: Record) -> tuple[bool, bool, int, tuple[int, ...], str]:
    """Where a record stands among others: no re-ranking first, untrained methods last; in an ablation by the number of
    descriptors, then by the numbers in the name: those of windows, say."""
    read = _read(record)
    numbers = tuple(int(one) for one in re.findall(r"\d+", record.key.reranker)) if read else ()
    return not is_baseline(record), not trained(record), read or 0, numbers, record.key.model_dump_json()


def _read(record: Record) -> int | None:
    return getattr(record.key, "read", None)


def _read_cell(record: Record) -> Cell:
    read = _read(record)
    return missing("reads as many as it was made for, or none") if read is None else Cell(read)


def _what_columns(group: Group) -> tuple[Column, ...]:
    return Column("re-ranker"), Column("weights"), *([Column("L", count)] if group.ablation else [])


def _what(group: Group) -> list[tuple[Cell, ...]]:
    return [
        (
            Cell(provenance.label(record), notes_of(record)),
            _weights(record),
            *([_read_cell(record)] if group.ablation else []),
        )
        for record in group.records
    ]


def _weights(record: Record) -> Cell:
    if record.status == "missing":
        return missing(record.reason or "not run")
    return Cell(getattr(record.key, "weights", ""))


def notes_of(record: Record) -> tuple[str, ...]:
    """A record's notes, with one where its weights are random."""
    said = any(note.startswith("random weights") for note in record.notes)
    return (*record.notes, *(() if trained(record) or said else (UNTRAINED,)))


def _figures(record: Record, names: Iterable[str]) -> tuple[Cell, ...]:
    return tuple(figure_cell(record.figure(name)) for name in names)


def _uncounted(group: Group) -> str:
    return UNCOUNTED if group.uncounted else ""


def _gain_cell(group: Group, row: int, name: str, *, interval: bool = True) -> Cell:
    found = group.gains[row, name]
    if isinstance(found, str):
        return missing(found)
    mark = stars(group.corrected[row, name])
    text = f"{points(found.mean)} [{points(found.low)}, {points(found.high)}]"
    return Cell(text if interval else found.mean, mark=mark)


def _gain_cells(found: Difference, corrected: float) -> list[Cell]:
    tested = (found.mean, found.low, found.high, found.p_value, corrected)
    return [Cell(value) for value in (*tested, found.queries, found.above, found.below, found.equal)]


def _sheet_gain(found: Difference | str) -> list[Cell]:
    if isinstance(found, str):
        return [missing(found)] * 4
    return [Cell(value) for value in (found.mean, found.low, found.high, found.p_value)]


def _short(name: str) -> str:
    """A measure's title where mAP need not be said: `medium`."""
    return PROTOCOLS.get(name, MEASURES[name].title)


def _queries(group: Group, series: str) -> str:
    """How many queries have a value in this series."""
    counts = {
        sum(value is not None for value in values) for record in group.records if (values := record.series.get(series))
    }
    return " or ".join(str(count) for count in sorted(counts)) or "unknown"


def _figure_names(records: Sequence[Record]) -> list[str]:
    known = [f"map_{name}{divisor}" for divisor in ("", "_shortlist_divisor") for name in PROTOCOLS]
    known += [f"precision_at_{cut}_{name}" for name in PROTOCOLS for cut in CUTS]
    known.append("rerank_seconds")
    return known + sorted({name for record in records for name in record.figures} - set(known))
