from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F

import rerankers
from bench.features.synthetic import workload
from rerankers.registry import parse, variant_of
from rerankers.room import Room, added_, gelu_, softmax_


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_a_name_keeps_its_memory_while_results_fit():
    room, like = Room(), torch.empty(0)
    first = room.place("a", like, 4, 6)
    for shape in ((4, 6), (2, 3), (24,)):
        again = room.place("a", like, *shape)
        assert again.shape == shape and again.data_ptr() == first.data_ptr()
    assert room.place("b", like, 4, 6).data_ptr() != first.data_ptr()
    assert room.place("a", like, 5, 6).shape == (5, 6)


def test_another_type_gets_other_memory():
    room = Room()
    room.place("a", torch.empty(0), 3)
    assert room.place("a", torch.empty(0, dtype=torch.float64), 3).dtype == torch.float64


@pytest.mark.parametrize("batch", [(), (5,)])
def test_products_and_layers_are_torchs_own(batch):
    room, layer = Room(), torch.nn.Linear(6, 7)
    left, right = numbers(*batch, 4, 6), numbers(*batch, 6, 3)
    with torch.inference_mode():
        for factor in (1, 2):  # the second time in the memory of the first
            torch.testing.assert_close(room.product(factor * left, right), factor * left @ right)
            x = factor * numbers(2, 4, 6)
            torch.testing.assert_close(room.hidden(x, layer), layer(x))


def test_in_place_without_gradients():
    with torch.inference_mode():
        for inplace, plain in ((gelu_, F.gelu), (softmax_, lambda x: F.softmax(x, dim=-1))):
            x = numbers(3, 5)
            expected = plain(x)
            found = inplace(x)
            assert found.data_ptr() == x.data_ptr()
            torch.testing.assert_close(found, expected)


def test_sums_lie_in_the_place_of_the_first_unless_that_would_round_them():
    x, y = numbers(3, 5), numbers(5)
    expected = x + y
    found = added_(x, y)
    assert found.data_ptr() == x.data_ptr()
    torch.testing.assert_close(found, expected)
    assert added_(x.bfloat16(), y).dtype == torch.float32


def test_with_gradients_nothing_is_overwritten():
    room, x = Room(), numbers(2, 4, 6).requires_grad_()
    layer = torch.nn.Linear(6, 7)
    hidden = room.hidden(x, layer)
    found = softmax_(gelu_(hidden))
    product = room.product(found, numbers(2, 7, 4))
    assert not room.taken
    plain = F.softmax(F.gelu(layer(x)), dim=-1) @ numbers(2, 7, 4)
    torch.testing.assert_close(product, plain)
    ours, theirs = (torch.autograd.grad(one.square().sum(), x)[0] for one in (product, plain))
    torch.testing.assert_close(ours, theirs)


def test_autocast_chooses_the_type():
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert Room().product(numbers(4, 6), numbers(6, 3)).dtype == torch.bfloat16
        assert Room().hidden(numbers(2, 4, 6), torch.nn.Linear(6, 7)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["ames:rootsift", "rrt:rootsift", "r2former:deit-48"])
def test_scores_are_the_same_where_something_learns(name):
    reranker = rerankers.build(name, allow_random=True)
    inputs = asdict(variant_of(parse(name)).inputs) | {"query_locals": 9, "candidate_locals": 8}
    query, candidates, _ = workload(candidates=5, seed=0, **inputs)
    reranker.at_once = 2  # so that the last go is a smaller one
    with torch.inference_mode():
        expected = reranker.score(query, candidates)
    for parameter in reranker.module().parameters():
        parameter.requires_grad_(True)
    found = reranker.score(query, candidates)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    grads = [parameter.grad for parameter in reranker.module().parameters() if parameter.grad is not None]
    assert len(grads) > 20 and all(grad.isfinite().all() for grad in grads)
