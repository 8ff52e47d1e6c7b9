"""What shortlists allow, by hand and against every order there is."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bench.ceiling import ceilings
from bench.datasets import Dataset, Task
from bench.datasets.ground_truth import GroundTruth, QueryTruth
from bench.first_stage import FirstStage
from bench.ground import Candidates
from bench.judging import Reranked, judge
from bench.metrics.revisited import Tail
from bench.protocols import Policy


def ids(*images: int) -> np.ndarray:
    return np.array(images, dtype=np.int64)


def given(*truths: QueryTruth, shortlist: int, task: Task = Task.REVISITED, tails=None, policy=Policy.JUNK_BEHIND):
    lists = np.tile(np.arange(7), (len(truths), 1))
    stage = FirstStage(lists, -lists.astype(np.float32), tails)
    dataset = Dataset("made-up", Path(), GroundTruth((), (), truths), task)
    return dataset, Candidates(stage, truths, policy, shortlist)


MIXED = QueryTruth(easy=ids(1, 5), hard=ids(3, 6), junk=ids(0))


def test_recall_is_the_share_of_positives_in_the_shortlist() -> None:
    found = ceilings(*given(MIXED, QueryTruth(ids(), ids(0, 1, 2, 6), ids()), shortlist=3), depths=(2, 5))
    # without junk the first list is 1 2 3 4 5 6: two candidates hold 1 of the easy ones, and no hard one
    assert found["recall_ceiling_easy_at_2"] == 1 / 2  # the second query has no easy ones, and does not count
    assert found["recall_ceiling_medium_at_2"] == (1 / 4 + 2 / 4) / 2
    assert found["recall_ceiling_hard_at_2"] == (0 + 2 / 4) / 2
    assert found["recall_ceiling_hard_at_3"] == (1 / 2 + 3 / 4) / 2
    assert found["recall_ceiling_hard_at_5"] == (1 / 2 + 3 / 4) / 2
    # under hard* the first list is 2 3 4 6
    assert found["recall_ceiling_hard_star_at_5"] == (1 + 3 / 4) / 2


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("shortlist", [2, 4, 5])
def test_no_order_of_the_candidates_earns_more(policy: Policy, shortlist: int) -> None:
    dataset, lists = given(MIXED, shortlist=shortlist, policy=policy)
    found, one = ceilings(dataset, lists, depths=()), lists[0]
    for protocol in ("easy", "medium", "hard", "hard_star"):
        name = one.name_for(protocol)
        others = {other: positions.tolist() for other, positions in one.lists.items()}
        orders = [others | {name: list(order)} for order in permutations(one.lists[name].tolist())]
        best = max(judge(Reranked(dataset, [one], [order]))["figures"][f"map_{protocol}"] for order in orders)
        assert found[f"oracle_map_{protocol}_at_{shortlist}"] == pytest.approx(best, abs=1e-12)


def test_a_longer_shortlist_allows_no_less() -> None:
    found = ceilings(*given(MIXED, shortlist=1), depths=(1, 2, 3, 4, 5, 6))
    for protocol in ("easy", "medium", "hard", "hard_star"):
        oracle = [found[f"oracle_map_{protocol}_at_{depth}"] for depth in range(1, 7)]
        assert oracle == sorted(oracle) and oracle[-1] == 1


def test_other_tasks_have_the_figures_of_their_own() -> None:
    found = ceilings(*given(QueryTruth(ids(), ids(2, 6), ids(0)), shortlist=3, task=Task.INSTANCES), depths=())
    # the candidates are 1 2 3, of which 2 comes first: 2 1 3 4 5 6, the positives at ranks 1 and 6
    assert found["oracle_map_at_100_at_3"] == pytest.approx((1 + 2 / 6) / 2)
    assert found["oracle_recall_at_1_at_3"] == 1 and found["recall_ceiling_at_3"] == 1 / 2


def test_a_shortlist_beyond_what_was_kept_says_so() -> None:
    tails = (Tail(ids(), ids(), 1000),)
    found = ceilings(*given(MIXED, shortlist=3, tails=tails), depths=(3, 100))
    assert isinstance(found["oracle_map_hard_at_3"], float)
    assert found["oracle_map_hard_at_100"] == "the first 7 images of every list were kept, not 100"
