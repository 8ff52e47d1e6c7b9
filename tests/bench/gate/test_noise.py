"""Thresholds and visible slowdowns against noise of known kinds, drawn with seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.gate import tails
from bench.gate.noise import (
    FALSE_ALARMS,
    FLOOR,
    LEAST_BYTES,
    MEMORY_FLOOR,
    CellNoise,
    Detection,
    Observed,
    calibrate,
    cell_noise,
    estimate,
    noise_figures,
    noise_series,
    observed_of,
    power,
    power_figures,
    slower,
    threshold_of,
    turn_ratio,
)
from bench.results import Figure, NoiseKey, Record
from tests.bench.reporting.examples import cost_record, provenance

CELLS, DUELS, HELD_OUT = 12, 4, 68
Sides = tuple[np.ndarray, np.ndarray]


def gaussian(random: np.random.Generator, count: int, spread: float) -> np.ndarray:
    return random.normal(0, spread / math.sqrt(2), (CELLS, count))


def calm(random: np.random.Generator, count: int) -> Sides:
    return gaussian(random, count, 0.03), gaussian(random, count, 0.03)


def loud(random: np.random.Generator, count: int) -> Sides:
    return gaussian(random, count, 0.08), gaussian(random, count, 0.08)


def heavy(random: np.random.Generator, count: int) -> Sides:
    return 0.02 * random.standard_t(3, (CELLS, count)), 0.02 * random.standard_t(3, (CELLS, count))


def drifting(random: np.random.Generator, count: int) -> Sides:
    """The head's side is favoured and put back in turn, several duels long."""
    slow = 0.04 * np.sin(2 * np.pi * np.arange(count) / 13 + 1)
    return gaussian(random, count, 0.02), gaussian(random, count, 0.02) + slow


def lame(random: np.random.Generator, count: int) -> Sides:
    """One process in ten is 30 % slower, with all its re-rankers."""

    def side() -> np.ndarray:
        return gaussian(random, count, 0.02) + math.log(1.3) * (random.random(count) < 0.1)

    return side(), side()


def common(random: np.random.Generator, count: int) -> Sides:
    """Slow-downs of the whole machine hit both sides alike."""
    machine = math.log(1.5) * (random.random(count) < 0.2)
    return gaussian(random, count, 0.03) + machine, gaussian(random, count, 0.03) + machine


KINDS = {one.__name__: one for one in (calm, loud, heavy, drifting, lame, common)}


def seen(base: np.ndarray, head: np.ndarray) -> dict[str, Observed]:
    """Duels of log times (cells, duels)."""
    return {
        f"cell {place}": Observed(
            base_ms=tuple(10 * np.exp(base[place])),
            head_ms=tuple(10 * np.exp(head[place])),
            log_ratios=tuple(head[place] - base[place]),
            memory_bytes=(100 << 20,) * 2,
        )
        for place in range(len(base))
    }


@cache
def run(
    kind: Callable[[np.random.Generator, int], Sides], seed: int
) -> tuple[dict[str, CellNoise], dict[str, Observed]]:
    """A calibration on 20 duels, and 17 x 12 = 204 comparisons of duels that it has not seen."""
    random = np.random.default_rng(seed)
    return calibrate(seen(*kind(random, 20)), duels=DUELS), seen(*kind(random, HELD_OUT))


def cell(**changes: Any) -> CellNoise:
    fields: dict[str, Any] = {
        "reranker": "a",
        "samples": 20,
        "duels": 4,
        "spread": 0.03,
        "threshold": 0.06,
        "visible": 0.09,
        "stored_threshold": 0.2,
        "stored_visible": 0.3,
        "memory_threshold": 0.02,
    }
    return CellNoise(**(fields | changes))


def noise_record(noise: CellNoise, observed: Observed, **changes: Any) -> Record:
    key = NoiseKey(
        reranker=noise.reranker, device="cpu", dtype="float32", candidates=50, inputs="any", duels=noise.duels
    )
    fields: dict[str, Any] = {
        "key": key,
        "status": "ok",
        "figures": noise_figures(noise),
        "series": noise_series(observed),
        "provenance": provenance(),
    }
    return Record(**(fields | changes))


def test_a_round_is_the_median_over_turns_that_lie_side_by_side() -> None:
    assert turn_ratio([10, 20, 40], [11, 22, 400]) == pytest.approx(math.log(1.1))
    assert turn_ratio([1, 2], [2, 1]) == pytest.approx(0)
    with pytest.raises(ValueError):
        turn_ratio([1, 2], [1])
    with pytest.raises(ValueError, match="at least one turn"):
        turn_ratio([], [])


def test_an_estimate_is_the_median_with_an_interval() -> None:
    found = estimate(np.log([1.1, 1.2, 1.3]))
    assert found.ratio == pytest.approx(1.2) and found.duels == 3
    assert found.low < 1.1 and found.high > 1.3
    far = estimate(np.log([1.1, 1.2, 13.0]))
    assert far.ratio == pytest.approx(1.2) and far.high > found.high
    assert estimate([0.5]).low == 0 and math.isinf(estimate([0.5]).high)
    same = estimate([0.0] * 4)
    assert (same.ratio, same.low, same.high) == (1, 1, 1)
    with pytest.raises(ValueError, match="at least one duel"):
        estimate([])


