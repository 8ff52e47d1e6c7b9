"""The evaluator at the size of Revisited Oxford + 1M, against one membership test for each protocol and query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bench.metrics import revisited

QUERIES, DEPTH, GALLERY = 70, 1_000_000, 5_000


@dataclass(frozen=True)
class Truth:
    easy: np.ndarray
    hard: np.ndarray
    junk: np.ndarray


def make_truths(highest):
    """About as many labels as Revisited Oxford has: 43 easy, 36 hard and 19 junk images a query."""
    rng = np.random.default_rng(0)
    images = [rng.choice(highest, 98, replace=False) for _ in range(QUERIES)]
    return [Truth(one[:43], one[43:79], one[79:]) for one in images]


@pytest.fixture(scope="module", params=["int32", "int64"])
def ranks(request):
    rng = np.random.default_rng(1)
    lists = np.empty((QUERIES, DEPTH), dtype=request.param)
    for row in lists:
        row[:] = rng.permutation(DEPTH)
    return lists


def naive(ranks, truths):
    """mAP of easy, medium and hard as the published code goes about it, two membership tests a protocol and query."""
    means = {}
    for protocol in ("easy", "medium", "hard"):
        aps = []
        for row, truth in zip(ranks, truths, strict=True):
            positives, ignored = {
                "easy": (truth.easy, np.concatenate([truth.junk, truth.hard])),
                "medium": (np.concatenate([truth.easy, truth.hard]), truth.junk),
                "hard": (truth.hard, np.concatenate([truth.junk, truth.easy])),
            }[protocol]
            at = np.arange(len(row))[np.isin(row, positives)]
            gone = np.arange(len(row))[np.isin(row, ignored)]
            at = at - np.searchsorted(gone, at)
            j = np.arange(len(at))
            before = np.where(at == 0, 1.0, j / np.maximum(at, 1))
            aps.append(((before + (j + 1) / (at + 1)) / 2).sum() / len(positives))
        means[protocol] = np.mean(aps)
    return means


@pytest.mark.benchmark(group="revisited E+M+H, 70 x 1,000,000")
@pytest.mark.parametrize("highest", [GALLERY, DEPTH], ids=["labels in front", "labels anywhere"])
def test_ours(benchmark, ranks, highest):
    truths = make_truths(highest)
    found = benchmark.pedantic(revisited.evaluate, (ranks, truths), rounds=5, warmup_rounds=1)
    assert {name: result.map for name, result in found.items()} == pytest.approx(naive(ranks, truths), abs=1e-12)


@pytest.mark.benchmark(group="revisited E+M+H, 70 x 1,000,000")
def test_ours_on_lists_that_lie_depth_first(benchmark, ranks):
    truths = make_truths(GALLERY)
    lists = np.asfortranarray(ranks)
    found = benchmark.pedantic(revisited.evaluate, (lists, truths), rounds=3, warmup_rounds=1)
    assert found["medium"].map == revisited.evaluate(ranks, truths)["medium"].map


@pytest.mark.benchmark(group="revisited E+M+H, 70 x 1,000,000")
def test_naive(benchmark, ranks):
    assert benchmark.pedantic(naive, (ranks, make_truths(GALLERY)), rounds=2).keys() == {"easy", "medium", "hard"}


@pytest.mark.benchmark(group="revisited E+M+H, 70 x 1,000,000")
def test_naive_on_lists_that_lie_depth_first(benchmark, ranks):
    """As the published code has them: a column a query."""
    lists = np.asfortranarray(ranks)
    assert benchmark.pedantic(naive, (lists, make_truths(GALLERY)), rounds=2).keys() == {"easy", "medium", "hard"}
