"""What re-ranking one query's candidates costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.reporting import provenance
from bench.reporting.numbers import count, mebibytes, millions, percent, significant
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
    "device_driver_bytes",
)

_WITNESSES = ("gflops_dispatcher", "gflops_closed_form", "gflops_deepspeed")

_ROOFLINE = (
    "gflops_executed",
    "bytes_least",
    "bytes_touched",
    "intensity_flop_per_byte",
    "peak_gflop_per_s",
    "copy_gbyte_per_s",
    "roofline_compute_ms",
    "roofline_memory_ms",
)
_SPREAD = ("process_spread", "steal_share", "switches_per_cpu_s")
_PAIRS = ("pairs_p50_ms", "pairs_p95_ms", "queries_p50_ms", "queries_p95_ms")

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
    "launch_gap_ms",
    *_SPREAD,
    *_PAIRS,
    "achieved_gflop_per_s",
    "fraction_of_peak",
    *_ROOFLINE[1:],
    *_MEMORY,
    "energy_joules",
    "calls_s",
    "harness_s",
)

_WHAT = (Column("re-ranker"), Column("inputs"), Column("device"), Column("dtype"))

CAPTION = (
    "One query and {candidates} candidates. Parameters and FLOPs leave the backbone out; one multiply-add is 2 FLOPs, "
    "matrix products and convolutions only. FLOP executed: what the program runs; needed: what the scores depend on; "
    "witnesses: how many counts of what is executed agree to 1 %, which DeepSpeed's, torch's and the closed form may. "
    "Latency: mean ± standard deviation over the measured runs of one process, after warm-up; cold: the first call. "
    "TFLOP/s: executed FLOPs over the median latency; of peak: over the machine's own matrix-product rate, measured in "
    "the same process. Intensity: executed FLOPs over the least bytes (weights, inputs, scores, each once); bound by: "
    "what the roofline of this machine says. Memory: the process's peak resident set, and its growth over the baseline "
    "before the window. Noisy: whether the machine took cores away while the runs were measured. No re-ranking, where "
    "measured, is never the best."
)
PAPER_CAPTION = (
    "One query. Parameters and FLOPs leave the backbone out; one multiply-add is 2 FLOPs, matrix products and "
    "convolutions only. Latency: mean and standard deviation over the measured runs of one process, after warm-up. "
    "Memory: the process's peak resident set. No re-ranking, where measured, is never the best."
)
CAUTION = (
    "The runs of one process are one observation: between processes the same code differs by several per cent, "
    "so small differences in latency mean nothing."
)
#: Share of a cell that the harness is meant to stay below.
AIM = 0.1
BEYOND = (
    "faster than the matrix product that was timed beside it, which is no bound for it then: the product met a slow "
    "moment of a shared machine, or the work runs in another library with wider instructions, as convolutions may"
)
#: More involuntary switches per second of processor time, or more time stolen, make a cell noisy: bench.measure.clock.
NOISY = "noisy"


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

    @property
    def uncounted(self) -> frozenset[int]:
        """Rows that are never the best of a table: no re-ranking, which costs nothing."""
        return frozenset(row for row, record in enumerate(self.records) if is_baseline(record))


def sections(records: Iterable[Record]) -> list[Section]:
    """Cost records by machine, threads and candidates, the latest section first; in it no re-ranking first, then by
    name."""
    found: dict[tuple[str, int, int], list[Record]] = {}
    for record in sorted((one for one in records if isinstance(one.key, CostKey)), key=_place):
        place = record.provenance.fingerprint, record.provenance.threads, _key(record).candidates
        found.setdefault(place, []).append(record)
    made = [Section(*place, tuple(rows)) for place, rows in sorted(found.items())]
    return sorted(made, key=lambda one: max(row.provenance.started_at for row in one.records), reverse=True)


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
        Column("GFLOP executed", significant, "lowest"),
        Column("GFLOP needed", significant),
        Column("witnesses", count),
        Column("latency (ms)", significant, "lowest"),
        Column("median (ms)", significant),
        Column("p95 (ms)", significant),
        Column("cold (ms)", significant),
        Column("TFLOP/s", _thousandth),
        Column("of peak (%)", percent),
        Column("FLOP/byte", significant),
        Column("bound by"),
        Column("peak memory (MiB)", mebibytes, "lowest"),
        Column("over baseline (MiB)", mebibytes),
        Column("on device (MiB)", mebibytes),
        Column("noisy"),
        Column("commit"),
    )
    speed = ("latency_median_ms", "latency_p95_ms", "cold_ms", "achieved_gflop_per_s")
    rows = tuple(
        (
            *_what(record),
            *_cells(record, ("parameters", "gflops_executed", "gflops_algorithmic")),
            _agreeing(record),
            _mean_latency(record),
            *_cells(record, speed),
            _of_peak(record),
            *_cells(record, ("intensity_flop_per_byte",)),
            _bound(record),
            *_cells(record, ("peak_rss_bytes", "delta_rss_bytes", "device_allocated_bytes")),
            _noisy(record),
            provenance.commit_cell(record),
        )
        for record in section.records
    )
    notes = (CAUTION, *_harness(section.records))
    caption = CAPTION.format(candidates=section.candidates)
    return Table(columns=columns, rows=rows, caption=caption, notes=notes, uncounted=section.uncounted)


def paper_table(section: Section) -> Table:
    """What papers print of a section: parameters, FLOPs, latency, memory."""
    wide = section_table(section)
    # inputs, device and type stand in a name only where the re-ranker's alone stands twice
    names = zip(provenance.labels(section.records), wide.rows, strict=True)
    table = replace(
        wide,
        rows=tuple((replace(row[0], value=name), *row[1:]) for name, row in names),
        caption=f"{section.title}. {PAPER_CAPTION}",
        notes=(CAUTION,),
    ).only("re-ranker", "params (M)", "GFLOP executed", "latency (ms)", "peak memory (MiB)")
    titles = [replace(column, title=column.title.removesuffix(" executed")) for column in table.columns]
    return replace(table, columns=tuple(titles))


def latency_table(section: Section) -> Table:
    """How latency is distributed, within a process and between processes."""
    names = (
        "cold_ms",
        "latency_min_ms",
        "latency_median_ms",
        "latency_mean_ms",
        "latency_std_ms",
        "latency_p95_ms",
    )
    titles = ("cold first call", "min", "median", "mean", "std", "p95")
    columns = (
        *_WHAT,
        Column("runs", count),
        *(Column(f"{title} (ms)", significant) for title in titles),
        Column("launch gap (ms)", significant),
        Column("processes", count),
        Column("apart (%)", percent),
        Column("switches a CPU second", significant),
        Column("steal (%)", percent),
        Column("energy (J)", significant),
    )
    rows = tuple(
        (
            *_what(one),
            _runs(one),
            *_cells(one, (*names, "launch_gap_ms")),
            _processes(one),
            *_cells(one, ("process_spread", "switches_per_cpu_s", "steal_share", "energy_joules")),
        )
        for one in section.records
    )
    caption = (
        "Latency per query. The cold first call is no part of the other figures. Launch gap: wall time a call that no "
        "pair of CUDA events holds. Apart: largest minus smallest median of the processes that timed the cell, over "
        "their median; the others made 1 + 3 calls. Energy: of the whole package, other programs included, per call."
    )
    return Table(columns=columns, rows=rows, caption=caption)


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


def roofline_table(section: Section) -> Table:
    """What the machine's product and its memory would take for the FLOPs and the bytes, and how far latency is off."""
    columns = (
        *_WHAT,
        Column("GFLOP", significant),
        Column("least bytes (MiB)", mebibytes),
        Column("touched by kernels (MiB)", mebibytes),
        Column("FLOP/byte", significant),
        Column("product (GFLOP/s)", significant),
        Column("copy (GB/s)", significant),
        Column("product's bound (ms)", significant),
        Column("memory's bound (ms)", significant),
        Column("bound by"),
        Column("latency / bound", significant),
    )
    rows = tuple((*_what(one), *_cells(one, _ROOFLINE), _bound(one), _over_bound(one)) for one in section.records)
    caption = (
        "The larger of two times that no program of these FLOPs can beat: FLOPs over the rate of the machine's matrix "
        "product, and the least bytes over the rate at which it copies, both measured in the same process (roofline: "
        "Williams et al., CACM 2009). Least bytes: weights and inputs read once, scores written once. Touched by "
        "kernels: inputs and outputs of every kernel, whether they came from memory or from a cache."
    )
    return Table(columns=columns, rows=rows, caption=caption)


