"""Which cells of two runs are the same: rows of two folders of records, paired.

A cell of one run that could be any of several of the other is paired with none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.reporting import provenance
from bench.reporting.accuracy import Group, groups, standing
from bench.reporting.queries import is_baseline, measures_of
from bench.results.record import CostKey, Record

T = TypeVar("T")
Names = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """One cell in both runs; None where a run lacks it.

    apart: why nothing of the two may be compared, or "". shown: whether either's own figures may be in the table.
    """

    records: tuple[Record | None, Record | None]
    names: Names
    apart: str
    shown: bool

    @property
    def known(self) -> dict[str, Record]:
        return {name: one for name, one in zip(self.names, self.records, strict=True) if one is not None}

    @property
    def either(self) -> Record:
        return next(iter(self.known.values()))

    @property
    def name(self) -> str:
        """Called untrained only where every run's is."""
        found = {provenance.label(one) for one in self.known.values()}
        return found.pop() if len(found) == 1 else self.either.key.reranker

    def lacking(self, why: Callable[[Record], str | None]) -> str:
        """Why the two cannot be compared, be it a reason that `why` gives for one of them; "" where they can."""
        reasons = {name: reason for name, one in self.known.items() if (reason := why(one))}
        if len(reasons) == 2 and len(set(reasons.values())) == 1:
            return self.apart or next(iter(reasons.values()))
        return self.apart or "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


@dataclass(frozen=True)
class Setting:
    """Pairs that may stand in one table."""

    title: str
    pairs: tuple[Pair, ...]
    description: str = ""
    ablation: bool = False

    @property
    def own(self) -> list[Pair]:
        """Without the first stage where another setting has it already."""
        return [pair for pair in self.pairs if not (self.ablation and is_baseline(pair.either))]

    @property
    def measures(self) -> list[str]:
        return measures_of(one for pair in self.pairs for one in pair.known.values())


def accuracy_settings(first: Sequence[Record], second: Sequence[Record], names: Names) -> list[Setting]:
    def but_hash(one: Group) -> tuple[str, str, int, str, bool]:
        return one.dataset, one.descriptors, one.shortlist, one.policy, one.ablation

    def but_weights(one: Record) -> tuple[str, int | None]:
        return one.key.reranker, of_key(one, "read")

    found = []
    for ours, theirs in _joined(
        groups(first), groups(second), lambda one: (but_hash(one), one.dataset_sha256), but_hash
    ):
        known = {name: group for name, group in zip(names, (ours, theirs), strict=True) if group is not None}
        either, hashes = next(iter(known.values())), {group.dataset_sha256 for group in known.values()}
        short = (f"{group.dataset_sha256[: provenance.SHORT_HASH]} in {name}" for name, group in known.items())
        apart = f"another data set of this name: sha256 {', '.join(short)}" if len(hashes) > 1 else ""
        sides = (() if ours is None else ours.records), (() if theirs is None else theirs.records)
        pairs = _paired(sides, names, lambda one: (but_weights(one), of_key(one, "weights")), but_weights, apart)
        setting = Setting(either.title, pairs, apart or either.description, either.ablation)
        found.append((but_hash(either), min(hashes), setting))
    return [setting for *_, setting in sorted(found, key=lambda one: one[:2])]


def cost_settings(first: Sequence[Record], second: Sequence[Record], names: Names) -> list[Setting]:
    """By number of candidates; where a run has several machines, the same one is meant."""
    ours, theirs = ([one for one in side if isinstance(one.key, CostKey)] for side in (first, second))
    found: dict[int, list[Pair]] = {}
    for pair in _paired((ours, theirs), names, lambda one: (one.key, *where(one)), lambda one: one.key):
        found.setdefault(of_key(pair.either, "candidates"), []).append(pair)
    return [Setting(f"Cost per {number} candidates", tuple(found[number])) for number in sorted(found)]


def _paired(
    sides: tuple[Sequence[Record], Sequence[Record]],
    names: Names,
    strict: Callable[[Record], Hashable],
    loose: Callable[[Record], Hashable],
    apart: str = "",
) -> tuple[Pair, ...]:
    """In the report's order. apart: why none of them may be compared."""

    def absent(record: Record | None, side: int) -> str:
        alike = sum(record is not None and loose(other) == loose(record) for other in sides[side])
        return f"{names[side]} has {alike} like it: which is meant is not known" if alike else f"not in {names[side]}"

    pairs = []
    for one, two in _joined(*sides, strict, loose):
        why = absent(two, 0) if one is None else absent(one, 1) if two is None else ""
        pairs.append(Pair((one, two), names, apart or why, shown=not apart))
    return tuple(sorted(pairs, key=lambda pair: min(map(standing, pair.known.values()))))


def _joined(
    first: Sequence[T], second: Sequence[T], *levels: Callable[[T], Hashable]
) -> list[tuple[T | None, T | None]]:
    """Joins what shares the first key, then of the rest what shares the next; only where no other could be meant."""
    found: list[tuple[T | None, T | None]] = []
    for level in levels:
        ours, theirs = (Counter(map(level, side)) for side in (first, second))
        twins = {level(two): two for two in second if ours[level(two)] == theirs[level(two)] == 1}
        found += [(one, twins[level(one)]) for one in first if level(one) in twins]
        first, second = ([one for one in side if level(one) not in twins] for side in (first, second))
    return [*found, *((one, None) for one in first), *((None, two) for two in second)]


def where(record: Record) -> tuple[str, int]:
    return record.provenance.fingerprint, record.provenance.threads


def of_key(record: Record, name: str) -> Any:
    return getattr(record.key, name, None)
