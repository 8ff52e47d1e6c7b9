"""The loss of a step, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.training.losses import BETA
from bench.training.objectives import DistilledPairs, PairObjective, objective
from bench.training.recipes import recipe_for
from rerankers import Features
from rerankers.ames import Ames, AmesConfig
from rerankers.registry import parse

RECIPE = recipe_for(parse("ames:micro-binarized"))
SIZES = {"local_dim": 12, "width": 8, "layers": 2, "hidden": 16}
TRIPLETS = np.array([[0, 1, 2], [3, 4, 5], [6, 1, 0]])
LENGTH = 9


class Data:
    """Descriptors of seven images, some of them padded."""

    def __init__(self):
        torch.manual_seed(2)
        self.local, self.valid = torch.randn(7, LENGTH, 12), torch.ones(7, LENGTH, dtype=torch.bool)
        self.valid[1, 4:] = self.valid[3, 6:] = False

    def features(self, images, reranker):
        return Features(local=self.local[images], valid=self.valid[images])


def ames(*, binarized: bool) -> Ames:
    torch.manual_seed(1)
    return Ames(AmesConfig(**SIZES, binarized=binarized))


@pytest.mark.parametrize("shortest", [None, 3])
def test_distillation_is_the_pairs_loss_and_the_distance_from_the_teacher(shortest):
    student, teacher, data = ames(binarized=True), ames(binarized=False), Data()
    made = objective(student, data, replace(RECIPE, shortest=shortest), seed=0, teacher=teacher.network)
    assert isinstance(made, DistilledPairs)
    student.network.train()
    inputs = made.load(TRIPLETS, 4)
    loss = made.loss(inputs)

    q, t = inputs[2]
    assert (q, t) == (LENGTH, LENGTH) if shortest is None else 3 <= min(q, t) <= max(q, t) <= LENGTH
    squares, entropy = [], []
    for column, matching in ((1, 1.0), (2, 0.0)):
        for row in TRIPLETS:
            query, candidate = row[:1], row[column : column + 1]
            given = [side for images in (query, candidate) for side in (data.local[images], data.valid[images])]
            whole = teacher.network.eval().encode(given[0], given[2], given[1], given[3])[0]
            wanted = torch.cat([whole[: 1 + q], whole[1 + LENGTH : 1 + LENGTH + t]])
            cut = given[0][:, :q], given[2][:, :t], given[1][:, :q], given[3][:, :t]
            squares.append((student.network.encode(*cut)[0] - wanted).square())
            entropy.append(F.binary_cross_entropy_with_logits(student.network(*cut), torch.tensor([matching])))
    by_hand = torch.stack(entropy).mean() + BETA * torch.stack(squares).mean()
    torch.testing.assert_close(loss, by_hand)

    loss.backward()
    assert all(one.grad is not None for one in student.network.parameters())
    assert all(one.grad is None for one in teacher.network.parameters())


def test_without_a_teacher_pairs_are_all():
    assert type(objective(ames(binarized=True), Data(), RECIPE, seed=0)) is PairObjective


def test_parts_are_as_many_as_asked_for_or_as_there_are_triplets():
    made = objective(ames(binarized=False), Data(), RECIPE, seed=0)
    assert [len(part) for part in made.parts(TRIPLETS, 2)] == [2, 1]
    assert [len(part) for part in made.parts(TRIPLETS, 5)] == [1, 1, 1]


@pytest.mark.parametrize("variant", ["micro", "micro-binarized"])
def test_small_variants_have_one_recipe(variant):
    assert recipe_for(parse(f"ames:{variant}")) == RECIPE
    assert recipe_for(parse("ames:dinov2-binarized")).epochs == 10
