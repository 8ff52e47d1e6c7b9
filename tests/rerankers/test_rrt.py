from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from bench.measure.flops import count
from bench.parity.case import Case
from bench.parity.run import run_case
from rerankers import Features, RerankError, build
from rerankers.rrt import SCALES, VARIANTS, RrtConfig, RrtGld, RrtSop, scale_indices
from tests.rerankers.naive_rrt import naive_rrt
from tests.support import altered, golden

SMALL = RrtConfig(width=16, heads=2, layers=3, hidden=24, global_dim=12)
ALL = [
    SMALL,
    replace(SMALL, norm_first=True),
    replace(SMALL, activation="gelu", layers=2),
    replace(SMALL, layers=1, heads=4),
    replace(SMALL, scale_unit=4.0),
]


def gld(config: RrtConfig = SMALL, seed: int = 0) -> RrtGld:
    torch.manual_seed(seed)
    made = RrtGld(config)
    for name, parameter in made.network.named_parameters():
        if name.endswith("bias"):  # zero at the start, which would hide a forgotten one
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def images(count_: int, length: int, *, seed: int = 1, width: int = 16, padded: bool = False) -> Features:
    draw = torch.Generator().manual_seed(seed)
    valid = torch.rand(count_, length, generator=draw) < 0.6 if padded else torch.ones(count_, length, dtype=torch.bool)
    local = torch.randn(count_, length, width, generator=draw)
    return Features(
        global_=torch.randn(count_, 12, generator=draw),
        local=torch.where(valid[..., None], local, 1e3),
        scale=torch.tensor(SCALES)[torch.randint(7, (count_, length), generator=draw)],
        valid=valid,
    )


def grids(count_: int, *, seed: int = 1, size: tuple[int, int] = (3, 4)) -> Features:
    return Features(dense=tuple(torch.randn(count_, 16, *size, generator=torch.Generator().manual_seed(seed))))


def score(made, query: Features, candidates: Features) -> torch.Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


@pytest.mark.parametrize("name", ["rrt_gld-a", "rrt_gld-b", "rrt_sop-a"])
def test_reference_cases(name):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report


