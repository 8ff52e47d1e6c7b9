"""How cost grows along an axis: the fitted laws, what was measured, and where a measurement leaves the law."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.reporting import provenance
from bench.reporting.numbers import mebibytes, percent, significant
from bench.reporting.queries import is_baseline
from bench.reporting.tables import Cell, Column, Table, figure_cell, missing
from bench.results.record import Record, SweepKey

#: Terms of a law, as figures name them: the power of N, and how the term is written.
TERMS = {"constant": (0, ""), "inverse": (-1, " / N"), "linear": (1, " N"), "quadratic": (2, " N²")}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: Why a departure has no place where nothing has departed.
ON_THE_LAW = "no measurement leaves the law"
#: A term that is less than this share of the law at every value is not written.
LEAST_SHARE = 0.005


@dataclass(frozen=True)
class Quantity:
    """What grows: how its figures are prefixed, its series, its unit, in what unit it is shown, and in which words."""

    prefix: str
    unit: str
    measured: str
    predicted: str
    title: str
    shown_in: str
    divisor: float
    more: str
    less: str


LATENCY = Quantity("", "ms", "latency_median_ms", "predicted_ms", "latency", "ms", 1.0, "slower", "faster")
MEMORY = Quantity(
    *("memory_", "bytes", "peak_delta_bytes", "memory_predicted_bytes", "memory", "MiB", 2.0**20, "more", "less")
)
QUANTITIES = (LATENCY, MEMORY)
FIGURES = tuple(
    f"{what.prefix}{name}"
    for what in QUANTITIES
    for name in (
        *(f"law_{term}_{what.unit}" for term in TERMS),
        *("residual", "noise", "departs_at", "departs_by", "departs_onwards"),
    )
)
SERIES = ("latency_median_ms", "latency_p95_ms", "predicted_ms", "peak_delta_bytes", "memory_predicted_bytes")

_FITTED = (
    "The law is fitted by least squares of relative errors, with coefficients that are not negative, to the values "
    "that keep to it; terms under 0.5 % of it everywhere are not printed. "
)
_OFF = (
    "Off: by what share the measurement farthest from the law is off it. Noise: by what share a value differs from "
    "itself when fresh processes measure it again. "
)
_LEFT = (
    "Leaves the law: a value that is off the law of the others by more than four times the noise and more than 10 %, "
    "and by still more where that law must reach far. Memory: growth of the peak resident set over the baseline, by "
    "a + b N + c N², or a + b N of threads; "
    "differences under 1 MiB mean nothing."
)
CAPTION = f"{_FITTED}{_OFF}{_LEFT}"
FORMS = {
    "candidates": "N candidates; a + b N + c N²: c is work of pairs of candidates.",
    "descriptors": "N local descriptors of every image, on both sides; a + b N + c N²: c is work of pairs of them.",
    "window": (
        "Windows of N candidates, half of them apart; a + b / N + c N: b is what a window costs whatever its size, "
        "c the work of pairs within a window."
    ),
    "batch": "N pairs scored at once; a + b / N + c N: b is what a go costs whatever its size.",
    "threads": "N threads; a + b / N (Amdahl's law): a is what threads do not share, b what they do.",
}


@dataclass(frozen=True)
class Group:
    """Sweeps that may stand in one table and one picture: one axis, machine, number of threads and of candidates."""

    axis: str
    fingerprint: str
    threads: int
    candidates: int
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        """What all rows share."""
        shared = [] if self.axis == "candidates" else [f"{self.candidates} candidates"]
        if self.axis != "threads":
            shared.append("1 thread" if self.threads == 1 else f"{self.threads} threads")
        cpu = self.records[0].provenance.machine.get("cpu") or "unknown processor"
        return f"Growth with {self.axis}: {', '.join([str(cpu), f'machine {self.fingerprint[:12]}', *shared])}"

    @property
    def names(self) -> list[str]:
        """A name for each record: with device, type, inputs and values where the re-ranker's alone stands twice."""
        plain = [record.key.reranker for record in self.records]
        keys = [key_of(record) for record in self.records]
        return [
            f"{name} [{key.device}, {key.dtype}, {key.inputs}, {key.values}]" if plain.count(name) > 1 else name
            for name, key in zip(plain, keys, strict=True)
        ]


def groups(records: Iterable[Record]) -> list[Group]:
    """Sweeps by axis, machine, threads and candidates; no re-ranking first, then by name."""
    found: dict[tuple[str, str, int, int], list[Record]] = {}
    swept = [one for one in records if isinstance(one.key, SweepKey)]
    for record in sorted(swept, key=lambda one: (not is_baseline(one), one.key.model_dump_json())):
        key, where = key_of(record), record.provenance
        found.setdefault((key.axis, where.fingerprint, where.threads, key.candidates), []).append(record)
    order = {axis: place for place, axis in enumerate(FORMS)}
    places = sorted(found, key=lambda place: (order.get(place[0], len(order)), place))
    return [Group(*place, tuple(found[place])) for place in places]


def law_table(group: Group) -> Table:
    """A row for each re-ranker: both laws, how far measurements are off them, and where they leave them."""
    columns = [Column("re-ranker"), Column("inputs"), Column("device"), Column("dtype"), Column("values")]
    for what in QUANTITIES:
        columns += [
            Column(f"{what.title} ({what.shown_in})"),
            Column("off (%)", percent),
            Column("noise (%)", percent),
            Column("leaves the law"),
        ]
    rows = []
    for name, record in zip(group.names, group.records, strict=True):
        key = key_of(record)
        row = [Cell(name, tuple(record.notes)), *map(Cell, (key.inputs, key.device, key.dtype, key.values))]
        for what in QUANTITIES:
            off, noise = (figure_cell(record.figure(f"{what.prefix}{part}")) for part in ("residual", "noise"))
            row += [law_cell(record, what), off, noise, departure_cell(record, what)]
        rows.append(tuple(row))
    return Table(columns=tuple(columns), rows=tuple(rows), caption=f"{FORMS.get(group.axis, '')} {CAPTION}".strip())


