"""Kernels and bytes of programs whose kernels and bytes are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.measure import traffic

X, Y = torch.ones(3, 4), torch.ones(4, 5)


@pytest.mark.parametrize(
    ("call", "kernels", "numbers"),
    [
        (lambda: X @ Y, {"aten.mm.default": 1}, 3 * 4 + 4 * 5 + 3 * 5),
        (lambda: torch.mm(X, Y, out=torch.empty(3, 5)), {"aten.mm.out": 1}, 3 * 4 + 4 * 5 + 3 * 5),
        (lambda: X.clone().add_(1), {"aten.clone.default": 1, "aten.add_.Tensor": 1}, 2 * 12 + 2 * 12),
        (lambda: torch.cat([X, X]), {"aten.cat.default": 1}, 2 * 12 + 24),
        (lambda: X.t().reshape(2, 6)[0].expand(9, 6), {"aten.clone.default": 1}, 2 * 12),
        (lambda: X[1:].unsqueeze(0), {}, 0),
        (lambda: np.ones(3) @ np.ones(3), {}, 0),
    ],
    ids=["product", "product into memory", "in place", "several inputs", "a copy among views", "views", "not torch"],
)
def test_known_programs(call, kernels, numbers):
    found = traffic(call)
    assert found.kernels == kernels
    assert found.bytes == 4 * numbers


def test_inference_mode_and_fused_attention_are_seen():
    heads = torch.randn(1, 2, 6, 8)

    def call():
        with torch.inference_mode():
            torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)

    (kernel,) = traffic(call).kernels
    assert "attention" in kernel
    assert traffic(call).bytes >= 4 * 4 * heads.numel()


def test_the_size_of_numbers_counts():
    assert traffic(lambda: X.double() + 0).bytes == 12 * (4 + 8) + 12 * (8 + 8)
