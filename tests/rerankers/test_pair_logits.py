"""What pair-wise re-rankers are trained by is what they score by."""

from __future__ import annotations

import pytest
import torch

import rerankers
from bench.features.synthetic import workload
from rerankers import Features, RerankError, mimetic, registry
from rerankers.registry import inputs_of, parse

PAIRS = 6
#: From a logit to the score that candidates are sorted by.
SCORE = {"ames": lambda logit: logit, "rrt": lambda logit: logit, "r2former": torch.sigmoid}


def reranker(name):
    one = registry.drawn(registry.variants(name)["micro"], seed=3)
    one.module().eval().requires_grad_(False)
    return one


def pairs(name, *, padded):
    """A query, candidates, and the query once for each of them."""
    sizes = inputs_of(parse(f"{name}:micro"))
    query, candidates, _ = workload(
        candidates=PAIRS,
        query_locals=sizes.query_locals,
        candidate_locals=sizes.candidate_locals,
        local_dim=sizes.local_dim,
        global_dim=sizes.global_dim,
        seed=1,
    )
    if padded:
        for features, kept in ((query, 40), (candidates, 30)):
            features.valid[:, kept:] = False
            features.local[:, kept:] = 0
    beside = Features(
        **{key: value.expand(PAIRS, *value.shape[1:]) for key, value in vars(query).items() if value is not None}
    )
    return query, candidates, beside


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", list(SCORE))
def test_logits_give_the_scores(name, padded):
    one = reranker(name)
    query, candidates, beside = pairs(name, padded=padded)
    with torch.no_grad():
        found = SCORE[name](one.pair_logits(beside, candidates))
    torch.testing.assert_close(found, one.score(query, candidates), rtol=2e-4, atol=2e-4)


def test_logits_of_elvis_follow_its_scores():
    one = reranker("elvis")
    query, candidates, beside = pairs("elvis", padded=False)
    with torch.no_grad():
        found, score = one.pair_logits(beside, candidates), one.score(query, candidates)
        torch.testing.assert_close(found, one.network.g(score[:, None])[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*SCORE, "elvis"])
def test_every_parameter_that_counts_learns(name):
    one = reranker(name)
    one.module().train().requires_grad_(True)
    _, candidates, beside = pairs(name, padded=True)
    one.pair_logits(beside, candidates).square().sum().backward()
    still = {key for key, value in one.module().named_parameters() if value.grad is None or not value.grad.any()}
    unread = {"r2former": {"ratio", "decoder_pos_embed"}}.get(name, set())
    assert still <= unread | {key for key in still if key.endswith("in_proj_bias")}
    assert all(bool(torch.isfinite(value.grad).all()) for value in one.module().parameters() if value.grad is not None)


def test_an_image_with_too_few_descriptors_is_refused():
    _, candidates, beside = pairs("r2former", padded=False)
    candidates.valid[0, 3:] = False
    with pytest.raises(RerankError, match="3 descriptors"):
        reranker("r2former").pair_logits(beside, candidates)


@pytest.mark.parametrize("name", ["ames", "rrt", "elvis", "cvnet", "locore"])
def test_a_mimetic_start_is_drawn_from_the_seed(name):
    def started():
        one = reranker(name)
        torch.manual_seed(5)
        mimetic.start(one.module(), torch.rand(200, 128, generator=torch.Generator().manual_seed(7)) / 8)
        return one.module().state_dict()

    first, second, drawn = started(), started(), reranker(name).module().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], drawn[key]) for key in first)
    assert all(bool(torch.isfinite(value).all()) for value in first.values())


def test_attention_of_a_mimetic_start_finds_the_like():
    one = reranker("ames")
    mimetic.start(one.module(), torch.ones(2, 128))
    attention = one.network.decoder.stack[0].cross_attn
    tokens = torch.nn.functional.normalize(torch.randn(1, 20, 128), dim=-1) * 128**0.5
    q, k, _ = attention.project(tokens)[0].unbind(1)
    logits = torch.einsum("qhd,khd->hqk", q, k)
    assert (logits.argmax(dim=2) == torch.arange(20)).all()


def test_a_mimetic_start_of_cvnet_counts_matches():
    """More of what it reads at the end is active for an image beside itself than beside another, with the same size."""
    one = reranker("cvnet")
    draw = torch.Generator().manual_seed(3)
    local = torch.nn.functional.normalize(torch.randn(8, 48, 128, generator=draw), dim=2)
    mimetic.start(one.module(), local.flatten(0, 1))
    images = Features(local=local, xy=torch.rand(8, 48, 2, generator=draw), valid=torch.ones(8, 48, dtype=torch.bool))
    read = []
    one.network.cv_learner.pooled = lambda x: read.append(x.flatten(1, 4).mean(dim=1)) or read[-1]
    with torch.no_grad():
        one.pair_logits(images, images)
        one.pair_logits(images, images[torch.arange(8).roll(1)])
    alike, apart = read
    assert (alike.mean(dim=1) > apart.mean(dim=1)).all()


def test_a_mimetic_start_needs_tokens_as_wide_as_descriptors():
    with pytest.raises(RerankError, match="one width"):
        mimetic.start(rerankers.build("ames:dinov2", allow_random=True).module(), torch.ones(2, 768))
