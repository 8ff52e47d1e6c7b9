from __future__ import annotations

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankers import Features, Flops, Reranker, RerankError
from rerankers.compose import SCHEDULES, Blend, Chain, Slide, Sum, Windows, fuse, starts


class Given(Reranker):
    def __init__(self, scores):
        self.known = torch.tensor(scores)

    def score(self, query, candidates):
        return self.known


class Mean(Reranker):
    """Prefers images unlike the mean of those beside them: list-wise, and dependent on their order."""

    needs = ("global_",)
    kind = "list-wise"

    def __init__(self, window=None):
        self.window, self.calls = window, []

    def score(self, query, candidates):
        quality = candidates.global_[:, 0]
        places = torch.arange(len(quality), dtype=torch.float32)
        return (quality - quality.mean()).abs() * (1 + places / 7)

    def scores(self, lists):
        self.calls.append([len(candidates) for _, candidates in lists])
        return super().scores(lists)

    def closed_form(self, query, candidates):
        return Flops(executed=len(candidates) ** 2, algorithmic=len(candidates))


class Locals(Reranker):
    needs = ("local",)

    def __init__(self, count=None, window=None):
        self.query_locals = self.candidate_locals = count
        self.window, self.seen = window, []

    def score(self, query, candidates):
        self.seen.append((query.local.shape[1], tuple(candidates.local.shape[:2])))
        return candidates.local.sum(dim=(1, 2))


IMAGES = Features(global_=torch.zeros(3, 2))


def listed(count, seed=0):
    """A query, `count` candidates and their descending similarities."""
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(count, generator=generator).sort(descending=True).values
    images = Features(
        global_=torch.rand(count, 1, generator=generator), local=torch.rand(count, 4, 2, generator=generator)
    )
    return Features(global_=torch.zeros(1, 1), local=torch.zeros(1, 4, 2)), images, similarity


def test_fuse_by_hand():
    fused = fuse(torch.tensor([0.5]), torch.tensor([2.0]), weight=0.25, temperature=0.5)
    assert fused.item() == pytest.approx(0.25 * 0.5 + 0.75 / (1 + math.exp(-1.0)))


@pytest.mark.parametrize(("weight", "order"), [(1.0, [0, 1, 2]), (0.0, [2, 1, 0])])
def test_the_weight_belongs_to_the_first_stage(weight, order):
    blend = Blend(Given([-1.0, 0.0, 1.0]), weight=weight, temperature=1.0)
    assert blend.rank(IMAGES[:1], IMAGES, torch.tensor([0.3, 0.2, 0.1])).tolist() == order


@pytest.mark.parametrize(("weight", "temperature"), [(-0.1, 1), (1.1, 1), (0.5, -1), (0.5, math.nan), (math.nan, 1)])
def test_weights_outside_their_range_are_refused(weight, temperature):
    with pytest.raises(RerankError, match="blend weight"):
        Blend(Given([0.0]), weight=weight, temperature=temperature)


def test_a_sum_adds_a_share_of_the_score_to_the_similarity():
    summed = Sum(Given([0.0, 0.1, 0.9]), ratio=0.5)
    found = summed.ranking(IMAGES[:1], IMAGES, torch.tensor([0.6, 0.5, 0.2]))
    assert found.key.tolist() == pytest.approx([0.6, 0.55, 0.65])
    assert found.order.tolist() == [2, 0, 1]


@pytest.mark.parametrize("ratio", [-0.1, math.inf, math.nan])
def test_shares_outside_their_range_are_refused(ratio):
    with pytest.raises(RerankError, match="a sum with"):
        Sum(Given([0.0]), ratio=ratio)


@pytest.mark.parametrize("over", [lambda one: Blend(one, weight=0.5, temperature=1), lambda one: Sum(one, ratio=0.5)])
def test_several_lists_reach_the_re_ranker_at_once_and_mix_by_themselves(over):
    lists, inner = [listed(5), listed(0), listed(7, seed=1)], Mean()
    together = over(inner).rankings(lists)
    assert inner.calls == [[5, 7]]
    for one, found in zip(lists, together, strict=True):
        alone = over(Mean()).ranking(*one)
        assert torch.equal(found.key, alone.key) and torch.equal(found.order, alone.order)
        assert len(one[1]) == 0 or torch.equal(over(Mean()).sort_key(*one), found.key)


def test_a_window_is_kept_by_what_is_put_over_it():
    query, candidates, similarity = listed(9)
    found = Blend(Mean(window=4), weight=0.5, temperature=1).ranking(query, candidates, similarity)
    assert sorted(found.order[:4].tolist()) == [0, 1, 2, 3] and found.order[4:].tolist() == [4, 5, 6, 7, 8]
    assert torch.isneginf(found.key[4:]).all()


