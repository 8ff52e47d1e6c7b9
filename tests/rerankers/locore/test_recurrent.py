"""LOCORE with recurrences: what each direction reads, and that every candidate is equally near to the query."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.measure.flops import count
from rerankers import Features, RerankError
from rerankers.locore.entry import Lists
from rerankers.locore.recurrent import (
    BothWays,
    Crossing,
    LocoreRecurrent,
    Mamba,
    RecurrentConfig,
    Rwkv,
    ways,
)
from rerankers.locore.scans import STEPS

SIZES = {"local_dim": 12, "global_dim": 10, "width": 16, "heads": 2, "hidden": 24, "mixed": 20, "state": 4}
RWKV = RecurrentConfig(kind="rwkv", layers=3, crossings=(0, 2), table=400, **SIZES)
MAMBA = replace(RWKV, kind="mamba")
BOTH = pytest.mark.parametrize("config", [RWKV, MAMBA], ids=["rwkv", "mamba"])


def made(config: RecurrentConfig, seed: int = 0) -> LocoreRecurrent:
    torch.manual_seed(seed)
    built = LocoreRecurrent(config)
    for name, parameter in built.network.named_parameters():  # drawn small or zero, which would hide a missing part
        crosses = name.startswith(("crossings", "classifier")) and name.endswith("weight")
        if crosses or name.endswith(("in_proj.weight", "x_proj.weight", "out_proj.weight")):
            nn.init.normal_(parameter, mean="norm" in name, std=0.3)
        elif name.endswith("bias") and "dt_proj" not in name:
            nn.init.normal_(parameter, std=0.3)
    return built


def images(count_: int, length: int = 5, *, seed: int = 1, padded: bool = False) -> Features:
    draw = torch.Generator().manual_seed(seed)
    real = torch.randint(0 if padded else length, length + 1, (count_, 1), generator=draw)
    valid = torch.arange(length) < real
    return Features(
        global_=torch.randn(count_, 10, generator=draw),
        local=torch.randn(count_, length, 12, generator=draw),
        scale=torch.randint(3, (count_, length), generator=draw),
        valid=valid,
    )


def score(built: LocoreRecurrent, query: Features, candidates: Features) -> Tensor:
    return built.ranking(query, candidates, torch.zeros(len(candidates))).key


def silenced(built: LocoreRecurrent) -> LocoreRecurrent:
    """Without what recurrent blocks find."""
    for name, parameter in built.network.blocks.named_parameters():
        if name.endswith(("attention.output.weight", "feed_forward.value.weight", "out_proj.weight")):
            nn.init.zeros_(parameter)
    return built


@BOTH
def test_the_seed_decides_everything(config):
    query, candidates = images(1), images(7, seed=2)
    first, again, other = (LocoreRecurrent(config) for seed in (0, 0, 1) if torch.manual_seed(seed))
    found = score(first, query, candidates)
    assert found.isfinite().all() and len(found.unique()) == 7
    assert torch.equal(found, score(first, query, candidates))
    assert torch.equal(found, score(again, query, candidates))
    assert not torch.equal(found, score(other, query, candidates))


@BOTH
def test_no_weight_is_left_as_memory_was(config):
    """Deterministic algorithms fill new memory with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        network = LocoreRecurrent(config).network
        network.initialize()
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert not network.blocks.training
    for drawn in (network.sep_embedding, network.position_embeddings.weight, network.crossings["0"].out.weight):
        assert 0.01 < drawn.std() < 0.03
    for name, parameter in network.named_parameters():
        if name.endswith("A_log"):
            assert torch.equal(parameter, torch.arange(1.0, 5.0).log().expand_as(parameter))
        if name.endswith("dt_proj.bias"):
            steps = nn.functional.softplus(parameter)
            assert steps.min() > 0.99e-3 and steps.max() < 0.101
        if name.endswith("time_decay"):
            assert parameter[0] == -5 and torch.equal(parameter.sort().values, parameter)


