"""Who is a positive to whom."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.errors import BenchError
from bench.training.relations import Relations


def folder(path, landmark, edges=None):
    """A data set's folder with these labels; edges: (first, second, share of first, share of second)."""
    document = {"imlist": [f"{k}.jpg" for k in range(len(landmark))], "landmark": landmark}
    if edges is not None:
        columns = list(zip(*edges, strict=True))
        names = ("first", "second", "first_share", "second_share")
        np.savez(path / "graph.npz", **{name: np.array(one) for name, one in zip(names, columns, strict=True)})
        document["covisibility"] = "graph.npz"
    (path / "ground_truth.json").write_text(json.dumps(document))
    return path


def judged(relations, anchor):
    images = np.arange(len(relations.landmark))
    positive, negative = relations.judged(np.array([anchor]), images[None])
    return set(np.flatnonzero(positive[0])), set(np.flatnonzero(negative[0]))


def test_without_a_graph_landmarks_decide(tmp_path):
    relations = Relations.read(folder(tmp_path, [0, 0, 1, -1, -1]))
    assert judged(relations, 0) == ({1}, {2, 3, 4})
    assert judged(relations, 3) == (set(), {0, 1, 2, 4})


def test_shares_decide_where_they_are_known(tmp_path):
    edges = [
        (0, 1, 0.2, 0.05),  # 1 shows a fifth of 0; 0 shows little of 1
        (0, 2, 0.05, 0.8),  # 2 is a close-up of 0
        (0, 3, 0.05, 0.05),  # too little, and no bridge
        (0, 9, 0.9, 0.9),  # 9 is a query
    ]
    relations = Relations.read(folder(tmp_path, [0, 0, 0, 0, 1], edges))
    assert judged(relations, 0) == ({1, 2}, {4})
    assert judged(relations, 1) == (set(), {4})
    assert judged(relations, 2) == ({0}, {4})
    assert judged(relations, 4) == (set(), {0, 1, 2, 3})


def test_a_bridge_makes_a_positive(tmp_path):
    edges = [(0, 1, 0.4, 0.4), (1, 2, 0.5, 0.5), (0, 2, 0.01, 0.01)]
    relations = Relations.read(folder(tmp_path, [0, 0, 0, 1], edges))
    assert judged(relations, 0) == ({1, 2}, {3})
    apart = Relations.read(folder(tmp_path, [0, 0, 0, 1], edges[:2]))  # nothing at all in common
    assert judged(apart, 0) == ({1}, {3})


@pytest.mark.parametrize("landmark", [None, [0], ["a", "b"]])
def test_labels_are_asked_for(tmp_path, landmark):
    (tmp_path / "ground_truth.json").write_text(json.dumps({"imlist": ["a", "b"], "landmark": landmark}))
    with pytest.raises(BenchError, match="landmark"):
        Relations.read(tmp_path)
