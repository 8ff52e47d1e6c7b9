"""The scans against a plain loop over tokens in double precision, and against what transformers runs on CPUs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers.models.rwkv.modeling_rwkv import rwkv_linear_attention_cpu

from rerankers.locore import scans
from rerankers.locore.scans import selective_scan, wkv

Scan = Callable[..., Tensor]
TOLERANCE = 1e-5
#: Blocks as small as these are all the same to the arithmetic, and lists of a few tokens have several.
RUN, RUNS, STEPS = 4, 3, 5
SHAPES = [(1, 1), (3, 1), (1, 2), (3, STEPS), (1, RUN), (3, 2 * RUN + 3), (1, RUN * RUNS), (3, RUN * RUNS + 1), (1, 41)]
EVERY = pytest.mark.parametrize(("lists", "length"), SHAPES)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, request):
    if "blocks_as_they_are" not in request.node.name:
        for name, size in {"RUN": RUN, "RUNS": RUNS, "STEPS": STEPS, "WORTH": 50}.items():
            monkeypatch.setattr(scans, name, size)


def wkv_loop(time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor) -> Tensor:
    sums = most = None
    found = []
    for k, v in zip(key.unbind(1), value.unbind(1), strict=True):
        terms, logs = torch.stack([v, torch.ones_like(v)]), k + time_first
        if sums is None:
            found.append(v)
            sums, most = terms, k
            continue
        peak = torch.maximum(most, logs)
        above, below = (most - peak).exp() * sums + (logs - peak).exp() * terms
        found.append(above / below)
        peak = torch.maximum(most - time_decay.exp(), k)
        sums, most = (most - time_decay.exp() - peak).exp() * sums + (k - peak).exp() * terms, peak
    return torch.stack(found, dim=1)


def scan_loop(u: Tensor, step: Tensor, rate: Tensor, into: Tensor, out: Tensor) -> Tensor:
    state, found = torch.zeros(len(u), *rate.shape, dtype=u.dtype), []
    for now in range(u.shape[1]):
        kept = torch.exp(step[:, now, :, None] * rate)
        state = kept * state + (step[:, now] * u[:, now])[..., None] * into[:, now, None]
        found.append((state * out[:, now, None]).sum(2))
    return torch.stack(found, dim=1)


def wkv_inputs(lists: int, length: int, width: int = 6, *, reach: float = 2.0, decays: float = 2.0) -> list[Tensor]:
    torch.manual_seed(length)
    key = (reach * torch.randn(lists, length, width)).clamp(-60, 60)
    return [decays * torch.randn(width) - 1, torch.randn(width), key, torch.randn(lists, length, width)]


def scan_inputs(lists: int, length: int, width: int = 6, states: int = 4) -> list[Tensor]:
    torch.manual_seed(length)
    step = torch.nn.functional.softplus(2 * torch.randn(lists, length, width) - 3)
    rate = -torch.exp(torch.randn(width, states))
    u, into, out = (torch.randn(lists, length, size) for size in (width, states, states))
    return [u, step, rate, into, out]


def everything(scan: Scan, inputs: list[Tensor]) -> list[Tensor]:
    """What a scan returns, and gradients of all inputs."""
    leaves = [one.clone().requires_grad_(True) for one in inputs]
    found = scan(*leaves)
    torch.manual_seed(0)
    given = torch.randn(found.shape).to(found.dtype)
    return [found.detach(), *torch.autograd.grad(found, leaves, given, materialize_grads=True)]


def deviation(scan: Scan, other: Scan, inputs: list[Tensor], dtype: torch.dtype = torch.float64) -> float:
    """The largest of any number, relative to the largest of its tensor where that exceeds 1: a decay's gradient is a
    difference of sums about as large as the others' terms."""
    pairs = zip(everything(scan, inputs), everything(other, [one.to(dtype) for one in inputs]), strict=True)
    return max(float((mine - theirs).abs().max() / theirs.abs().max().clamp(min=1.0)) for mine, theirs in pairs)


@EVERY
@pytest.mark.parametrize(("reach", "decays"), [(2.0, 2.0), (40.0, 2.0), (2.0, 6.0), (60.0, 6.0)])
def test_wkv_is_the_loop(lists, length, reach, decays):
    inputs = wkv_inputs(lists, length, reach=reach, decays=decays)
    assert deviation(wkv, wkv_loop, inputs) < TOLERANCE
    assert deviation(wkv, lambda *x: rwkv_linear_attention_cpu(*x)[0], inputs, torch.float32) < 2 * TOLERANCE
    assert torch.equal(wkv(*inputs), everything(wkv, inputs)[0])


def test_blocks_as_they_are():
    """Against double precision; the official loop rounds more over a thousand tokens."""
    length = scans.RUN * scans.RUNS + scans.RUN + 1
    assert deviation(wkv, wkv_loop, wkv_inputs(1, length, 3)) < TOLERANCE
    assert deviation(selective_scan, scan_loop, scan_inputs(1, 500)) < TOLERANCE


@EVERY
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_selective_scan_is_the_loop(lists, length, scale):
    u, step, rate, into, out = scan_inputs(lists, length)
    inputs = [u, scale * step, rate, into, out]
    assert deviation(selective_scan, scan_loop, inputs) < TOLERANCE
    assert torch.equal(selective_scan(*inputs), everything(selective_scan, inputs)[0])


@pytest.mark.parametrize("sign", [-60.0, 60.0])
def test_a_key_that_outweighs_all(sign):
    """At one place, in all, and where the decay forgets at once or never."""
    inputs = wkv_inputs(2, 2 * RUN + 3)
    inputs[2][:, RUN - 1] = sign
    for decay in (-20.0, 0.0, 20.0, 80.0):
        inputs[0].fill_(decay)
        assert deviation(wkv, wkv_loop, inputs) < TOLERANCE
        assert deviation(wkv, wkv_loop, [*inputs[:2], torch.full_like(inputs[2], sign), inputs[3]]) < TOLERANCE


@pytest.mark.parametrize("length", [1, 5, STEPS + 2, 2 * RUN + 3])
def test_gradients_are_those_of_finite_differences(length):
    for scan, inputs in ((wkv, wkv_inputs(2, length, 2)), (selective_scan, scan_inputs(2, length, 2, 3))):
        assert torch.autograd.gradcheck(scan, [one.double().requires_grad_(True) for one in inputs])


def test_single_precision_at_least():
    for scan, inputs in ((wkv, wkv_inputs(2, 40)), (selective_scan, scan_inputs(2, 40))):
        halves = [one.bfloat16() for one in inputs]
        exact = scan(*(one.float() for one in halves))
        torch.testing.assert_close(scan(*halves).float(), exact, atol=0.0, rtol=2**-8)
        assert [one.dtype for one in everything(scan, halves)[1:]] == [torch.bfloat16] * len(halves)
