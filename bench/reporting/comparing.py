"""Two runs side by side: records of two commits, machines or checkpoints, cell by cell.

Differences are the second run minus the first, ratios the second over the first. What may not be compared carries the
reason instead of a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.reporting import provenance
from bench.reporting.accuracy import UNTRAINED
from bench.reporting.numbers import mebibytes, millions, percent, points, probability, significant
from bench.reporting.pairing import Names, Pair, Setting, accuracy_settings, cost_settings, of_key, where
from bench.reporting.queries import MEASURES, PROTOCOLS, compared, is_baseline, trained
from bench.reporting.statistics import CONFIDENCE, RESAMPLES, SAME, paired_difference
from bench.reporting.tables import Cell, Column, Table, figure_cell, missing
from bench.results.record import Record

#: What a comparison found, by column of the sheet; or why it found nothing.
Found = dict[str, Any] | str

NO_DIFFERENCE = "no difference"
EQUAL, DIFFERENT = "equal", "different"
WITHIN = "within the spread of processes"
OUTSIDE = "outside the spread of processes"
UNJUDGED = "not judged: neither run says how far processes lie apart"
ONLY_CHECK = "a process is one observation: only python -m bench.check --against tells a regression from noise"
ROUNDING = "another machine, other threads or other versions round otherwise"
OTHER_LISTS = "First-stage lists differ: differences are those of descriptors or search too, not of re-rankers alone."
UNKNOWN_LISTS = "Whether both ranked the same first-stage lists is not known: 'none' is not finished in both."
UNRECORDED = "not recorded of this cell"
#: Figures of a cost record that are counted, and those that are measured.
EXACT = {"parameters": "parameters", "gflops_executed": "GFLOP"}
LATENCY, MEMORY = "latency_median_ms", "delta_rss_bytes"
#: Names in a summary before it says how many more there are.
NAMED = 5

_KEY = ("reranker", "dataset", "descriptors", "shortlist", "policy", "read", "device", "dtype", "candidates", "inputs")
_FOUND = ("difference", "low", "high", "p_value", "better", "worse", "equal", "ratio", "judgement")
_SIDE = ("weights", "dataset_sha256", "status", "commit", "code_sha256", "fingerprint", "threads", "seed")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two runs differ in; or one accuracy setting of both; or what they cost for one number of candidates.

    summary: one line of plain text, not Markdown yet. pairs: the records of each row; none where rows are of no cell.
    """

    kind: Literal["provenance", "accuracy", "cost"]
    title: str
    summary: str
    table: Table
    pairs: tuple[tuple[Record | None, Record | None], ...] = ()


def comparisons(first: Sequence[Record], second: Sequence[Record], names: Names) -> list[Comparison]:
    """What the runs differ in, then every accuracy setting and every number of candidates that either of them has.

    Raises ValueError where both are called alike.
    """
    if names[0] == names[1]:
        raise ValueError(f"two runs are called {names[0]!r}: nobody could tell them apart")
    earned, spent = accuracy_settings(first, second, names), cost_settings(first, second, names)
    pairs = [pair for setting in (*earned, *spent) for pair in setting.own]
    tables = [_accuracy(setting, names) for setting in earned] + [_cost(setting, names) for setting in spent]
    return [_provenance(pairs, names), *tables]


def sheet(first: Sequence[Record], second: Sequence[Record], names: Names) -> Table:
    """Every pair of figures in full precision, a row each; accuracies and their differences are fractions of 1."""
    earned = (
        _sheet_row(pair, MEASURES[name].figure, _earned(pair, name))
        for setting in accuracy_settings(first, second, names)
        for pair in setting.own
        for name in setting.measures
    )
    spent = (
        _sheet_row(pair, figure, _spent(pair, figure))
        for setting in cost_settings(first, second, names)
        for pair in setting.pairs
        for figure in (*EXACT, LATENCY, MEMORY)
    )
    sides = (f"{name}_{side}" for side in ("first", "second") for name in ("run", *_SIDE))
    titles = ("kind", *_KEY, "figure", "first", "second", *_FOUND, "scores", "notes", *sides)
    return Table(columns=tuple(map(Column, titles)), rows=(*earned, *spent))


