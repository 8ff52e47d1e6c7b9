from __future__ import annotations

import pytest
import torch

from rerankers.rows import linear


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
