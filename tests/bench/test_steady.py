from __future__ import annotations

import pytest
import torch

from bench import churn, steady
from bench.reporting import churn as shown
from rerankers import Features, Reranker


class Wobbly(Reranker):
    """Scores that depend on how many candidates are handed over."""

    needs = ("global_",)

    def score(self, query, candidates):
        return candidates.global_[:, 0] * (-1 if len(candidates) == 1 else 1)


class Firm(Wobbly):
    def score(self, query, candidates):
        return candidates.global_[:, 0]


class ListWise(Firm):
    kind = "list-wise"


def inputs(k=20):
    return Features(global_=torch.zeros(1, 1)), Features(global_=torch.arange(k, dtype=torch.float32)[:, None])


@pytest.mark.parametrize("batch", [None, 1, 7, 20, 50])
def test_parts_come_together_in_order(batch):
    query, candidates = inputs()
    key = steady.sort_key(Firm(), query, candidates, torch.zeros(20), batch)
    assert torch.equal(key, candidates.global_[:, 0])


def test_a_re_ranker_that_depends_on_the_batch_is_seen():
    query, candidates = inputs()
    usual, alone = (steady.sort_key(Wobbly(), query, candidates, torch.zeros(20), batch) for batch in (None, 1))
    found = steady.change(usual, alone)
    assert (found.tau, found.left, found.moved, found.score) == (-1, 10, True, 38)


def test_equal_orders_are_no_churn():
    key = torch.tensor([3.0, 1.0, 2.0, 1.0])
    assert steady.change(key, 2 * key + 1) == steady.Change(1.0, 0, False, 4.0)


def test_one_swap_by_hand():
    found = steady.change(torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([4.0, 2.0, 3.0, 1.0]))
    assert found.tau == pytest.approx(1 - 2 / 6)  # one of six pairs is the other way round


def test_figures_over_queries():
    changes = [steady.Change(1.0, 0, False, 0.1), steady.Change(0.5, 2, True, 0.3)]
    assert steady.summary(changes) == {
        "kendall_tau_mean": 0.75,
        "kendall_tau_min": 0.5,
        "left_top_10": 2,
        "queries_changed": 1,
        "score_change_max": 0.3,
    }


def test_what_says_nothing_is_left_out_with_its_reason():
    assert steady.left_out(Firm(), "cpu") == {"float16": steady.EMULATED}
    assert steady.left_out(ListWise(), "cuda").keys() == {"batch_1", "batch_7"}
    found = churn.figures({"figures": {}, "reasons": dict.fromkeys(steady.ALTERNATIVES, "because")})
    assert all(figure.reason == "because" for figure in found.values())
    assert len(found) == len(steady.ALTERNATIVES) * len(churn.MEASURES)


def test_command_and_report_speak_of_the_same_figures():
    assert tuple(shown.ALTERNATIVES) == tuple(steady.ALTERNATIVES)
    assert tuple(shown.MEASURES) == churn.MEASURES == tuple(steady.summary([steady.Change(1, 0, False, 0)]))


def test_reduced_precision_moves_scores_and_gives_float32():
    class Product(Reranker):
        needs = ("global_",)

        def score(self, query, candidates):
            return (candidates.global_ @ query.global_.T)[:, 0]

    generator = torch.Generator().manual_seed(0)
    query = Features(global_=torch.rand(1, 64, generator=generator))
    candidates = Features(global_=torch.rand(30, 64, generator=generator))
    usual, reduced = Product(), Product()
    reduced.dtype = torch.bfloat16
    keys = [steady.sort_key(one, query, candidates, torch.zeros(30), None) for one in (usual, reduced)]
    assert keys[1].dtype == torch.float32
    assert 0 < float((keys[0] - keys[1]).abs().max()) < 0.2
