"""What no score may depend on: the same images in another order, alone, twice, padded, longer, in other numbers.

HOLDS says for every form of re-ranker and every property whether it holds to the last bit (EXACT), within which
tolerance, or why it cannot. What cannot hold is tried too: an entry that no longer says the truth fails.

A deviation is the largest difference of two scores, as a share of the largest score of the list where that exceeds 1.
EXACT is a promise for CPUs, and for maps and descriptors as `changed.drawn` has them. On several threads it is one for
the order of candidates only: the library of matrix products may then share the terms of a sum among threads, by how
many rows there are, and so by how many candidates. Such a deviation may be as large as ROUNDED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor

import rerankers
from rerankers import Reranker
from rerankers.compose import Blend
from rerankers.interface import Given
from rerankers.locore import MICRO_SIZE, Locore
from rerankers.matching import match
from rerankers.ransac import Ransac
from rerankers.registry import names, variants
from tests.rerankers.changed import as_double, drawn, in_double, mixed, padded, scaled, taken
from tests.tally import Tally

#: A tolerance, 0 for the last bit; or why the property cannot hold.
Entry: TypeAlias = float | str
EXACT = 0.0
#: Sums in another order, that of most parities in docs/rerankers.
ROUNDED = 2e-5
#: A token next to a float16 boundary may round the other way: docs/rerankers/ames.md.
HALF = 5e-4
#: Of CVNet, whose learner is deep: docs/rerankers/cvnet.md.
DEEP = 1.5e-4
#: A thousand trials find the same transform nearly always, however the matches are numbered.
TRIALS = 0.25

DRAWS = "RANSAC draws matches by their number and stops early: in another order it may find another transform"
PLACES = "its tokens have places in the list, and windows over it: the order of candidates is an input, as published"
STEPS = "a recurrence reads the list from both ends: the order of candidates is an input"
WINDOWS = "which images meet in a window depends on their places, as published"
LIST = "list-wise: the other candidates are an input"
INSIDE = "places of tokens, or how far a window over them reaches, are inputs: descriptors come strongest first"
LENGTH = "the method does not normalise this descriptor: its length is an input, as in the official code"
DUST = "padded descriptors keep their dustbins and their share of the transport, as in the official code"
RANK = "gives an order without scores: a copy has a rank of its own"


@dataclass(frozen=True)
class Holds:
    """Properties of one form of re-ranker.

    permuted: permuting the candidates permutes the scores. alone: a candidate's score is the same alone, among few, and
    with any number of pairs at once. together: a list's scores are the same beside those of other queries. copied:
    copies of a candidate score as the candidate does without them. padded: more padding changes nothing. mixed: nor
    does the order of an image's local descriptors, each with its place, scale and weight. local, global_, dense: nor
    does a factor that all descriptors of a candidate have in common. double: float64 gives the same.

    padded, mixed and the factors are asked only of those that read such descriptors.
    """

    permuted: Entry = EXACT
    alone: Entry = EXACT
    together: Entry = EXACT
    copied: Entry = EXACT
    padded: Entry = ROUNDED
    mixed: Entry = ROUNDED
    local: Entry = LENGTH
    global_: Entry = LENGTH
    dense: Entry = LENGTH
    double: Entry = ROUNDED


AMES = Holds(padded=HALF, mixed=HALF, local=HALF, double=HALF)
RANSAC = Holds(padded=EXACT, mixed=DRAWS, double=EXACT)
LIST_WISE = Holds(alone=LIST, copied=LIST)
LOCORE = replace(LIST_WISE, permuted=PLACES, together=ROUNDED, padded=EXACT, mixed=INSIDE)
CHAIN = replace(LIST_WISE, copied=RANK, padded=EXACT, double=EXACT)

#: By family, or by variant where one differs. Every family is here, and a new one has to be added.
HOLDS = {
    "none": Holds(double=EXACT),
    "ransac": RANSAC,
    "ransac:delg": replace(RANSAC, mixed=TRIALS),
    "ransac:homography": replace(RANSAC, local=EXACT),  # the nearest stays the nearest, and there is no limit
    "sg-rerank": replace(LIST_WISE, permuted=ROUNDED),
    "chamfer": Holds(local=ROUNDED),
    "ames": AMES,
    "rrt": Holds(local=ROUNDED),
    "r2former": Holds(local=ROUNDED),
    "cvnet": Holds(dense=ROUNDED, double=DEEP),
    "cvnet:micro": Holds(padded=EXACT, mixed=EXACT, local=ROUNDED, double=DEEP),  # read in the order of their places
    "elvis": Holds(padded=DUST),
    # reads signs; and with random weights, padding weighs little
    "elvis:dinov2-binarized": Holds(padded=HALF, local=ROUNDED),
    "locore": LOCORE,
    "locore:rwkv-micro": replace(LOCORE, permuted=STEPS, padded=EXACT),
    "locore:mamba-micro": replace(LOCORE, permuted=STEPS, padded=EXACT),
    "ames:micro+blend=0.5/0.5": AMES,
    "cvnet:micro+sum=0.5": Holds(padded=EXACT, mixed=EXACT, local=ROUNDED, double=DEEP),
    "chamfer:rootsift-48+then+ransac:affine": replace(CHAIN, mixed=DRAWS),
    "sg-rerank+then+chamfer:rootsift-48": replace(CHAIN, mixed=EXACT, local=EXACT, global_=EXACT),
    "locore:micro+slide=12/6/3": replace(CHAIN, permuted=WINDOWS, mixed=INSIDE),
}
#: Of quick size: every family, what is trained, and whatever is composed.
QUICK = (
    *("none", "ransac:affine", "ransac:homography", "ransac:delg", "sg-rerank", "chamfer:rootsift-48", "ames:micro"),
    *("ames:micro-binarized", "rrt:micro", "rrt:sop", "r2former:micro", "cvnet:micro", "elvis:micro", "locore:micro"),
    *("locore:rwkv-micro", "locore:mamba-micro", *(name for name in HOLDS if "+" in name)),
)
#: Of published size, with random weights; the properties of other sizes than these are those of the same code.
LARGE = (
    *("chamfer:dinov2", "ames:dinov2-50", "ames:cvnet", "ames:768", "ames:dinov2-binarized", "rrt:gld", "rrt:768"),
    *("rrt:sop-768", "r2former:deit-48", "r2former:768", "cvnet:r50", "elvis:dinov2-100", "elvis:dinov2-binarized"),
    *("locore:tiny", "locore:tiny-sum"),
)
#: Draws of each form and property: short, thorough, and thorough at published size.
SHORT, THOROUGH, THOROUGH_LARGE = 2, 30, 3

Relation: TypeAlias = Callable[[str, Reranker, np.random.Generator], Iterator[float]]


def holds(request: str, about: str) -> Entry:
    family = request.partition(":")[0]
    found: Entry = getattr(HOLDS.get(request, HOLDS.get(family)), about)
    return found


def gap(one: Tensor, other: Tensor) -> float:
    """How far scores lie apart, as a share of the largest where that exceeds 1."""
    one, other = one.double(), other.double()
    return float((one - other).abs().max() / max(1.0, float(other.abs().max())))


def scores(reranker: Reranker, given: Given) -> Tensor:
    return reranker.ranking(*given).key


def some(request: str, rng: np.random.Generator, **sizes: int) -> Given:
    return drawn(request, rng, int(rng.integers(5, 14)), **sizes)


def permuted(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    given = some(request, rng)
    order = torch.from_numpy(rng.permutation(len(given[1])))
    yield gap(scores(reranker, taken(given, order)), scores(reranker, given)[order])


def alone(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    given = some(request, rng)
    count, expected = len(given[1]), scores(reranker, given)
    one, few = int(rng.integers(count)), torch.from_numpy(rng.permutation(count)[: int(rng.integers(2, count))])
    for chosen in (torch.tensor([one]), few):
        yield gap(scores(reranker, taken(given, chosen)), expected[chosen])
    inner = getattr(reranker, "reranker", reranker)
    for at_once in (1, 2, 3, count):
        inner.at_once = at_once
        try:
            yield gap(scores(reranker, given), expected)
        finally:
            inner.at_once = None


def together(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    lists = [drawn(request, rng, count) for count in (4, 6, 4)]
    for given, ranking in zip(lists, reranker.rankings(lists), strict=True):
        yield gap(ranking.key, scores(reranker, given))
    assert torch.equal(scores(reranker, lists[0]), scores(reranker, lists[0])), "the same call gave other scores"


def copied(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    given = some(request, rng)
    count = len(given[1])
    chosen = torch.from_numpy(rng.permutation(np.r_[0:count, rng.integers(0, count, 4)]))
    yield gap(scores(reranker, taken(given, chosen)), scores(reranker, given)[chosen])


def with_padding(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    query, candidates, similarity = given = some(request, rng, most=40)
    expected = scores(reranker, given)
    for ours, theirs in ((0, 5), (5, 0), (3, 8)):
        yield gap(scores(reranker, (padded(query, ours), padded(candidates, theirs), similarity)), expected)


def reordered(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    query, candidates, similarity = given = some(request, rng)
    yield gap(scores(reranker, (mixed(query, rng), mixed(candidates, rng), similarity)), scores(reranker, given))


def times_a_factor(field: str) -> Relation:
    def relation(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
        query, candidates, similarity = given = some(request, rng)
        yield gap(scores(reranker, (query, scaled(candidates, rng, field), similarity)), scores(reranker, given))

    return relation


def double(request: str, reranker: Reranker, rng: np.random.Generator) -> Iterator[float]:
    given = some(request, rng)
    expected = scores(reranker, given)
    with in_double(reranker):
        yield gap(expected, scores(reranker, as_double(given)))


RELATIONS: dict[str, tuple[str, Relation]] = {
    "permuted": ("permuted candidates", permuted),
    "alone": ("a candidate alone, among few, by batch", alone),
    "together": ("a list beside others", together),
    "copied": ("copied candidates", copied),
    "padded": ("more padding", with_padding),
    "mixed": ("descriptors in another order", reordered),
    "local": ("local descriptors times a factor", times_a_factor("local")),
    "global_": ("global descriptors times a factor", times_a_factor("global_")),
    "dense": ("feature maps times a factor", times_a_factor("dense")),
    "double": ("float64 against float32", double),
}
#: What changes how many rows a matrix product has.
COUNTED = ("alone", "together", "copied")
#: What a re-ranker has to read for a relation to mean anything.
READS = {"padded": "local", "mixed": "local", "local": "local", "global_": "global_", "dense": "dense"}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


@pytest.mark.parametrize("about", RELATIONS)
@pytest.mark.parametrize("request_", [*QUICK, *LARGE])
def test_relations(request_: str, about: str, thorough: bool, tally: Tally) -> None:
    if request_ in LARGE and not thorough:
        pytest.skip("of published size: nox -s fuzz")
    reranker = rerankers.build(request_, allow_random=True)
    if about in READS and READS[about] not in reranker.needs:
        pytest.skip(f"reads no {READS[about].rstrip('_')} descriptors")
    entry, (what, relation) = holds(request_, about), RELATIONS[about]
    draws = (THOROUGH_LARGE if request_ in LARGE else THOROUGH) if thorough else SHORT
    usual, found = torch.get_num_threads(), []
    for seed in range(draws):
        torch.set_num_threads(usual if seed % 2 else 1)
        found.append(max(relation(request_, reranker, np.random.default_rng(seed))))
    worst = max(found)
    if isinstance(entry, str):
        tally.note(f"{what}: where it cannot hold", tried=draws)
        seen = worst > ROUNDED or (entry == DRAWS and not thorough)  # now and then
        assert seen, f"{request_} does not depend on it at all ({worst:.2g}): say so in HOLDS"
        return
    shared = max(entry, ROUNDED) if about in COUNTED else entry
    for threads, own, allowed in (("one thread", found[::2], entry), ("all threads", found[1::2], shared)):
        off = f"{request_} deviates by {max(own):.2g}, allowed is {allowed:g}" if max(own) > allowed else None
        tally.note(f"{what}, {threads}", tried=len(own), found=off)
        assert off is None, off


def test_every_family_is_in_the_table() -> None:
    assert {name for name in HOLDS if ":" not in name and "+" not in name} == set(names())
    known = {f"{family}:{variant}" for family in names() for variant in variants(family)} | set(names())
    assert {name for name in (*HOLDS, *QUICK, *LARGE) if "+" not in name} <= known


@pytest.mark.parametrize("request_", [name for name in QUICK if holds(name, "permuted") in (EXACT, ROUNDED)])
def test_a_shuffled_list_gets_the_same_order(request_: str, thorough: bool, tally: Tally) -> None:
    """Of the images; those that score the same may change places with each other, and with nobody else."""
    reranker = rerankers.build(request_, allow_random=True)
    for seed in range(THOROUGH if thorough else SHORT):
        given = some(request_, rng := np.random.default_rng(seed))
        shuffle = torch.from_numpy(rng.permutation(len(given[1])))
        straight, other = reranker.ranking(*given), reranker.ranking(*taken(given, shuffle))
        tally.note("the order of a shuffled list")
        near = 0.0 if holds(request_, "permuted") == EXACT else 1e-6
        found, wanted = straight.key[shuffle[other.order]], straight.key[straight.order]
        torch.testing.assert_close(found, wanted, rtol=0, atol=near)


def test_similarities_times_a_shift_move_a_blend_by_its_weight(thorough: bool, tally: Tally) -> None:
    inner = rerankers.build("chamfer:rootsift-48")
    for seed in range(THOROUGH if thorough else SHORT):
        query, candidates, similarity = some("chamfer:rootsift-48", rng := np.random.default_rng(seed))
        weight, shift = rng.uniform(0, 1), rng.uniform(-0.5, 0.5)
        blend = Blend(inner, weight=weight, temperature=rng.uniform(0, 5))
        moved = scores(blend, (query, candidates, similarity + shift))
        torch.testing.assert_close(
            moved - scores(blend, (query, candidates, similarity)), torch.full_like(moved, weight * shift)
        )
        tally.note("similarities of a blend, shifted")


def test_without_places_and_windows_locore_does_not_read_the_order(thorough: bool, tally: Tally) -> None:
    """So that nothing else in it does: neither padding of the list nor how it is cut into blocks."""
    torch.manual_seed(0)
    free = Locore(replace(MICRO_SIZE, positions="none", windows=(1 << 14,) * 3), window=100, locals_=48)
    for seed in range(THOROUGH if thorough else SHORT):
        rng = np.random.default_rng(seed)
        worst = max(*permuted("locore:micro", free, rng), *reordered("locore:micro", free, rng))
        tally.note("LOCORE without places and windows, permuted")
        assert worst <= ROUNDED, worst


@pytest.mark.parametrize("request_", ["ransac:affine", "ransac:homography"])
def test_matches_do_not_depend_on_the_order_of_descriptors(request_: str, thorough: bool, tally: Tally) -> None:
    """What RANSAC draws from: the inliers that it finds may depend on their order."""
    reranker = rerankers.build(request_)
    assert isinstance(reranker, Ransac)
    for seed in range(THOROUGH if thorough else SHORT):
        query, candidates, _ = some(request_, rng := np.random.default_rng(seed))
        found = []
        for ours, theirs in ((query, candidates), (mixed(query, rng), mixed(candidates, rng))):
            real = ours.valid[0]
            pairs = match(ours.local[0][real], theirs.local, theirs.valid, reranker.verification.matching)
            places = zip(pairs, theirs.xy, strict=True)
            found.append([{(*ours.xy[0][a].tolist(), *xy[b].tolist()) for a, b in one} for one, xy in places])
        tally.note("matches of reordered descriptors")
        assert found[0] == found[1]
