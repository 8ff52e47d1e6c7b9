import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rerankers import Features, RerankError, build
from rerankers.superglobal import SuperGlobal, nearest
from tests.rerankers.naive_superglobal import naive_superglobal
from tests.support import golden

QUERY = Features(global_=torch.tensor([[1.0, 0.0]]))
THREE = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])


def test_three_candidates_by_hand():
    stages = SuperGlobal(neighbours=1, beta=0.5).stages(QUERY, Features(global_=THREE))
    assert stages.knn_positions.tolist() == [[0, 1], [1, 0], [2, 1]]
    # Each with its neighbour, whose weight is half its similarity: 0.8, 0.8, 0.6.
    torch.testing.assert_close(stages.knn_weights, torch.tensor([[1, 0.4], [1, 0.4], [1, 0.3]]))
    refined = torch.tensor([[1.32 / 1.4, 0.24 / 1.4], [1.2 / 1.4, 0.6 / 1.4], [0.24 / 1.3, 1.18 / 1.3]])
    torch.testing.assert_close(stages.refined, refined)
    torch.testing.assert_close(stages.s1, refined[:, 0])
    assert stages.s1_order.tolist() == [0, 1, 2]
    torch.testing.assert_close(stages.query_expanded, torch.tensor([1.32 / 1.4, 0.6 / 1.4]))
    torch.testing.assert_close(stages.s2, torch.tensor([0.962449, 0.991837, 0.563077]), atol=1e-6, rtol=0)
    torch.testing.assert_close(stages.score, torch.tensor([0.952653, 0.924490, 0.373846]), atol=1e-6, rtol=0)


def test_candidates_behind_the_shortlist_keep_their_place():
    far = torch.cat((THREE[[2, 1, 0]], QUERY.global_, QUERY.global_))
    reranker = SuperGlobal(shortlist=3, neighbours=1)
    scores = reranker.score(QUERY, Features(global_=far))
    assert torch.equal(scores[:3], reranker.score(QUERY, Features(global_=far[:3])))
    assert scores[3:].tolist() == [float("-inf")] * 2
    order = reranker.rank(QUERY, Features(global_=far), torch.arange(5, 0, -1.0))
    assert order.tolist() == [2, 1, 0, 3, 4]


def test_fewer_candidates_than_neighbours():
    one = SuperGlobal().stages(QUERY, Features(global_=THREE[1:2]))
    torch.testing.assert_close(one.refined, THREE[1:2])
    torch.testing.assert_close(one.score, torch.tensor([(0.8 + 1.0) / 2]))
    assert SuperGlobal().rank(QUERY, Features(global_=THREE[:0]), torch.empty(0)).tolist() == []


def test_duplicates_score_alike_and_keep_their_order():
    torch.manual_seed(0)
    gallery = torch.nn.functional.normalize(torch.randn(30, 16), dim=1)
    gallery[[11, 25]] = gallery[4].clone()
    query = Features(global_=gallery[4:5] + 0.1)
    reranker = SuperGlobal(neighbours=3)
    scores = reranker.score(query, Features(global_=gallery))
    torch.testing.assert_close(scores[[11, 25]], scores[4].expand(2))
    assert (
        reranker.stages(query, Features(global_=gallery)).knn_positions[[4, 11, 25], :3].tolist() == [[4, 11, 25]] * 3
    )


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_nearest_is_a_stable_sort_cut_short(levels):
    values = torch.randint(levels, (50, 40), generator=torch.Generator().manual_seed(levels)) / levels
    expected = torch.sort(values, dim=1, descending=True, stable=True)
    for count in (1, 7, 40, 60):
        got = nearest(values, count)
        assert torch.equal(got[0], expected.values[:, :count])
        assert torch.equal(got[1], expected.indices[:, :count])


def test_scores_are_those_of_the_refined_descriptors():
    torch.manual_seed(0)
    query, gallery = (torch.nn.functional.normalize(torch.randn(n, 16), dim=1) for n in (1, 50))
    stages = SuperGlobal(neighbours=4).stages(Features(global_=query), Features(global_=gallery))
    weighted = gallery[stages.knn_positions] * stages.knn_weights.unsqueeze(2)
    refined = weighted.sum(1) / stages.knn_weights.sum(1, keepdim=True)
    torch.testing.assert_close(stages.refined, refined)
    torch.testing.assert_close(stages.s1, refined @ query[0])
    torch.testing.assert_close(stages.query_expanded, refined[stages.s1.topk(5).indices].amax(0))
    torch.testing.assert_close(stages.s2, refined @ stages.query_expanded)


@pytest.mark.parametrize("count", [100, 400])
def test_closed_form_is_the_published_cost(count):
    """The definition's count; what runs forms 10 of the weighted means only."""
    full_size = json.loads((golden("sgrerank") / "full_size.json").read_text())
    cost = full_size["cost_per_query"][str(count)]
    flops = build("sg-rerank").closed_form(
        Features(global_=torch.empty(1, cost["D"], device="meta")),
        Features(global_=torch.empty(count, cost["D"], device="meta")),
    )
    assert flops.algorithmic == 2 * cost["MAC_total_per_query"]
    parts = [cost[f"MAC_{part}"] for part in ("pairwise", "aggregation", "two_scores")]
    assert flops.algorithmic == 2 * sum(parts)
    assert flops.executed == flops.algorithmic - 2 * (count - 10) * 10 * cost["D"]


@pytest.mark.parametrize(("count", "shortlist"), [(45, 400), (45, 30), (4, 400)])
def test_closed_form_is_what_runs(count, shortlist):
    torch.manual_seed(0)
    query, candidates = Features(global_=torch.randn(1, 24)), Features(global_=torch.randn(count, 24))
    reranker = SuperGlobal(shortlist=shortlist)
    with FlopCounterMode(display=False) as counter:
        reranker.score(query, candidates)
    assert counter.get_total_flops() == reranker.closed_form(query, candidates).executed > 0


@pytest.mark.parametrize(("count", "shortlist", "neighbours"), [(45, 400, 9), (45, 30, 9), (45, 400, 0), (4, 400, 9)])
def test_scores_are_those_of_the_definition(count, shortlist, neighbours):
    torch.manual_seed(count + neighbours)
    query, gallery = (torch.nn.functional.normalize(torch.randn(n, 24), dim=1) for n in (1, count))
    query, candidates = Features(global_=query), Features(global_=gallery)
    reranker = SuperGlobal(shortlist=shortlist, neighbours=neighbours)
    torch.testing.assert_close(reranker.score(query, candidates), naive_superglobal(reranker, query, candidates))


def test_senseless_settings_are_refused():
    for setting in ({"shortlist": 0}, {"neighbours": -1}):
        with pytest.raises(RerankError):
            SuperGlobal(**setting)


def test_published_preset():
    reranker = build("sg-rerank")
    assert (reranker.shortlist, reranker.neighbours, reranker.beta) == (400, 9, 0.15)
    assert (reranker.kind, reranker.needs, reranker.module()) == ("list-wise", ("global_",), None)
