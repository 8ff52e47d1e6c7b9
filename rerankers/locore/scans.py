"""The recurrences of RWKV-4 and Mamba without a kernel: what transformers computes in a loop over all tokens.

A block of tokens at a time, for all of which is done at once what does not depend on the token before. Where states are
small, a block is read as runs side by side, which then hand on their ends to each other; a large one makes a token
worth a call of its own. Gradients keep the states between blocks, and compute those within again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Tokens of a run of RWKV, and runs of a block.
RUN, RUNS = 32, 32
#: Tokens of a run of Mamba, whose states take 3 MB a list at the default size; and for how many numbers a call pays.
STEPS, WORTH = 32, 8192
#: Logarithm of nothing, as in the official code: finite, so that differences are.
NOTHING = -1e38


def wkv(time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """RWKV-4's linear attention (Peng et al., EMNLP Findings 2023, eq. 16). key, value, and what it finds: (B, S, D).

    A channel finds at t the mean of its values up to t, weighed by exp(key + time_first) at t, and before by
    exp(key - age exp(time_decay)), where t - 1 has age 0. time_decay, time_first: (D,). At least in single precision.
    """
    dtype = torch.promote_types(key.dtype, torch.float32)
    parts = (part.to(dtype) for part in (time_decay, time_first, key, value))
    found: Tensor = _Wkv.apply(*parts)  # type: ignore[no-untyped-call]  # torch's Function.apply has no types
    return found.to(key.dtype)


def selective_scan(u: Tensor, step: Tensor, rate: Tensor, into: Tensor, out: Tensor) -> Tensor:
    """Mamba's selective state space (Gu and Dao, COLM 2024, algorithm 2): y_t = h_t out_t, in which
    h_t = exp(step_t rate) h_{t-1} + step_t u_t into_t.

    u, step, and y: (B, S, I), step > 0. rate: (I, N), < 0. into, out: (B, S, N). At least in single precision.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    length = u.shape[1]
    over = -length % min(STEPS, length)  # steps of no length, which change nothing
    u, step, into, out = (F.pad(part.to(dtype), (0, 0, 0, over)) for part in (u, step, into, out))
    with torch.autocast(u.device.type, enabled=False):
        found: Tensor = _SelectiveScan.apply(u, step, rate.to(dtype), into, out)  # type: ignore[no-untyped-call]  # as above
    return found[:, :length]


def _blocks(tokens: int, *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """So many tokens at a time of each part (B, S, ...), the last block may be shorter."""
    return zip(*(part.split(tokens, dim=1) for part in parts), strict=True)


class _Wkv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor) -> Tensor:
        decay, length, run = -time_decay.exp(), key.shape[1], min(RUN, key.shape[1])
        key, value = (F.pad(part, (0, 0, 0, -length % run)) for part in (key, value))
        found, read = torch.empty_like(key), _Means(decay, time_first, key, run)
        peak, sums = torch.full_like(key[:, 0], NOTHING), key.new_zeros(2, len(key), key.shape[2])
        ctx.starts, ctx.length, ctx.run = [], length, run
        for k, v, y in _blocks(RUNS * run, key, value, found):
            ctx.starts.append((peak, sums))
            read(k, v, peak, sums, y)
            peak, sums = read.peaks[:, -1].clone(), read.sums[:, :, -1].clone()
        ctx.save_for_backward(decay, time_first, key, value)
        return found[:, :length]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        decay, first, key, value = ctx.saved_tensors
        given, found = F.pad(gradients[0], (0, 0, 0, key.shape[1] - ctx.length)), torch.empty_like(key)
        to_decay, to_first, to_key, to_value = (torch.zeros_like(part) for part in ctx.saved_tensors)
        read, after = _Means(decay, first, key, ctx.run), torch.zeros_like(ctx.starts[0][1])
        blocks = [*_blocks(RUNS * ctx.run, key, value, given, found, to_key, to_value)]
        room = torch.empty_like(read.around[:2])
        for (k, v, g, y, to_k, to_v), start in zip(reversed(blocks), reversed(ctx.starts), strict=True):
            read(k, v, start[0], start[1], y)
            to_sums = room[:, :, : k.shape[1] + 1]
            to_sums[:, :, -1] = after
            before, behind = to_sums[:, :, :-1], to_sums[:, :, 1:]
            share = torch.div(g, read.whole, out=read.whole)
            torch.mul(share, read.old, out=before[0])
            torch.mul(before[0], y, out=before[1]).neg_()
            _carry(before, read.kept, after, ctx.run, read.through, back=True)
            direct = share.mul_(read.new)
            torch.addcmul(direct, read.own, behind[0], out=to_v)
            direct.mul_(torch.sub(v, y, out=y))
            torch.addcmul(behind[1], v, behind[0], out=to_k).mul_(read.own).add_(direct)
            to_first += direct.sum((0, 1))
            to_decay += read.sums[:, :, :-1].mul_(behind).mul_(read.kept).sum((0, 1, 2))
            after = to_sums[:, :, 0].clone()
        return to_decay * decay, to_first, to_key[:, : ctx.length], to_value[:, : ctx.length]