@BOTH
def test_what_padding_holds_changes_nothing(config):
    query, candidates = images(1, seed=3, padded=True), images(9, seed=4, padded=True)
    assert not candidates.valid.all() and not query.valid.all()
    other = [
        replace(
            side,
            local=torch.where(side.valid[..., None], side.local, 1e3 * torch.randn_like(side.local)),
            scale=torch.where(side.valid, side.scale, (side.scale + 1) % 3),
        )
        for side in (query, candidates)
    ]
    for pooling in ("max-end", "max-start", "max-sum", "max-prod"):
        built = made(replace(config, pooling=pooling))
        assert torch.equal(score(built, query, candidates), score(built, *other)), pooling
    with torch.inference_mode():
        real = torch.nn.functional.pad(torch.cat([query.valid, candidates.valid]), (1, 1), value=True).flatten()
        logits = [built.network(built.joined(*sides))[0] for sides in ((query, candidates), other)]
    assert torch.equal(logits[0][real], logits[1][real]) and not torch.equal(logits[0], logits[1])


@BOTH
@pytest.mark.parametrize("pooling", ["max-end", "max-start", "max-sum", "max-prod"])
def test_padding_is_no_step_in_time(config, pooling):
    """Images padded to a greater length score as before, where places have no embedding of their own."""
    query, candidates = images(1), images(6, seed=2)
    built = made(replace(config, positions="none", pooling=pooling))
    usual = score(built, query, candidates)
    built.query_locals = built.candidate_locals = 8
    torch.testing.assert_close(score(built, query, candidates), usual, atol=1e-5, rtol=1e-5)


@BOTH
def test_lists_of_different_padding_score_together_as_alone(config):
    built = made(config)
    lists = [(images(1, seed=seed, padded=True), images(6, seed=seed + 10, padded=True)) for seed in (1, 2, 3)]
    joined = [built.joined(*one) for one in lists]
    assert len({int(one.valid.sum()) for one in joined}) > 1
    for read in (built.network.scores, built.network):
        with torch.inference_mode():
            together, alone = read(Lists.stacked(joined)), torch.cat([read(one) for one in joined])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@BOTH
def test_scores_are_those_of_the_logits_of_all_tokens(config):
    query, candidates = images(1), images(6, seed=2)
    for crossings in ((0, 2), (1,), ()):
        built = made(replace(config, crossings=crossings))
        with torch.inference_mode():
            logits = built.network(built.joined(query, candidates)).unflatten(1, (7, 7))
        torch.testing.assert_close(score(built, query, candidates), logits[0, 1:, -2, 1], atol=1e-5, rtol=1e-5)


def test_the_last_real_feature_is_pooled():
    query, candidates = images(1), images(9, seed=4, padded=True)
    built = made(RWKV)
    with torch.inference_mode():
        logits = built.network(built.joined(query, candidates)).unflatten(1, (10, 7))[0, 1:, :, 1]
    last = candidates.valid.sum(dim=1)  # behind the global descriptor
    assert len(last.unique()) > 2
    torch.testing.assert_close(score(built, query, candidates), logits[torch.arange(9), last], atol=1e-5, rtol=1e-5)


@BOTH
def test_images_without_a_single_descriptor_are_scored(config):
    bare = replace(config, reads_global=False, crossings=(0,))
    query, candidates = images(1), images(4, seed=2)
    for side in ("query", "candidates", "both"):
        blank = [
            replace(one, valid=torch.zeros_like(one.valid)) if side in (name, "both") else one
            for name, one in (("query", query), ("candidates", candidates))
        ]
        built = made(bare)
        assert score(built, *blank).isfinite().all()
        form = built.closed_form(*blank)
        counted = count(lambda built=built, blank=blank: score(built, *blank), closed_form=form.executed)
        assert counted.verdict == "agree" and form.algorithmic < form.executed, counted.explanation


def test_mamba_in_segments_is_that_of_transformers():
    reader = made(MAMBA).network.blocks[1].ahead
    x = torch.randn(2, 2 * STEPS + 5, 16)
    with torch.no_grad():
        found = reader(x)
        other = reader(torch.cat([x[:, : STEPS - 3] + 1, x[:, STEPS - 3 :]], dim=1))
    torch.testing.assert_close(found, reader.mixer(reader.norm(x)).detach(), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[:, STEPS + 1], other[:, STEPS + 1], atol=1e-3)  # a segment hands its state on


