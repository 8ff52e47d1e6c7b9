"""Geometric verification against doing it pair by pair. Run by `nox -s bench`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from rerankers.matching import Matching, match
from rerankers.ransac import Verification, inlier_count, inlier_counts
from tests.benchmarks.conftest import Race

HOMOGRAPHY = Verification(
    matching=Matching(mutual=True), model="homography", threshold_px=5, source="query", max_descriptors=None
)
CANDIDATES, LOCALS, WIDTH = 40, 500, 128


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """100 pairs of 100 to 1,000 matches, of which 30 % agree on a homography to within a pixel."""
    draw = np.random.default_rng(0)
    made = []
    for count in np.linspace(100, 1000, 100).astype(int):
        src = draw.uniform(0, 1000, (count, 2))
        warp = np.eye(3) + [[0.1, 0.05, 30], [-0.05, 0.1, -20], [1e-4, -1e-4, 0]] * draw.uniform(-1, 1, (3, 3))
        dst = cv2.perspectiveTransform(src[None], warp)[0] + draw.normal(0, 0.7, (count, 2))
        lost = draw.random(count) > 0.3
        dst[lost] = draw.uniform(0, 1000, (lost.sum(), 2))
        made.append((src.astype(np.float32), dst.astype(np.float32)))
    return made


@pytest.fixture(scope="module")
def descriptors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """RootSIFT-like descriptors of a query and of candidates that share some of them."""
    generator = torch.Generator().manual_seed(0)
    query = torch.rand(LOCALS, WIDTH, generator=generator) ** 3
    shared = query[torch.randint(LOCALS, (CANDIDATES, LOCALS), generator=generator)]
    local = shared + torch.rand(CANDIDATES, LOCALS, WIDTH, generator=generator) ** 3
    unit = torch.nn.functional.normalize
    return unit(query, dim=1), unit(local, dim=2), torch.ones(CANDIDATES, LOCALS, dtype=torch.bool)


@pytest.mark.benchmark(group="100 homographies")
def test_one_pair_after_the_other(benchmark, races, pairs):
    counts = benchmark.pedantic(lambda: [inlier_count(*pair, HOMOGRAPHY) for pair in pairs], rounds=5, warmup_rounds=1)
    assert min(counts) > 20
    race(races).plain_s = benchmark.stats.stats.median


@pytest.mark.benchmark(group="100 homographies")
def test_on_all_cores(benchmark, races, pairs):
    threads = torch.get_num_threads()
    counts = benchmark.pedantic(inlier_counts, (pairs, HOMOGRAPHY), {"threads": threads}, rounds=5, warmup_rounds=1)
    assert counts == [inlier_count(*pair, HOMOGRAPHY) for pair in pairs]
    race(races).ours_s = benchmark.stats.stats.median


def race(races: dict[str, Race]) -> Race:
    """Without a floor: RANSAC stops early, inside OpenCV."""
    return races.setdefault("ransac", Race("ransac, 100 homographies"))


@pytest.mark.benchmark(group="matching of 40 candidates")
@pytest.mark.parametrize("mutual", [False, True])
def test_matching_by_opencv(benchmark, descriptors, mutual):
    query, local, _ = descriptors
    matcher = cv2.BFMatcher(cv2.NORM_L2, crossCheck=mutual)
    candidates = list(local.numpy())
    found = benchmark.pedantic(
        lambda: [matcher.match(query.numpy(), one) for one in candidates], rounds=5, warmup_rounds=1
    )
    assert len(found) == CANDIDATES


@pytest.mark.benchmark(group="matching of 40 candidates")
@pytest.mark.parametrize("mutual", [False, True])
def test_matching_in_blocks(benchmark, descriptors, mutual):
    found = benchmark.pedantic(match, (*descriptors, Matching(mutual=mutual)), rounds=5, warmup_rounds=1)
    assert len(found) == CANDIDATES
    assert all(len(one) == LOCALS or mutual for one in found)
