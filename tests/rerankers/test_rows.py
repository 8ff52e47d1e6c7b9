from __future__ import annotations

import pytest
import torch

from rerankers.rows import linear, products, times


@pytest.mark.parametrize("pairs", [1, 2, 5, 40])
@pytest.mark.parametrize("tokens", [1, 3])
def test_layers_are_torchs_own(pairs, tokens):
    layer, x = torch.nn.Linear(6, 7), torch.randn(pairs, tokens, 6)
    torch.testing.assert_close(linear(x, layer), layer(x))


def test_a_row_is_the_same_alone_and_among_others():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(128, 64), torch.randn(40, 1, 128)
    together = linear(x, layer)
    assert all(torch.equal(linear(x[one : one + 1], layer)[0], together[one]) for one in range(len(x)))


@pytest.mark.parametrize("shape", [(48, 48), (9, 128), (100, 600)])
@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_products_are_torchs_own(shape, pairs):
    matrices, vectors, right = torch.randn(pairs, *shape), torch.randn(pairs, shape[1]), torch.randn(pairs, shape[1], 7)
    with torch.inference_mode():
        for found, expected in (
            (times(matrices, vectors), torch.bmm(matrices, vectors[:, :, None])[:, :, 0]),
            (products(matrices, right), torch.bmm(matrices, right)),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(48, 48), (600, 100)])
def test_a_product_with_a_vector_is_the_same_alone_and_among_others(shape):
    torch.manual_seed(0)
    matrices, vectors = torch.rand(5, *shape), torch.rand(5, shape[1])
    with torch.inference_mode():
        together = times(matrices, vectors)
        for one in range(5):
            assert torch.equal(times(matrices[one : one + 1], vectors[one : one + 1])[0], together[one])


def test_a_product_is_the_same_alone_and_among_others():
    torch.manual_seed(0)
    left, right = torch.rand(5, 9, 128), torch.rand(5, 128, 48)
    with torch.inference_mode():
        together = products(left, right)
        assert all(
            torch.equal(products(left[one : one + 1], right[one : one + 1])[0], together[one]) for one in range(5)
        )