def test_rwkv_is_the_block_of_transformers():
    from transformers import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvBlock

    reader = Rwkv.stack(RWKV)[1].eval()
    block = RwkvBlock(RwkvConfig(vocab_size=1, hidden_size=16, intermediate_size=20, num_hidden_layers=3), 1)
    block.load_state_dict(reader.state_dict())
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(x + reader(x), block(x)[0], atol=1e-5, rtol=1e-5)


@BOTH
def test_a_block_reads_from_both_ends(config):
    torch.manual_seed(0)
    reader = {"rwkv": Rwkv, "mamba": Mamba}[config.kind]
    block = BothWays(reader.stack(config)[0], reader.stack(config)[0]).eval()
    x, along = torch.randn(1, 30, 16), ways(torch.ones(1, 30, dtype=torch.bool))
    with torch.inference_mode():
        found = block(x, along)
        torch.testing.assert_close(found, x + block.ahead(x) + block.back(x.flip(1)).flip(1), atol=1e-5, rtol=1e-5)
        for middle in (10, 20):
            before, behind = x.clone(), x.clone()
            before[:, :middle] += torch.randn(16)
            behind[:, middle:] += torch.randn(16)
            assert torch.equal(block.ahead(behind)[:, :middle], block.ahead(x)[:, :middle])
            assert not torch.equal(block.ahead(before)[:, middle], block.ahead(x)[:, middle])
            assert not torch.equal(block(before, along)[:, middle], found[:, middle])
            assert not torch.equal(block(behind, along)[:, middle - 1], found[:, middle - 1])


def test_the_ways_pass_over_padding():
    real = torch.tensor([[True, False, True, True], [False, True, False, True]])
    ahead, back = ways(real)
    assert ahead.rows.tolist() == [[0, 2, 3], [5, 7, 4]] and back.rows.tolist() == [[3, 2, 0], [7, 5, 6]]
    assert ahead.real.tolist() == back.real.tolist() == [[True] * 3, [True, True, False]]
    assert ways(real[:1])[0].real is None


@BOTH
def test_the_last_candidate_reaches_the_query_by_the_way_back_only(config):
    built = made(replace(config, crossings=()))
    query, candidates = images(1), images(6, seed=2)
    other = replace(candidates, local=candidates.local.clone())
    other.local[-1] += 1.0

    def first_token(of: Features) -> Tensor:
        with torch.inference_mode():
            return built.network(built.joined(query, of))[:, 0]

    assert not torch.equal(first_token(candidates), first_token(other))
    for block in built.network.blocks:
        block.back = nn.Identity()
    assert torch.equal(first_token(candidates), first_token(other))


def test_a_crossing_is_equivariant():
    """Permuted candidates give permuted outputs; padding of the query is not read."""
    torch.manual_seed(0)
    crossing = Crossing(RWKV).double()
    rows, query = torch.randn(2, 6, 5, 16).double(), torch.randn(2, 5, 16).double()
    real = torch.tensor([[True] * 5, [True, False, True, True, True]])
    order = torch.tensor([3, 0, 5, 1, 4, 2])

    def cross(rows: Tensor, query: Tensor) -> Tensor:
        return crossing(rows.flatten(1, 2), query, real).unflatten(1, (6, 5))

    torch.testing.assert_close(cross(rows[:, order], query), cross(rows, query)[:, order], atol=1e-13, rtol=1e-13)
    hidden = torch.where(real[..., None], query, 1e3)
    torch.testing.assert_close(cross(rows, hidden), cross(rows, query), atol=1e-13, rtol=1e-13)
    assert not torch.allclose(cross(rows, query.flip(0)), cross(rows, query))


@BOTH
def test_crossings_leave_the_query_as_it_is(config):
    query, candidates = images(1), images(6, seed=2)
    built = silenced(made(config))
    with torch.inference_mode():
        joined = built.joined(query, candidates)
        tokens, rest = built.network.encode(joined)
        before = built.network.embed(joined)
    assert torch.equal(tokens, before[:, :7])
    assert (rest - before[:, 7:]).abs().amax(dim=2).min() > 1e-3  # every token of every candidate has read


