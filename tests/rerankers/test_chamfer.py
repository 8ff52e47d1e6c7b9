from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bench.measure.flops import count
from rerankers import Features
from rerankers.chamfer import NOTHING, Chamfer


def images(count_: int, length: int, *, seed: int = 1, padded: bool = False) -> Features:
    draw = torch.Generator().manual_seed(seed)
    valid = torch.rand(count_, length, generator=draw) < 0.6 if padded else torch.ones(count_, length, dtype=torch.bool)
    return Features(local=torch.randn(count_, length, 8, generator=draw), valid=valid)


def score(made: Chamfer, query: Features, candidates: Features) -> torch.Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


def by_loops(query: Features, candidates: Features) -> list[float]:
    found = []
    one = query.local[0][query.valid[0]]
    for local, valid in zip(candidates.local, candidates.valid, strict=True):
        other = local[valid]
        ways = [
            [max(float(F.cosine_similarity(a, b, dim=0)) for b in them) for a in us]
            for us, them in ((one, other), (other, one))
        ]
        found.append(sum(sum(way) / len(way) for way in ways) / 2)
    return found


def test_by_hand():
    query = Features(local=torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), valid=torch.ones(1, 2, dtype=torch.bool))
    candidate = Features(local=torch.tensor([[[3.0, 0.0]]]), valid=torch.ones(1, 1, dtype=torch.bool))
    assert score(Chamfer(), query, candidate).item() == pytest.approx(((1 + 0) / 2 + 1) / 2)


@pytest.mark.parametrize("padded", [False, True])
def test_scores_are_those_of_the_definition(padded):
    query, candidates = images(1, 9, padded=padded), images(7, 6, seed=2, padded=padded)
    assert score(Chamfer(), query, candidates).tolist() == pytest.approx(by_loops(query, candidates), abs=1e-6)


@pytest.mark.parametrize("candidates", [1, 400])
def test_how_many_are_scored_at_once_changes_nothing(candidates):
    made, query, others = Chamfer(), images(1, 9), images(candidates, 6, seed=2, padded=True)
    usual = made.ranking(query, others, torch.zeros(candidates))
    for made.at_once in (1, 3, candidates):
        found = made.ranking(query, others, torch.zeros(candidates))
        torch.testing.assert_close(found.key, usual.key, atol=1e-6, rtol=0)
        assert torch.equal(found.order, usual.order)


def test_no_descriptors_score_below_everything():
    query, candidates = images(1, 5), images(3, 5, seed=2)
    valid = candidates.valid.clone()
    valid[1] = False
    found = score(Chamfer(), query, replace(candidates, valid=valid))
    assert found[1] == NOTHING and (found[[0, 2]] > NOTHING).all()
    assert score(Chamfer(), replace(query, valid=~query.valid), candidates).tolist() == [NOTHING] * 3
    assert score(Chamfer(), query, images(2, 0)).tolist() == [NOTHING] * 2


def test_zero_and_equal_descriptors_are_finite():
    for value in (0.0, 1.0):
        flat = Features(local=torch.full((3, 4, 8), value), valid=torch.ones(3, 4, dtype=torch.bool))
        assert score(Chamfer(), flat[:1], flat).tolist() == pytest.approx([value] * 3)


@pytest.mark.parametrize("padded", [False, True])
def test_closed_form_is_what_runs(padded):
    made, query, candidates = Chamfer(), images(1, 30, padded=padded), images(5, 20, seed=2, padded=padded)
    form = made.closed_form(query, candidates)
    counted = count(lambda: score(made, query, candidates), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation
    assert (form.algorithmic < form.executed) == padded