@pytest.mark.parametrize("count", [4, 8])
def test_intervals_cover_what_they_say(count: int) -> None:
    random = np.random.default_rng(1)
    for draws in (random.normal(0, 0.05, (1_000, count)), 0.05 * random.standard_t(3, (1_000, count))):
        found = [estimate(row) for row in draws]
        covered = sum(one.low <= 1 <= one.high for one in found) / len(found)
        assert 0.93 < covered < 0.99


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_swapping_the_sides_inverts_an_estimate(ratios: list[float]) -> None:
    there, back = estimate(ratios), estimate([-one for one in ratios])
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)


@pytest.mark.parametrize("name", KINDS)
def test_identical_code_is_seldom_called_slower(name: str) -> None:
    noise, fresh = run(KINDS[name], seed=11)
    (nothing,) = power(fresh, noise, duels=DUELS, planted=[0.0])
    assert nothing.comparisons == 204 and nothing.rate < 0.01


@pytest.mark.parametrize("name", ["calm", "heavy", "common", "drifting"])
def test_a_fifth_more_is_seen_where_the_noise_allows(name: str) -> None:
    noise, fresh = run(KINDS[name], seed=12)
    (fifth,) = power(fresh, noise, duels=DUELS, planted=[0.2])
    assert fifth.rate > 0.95 and max(one.visible for one in noise.values()) < 0.25


@pytest.mark.parametrize("name", KINDS)
def test_what_is_called_visible_is(name: str) -> None:
    """About 95 of 100: the rest is what 20 duels leave open."""
    detected = comparisons = 0
    for seed in (11, 12):
        noise, fresh = run(KINDS[name], seed=seed)
        for reranker, one in noise.items():
            (found,) = power({reranker: fresh[reranker]}, noise, duels=DUELS, planted=[one.visible])
            detected, comparisons = detected + found.detected, comparisons + found.comparisons
    assert 0.92 <= detected / comparisons <= 0.995


def test_without_confirmation_a_threshold_is_passed_as_rarely_as_it_says() -> None:
    """Over many calibrations of one re-ranker: its scale is known from 20 duels only, and that is paid for."""
    random = np.random.default_rng(3)
    limit = tails.limit(10.0, 20, DUELS, 0.004)
    drawn = random.normal(0, 0.05, (20 + DUELS, 100_000))
    passed = np.median(drawn[20:], axis=0) > limit * tails.scale_of(drawn[:20], 10.0)
    assert 0.002 < passed.mean() < FALSE_ALARMS


def test_thresholds_grow_with_the_noise_and_shrink_with_duels() -> None:
    quiet, _ = run(calm, seed=11)
    noisy, _ = run(loud, seed=11)
    more = calibrate(seen(*calm(np.random.default_rng(11), 20)), duels=8)
    for name, one in quiet.items():
        assert FLOOR < one.threshold < one.visible < noisy[name].visible
        assert threshold_of(one, 8) < one.threshold == threshold_of(one, 4)
        assert more[name].threshold < one.threshold
        assert one.stored_threshold > one.threshold
    assert np.median([one.spread for one in quiet.values()]) == pytest.approx(0.03, rel=0.15)


def test_a_slow_machine_on_both_sides_is_noise_of_stored_comparisons_only() -> None:
    noise, _ = run(common, seed=12)
    assert max(one.threshold for one in noise.values()) < 0.1
    assert min(one.stored_threshold for one in noise.values()) > 0.5
    # two days, each in one state of the machine throughout, with the median of four processes
    random = np.random.default_rng(6)
    days = [
        math.log(1.5) * (random.random((CELLS, 2_000)) < 0.2)
        + np.median(random.normal(0, 0.03 / math.sqrt(2), (4, CELLS, 2_000)), axis=0)
        for _ in range(2)
    ]
    limit = np.log1p([[one.stored_threshold] for one in noise.values()])
    planted = np.log1p([[one.stored_visible] for one in noise.values()])
    assert (days[1] - days[0] > limit).mean() < FALSE_ALARMS
    assert (days[1] - days[0] + planted > limit).mean() > 0.93


def test_duels_that_wander_together_widen_thresholds() -> None:
    base, head = drifting(np.random.default_rng(7), 20)
    shuffled = np.random.default_rng(8).permutation(20)
    wandering = calibrate(seen(base, head), duels=DUELS)["cell 0"]
    mixed = calibrate(seen(base[:, shuffled], head[:, shuffled]), duels=DUELS)["cell 0"]
    assert wandering.threshold > 1.2 * mixed.threshold and wandering.spread == pytest.approx(mixed.spread)


