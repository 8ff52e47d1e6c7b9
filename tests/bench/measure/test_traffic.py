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


Q = torch.ones(2, 3, 6, 8)
MASK = torch.ones(2, 1, 6, 6, dtype=torch.bool)
LINEAR, NORM = torch.nn.Linear(4, 5), torch.nn.LayerNorm(4)
PROGRAMS = {
    "linear": lambda: LINEAR(X),
    "norm": lambda: NORM(X),
    "broadcast product": lambda: X @ torch.ones(7, 4, 2),
    "einsum": lambda: torch.einsum("ij,jk->ik", X, Y),
    "reshape that copies": lambda: X.t().reshape(12),
    "contiguous that copies": lambda: X.t().contiguous(),
    "contiguous that does not": lambda: X.contiguous(),
    "cast": lambda: X.to(torch.float64),
    "no dropout": lambda: torch.nn.functional.dropout(X, training=False),
    "parts": lambda: [one.sum() for one in X.chunk(3)],
    "sort": lambda: X.argsort(),
    "attention": lambda: torch.nn.functional.scaled_dot_product_attention(Q, Q, Q),
    "attention with a mask": lambda: torch.nn.functional.scaled_dot_product_attention(Q, Q, Q, attn_mask=MASK),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_the_same_under_inference_mode(name):
    def inferred():
        with torch.inference_mode():
            return PROGRAMS[name]()

    assert traffic(inferred) == traffic(PROGRAMS[name])
    with torch.inference_mode():
        assert traffic(PROGRAMS[name]) == traffic(inferred)


@pytest.mark.parametrize(
    ("call", "kernels", "moved"),
    [
        (PROGRAMS["linear"], {"aten.addmm.default": 1}, 4 * (3 * 4 + 4 * 5 + 5 + 3 * 5)),
        (lambda: X.sort(), {"aten.sort.default": 1}, 4 * 12 + 4 * 12 + 8 * 12),
        (lambda: torch.empty(3, 4).copy_(X), {"aten.copy_.default": 1}, 2 * 4 * 12),
        (lambda: torch.empty(3, 4).fill_(1), {"aten.fill_.Scalar": 1}, 4 * 12),
        (lambda: X[:1].expand(9, 4) + 1, {"aten.add.Tensor": 1}, 4 * (4 + 36)),
        (lambda: torch.empty(3, 4).t_().unsqueeze_(0).detach_(), {}, 0),
    ],
    ids=["linear", "sort", "written over", "filled", "expanded", "views in place"],
)
def test_known_bytes_of_known_kernels(call, kernels, moved):
    assert traffic(call).kernels == kernels
    assert traffic(call).bytes == moved


def test_fused_attention_reads_three_and_writes_the_result_and_its_sums():
    found = traffic(PROGRAMS["attention"])
    assert found.kernels == {"aten._scaled_dot_product_flash_attention_for_cpu.default": 1}
    assert found.bytes == 4 * (4 * Q.numel() + 2 * 3 * 6)


def test_within_other_modes_and_around_them():
    from torch.utils.flop_counter import FlopCounterMode

    def counted():
        with FlopCounterMode(display=False) as counter:
            found.append(traffic(lambda: X @ Y))
        return counter.get_total_flops()

    found = []
    assert counted() == 2 * 3 * 4 * 5
    assert found == [traffic(lambda: X @ Y)] == [traffic(counted)]


def test_the_program_gives_what_it_gives():
    outputs = []
    for name, program in PROGRAMS.items():
        with torch.inference_mode():
            traffic(lambda program=program: outputs.append(program()))
            torch.testing.assert_close(outputs[-1], program(), rtol=0, atol=0, msg=name)
