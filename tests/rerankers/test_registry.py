from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rerankers
from rerankers import RerankError, registry
from rerankers.compose import SCHEDULES, Blend, Chain, Slide, Sum, Windows
from rerankers.registry import Inputs, Spec, inputs_of, parse


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


def test_what_is_asked_for_is_built_from_the_inside_out():
    slide = rerankers.build("sg-rerank+sum=0.5+slide=20/10/5/start-to-end")
    assert isinstance(slide, Slide) and isinstance(slide.reranker, Sum)
    assert slide.windows == Windows(20, 10, 5, "start-to-end") and slide.window == 20
    chain = rerankers.build("sg-rerank+then+ransac+then+ames:rootsift+blend=0.5/0.1", allow_random=True)
    assert isinstance(chain, Chain) and isinstance(chain.first, Chain) and isinstance(chain.second, Blend)
    assert chain.first.second.needs == rerankers.build("ransac").needs


def test_number_types_reach_every_part():
    chain = rerankers.build("none+then+ames:rootsift+blend=0.5/0.1", allow_random=True, dtype="bfloat16", at_once=3)
    assert chain.dtype == chain.second.dtype == chain.second.reranker.dtype == torch.bfloat16
    assert chain.second.reranker.at_once == 3


def test_published_windows_go_without_numbers(monkeypatch):
    known = rerankers.variants("sg-rerank")
    published = replace(known["default"], slide=(400, 100, 50))
    monkeypatch.setitem(known, "default", published)
    assert str(parse("sg-rerank+slide")) == "sg-rerank:default+slide=400/100/50"


PARTS = st.builds(
    Spec,
    st.just("sg-rerank"),
    st.just("default"),
    slide=st.none() | st.builds(Windows, st.integers(1), st.just(9), st.integers(1, 9), st.sampled_from(SCHEDULES)),
)
WEIGHTS = st.floats(min_value=0, allow_infinity=False)
JOINED = st.one_of(
    PARTS,
    st.builds(lambda part, blend: replace(part, blend=blend), PARTS, st.tuples(WEIGHTS, WEIGHTS)),
    st.builds(lambda part, ratio: replace(part, sum=ratio), PARTS, WEIGHTS),
)


@given(st.lists(JOINED, min_size=1, max_size=4))
def test_what_a_spec_says_parses_to_it_again(parts):
    spec = None
    for part in reversed(parts):
        spec = replace(part, then=spec)
    assert parse(str(spec)) == spec
    assert spec.parts == tuple(parts) and spec.families == ("sg-rerank",)


def test_a_chain_says_its_families_once():
    spec = parse(" none+then+ransac+then+none ")
    assert str(spec) == "none:first-stage+then+ransac:affine+then+none:first-stage"
    assert spec.families == ("none", "ransac")


def test_inputs_of_a_chain_are_the_most_of_its_parts(monkeypatch):
    assert inputs_of(parse("ransac")) == rerankers.variants("ransac")["affine"].inputs
    inputs = {
        "none": Inputs(query_locals=5, local_dim=8, global_dim=4),
        "sg-rerank": Inputs(query_locals=7, candidate_locals=2, global_dim=4, dense=(1, 2, 3)),
        "ransac": Inputs(local_dim=16),
    }
    for family, one in inputs.items():
        known = rerankers.variants(family)
        name = next(iter(known))
        monkeypatch.setitem(known, name, replace(known[name], inputs=one))
    wanted = Inputs(query_locals=7, candidate_locals=2, local_dim=8, global_dim=4, dense=(1, 2, 3))
    assert inputs_of(parse("none+then+sg-rerank")) == wanted
    with pytest.raises(RerankError, match=r"local dim 8 and 16.*one size"):
        inputs_of(parse("none+then+ransac"))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("ransak", "unknown re-ranker 'ransak'.*Did you mean 'ransac'"),
        ("ames:dinov3", "unknown variant of ames 'dinov3'.*dinov2"),
        ("none+blend", "none are published"),
        ("none+blend=1..2/1", "wanted a number"),
        ("none+sum", "none are published.*none:first-stage\\+sum=0.5"),
        ("sg-rerank+slide", "none are published.*sg-rerank:default\\+slide=400/100/50"),
        ("sg-rerank+slide=400/100", "wanted family"),
        ("sg-rerank+slide=10/5/9", "windows of 5, 9 apart"),
        ("sg-rerank+slide=10/5/5/sideways", "sideways"),
        ("sg-rerank+slide=10/5/5+blend=0.5/1", "wanted family"),
        ("ransac+slide=10/5/5", "sliding windows for ransac.*pair-wise"),
        ("none+then+", "wanted family"),
        ("none+then+ransak", "Did you mean 'ransac'"),
        ("none+then+ames:dinov2", "no trained weights for ames:dinov2"),
        ("a b", "wanted family"),
        ("", "wanted family"),
        ("ames:dinov2", "no trained weights"),
    ],
)
def test_bad_requests_name_what_exists(request_, words):
    with pytest.raises(RerankError, match=words):
        rerankers.build(request_)


def test_a_checkpoint_for_a_method_without_weights_is_refused(tmp_path):
    for checkpoint in (tmp_path / "any.pt", {"none": tmp_path / "any.pt"}):
        with pytest.raises(RerankError, match="it has no weights"):
            rerankers.build("none", checkpoint=checkpoint)


def test_checkpoints_go_to_their_families(tmp_path):
    weights = [rerankers.build(f"{family}:rootsift", allow_random=True, seed=9) for family in ("ames", "rrt")]
    files = {"ames": tmp_path / "ames.pt", "rrt": tmp_path / "rrt.pt"}
    for one, path in zip(weights, files.values(), strict=True):
        torch.save(one.module().state_dict(), path)
    both = rerankers.build("ames:rootsift+then+rrt:rootsift", checkpoint=files)
    for one, part in zip(weights, (both.first, both.second), strict=True):
        assert all(torch.equal(one.module().state_dict()[n], t) for n, t in part.module().state_dict().items())
    single = rerankers.build("none+then+ames:rootsift", checkpoint=files["ames"])
    assert torch.equal(next(single.module().parameters()), next(weights[0].module().parameters()))
    with pytest.raises(RerankError, match="those of ames and rrt"):
        rerankers.build("ames:rootsift+then+rrt:rootsift", checkpoint=files["ames"])
    with pytest.raises(RerankError, match="rrt is no part of it"):
        rerankers.build("ames:rootsift", checkpoint=files)


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
