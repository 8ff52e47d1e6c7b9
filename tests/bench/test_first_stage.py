"""Heads of lists with the places behind them say what whole lists say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import first_stage
from bench.datasets import Dataset, Task
from bench.datasets.ground_truth import GroundTruth, QueryTruth
from bench.errors import BenchError
from bench.features.store import DescriptorStore, GlobalStore
from bench.first_stage import FirstStage
from bench.judging import Reranked, judge
from bench.protocols import CandidateList, Policy

QUERIES, GALLERY, WIDTH, SHORTLIST = 6, 400, 8, 20


def made_up(seed=0):
    random = np.random.default_rng(seed)
    truths = []
    for _ in range(QUERIES):
        easy, hard, junk = np.split(random.permutation(GALLERY)[:40], [8, 30])
        truths.append(QueryTruth(np.sort(easy), np.sort(hard), np.sort(junk)))
    names = tuple(map(str, range(GALLERY)))
    return Dataset("made-up", Path(), GroundTruth(names, names[:QUERIES], tuple(truths)))


def stores(tmp_path, seed=0):
    random = np.random.default_rng(seed)
    found = []
    for side, count in (("queries", QUERIES), ("gallery", GALLERY)):
        # few values, so that similarities tie
        np.save(tmp_path / f"{side}.npy", random.integers(-2, 3, (count, WIDTH)).astype(np.float32))
        found.append(DescriptorStore(global_=GlobalStore.open(tmp_path / f"{side}.npy")))
    return found


def earned(dataset, stage, policy=Policy.JUNK_BEHIND):
    """What the first stage itself earns with its candidates turned round."""
    lists = [
        CandidateList.make(ids, similarity, truth=truth, policy=policy, length=SHORTLIST)
        for ids, similarity, truth in zip(stage.indices, stage.similarity, dataset.truth.truths, strict=True)
    ]
    orders = [{name: chosen[::-1].tolist() for name, chosen in one.lists.items()} for one in lists]
    return judge(Reranked(dataset, lists, orders, stage.tails))


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("seed", range(3))
def test_a_head_and_a_tail_earn_what_the_whole_list_earns(tmp_path, monkeypatch, policy, seed):
    dataset, (queries, gallery) = made_up(seed), stores(tmp_path, seed)
    whole = FirstStage.searched(dataset, queries, gallery, shortlist=SHORTLIST)
    monkeypatch.setattr(first_stage, "WHOLE", 0)
    head = FirstStage.searched(dataset, queries, gallery, shortlist=SHORTLIST)
    assert whole.tails is None and whole.indices.shape[1] == GALLERY
    assert head.indices.shape[1] == 100 + 40 and sum(len(tail.images) for tail in head.tails) > 20
    np.testing.assert_array_equal(head.indices, whole.indices[:, :140])
    one, other = earned(dataset, whole, policy), earned(dataset, head, policy)
    assert one["series"] == other["series"] and one["figures"] == pytest.approx(other["figures"], abs=1e-15)


def test_stages_come_back_as_they_were_saved(tmp_path, monkeypatch):
    dataset, (queries, gallery) = made_up(), stores(tmp_path)
    for limit in (1 << 24, 0):
        monkeypatch.setattr(first_stage, "WHOLE", limit)
        stage = FirstStage.searched(dataset, queries, gallery, shortlist=SHORTLIST)
        stage.save(tmp_path / "stage.npz")
        again = FirstStage.load(tmp_path / "stage.npz")
        np.testing.assert_array_equal(again.indices, stage.indices, strict=True)
        np.testing.assert_array_equal(again.similarity, stage.similarity, strict=True)
        assert (again.tails is None) == (stage.tails is None)
        for one, other in zip(again.tails or (), stage.tails or (), strict=True):
            np.testing.assert_array_equal(one.images, other.images, strict=True)
            np.testing.assert_array_equal(one.places, other.places, strict=True)
            assert one.depth == other.depth == GALLERY


def test_published_lists_that_are_whole_earn_what_a_search_earns(tmp_path, monkeypatch):
    dataset, (queries, gallery) = made_up(), stores(tmp_path)
    whole = FirstStage.searched(dataset, queries, gallery, shortlist=SHORTLIST)
    monkeypatch.setattr(first_stage, "WHOLE", 0)
    given = FirstStage.published(dataset, whole.similarity, whole.indices, shortlist=SHORTLIST)
    assert given.indices.shape[1] == 140
    assert earned(dataset, given)["figures"] == pytest.approx(earned(dataset, whole)["figures"], abs=1e-15)


def test_what_published_lists_leave_out_was_not_retrieved(tmp_path):
    dataset, (queries, gallery) = made_up(), stores(tmp_path)
    whole = FirstStage.searched(dataset, queries, gallery, shortlist=SHORTLIST)
    short = FirstStage.published(dataset, whole.similarity[:, :50], whole.indices[:, :50], shortlist=SHORTLIST)
    figures, all_of_it = earned(dataset, short)["figures"], earned(dataset, whole)["figures"]
    assert 0 < figures["map_medium"] < all_of_it["map_medium"]
    assert figures["map_hard_shortlist_divisor"] >= figures["map_hard"]


def test_other_tasks_keep_what_their_metrics_look_at(tmp_path):
    dataset, (queries, gallery) = replace(made_up(), task=Task.INSTANCES), stores(tmp_path)
    stage = FirstStage.searched(dataset, queries, gallery, shortlist=150)
    assert stage.indices.shape == (QUERIES, 190) and stage.tails is None


def test_no_global_descriptors(tmp_path):
    dataset, (_, gallery) = made_up(), stores(tmp_path)
    with pytest.raises(BenchError, match="no global descriptors of made-up; wanted .* lists of nearest neighbours"):
        FirstStage.searched(dataset, DescriptorStore(), gallery, shortlist=5)