class _Means:
    """A block of `wkv`: key, value (B, T, D), after what peak (B, D) and sums (2, B, D) say, in room made once.

    found: (B, T, D). sums: (2, B, T + 1, D) those of weighed values and of weights before each token and behind the
    last, over exp(peaks), (B, T + 1, D), so that no exponent is positive. kept, own: (B, T, D) what of the sums before
    a token, and of itself, is in those behind it. old, new: the same of what it finds, over their sum `whole`.
    """

    def __init__(self, decay: Tensor, first: Tensor, key: Tensor, run: int) -> None:
        self.decay, self.first, self.run = decay, first, run
        tokens = min(RUNS * run, key.shape[1])
        self.room = key.new_empty(6, len(key), tokens, len(decay))
        self.around = key.new_empty(3, len(key), tokens + 1, len(decay))

    def __call__(self, key: Tensor, value: Tensor, peak: Tensor, sums: Tensor, found: Tensor) -> None:
        tokens, decay = key.shape[1], self.decay
        around = self.around[:, :, : tokens + 1]
        self.sums, self.peaks = around[:2], around[2]
        self.kept, self.own, self.old, self.new, self.whole, self.through = self.room[:, :, :tokens].unbind(0)
        self.peaks[:, 0], self.peaks[:, 1:], self.sums[:, :, 0] = peak, key, sums
        before, behind = self.peaks[:, :-1], self.peaks[:, 1:]
        _rise(behind, decay, peak, self.run)
        torch.sub(before, behind, out=self.kept).add_(decay).exp_()  # in this order: exact gaps of rounded peaks
        torch.sub(key, behind, out=self.own).exp_()
        torch.mul(self.own, value, out=self.sums[0, :, 1:])
        self.sums[1, :, 1:] = self.own
        _carry(self.sums[:, :, 1:], self.kept, sums, self.run, self.through)
        torch.add(key, self.first, out=self.new)
        most = torch.maximum(before, self.new, out=self.whole)
        torch.sub(before, most, out=self.old).exp_()
        self.new.sub_(most).exp_()
        torch.addcmul(self.new, self.old, self.sums[1, :, :-1], out=self.whole)
        torch.mul(self.new, value, out=found).addcmul_(self.old, self.sums[0, :, :-1]).div_(self.whole)


def _rise(peaks: Tensor, decay: Tensor, start: Tensor, run: int) -> None:
    """peaks_t = max(peaks_t, peaks_{t-1} + decay) in place: (B, T, D), of which `start` (B, D) stands before."""
    runs = peaks.unflatten(1, (-1, run))
    steps = runs.unbind(2)
    for before, now in pairwise(steps):
        torch.maximum(now, before + decay, out=now)
    starts, fall = torch.empty_like(steps[-1]), run * decay
    for before, end in zip(starts.unbind(1), steps[-1].unbind(1), strict=True):
        before.copy_(start)
        start = torch.maximum(end, start + fall)
    for age, now in enumerate(steps, 1):
        torch.maximum(now, starts + age * decay, out=now)


