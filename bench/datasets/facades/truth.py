"""The labels of all landmarks, put together for the files."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import labels
from .plan import Building, gallery_name, gallery_positions, query_name
from .recipe import VERSION, Recipe


def ground_truth(recipe: Recipe, landmarks: list[Building]) -> dict[str, Any]:
    """The content of ground_truth.json; every list of images is sorted."""
    positions, views = gallery_positions(recipe), recipe.views
    place = [-1] * recipe.gallery_size
    for k in range(recipe.landmarks * views):
        place[positions[k]] = k // views
    gnd = []
    for building in landmarks:
        own = positions[building.index * views : (building.index + 1) * views]
        for box, answer in zip(building.boxes, building.labels, strict=True):
            kinds = {
                kind: sorted(own[k] for k in getattr(answer, kind)) for kind in ("easy", "hard", "junk", "transitive")
            }
            gnd.append({"bbx": list(box), **kinds})
    return {
        "imlist": [gallery_name(k) for k in range(recipe.gallery_size)],
        "qimlist": [query_name(k) for k in range(recipe.query_count)],
        "gnd": gnd,
        "name": recipe.name,
        "version": VERSION,
        "landmark": place,
        "query_landmark": [k // max(1, recipe.queries) for k in range(recipe.query_count)],
        "covisibility": "covisibility.npz",
    }


def covisibility(recipe: Recipe, landmarks: list[Building]) -> dict[str, np.ndarray]:
    """Edges between images that share at least one cell of a front.

    first, second (int32): positions in imlist, or len(imlist) + position in qimlist; first < second.
    first_share, second_share (float32): how much of what the first (second) shows of the front the other shows too.
    """
    positions, views = gallery_positions(recipe), recipe.views
    edges: list[tuple[int, int, float, float]] = []
    for building in landmarks:
        k = building.index
        ids = positions[k * views : (k + 1) * views]
        ids = [*ids, *(recipe.gallery_size + k * recipe.queries + q for q in range(recipe.queries))]
        for a, first in enumerate(building.views):
            for b in range(a + 1, len(building.views)):
                second = building.views[b]
                shares = labels.share(first.cells, second.cells), labels.share(second.cells, first.cells)
                if shares[0] > 0:
                    edges.append((ids[a], ids[b], *shares) if ids[a] < ids[b] else (ids[b], ids[a], *shares[::-1]))
    edges.sort()
    columns = list(zip(*edges, strict=True)) if edges else [(), (), (), ()]
    return {
        "first": np.asarray(columns[0], np.int32),
        "second": np.asarray(columns[1], np.int32),
        "first_share": np.asarray(columns[2], np.float32),
        "second_share": np.asarray(columns[3], np.float32),
    }
