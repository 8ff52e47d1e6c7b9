import cv2
import numpy as np
import pytest
import torch

from rerankers import RerankError, matching
from rerankers.matching import Matching, match

ONE_WAY, MUTUAL = Matching(), Matching(mutual=True)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


def pairs(query: torch.Tensor, candidate: torch.Tensor, rule: Matching) -> list[list[int]]:
    (found,) = match(query, candidate[None], torch.ones(1, len(candidate), dtype=torch.bool), rule)
    return found.tolist()


def test_nearest_neighbours_by_hand():
    query, candidate = column(0, 10, 11), column(0.5, 10.4, 100)
    assert pairs(query, candidate, ONE_WAY) == [[0, 0], [1, 1], [2, 1]]
    assert pairs(query, candidate, MUTUAL) == [[0, 0], [1, 1]]
    assert pairs(query, candidate, Matching(max_distance=0.5)) == [[1, 1]]  # 0.5 is not nearer than 0.5


def test_the_ratio_is_strict_and_needs_a_second_descriptor():
    query = column(0)
    assert pairs(query, column(1, -2), Matching(ratio=0.5)) == []
    assert pairs(query, column(1, -2), Matching(ratio=0.51)) == [[0, 0]]
    assert pairs(query, column(1), Matching(ratio=0.8)) == []
    assert pairs(query, column(0.3, 0.3), Matching(ratio=0.99)) == []


def test_exact_duplicates_fail_the_ratio_test():
    query = torch.nn.functional.normalize(torch.rand(20, 128), dim=1)
    assert pairs(query, torch.cat((query, query)), Matching(ratio=0.99)) == []
    assert pairs(query, query, Matching(ratio=0.99)) == [[i, i] for i in range(20)]


def test_descriptors_need_not_have_unit_length():
    query, candidate = torch.tensor([[3.0, 0.0]]), torch.tensor([[100.0, 0.0], [0.0, 0.0]])
    assert pairs(query, candidate, ONE_WAY) == [[0, 1]]


@pytest.mark.parametrize("rule", [ONE_WAY, MUTUAL, Matching(ratio=0.9), Matching(mutual=True, ratio=0.9)])
def test_padding_never_matches(rule):
    query = torch.nn.functional.normalize(torch.rand(6, 8), dim=1)
    other = torch.nn.functional.normalize(torch.rand(5, 8), dim=1)
    padded = torch.stack((torch.cat((other, query)), torch.cat((query, other)), torch.cat((other, query))))
    valid = torch.tensor([[True] * 5 + [False] * 6, [False] * 11, [False] * 11])
    real, none, alone = match(query, padded, valid, rule)
    assert real.tolist() == pairs(query, other, rule)
    assert none.shape == alone.shape == (0, 2)


def test_nothing_to_match():
    valid = torch.ones(2, 3, dtype=torch.bool)
    for query, candidates in ((torch.empty(0, 4), torch.rand(2, 3, 4)), (torch.rand(3, 4), torch.empty(2, 0, 4))):
        assert [found.shape for found in match(query, candidates, valid, MUTUAL)] == [(0, 2), (0, 2)]


def test_equal_to_opencv_over_several_blocks(monkeypatch):
    monkeypatch.setattr(matching, "BLOCK_BYTES", 4 * 40 * 30 * 3)
    torch.manual_seed(0)
    query = torch.rand(40, 16) * 3
    candidates = query[torch.randint(40, (10, 30))] + 0.4 * torch.randn(10, 30, 16)
    valid = torch.rand(10, 30) < 0.8
    both = match(query, candidates, valid, Matching(mutual=True, ratio=0.8))
    mutual, one_way = match(query, candidates, valid, MUTUAL), match(query, candidates, valid, ONE_WAY)
    assert sum(map(len, both)) > 20
    for i in range(10):
        kept = np.flatnonzero(valid[i])
        theirs = candidates[i][valid[i]].numpy()
        crossed = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(query.numpy(), theirs)
        two = cv2.BFMatcher(cv2.NORM_L2).knnMatch(query.numpy(), theirs, k=2)
        expected = [[m.queryIdx, kept[m.trainIdx]] for m in sorted(crossed, key=lambda m: m.queryIdx)]
        passed = {a.queryIdx for a, b in two if a.distance < 0.8 * b.distance}
        assert mutual[i].tolist() == expected
        assert both[i].tolist() == [pair for pair in expected if pair[0] in passed]
        assert one_way[i].tolist() == [[a.queryIdx, kept[a.trainIdx]] for a, _ in two]


@pytest.mark.parametrize("setting", [{"ratio": 0}, {"max_distance": float("nan")}])
def test_senseless_rules_are_refused(setting):
    with pytest.raises(RerankError):
        Matching(**setting)