def _accuracy(setting: Setting, names: Names) -> Comparison:
    a, b = names
    shown = compared(setting.measures)
    columns = [Column("re-ranker"), Column("weights"), *([Column("L", str)] if setting.ablation else [])]
    for title in map(_short, shown):
        columns += [Column(f"{title} {a}", percent), Column(f"{title} {b}", percent)]
        columns += [Column(f"{title} {b} − {a} [{CONFIDENCE:.0%}]"), Column(f"{title} p", probability)]
        columns += [Column(f"{title} better / worse / equal")]
    rows, lines = [], []
    for pair in setting.pairs:
        earned = {name: _earned(pair, name) for name in shown}
        row = [Cell(pair.name, _notes(pair)), _weights(pair)]
        row += [_key_cell(pair, "read")] if setting.ablation else []
        for name, found in earned.items():
            row += [*_figures(pair, MEASURES[name].figure), *_earned_cells(found)]
        rows.append(tuple(row))
        lines += [] if is_baseline(pair.either) else [_earned_line(pair, earned)]
    caption = (
        f"Percent; {b} minus {a} in points with the {CONFIDENCE:.0%} percentile bootstrap interval over queries; "
        f"{setting.description}. p: two-sided paired randomisation test over queries, {RESAMPLES:,} resamples, not "
        f"corrected for the number of comparisons. better, worse: queries whose value is higher or lower in {b}."
    )
    table = Table(columns=tuple(columns), rows=tuple(rows), caption=caption, notes=_first_stage(setting))
    summary = _summary(lines, "differ by more than their interval")
    return Comparison(kind="accuracy", title=setting.title, summary=summary, table=table, pairs=_of_rows(setting))


def _earned(pair: Pair, measure: str) -> Found:
    """The paired difference over queries."""
    name = MEASURES[measure].series
    if why := pair.lacking(lambda one: None if one.series.get(name) else one.reason or "no value for each query"):
        return why
    before, after = (one.series[name] for one in pair.known.values())
    if [value is None for value in before] != [value is None for value in after]:
        return "not evaluated on the same queries"
    known = [[value for value in side if value is not None] for side in (before, after)]
    if len(known[0]) < 2:
        return "fewer than two queries have positives"
    found = paired_difference(*known)
    tested = {"difference": found.mean, "low": found.low, "high": found.high, "p_value": found.p_value}
    return tested | {"better": found.above, "worse": found.below, "equal": found.equal}


def _earned_cells(found: Found) -> list[Cell]:
    if isinstance(found, str):
        return [missing(found)] * 3
    low, mean, high = (points(found[name]) for name in ("low", "difference", "high"))
    counts = " / ".join(str(found[name]) for name in ("better", "worse", "equal"))
    return [Cell(NO_DIFFERENCE if _same(found) else f"{mean} [{low}, {high}]"), Cell(found["p_value"]), Cell(counts)]


def _earned_line(pair: Pair, earned: dict[str, Found]) -> _Line:
    known = {_short(name): found for name, found in earned.items() if not isinstance(found, str)}
    # Less than SAME is no difference, on either side of 0.
    clear = {title: one["difference"] for title, one in known.items() if one["low"] > SAME or one["high"] < -SAME}
    words = [f"{title} {points(difference)}" for title, difference in clear.items()]
    return _Line(pair, bool(known), all(map(_same, known.values())), words)


def _same(found: dict[str, Any]) -> bool:
    return not found["better"] and not found["worse"]


@dataclass(frozen=True)
class _Line:
    """What a pair adds to a summary. told: whether anything could be compared. words: what differs clearly."""

    pair: Pair
    told: bool
    same: bool
    words: list[str]


