"""What re-ranking one query's candidates costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.reporting import provenance
from bench.reporting.numbers import count, mebibytes, millions, percent, plus_minus, significant
from bench.reporting.queries import is_baseline
from bench.reporting.tables import Cell, Column, Table, figure_cell, missing
from bench.results.record import CostKey, Record

_MEMORY = (
    "baseline_rss_bytes",
    "peak_rss_bytes",
    "delta_rss_bytes",
    "delta_anon_bytes",
    "delta_file_bytes",
    "device_allocated_bytes",
    "device_reserved_bytes",
)

_WITNESSES = ("gflops_dispatcher", "gflops_closed_form", "gflops_deepspeed")

FIGURES = (
    "parameters",
    "gflops_executed",
    "gflops_algorithmic",
    *_WITNESSES,
    "latency_mean_ms",
    "latency_std_ms",
    "latency_median_ms",
    "latency_min_ms",
    "latency_p95_ms",
    "cold_ms",
    "achieved_gflop_per_s",
    "peak_gflop_per_s",
    "fraction_of_peak",
    *_MEMORY,
)

_WHAT = (Column("re-ranker"), Column("inputs"), Column("device"), Column("dtype"))

CAPTION = (
    "One query and {candidates} candidates. Parameters and FLOPs leave the backbone out; one multiply-add is 2 FLOPs, "
    "matrix products and convolutions only. FLOP executed: what the program runs; needed: what the scores depend on. "
    "Latency: mean ± standard deviation over the measured runs of one process, after warm-up. "
    "GFLOP/s: executed FLOPs over the median latency; of peak: over the machine's own matrix-product rate, measured in "
    "the same run. Memory: the process's peak resident set, and its growth over the baseline before the window."
)
CAUTION = (
    "The runs of one process are one observation: between processes the same code differs by several per cent, "
    "so small differences in latency mean nothing."
)


@dataclass(frozen=True)
class Section:
    """Cost records that may stand in one table: one machine, one number of threads, one number of candidates."""

    fingerprint: str
    threads: int
    candidates: int
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        cpu = self.records[0].provenance.machine.get("cpu") or "unknown processor"
        return f"Cost per {self.candidates} candidates: {cpu}, machine {self.fingerprint[:12]}, {threads}"


def sections(records: Iterable[Record]) -> list[Section]:
    """Cost records by machine, threads and candidates; no re-ranking first, then by name."""
    found: dict[tuple[str, int, int], list[Record]] = {}
    for record in sorted((one for one in records if isinstance(one.key, CostKey)), key=_place):
        place = record.provenance.fingerprint, record.provenance.threads, _key(record).candidates
        found.setdefault(place, []).append(record)
    return [Section(*place, tuple(rows)) for place, rows in sorted(found.items())]


def cost_table(records: Sequence[Record]) -> Table:
    """The table of one section's records: parameters, FLOPs, latency, throughput, memory.

    Raises ValueError for records that may not stand in one table.
    """
    found = sections(records)
    if len(found) != 1:
        raise ValueError(f"cost records of one machine, threads and candidates are wanted, not of {len(found)} kinds")
    return section_table(found[0])


def section_table(section: Section) -> Table:
    """Parameters, FLOPs, latency, throughput, memory."""
    columns = (
        *_WHAT,
        Column("params (M)", millions),
        Column("GFLOP executed", significant),
        Column("GFLOP needed", significant),
        Column("latency (ms)", significant),
        Column("median (ms)", significant),
        Column("GFLOP/s", significant),
        Column("of peak (%)", percent),
        Column("peak memory (MiB)", mebibytes),
        Column("over baseline (MiB)", mebibytes),
        Column("on device (MiB)", mebibytes),
        Column("commit"),
    )
    names = (
        "latency_median_ms",
        "achieved_gflop_per_s",
        "fraction_of_peak",
        "peak_rss_bytes",
        "delta_rss_bytes",
        "device_allocated_bytes",
    )
    rows = tuple(
        (
            *_what(record),
            *_cells(record, ("parameters", "gflops_executed", "gflops_algorithmic")),
            _mean_latency(record),
            *_cells(record, names),
            provenance.commit_cell(record),
        )
        for record in section.records
    )
    return Table(columns=columns, rows=rows, caption=CAPTION.format(candidates=section.candidates), notes=(CAUTION,))


def latency_table(section: Section) -> Table:
    """How latency is distributed."""
    names = (
        "cold_ms",
        "latency_min_ms",
        "latency_median_ms",
        "latency_mean_ms",
        "latency_std_ms",
        "latency_p95_ms",
    )
    titles = ("cold first call", "min", "median", "mean", "std", "p95")
    return Table(
        columns=(*_WHAT, Column("runs", count), *(Column(f"{title} (ms)", significant) for title in titles)),
        rows=tuple((*_what(one), _runs(one), *_cells(one, names)) for one in section.records),
        caption="Latency per query. The cold first call is no part of the other figures.",
    )


def flops_table(section: Section) -> Table:
    """The three witnesses of the FLOPs, and how far they lie apart."""
    titles = ("executed", "needed", "dispatcher", "closed form", "DeepSpeed")
    names = ("gflops_executed", "gflops_algorithmic", *_WITNESSES)
    columns = (*_WHAT, *(Column(title, significant) for title in titles), Column("apart (%)", percent))
    return Table(
        columns=columns,
        rows=tuple((*_what(one), *_cells(one, names), _apart(one)) for one in section.records),
        caption="GFLOP per query. Apart: largest minus smallest witness, over the largest.",
    )


def memory_table(section: Section) -> Table:
    """Host and device memory."""
    titles = ("baseline", "peak", "growth", "growth, anonymous", "growth, files", "device allocated", "device reserved")
    return Table(
        columns=(*_WHAT, *(Column(title, mebibytes) for title in titles)),
        rows=tuple((*_what(one), *_cells(one, _MEMORY)) for one in section.records),
        caption="MiB. Host memory is the resident set of the measuring process; mapped files count once touched.",
    )


def sheet(records: Iterable[Record]) -> Table:
    """Every cost record in full precision, a row each."""
    found = [record for section in sections(records) for record in section.records]
    figures = (*FIGURES, *sorted({name for record in found for name in record.figures} - set(FIGURES)))
    rows = [(record, (*_cells(record, figures), _runs(record))) for record in found]
    return provenance.sheet(("reranker", "device", "dtype", "candidates", "inputs"), (*figures, "runs"), rows)


def _place(record: Record) -> tuple[bool, str]:
    return not is_baseline(record), record.key.model_dump_json()


def _key(record: Record) -> CostKey:
    assert isinstance(record.key, CostKey)
    return record.key


def _what(record: Record) -> tuple[Cell, ...]:
    key = _key(record)
    return Cell(key.reranker, tuple(record.notes)), Cell(key.inputs), Cell(key.device), Cell(key.dtype)


def _cells(record: Record, names: Iterable[str]) -> tuple[Cell, ...]:
    return tuple(figure_cell(record.figure(name)) for name in names)


def _mean_latency(record: Record) -> Cell:
    mean, deviation = record.figure("latency_mean_ms"), record.figure("latency_std_ms")
    if mean.value is None or deviation.value is None:
        return figure_cell(mean)
    return Cell(plus_minus(mean.value, deviation.value))


def _runs(record: Record) -> Cell:
    samples = record.series.get("latency_samples_ms")
    return Cell(len(samples)) if samples else missing(record.reason or "no samples were kept")


def _apart(record: Record) -> Cell:
    found = [value for name in _WITNESSES if (value := record.figure(name).value) is not None]
    if len(found) < 2:
        return missing(record.reason or "fewer than two witnesses")
    return Cell((max(found) - min(found)) / max(found) if max(found) else 0.0)
