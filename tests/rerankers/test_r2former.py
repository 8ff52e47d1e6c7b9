from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from bench.measure.flops import count
from bench.parity.case import Case
from bench.parity.run import run_case
from rerankers import Features, RerankError, build
from rerankers.r2former import VARIANTS, R2Former, R2FormerConfig, strongest
from tests.rerankers.naive_r2former import naive_r2former
from tests.support import altered, golden

SMALL = R2FormerConfig(local_dim=10, width=16, heads=2, layers=3, neighbours=3, patches=8)
ALL = [
    SMALL,
    replace(SMALL, classes=1, hidden_ratio=2),
    replace(SMALL, layers=1, heads=4, eps=1e-5),
    replace(SMALL, relative_weight=False, neighbours=1),
]


def r2former(config: R2FormerConfig = SMALL, seed: int = 0) -> R2Former:
    torch.manual_seed(seed)
    made = R2Former(config)
    for parameter in made.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def images(count_: int, length: int, *, seed: int = 1, width: int = 10, padded: bool = False) -> Features:
    draw = torch.Generator().manual_seed(seed)
    valid = torch.ones(count_, length, dtype=torch.bool)
    if padded:
        valid[:, 4:] = torch.rand(count_, length - 4, generator=draw) < 0.5
    return Features(
        local=torch.randn(count_, length, width, generator=draw),
        xy=torch.rand(count_, length, 2, generator=draw) * torch.tensor([640.0, 480.0]),
        size=torch.tensor([[640.0, 480.0]]).repeat(count_, 1),
        weight=torch.rand(count_, length, generator=draw) + 0.1,
        valid=valid,
    )


def score(made: R2Former, query: Features, candidates: Features) -> torch.Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


@pytest.mark.parametrize("name", ["r2former-a", "r2former-b"])
def test_reference_cases(name):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report


@pytest.mark.parametrize("output", ["local_score", "final_score", "rerank_score"])
def test_a_wrong_output_is_seen(tmp_path, output):
    def change(outputs):
        outputs[output] = outputs[output] + 1e-2

    report = run_case(altered(tmp_path, "r2former-a", change))
    assert report.verdict == "off" and report.worst.output == output


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize("padded", [False, True])
def test_scores_are_those_of_the_definition(config, padded):
    made, query, candidates = r2former(config), images(1, 12, padded=padded), images(7, 9, seed=2, padded=padded)
    torch.testing.assert_close(
        score(made, query, candidates), naive_r2former(made, query, candidates), atol=2e-5, rtol=2e-5
    )


@pytest.mark.parametrize("candidates", [1, 30, 400])
def test_how_many_are_scored_at_once_changes_nothing(candidates):
    made, query, others = r2former(), images(1, 6, padded=True), images(candidates, 6, seed=2, padded=True)
    usual = made.ranking(query, others, torch.zeros(candidates))
    for made.at_once in (1, 3, candidates):
        found = made.ranking(query, others, torch.zeros(candidates))
        torch.testing.assert_close(found.key, usual.key, atol=1e-5, rtol=1e-5)


def test_images_with_too_few_descriptors_score_0():
    query, candidates = images(1, 6), images(4, 6, seed=2)
    valid = candidates.valid.clone()
    valid[1, 2:], valid[2] = False, False
    few = replace(candidates, valid=valid)
    found = score(r2former(), query, few)
    assert found[1] == found[2] == 0 and (found[[0, 3]] > 0).all()
    torch.testing.assert_close(found, naive_r2former(r2former(), query, few), atol=2e-5, rtol=2e-5)
    assert score(r2former(), replace(query, valid=~query.valid), candidates).tolist() == [0] * 4
    assert score(r2former(), images(1, 2), candidates).tolist() == [0] * 4


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_descriptors_score_alike(value):
    flat = replace(images(4, 5), local=torch.full((4, 5, 10), value), xy=torch.ones(4, 5, 2), weight=torch.ones(4, 5))
    found = r2former().ranking(flat[:1], flat, torch.zeros(4))
    assert found.key.tolist() == pytest.approx([float(found.key[0])] * 4, abs=1e-6) and 0 < found.key[0] < 1


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_strongest_is_a_stable_sort_cut_short(levels):
    values = torch.randint(levels, (6, 20, 30), generator=torch.Generator().manual_seed(levels)) / levels
    wanted = torch.sort(values, dim=-1, descending=True, stable=True)
    for many in (1, 5, 30):
        found = strongest(values, many)
        assert torch.equal(found[0], wanted.values[..., :many]) and torch.equal(found[1], wanted.indices[..., :many])


def test_published_sizes():
    full = json.loads((golden("r2former") / "full_size.json").read_text())
    wide = full["width_768_variants"]["num_patches=96, heads=12"]["num_parameters"]
    wanted = {"deit": full["num_parameters"], "deit-48": full["num_parameters"], "768": wide}
    sizes = {name: sum(p.numel() for p in VARIANTS[name].make().module().parameters()) for name in wanted}
    assert sizes == wanted == {"deit": 135_171, "deit-48": 135_171, "768": 57_378_819}


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize("padded", [False, True])
def test_closed_form_is_what_runs(config, padded):
    made, query, candidates = r2former(config), images(1, 40, padded=padded), images(6, 30, seed=2, padded=padded)
    form = made.closed_form(query, candidates)
    counted = count(lambda: score(made, query, candidates), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(RerankError, match="8 wide.*wanted 10"):
        score(r2former(), images(1, 4, width=8), images(2, 4, width=8))
    with pytest.raises(RerankError, match="without the size of the image"):
        score(r2former(), replace(images(1, 4), size=None), replace(images(2, 4), size=None))


def test_a_checkpoint_of_another_variant_names_its_keys():
    with pytest.raises(RerankError, match="misshapen: .*blocks.0.attn.proj.weight"):
        build("r2former:768", checkpoint=golden("r2former-a") / "checkpoint.pth")


def test_reduced_precision_runs():
    made, query, candidates = r2former(), images(1, 6), images(5, 5, seed=2)
    exact = score(made, query, candidates)
    made.dtype = torch.bfloat16
    found = score(made, query, candidates)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0.1)
