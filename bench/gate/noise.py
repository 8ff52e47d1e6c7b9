"""What of a difference is noise: A/A duels in, thresholds and the smallest slowdown that is seen out.

A paired comparison is the median of a few duels' log ratios, which lie around 0 where nothing differs. Over its
threshold it is repeated, and counts only if all duels together exceed theirs. Of a stored comparison: see
`_against_another_day`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields

import numpy as np
import scipy

from bench.errors import BenchError
from bench.gate import tails
from bench.gate.tails import Array
from bench.results import Figure, NoiseKey, Record

#: How often identical code may exceed the threshold of one comparison; confirmation makes it rarer still.
FALSE_ALARMS = 0.005
#: What the thresholds of a comparison and of a confirmed one are set for, either by itself: less, since a machine is
#: always a little worse than the model of it.
_LOOKS = (0.004, 0.004)
#: How often a slowdown is found that counts as visible.
SEEN = 0.95
CONFIDENCE = 0.95
#: No timing threshold is below, whatever calm the calibration showed; nor of memory.
FLOOR, MEMORY_FLOOR = 0.01, 0.02
#: Growth by less is never worse: bench.gate.limits.
LEAST_BYTES = 1 << 20
#: Fewer A/A duels say nothing of their spread.
LEAST_DUELS = 4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Head over base from some duels, with a 95 % interval."""

    ratio: float
    low: float
    high: float
    duels: int


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A/A duels of one re-ranker, an entry a duel: either side's median, and log(head / base). memory_bytes: peak over
    baseline, an entry a process, empty where the system does not say."""

    base_ms: tuple[float, ...]
    head_ms: tuple[float, ...]
    log_ratios: tuple[float, ...]
    memory_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CellNoise:
    """What one machine shows of one re-ranker when nothing differs. Thresholds and visible slowdowns are ratios - 1.

    samples: A/A duels seen. duels: what one comparison takes. spread: two log ratios in three lie within it around 0.
    visible: found in 95 % of comparisons, confirmation included. stored_*: for a baseline of another day.
    confirmed_threshold: of twice as many duels; None: as Student's t says. freedom: of that t; the smaller, the more
    often a duel is far off.
    """

    reranker: str
    samples: int
    duels: int
    spread: float
    threshold: float
    visible: float
    stored_threshold: float
    stored_visible: float
    memory_threshold: float
    confirmed_threshold: float | None = None
    freedom: float = 4.0


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How many comparisons called a planted slowdown (ratio - 1; 0: a false alarm)."""

    planted: float
    comparisons: int
    detected: int

    @property
    def rate(self) -> float:
        return self.detected / self.comparisons

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's, 95 %. It takes comparisons as independent; those that share duels are less so."""
        found = scipy.stats.binomtest(self.detected, self.comparisons).proportion_ci(CONFIDENCE, method="exact")
        return float(found.low), float(found.high)


def turn_ratio(base: Sequence[float], head: Sequence[float]) -> float:
    """log(head / base) of one round: the median over its pairs of turns, which lie side by side in time.

    Raises ValueError for no turn, or a turn without its other side.
    """
    if not base:
        raise ValueError("a round has at least one turn")
    return float(np.median([math.log(after / before) for before, after in zip(base, head, strict=True)]))


def estimate(log_ratios: Sequence[float]) -> Estimate:
    """The ratio that several duels give: exp of their median.

    The interval is t with one degree of freedom less than duels, around the median, with the standard error
    sqrt(pi / 2) * s / sqrt(k) of a median, s the root mean square distance from it. A duel far off widens it and moves
    the ratio little. One duel alone bounds nothing: 0 to infinity. Raises ValueError for none.
    """
    values = np.asarray(log_ratios, dtype=np.float64)
    count = len(values)
    if not count:
        raise ValueError("an estimate takes at least one duel")
    middle = float(np.median(values))
    if count == 1:
        return Estimate(ratio=math.exp(middle), low=0.0, high=math.inf, duels=count)
    error = math.sqrt(math.pi / 2 * float(((values - middle) ** 2).sum()) / (count - 1) / count)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Estimate(ratio=math.exp(middle), low=math.exp(middle - reach), high=math.exp(middle + reach), duels=count)


