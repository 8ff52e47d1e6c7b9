from __future__ import annotations

import math

import pytest
import torch

from rerankers import Features, Reranker, RerankError
from rerankers.compose import Blend, Sum, fuse


class Given(Reranker):
    def __init__(self, scores):
        self.scores = torch.tensor(scores)

    def score(self, query, candidates):
        return self.scores


IMAGES = Features(global_=torch.zeros(3, 2))


def test_fuse_by_hand():
    fused = fuse(torch.tensor([0.5]), torch.tensor([2.0]), weight=0.25, temperature=0.5)
    assert fused.item() == pytest.approx(0.25 * 0.5 + 0.75 / (1 + math.exp(-1.0)))


@pytest.mark.parametrize(("weight", "order"), [(1.0, [0, 1, 2]), (0.0, [2, 1, 0])])
def test_the_weight_belongs_to_the_first_stage(weight, order):
    blend = Blend(Given([-1.0, 0.0, 1.0]), weight=weight, temperature=1.0)
    assert blend.rank(IMAGES[:1], IMAGES, torch.tensor([0.3, 0.2, 0.1])).tolist() == order


@pytest.mark.parametrize(("weight", "temperature"), [(-0.1, 1), (1.1, 1), (0.5, -1), (0.5, math.nan), (math.nan, 1)])
def test_weights_outside_their_range_are_refused(weight, temperature):
    with pytest.raises(RerankError, match="blend weight"):
        Blend(Given([0.0]), weight=weight, temperature=temperature)


def test_a_sum_adds_a_share_of_the_score_to_the_similarity():
    summed = Sum(Given([0.0, 0.1, 0.9]), ratio=0.5)
    found = summed.ranking(IMAGES[:1], IMAGES, torch.tensor([0.6, 0.5, 0.2]))
    assert found.key.tolist() == pytest.approx([0.6, 0.55, 0.65])
    assert found.order.tolist() == [2, 0, 1]


@pytest.mark.parametrize("ratio", [-0.1, math.inf, math.nan])
def test_shares_outside_their_range_are_refused(ratio):
    with pytest.raises(RerankError, match="a sum with"):
        Sum(Given([0.0]), ratio=ratio)