def test_the_floor_holds_on_a_machine_without_noise() -> None:
    still = {"a": Observed(base_ms=(5.0,) * 8, head_ms=(5.0,) * 8, log_ratios=(0.0,) * 8)}
    found = calibrate(still, duels=DUELS)["a"]
    assert found.threshold == pytest.approx(FLOOR) == found.stored_threshold == threshold_of(found, 8)
    assert FLOOR <= found.visible < 2 * FLOOR and found.memory_threshold == MEMORY_FLOOR
    assert slower([0.02] * 4, found) and not slower([0.005] * 4, found)
    assert not slower([0.0, 0.0, 0.0, 9.0], found)


@pytest.mark.parametrize(
    ("sizes", "threshold"),
    [
        ((), MEMORY_FLOOR),
        ((100 << 20, 101 << 20), MEMORY_FLOOR),
        ((100 << 20, 130 << 20, 110 << 20), 0.3),
        ((0, 4096, LEAST_BYTES), MEMORY_FLOOR),
        ((0, 3 * LEAST_BYTES), 2.0),
    ],
)
def test_memory_may_differ_by_as_much_as_few_processes_did(sizes: tuple[int, ...], threshold: float) -> None:
    one = Observed(base_ms=(5.0,) * 4, head_ms=(5.0,) * 4, log_ratios=(0.0,) * 4, memory_bytes=sizes)
    assert calibrate({"a": one}, duels=2)["a"].memory_threshold == pytest.approx(threshold)


def test_one_process_far_off_does_not_let_memory_grow_as_far() -> None:
    sizes = (100 << 20,) * 38 + (102 << 20, 1000 << 20)
    one = Observed(base_ms=(5.0,) * 20, head_ms=(5.0,) * 20, log_ratios=(0.0,) * 20, memory_bytes=sizes)
    assert calibrate({"a": one}, duels=4)["a"].memory_threshold < 0.05


def test_a_calibration_is_the_same_twice_and_wants_duels() -> None:
    duels = seen(*calm(np.random.default_rng(9), 8))
    assert calibrate(duels, duels=DUELS) == calibrate(duels, duels=DUELS)
    assert calibrate({}, duels=DUELS) == {}
    with pytest.raises(BenchError, match=r"3 A/A duels of cell 0; wanted at least 4"):
        calibrate(seen(*calm(np.random.default_rng(9), 3)), duels=DUELS)


def test_other_numbers_of_duels_follow_the_model() -> None:
    one = cell()
    assert threshold_of(one, 2) > threshold_of(one, 4) == 0.06 > threshold_of(one, 8) > threshold_of(one, 16) >= FLOOR
    assert threshold_of(replace(one, confirmed_threshold=0.055), 8) == 0.055


def test_power_confirms_every_group_by_the_next() -> None:
    def detected(ratios: list[float]) -> Detection:
        observed = {"a": Observed(base_ms=(), head_ms=(), log_ratios=tuple(ratios))}
        (found,) = power(observed, {"a": cell(confirmed_threshold=0.05)}, duels=4, planted=[0.0])
        return found

    assert detected([0.2] * 8) == Detection(planted=0.0, comparisons=2, detected=2)
    assert detected([0.2] * 4 + [0.0] * 8).detected == 1  # medians of all eight: 0.1, 0, and 0 for the last
    assert detected([0.2] * 4 + [-0.2] * 8).detected == 0
    with pytest.raises(BenchError, match="wanted at least 8"):
        detected([0.2] * 7)


def test_the_interval_of_a_rate_is_exact() -> None:
    none = Detection(planted=0.0, comparisons=204, detected=0)
    assert none.rate == 0 and none.interval == (0, pytest.approx(1 - 0.025 ** (1 / 204)))
    figures = power_figures(Detection(planted=0.2, comparisons=10, detected=9))
    assert {name: one.value for name, one in figures.items()} == {
        "comparisons": 10,
        "detected": 9,
        "rate": 0.9,
        "rate_low": pytest.approx(0.555, abs=1e-3),
        "rate_high": pytest.approx(0.9975, abs=1e-4),
    }


def test_noise_goes_to_a_record_and_comes_back() -> None:
    duels = seen(*calm(np.random.default_rng(10), 6))
    noise = calibrate(duels, duels=DUELS)
    record = noise_record(noise["cell 1"], duels["cell 1"])
    again = Record.model_validate_json(record.model_dump_json())
    assert cell_noise(again) == noise["cell 1"] and observed_of(again) == duels["cell 1"]


def test_records_that_hold_no_noise_are_refused() -> None:
    observed = Observed(base_ms=(1.0,), head_ms=(1.0,), log_ratios=(0.0,))
    old = noise_record(cell(), observed)
    older: Mapping[str, Figure] = {name: old.figures[name] for name in old.figures if name != "freedom"}
    assert cell_noise(old.model_copy(update={"figures": older})).freedom == 4
    failed = noise_record(cell(), observed, status="failed", reason="timeout", figures={}, series={})
    with pytest.raises(BenchError, match="has no samples: timeout"):
        cell_noise(failed)
    with pytest.raises(BenchError, match="has no base_ms, head_ms, log_ratios"):
        observed_of(failed)
    with pytest.raises(BenchError, match="is of kind cost"):
        cell_noise(cost_record())
