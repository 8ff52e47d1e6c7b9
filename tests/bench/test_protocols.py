from __future__ import annotations

import numpy as np
import pytest

from bench.protocols import CandidateList, Policy, behind

IDS = np.array([7, 3, 9, 1, 5, 2])
SIMILARITY = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=np.float32)


def make(length=3, policy=Policy.JUNK_BEHIND, easy=(3,), junk=(7,)):
    return CandidateList.make(
        IDS, SIMILARITY, easy=np.array(easy, dtype=int), junk=np.array(junk, dtype=int), policy=policy, length=length
    )


def test_behind_keeps_both_orders():
    ids, similarity = behind(IDS, SIMILARITY, np.array([7, 1]))
    assert ids.tolist() == [3, 9, 5, 2, 7, 1]
    assert similarity.tolist() == pytest.approx([0.8, 0.7, 0.5, 0.4, 0.9, 0.6])


def test_junk_goes_behind_or_stays():
    assert make().ids.tolist() == [3, 9, 1, 5, 2, 7]
    assert make(policy=Policy.JUNK_STAYS).ids.tolist() == IDS.tolist()


def test_hard_star_takes_easy_images_out_before_the_list_is_cut():
    candidates = make(length=3, easy=(3, 1))
    assert candidates.ids[candidates.standard].tolist() == [3, 9, 1]
    assert candidates.ids[candidates.hard_star].tolist() == [9, 5, 2]
    assert candidates.ids[candidates.union].tolist() == [3, 9, 1, 5, 2]


def test_merged_puts_the_rest_behind_in_first_stage_order():
    candidates = make(length=3)
    assert candidates.merged(np.array([2, 0, 1]), hard_star=False).tolist() == [1, 3, 9, 5, 2, 7]
    assert candidates.merged(np.array([3, 1, 2]), hard_star=True).tolist() == [5, 9, 1, 2, 7]


def test_a_list_shorter_than_the_shortlist_is_used_whole():
    candidates = make(length=100)
    assert candidates.length == 6 and len(candidates.union) == 6


def test_all_easy_leaves_hard_star_empty():
    candidates = make(easy=tuple(IDS))
    assert candidates.hard_star.size == 0 and candidates.union.tolist() == [0, 1, 2]
