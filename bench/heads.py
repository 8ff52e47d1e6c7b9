"""The heads of ranked lists, as a record keeps them: which images came out first, from where, and what they are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets import Task
from bench.datasets.ground_truth import QueryTruth
from bench.first_stage import FirstStage
from bench.protocols import CandidateList

#: Images of every list that are kept.
HEAD = 10
#: The protocol whose list is kept, where there are several.
SHOWN = "medium"


def heads(
    stage: FirstStage,
    truths: Sequence[QueryTruth],
    task: Task,
    lists: Sequence[CandidateList],
    orders: Sequence[Mapping[str, Sequence[int]]],
    scores: Sequence[Mapping[str, Sequence[float | None]]],
) -> dict[str, Any]:
    """The fields of a RankedLists, from the candidates of all queries, their positions in their new order, and the
    scores of the first HEAD of these."""
    found: dict[str, Any] = {
        "first_stage_sha256": sha256(stage),
        "images": [],
        "places": [],
        "scores": [],
        "labels": [],
    }
    for one, truth, order, score in zip(lists, truths, orders, scores, strict=True):
        name = one.name_for(SHOWN)
        positions = one.reordered(np.array(order[name], dtype=np.int64))[:HEAD]
        by_position = dict(zip(order[name], score[name], strict=False))
        images = one.ids[positions]
        found["images"].append(images.tolist())
        found["places"].append((positions + 1).tolist())
        found["scores"].append([by_position.get(position) for position in positions.tolist()])
        found["labels"].append("".join(letters(images, truth, task)))
    return found


def letters(images: NDArray[np.int64], truth: QueryTruth, task: Task) -> NDArray[np.str_]:
    """For each image the letter of bench.results.record.LABELS that says what it is to the query."""
    found = np.full(len(images), "-")
    labels = (
        ("p" if task is not Task.REVISITED else "h", truth.hard),
        ("t", truth.transitive),
        ("e", truth.easy),
        ("j", truth.junk),
    )
    for letter, ids in labels:
        if ids is not None:
            found[np.isin(images, ids)] = letter
    return found


def finite(scores: Sequence[float]) -> list[float | None]:
    """Scores without those that are none: minus infinity puts an image behind all that were scored."""
    return [score if math.isfinite(score) else None for score in scores]


def sha256(stage: FirstStage) -> str:
    """Of the images of all first-stage lists in their order."""
    return hashlib.sha256(np.ascontiguousarray(stage.indices, dtype="<i8").tobytes()).hexdigest()
