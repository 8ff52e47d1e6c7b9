"""What a machine shows when nothing differs, and how often planted changes were noticed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.reporting import provenance
from bench.reporting.numbers import count, significant
from bench.reporting.tables import Cell, Column, Table, escaped, figure_cell, missing
from bench.results.record import Figure, NoiseKey, PowerKey, Record


def share(value: float) -> str:
    """A share of 1 in percent, for people: 9.3 %, 12 %, 120 %."""
    return f"{significant(100 * value, 2)} %"


def rate(value: float) -> str:
    """A share of comparisons in percent, to a tenth: 0.5 %, 99.5 %."""
    return f"{100 * value:.1f} %"


#: Name in a record -> heading.
NOISE = {
    "spread": Column("one duel's spread", share),
    "threshold": Column("threshold", share),
    "visible": Column("smallest slowdown seen", share),
    "stored_threshold": Column("stored threshold", share),
    "memory_threshold": Column("memory threshold", share),
    "samples": Column("duels", count),
}
NOISE_FIGURES = (*NOISE, "confirmed_threshold", "stored_visible", "freedom")
POWER_FIGURES = ("comparisons", "detected", "rate", "rate_low", "rate_high")
#: What is planted where nothing is: what is detected then is a false alarm.
NOTHING = "nothing"
_SLOWER = re.compile(r"slower by ([\d.]+) ?%")
_HOW = {"added": "added to samples", "run": "changed code ran"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Noise and power records of one machine, threads, device, number of candidates and of duels in a comparison."""

    fingerprint: str
    threads: int
    device: str
    candidates: int
    duels: int
    noise: tuple[Record, ...]
    power: tuple[Record, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return (*self.noise, *self.power)

    @property
    def title(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        cpu = self.records[0].provenance.machine.get("cpu") or "unknown processor"
        return (
            f"Noise of {cpu}, machine {self.fingerprint[:12]}, {threads}: {self.device}, "
            f"{self.candidates} candidates, comparisons of {self.duels} duels"
        )

    @property
    def stem(self) -> str:
        """A file name part of its own."""
        where = f"{self.fingerprint[:12]}-{self.threads}-threads-{self.device}"
        return re.sub(r"[^A-Za-z0-9-]+", "-", f"{where}-{self.candidates}-candidates-{self.duels}-duels")


def sections(records: Iterable[Record]) -> list[Section]:
    """Noise and power records by machine, threads, device, candidates and duels; re-rankers by name, false alarms
    before planted changes."""
    found: dict[tuple[str, int, str, int, int], list[Record]] = {}
    for record in records:
        if isinstance(key := record.key, NoiseKey | PowerKey):
            place = record.provenance.fingerprint, record.provenance.threads, key.device, key.candidates, key.duels
            found.setdefault(place, []).append(record)
    return [
        Section(
            fingerprint=place[0],
            threads=place[1],
            device=place[2],
            candidates=place[3],
            duels=place[4],
            noise=tuple(sorted((one for one in rows if isinstance(one.key, NoiseKey)), key=_by_name)),
            power=tuple(sorted((one for one in rows if isinstance(one.key, PowerKey)), key=_by_planted)),
        )
        for place, rows in sorted(found.items())
    ]


def parts(section: Section) -> list[str]:
    """Markdown of a section, without title and pictures: what can be seen, both tables, where it comes from."""
    shown = []
    if section.noise:
        shown += [f"{escaped(seen(section))}\n", noise_table(section).markdown()]
    if section.power:
        shown.append(f"#### Planted changes\n\n{power_table(section).markdown()}")
    return [*shown, provenance.block(_told_apart(section))]


def seen(section: Section) -> str:
    """One sentence: the smallest slowdown that this machine can see, for half of the re-rankers and for all."""
    known = sorted((value, name) for name, value in visible(section).items())
    if not known:
        return "Nothing is known of the slowdowns that this machine can see: no calibration has finished."
    middle, (worst, hardest) = median(value for value, _ in known), known[-1]
    called = f"in a comparison of {section.duels} duels it is found at least 95 times in 100"
    if len(known) == 1:
        return f"This machine can see a slowdown of {share(worst)}: of {hardest}, {called}."
    return (
        f"This machine can see a slowdown of {share(middle)}: {called}, for half of the {len(known)} re-rankers. "
        f"The hardest to see is that of {hardest}, which takes {share(worst)}."
    )


def visible(section: Section) -> dict[str, float]:
    """The smallest slowdown seen (ratio - 1) of every re-ranker that has one."""
    named = zip(names(section.noise), section.noise, strict=True)
    return {name: value for name, one in named if (value := one.figure("visible").value) is not None}


def noise_table(section: Section) -> Table:
    """A row for each re-ranker."""
    k = section.duels
    caption = (
        "From duels of identical code: two fresh processes, working in turn; what they differ by is noise. One duel's "
        "spread: two duels in three differ by less. Threshold: identical code exceeds it in less than 1 of 200 "
        f"comparisons, a comparison being the median of {k} duels; one that does is repeated, and is called slower "
        f"only if all {2 * k} duels together exceed theirs too. Smallest slowdown seen: one of this size is called "
        "slower in 95 of 100 comparisons, the repetition included. Stored threshold: against a baseline of another "
        "day, where the two sides did not work in turn: the furthest that any two processes lay apart. Memory "
        f"threshold: the medians of {k} and {k} peaks of identical processes lie further apart in less than 1 of 200 "
        "cases, at least 2 %. Duels: how many of identical code this was learnt from."
    )
    return Table(
        columns=(Column("re-ranker"), *NOISE.values()),
        rows=tuple(
            (Cell(name, tuple(record.notes)), *(figure_cell(record.figure(figure)) for figure in NOISE))
            for name, record in zip(names(section.noise), section.noise, strict=True)
        ),
        caption=caption,
    )


def power_table(section: Section) -> Table:
    """A row for each planted change, what was not planted first."""
    caption = (
        "Detected: comparisons that were called a regression, the repetition included. Where nothing was planted these "
        f"are false alarms. A comparison is {section.duels} duels of one re-ranker. Rate: with the 95 % interval of "
        "Clopper and Pearson, which takes comparisons as independent. Changed code ran: one side was made slower, "
        "larger or wrong before it was measured; added to samples: the slowdown was multiplied into one side of duels "
        "of identical code, which allows for many more comparisons."
    )
    numbers = {"comparisons": Column("comparisons", count), "detected": Column("detected", count)}
    return Table(
        columns=(Column("planted"), Column("how"), *numbers.values(), Column("rate", rate), Column("95 % interval")),
        rows=tuple(
            (
                Cell(_key(record).planted, tuple(record.notes)),
                Cell(_HOW.get(_key(record).how, _key(record).how)),
                *(figure_cell(record.figure(name)) for name in (*numbers, "rate")),
                _interval(record.figures, record.figure("rate")),
            )
            for record in section.power
        ),
        caption=caption,
    )


def noise_sheet(records: Iterable[Record]) -> Table:
    """Every noise record in full precision, a row each; spread as a log ratio, thresholds as shares of 1."""
    head = ("reranker", "device", "dtype", "candidates", "inputs", "duels")
    rows = [record for section in sections(records) for record in section.noise]
    return _sheet(head, NOISE_FIGURES, rows)


def power_sheet(records: Iterable[Record]) -> Table:
    """Every power record in full precision, a row each; rates as shares of 1."""
    head = ("planted", "how", "reranker", "device", "candidates", "duels")
    rows = [record for section in sections(records) for record in section.power]
    return _sheet(head, POWER_FIGURES, rows)


def slowdown(record: Record) -> float | None:
    """The planted slowdown of a power record (ratio - 1), 0 for nothing; None where something else was planted."""
    planted = _key(record).planted
    if planted == NOTHING:
        return 0.0
    found = _SLOWER.fullmatch(planted)
    return float(found[1]) / 100 if found else None


def names(noise: Sequence[Record]) -> list[str]:
    """Distinct names of noise records: with number type and inputs where the re-ranker alone would stand twice."""
    plain = [record.key.reranker for record in noise]
    return [
        f"{name} [{record.key.dtype}, {record.key.inputs}]"
        if plain.count(name) > 1 and isinstance(record.key, NoiseKey)
        else name
        for name, record in zip(plain, noise, strict=True)
    ]


def _sheet(head: Sequence[str], figures: Sequence[str], records: Iterable[Record]) -> Table:
    return provenance.sheet(
        head, figures, [(record, [figure_cell(record.figure(name)) for name in figures]) for record in records]
    )


def _told_apart(section: Section) -> list[Record]:
    """The records under the names that their rows have."""
    planted = [f"{_key(record).planted} ({_HOW.get(_key(record).how, _key(record).how)})" for record in section.power]
    return [
        record.model_copy(update={"key": record.key.model_copy(update={"reranker": name})})
        for name, record in zip([*names(section.noise), *planted], section.records, strict=True)
    ]


def _interval(figures: Mapping[str, Figure], found: Figure) -> Cell:
    low, high = (figures[name].value if name in figures else None for name in ("rate_low", "rate_high"))
    if low is None or high is None:
        return missing(found.reason or "not measured")
    return Cell(f"{100 * low:.1f} to {100 * high:.1f} %")


def _key(record: Record) -> PowerKey:
    assert isinstance(record.key, PowerKey)
    return record.key


def _by_name(record: Record) -> tuple[str, str, str]:
    assert isinstance(record.key, NoiseKey)
    return record.key.reranker, record.key.dtype, record.key.inputs


def _by_planted(record: Record) -> tuple[bool, float, str, str, str]:
    """Nothing, then slowdowns by size, then the rest."""
    key, size = _key(record), slowdown(record)
    return size is None, size or 0.0, key.planted, key.how, key.reranker
