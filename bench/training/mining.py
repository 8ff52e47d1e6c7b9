"""Which images a step learns from, for models that are not trained on the triplets of `bench.training.triplets`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.training.triplets import Neighbours


@dataclass(frozen=True)
class ListBatch:
    """B lists of K candidates. images: (B, 1 + K), the query first. positive: (B, K)."""

    images: NDArray[np.int64]
    positive: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)


def hard_first(
    neighbours: Neighbours, anchors: NDArray[np.int64], *, seed: int, epoch: int, batch: int
) -> Iterator[NDArray[np.int64]]:
    """Batches (b, 3) of anchor, positive and negative; every anchor once, in random order.

    The positive is any of the list. The negative is the best ranked one in the first epoch, the second best in the
    next, and so on, from the top again at the end of a list: the hardest come first, as in RRT (Tan et al., ICCV 2021,
    section 4: negatives among the first 100 neighbours) and R2Former (Zhu et al., CVPR 2023, section 3.4: the hardest
    of the global retrieval).
    """
    rng = np.random.default_rng((seed, epoch))
    for rows in _chunks(rng.permutation(anchors), batch):
        positive = _pick(neighbours.positive[rows], rng.random(len(rows)))
        negatives = neighbours.negative[rows]
        wanted = epoch % negatives.sum(axis=1)
        negative = (negatives.cumsum(axis=1) > wanted[:, None]).argmax(axis=1)
        yield np.stack([rows, neighbours.indices[rows, positive], neighbours.indices[rows, negative]], axis=1)


def lists(
    neighbours: Neighbours, anchors: NDArray[np.int64], *, seed: int, epoch: int, batch: int, window: int
) -> Iterator[ListBatch]:
    """Batches of lists, every anchor's once: `window` of its candidates in random order (LOCORE, CVPR 2025).

    Junk is left out. A list longer than the window keeps at most half of it for positives, and the rest for negatives,
    both drawn at random; a shorter one repeats candidates.
    """
    rng = np.random.default_rng((seed, epoch))
    for rows in _chunks(rng.permutation(anchors), batch):
        images, positive = [], []
        for row in rows:
            right, wrong = (np.flatnonzero(mask[row]) for mask in (neighbours.positive, neighbours.negative))
            kept = rng.permutation(right)[: max(1, window // 2)]
            chosen = np.concatenate([kept, rng.permutation(wrong)[: window - len(kept)]])
            chosen = rng.permutation(np.resize(chosen, window))
            images.append(np.concatenate([[row], neighbours.indices[row, chosen]]))
            positive.append(neighbours.positive[row, chosen])
        yield ListBatch(np.stack(images), np.stack(positive))


def _chunks(anchors: NDArray[np.int64], batch: int) -> list[NDArray[np.int64]]:
    return np.array_split(anchors, math.ceil(len(anchors) / batch))


def _pick(mask: NDArray[np.bool_], drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of one True a row, by numbers from 0 to below 1."""
    wanted = (drawn * mask.sum(axis=1)).astype(np.int64)
    found: NDArray[np.int64] = (mask.cumsum(axis=1) > wanted[:, None]).argmax(axis=1)
    return found
