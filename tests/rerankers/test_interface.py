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


def test_candidates_behind_the_window_keep_their_place():
    windowed = Dot()
    windowed.window = 2
    found = windowed.ranking(QUERY, CANDIDATES, SIMILARITY)
    assert found.order.tolist() == [1, 0, 2, 3]
    assert found.key.tolist() == [CANDIDATES.global_[0, 0], CANDIDATES.global_[1, 0], -torch.inf, -torch.inf]
    query, candidates = windowed.readable(QUERY, CANDIDATES)
    assert len(query) == 1 and len(candidates) == 2
    for window in (4, 9, None):
        windowed.window = window
        assert windowed.rank(QUERY, CANDIDATES, SIMILARITY).tolist() == [1, 3, 0, 2]


def test_what_is_not_seen_is_not_checked():
    windowed = Dot()
    windowed.window = 1
    spoilt = Features(global_=torch.tensor([[1.0, 0.0], [torch.nan, 0.0]]))
    assert windowed.rank(QUERY, spoilt, SIMILARITY[:2]).tolist() == [0, 1]


LISTS = [
    (QUERY, CANDIDATES, SIMILARITY),
    (QUERY, CANDIDATES[:0], SIMILARITY[:0]),
    (Features(global_=torch.tensor([[-1.0, 0.0]])), CANDIDATES[1:], SIMILARITY[1:]),
]


def test_several_lists_are_ranked_as_each_by_itself():
    found = Dot().rankings(LISTS)
    for one, ranking in zip(LISTS, found, strict=True):
        alone = Dot().ranking(*one)
        assert torch.equal(ranking.order, alone.order) and torch.equal(ranking.key, alone.key)
    assert [len(ranking.order) for ranking in found] == [4, 0, 3]
    assert Dot().rankings([]) == Dot().rankings(LISTS[:0]) == []


def test_several_lists_are_scored_together_by_those_that_can():
    class Together(Dot):
        def scores(self, lists):
            self.seen = [len(candidates) for _, candidates in lists]
            return super().scores(lists)

    together = Together()
    together.rankings(LISTS)
    assert together.seen == [4, 3]


def test_a_sort_key_of_ones_own_is_used_for_every_list():
    class Reversed(Dot):
        def sort_key(self, query, candidates, similarity):
            return -similarity

    assert [one.order.tolist() for one in Reversed().rankings(LISTS)] == [[3, 2, 1, 0], [], [2, 1, 0]]


def test_one_bad_list_of_several_is_named():
    with pytest.raises(RerankError, match="2 queries"):
        Dot().rankings([LISTS[0], (CANDIDATES[:2], CANDIDATES, SIMILARITY)])
    with pytest.raises(RerankError, match="for 3 candidates"):
        Dot().rankings([LISTS[0], (QUERY, CANDIDATES[:3], SIMILARITY)])


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
