from __future__ import annotations

import json

import pytest
import torch

from bench.measure.flops import count
from bench.parity.case import Case
from bench.parity.run import run_case
from rerankers import Features, RerankError, build
from rerankers.cvnet import CELL_NORM, VARIANTS, Cvnet, CvnetConfig, CvnetOnGrid, laid_out
from tests.rerankers.naive_cvnet import naive_cvnet, pair
from tests.support import altered, golden

SMALL = CvnetConfig(channels=12, compressed=8)
GRID = (3, 4)
#: That of the reference cases; how float32 rounds depends on the machine's convolutions.
ROUNDING = {"atol": 5e-5, "rtol": 1e-4}
SIZES = [(6, 5), (4, 7), (6, 5), (5, 5), (6, 5), (4, 7), (2, 3)]


def cvnet(config: CvnetConfig = SMALL, seed: int = 0) -> Cvnet:
    torch.manual_seed(seed)
    made = Cvnet(config)
    for parameter in made.network.cv_learner.mlp.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    return made


def images(sizes, *, seed: int = 1, channels: int = 12, factor: float = 1.0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    return Features(dense=tuple(factor * torch.randn(channels, *size, generator=draw) for size in sizes))


def score(made: Cvnet, query: Features, candidates: Features) -> torch.Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


@pytest.mark.parametrize("name", ["cvnet-learner-a", "cvnet-learner-b", "cvnet-path-small", "cvnet-path-full"])
def test_reference_cases(name):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report


@pytest.mark.parametrize("name", ["cvnet-rank", "cvnet-rank-plain"])
def test_reference_cases_of_the_protocol(name):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report


def test_a_wrong_output_is_seen(tmp_path):
    def change(outputs):
        lists = outputs["ranks_M_top100"]
        lists[[3, 4], 0] = lists[[4, 3], 0]

    report = run_case(altered(tmp_path, "cvnet-rank", change))
    assert report.verdict == "off" and report.worst.output == "ranks_M_top100"


@pytest.mark.parametrize("at_once", [None, 1, 3, 100])
def test_scores_are_those_of_the_definition_in_the_order_of_the_candidates(at_once):
    made, query, candidates = cvnet(), images([(7, 6)]), images(SIZES, seed=2)
    made.at_once = at_once
    torch.testing.assert_close(score(made, query, candidates), naive_cvnet(made, query, candidates), **ROUNDING)


@pytest.mark.parametrize("factor", [1e-9, 1e-5, 1e-3])
def test_small_maps_feel_what_is_added_to_their_norms(factor):
    made, query = cvnet(), images([(7, 6)])
    candidates = Features(dense=(*images(SIZES[:3], seed=2).dense, *images(SIZES[:3], seed=3, factor=factor).dense))
    torch.testing.assert_close(score(made, query, candidates), naive_cvnet(made, query, candidates), **ROUNDING)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_of_one_value_keep_the_order(value):
    flat = Features(dense=(torch.full((12, 4, 4), value),) * 4)
    found = cvnet().ranking(flat[:1], flat, torch.zeros(4))
    assert found.order.tolist() == [0, 1, 2, 3] and found.key.isfinite().all()


@pytest.mark.parametrize("candidates", [1, 400])
def test_any_number_of_candidates(candidates):
    assert score(cvnet(), images([(4, 4)]), images([(3, 3)] * candidates, seed=2)).shape == (candidates,)


def test_published_size():
    full = json.loads((golden("cvnet") / "full_size.json").read_text())["parameters"]["CVNet-R50"]
    network = VARIANTS["r50"].make().module()
    assert sum(p.numel() for p in network.parameters()) == full["reranker_total"] == 7_486_114
    assert sum(p.numel() for p in network.cv_learner.parameters()) == full["cv_learner"]


def test_work_is_the_published_one_without_the_query_done_again():
    made, maps = VARIANTS["r50"].make(), Features(dense=(torch.empty(1024, 32, 32, device="meta"),))
    full = json.loads((golden("cvnet") / "full_size.json").read_text())["sizes"]["512x512"]
    published = full["GFLOP_one_pair (2*MAC, matmul and convolution only)"]
    assert made.closed_form(maps, maps).algorithmic / 1e9 == pytest.approx(published, rel=1e-3)


def test_closed_form_is_what_runs():
    made, query, candidates = cvnet(), images([(7, 6)]), images(SIZES, seed=2)
    form = made.closed_form(query, candidates)
    counted = count(lambda: score(made, query, candidates), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation


def micro() -> Cvnet:
    return Cvnet(VARIANTS["micro"].make().network.config)


def micro_maps(count: int, *, seed: int, side: int = 16) -> Features:
    found = images([(side, side)] * count, seed=seed, channels=128)
    return Features(dense=tuple(512 * torch.nn.functional.normalize(one.relu(), dim=0) for one in found.dense))


def test_logits_of_pairs_are_those_behind_the_scores():
    made, candidates = cvnet(), images(SIZES, seed=2)
    queries = images([(7, 6), (7, 6), (6, 5), (7, 6), (7, 6), (4, 7), (7, 6)])
    found = made.pair_logits(queries, candidates)
    pairs = [score(made, queries[i : i + 1], candidates[i : i + 1]) for i in range(len(SIZES))]
    torch.testing.assert_close(found.sigmoid(), torch.cat(pairs), atol=1e-5, rtol=0)
    assert found.requires_grad and found.std() > 0.01
    with torch.inference_mode():
        torch.testing.assert_close(made.pair_logits(queries, candidates), found, atol=1e-4, rtol=1e-4)


def test_every_parameter_learns_from_pairs():
    made = micro()
    found = made.pair_logits(micro_maps(4, seed=1), micro_maps(4, seed=2))
    torch.nn.functional.binary_cross_entropy_with_logits(found, torch.tensor([0.0, 1, 0, 1])).backward()
    for name, parameter in made.network.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_gradients_are_those_of_the_definition():
    made, query, candidates = cvnet(), images([(4, 5)] * 2), images([(4, 5), (5, 3)], seed=2)
    parameters = dict(made.network.named_parameters())
    state = made.network.state_dict(keep_vars=True)
    wanted = [pair(state, SMALL, *(side.dense[i][None] for side in (query, candidates))) for i in range(2)]
    found = made.pair_logits(query, candidates).sigmoid()
    ends = [torch.autograd.grad(one.sum(), list(parameters.values())) for one in (torch.stack(wanted), found)]
    for name, one, other in zip(parameters, *ends, strict=True):
        torch.testing.assert_close(other, one, atol=1e-3 * float(one.abs().max()), rtol=1e-3, msg=name)


@pytest.mark.parametrize("cells", [slice(0, 8), slice(0, 15), slice(None)])
def test_empty_cells_leave_gradients_finite(cells):
    made, query, candidates = micro(), micro_maps(3, seed=1), micro_maps(3, seed=2)
    for one in (*query.dense[:2], *candidates.dense[1:]):
        one[:, cells] = 0
    found = made.pair_logits(query, candidates)
    found.square().sum().backward()
    assert found.isfinite().all()
    for name, parameter in made.network.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() < 1e4, name


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(RerankError, match="8 channels.*wanted 12"):
        score(cvnet(), images([(4, 4)], channels=8), images([(4, 4)]))
    with pytest.raises(RerankError, match="feature map of 1 x 5.*at least 2 x 2"):
        score(cvnet(), images([(4, 4)]), images([(4, 4), (1, 5)]))


def test_official_checkpoints_load_without_their_backbone(tmp_path):
    made = VARIANTS["r50"].make()
    state = made.network.state_dict()
    torch.save({"model_state": state | {"encoder_q.head.pool.p": torch.ones(1)}}, tmp_path / "whole.pyth")
    loaded = build("cvnet", checkpoint=tmp_path / "whole.pyth")
    assert torch.equal(loaded.network.conv2ds[1].weight, made.network.conv2ds[1].weight)
    del state["cv_learner.mlp.2.bias"]
    torch.save({"model_state": state | {"other": torch.ones(1)}}, tmp_path / "half.pyth")
    with pytest.raises(RerankError, match="missing: cv_learner.mlp.2.bias; unexpected: other"):
        build("cvnet", checkpoint=tmp_path / "half.pyth")


def test_reduced_precision_runs():
    made, query, candidates = cvnet(), images([(7, 6)]), images(SIZES, seed=2)
    exact = score(made, query, candidates)
    made.dtype = torch.bfloat16
    found = score(made, query, candidates)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0.1)


def described(count_: int, *, seed: int, size: bool = True, length: int = 40) -> Features:
    """Images of random descriptors in random places, some beyond the border, some padding."""
    draw = torch.Generator().manual_seed(seed)
    extent = torch.tensor([[480.0, 360.0], [360.0, 480.0], [97.0, 97.0]])[torch.arange(count_) % 3]
    within = 1.1 * torch.rand(count_, length, 2, generator=draw) - 0.05
    return Features(
        local=torch.nn.functional.normalize(torch.randn(count_, length, 12, generator=draw), dim=2),
        xy=within * extent[:, None] if size else within,
        size=extent if size else None,
        valid=torch.rand(count_, length, generator=draw) < 0.8,
    )


@pytest.mark.parametrize("length", [40, 9])
@pytest.mark.parametrize("size", [True, False])
def test_descriptors_stand_in_reading_order(size, length):
    given = described(6, seed=1, size=size, length=length)
    maps = laid_out(given, (3, 8)).dense
    shapes = [(3, 8), (8, 3), (3, 8)] * 2 if size else [(3, 8)] * 6
    for number, (rows, columns) in enumerate(shapes):
        known = [place for place in range(min(length, rows * columns)) if given.valid[number, place]]
        x, y = given.xy[number].T.tolist()
        downwards = sorted(known, key=y.__getitem__)
        naive = torch.zeros(2 * rows, 2 * columns, 12)
        for row in range(rows):
            along = sorted(downwards[row * columns : (row + 1) * columns], key=x.__getitem__)
            for column, place in enumerate(along):
                here = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
                naive[here] = CELL_NORM * given.local[number, place]
        assert torch.equal(maps[number], naive.permute(2, 0, 1))


def test_an_image_without_a_descriptor_is_an_empty_map():
    given = described(3, seed=2)
    given.valid[1] = False
    empty = laid_out(given, GRID).dense[1]
    assert empty.shape == (12, 8, 6) and not empty.any()
    torch.manual_seed(0)
    assert CvnetOnGrid(SMALL, grid=GRID).score(given[1:2], given).isfinite().all()


def test_on_a_grid_maps_are_scored_as_ever():
    torch.manual_seed(0)
    made, usual = CvnetOnGrid(SMALL, grid=GRID), cvnet()
    made.network = usual.network
    query, candidates = described(1, seed=3), described(5, seed=4)
    first, others = laid_out(query, GRID), laid_out(candidates, GRID)
    assert torch.equal(score(made, query, candidates), score(usual, first, others))
    assert made.closed_form(query, candidates) == usual.closed_form(first, others)
    counted = count(lambda: made.score(query, candidates), closed_form=made.closed_form(query, candidates).executed)
    assert counted.verdict == "agree", counted.explanation
    beside = query[torch.zeros(5, dtype=torch.long)]
    with torch.no_grad():
        logits = made.pair_logits(beside, candidates)
        assert torch.equal(logits, usual.pair_logits(laid_out(beside, GRID), others))
    torch.testing.assert_close(logits.sigmoid(), made.score(query, candidates), atol=1e-4, rtol=1e-4)
