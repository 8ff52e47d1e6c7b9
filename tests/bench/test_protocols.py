from __future__ import annotations

import numpy as np
import pytest

from bench.datasets.ground_truth import QueryTruth
from bench.protocols import CandidateList, Policy, behind

IDS = np.array([7, 3, 9, 1, 5, 2])
SIMILARITY = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=np.float32)


def make(length=3, policy=Policy.JUNK_BEHIND, easy=(3,), hard=(), junk=(7,)):
    truth = QueryTruth(*(np.array(ids, dtype=np.int64) for ids in (easy, hard, junk)), box=None)
    return CandidateList.make(IDS, SIMILARITY, truth=truth, policy=policy, length=length)


def images(candidates, name):
    return candidates.ids[candidates.lists[name]].tolist()


def test_behind_keeps_both_orders():
    ids, similarity = behind(IDS, SIMILARITY, np.array([7, 1]))
    assert ids.tolist() == [3, 9, 5, 2, 7, 1]
    assert similarity.tolist() == pytest.approx([0.8, 0.7, 0.5, 0.4, 0.9, 0.6])


def test_junk_goes_behind_or_stays():
    assert make().ids.tolist() == [3, 9, 1, 5, 2, 7]
    assert make(policy=Policy.JUNK_STAYS).ids.tolist() == IDS.tolist()


def test_hard_star_takes_easy_images_out_before_the_list_is_cut():
    candidates = make(length=3, easy=(3, 1))
    assert images(candidates, "standard") == [3, 9, 1]
    assert images(candidates, "hard_star") == [9, 5, 2]
    assert candidates.ids[candidates.union].tolist() == [3, 9, 1, 5, 2]


def test_merged_puts_the_rest_behind_in_first_stage_order():
    candidates = make(length=3)
    assert candidates.merged(np.array([2, 0, 1]), hard_star=False).tolist() == [1, 3, 9, 5, 2, 7]
    assert candidates.merged(np.array([3, 1, 2]), hard_star=True).tolist() == [5, 9, 1, 2, 7]


def test_per_protocol_leaves_out_what_each_protocol_ignores_and_keeps_it_in_its_place():
    candidates = make(policy=Policy.PER_PROTOCOL, easy=(3, 1), hard=(9,), junk=(7,))
    assert {name: images(candidates, name) for name in candidates.lists} == {
        "easy": [3, 1, 5],
        "medium": [3, 9, 1],
        "hard": [9, 5, 2],
        "hard_star": [9, 5, 2],
    }
    assert candidates.name_for("medium") == "medium" and make().name_for("medium") == "standard"
    turned = candidates.lists["hard"][::-1]  # 2 5 9 go where 9 5 2 were; 7 3 1 stay
    assert candidates.merged(turned, hard_star=False).tolist() == [7, 3, 2, 1, 5, 9]
    assert candidates.merged(turned, hard_star=True).tolist() == [7, 2, 5, 9]


def test_a_list_shorter_than_the_shortlist_is_used_whole():
    candidates = make(length=100)
    assert len(candidates.lists["standard"]) == len(candidates.union) == 6


def test_all_easy_leaves_hard_star_empty():
    candidates = make(easy=tuple(IDS))
    assert candidates.lists["hard_star"].size == 0 and candidates.union.tolist() == [0, 1, 2]
