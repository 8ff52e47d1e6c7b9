from __future__ import annotations

import pytest
import torch

from rerankers import Features, Reranker, RerankError
from rerankers.interface import best_first


class Dot(Reranker):
    needs = ("global_",)

    def score(self, query, candidates):
        return candidates.global_ @ query.global_[0]


QUERY = Features(global_=torch.tensor([[1.0, 0.0]]))
CANDIDATES = Features(global_=torch.tensor([[0.1, 0.0], [0.9, 0.0], [0.1, 5.0], [0.5, 0.0]]))
SIMILARITY = torch.tensor([0.4, 0.3, 0.2, 0.1])


def test_rank_sorts_by_score_and_keeps_ties_in_first_stage_order():
    assert Dot().rank(QUERY, CANDIDATES, SIMILARITY).tolist() == [1, 3, 0, 2]


def test_best_first_is_stable_for_many_ties():
    assert best_first(torch.zeros(1000)).tolist() == list(range(1000))


def test_ranking_of_no_candidates_is_empty():
    none = Features(global_=torch.empty(0, 2))
    assert Dot().rank(QUERY, none, torch.empty(0)).tolist() == []


def test_features_slice_index_and_truncate_every_field_they_have():
    features = Features(
        local=torch.arange(24.0).reshape(2, 3, 4),
        valid=torch.ones(2, 3, dtype=torch.bool),
        dense=(torch.zeros(1, 2, 2), torch.ones(1, 3, 3)),
    )
    assert len(features) == 2 and len(Features()) == 0
    assert features[1:].local.shape == (1, 3, 4) and len(features[1:].dense) == 1
    assert features[torch.tensor([1, 0])].dense[0].shape == (1, 3, 3)
    assert features[torch.tensor([False, True])].local[0, 0, 0] == 12
    assert features.truncated(2).local.shape == (2, 2, 4) and features.truncated(2).valid.shape == (2, 2)


@pytest.mark.parametrize(
    ("query", "candidates", "similarity", "words"),
    [
        (Features(), CANDIDATES, SIMILARITY, "0 queries"),
        (Features(local=torch.zeros(1, 2, 3)), CANDIDATES, SIMILARITY, "without 'global'"),
        (Features(global_=torch.zeros(1, 3)), CANDIDATES, SIMILARITY, "3 wide for the query and 2"),
        (Features(global_=torch.tensor([[torch.nan, 0.0]])), CANDIDATES, SIMILARITY, "1 values that are NaN"),
        (QUERY, Features(global_=torch.tensor([[torch.inf, 0.0]])), SIMILARITY[:1], "candidates field 'global' with 1"),
        (QUERY, CANDIDATES, SIMILARITY[:2], "similarity of shape (2,) for 4 candidates"),
        (QUERY, Features(global_=torch.zeros(4, 1, 2)), SIMILARITY, "of shape (4, 1, 2)"),
    ],
)
def test_bad_features_say_what_was_seen(query, candidates, similarity, words):
    with pytest.raises(RerankError, match=words.replace("(", r"\(").replace(")", r"\)")):
        Dot().rank(query, candidates, similarity)


def test_fields_beside_the_locals_must_have_their_shape():
    class Local(Dot):
        needs = ("local", "valid")

    good = Features(local=torch.zeros(1, 3, 2), valid=torch.ones(1, 3, dtype=torch.bool))
    bad = Features(local=torch.zeros(1, 3, 2), valid=torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(RerankError, match="beside local descriptors"):
        Local().rank(good, bad, torch.zeros(1))


@pytest.mark.parametrize("scores", [torch.zeros(3), torch.full((4,), torch.nan)])
def test_a_re_ranker_that_gives_rubbish_is_stopped(scores):
    class Rubbish(Dot):
        def score(self, query, candidates):
            return scores

    with pytest.raises(RerankError, match="Rubbish gave scores"):
        Rubbish().rank(QUERY, CANDIDATES, SIMILARITY)