def official(length, window, stride, schedule):
    """The official loops, with their gaps; None where they stop because a window is not full."""
    there, start = [], 0
    while start < length - stride:
        there.append(start)
        start += stride
    back, start = [], length - window
    while start > -stride:
        back.append(start)
        start -= stride
    found = {
        "start-to-end": there,
        "end-to-start": back,
        "start-to-end-to-start": there + back[1:],
        "end-to-start-to-end": back + there[1:],
    }[schedule]
    return found if all(0 <= start <= length - window for start in found) else None


SIZES = st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12), st.sampled_from(SCHEDULES)).filter(
    lambda sizes: sizes[2] <= sizes[1]
)


@given(SIZES)
def test_windows_start_where_the_official_ones_do_and_are_always_full(sizes):
    length, window, *_ = sizes
    found, wanted = starts(*sizes), official(*sizes)
    assert found and all(0 <= start <= max(length - window, 0) for start in found)
    if length <= window:
        assert found == [0]
    elif wanted is not None:
        assert found == wanted


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((40, 12, 6, "start-to-end"), [0, 6, 12, 18, 24, 28]),
        ((40, 12, 6, "end-to-start"), [28, 22, 16, 10, 4, 0]),
        ((40, 12, 6, "start-to-end-to-start"), [0, 6, 12, 18, 24, 28, 22, 16, 10, 4, 0]),
        ((40, 12, 6, "end-to-start-to-end"), [28, 22, 16, 10, 4, 0, 6, 12, 18, 24, 28]),
        ((30, 10, 10, "start-to-end-to-start"), [0, 10, 10, 0]),  # the official code sees one twice
        ((100, 100, 100, "start-to-end"), [0]),  # and none here
    ],
)
def test_starts_by_hand(sizes, wanted):
    assert starts(*sizes) == wanted


def slid(one, inner, length, window, stride, schedule):
    """The definition: take the images of a window, sort them by their keys, put them back."""
    query, candidates, similarity = one
    order = list(range(len(similarity)))
    length = min(length, len(order))
    window = min(window, length)
    for start in starts(length, window, stride, schedule):
        images = order[start : start + window]
        taken = torch.tensor(images)
        keys = inner.sort_key(query, candidates[taken], similarity[taken]).tolist()
        order[start : start + window] = [images[i] for i in sorted(range(window), key=lambda i: -keys[i])]
    return order


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), SIZES, st.booleans())
def test_sliding_is_as_defined_for_any_sizes_and_any_lists_in_step(counts, sizes, blended):
    def inner():
        return Blend(Mean(), weight=0.5, temperature=1) if blended else Mean()

    lists = [listed(count, seed) for seed, count in enumerate(counts)]
    length, window, stride, schedule = sizes
    slide = Slide(inner(), length=length, window=window, stride=stride, schedule=schedule)
    for one, found in zip(lists, slide.rankings(lists), strict=True):
        order, count = found.order.tolist(), len(one[1])
        assert sorted(order) == list(range(count))
        assert order[length:] == list(range(length, count))
        if count:
            assert order == slid(one, inner(), *sizes)
            assert found.key[:length].tolist() == [-float(order.index(image)) for image in range(min(length, count))]
        assert torch.equal(slide.ranking(*one).order, found.order)


def test_windows_of_lists_go_in_step():
    inner = Mean()
    slide = Slide(inner, length=8, window=4, stride=2)
    slide.rankings([listed(8), listed(20, seed=1), listed(6, seed=2)])
    assert inner.calls == [[4, 4, 4], [4, 4, 4], [4, 4]]


def test_a_blend_inside_takes_each_images_own_similarity():
    query, candidates, similarity = listed(12)
    slide = Slide(Blend(Mean(), weight=1.0, temperature=1), length=12, window=4, stride=2)
    assert slide.rank(query, candidates, similarity).tolist() == list(range(12))
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    twice = Slide(Blend(Mean(), weight=1.0, temperature=1), length=12, window=12, stride=12)
    found = twice.rank(query, candidates[shuffled], similarity[shuffled])
    assert shuffled[found].tolist() == list(range(12))


def test_costs_of_all_windows_add_up():
    query, candidates, _ = listed(30)
    slide = Slide(Mean(), length=20, window=10, stride=5)  # from 10, 5 and 0
    assert slide.closed_form(*slide.readable(query, candidates)) == Flops(executed=300, algorithmic=30)
    assert slide.closed_form(query, candidates[:7]) == Flops(executed=49, algorithmic=7)
    assert Slide(Locals(), length=20, window=10, stride=5).closed_form(query, candidates) is None


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"stride": 101}, "101 apart"),
        ({"stride": 0}, "0 apart"),
        ({"window": 0, "stride": 1}, "windows of 0"),
        ({"length": 0}, "over 0 candidates"),
        ({"schedule": "sideways"}, "sideways.*end-to-start-to-end"),
    ],
)
def test_windows_that_cannot_be_are_refused(sizes, words):
    with pytest.raises(RerankError, match=words):
        Slide(Mean(), **sizes)


