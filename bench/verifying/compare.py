"""A stored row against what this code finds now: which of code, weights, features, candidates, scores, figures agree.

On the same machine with the same versions every bit counts; elsewhere figures do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Literal

from bench.reporting.tables import Cell, Column, Table
from bench.results import ChurnKey, CostKey, Record

Word = Literal["agrees", "differs", "cannot tell"]

#: How far figures of another machine, or of other versions, may lie apart: of the figure, or of 1 where it is smaller.
TOLERANCE = 1e-6
#: Figures of a cost record that no clock decides; the name, or how it begins.
COUNTED = ("parameters", "bytes_least", "bytes_touched", "gflops_")
#: Figures of a cost record that say how the row was taken, not what the re-ranker costs.
HOUSEKEEPING = ("calls_s", "harness_s", "noisy", "steal_share", "switches_per_cpu_s", "process_spread")
#: How the names of other records' times end.
TIMES = ("_seconds", "_ms", "_s")
#: Aspects whose difference means that the row does not hold; the others explain one.
DECISIVE = ("outcome", "data set", "weights", "features", "candidates", "scores", "figures", "audit")
SHORT_HASH = 12
NOTHING = "–"
#: Names in a sentence before it says how many more there are.
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Aspect:
    """One aspect of a row, as recorded and as found now. why: of a difference, or of why nothing can be told."""

    name: str
    recorded: str
    now: str
    word: Word
    why: str = ""


def aspects(recorded: Record, now: Record) -> list[Aspect]:
    """Everything that two records of one cell can be compared by, what explains a difference first."""
    same = same_place(recorded, now)
    scores = _scores(recorded, now, same=same)
    found = [_code(recorded, now), _machine(recorded, now), _versions(recorded, now), _outcome(recorded, now)]
    found += [*_inputs(recorded, now, proved=scores.word == "agrees"), scores, _figures(recorded, now, same=same)]
    return found


def holds(found: Sequence[Aspect]) -> bool:
    """Whether nothing that decides about the row differs where it should not."""
    elsewhere = any(one.name in ("machine", "versions") and one.word == "differs" for one in found)
    excused = ("scores",) if elsewhere else ()
    return not any(one.word == "differs" and one.name in DECISIVE and one.name not in excused for one in found)


def same_place(recorded: Record, now: Record) -> bool:
    """Whether both were run with the same versions and threads on machines of one fingerprint."""
    before, after = recorded.provenance, now.provenance
    return all(getattr(before, name) == getattr(after, name) for name in ("fingerprint", "versions", "threads"))


def table(found: Sequence[Aspect], caption: str = "") -> Table:
    """An aspect a row."""
    return Table(
        columns=tuple(map(Column, ("aspect", "recorded", "now", "verdict"))),
        rows=tuple(
            (Cell(one.name), Cell(one.recorded), Cell(one.now), Cell(f"{one.word}: {one.why}" if one.why else one.word))
            for one in found
        ),
        caption=caption,
    )


def times(recorded: Record, now: Record) -> list[Aspect]:
    """Ratios of what a clock or a memory counter measured: for the reader, no verdict."""
    found = []
    for name, before in recorded.figures.items():
        after = now.figures.get(name)
        if _is_exact(recorded, name) or name in HOUSEKEEPING or not before.value or after is None or not after.value:
            continue
        why = f"a measurement: {after.value / before.value:.3g} times the recorded figure"
        shown = (f"{value:.6g}" for value in (before.value, after.value))
        found.append(Aspect(name=name, recorded=next(shown), now=next(shown), word="cannot tell", why=why))
    return found


def _code(recorded: Record, now: Record) -> Aspect:
    before, after = recorded.provenance, now.provenance
    texts = []
    for one in (before, after):
        commit = "no commit" if one.commit is None else one.commit[:7] + ("+dirty" if one.dirty else "")
        texts.append(f"sha256 {one.code_sha256[:SHORT_HASH]} ({commit})")
    same = before.code_sha256 == after.code_sha256
    return _aspect("code", *texts, same=same, why="scores and figures tell whether that matters")


def _machine(recorded: Record, now: Record) -> Aspect:
    texts = [f"{one.provenance.fingerprint[:SHORT_HASH]}, threads {one.provenance.threads}" for one in (recorded, now)]
    return _aspect("machine", *texts, same=texts[0] == texts[1], why="another processor rounds otherwise")


def _versions(recorded: Record, now: Record) -> Aspect:
    before, after = recorded.provenance.versions, now.provenance.versions
    apart = [name for name in before | after if before.get(name) != after.get(name)]
    texts = [_listed([f"{name} {side.get(name, 'absent')}" for name in apart]) for side in (before, after)]
    if not apart:
        texts = [f"{len(before)} packages"] * 2
    return _aspect("versions", *texts, same=not apart, why="other libraries round otherwise")


def _outcome(recorded: Record, now: Record) -> Aspect:
    texts = [one.status if one.reason is None else f"{one.status}: {one.reason}" for one in (recorded, now)]
    return _aspect("outcome", *texts, same=recorded.status == now.status, why="the cell ended otherwise")


def _inputs(recorded: Record, now: Record, *, proved: bool) -> Iterator[Aspect]:
    """What went in. proved: scores of the same bits show that it was the same, where no hash of it was kept."""
    before, after = (one.key.model_dump() for one in (recorded, now))
    if "dataset_sha256" in before:
        fields = ("dataset_sha256", "validation_sha256")
        hashes = [[str(key[name]) for name in fields if name in key] for key in (before, after)]
        texts = ["sha256 " + ", ".join(one[:SHORT_HASH] for one in side) for side in hashes]
        yield _aspect("data set", *texts, same=hashes[0] == hashes[1], why="the row is of other queries or labels")
    if "weights" in before:
        texts = [str(key["weights"]) for key in (before, after)]
        yield _aspect("weights", *texts, same=texts[0] == texts[1], why="the row is of other weights")
    else:
        seeds = [f"seed {one.provenance.seed}" for one in (recorded, now)]
        yield _unhashed("weights", *seeds, proved=proved)
    described = [str(key.get("descriptors") or key.get("inputs")) for key in (before, after)]
    yield _unhashed("features", *described, proved=proved)
    yield _candidates(recorded, now, proved=proved)


def _candidates(recorded: Record, now: Record, *, proved: bool) -> Aspect:
    """First-stage lists: how many positives of every query they hold, where the record says so."""
    names = [name for name in recorded.series if name.startswith("positives_in_shortlist")]
    if not names:
        key = recorded.key.model_dump()
        shown = f"{key['candidates']} drawn" if "candidates" in key else f"the first {key.get('shortlist')}"
        return _unhashed("candidates", shown, shown, proved=proved)
    counts = [[one.series.get(name, []) for name in names] for one in (recorded, now)]
    if not any(counts[1]):
        return _untold("candidates", f"{_total(counts[0])} positives", NOTHING, now.reason or "no lists now")
    texts = [f"{_total(side)} positives" for side in counts]
    why = f"other numbers of positives for {_apart(*counts)} queries"
    return _aspect("candidates", *texts, same=counts[0] == counts[1], why=why)


def _scores(recorded: Record, now: Record, *, same: bool) -> Aspect:
    hashes = [one.scores_sha256 for one in (recorded, now)]
    texts = [NOTHING if one is None else f"sha256 {one[:SHORT_HASH]}" for one in hashes]
    if None in hashes:
        reason = "the row has no hash of scores" if hashes[0] is None else now.reason or "no scores now"
        return _untold("scores", texts[0], texts[1], reason)
    why = "the same machine and versions give other bits" if same else "other machine, threads or versions"
    return _aspect("scores", *texts, same=hashes[0] == hashes[1], why=why)


def _figures(recorded: Record, now: Record, *, same: bool) -> Aspect:
    """Every number that no clock decides, of figures and series."""
    wanted, found = (dict(_numbers(one)) for one in (recorded, now))
    claimed = {name: value for name, value in wanted.items() if value is not None}
    if not claimed or now.status != "ok":
        return _untold("figures", _counted(len(claimed)), NOTHING, now.reason or recorded.reason or "none are kept")
    gone = [name for name in claimed if found.get(name) is None]
    apart = {name: _deviation(value, found[name]) for name, value in claimed.items() if name not in gone}
    apart = {name: by for name, by in apart.items() if by > (0 if same else TOLERANCE)}
    apart |= {
        name: inf for name in wanted.keys() - claimed.keys() if name.endswith("]") and found.get(name) is not None
    }
    texts = _counted(len(claimed)), _counted(len(claimed) - len(gone))
    if apart:
        worst = max(apart, key=lambda name: apart[name])
        why = f"{_counted(len(apart))} off by more than {0 if same else TOLERANCE:g}, {worst} most of all: "
        why += f"{wanted[worst]!r} recorded, {found[worst]!r} now"
        if isinstance(recorded.key, ChurnKey) and not same:
            return _untold("figures", *texts, f"what rounding does depends on the machine; {why}")
        return _aspect("figures", *texts, same=False, why=why)
    if gone and same:
        return _aspect("figures", *texts, same=False, why=f"no longer found: {_listed(gone)}")
    rest = f"; not found here: {_listed(gone)}" if gone else ""
    return Aspect(
        name="figures",
        recorded=texts[0],
        now=texts[1],
        word="agrees",
        why=("exactly" if same else f"within {TOLERANCE:g}") + rest,
    )


def _numbers(record: Record) -> Iterator[tuple[str, float | int | None]]:
    """By name, an entry of a series as NAME[PLACE]; None for what has a reason or does not count."""
    for name, figure in record.figures.items():
        if _is_exact(record, name):
            yield name, figure.value
    for name, values in record.series.items():
        if _is_exact(record, name):
            yield f"{name} (length)", len(values)
            yield from ((f"{name}[{place}]", value) for place, value in enumerate(values))


def _is_exact(record: Record, name: str) -> bool:
    """Whether a figure or a series has nothing to do with clocks and memory."""
    if isinstance(record.key, CostKey):
        return name.startswith(COUNTED)
    return not name.endswith(TIMES)


def _deviation(before: float, after: float | None) -> float:
    """Share of the larger of both, or of 1."""
    if after is None:
        return inf
    return abs(after - before) / max(abs(before), abs(after), 1.0)


def _aspect(name: str, recorded: str, now: str, *, same: bool, why: str) -> Aspect:
    word: Word = "agrees" if same else "differs"
    return Aspect(name=name, recorded=recorded, now=now, word=word, why="" if same else why)


def _untold(name: str, recorded: str, now: str, why: str) -> Aspect:
    return Aspect(name=name, recorded=recorded, now=now, word="cannot tell", why=why)


def _unhashed(name: str, recorded: str, now: str, *, proved: bool) -> Aspect:
    """Of what the record describes and keeps no hash of."""
    if recorded != now:
        return _aspect(name, recorded, now, same=False, why=f"the row is of other {name}")
    if proved:
        return Aspect(
            name=name,
            recorded=recorded,
            now=now,
            word="agrees",
            why="what is read of them gave scores of the same bits",
        )
    return _untold(name, recorded, now, "described alike, but the record keeps no hash of them")


def _total(series: Sequence[Sequence[float | int | None]]) -> int:
    return int(sum(value or 0 for value in chain(*series)))


def _apart(before: Sequence[Sequence[object]], after: Sequence[Sequence[object]]) -> int:
    """How many entries differ, those of series of other lengths all."""
    return sum(
        sum(one != other for one, other in zip(left, right, strict=True)) if len(left) == len(right) else len(left)
        for left, right in zip(before, after, strict=True)
    )


def _counted(count: int) -> str:
    return "1 number" if count == 1 else f"{count:,} numbers"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