def _summary(lines: Sequence[_Line], what: str) -> str:
    """As in "2 of 14 re-rankers differ by more than their interval: ransac:affine (medium +1.20), ..."."""
    told = [line for line in lines if line.told]
    if not lines:
        return "no re-ranker to compare"
    if not told:
        reasons = dict.fromkeys(line.pair.apart for line in lines if line.pair.apart)
        return "nothing can be compared" + (f": {'; '.join(reasons)}" if reasons else "")
    clear = [f"{line.pair.name} ({', '.join(line.words)})" for line in told if line.words]
    more = f" and {len(clear) - NAMED} more" if len(clear) > NAMED else ""
    number = f"{len(told)} re-ranker{'s' if len(told) > 1 else ''}"
    found = f"{len(clear)} of {number} {what}" + (f": {', '.join(clear[:NAMED])}{more}" if clear else "")
    rest = f"; {len(lines) - len(told)} cannot be compared" if len(told) < len(lines) else ""
    return (f"{NO_DIFFERENCE} in {number}" if all(line.same for line in told) else found) + rest


def _first_stage(setting: Setting) -> tuple[str, ...]:
    """Whether both runs ranked the same lists, as hashes of them tell, and the accuracy of 'none'."""
    both = [pair for pair in setting.pairs if not pair.apart]
    hashes = [set(map(_lists_sha256, pair.known.values())) for pair in both]
    bases = [_earned(pair, name) for pair in both if is_baseline(pair.either) for name in setting.measures]
    known = [found for found in bases if not isinstance(found, str)]
    if any(len(found - {None}) > 1 for found in hashes) or not all(map(_same, known)):
        return (OTHER_LISTS,)
    return (UNKNOWN_LISTS,) if both and not known and all(None in found for found in hashes) else ()


def _lists_sha256(record: Record) -> str | None:
    return None if record.lists is None else record.lists.first_stage_sha256


def _cost(setting: Setting, names: Names) -> Comparison:
    a, b = names
    columns = [Column(title) for title in ("re-ranker", "inputs", "device", "dtype")]
    for title, show in (("params (M)", millions), ("GFLOP executed", significant)):
        columns += [Column(f"{title} {a}", show), Column(f"{title} {b}", show)]
        columns += [Column(f"{title.removesuffix(' (M)')} {b} − {a}", _signed)]
    columns += [*(Column(f"median (ms) {run}", significant) for run in names), Column(f"median {b} / {a}", significant)]
    columns += [*(Column(f"growth (MiB) {run}", mebibytes) for run in names), Column("scores")]
    rows = [
        (
            Cell(pair.name, _notes(pair)),
            *(_key_cell(pair, name) for name in ("inputs", "device", "dtype")),
            *(cell for name in (*EXACT, LATENCY) for cell in (*_figures(pair, name), _spent_cell(_spent(pair, name)))),
            *_figures(pair, MEMORY),
            _scores(pair),
        )
        for pair in setting.pairs
    ]
    caption = (
        f"Parameters and FLOPs are counted: {b} minus {a} is exact. Latency: medians of one process each; {b} over {a} "
        "on the same machine with as many threads, where it is more than the spread of processes: (slowest minus "
        "fastest) / median, the larger of both runs. growth: of the resident set at its peak. scores: to the bit."
    )
    others = [pair for pair in setting.pairs if not is_baseline(pair.either)]
    summary = _summary([_spent_line(pair) for pair in others], "differ in what is counted or by more than processes do")
    untimed = Counter(found for pair in others if not pair.apart and isinstance(found := _spent(pair, LATENCY), str))
    if untimed:
        summary += f"; latencies not compared: {', '.join(f'{why} ({count})' for why, count in untimed.items())}"
    table = Table(columns=tuple(columns), rows=tuple(rows), caption=caption)
    return Comparison(kind="cost", title=setting.title, summary=summary, table=table, pairs=_of_rows(setting))


