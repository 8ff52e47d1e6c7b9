"""Triplets to train on, as ELViS and AMES draw them (TripletSampler of pavelsuma/ELViS, commit 6a37f20).

An anchor's positive and its negative are drawn from its list of neighbours, each with a probability proportional to
the cube of its similarity: the nearer a stranger, the likelier it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import BenchError

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Neighbours of an image that are looked at.
DEPTH = 300
#: Positives, and negatives, that an anchor has at least among them.
LEAST = 5
#: Triplets in a batch of 600 images.
BATCH = 200


@dataclass(frozen=True)
class Neighbours:
    """The lists of n images, best first, themselves left out; all fields (n, k).

    positive, negative: which neighbours may be drawn as either. One that is neither is left alone, as is one whose
    similarity is not above 0. Raises BenchError for fields that do not fit together, and for a neighbour that is both.
    """

    indices: Indices
    similarity: NDArray[np.floating]
    positive: Mask
    negative: Mask

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items()}
        if len(set(shapes.values())) != 1 or len(shapes["indices"]) != 2:
            raise BenchError(
                ", ".join(f"{name} {shape}" for name, shape in shapes.items()),
                wanted="one shape (n, k) for all: n images, k neighbours each",
                cure="Take them from one search of the training images among themselves.",
            )
        if (both := int((self.positive & self.negative).sum())) > 0:
            raise BenchError(
                f"{both} neighbours that are positive and negative",
                wanted="either, or neither",
                cure="Give both masks from one ground truth.",
            )

    @classmethod
    def of_classes(
        cls, labels: NDArray[Any], similarity: NDArray[np.floating], indices: Indices, *, depth: int = DEPTH
    ) -> Neighbours:
        """The first `depth` neighbours of images with labels (n,): those of the same class are positive, all others
        negative. similarity, indices: (n, k)."""
        labels, similarity, indices = np.asarray(labels), similarity[:, :depth], indices[:, :depth]
        if labels.shape != indices.shape[:1] or (
            indices.size and not 0 <= indices.min() <= indices.max() < len(labels)
        ):
            raise BenchError(
                f"{labels.shape} labels, and lists {indices.shape} of neighbours"
                + (f" from {indices.min()} to {indices.max()}" if indices.size else ""),
                wanted="a label for every image, and a list for every label",
                cure="Search the images that have labels among themselves.",
            )
        same = labels[indices] == labels[:, None]
        return cls(indices, similarity, same, ~same)

    def anchors(self, *, least: int = LEAST) -> Indices:
        """The images with at least `least` positives and as many negatives of positive similarity, ascending.

        Raises BenchError when there is none.
        """
        near = self.similarity > 0
        enough = [(mask & near).sum(axis=1) >= least for mask in (self.positive, self.negative)]
        found = np.flatnonzero(enough[0] & enough[1])
        if len(found) == 0:
            raise BenchError(
                f"no anchor: of {len(near)} images, {enough[0].sum()} have {least} positives and {enough[1].sum()} have"
                f" {least} negatives of positive similarity among {near.shape[1]} neighbours",
                wanted="an image that has both",
                cure="Train on more images of more than one class, look deeper, or ask for fewer.",
            )
        return found

    def epoch(
        self,
        anchors: Indices,
        *,
        rng: np.random.RandomState,
        generator: torch.Generator | None = None,
        batch: int = BATCH,
    ) -> Iterator[Indices]:
        """Batches (b, 3) of anchor, positive and negative; every anchor once, the last batch may be short.

        generator: for the order of the anchors; None: torch's own. rng: for what is drawn, an anchor's positive before
        its negative, one number each, as RandomState.choice takes it.
        Raises BenchError for an anchor without a positive or a negative of positive similarity.
        """
        for chunk in torch.randperm(len(anchors), generator=generator).split(batch):
            rows = anchors[chunk.numpy()]
            drawn = rng.random_sample((len(rows), 2))
            places = [
                self._draw(rows, mask, drawn[:, side]) for side, mask in enumerate((self.positive, self.negative))
            ]
            yield np.stack([rows, *(self.indices[rows, place] for place in places)], axis=1)

    def _draw(self, rows: Indices, mask: Mask, drawn: NDArray[np.float64]) -> Indices:
        """Places (b,) in the lists of images `rows` (b,), by numbers (b,) from 0 to below 1."""
        similarity = self.similarity[rows].astype(np.float64)
        chances = np.where(mask[rows] & (similarity > 0), similarity**3, 0.0).cumsum(axis=1)
        if len(alone := rows[chances[:, -1] == 0]):
            raise BenchError(
                f"{len(alone)} anchors with nothing to draw, image {alone[0]} the first",
                wanted="a positive and a negative of positive similarity for every anchor",
                cure="Take the anchors from Neighbours.anchors.",
            )
        found: Indices = (chances / chances[:, -1:] <= drawn[:, None]).sum(axis=1)
        return found


def valid_anchors(
    labels: NDArray[Any],
    similarity: NDArray[np.floating],
    neighbours: Indices,
    *,
    depth: int = DEPTH,
    least: int = LEAST,
) -> Indices:
    """The images with labels (n,) that can be anchors: see Neighbours.anchors. similarity, neighbours: (n, k)."""
    return Neighbours.of_classes(labels, similarity, neighbours, depth=depth).anchors(least=least)


def trimmed(rng: np.random.RandomState, least: int, most: int, candidate_most: int | None = None) -> tuple[int, int]:
    """How many descriptors the anchors of a batch keep, then its positives and negatives: uniform in [least, most).

    candidate_most: where it is another for positives and negatives. Raises BenchError where there is nothing between.
    """
    ends = (most, most if candidate_most is None else candidate_most)
    if not 1 <= least < min(ends):
        raise BenchError(
            f"lengths from {least} to below {min(ends)}",
            wanted="at least 1, and less than what images have",
            cure="Officially from 10 (AMES) or 100 (ELViS) to below 400.",
        )
    query, candidate = (int(rng.randint(least, end)) for end in ends)
    return query, candidate