def calibrate(observed: Mapping[str, Observed], *, duels: int) -> dict[str, CellNoise]:
    """The noise of each re-ranker, from A/A duels in the order they were run, for comparisons of `duels` duels.

    The tail is judged from all re-rankers together, and so is whether the machine wanders: where consecutive duels
    agree more than chance explains, thresholds are wider. Raises BenchError for fewer than 4 duels of one.
    """
    _enough(observed)
    ratios = {name: np.asarray(seen.log_ratios, dtype=np.float64) for name, seen in observed.items()}
    if not ratios:
        return {}
    tail = tails.tail_of(list(ratios.values()))
    scales = {name: float(tails.scale_of(values, tail.freedom)) for name, values in ratios.items()}
    standard = [values / scales[name] for name, values in ratios.items()]
    wider = max(tails.wander(standard, duels), tails.wander(standard, 2 * duels))
    medians = {size: tails.medians(tail, size, 2 * duels) for size in {len(values) for values in ratios.values()}}
    return {
        name: CellNoise(
            reranker=name,
            samples=len(ratios[name]),
            duels=duels,
            spread=scale * float(scipy.stats.t.ppf(scipy.stats.norm.cdf(1), tail.freedom)),
            memory_threshold=_memory(observed[name].memory_bytes, duels),
            freedom=tail.freedom,
            **_paired(wider * scale, medians[len(ratios[name])]),
            **_against_another_day(observed[name]),
        )
        for name, scale in scales.items()
    }


def threshold_of(noise: CellNoise, duels: int) -> float:
    """The threshold (ratio - 1) of a comparison of another number of duels, such as all 2k of a confirmed one."""
    if duels == noise.duels:
        return noise.threshold
    if duels == 2 * noise.duels and noise.confirmed_threshold is not None:
        return noise.confirmed_threshold
    asked, known = (tails.limit(noise.freedom, noise.samples, count, _LOOKS[0]) for count in (duels, noise.duels))
    return max(FLOOR, math.expm1(math.log1p(noise.threshold) * asked / known))


def slower(log_ratios: Sequence[float] | Array, noise: CellNoise) -> bool:
    """Whether duels exceed the threshold of as many."""
    return float(np.median(log_ratios)) > math.log1p(threshold_of(noise, len(log_ratios)))


def power(
    observed: Mapping[str, Observed], noise: Mapping[str, CellNoise], *, duels: int, planted: Sequence[float]
) -> list[Detection]:
    """How often slowdowns (ratio - 1, added to the head's side of A/A duels) are called.

    A comparison is a group of `duels` consecutive duels of one re-ranker; the next group confirms it, the first one the
    last. Only duels that `noise` was not calibrated with say how often identical code is called slower.
    Raises BenchError for fewer than two groups.
    """
    pairs = [
        (noise[name], np.asarray(group), np.asarray(after))
        for name, seen in observed.items()
        for group, after in _groups(name, seen.log_ratios, duels)
    ]

    def detected(shift: float) -> int:
        return sum(
            slower(group + shift, known) and slower(np.concatenate([group, after]) + shift, known)
            for known, group, after in pairs
        )

    return [Detection(planted=share, comparisons=len(pairs), detected=detected(math.log1p(share))) for share in planted]


def noise_figures(noise: CellNoise) -> dict[str, Figure]:
    """The figures of a noise record; duels and re-ranker are in its key."""
    values = {one.name: getattr(noise, one.name) for one in fields(noise) if one.name not in ("reranker", "duels")}
    if noise.confirmed_threshold is None:
        values["confirmed_threshold"] = threshold_of(noise, 2 * noise.duels)
    return {name: Figure(value=value) for name, value in values.items()}


def noise_series(seen: Observed) -> dict[str, list[float | int | None]]:
    """The series of a noise record."""
    return {one.name: list(getattr(seen, one.name)) for one in fields(seen)}


def cell_noise(record: Record) -> CellNoise:
    """The noise that a record holds. Raises BenchError for one of another kind, or without its figures."""
    key = _noise_key(record)
    values: dict[str, float] = {}
    for one in fields(CellNoise):
        figure = record.figure(one.name)
        if figure.value is not None:
            values[one.name] = float(figure.value)
        elif one.name not in ("reranker", "duels") and one.default is MISSING:
            raise _useless(record, f"has no {one.name}: {figure.reason}")
    samples = int(values.pop("samples"))
    return CellNoise(reranker=key.reranker, duels=key.duels, samples=samples, **values)