def _of_rows(setting: Setting) -> tuple[tuple[Record | None, Record | None], ...]:
    return tuple(pair.records for pair in setting.pairs)


def _spent(pair: Pair, figure: str) -> Found:
    """What is counted: its difference. Latency: its ratio, and whether that is more than processes lie apart."""
    if why := pair.lacking(lambda one: one.figure(figure).reason):
        return why
    before, after = (one.figure(figure).value or 0 for one in pair.known.values())
    if figure in EXACT:
        return {"difference": after - before}
    if figure == MEMORY:
        return "memory is set side by side only"
    (machine, threads), (other, others) = map(where, pair.known.values())
    if machine != other or threads != others:
        return "another machine" if machine != other else "other threads"
    if not before or not after:
        return "a latency of 0 has no ratio"
    # The larger over the smaller: judged alike whichever run stands first.
    apart = max(before, after) / min(before, after) - 1
    spreads = [one for record in pair.known.values() if (one := record.figure("process_spread").value) is not None]
    word = UNJUDGED if not spreads else OUTSIDE if apart > max(spreads) else WITHIN
    return {"ratio": after / before, "judgement": word if apart else NO_DIFFERENCE}


def _spent_cell(found: Found) -> Cell:
    if isinstance(found, str):
        return missing(found)
    if "difference" in found:
        return Cell(found["difference"] or EQUAL)
    word = found["judgement"]
    return Cell(word) if word in (NO_DIFFERENCE, WITHIN) else Cell(found["ratio"], (f"{word}; {ONLY_CHECK}",))


def _spent_line(pair: Pair) -> _Line:
    counted = {title: _spent(pair, name) for name, title in EXACT.items()}
    changes = {title: one["difference"] for title, one in counted.items() if not isinstance(one, str)}
    words = [f"{title} {_signed(change)}" for title, change in changes.items() if change]
    timed, scores = _spent(pair, LATENCY), _scores(pair)
    judgement = None if isinstance(timed, str) else timed["judgement"]
    if not isinstance(timed, str) and judgement == OUTSIDE:
        words.append(f"latency × {significant(timed['ratio'])}")
    # Other bits that rounding explains say nothing of the re-ranker.
    if scores.value == DIFFERENT and not scores.notes:
        words.append("scores")
    same = not words and judgement in (None, NO_DIFFERENCE) and scores.value != DIFFERENT
    return _Line(pair, bool(changes) or judgement is not None, same, words)


def _scores(pair: Pair) -> Cell:
    """Whether both gave the same bits, where inputs, seed and weights are the same."""
    if why := pair.lacking(lambda one: None if one.scores_sha256 else one.reason or "no scores were kept"):
        return missing(why)
    one, two = pair.known.values()
    if one.provenance.seed != two.provenance.seed:
        return missing("another seed")
    if of_key(one, "weights") != of_key(two, "weights"):
        return missing("other weights")
    if one.scores_sha256 == two.scores_sha256:
        return Cell(EQUAL)
    alike = where(one) == where(two) and one.provenance.versions == two.provenance.versions
    return Cell(DIFFERENT, () if alike else (ROUNDING,))


def _provenance(pairs: Sequence[Pair], names: Names) -> Comparison:
    """A row for each fact that differs in a pair, or between the runs as wholes."""
    sides = [[_facts(pair.known[name]) for pair in pairs if name in pair.known] for name in names]
    both = [[_facts(one) for one in pair.known.values()] for pair in pairs if len(pair.known) == 2]
    rows = []
    for fact in dict.fromkeys(fact for side in sides for facts in side for fact in facts):
        values = [Counter(facts.get(fact, "absent") for facts in side) for side in sides]
        differ = sum(one.get(fact) != two.get(fact) for one, two in both)
        if differ or set(values[0]) != set(values[1]):
            rows.append((Cell(fact), *map(_counted, values, names), Cell(differ)))
    columns = (Column("what"), *map(Column, names), Column(f"cells that differ, of {len(both)} in both", str))
    told = ", ".join(str(row[0].value) for row in rows)
    summary = f"the runs differ in {told}" if told else f"{NO_DIFFERENCE} in code, machine, threads, seed and versions"
    table = Table(columns=columns, rows=tuple(rows), caption="Of accuracy and cost cells; (n): of how many of them.")
    return Comparison(kind="provenance", title="What the runs differ in", summary=summary, table=table)


