from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rerankers import Features, RerankError, build
from rerankers.ames import VARIANTS, Ames, AmesConfig, flops
from tests.rerankers.naive_ames import naive_ames
from tests.support import golden

SMALL = AmesConfig(local_dim=12, width=16, heads=2, layers=3, hidden=24)
ALL = [
    SMALL,
    replace(SMALL, norm_first=True),
    replace(SMALL, activation="gelu", layers=2),
    replace(SMALL, layers=1),
    replace(SMALL, binarized=True),
    replace(SMALL, normalize_input=False, heads=4),
]
#: Rounding candidates to float16 may fall to the other neighbour when sums are ordered otherwise.
ONE_ROUNDING = 2e-3


def reranker(config: AmesConfig, seed: int = 0) -> Ames:
    torch.manual_seed(seed)
    made = Ames(config)
    for name, parameter in made.network.named_parameters():
        if name.endswith("bias"):  # zero at the start, which would hide a forgotten one
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def images(count: int, length: int, *, dim: int = 12, seed: int = 1) -> Features:
    generator = torch.Generator().manual_seed(seed)
    return Features(
        local=torch.randn(count, length, dim, generator=generator), valid=torch.ones(count, length, dtype=torch.bool)
    )


def holes(features: Features, seed: int = 2) -> Features:
    """The same images with half of their descriptors marked as padding, and garbage in these."""
    valid = torch.rand(features.valid.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return replace(features, valid=valid, local=torch.where(valid[..., None], features.local, 1e3))


def score(made: Ames, query: Features, candidates: Features) -> Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_scores_are_those_of_the_definition(layers: int, norm_first: bool, padded: bool) -> None:
    made = reranker(replace(SMALL, layers=layers, norm_first=norm_first))
    query, candidates = images(1, 7), images(5, 4, seed=3)
    if padded:
        query, candidates = holes(query), holes(candidates)
    wanted = naive_ames(
        made.network.state_dict(),
        query.local.expand(5, -1, -1),
        candidates.local,
        query.valid.expand(5, -1),
        candidates.valid,
        heads=2,
        norm_first=norm_first,
    )
    found = score(made, query, candidates)
    assert found.std() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_parameters_are_the_published_ones() -> None:
    cases = json.loads((golden("ames") / "full_size.json").read_text())["all_counts"]
    assert len(cases) == 8
    for name, case in cases.items():
        given = case["config"]
        config = AmesConfig(
            local_dim=given["local_dim"],
            width=given["model_dim"],
            heads=given["nhead"],
            layers=given["num_encoder_layers"],
            hidden=given["dim_feedforward"],
            binarized=given["binarized"],
        )
        with torch.device("meta"):
            counted = sum(p.numel() for p in Ames(config).network.parameters())
        assert counted == case["parameters"], name


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [
        ("dinov2", 2_079_745),
        ("dinov2-50", 2_079_745),
        ("dinov2-binarized", 2_096_129),
        ("cvnet", 2_112_513),
        ("cvnet-binarized", 2_128_897),
        ("768", 32_113_665),
        ("rootsift", 1_997_825),
    ],
)
def test_variants_have_their_sizes(variant: str, parameters: int) -> None:
    assert sum(p.numel() for p in VARIANTS[variant].make().module().parameters()) == parameters


def test_published_blends() -> None:
    wanted = {"dinov2": (0.55, 0.30), "dinov2-binarized": (0.35, 0.10), "cvnet": (0.85, 0.80)}
    wanted["cvnet-binarized"] = (0.65, 0.20)
    assert {name: VARIANTS[name].blend for name in wanted} == wanted
    assert next(iter(VARIANTS)) == "dinov2"


