"""Workloads: shapes, order, and the share of inliers that they promise."""

import cv2
import pytest
import torch

from bench.errors import BenchError
from bench.features.synthetic import workload
from rerankers.interface import Features, check

SIZES = {"candidates": 5, "query_locals": 200, "candidate_locals": 100, "local_dim": 32, "global_dim": 16, "seed": 0}


def test_shapes_and_lengths_and_order() -> None:
    query, candidates, similarity = workload(**SIZES)
    assert len(query) == 1 and len(candidates) == 5 and similarity.shape == (5,)
    for features, images, length in ((query, 1, 200), (candidates, 5, 100)):
        assert features.local.shape == (images, length, 32) and features.global_.shape == (images, 16)
        assert features.xy.shape == (images, length, 2) and features.valid.shape == (images, length)
        assert features.scale.shape == features.weight.shape == (images, length)
        check(features, ("global_", "local", "xy", "scale", "valid", "weight"), "side")
        assert features.valid.all() and features.valid.dtype == torch.bool
        for descriptors in (features.local, features.global_):
            assert descriptors.dtype == torch.float32
            torch.testing.assert_close(descriptors.norm(dim=-1), torch.ones(descriptors.shape[:-1]))
        assert (features.xy >= -5).all() and (features.xy <= torch.tensor([645, 485])).all()
        assert (features.weight.diff(dim=1) <= 0).all() and (features.weight > 0).all()
    assert (similarity.diff() <= 0).all()
    torch.testing.assert_close(candidates.global_ @ query.global_[0], similarity)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_inliers_is_as_asked_for(share: float) -> None:
    query, candidates, _ = workload(**SIZES, inlier_share=share)
    for image in range(5):
        cosine = candidates.local[image] @ query.local[0].T
        best, source = cosine.max(dim=1)
        copied = best > 0.8
        assert int(copied.sum()) == round(share * 100)
        if share:
            places = query.xy[0, source[copied]].numpy(), candidates.xy[image, copied].numpy()
            _, inliers = cv2.findHomography(*places, cv2.RANSAC, 3.0)
            assert inliers.mean() > 0.95


def test_inliers_are_spread_over_all_strengths() -> None:
    query, candidates, _ = workload(**{**SIZES, "candidates": 40})
    copied = ((candidates.local @ query.local[0].T).amax(dim=2) > 0.8).float().mean(dim=0)
    assert copied[:50].mean() == pytest.approx(0.3, abs=0.05)
    assert copied[50:].mean() == pytest.approx(0.3, abs=0.05)


def test_a_short_query_bounds_the_copies() -> None:
    query, candidates, _ = workload(**{**SIZES, "query_locals": 10}, inlier_share=0.5)
    assert ((candidates.local @ query.local[0].T).amax(dim=2) > 0.8).sum(dim=1).tolist() == [10] * 5


def same(one: Features, other: Features) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("global_", "local", "xy", "weight"))


def test_the_same_seed_gives_the_same_workload() -> None:
    one, again, other = workload(**SIZES), workload(**SIZES), workload(**{**SIZES, "seed": 1})
    assert same(one[0], again[0]) and same(one[1], again[1]) and torch.equal(one[2], again[2])
    assert not same(one[1], other[1])


def test_fields_without_a_dimension_are_missing() -> None:
    query, candidates, similarity = workload(**{**SIZES, "local_dim": None})
    assert query.local is None and candidates.xy is None and candidates.global_ is not None
    query, candidates, similarity = workload(**{**SIZES, "global_dim": None})
    assert query.global_ is None and candidates.local is not None
    assert similarity.shape == (5,) and (similarity.diff() <= 0).all()


def test_impossible_workloads() -> None:
    with pytest.raises(BenchError, match="0 candidates"):
        workload(**{**SIZES, "candidates": 0})
    with pytest.raises(BenchError, match=r"inlier share 1\.5"):
        workload(**SIZES, inlier_share=1.5)