def pairs_table(section: Section) -> Table | None:
    """Latency over pairs and over queries of those that stop early; None where there are none."""
    found = [one for one in section.records if one.figure(_PAIRS[0]).value is not None]
    if not found:
        return None
    columns = (
        *_WHAT,
        *(Column(f"{what} {label} (ms)", significant) for what in ("pair", "query") for label in ("p50", "p95")),
    )
    caption = (
        "RANSAC stops when it has seen enough, so its latency is a distribution: over the candidates of one query, "
        "one pair a call, and over other queries with as many candidates."
    )
    return Table(columns=columns, rows=tuple((*_what(one), *_cells(one, _PAIRS)) for one in found), caption=caption)


def memory_table(section: Section) -> Table:
    """Host and device memory."""
    titles = (
        *("baseline", "peak", "growth", "growth, anonymous", "growth, files"),
        *("device allocated", "device reserved", "device used by the driver"),
    )
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
    return Cell(mean.value, deviation=deviation.value)


def _runs(record: Record) -> Cell:
    samples = record.series.get("latency_samples_ms")
    return Cell(len(samples)) if samples else missing(record.reason or "no samples were kept")


def _processes(record: Record) -> Cell:
    medians = record.series.get("process_medians_ms")
    return Cell(len(medians)) if medians else missing(record.reason or "measured before processes were compared")