def _facts(record: Record) -> dict[str, str]:
    found, short = record.provenance, provenance.SHORT_HASH
    commit = f"{found.commit[:short]}{'+dirty' if found.dirty else ''}" if found.commit else "no git checkout"
    return {
        "commit": commit,
        "project version": found.project_version,
        "code sha256": found.code_sha256[:short],
        "machine": f"{found.machine.get('cpu') or 'unknown processor'}, fingerprint {found.fingerprint[:short]}",
        "threads": str(found.threads),
        "seed": str(found.seed),
    } | {f"version of {package}": version for package, version in found.versions.items()}


def _counted(values: Counter[str], name: str) -> Cell:
    said = [value if len(values) == 1 else f"{value} ({count})" for value, count in sorted(values.items())]
    return Cell("; ".join(said)) if said else missing(f"nothing in {name}")


def _sheet_row(pair: Pair, figure: str, found: Found) -> tuple[Cell, ...]:
    def own(record: Record | None, name: str) -> list[Cell]:
        if record is None:
            return [Cell(name), *([missing(pair.apart)] * len(_SIDE))]
        fields = record.provenance.model_dump() | record.key.model_dump() | {"status": record.status}
        return [Cell(name), *(_cell(fields.get(field)) for field in _SIDE)]

    why = found if isinstance(found, str) else f"not told of {figure}"
    values = {} if isinstance(found, str) else found
    return (
        Cell(pair.either.key.kind),
        *(_key_cell(pair, name) for name in _KEY),
        Cell(figure),
        *_figures(pair, figure),
        *(Cell(values[name]) if name in values else missing(why) for name in _FOUND),
        _scores(pair),
        Cell("; ".join(_notes(pair))),
        *(cell for record, name in zip(pair.records, pair.names, strict=True) for cell in own(record, name)),
    )


def _figures(pair: Pair, name: str) -> list[Cell]:
    """Of the first run and of the second."""
    known = [one if pair.shown else None for one in pair.records]
    return [missing(pair.apart) if one is None else figure_cell(one.figure(name)) for one in known]


def _weights(pair: Pair) -> Cell:
    found = {name: str(of_key(one, "weights")) for name, one in pair.known.items()}
    if len(set(found.values())) == 1:
        return Cell(next(iter(found.values())))
    return Cell(DIFFERENT, ("other weights: " + ", ".join(f"{weights} in {name}" for name, weights in found.items()),))


def _notes(pair: Pair) -> tuple[str, ...]:
    """Of both; what only one run says with its name."""
    said = {name: [*one.notes, *([] if trained(one) else [UNTRAINED])] for name, one in pair.known.items()}
    notes = dict.fromkeys(note for own in said.values() for note in own)
    holders = {note: [name for name, own in said.items() if note in own] for note in notes}
    return tuple(note if len(names) == len(said) else f"{names[0]}: {note}" for note, names in holders.items())


def _key_cell(pair: Pair, name: str) -> Cell:
    return _cell(of_key(pair.either, name))


def _cell(value: Any) -> Cell:
    return missing(UNRECORDED) if value is None else Cell(value)


def _short(measure: str) -> str:
    """`medium` for mAP medium."""
    return PROTOCOLS.get(measure, MEASURES[measure].title)


def _signed(value: float) -> str:
    """A whole number to its last digit: +20,255."""
    text = f"{value:,}" if isinstance(value, int) else significant(value)
    return f"+{text}" if value > 0 else text