@pytest.mark.parametrize("config", ALL, ids=str)
def test_permuted_candidates_have_permuted_scores(config: AmesConfig) -> None:
    made, query, candidates = reranker(config), images(1, 6), images(9, 5, seed=3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    permuted = score(made, query, candidates[order])
    torch.testing.assert_close(permuted, score(made, query, candidates)[order], atol=ONE_ROUNDING, rtol=0)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_padding_changes_nothing(config: AmesConfig) -> None:
    made, query, candidates = reranker(config), images(1, 6), images(4, 5, seed=3)

    def padded(features: Features) -> Features:
        garbage = torch.full_like(features.local, 7.0)
        return Features(
            local=torch.cat([features.local, garbage], dim=1),
            valid=torch.cat([features.valid, ~features.valid], dim=1),
        )

    torch.testing.assert_close(
        score(made, padded(query), padded(candidates)), score(made, query, candidates), atol=ONE_ROUNDING, rtol=0
    )


@pytest.mark.parametrize("config", ALL, ids=str)
def test_one_candidate_at_a_time_gives_the_same_scores(config: AmesConfig) -> None:
    made, query, candidates = reranker(config), images(1, 6), holes(images(7, 5, seed=3))
    together = score(made, query, candidates)
    alone = torch.cat([score(made, query, candidates[i : i + 1]) for i in range(7)])
    made.at_once = 1
    chunked = score(made, query, candidates)
    torch.testing.assert_close(alone, together, atol=ONE_ROUNDING, rtol=0)
    torch.testing.assert_close(chunked, together, atol=ONE_ROUNDING, rtol=0)


def test_duplicates_have_equal_scores() -> None:
    made, query, one = reranker(SMALL), images(1, 6), images(1, 5, seed=3)
    found = score(made, query, one[torch.zeros(6, dtype=torch.int64)])
    torch.testing.assert_close(found, found[:1].expand(6), atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", ALL, ids=str)
@pytest.mark.parametrize(("queries", "length", "count"), [(6, 5, 9), (1, 1, 1), (0, 5, 2), (6, 0, 2)])
def test_closed_form_is_what_the_dispatcher_counts(config: AmesConfig, queries: int, length: int, count: int) -> None:
    made, query, candidates = reranker(config), images(1, queries), images(count, length, seed=3)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        made.score(query, candidates)
    assert made.closed_form(query, candidates).executed == counter.get_total_flops()


def test_closed_form_by_hand() -> None:
    """One descriptor each, width 2, hidden 3, one head, two layers, descriptors 5 wide: multiply-adds one by one."""
    config = AmesConfig(local_dim=5, width=2, heads=1, layers=2, hidden=3)
    query_side = 10 + 2 * 12 + 8 + 4 + 12  # projected; query and token to q, k, v; 1 row, 2 keys; out; q, k, v again
    first = 2 * 12 + 4 * (2 + 3) + 2 * 4  # candidate and token to q, k, v; 1 row of 2 keys, 1 of 3; out
    first += 2 * 12 + 4 * (2 + 2 + 3) + 3 * 4 + 3 * 12  # across: q, k, v; 3 rows; out; feed-forward
    last = 3 * 16 + 4 * (2 + 2 + 3)  # own image
    whole = 3 * 8 + 4 + 4 * 3 + 4 + 12  # keys and values of all, one query; one row of 3 keys; out; feed-forward
    folded = 4 * 4 + 4 * 3 + 12
    assert flops(config, 1, [1], folded=False) == 2 * (query_side + 10 + first + last + whole + 2)
    assert flops(config, 1, [1], folded=True) == 2 * (query_side + 10 + first + last + folded + 2)


@pytest.mark.parametrize(("width", "queries", "gflop"), [(128, 50, 35.9), (128, 600, 292.6), (768, 50, 559.1)])
def test_what_the_published_sizes_need_for_100_candidates(width: int, queries: int, gflop: float) -> None:
    config = AmesConfig(width=width)
    assert round(flops(config, queries, [50] * 100, folded=False) / 1e9, 1) == gflop
    assert flops(config, queries, [50] * 100, folded=True) / 1e9 < gflop


def test_algorithmic_flops_leave_padding_out() -> None:
    made, query, candidates = reranker(SMALL), images(1, 6), holes(images(4, 5, seed=3))
    counted = made.closed_form(query, candidates)
    assert counted.algorithmic == flops(SMALL, 6, candidates.valid.sum(1).tolist(), folded=False)
    assert counted.executed == flops(SMALL, 6, [5] * 4, folded=True)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_gradients_reach_every_parameter(config: AmesConfig) -> None:
    network = reranker(config).network.train()
    query, candidate = holes(images(30, 6)), holes(images(30, 5, seed=3))
    loss = network(query.local, candidate.local, query.valid, candidate.valid).square().sum()
    loss.backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters())


@pytest.mark.parametrize("config", ALL, ids=str)
def test_all_tokens_lead_to_the_same_logit_and_gradient(config: AmesConfig) -> None:
    network = reranker(config).network.train()
    query, candidate = holes(images(3, 6)), holes(images(3, 5, seed=3))
    inputs = query.local, candidate.local, query.valid, candidate.valid

    def gradient(logits: Tensor) -> Tensor:
        return torch.autograd.grad(logits.sum(), network.decoder.layers[0].self_attn.in_proj_weight)[0]

    short, whole = network(*inputs), network.classify(network.encode(*inputs)[:, :1])[:, 0]
    torch.testing.assert_close(short, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient(short), gradient(whole), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_masks_are_optional_and_one_query_serves_all_pairs(config: AmesConfig) -> None:
    network = reranker(config).network
    query, candidates = images(1, 6), images(4, 5, seed=3)
    bare = network(query.local, candidates.local)
    masked = network(query.local.expand(4, -1, -1), candidates.local, query.valid.expand(4, -1), candidates.valid)
    torch.testing.assert_close(bare, masked, atol=ONE_ROUNDING, rtol=0)
    one_sided = network(query.local, candidates.local, None, candidates.valid)
    torch.testing.assert_close(bare, one_sided, atol=ONE_ROUNDING, rtol=0)


@pytest.mark.parametrize("config", [config for config in ALL if not config.binarized], ids=str)
def test_float64_is_close_to_float32(config: AmesConfig) -> None:
    made, query, candidates = reranker(config), images(1, 6), images(4, 5, seed=3)
    single = score(made, query, candidates)
    made.network.double()
    double = score(made, query, candidates)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, atol=ONE_ROUNDING, rtol=0)


def test_only_a_normalised_input_forgets_its_length() -> None:
    query, candidates = images(1, 6), images(4, 5, seed=3)
    longer = replace(query, local=3 * query.local)
    changes = {}
    for normalize in (True, False):
        made = reranker(replace(SMALL, normalize_input=normalize))
        changes[normalize] = (score(made, query, candidates) - score(made, longer, candidates)).abs().max().item()
    assert changes[True] < 1e-4 < 1e-2 < changes[False]


def test_images_without_descriptors_and_zero_descriptors_have_finite_scores() -> None:
    for config in ALL:
        made, query, candidates = reranker(config), images(1, 6), images(4, 5, seed=3)
        nothing = replace(query, valid=torch.zeros_like(query.valid))
        zero = replace(candidates, local=torch.zeros_like(candidates.local))
        for one, others in ((nothing, candidates), (query, zero), (nothing, holes(candidates[:0]))):
            assert bool(torch.isfinite(score(made, one, others)).all())


def test_reads_the_strongest_descriptors_only() -> None:
    torch.manual_seed(0)
    made = Ames(SMALL, query_locals=4, candidate_locals=3)
    query, candidates = images(1, 6), images(4, 5, seed=3)
    assert torch.equal(score(made, query, candidates), score(made, query.truncated(4), candidates.truncated(3)))
    assert not torch.equal(score(made, query, candidates), made.score(query, candidates))


def test_a_checkpoint_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    made = build("ames:rootsift", allow_random=True, seed=3)
    path = tmp_path / "ames.pt"
    torch.save({"state": made.module().state_dict()}, path)
    query, candidates = images(1, 50, dim=128), images(2, 50, dim=128, seed=3)
    again = build("ames:rootsift", checkpoint=path)
    assert torch.equal(score(again, query, candidates), score(made, query, candidates))
    with pytest.raises(RerankError, match=r"misshapen: remap_local\.0\.weight \(128, 128\) for \(128, 768\)"):
        build("ames:dinov2", checkpoint=path)


def test_an_impossible_network_is_refused() -> None:
    with pytest.raises(RerankError, match="0 layers"):
        AmesConfig(layers=0)
    with pytest.raises(RerankError, match="3 heads"):
        AmesConfig(heads=3)


def test_descriptors_may_come_in_half_precision() -> None:
    made, query, candidates = reranker(SMALL), images(1, 6), images(4, 5, seed=3)
    half = [replace(side, local=side.local.half()) for side in (query, candidates)]
    single = [replace(side, local=side.local.float()) for side in half]
    assert torch.equal(score(made, *half), score(made, *single))


def test_runs_under_autocast() -> None:
    made, query, candidates = reranker(SMALL), images(1, 6), holes(images(4, 5, seed=3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = score(made, query, candidates)
    torch.testing.assert_close(rounded.float(), score(made, query, candidates), atol=0.2, rtol=0)
