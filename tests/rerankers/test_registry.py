from __future__ import annotations

import pytest
import torch

import rerankers
from rerankers import RerankError, registry
from rerankers.compose import Blend
from rerankers.registry import parse


def test_every_variant_can_be_built_and_names_its_source():
    for family in rerankers.names():
        for name, variant in rerankers.variants(family).items():
            assert variant.about and variant.source
            built = rerankers.build(f"{family}:{name}", allow_random=True)
            assert built.kind in ("pair-wise", "list-wise")
            assert (built.module() is not None) == variant.learned


def test_a_request_without_variant_means_the_default_one():
    assert str(parse("none")) == "none:first-stage"
    assert str(parse("ames:dinov2+blend")) == "ames:dinov2+blend=0.55/0.3"
    assert str(parse("ransac+blend=0.5/0.02")).endswith("+blend=0.5/0.02")


def test_blend_is_built_around_the_re_ranker():
    assert isinstance(rerankers.build("none+blend=0.5/1"), Blend)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("ransak", "unknown re-ranker 'ransak'.*Did you mean 'ransac'"),
        ("ames:dinov3", "unknown variant of ames 'dinov3'.*dinov2"),
        ("none+blend", "none are published"),
        ("none+blend=1..2/1", "wanted a number"),
        ("a b", "wanted family"),
        ("", "wanted family"),
        ("ames:dinov2", "no trained weights"),
    ],
)
def test_bad_requests_name_what_exists(request_, words):
    with pytest.raises(RerankError, match=words):
        rerankers.build(request_)


def test_a_checkpoint_for_a_method_without_weights_is_refused(tmp_path):
    with pytest.raises(RerankError, match="it has no weights"):
        rerankers.build("none", checkpoint=tmp_path / "any.pt")


def test_random_weights_come_from_the_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (
        rerankers.build("ames:rootsift", allow_random=True, seed=seed).module().state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.random.get_rng_state())


def test_another_package_can_add_a_family(monkeypatch):
    class Point:
        name, value = "mine", "rerankers.none"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point])
    registry._modules.cache_clear()
    try:
        assert "mine" in rerankers.names() and parse("mine").variant == "first-stage"
    finally:
        registry._modules.cache_clear()
