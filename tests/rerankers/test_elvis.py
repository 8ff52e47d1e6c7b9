from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from bench.measure.flops import count
from bench.parity.case import Case
from bench.parity.run import run_case
from rerankers import Features, RerankError, build
from rerankers.elvis import VARIANTS, Elvis, ElvisConfig
from tests.rerankers.naive_elvis import naive_elvis
from tests.support import altered, golden

SMALL = ElvisConfig(local_dim=12, embed=6, hidden=8, iterations=4)


def elvis(config: ElvisConfig = SMALL, seed: int = 0) -> Elvis:
    torch.manual_seed(seed)
    made = Elvis(config)
    for parameter in made.network.f.parameters():
        torch.nn.init.normal_(parameter, std=2.0)
    return made


def images(count_: int, length: int, *, seed: int = 1, width: int = 12, padded: bool = False) -> Features:
    draw = torch.Generator().manual_seed(seed)
    valid = torch.rand(count_, length, generator=draw) < 0.6 if padded else torch.ones(count_, length, dtype=torch.bool)
    return Features(local=torch.randn(count_, length, width, generator=draw), valid=valid)


def score(made: Elvis, query: Features, candidates: Features) -> torch.Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


@pytest.mark.parametrize("name", ["elvis-a", "elvis-b"])
def test_reference_cases(name):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report


@pytest.mark.parametrize("output", ["sim", "transport", "src_dust", "correlation", "votes"])
def test_a_wrong_output_is_seen(tmp_path, output):
    def change(outputs):
        outputs[output] = outputs[output] + 1e-3 * abs(outputs[output]).max()

    report = run_case(altered(tmp_path, "elvis-b", change))
    assert report.verdict == "off" and report.worst.output == output


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("temperature", [10.0, 15.0, 60.0])
def test_scores_are_those_of_the_definition(padded, temperature):
    """15 still leaves the log domain, 60 does not."""
    made = elvis(replace(SMALL, temperature=temperature))
    assert made.network.exponential == (temperature < 20)
    query, candidates = images(1, 9, padded=padded), images(7, 5, seed=2, padded=padded)
    torch.testing.assert_close(
        score(made, query, candidates), naive_elvis(made, query, candidates), atol=2e-5, rtol=2e-5
    )


@pytest.mark.parametrize("corner", [-50.0, 3.0, 1e4])
def test_a_large_dustbin_takes_the_safe_way(corner):
    made = elvis()
    with torch.no_grad():
        made.network.dust_bin.fill_(corner)
    assert not made.network.exponential
    query, candidates = images(1, 9), images(7, 5, seed=2, padded=True)
    found = score(made, query, candidates)
    torch.testing.assert_close(found, naive_elvis(made, query, candidates), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("candidates", [1, 400])
def test_how_many_are_scored_at_once_changes_nothing(candidates):
    made, query, others = elvis(), images(1, 9, padded=True), images(candidates, 6, seed=2, padded=True)
    usual = made.ranking(query, others, torch.zeros(candidates))
    for made.at_once in (1, 3, candidates):
        torch.testing.assert_close(score(made, query, others), usual.key, atol=1e-5, rtol=1e-5)


def test_no_valid_descriptors_is_a_finite_score():
    query, candidates = images(1, 5), images(3, 4, seed=2)
    for one, others in (
        (query, replace(candidates, valid=~candidates.valid)),
        (replace(query, valid=~query.valid), candidates),
    ):
        found = score(elvis(), one, others)
        assert found.isfinite().all() and len(found.unique()) == 1
        torch.testing.assert_close(found, naive_elvis(elvis(), one, others))
    nothing = score(elvis(), replace(query, valid=~query.valid), replace(candidates, valid=~candidates.valid))
    assert nothing.tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_descriptors_keep_the_order(value):
    flat = Features(local=torch.full((4, 5, 12), value), valid=torch.ones(4, 5, dtype=torch.bool))
    assert elvis().rank(flat[:1], flat, torch.zeros(4)).tolist() == [0, 1, 2, 3]


def test_published_sizes():
    full = json.loads((golden("elvis") / "full_size.json").read_text())
    counts = full["all_counts"]
    wanted = {
        "dinov2": counts["dinov2"]["parameters"],
        "dinov3": counts["dinov3 (conf: 1024)"]["parameters"],
        "siglip2": counts["siglip2 (conf: 1152)"]["parameters"],
    }
    sizes = {name: sum(p.numel() for p in VARIANTS[name].make().module().parameters()) for name in wanted}
    assert sizes == wanted == {"dinov2": 115_604, "dinov3": 148_372, "siglip2": 164_756}


def test_work_is_the_published_one_with_the_query_projected_once():
    full = json.loads((golden("elvis") / "full_size.json").read_text())["flops"]["600 x 100"]["per_100_candidates"]
    query, candidates = (
        Features(valid=torch.ones(n, length, dtype=torch.bool)) for n, length in ((1, 600), (100, 100))
    )
    found = VARIANTS["dinov2-100"].make().closed_form(query, candidates).algorithmic
    again = 99 * 600 * 2 * (768 * 128 + 128 * 128 + 128)
    assert found + again == full


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, temperature=60.0), replace(SMALL, binarized=True)])
def test_closed_form_is_what_runs(config):
    made, query, candidates = elvis(config), images(1, 60), images(6, 50, seed=2, padded=True)
    counted = count(lambda: score(made, query, candidates), closed_form=made.closed_form(query, candidates).executed)
    assert counted.verdict == "agree", counted.explanation


def test_descriptors_of_another_width_are_refused():
    with pytest.raises(RerankError, match="8 wide.*wanted 12"):
        score(elvis(), images(1, 4, width=8), images(2, 4, width=8))


def test_a_checkpoint_of_another_variant_names_its_keys():
    with pytest.raises(RerankError, match="misshapen: .*remap_local.0.weight \\(128, 48\\) for \\(128, 768\\)"):
        build("elvis", checkpoint=golden("elvis-a") / "checkpoint.pt")
    with pytest.raises(RerankError, match="missing: remap_local.0.W, remap_local.2.bias"):
        build("elvis:dinov2-binarized", checkpoint=golden("elvis-a") / "checkpoint.pt")


def test_reduced_precision_runs():
    made, query, candidates = elvis(), images(1, 9), images(5, 6, seed=2)
    exact = score(made, query, candidates)
    made.dtype = torch.bfloat16
    found = score(made, query, candidates)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.5, rtol=0.1)
