"""From images to the loss of a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.errors import BenchError
from bench.training import mining
from bench.training.data import TrainingData, repeated
from bench.training.losses import BETA, ames_logits, pair_loss, teacher_tokens, token_distillation
from bench.training.recipes import Recipe
from bench.training.triplets import trimmed
from rerankers import Features, Reranker
from rerankers.ames import AmesNetwork, mask
from rerankers.locore.reranker import Locore


class Objective:
    """What a re-ranker learns, and from what.

    `epoch` gives the indices of the steps, `load` the inputs of one part of a step, `loss` its loss, a mean. The same
    seed gives the same steps, whichever of them are asked for.
    """

    def __init__(self, reranker: Reranker, data: TrainingData, recipe: Recipe, *, seed: int) -> None:
        self.reranker, self.data, self.recipe, self.seed = reranker, data, recipe, seed

    @property
    def network(self) -> nn.Module:
        network = self.reranker.module()
        assert network is not None
        return network

    def steps(self) -> int:
        """Of an epoch."""
        return -(-len(self.data.anchors) // self.recipe.batch)

    def epoch(self, number: int) -> Iterator[Any]:
        raise NotImplementedError

    def parts(self, step: Any, count: int) -> list[Any]:
        """A step in `count` parts, or in fewer where it has no more triplets or lists."""
        raise NotImplementedError

    def load(self, part: Any, step: int) -> Any:
        raise NotImplementedError

    def loss(self, inputs: Any) -> Tensor:
        raise NotImplementedError


class PairObjective(Objective):
    """Binary cross-entropy of matching pairs and others, half of each."""

    def epoch(self, number: int) -> Iterator[NDArray[np.int64]]:
        data, batch = self.data, self.recipe.batch
        if self.recipe.sampling == "hard-first":
            yield from mining.hard_first(data.neighbours, data.anchors, seed=self.seed, epoch=number, batch=batch)
            return
        drawn = np.random.RandomState([self.seed, number])
        order = torch.Generator().manual_seed(self.seed * 100_003 + number)
        anchors = np.intersect1d(data.anchors, data.neighbours.anchors())
        yield from data.neighbours.epoch(anchors, rng=drawn, generator=order, batch=batch)

    def steps(self) -> int:
        if self.recipe.sampling == "hard-first":
            return super().steps()
        return -(-len(np.intersect1d(self.data.anchors, self.data.neighbours.anchors())) // self.recipe.batch)

    def parts(self, step: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
        return np.array_split(step, min(count, len(step)))

    def load(self, part: NDArray[np.int64], step: int) -> Any:
        query, candidates = self.whole(part)
        if (lengths := self.lengths(query, step)) is not None:
            query, candidates = query.truncated(lengths[0]), candidates.truncated(lengths[1])
        return query, candidates

    def whole(self, part: NDArray[np.int64]) -> tuple[Features, Features]:
        """Queries and candidates one by one, with all descriptors: matching pairs first, then the others."""
        anchors, *others = part.T
        query, candidates = (self.data.features(images, self.reranker) for images in (anchors, np.concatenate(others)))
        return repeated(query, 2), candidates

    def lengths(self, query: Features, step: int) -> tuple[int, int] | None:
        """How many descriptors queries and candidates keep in this step; None: all."""
        if self.recipe.shortest is None or query.local is None:
            return None
        return trimmed(np.random.RandomState([self.seed, step]), self.recipe.shortest, query.local.shape[1] + 1)

    def loss(self, inputs: Any) -> Tensor:
        positive, negative = self.reranker.pair_logits(*inputs).chunk(2)
        return pair_loss(positive, negative)


class DistilledPairs(PairObjective):
    """The pairs' loss, and BETA times the squared error of tokens, whose teacher reads whole lists (AMES)."""

    network: AmesNetwork

    def __init__(
        self, reranker: Reranker, data: TrainingData, recipe: Recipe, *, seed: int, teacher: AmesNetwork
    ) -> None:
        super().__init__(reranker, data, recipe, seed=seed)
        self.teacher = teacher.eval().requires_grad_(False)

    def load(self, part: NDArray[np.int64], step: int) -> tuple[Features, Features, tuple[int, int]]:
        query, candidates = self.whole(part)
        all_ = query.local.shape[1], candidates.local.shape[1]
        return query, candidates, self.lengths(query, step) or all_

    def loss(self, inputs: tuple[Features, Features, tuple[int, int]]) -> Tensor:
        query, candidates, lengths = inputs
        wanted = teacher_tokens(self.teacher, *_described(query, candidates), lengths=lengths)
        kept = query.truncated(lengths[0]), candidates.truncated(lengths[1])
        logits, tokens = ames_logits(self.network, *_described(*kept))
        positive, negative = logits.chunk(2)
        return pair_loss(positive, negative) + BETA * token_distillation(tokens, wanted)


def _described(query: Features, candidates: Features) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    return query.local, candidates.local, mask(query), mask(candidates)


class ListObjective(Objective):
    """Two-class cross-entropy over the candidates' tokens (LOCORE, CVPR 2025)."""

    reranker: Locore

    @property
    def window(self) -> int:
        return min(self.reranker.window or self.recipe.depth, self.recipe.depth)

    def epoch(self, number: int) -> Iterator[mining.ListBatch]:
        data = self.data
        yield from mining.lists(
            data.neighbours, data.anchors, seed=self.seed, epoch=number, batch=self.recipe.batch, window=self.window
        )

    def parts(self, step: mining.ListBatch, count: int) -> list[mining.ListBatch]:
        count = min(count, len(step))
        both = zip(np.array_split(step.images, count), np.array_split(step.positive, count), strict=True)
        return [mining.ListBatch(*part) for part in both]

    def load(self, part: mining.ListBatch, step: int) -> tuple[Any, Tensor]:
        images = self.data.features(part.images.ravel(), self.reranker)
        return self.reranker.lists(images, part.images.shape[1]), torch.from_numpy(part.positive)

    def loss(self, inputs: tuple[Any, Tensor]) -> Tensor:
        lists, positive = inputs
        return self.reranker.network.loss(self.reranker.network(lists), positive)


def objective(
    reranker: Reranker, data: TrainingData, recipe: Recipe, *, seed: int, teacher: AmesNetwork | None = None
) -> Objective:
    """The objective that the recipe's sampling names, or with a teacher distillation; BenchError when the re-ranker
    does not fit it."""
    listwise = recipe.sampling == "lists"
    if listwise != isinstance(reranker, Locore):
        raise BenchError(
            f"sampling of {recipe.sampling} for {type(reranker).__name__}",
            wanted="lists for list-wise re-rankers, pairs for the others",
            cure="Leave the sampling as it is.",
        )
    if teacher is not None:
        return DistilledPairs(reranker, data, recipe, seed=seed, teacher=teacher)
    return (ListObjective if listwise else PairObjective)(reranker, data, recipe, seed=seed)