def test_windows_wider_than_what_is_seen_at_once_are_refused():
    Slide(Mean(window=100))
    with pytest.raises(RerankError, match="sees 99 candidates at once"):
        Slide(Mean(window=99))


def test_candidates_that_are_never_seen_are_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        Slide(Mean())
        assert not caplog.records
        Slide(Mean(), length=30, window=10, stride=10, schedule="start-to-end")
    assert [record.getMessage() for record in caplog.records] == [
        "windows 30/10/10/start-to-end never see 10 of 30 candidates"
    ]
    assert Windows(24, 8, 6, "start-to-end").unseen == 4 and Windows(40, 12, 6).unseen == 0


def test_an_order_has_no_scores():
    query, candidates, similarity = listed(3)
    for one in (Slide(Mean()), Chain(Mean(), Mean())):
        with pytest.raises(RerankError, match="Call `ranking`"):
            one.score(query, candidates)
        assert one.sort_key(query, candidates, similarity).shape == (3,)


def test_rubbish_inside_is_stopped():
    query, candidates, similarity = listed(3)
    with pytest.raises(RerankError, match="Given gave scores"):
        Slide(Given([math.nan] * 3)).rank(query, candidates, similarity)
    with pytest.raises(RerankError, match="Given gave scores"):
        Chain(Mean(), Given([0.0])).rank(query, candidates, similarity)


PARTS = {
    "first": lambda: Blend(Mean(window=6), weight=0.2, temperature=2),
    "second": lambda: Slide(Sum(Mean(), ratio=0.5), length=8, window=4, stride=2),
    "third": Locals,
}


@settings(deadline=None)
@given(st.permutations(sorted(PARTS)), st.lists(st.integers(0, 15), min_size=1, max_size=3))
def test_a_chain_is_one_after_the_other(names, counts):
    first, second = (PARTS[name] for name in names[:2])
    lists = [listed(count, seed) for seed, count in enumerate(counts)]
    for one, found in zip(lists, Chain(first(), second()).rankings(lists), strict=True):
        query, candidates, similarity = one
        order = first().rank(*one)
        wanted = order[second().rank(query, candidates[order], similarity[order])]
        assert found.order.tolist() == wanted.tolist()
        assert found.key[:8].tolist() == [-float(rank) for rank in torch.argsort(wanted)[:8]]


def test_chains_are_longer_either_way():
    one, (a, b, c) = listed(15), PARTS.values()
    assert torch.equal(Chain(Chain(a(), b()), c()).rank(*one), Chain(a(), Chain(b(), c())).rank(*one))


def test_a_chain_needs_what_its_parts_need_and_each_reads_its_own_share():
    query, candidates, similarity = listed(6)
    few, fewer = Locals(3), Locals(2, window=4)
    chain = Chain(Mean(), Chain(few, fewer))
    assert set(chain.needs) == {"global_", "local"} and chain.kind == "list-wise"
    assert (chain.query_locals, chain.candidate_locals, chain.window) == (3, 3, None)
    chain.rank(query, candidates, similarity)
    assert few.seen == [(3, (6, 3))] and fewer.seen == [(2, (4, 2))]
    assert Chain(Locals(3), Locals()).candidate_locals is None
    assert Chain(Mean(window=3), Locals(window=5)).window == 5
    with pytest.raises(RerankError, match="without 'local'"):
        chain.rank(query, Features(global_=candidates.global_), similarity)


def test_costs_of_a_chain_add_up_and_what_is_uncounted_stays_so():
    query, candidates, _ = listed(10)
    assert Chain(Mean(window=4), Mean()).closed_form(query, candidates) == Flops(executed=116, algorithmic=14)
    assert Chain(Mean(), Locals()).closed_form(query, candidates) is None
    odd, even = Mean(), Mean()
    odd.uncounted, even.uncounted = "odd", "even"
    assert [Chain(*parts).uncounted for parts in ((Mean(), Mean()), (Mean(), odd), (odd, even))] == [
        None,
        "odd",
        "odd; even",
    ]


def test_networks_of_a_chain_are_counted_together():
    class Learned(Mean):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Linear(2, 1)

        def module(self):
            return self.network

    one, other = Learned(), Learned()
    assert Chain(Mean(), Mean()).module() is None
    assert Chain(Mean(), Slide(one)).module() is Chain(one, Mean()).module() is one.network
    assert sum(parameter.numel() for parameter in Chain(one, other).module().parameters()) == 6


def test_each_part_works_in_its_own_number_type():
    class Product(Mean):
        def score(self, query, candidates):
            self.was = (candidates.global_ @ query.global_.T).dtype
            return super().score(query, candidates)

    reduced, usual = Product(), Product()
    reduced.dtype = torch.bfloat16
    for chain in (Chain(reduced, usual), Chain(usual, Slide(reduced))):
        chain.rank(*listed(5))
        assert (reduced.was, usual.was) == (torch.bfloat16, torch.float32)
