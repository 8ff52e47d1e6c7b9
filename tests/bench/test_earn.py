from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.datasets import Dataset
from bench.datasets.ground_truth import GroundTruth, QueryTruth
from bench.earn import QueryResult, evaluation, rerank_query
from bench.protocols import CandidateList, Policy
from bench.reading import reading
from rerankers import Features, Reranker
from rerankers.compose import Blend, Chain, Slide


class Gallery:
    """Image i has the global descriptor [quality of i]."""

    local = None

    def __init__(self, quality):
        self.quality, self.asked = torch.tensor(quality, dtype=torch.float32), []

    def features(self, indices, *, locals=None, needs=None):
        self.asked.append(list(indices))
        return Features(global_=self.quality[torch.from_numpy(np.asarray(indices))][:, None])


class Quality(Reranker):
    needs = ("global_",)

    def score(self, query, candidates):
        return candidates.global_[:, 0]


class ListWise(Quality):
    kind = "list-wise"


QUERY = Features(global_=torch.zeros(1, 1))


def truth(easy=(), hard=(), junk=()):
    return QueryTruth(*(np.array(ids, dtype=np.int64) for ids in (easy, hard, junk)), box=None)


def judged(*truths):
    """A data set of Revisited Oxford's kind with these truths."""
    return Dataset("made-up", Path(), GroundTruth((), (), truths))


def candidates(length, labels):
    return CandidateList.make(
        np.arange(6),
        np.linspace(1, 0, 6, dtype=np.float32),
        truth=labels,
        policy=Policy.JUNK_BEHIND,
        length=length,
    )


@pytest.mark.parametrize("kind", [Quality, ListWise])
def test_both_lists_are_re_ranked(kind):
    labels = truth(easy=[1], hard=[2, 4], junk=[0])
    chosen = candidates(3, labels)  # 1 2 3 4 5 0: standard 1 2 3, hard* 2 3 4
    gallery = Gallery([0, 1, 2, 3, 4, 5])
    result = rerank_query(kind(), QUERY, gallery, chosen)
    assert chosen.ids[result.orders["standard"]].tolist() == [3, 2, 1]
    assert chosen.ids[result.orders["hard_star"]].tolist() == [4, 3, 2]
    assert len(gallery.asked) == (1 if kind is Quality else 2)


def test_a_list_wise_re_ranker_gets_all_lists_at_once_and_equal_ones_once():
    class Counted(ListWise):
        def scores(self, lists):
            self.seen = [len(candidates) for _, candidates in lists]
            return super().scores(lists)

    both, same = truth(easy=[1], hard=[2, 4], junk=[0]), truth(hard=[2, 4], junk=[0])
    for labels, seen in ((both, [3, 3]), (same, [3])):
        reranker, chosen = Counted(), candidates(3, labels)
        found = rerank_query(reranker, QUERY, Gallery([0, 1, 2, 3, 4, 5]), chosen)
        assert reranker.seen == seen
        for name, positions in chosen.lists.items():
            assert found.orders[name] == positions[::-1].tolist()  # better images are further behind


def test_all_that_a_re_ranker_is_made_of_reads_as_many_descriptors():
    class Counted(Reranker):
        needs, kind, query_locals, candidate_locals = ("local", "valid"), "list-wise", 4, 6

        def score(self, query, candidates):
            self.seen = query.local.shape[1], candidates.local.shape[1]
            return torch.zeros(len(candidates))

    inner, images = Counted(), Features(local=torch.rand(5, 8, 2), valid=torch.ones(5, 8, dtype=torch.bool))
    for length, expected in ((3, (3, 3)), (7, (7, 7))):
        for outer in (inner, Slide(Blend(inner, weight=0.5, temperature=1.0), window=2, stride=1), Chain(inner, inner)):
            reading(outer, length).rank(images[:1], images, torch.linspace(1, 0, 5))
            assert inner.seen == expected and outer.query_locals == length


@pytest.mark.parametrize("kind", [Quality, ListWise])
def test_each_protocol_is_evaluated_on_the_list_that_is_for_it(kind):
    labels = truth(easy=[1], hard=[2], junk=[0])
    chosen = CandidateList.make(
        np.arange(6), np.linspace(1, 0, 6, dtype=np.float32), truth=labels, policy=Policy.PER_PROTOCOL, length=2
    )
    result = rerank_query(kind(), QUERY, Gallery([0, 1, 2, 3, 4, 5]), chosen)
    assert result.orders == {"easy": [3, 1], "medium": [2, 1], "hard": [3, 2], "hard_star": [3, 2]}
    figures = evaluation(judged(labels), [chosen], [result], None)["figures"]
    assert figures["map_medium"] == 1  # 2 1 | 3 4 5
    assert figures["map_easy"] == figures["map_hard"] == pytest.approx(1 / 4)  # 3, then the positive


