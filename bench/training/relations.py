"""Who is a positive to whom in a training set: by co-visibility where it is known, else by landmark."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets.folder import GROUND_TRUTH
from bench.errors import BenchError

#: The rules of facades (docs/facades.md), as far as shares can tell: of the query's part, how much an image shows, or
#: how much of what it shows lies in the query's part; and for transitive positives, what the bridge must share.
SEEN, CLOSE_UP, BRIDGE, BRIDGED = 0.15, 0.7, 0.3, 0.4


@dataclass(frozen=True)
class Relations:
    """Labels between the n images of a gallery.

    landmark: (n,), -1 for an image of none. pairs: (m, 2) of one landmark, sorted: the first finds the second a
    positive. All other pairs of one landmark are junk, which nothing is learnt from; without `pairs` all are positive.
    """

    landmark: NDArray[np.int64]
    pairs: NDArray[np.int64] | None = None

    @classmethod
    def read(cls, folder: Path) -> Relations:
        """Those of a folder whose ground_truth.json lists the `landmark` of each gallery image; BenchError without."""
        path = folder / GROUND_TRUTH
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        given, images = document.get("landmark"), len(document["imlist"])
        if not isinstance(given, list) or len(given) != images or not all(isinstance(one, int) for one in given):
            raise BenchError(
                f"{path} without the landmark of each of its {images} images",
                wanted="'landmark': a list of numbers, one for each entry of imlist, -1 for images of none",
                cure="Add it: images of one landmark are positives to each other.",
            )
        landmark = np.array(given, dtype=np.int64)
        graph = folder / str(document.get("covisibility", ""))
        if not graph.is_file():
            return cls(landmark)
        with np.load(graph, allow_pickle=False) as stored:
            edges = {name: stored[name] for name in ("first", "second", "first_share", "second_share")}
        return cls(landmark, _covisible(landmark, **edges))

    def judged(self, anchors: NDArray[np.int64], images: NDArray[np.int64]) -> tuple[NDArray[np.bool_], ...]:
        """Which of `images` (a, k) are positives to the anchors (a,), and which are negatives: (a, k) each."""
        own = self.landmark[anchors][:, None]
        same, other = (own == self.landmark[images]) & (own >= 0), images != anchors[:, None]
        if self.pairs is None:
            return same & other, ~same & other
        count = len(self.landmark)
        known = self.pairs[:, 0] * count + self.pairs[:, 1]
        return np.isin(anchors[:, None] * count + images, known), ~same & other


def _covisible(
    landmark: NDArray[np.int64],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    first_share: NDArray[np.float32],
    second_share: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Pairs (m, 2) by the rules of facades."""
    gallery = second < len(landmark)  # queries follow the gallery
    first, second = first[gallery].astype(np.int64), second[gallery].astype(np.int64)
    found = []
    for one in np.unique(landmark[landmark >= 0]):
        images = np.flatnonzero(landmark == one)
        inside = landmark[first] == one
        share = np.zeros((len(images), len(images)), dtype=np.float32)  # of what the row shows, in the column
        a, b = np.searchsorted(images, first[inside]), np.searchsorted(images, second[inside])
        share[a, b], share[b, a] = first_share[gallery][inside], second_share[gallery][inside]
        direct = (share >= SEEN) | (share.T >= CLOSE_UP)
        bridges = ((share >= BRIDGE) & direct).astype(np.float32) @ (share >= BRIDGED).T.astype(np.float32) > 0
        row, column = np.nonzero(direct | ((share > 0) & bridges))
        found.append(np.stack([images[row], images[column]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
