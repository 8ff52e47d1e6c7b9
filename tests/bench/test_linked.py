"""Descriptors of linking positives replaced, and what that is measured to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bench.datasets.facades import SUBSETS, Sights, labels, plan
from bench.datasets.facades.truth import ground_truth
from bench.datasets.ground_truth import QueryTruth
from bench.linked import Case, Counts, altered, at_stake, best_orders, cases, linking, measured, replacements
from rerankers import Features, Reranker
from rerankers.interface import Given, Ranking

MINI = SUBSETS["facades-mini"]
LOCALS, DIM = 40, 32


@pytest.fixture(scope="module")
def sights() -> Sights:
    return Sights(MINI)


@pytest.fixture(scope="module")
def truths() -> list[QueryTruth]:
    positions = plan.gallery_positions(MINI)
    found = ground_truth(MINI, [plan.plan(MINI, plan.LANDMARK, k, positions) for k in range(MINI.landmarks)])["gnd"]
    kinds = ("easy", "hard", "junk", "transitive")
    return [QueryTruth(**{kind: np.array(one[kind], dtype=np.int64) for kind in kinds}) for one in found]


def described(images: int, *, seed: int = 0) -> Features:
    """Images with descriptors all over them, a few of them padding."""
    torch.manual_seed(seed)
    valid = torch.ones(images, LOCALS, dtype=torch.bool)
    valid[:, -3:] = False
    return Features(
        local=F.normalize(torch.randn(images, LOCALS, DIM), dim=2) * valid[..., None],
        xy=torch.rand(images, LOCALS, 2) * torch.tensor([320.0, 240.0]),
        scale=torch.rand(images, LOCALS),
        weight=torch.rand(images, LOCALS),
        valid=valid,
    )


def listed(truths: list[QueryTruth]) -> tuple[int, QueryTruth, NDArray[np.int64]]:
    """A query with transitive positives, and the whole gallery as its list."""
    query = next(number for number, truth in enumerate(truths) if len(truth.transitive) > 1)
    return query, truths[query], np.random.default_rng(0).permutation(MINI.gallery_size)


def test_the_strongest_bridge_links(sights: Sights, truths: list[QueryTruth]) -> None:
    query, truth, images = listed(truths)
    place = int(np.flatnonzero(images == truth.transitive[0])[0])

    def strength(image: int) -> float:
        shares = sights.query_share(query, image), sights.share(int(images[place]), image)
        enough = shares[0] >= labels.BRIDGE_QUERY_SHARE and shares[1] >= labels.BRIDGE_IMAGE_SHARE
        return min(shares) if enough else 0.0

    link = linking(sights, query, truth, images, place)
    assert link is not None and images[link] in (*truth.easy, *truth.hard)
    others = [int(image) for image in (*truth.easy, *truth.hard) if image != images[place]]
    assert strength(int(images[link])) == max(map(strength, others)) > 0
    alone = images[~np.isin(images, others)]
    assert linking(sights, query, truth, alone, int(np.flatnonzero(alone == images[place])[0])) is None


def test_parts_are_disjoint_and_donors_are_negatives(sights: Sights, truths: list[QueryTruth]) -> None:
    query, truth, images = listed(truths)
    features, counts = described(len(images)), Counts()
    found = cases(sights, query, truth, images, features, counts)
    assert counts.cases == len(found) and counts.cases + counts.skipped == len(truth.transitive)
    assert found and counts.unlinked == 0
    for case in found:
        parts = np.concatenate([case.covisible, case.elsewhere])
        assert sorted(parts) == list(range(LOCALS - 3))  # all that are real, each once
        pixels = features.xy[case.link].numpy().astype(np.float64)
        shared = sights.shared(int(images[case.link]), int(images[case.transitive]), pixels)
        assert shared[case.covisible].all() and not shared[case.elsewhere].any()
        assert not np.isin(images[case.donors[:, 0]], [*truth.easy, *truth.hard, *truth.junk]).any()
        assert features.valid.numpy()[tuple(case.donors.T)].all()
        assert 0 < case.count <= min(len(case.covisible), len(case.elsewhere))


def test_what_cannot_be_measured_is_counted(sights: Sights, truths: list[QueryTruth]) -> None:
    query, truth, images = listed(truths)
    nowhere = replace(described(len(images)), xy=torch.full((len(images), LOCALS, 2), -9.0))
    counts = Counts()
    assert cases(sights, query, truth, images, nowhere, counts) == []
    assert counts == Counts(skipped=len(truth.transitive))
    counts, alone = Counts(), truth.transitive[:1]
    assert cases(sights, query, truth, alone, described(1), counts) == []
    assert counts == Counts(unlinked=1)


def given(images: int) -> Given:
    return described(1, seed=1), described(images), torch.linspace(1, 0, images)


def example(count: int = 6) -> Case:
    """Image 1 links image 3; images 4 and 5 are negatives."""
    donors = np.argwhere(np.ones((2, LOCALS - 3), dtype=bool)) + np.array([4, 0])
    return Case(transitive=3, link=1, covisible=np.arange(count), elsewhere=np.arange(20, 30), donors=donors)


def changed(before: Features, after: Features) -> NDArray[np.int64]:
    """(n, 2) places whose descriptors differ."""
    return np.argwhere((before.local != after.local).any(dim=2).numpy())


def test_altered_replaces_what_it_is_told_and_nothing_else() -> None:
    before = described(6)
    after = altered(before, 1, np.array([2, 7]), np.array([[4, 0], [5, 9]]))
    assert changed(before, after).tolist() == [[1, 2], [1, 7]]
    for name in ("local", "scale", "weight"):
        assert torch.equal(getattr(after, name)[1, 7], getattr(before, name)[5, 9])
    assert after.xy is before.xy and after.valid is before.valid
    plain = Features(local=before.local, valid=before.valid)
    assert altered(plain, 1, np.array([2]), np.array([[4, 0]])).scale is None


def test_both_parts_get_the_same_donors_and_as_many() -> None:
    one, case = given(6), example()
    lists = replacements(one, case, np.random.default_rng(3), draws=4)
    assert len(lists) == 8
    for covisible, elsewhere in zip(lists[::2], lists[1::2], strict=True):
        places = [changed(one[1], other[1]) for other in (covisible, elsewhere)]
        assert all((where[:, 0] == case.link).all() and len(where) == case.count for where in places)
        assert np.isin(places[0][:, 1], case.covisible).all() and np.isin(places[1][:, 1], case.elsewhere).all()
        donors = [
            {tuple(row.tolist()) for row in other[1].local[case.link, where[:, 1]]}
            for other, where in zip((covisible, elsewhere), places, strict=True)
        ]
        assert donors[0] == donors[1]
    again = replacements(one, case, np.random.default_rng(3), draws=4)
    assert all(torch.equal(a[1].local, b[1].local) for a, b in zip(lists, again, strict=True))


def test_ranks_leave_the_linking_positive_out() -> None:
    def ranking(*keys: float) -> Ranking:
        key = torch.tensor(keys)
        return Ranking(torch.argsort(key, descending=True, stable=True), key)

    case = example()
    plain = ranking(4.0, 5.0, 3.0, 2.0, 1.0, 0.0)  # the transitive one is fourth, third without the linking one
    covisible, elsewhere = ranking(4.0, 5.0, 3.0, 0.5, 1.0, 0.0), ranking(4.0, 1.5, 3.0, 2.0, 1.0, 0.0)
    found = measured([plain, covisible, elsewhere, covisible, elsewhere], case)
    assert (found["rank"], found["rank_covisible"], found["rank_elsewhere"]) == (3.0, 4.0, 3.0)
    assert (found["score"], found["score_covisible"], found["score_elsewhere"]) == (2.0, 0.5, 2.0)
    assert (found["link_score"], found["link_score_elsewhere"]) == (5.0, 1.5)
    assert found["deviation"] == pytest.approx(np.std([4, 5, 3, 2, 1, 0], ddof=1))


class _Friends(Reranker):
    """A list-wise re-ranker by design: descriptors found again in other candidates count for a candidate."""

    needs = ("local", "valid")
    kind = "list-wise"

    def score(self, query: Features, candidates: Features) -> torch.Tensor:
        local = candidates.local.flatten(0, 1)
        own = torch.arange(len(candidates)).repeat_interleave(candidates.local.shape[1])
        alike = ((local @ local.T) > 0.99) & (own[:, None] != own)
        return alike.any(dim=1).unflatten(0, (len(candidates), -1)).sum(dim=1).float()


def test_a_score_that_rests_on_the_link_falls_by_what_is_replaced() -> None:
    query, candidates, similarity = given(6)
    candidates.local[3, :6] = candidates.local[1, :6]  # what both show
    one, case = (query, candidates, similarity), example()
    rankings = _Friends().rankings([one, *replacements(one, case, np.random.default_rng(0), draws=5)])
    found = measured(rankings, case)
    assert found["score"] == found["score_elsewhere"] == 6.0
    assert found["score_covisible"] == 0.0


def test_at_stake_is_what_the_best_order_of_transitive_positives_adds() -> None:
    truth = QueryTruth(
        box=None, easy=np.array([5]), hard=np.array([1, 3, 8]), junk=np.array([6]), transitive=np.array([3])
    )
    ids = np.array([0, 1, 2, 3, 5, 8, 6, 7])
    first, last = best_orders(truth, ids, np.arange(5))
    assert first.tolist() == [1, 3, 0, 2, 5, 8, 6, 7] and last.tolist() == [1, 0, 2, 5, 3, 8, 6, 7]
    # easy and junk images leave the lists: 8 is the 5th of both, 3 the 2nd or 4th; 3 and 8 count after 1
    third = (2 / 4 + 3 / 5) / 2
    wanted = (1 + 1 + third) / 3 - (1 + (1 / 3 + 2 / 4) / 2 + third) / 3
    assert at_stake([(first, last)], [truth]) == pytest.approx(wanted)
