"""What is learnt from: images, their first-stage neighbours, and which of these are right."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from bench.features.store import DescriptorStore
from bench.prepare import Gallery
from bench.search import search
from bench.training.relations import Relations
from bench.training.triplets import Neighbours
from rerankers import Features, Reranker

#: Images whose descriptors the mean is taken of.
SAMPLED = 256


@dataclass(frozen=True)
class TrainingData:
    """n images and their lists.

    sha256: of the data set. neighbours: of every image, best first. anchors: images that are queried with.
    """

    name: str
    sha256: str
    store: DescriptorStore
    neighbours: Neighbours
    anchors: NDArray[np.int64]

    @classmethod
    def make(cls, gallery: Gallery, store: DescriptorStore, *, depth: int, fewest: int) -> TrainingData:
        """Those of a prepared gallery, with lists of `depth` neighbours.

        fewest: descriptors that an image must have, else it is left out. BenchError when no list has both a positive
        and a negative.
        """
        relations = Relations.read(gallery.dataset.folder)
        count = len(gallery.dataset.truth.gallery)
        depth = min(depth, count - 1)
        globals_ = store.global_.array() if store.global_ is not None else np.zeros((count, 1), np.float32)
        found = search(globals_, globals_, depth + 1)
        own = found.indices == np.arange(count)[:, None]
        own[~own.any(axis=1), -1] = True  # an image that its twins have pushed out: drop the last of them
        indices, similarity = (part[~own].reshape(count, depth) for part in (found.indices, found.similarity))
        indices = indices.astype(np.int64)
        positive, negative = relations.judged(np.arange(count), indices)
        described = _described(store, count) >= fewest
        positive, negative = positive & described[indices], negative & described[indices]
        anchors = np.flatnonzero(positive.any(axis=1) & negative.any(axis=1) & described)
        if len(anchors) == 0:
            raise BenchError(
                f"no shortlist in {gallery.dataset.name} with a positive and a negative",
                wanted="landmarks with several images, and images of more than one landmark",
                cure="Train on more images, or look deeper (--depth).",
            )
        neighbours = Neighbours(indices, similarity, positive, negative)
        return cls(gallery.dataset.name, gallery.dataset.sha256, store, neighbours, anchors)

    def features(self, images: NDArray[np.int64], reranker: Reranker) -> Features:
        """What the re-ranker reads of these images (n,)."""
        length = reranker.candidate_locals
        if self.store.local is not None and length is not None:
            length = min(length, self.store.local.length)
        return self.store.features(images, locals=length, needs=reranker.needs)

    def described(self) -> Tensor:
        """Local descriptors (n, D) of some images."""
        count = len(self.neighbours.indices)
        found = self.store.features(np.arange(0, count, max(1, count // SAMPLED)), locals=48)
        return found.local[found.valid]


def _described(store: DescriptorStore, count: int) -> NDArray[np.int64]:
    """How many descriptors each image has, of the first 64."""
    if store.local is None:
        return np.full(count, 64)
    found = [valid.sum(axis=1) for _, valid in store.local.chunks(256, locals=min(64, store.local.length))]
    return np.concatenate(found).astype(np.int64)


def repeated(features: Features, times: int) -> Features:
    """The same images `times` times over, one whole round after the other."""

    def again(value: Any) -> Any:
        if isinstance(value, tuple):
            return value * times
        return torch.cat([value] * times)

    return Features(**{name: again(value) for name, value in vars(features).items() if value is not None})


def moved(inputs: Any, device: torch.device) -> Any:
    """The same inputs, tensors within tuples and dataclasses too, on another device."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, tuple):
        return tuple(moved(one, device) for one in inputs)
    if is_dataclass(inputs) and not isinstance(inputs, type):
        return type(inputs)(**{field.name: moved(getattr(inputs, field.name), device) for field in fields(inputs)})
    return inputs