def values_table(group: Group) -> Table:
    """A row for each re-ranker and value: what was measured, and what the law says."""
    columns = (
        Column("re-ranker"),
        Column(group.axis, str),
        Column("median (ms)", significant),
        Column("p95 (ms)", significant),
        Column("law (ms)", significant),
        Column("memory (MiB)", mebibytes),
        Column("law (MiB)", mebibytes),
    )
    rows = [
        (Cell(name), *cells)
        for name, record in zip(group.names, group.records, strict=True)
        for cells in value_cells(record)
    ]
    return Table(columns=columns, rows=tuple(rows), caption="Medians over processes of each process's figure.")


def paper_tables(group: Group) -> list[Table]:
    """What papers print of a group: the laws, and what was measured."""
    laws, values = law_table(group), values_table(group)
    caption = f"{group.title}. {laws.caption.replace(_OFF, '')}"
    return [
        replace(laws, caption=caption).only("re-ranker", "latency (ms)", "leaves the law", "memory (MiB)"),
        replace(values, caption=f"{group.title}. {values.caption}"),
    ]


def sheet(records: Iterable[Record]) -> Table:
    """Every sweep in full precision, a row for each value."""
    found = [record for group in groups(records) for record in group.records]
    more = sorted({name for record in found for name in record.figures} - set(FIGURES))
    figures = (*FIGURES, *more)
    head = ("reranker", "device", "dtype", "axis", "values", "candidates", "inputs")
    rows = [
        (record, (*cells, *(figure_cell(record.figure(name)) for name in figures)))
        for record in found
        for cells in value_cells(record)
    ]
    return provenance.sheet(head, ("value", *SERIES, *figures), rows)


def value_cells(record: Record) -> list[tuple[Cell, ...]]:
    """For each value of the axis: the value, then the series of SERIES at it; a single row where nothing was found."""
    values = record.series.get("values") or [None]
    reason = record.reason or "not measured"
    columns = [record.series.get(name) or [None] * len(values) for name in SERIES]
    return [
        tuple(missing(reason) if one is None else Cell(one) for one in row)
        for row in zip(values, *columns, strict=True)
    ]


def law_of(record: Record, what: Quantity) -> dict[str, float]:
    """Coefficients by term, in the unit of the record; empty where no law was fitted."""
    found = {term: record.figure(f"{what.prefix}law_{term}_{what.unit}").value for term in TERMS}
    return {term: float(value) for term, value in found.items() if value is not None}


def at(law: dict[str, float], values: ArrayLike) -> NDArray[np.float64]:
    """What a law says at these values of its axis."""
    numbers = np.asarray(values, dtype=np.float64)
    said = np.zeros(numbers.shape)
    for term, size in law.items():
        said += size * numbers ** TERMS[term][0]
    return said


def law_text(law: dict[str, float], values: Sequence[float], divisor: float = 1.0) -> str:
    """As in "1.2 + 0.31 N + 0.0004 N²", without terms that are nowhere LEAST_SHARE of the law."""
    whole = at(law, values)
    kept = [
        f"{_coefficient(size / divisor)}{TERMS[term][1]}"
        for term, size in law.items()
        if (at({term: size}, values) > LEAST_SHARE * whole).any()
    ]
    return " + ".join(kept) or "0"


def _coefficient(value: float) -> str:
    """Two digits; a power of ten where there are many zeros."""
    digits, _, power = significant(value, 2).partition("e")
    return f"{digits}·10{str(int(power)).translate(_SUPERSCRIPT)}" if power else digits


def law_cell(record: Record, what: Quantity) -> Cell:
    """The law, or why there is none."""
    law = law_of(record, what)
    if not law:
        return missing(record.figure(f"{what.prefix}residual").reason or "no law was fitted")
    return Cell(law_text(law, numbers_of(record), what.divisor))


def departure_cell(record: Record, what: Quantity) -> Cell:
    """Where the law is left, and to which side."""
    place, off, onwards = (record.figure(f"{what.prefix}departs_{name}").value for name in ("at", "by", "onwards"))
    if not law_of(record, what):
        return missing(record.figure(f"{what.prefix}departs_at").reason or "no law was fitted")
    if place is None or off is None:
        reason = record.figure(f"{what.prefix}departs_at").reason or "not measured"
        return Cell("nowhere") if reason == ON_THE_LAW else missing(reason)
    last = place == numbers_of(record)[-1]
    where = f"from {place} on" if onwards and not last else f"at {place}"
    return Cell(f"{where}: {abs(off):.0%} {what.more if off > 0 else what.less}".replace("%", " %"))


def departed(record: Record, what: Quantity) -> list[bool]:
    """For each value of the axis, whether it has left the law."""
    place, onwards = (record.figure(f"{what.prefix}departs_{name}").value for name in ("at", "onwards"))
    values = numbers_of(record)
    return [place is not None and (value == place or (bool(onwards) and value > place)) for value in values]


def numbers_of(record: Record) -> list[float]:
    """The values of the axis."""
    return [float(one) for one in key_of(record).values.split(",")]


def key_of(record: Record) -> SweepKey:
    """The key of a sweep."""
    assert isinstance(record.key, SweepKey)
    return record.key
