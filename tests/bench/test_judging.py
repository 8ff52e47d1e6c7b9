"""What lists earn under the tasks beside Revisited Oxford's, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.datasets import Dataset, Task
from bench.datasets.ground_truth import GroundTruth, QueryTruth
from bench.judging import Reranked, judge
from bench.protocols import CandidateList, Policy


def ids(*images):
    return np.array(images, dtype=np.int64)


def judged(task, *queries, private=0):
    """Earned by queries (order of images, positives, junk) that re-rank their first three candidates."""
    truths, lists, orders = [], [], []
    for order, positives, junk in queries:
        truth = QueryTruth(ids(), ids(*positives), ids(*junk))
        first = ids(*sorted(order[:3]), *order[3:])
        one = CandidateList.make(first, -np.arange(len(first)), truth=truth, policy=Policy.JUNK_BEHIND, length=3)
        places = [int(np.flatnonzero(one.ids == image)[0]) for image in order[:3] if image not in junk]
        rest = [place for place in one.lists["standard"].tolist() if place not in places]
        truths.append(truth)
        lists.append(one)
        orders.append({"standard": places + rest, "hard_star": places + rest})
    dataset = Dataset("made-up", Path(), GroundTruth((), (), tuple(truths)), task, private=private)
    found = judge(Reranked(dataset, lists, orders))
    return found["figures"], found["series"]


def test_landmarks_are_judged_in_public_and_in_private():
    figures, series = judged(
        Task.LANDMARKS, ((2, 0, 1, 3), (2, 1), ()), ((0, 1, 2, 3), (), ()), ((1, 0, 2, 3), (0,), ()), private=1
    )
    first, last = (1 + 2 / 3) / 2, 1 / 2
    assert figures["map_public"] == pytest.approx(first) and figures["map_private"] == pytest.approx(last)
    assert figures["map_at_100"] == pytest.approx((first + last) / 2)
    assert series["ap_public"] == [pytest.approx(first), None, None]
    assert series["ap_private"] == [None, None, pytest.approx(last)]
    assert series["positives_in_shortlist"] == [2, 0, 1]


def test_instances_are_judged_without_their_junk():
    figures, series = judged(Task.INSTANCES, ((3, 0, 1, 2), (1,), (0,)), ((0, 1, 2, 3), (), ()))
    assert figures == pytest.approx({"map_at_100": 1 / 2, "recall_at_1": 0, "recall_at_10": 1, "recall_at_100": 1})
    assert series["ap_at_100"] == [pytest.approx(1 / 2), None] and series["recall_at_1"] == [0, None]


def test_classes_are_judged_without_the_query_itself():
    # image 0 is the query; its class: 0, 2, 3; list without it: 2, 1, 3
    figures, series = judged(Task.CLASSES, ((2, 1, 3, 0), (2, 3), (0,)))
    assert figures["recall_at_1"] == 1
    assert figures["map_at_r"] == pytest.approx((1 + 0) / 2)
    # R = 3 with the query, which stands last: precisions 1, 1/2 and 2/3 at every rank
    assert figures["map_at_r_locore"] == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)
    assert figures["map_at_100"] == pytest.approx((1 + 2 / 3) / 2)
    assert set(series) == {
        *(f"recall_at_{k}" for k in (1, 10, 100)),
        "ap_at_r",
        "ap_at_r_locore",
        "ap_at_100",
        "positives_in_shortlist",
    }


def test_a_query_without_its_class_in_the_gallery_leaves_the_means():
    figures, series = judged(Task.CLASSES, ((2, 1, 3, 0), (2, 3), ()), ((0, 1, 2, 3), (), ()))
    assert figures["recall_at_1"] == 1 and series["ap_at_r"] == [pytest.approx(1 / 2), None]
    assert figures["map_at_r"] == pytest.approx(1 / 2)
    assert figures["map_at_r_locore"] == pytest.approx((1 + 1 / 2) / 2)