def _thousandth(value: float) -> str:
    return significant(value / 1e3)


def _agreeing(record: Record) -> Cell:
    """How many counts there are; a cell whose counts disagree has failed."""
    counts = [record.figure(name) for name in _WITNESSES]
    found = [one for one in counts if one.value is not None]
    if not found:
        return missing(counts[0].reason or "not measured")
    return Cell(len(found), tuple({one.reason for one in counts if one.reason and "candidates only" in one.reason}))


def _of_peak(record: Record) -> Cell:
    """A convolution may run in another library than the product that is the measure, with wider instructions."""
    share = record.figure("fraction_of_peak")
    return Cell(share.value, (BEYOND,)) if share.value is not None and share.value > 1 else figure_cell(share)


def _bound(record: Record) -> Cell:
    compute, memory = record.figure("roofline_compute_ms"), record.figure("roofline_memory_ms")
    if compute.value is None or memory.value is None:
        return figure_cell(compute)
    return Cell("product" if compute.value >= memory.value else "memory")


def _over_bound(record: Record) -> Cell:
    names = ("roofline_compute_ms", "roofline_memory_ms", "latency_median_ms")
    compute, memory, taken = (record.figure(name) for name in names)
    bound = max(compute.value or 0, memory.value or 0)
    if taken.value is None or not bound:
        return figure_cell(compute)
    return Cell(taken.value / bound, (BEYOND,) if taken.value < bound else ())


def _noisy(record: Record) -> Cell:
    noisy = record.figure(NOISY)
    return figure_cell(noisy) if noisy.value is None else Cell("yes" if noisy.value else "no")


def _harness(records: Sequence[Record]) -> list[str]:
    """One sentence on what measuring cost, where records say so."""
    kept = [
        (record.key.reranker, harness, calls)
        for record in records
        if (harness := record.figure("harness_s").value) is not None
        and (calls := record.figure("calls_s").value) is not None
    ]
    total = sum(harness + calls for _, harness, calls in kept)
    if not total:
        return []
    share = percent(sum(harness for _, harness, _ in kept) / total)
    dear = [(name, harness, calls) for name, harness, calls in kept if harness > AIM * (harness + calls)]
    over = ", ".join(f"{name} ({harness:.1f} s beside {calls:.1f} s of calls)" for name, harness, calls in dear)
    return [
        f"The harness took {share} % of the time of these {len(kept)} cells: all that is no call of a re-ranker, "
        "from building it to the rates of the machine; starting processes and importing libraries not counted. "
        + (f"Over {AIM:.0%} of a cell, its calls being short: {over}." if over else f"In no cell over {AIM:.0%}.")
    ]


def _apart(record: Record) -> Cell:
    found = [value for name in _WITNESSES if (value := record.figure(name).value) is not None]
    if len(found) < 2:
        return missing(record.reason or "fewer than two witnesses")
    return Cell((max(found) - min(found)) / max(found) if max(found) else 0.0)