def _carry(x: Tensor, kept: Tensor, start: Tensor, run: int, through: Tensor, *, back: bool = False) -> None:
    """x_t += kept_t x_{t-1} in place, or x_{t+1} when going back: x (2, B, T, D), kept (B, T, D), start (2, B, D).

    through: (B, T, D) room for what is kept from the start of a run.
    """
    order = slice(None, None, -1 if back else 1)
    if x.shape[2] == run:
        for now, share in zip(x.unbind(2)[order], kept.unbind(1)[order], strict=True):
            start = now.addcmul_(share, start)
        return
    runs, through = x.unflatten(2, (-1, run)), through.copy_(kept).unflatten(1, (-1, run))
    steps, shares = runs.unbind(3)[order], through.unbind(2)[order]
    for (before, now), (passed, share) in zip(pairwise(steps), pairwise(shares), strict=True):
        now.addcmul_(share, before)
        share.mul_(passed)
    starts = torch.empty_like(steps[-1])
    each = (part.unbind(-2)[order] for part in (starts, steps[-1], shares[-1]))
    for before, end, share in zip(*each, strict=True):
        before.copy_(start)
        start = torch.addcmul(end, share, start)
    for now, share in zip(steps, shares, strict=True):
        now.addcmul_(share, starts)


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, rate: Tensor, into: Tensor, out: Tensor) -> Tensor:
        y, read = torch.empty_like(u), _States(rate, u)
        state = u.new_zeros(len(u), *read.across.shape)
        ctx.starts = []
        for u_, step_, into_, out_, y_ in _blocks(read.tokens, u, step, into, out, y):
            ctx.starts.append(state)
            read(step_ * u_, step_, into_, state)
            y_.copy_(torch.matmul(out_[:, :, None], read.states)[:, :, 0])
            state = read.states[:, -1].clone()
        ctx.save_for_backward(u, step, rate, into, out)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        u, step, rate, into, out = ctx.saved_tensors
        to_u, to_step, to_into, to_out = (torch.empty_like(part) for part in (u, step, into, out))
        read, after = _States(rate, u), torch.zeros_like(ctx.starts[0])
        to_across, room = torch.zeros_like(read.across), torch.empty_like(read.room[:2])
        blocks = [*_blocks(read.tokens, u, step, into, out, gradients[0], to_u, to_step, to_into, to_out)]
        for (u_, step_, into_, out_, g, to_u_, to_step_, to_into_, to_out_), start in zip(
            reversed(blocks), reversed(ctx.starts), strict=True
        ):
            fed = step_ * u_
            read(fed, step_, into_, start)
            to_out_.copy_(torch.matmul(read.states, g[..., None])[..., 0])
            to_states, later = room[:, :, : g.shape[1]].unbind(0)
            torch.mul(out_[..., None], g[:, :, None], out=to_states)
            later[:, :-1], later[:, -1] = read.kept[:, 1:], 1
            read.carry(to_states, later, after, back=True)
            after = read.kept[:, 0] * to_states[:, 0]
            to_fed = torch.matmul(into_[:, :, None], to_states)[:, :, 0]
            to_into_.copy_(torch.matmul(to_states, fed[..., None])[..., 0])
            to_exponent = to_states.mul_(read.kept)
            to_exponent[:, 1:] *= read.states[:, :-1]
            to_exponent[:, 0] *= start
            to_across += torch.mul(to_exponent, step_[:, :, None], out=read.kept).sum((0, 1))
            torch.mul(to_fed, step_, out=to_u_)
            torch.addcmul(to_exponent.mul_(read.across).sum(2), to_fed, u_, out=to_step_)
        return to_u, to_step, to_across.t(), to_into, to_out


class _States:
    """A block of `selective_scan`, after the state start (B, N, I), in room made once.

    states, kept: (B, T, N, I) those behind each token, and what is in them of those before. across: (N, I) rates.
    """

    def __init__(self, rate: Tensor, u: Tensor) -> None:
        self.across, self.run = rate.t().contiguous(), min(STEPS, u.shape[1])
        self.tokens = min(u.shape[1], self.run * max(1, WORTH // self.across.numel()))
        self.room = u.new_empty(3, len(u), self.tokens, *self.across.shape)

    def __call__(self, fed: Tensor, step: Tensor, into: Tensor, start: Tensor) -> None:
        """fed: (B, T, I) step times u."""
        self.states, self.kept, self.through = self.room[:, :, : fed.shape[1]].unbind(0)
        torch.mul(step[:, :, None], self.across, out=self.kept).exp_()
        torch.mul(fed[:, :, None], into[..., None], out=self.states)
        self.carry(self.states, self.kept, start)

    def carry(self, x: Tensor, kept: Tensor, start: Tensor, *, back: bool = False) -> None:
        """`_carry` for x, kept (B, T, N, I) and start (B, N, I)."""
        flat = x.flatten(2)[None], kept.flatten(2), start.flatten(1)[None]
        _carry(*flat, self.run, self.through.flatten(2), back=back)