@BOTH
def test_place_matters_to_the_recurrence_only(config):
    query, candidates = images(1), images(8, seed=2)
    order = torch.tensor([3, 0, 7, 5, 1, 6, 4, 2])
    for built, alike in (
        (silenced(made(replace(config, positions="none"))), True),
        (made(replace(config, positions="none")), False),
        (silenced(made(config)), False),
    ):
        usual, permuted = score(built, query, candidates), score(built, query, candidates[order])
        assert len(usual.unique()) == 8
        assert torch.allclose(permuted, usual[order], atol=1e-6, rtol=1e-6) == alike


def test_the_query_is_as_near_at_every_place():
    """Gradient of a candidate's tokens with respect to the query's, through one crossing, wherever it stands."""
    torch.manual_seed(0)
    crossing = Crossing(RWKV).double()
    rows, query = torch.randn(1, 6, 5, 16).double(), torch.randn(1, 5, 16, dtype=torch.double, requires_grad=True)

    def gradient(rows: Tensor, place: int) -> Tensor:
        out = crossing(rows.flatten(1, 2), query, None).unflatten(1, (6, 5))
        return torch.autograd.grad(out[:, place].square().sum(), query)[0]

    found = gradient(rows, 0)
    assert (found.abs().amax(dim=2) > 1e-6).all()  # each of the query's tokens is reached
    for place in range(1, 6):
        order = torch.tensor([*range(1, place + 1), 0, *range(place + 1, 6)])
        torch.testing.assert_close(gradient(rows[:, order], place), found, atol=1e-12, rtol=1e-12)


@BOTH
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "changes",
    [{}, {"crossings": (1,)}, {"pooling": "max-sum"}, {"reads_global": False, "bottleneck": 8}, {"width": 12}],
    ids=str,
)
def test_closed_form_is_what_runs(config, padded, changes):
    built = made(replace(config, **changes))
    query, candidates = images(1, 12, padded=padded), images(20, 10, seed=2, padded=padded)
    form = built.closed_form(query, candidates)
    counted = count(lambda: score(built, query, candidates), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation
    assert form.algorithmic < form.executed


@BOTH
def test_fewer_rows_that_are_read_cost_less(config):
    query, candidates = images(1), images(6, seed=2)
    few, all_ = (
        made(replace(config, pooling=pooling)).closed_form(query, candidates) for pooling in ("max-end", "max-sum")
    )
    assert few.algorithmic < all_.algorithmic and few.executed < all_.executed


@BOTH
def test_training_reaches_every_weight(config):
    torch.manual_seed(0)
    built = LocoreRecurrent(config)
    built.network.train()
    joined = built.joined(images(1, padded=True, seed=3), images(4, seed=4, padded=True))
    loss = built.network.loss(built.network(joined), torch.tensor([[1, 0, 0, 1]]))
    loss.backward()
    idle = {name for name, p in built.network.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    assert idle == set()


@BOTH
def test_reduced_precision_runs(config):
    built, query, candidates = made(config), images(1), images(6, seed=2)
    exact = score(built, query, candidates)
    built.dtype = torch.bfloat16
    found = score(built, query, candidates)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.2, rtol=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crossings": (3,)}, "3 recurrent layers with crossings after \\[3\\]"),
        ({"crossings": (1, 0)}, "ascending"),
        ({"layers": 1, "crossings": ()}, "at least 2 layers"),
        ({"heads": 3}, "heads"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes, words):
    with pytest.raises(RerankError, match=words):
        replace(RWKV, **changes)


def test_a_list_longer_than_the_table_is_refused():
    built = made(replace(RWKV, table=40))
    with pytest.raises(RerankError, match="a list of 7 images and 49 tokens; wanted at most 38 tokens"):
        score(built, images(1), images(6, seed=2))
    made_by_images = made(replace(RWKV, table=9, positions="segment"))
    assert score(made_by_images, images(1), images(6, seed=2)).isfinite().all()


def test_published_length_and_size():
    """The default networks are about as large as LOCORE small, and have a place for 101 images of 50 tokens."""
    from rerankers.locore.entry import places

    layout = Lists(torch.empty(1, 101, 48, 0), torch.empty(1, 101, 48), None, torch.empty(1, 101, 0)).layout(
        query_global=False
    )
    assert len(places(layout, RecurrentConfig())) == 101 * 50