@pytest.mark.parametrize("kind", [Quality, ListWise])
def test_scores_of_the_first_images_are_kept_in_their_new_order(kind):
    chosen = candidates(3, truth(easy=[1], hard=[2, 4], junk=[0]))
    result = rerank_query(kind(), QUERY, Gallery([0, 1, 2, 3, 4, 5]), chosen)
    assert result.scores == {"standard": [3, 2, 1], "hard_star": [4, 3, 2]}


def test_an_order_without_scores_keeps_none_and_neither_does_an_image_behind_the_window():
    class Narrow(ListWise):
        window = 2

    chosen = candidates(3, truth(hard=[2]))
    gallery = Gallery([0, 1, 2, 3, 4, 5])
    ordered = rerank_query(Slide(ListWise(), length=3, window=2, stride=1), QUERY, gallery, chosen)
    assert set(map(tuple, ordered.scores.values())) == {()}
    assert rerank_query(Narrow(), QUERY, gallery, chosen).scores["standard"] == [1, 0, None]


def test_evaluation_by_hand():
    labels = truth(easy=[1], hard=[2, 4], junk=[0])
    chosen = candidates(3, labels)
    result = rerank_query(Quality(), QUERY, Gallery([0, 1, 2, 3, 4, 5]), chosen)
    found = evaluation(judged(labels), [chosen], [result], None)
    # standard list 3 2 1 4 5 | 0: without junk the positives of medium (1, 2, 4) stand at ranks 1, 2, 3
    medium = ((0 / 1 + 1 / 2) + (1 / 2 + 2 / 3) + (2 / 3 + 3 / 4)) / 6
    assert found["figures"]["map_medium"] == pytest.approx(medium, abs=1e-12)
    # hard* list 4 3 2 5 | 0: the positives 4 and 2 stand at ranks 0 and 2
    assert found["figures"]["map_hard_star"] == pytest.approx(((1 + 1) + (1 / 2 + 2 / 3)) / 4, abs=1e-12)
    assert found["series"]["positives_in_shortlist_medium"] == [2]
    assert found["series"]["positives_in_shortlist_hard_star"] == [2]
    assert found["figures"]["precision_at_1_hard_star"] == 1.0


def test_the_hash_of_the_scores_changes_with_them():
    labels = truth(hard=[2])
    one, same, other = (
        rerank_query(Quality(), QUERY, Gallery(quality), candidates(3, labels)).scores_sha256
        for quality in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2.5, 3, 4, 5])
    )
    assert one == same != other


def test_a_query_without_positives_has_no_ap():
    labels = truth(hard=[2])
    chosen = candidates(3, labels)
    result = QueryResult({"standard": [0, 1, 2], "hard_star": [0, 1, 2]}, {}, "", 0.0)
    found = evaluation(judged(labels), [chosen], [result], None)
    assert found["series"]["ap_easy"] == [None] and np.isnan(found["figures"]["map_easy"])


def test_transitive_positives_are_judged_by_themselves():
    truth = QueryTruth(
        easy=np.array([0]), hard=np.array([1, 2]), junk=np.array([3]), transitive=np.array([2], dtype=np.int64)
    )
    candidates = CandidateList.make(
        np.arange(6), np.linspace(1, 0.5, 6), truth=truth, policy=Policy.JUNK_BEHIND, length=6
    )
    # images by rank: 4, 0, 1, 2, 5, 3; without the ignored ones 4, 2, 5: AP = (0 / 1 + 1 / 2) / 2
    order = [candidates.ids.tolist().index(image) for image in (4, 0, 1, 2, 5, 3)]
    orders = {"standard": order, "hard_star": [k for k in order if k]}
    result = QueryResult(orders, {}, scores_sha256="", seconds=0)
    found = evaluation(judged(truth), [candidates], [result], None)
    assert found["figures"]["map_transitive"] == pytest.approx(0.25)
    assert found["series"]["ap_transitive"] == [pytest.approx(0.25)]
