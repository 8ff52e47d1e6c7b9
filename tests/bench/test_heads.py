"""What a record keeps of ranked lists."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.datasets import Task
from bench.datasets.ground_truth import QueryTruth
from bench.first_stage import FirstStage
from bench.heads import HEAD, finite, heads, letters, sha256
from bench.protocols import CandidateList, Policy
from bench.results import RankedLists


def ids(*images: int) -> np.ndarray:
    return np.array(images, dtype=np.int64)


TRUTH = QueryTruth(easy=ids(1), hard=ids(2, 4), junk=ids(0), transitive=ids(4))


def stage(*images: int) -> FirstStage:
    return FirstStage(ids(*images)[None], -np.arange(len(images), dtype=np.float32)[None])


def kept(policy: Policy, order: list[int], scores: list[float | None], *, length: int = 3) -> RankedLists:
    first = stage(*range(15))
    one = CandidateList.make(first.indices[0], first.similarity[0], truth=TRUTH, policy=policy, length=length)
    name = one.name_for("medium")
    return RankedLists(**heads(first, [TRUTH], Task.REVISITED, [one], [{name: order}], [{name: scores}]))


def test_the_head_is_that_of_the_final_list() -> None:
    # junk goes behind: 1 2 3 | 4 5 ... 14 0; the candidates come out as 3 1 2
    found = kept(Policy.JUNK_BEHIND, [2, 0, 1], [0.9, 0.5, -1.0])
    assert found.images == [[3, 1, 2, 4, 5, 6, 7, 8, 9, 10]] and len(found.images[0]) == HEAD
    assert found.places == [[3, 1, 2, 4, 5, 6, 7, 8, 9, 10]]
    assert found.scores == [[0.9, 0.5, -1.0, *[None] * 7]]
    assert found.labels == ["-eht------"]


def test_images_that_are_no_candidates_keep_their_place_and_have_no_score() -> None:
    # junk 0 stays where it is and is no candidate of medium: 1 2 3 come out as 2 3 1
    found = kept(Policy.PER_PROTOCOL, [2, 3, 1], [7.0, 6.0, 5.0])
    assert found.images[0][:4] == [0, 2, 3, 1] and found.scores[0][:5] == [None, 7.0, 6.0, 5.0, None]
    assert found.labels[0][:5] == "jh-et"


def test_an_order_without_scores_has_none() -> None:
    assert kept(Policy.JUNK_BEHIND, [2, 0, 1], []).scores == [[None] * HEAD]


def test_a_short_list_is_kept_whole() -> None:
    first = stage(1, 3)
    one = CandidateList.make(first.indices[0], first.similarity[0], truth=TRUTH, policy=Policy.JUNK_BEHIND, length=5)
    found = heads(first, [TRUTH], Task.REVISITED, [one], [{"standard": [1, 0]}], [{"standard": [2.0, 1.0]}])
    assert found["images"] == [[3, 1]] and found["labels"] == ["-e"]


def test_positives_of_other_tasks_are_not_called_hard() -> None:
    plain = QueryTruth(easy=ids(), hard=ids(2), junk=ids(0))
    assert "".join(letters(ids(0, 1, 2), plain, Task.INSTANCES)) == "j-p"


def test_the_hash_tells_lists_apart() -> None:
    assert sha256(stage(0, 1, 2)) == sha256(stage(0, 1, 2)) != sha256(stage(0, 2, 1))


def test_minus_infinity_is_no_score() -> None:
    assert finite([1.5, -math.inf]) == [1.5, None]


def test_rows_of_different_lengths_are_no_ranked_lists() -> None:
    rows = {"first_stage_sha256": "0", "images": [[1, 2]], "places": [[1, 2]], "scores": [[0.5, None]]}
    RankedLists(**rows, labels=["e-"])
    with pytest.raises(ValueError, match="differ in length"):
        RankedLists(**rows, labels=["e"])
    with pytest.raises(ValueError, match="labels 'x'"):
        RankedLists(**rows, labels=["ex"])
