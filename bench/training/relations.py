"""Who is a positive to whom in a training set: by co-visibility where it is known, else by landmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import npz
from bench.datasets.folder import GROUND_TRUTH
from bench.datasets.ground_truth import read_json, safe_names
from bench.errors import BenchError

#: The rules of facades (docs/facades.md), as far as shares can tell: of the query's part, how much an image shows, or
#: how much of what it shows lies in the query's part; and for transitive positives, what the bridge must share.
SEEN, CLOSE_UP, BRIDGE, BRIDGED = 0.15, 0.7, 0.3, 0.4
#: Most images of one landmark where co-visibility is known: each is compared with each.
MOST_IMAGES = 1 << 12
#: Of a file, in letters; a longer one is not looked for.
LONGEST_NAME = 60
#: The arrays of a co-visibility file, with kind and dimensions.
_EDGES = {"first": ("i", 1), "second": ("i", 1), "first_share": ("f", 1), "second_share": ("f", 1)}


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
        document = read_json(path)
        names = document.get("imlist") if isinstance(document, dict) else None
        given, images = document.get("landmark") if names else None, len(names) if isinstance(names, list) else 0
        if not isinstance(given, list) or len(given) != images or not all(map(_is_landmark, given)):
            raise BenchError(
                f"{path} without the landmark of each of its {images} images",
                wanted="'landmark': a list of numbers, one for each entry of imlist, -1 for images of none",
                cure="Add it: images of one landmark are positives to each other.",
            )
        landmark = np.array(given, dtype=np.int64)
        graph = document.get("covisibility")
        if not graph:
            return cls(landmark)
        (name,) = safe_names([graph], f"covisibility of {path}")
        if len(name) > LONGEST_NAME or not (folder / name).is_file():
            return cls(landmark)
        cure = "Render or fetch it again, beside its ground truth."
        edges = npz.read(folder / name, _EDGES, cure=cure)
        first, second = edges["first"], edges["second"]
        if len({len(one) for one in edges.values()}) > 1 or min(first.min(initial=0), second.min(initial=0)) < 0:
            raise BenchError(f"edges without ends or shares in {folder / name}", wanted="four columns", cure=cure)
        if first.max(initial=-1) >= images:
            raise BenchError(
                f"edges from image {first.max()} in {folder / name}", wanted=f"a gallery of {images}", cure=cure
            )
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


def _is_landmark(value: Any) -> bool:
    return type(value) is int and -1 <= value < 1 << 62


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
        if len(images) > MOST_IMAGES:
            raise BenchError(
                f"{len(images)} images of landmark {one}",
                wanted=f"at most {MOST_IMAGES} where co-visibility is known",
                cure="Take the co-visibility away: then all images of a landmark are positives.",
            )
        inside = (landmark[first] == one) & (landmark[second] == one)
        share = np.zeros((len(images), len(images)), dtype=np.float32)  # of what the row shows, in the column
        a, b = np.searchsorted(images, first[inside]), np.searchsorted(images, second[inside])
        share[a, b], share[b, a] = first_share[gallery][inside], second_share[gallery][inside]
        direct = (share >= SEEN) | (share.T >= CLOSE_UP)
        bridges = ((share >= BRIDGE) & direct).astype(np.float32) @ (share >= BRIDGED).T.astype(np.float32) > 0
        row, column = np.nonzero(direct | ((share > 0) & bridges))
        found.append(np.stack([images[row], images[column]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