def observed_of(record: Record) -> Observed:
    """The duels that a noise record holds. Raises BenchError for one of another kind, or without them."""
    _noise_key(record)
    times = ("base_ms", "head_ms", "log_ratios")
    if lacking := [name for name in times if not record.series.get(name)]:
        raise _useless(record, f"has no {', '.join(lacking)}")
    base, head, ratios = (tuple(float(value) for value in record.series[name] if value is not None) for name in times)
    sizes = tuple(int(value) for value in record.series.get("memory_bytes", ()) if value is not None)
    return Observed(base_ms=base, head_ms=head, log_ratios=ratios, memory_bytes=sizes)


def power_figures(found: Detection) -> dict[str, Figure]:
    """The figures of a power record."""
    low, high = found.interval
    values = {"comparisons": found.comparisons, "detected": found.detected, "rate": found.rate}
    return {name: Figure(value=value) for name, value in {**values, "rate_low": low, "rate_high": high}.items()}


def _noise_key(record: Record) -> NoiseKey:
    if not isinstance(record.key, NoiseKey):
        raise _useless(record, f"is of kind {record.key.kind}")
    return record.key


def _useless(record: Record, trouble: str) -> BenchError:
    return BenchError(
        f"the record of {record.key.reranker} {trouble}",
        wanted="a finished noise record",
        cure="Calibrate again: python -m bench.check --calibrate.",
    )


def _enough(observed: Mapping[str, Observed]) -> None:
    for name, seen in observed.items():
        if len(seen.log_ratios) < LEAST_DUELS:
            raise BenchError(
                f"{len(seen.log_ratios)} A/A duels of {name}",
                wanted=f"at least {LEAST_DUELS}, better 20",
                cure="Calibrate with more duels.",
            )


def _groups(name: str, ratios: Sequence[float], duels: int) -> list[tuple[Sequence[float], Sequence[float]]]:
    groups = [ratios[start : start + duels] for start in range(0, len(ratios) - duels + 1, duels)]
    if len(groups) < 2:
        raise BenchError(
            f"{len(ratios)} A/A duels of {name}",
            wanted=f"at least {2 * duels}: one comparison of {duels} and its confirmation",
            cure="Run more A/A duels.",
        )
    return list(zip(groups, [*groups[1:], groups[0]], strict=True))


def _paired(scale: float, medians: Sequence[tuple[Array, Array]]) -> dict[str, float]:
    """Threshold of a comparison, of one that is confirmed by as many duels again, and the slowdown that passes both."""
    first, both = (
        max(math.log1p(FLOOR), *(scale * float(np.quantile(drawn[look], 1 - aim)) for drawn in medians))
        for look, aim in enumerate(_LOOKS)
    )
    needed = [np.maximum(first - scale * once, both - scale * twice) for once, twice in medians]
    visible = max(float(np.quantile(one, SEEN)) for one in needed)
    found = {"threshold": first, "confirmed_threshold": both, "visible": visible}
    return {name: math.expm1(value) for name, value in found.items()}


def _against_another_day(seen: Observed) -> dict[str, float]:
    """Threshold and visible slowdown where the base was measured on another day: unpaired.

    The state of the machine may last as long as a comparison, so that more processes of one day do not average it out:
    a day counts as one median of a single side. The threshold is the furthest that two of them lay apart in the
    calibration, whatever their distribution. Visible: what exceeds it on 95 % of the pairs of different duels.
    What changes only from day to day no calibration can see.
    """
    logs = np.log(np.array([seen.base_ms, seen.head_ms]))
    limit = max(math.log1p(FLOOR), float(np.ptp(logs)))
    other = ~np.eye(logs.shape[1], dtype=bool)
    apart = np.concatenate([(one[:, None] - two[None, :])[other] for one in logs for two in logs])
    visible = limit - float(np.quantile(apart, 1 - SEEN))
    return {"stored_threshold": math.expm1(limit), "stored_visible": math.expm1(visible)}


def _memory(sizes: Sequence[int], duels: int) -> float:
    """What the medians of `duels` processes on either side exceed in fewer than `FALSE_ALARMS` of cases, drawn from
    the peaks that were seen; not less than a verdict forgives anyway."""
    if not sizes:
        return MEMORY_FLOOR
    logs = np.log(np.maximum(np.asarray(sizes, dtype=np.float64), LEAST_BYTES))
    base, head = (np.median(drawn, axis=0) for drawn in tails.drawn_from(logs, 2, duels))
    return max(MEMORY_FLOOR, math.expm1(float(np.quantile(head - base, 1 - FALSE_ALARMS))))
