from dataclasses import replace

import numpy as np
import pytest
import torch

from rerankers import Features, RerankError, build, variants
from rerankers.matching import Matching
from rerankers.ransac import VARIANTS, Ransac, Verification, inlier_count, inlier_counts

LOCALS, WIDTH = 40, 32
INLIERS = (30, 12, 0, 21, 6, 12)
AFFINE = Verification(matching=Matching(mutual=True), model="affine", threshold_px=20, source="candidate")


@pytest.fixture(scope="module")
def query() -> Features:
    generator = torch.Generator().manual_seed(0)
    local = torch.nn.functional.normalize(torch.rand(1, LOCALS, WIDTH, generator=generator), dim=2)
    xy = torch.rand(1, LOCALS, 2, generator=generator) * 640
    return Features(local=local, xy=xy, valid=torch.ones(1, LOCALS, dtype=torch.bool))


@pytest.fixture(scope="module")
def candidates(query) -> Features:
    """Each has the query's descriptors in another order: INLIERS at positions moved by (7, -4), the others lost."""
    generator = torch.Generator().manual_seed(1)
    local, xy = [], []
    for inliers in INLIERS:
        order = torch.randperm(LOCALS, generator=generator)
        moved = query.xy[0] + torch.tensor([7.0, -4.0])
        moved[inliers:] = torch.rand(LOCALS - inliers, 2, generator=generator) * 100_000
        local.append(query.local[0][order])
        xy.append(moved[order])
    return Features(
        local=torch.stack(local), xy=torch.stack(xy), valid=torch.ones(len(INLIERS), LOCALS, dtype=torch.bool)
    )


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_counts_the_matches_that_moved_together(query, candidates, variant):
    scores = build(f"ransac:{variant}").score(query, candidates)
    for score, inliers in zip(scores.tolist(), INLIERS, strict=True):
        assert score == inliers if inliers >= 10 else score <= 8  # chance alone agrees on a few


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_score_belongs_to_the_candidate_not_to_its_place(query, candidates, variant):
    reranker = build(f"ransac:{variant}")
    order = torch.tensor([4, 2, 0, 5, 1, 3, 0, 0])
    scores = reranker.score(query, candidates)
    assert len(scores.unique()) > 3
    assert torch.equal(reranker.score(query, candidates[order]), scores[order])


def test_padding_changes_nothing(query, candidates):
    reranker = Ransac(AFFINE)

    def padded(features: Features, extra: int) -> Features:
        n, pad = len(features), torch.nn.functional.pad
        junk = torch.cat((features.local, query.local[:, :extra].expand(n, -1, -1)), dim=1)
        return Features(local=junk, xy=pad(features.xy, (0, 0, 0, extra)), valid=pad(features.valid, (0, extra)))

    scores = reranker.score(query, candidates)
    assert torch.equal(reranker.score(padded(query, 5), padded(candidates, 9)), scores)


def test_threads_do_not_matter(query, candidates):
    many = candidates[torch.arange(len(INLIERS)).repeat(7)]
    one, three = (Ransac(AFFINE, threads=threads).score(query, many) for threads in (1, 3))
    assert torch.equal(one, three)
    assert torch.equal(one[:6], one[-6:])


def test_ties_keep_the_first_stage_order(query, candidates):
    equal = candidates[torch.tensor([1, 1, 0, 1])]
    assert Ransac(AFFINE).rank(query, equal, torch.tensor([0.9, 0.8, 0.7, 0.6])).tolist() == [2, 0, 1, 3]


def test_images_without_descriptors_score_zero(query, candidates):
    blank = replace(candidates, valid=torch.zeros_like(candidates.valid))
    assert Ransac(AFFINE).score(query, blank).tolist() == [0] * len(INLIERS)
    assert Ransac(AFFINE).score(replace(query, valid=torch.zeros_like(query.valid)), candidates).sum() == 0


def test_fewer_than_four_matches_score_zero(query, candidates):
    assert Ransac(AFFINE).score(query.truncated(3), candidates[:1]).tolist() == [0]
    assert Ransac(replace(AFFINE, max_descriptors=3)).rank(query, candidates[:2], torch.ones(2)).tolist() == [0, 1]


def test_matches_that_share_one_descriptor_are_no_evidence(query):
    """One-way matches may all end in one point, which any transform onto it would explain."""
    one = Features(local=query.local[:, :1], xy=query.xy[:, :1], valid=query.valid[:, :1])
    rule = replace(AFFINE, matching=Matching())
    assert Ransac(rule).score(query, one).tolist() == [0]
    assert Ransac(replace(rule, method="delg")).score(query, one).tolist() == [0]


@pytest.mark.parametrize("model", ["affine", "homography"])
@pytest.mark.parametrize("method", ["ransac", "magsac"])
def test_damaged_and_degenerate_positions(model, method):
    rule = replace(AFFINE, model=model, method=method, threshold_px=5)
    points = np.random.default_rng(3).uniform(0, 640, (30, 2)).astype(np.float32)
    damaged = points.copy()
    damaged[4] = np.nan
    damaged[9, 1] = np.inf
    assert inlier_count(points, points + 9, rule) == 30
    assert inlier_count(damaged, points + 9, rule) == inlier_count(points, damaged + 9, rule) == 28
    assert inlier_count(np.full_like(points, np.nan), points, rule) == 0
    line = np.float32([[i, i] for i in range(30)])
    assert inlier_count(line, points, rule) == 0


def test_no_pairs():
    assert inlier_counts([], AFFINE, threads=2) == []


def test_reads_only_the_strongest_descriptors(query, candidates):
    assert build("ransac").query_locals == build("ransac").candidate_locals == 500
    shuffled_tail = replace(candidates, local=candidates.local.clone())
    shuffled_tail.local[:, 20:] = 0.5
    key = [
        Ransac(replace(AFFINE, max_descriptors=20)).ranking(query, c, torch.ones(6)).key
        for c in (candidates, shuffled_tail)
    ]
    assert torch.equal(*key)
    assert key[0].sum() > 0


def test_says_why_it_is_not_counted(query, candidates):
    reranker = build("ransac")
    assert reranker.closed_form(query, candidates) is None
    assert reranker.uncounted == "RANSAC runs in OpenCV and stops early: not countable"
    assert build("ransac:delg").uncounted == "RANSAC runs in numpy, which no witness sees: not countable"
    assert reranker.module() is None


def test_presets():
    assert next(iter(variants("ransac"))) == "affine"
    affine, homography, delg = (build(f"ransac:{name}").verification for name in ("affine", "homography", "delg"))
    assert (affine.model, affine.max_iterations, affine.matching.mutual) == ("affine", 1000, False)
    assert 10 <= affine.threshold_px <= 24
    assert (homography.model, homography.threshold_px, homography.matching.mutual) == ("homography", 24, True)
    assert (delg.method, delg.threshold_px, delg.max_iterations) == ("delg", 20, 1000)


def test_missing_fields_are_named(query, candidates):
    with pytest.raises(RerankError, match="without 'xy'"):
        build("ransac").rank(query, replace(candidates, xy=None), torch.ones(6))


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold_px": 0},
        {"max_iterations": 0},
        {"confidence": 1},
        {"method": "delg", "model": "homography"},
        {"method": "magsac", "model": "similarity"},
    ],
)
def test_senseless_settings_are_refused(changes):
    with pytest.raises(RerankError):
        replace(AFFINE, **changes)