@pytest.mark.parametrize(("name", "output"), [("rrt_gld-a", "scores"), ("rrt_sop-a", "pos_embed")])
def test_a_wrong_output_is_seen(tmp_path, name, output):
    def change(outputs):
        outputs[output] = outputs[output] + 1e-2

    report = run_case(altered(tmp_path, name, change))
    assert report.verdict == "off" and report.worst.output == output


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize("padded", [False, True])
def test_scores_are_those_of_the_definition(config, padded):
    made, query, candidates = gld(config), images(1, 9, padded=padded), images(7, 5, seed=2, padded=padded)
    torch.testing.assert_close(score(made, query, candidates), naive_rrt(made, query, candidates), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("config", [replace(SMALL, global_dim=None), replace(ALL[1], global_dim=None)])
def test_grids_are_scored_as_defined(config):
    torch.manual_seed(0)
    made, query, candidates = RrtSop(config), grids(1), grids(7, seed=2)
    torch.testing.assert_close(score(made, query, candidates), naive_rrt(made, query, candidates), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("candidates", [1, 30, 400])
def test_how_many_are_scored_at_once_changes_nothing(candidates):
    made, query, others = gld(), images(1, 6, padded=True), images(candidates, 5, seed=2, padded=True)
    usual = made.ranking(query, others, torch.zeros(candidates))
    for made.at_once in (1, 3, candidates):
        found = made.ranking(query, others, torch.zeros(candidates))
        torch.testing.assert_close(found.key, usual.key, atol=1e-5, rtol=1e-5)
        assert torch.equal(found.order, usual.order)


def test_images_without_descriptors_are_scored_by_their_globals():
    query, candidates = images(1, 6), images(3, 5, seed=2)
    blank = replace(candidates, valid=torch.zeros_like(candidates.valid))
    for one, others in ((query, blank), (replace(query, valid=torch.zeros_like(query.valid)), candidates)):
        found = score(gld(), one, others)
        assert found.isfinite().all() and len(found.unique()) == 3
        torch.testing.assert_close(found, naive_rrt(gld(), one, others), atol=2e-5, rtol=2e-5)


def test_equal_descriptors_everywhere_give_equal_scores():
    flat = Features(
        global_=torch.ones(4, 12),
        local=torch.ones(4, 5, 16),
        scale=torch.ones(4, 5),
        valid=torch.ones(4, 5, dtype=torch.bool),
    )
    found = gld().ranking(flat[:1], flat, torch.zeros(4))
    assert found.order.tolist() == [0, 1, 2, 3] and len(found.key.unique()) == 1


@pytest.mark.parametrize("given", ["float32", "float64"])
def test_the_seven_scales_of_delg_collapse_as_in_the_official_code(given):
    scales = torch.tensor(SCALES, dtype=getattr(torch, given))
    collapsed = [0, 0, 2, 2, 4, 4, 6] if given == "float32" else list(range(7))
    assert scale_indices(scales, 1.0).tolist() == collapsed
    assert scale_indices(torch.tensor([0.0, 0.1, 3.9, 4.0, 100.0]), 1.0).tolist() == [0, 0, 5, 6, 6]
    assert scale_indices(torch.tensor([2.0, 4.0, 16.0]), 4.0).tolist() == [0, 2, 6]


def test_published_sizes():
    full = {form: json.loads((golden(f"rrt_{form}") / "full_size.json").read_text()) for form in ("gld", "sop")}
    wide = {form: one["width_768_variants"]["parameters"] for form, one in full.items()}
    wanted = {
        "gld": full["gld"]["num_parameters"],
        "gld-50": full["gld"]["num_parameters"],
        "768": wide["gld"]["d_global=768, dim_feedforward=1024, normalize_before=False"],
        "768-ff3072": wide["gld"]["d_global=768, dim_feedforward=3072, normalize_before=False"],
        "sop": full["sop"]["num_parameters"],
        "sop-768": wide["sop"]["dim_feedforward=1024"],
    }
    sizes = {name: sum(p.numel() for p in VARIANTS[name].make().module().parameters()) for name in wanted}
    assert sizes == wanted == wanted | {"gld": 2_243_201, "768": 24_241_921, "sop": 1_979_777}


@pytest.mark.parametrize("config", ALL[:4])
@pytest.mark.parametrize("padded", [False, True])
def test_closed_form_is_what_runs(config, padded):
    made, query, candidates = gld(config), images(1, 30, padded=padded), images(6, 20, seed=2, padded=padded)
    form = made.closed_form(query, candidates)
    counted = count(lambda: score(made, query, candidates), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation
    assert (form.algorithmic < form.executed) == padded or config.layers == 1


def test_closed_form_of_grids_is_what_runs():
    made = RrtSop(replace(SMALL, global_dim=None))
    form = made.closed_form(grids(1), grids(6))
    counted = count(lambda: score(made, grids(1), grids(6)), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation


@pytest.mark.parametrize(
    ("made", "query", "candidates", "words"),
    [
        (gld(), images(1, 4, width=8), images(2, 4, width=8), "local descriptors 8 wide"),
        (gld(replace(SMALL, global_dim=99)), images(1, 4), images(2, 4), "global descriptors 12 wide"),
        (RrtSop(replace(SMALL, global_dim=None)), grids(1), grids(2, size=(3, 5)), "grids of"),
        (RrtSop(replace(SMALL, global_dim=None, width=32)), grids(1), grids(2), "one size \\(32, h, w\\)"),
    ],
)
def test_descriptors_that_do_not_fit_are_refused(made, query, candidates, words):
    with pytest.raises(RerankError, match=words):
        score(made, query, candidates)


def test_a_checkpoint_of_another_variant_names_its_keys(tmp_path):
    wrong = golden("rrt_gld-a") / "checkpoint.pt"
    with pytest.raises(RerankError, match="missing: encoder.layers.2"):
        build("rrt:gld", checkpoint=wrong)
    with pytest.raises(RerankError, match="unexpected: remap.bias, remap.weight"):
        build("rrt:sop", checkpoint=wrong)


def test_official_containers_load(tmp_path):
    made = VARIANTS["sop"].make()
    state = {f"matcher.{name}": value for name, value in made.network.state_dict().items()}
    for stored in ({"state": state | {"classifier.weight": torch.zeros(3)}}, state):
        torch.save(stored, tmp_path / "sop.pt")
        other = build("rrt:sop", checkpoint=tmp_path / "sop.pt")
        assert torch.equal(other.network.classifier.weight, made.network.classifier.weight)


def test_reduced_precision_runs():
    made, query, candidates = gld(), images(1, 6), images(5, 5, seed=2)
    exact = score(made, query, candidates)
    made.dtype = torch.bfloat16
    found = score(made, query, candidates)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0.1)
