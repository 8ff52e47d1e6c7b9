"""One list on several processes: each holds the global tokens and its share of the images.

In every layer a process asks others for the keys that its windows reach over its edge, and all of them join what the
global tokens found. Nobody holds the whole list. Works under any backend of torch.distributed; gloo needs no more
than CPUs.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from rerankers.errors import RerankError
from rerankers.locore.attention import Reading, in_blocks
from rerankers.locore.entry import Lists, pool, rows_read
from rerankers.locore.layout import Layout
from rerankers.locore.model import LocoreNetwork


def scores(network: LocoreNetwork, lists: Lists) -> Tensor:
    """Scores (B, candidates) as `network.scores` gives them, on every process of the default group.

    All processes bring the same weights and the same lists. RerankError when there are more of them than images.
    """
    config = network.config
    layout = lists.layout(query_global=config.query_global)
    shares = shared_out(layout, dist.get_world_size())
    counts = [share.stop - max(share.start, 1 - layout.first) for share in shares]  # candidates, without the query
    seen = Share(layout, lists.seen(layout), shares)
    held, rows = seen.mine, rows_read(layout, config.pooling)
    here = [row for row in rows if row in held]
    asked = range(here[0] - held.start, here[-1] + 1 - held.start, rows.step) if here else range(0)
    x = network.encode(network.embed(lists, layout, shares[dist.get_rank()]), seen, asked)
    logits = network.language_model["classifier"](x)
    count = counts[dist.get_rank()]
    found = pool(logits.unflatten(1, (count, -1)), config.pooling) if count else logits.new_empty(len(logits), 0)
    return _gathered(found, counts)


class Share(Reading):
    """What one process holds of B lists. valid: (B, length) of all tokens, None when all are real."""

    def __init__(self, layout: Layout, valid: Tensor | None, shares: list[slice]) -> None:
        self.held = [range(share.start * layout.features, share.stop * layout.features) for share in shares]
        self.mine, self.whole = self.held[dist.get_rank()], valid
        if valid is not None:
            rest = valid[:, layout.front :]
            valid = torch.cat([valid[:, : layout.front], rest[:, self.mine.start : self.mine.stop]], dim=1)
        super().__init__(layout, valid)

    @property
    def everything(self) -> range:
        return range(len(self.mine))

    def rest(self, q: Tensor, k: Tensor, v: Tensor, *, window: int, rows: range) -> Tensor:
        (k, v), origin = self._over_the_edge(torch.stack([k, v]), window)
        if not rows:
            return q
        rows = range(rows.start + self.mine.start, rows.stop + self.mine.start, rows.step)
        return in_blocks(q, k, v, self.layout, self.whole, window=window, rows=rows, origin=origin)

    def front(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each process asks its share of the keys, the first one the global ones too; then the sums are joined."""
        own = slice(self.layout.front if dist.get_rank() else 0, None)
        logits = q.float() @ k[:, :, own].float().transpose(2, 3) * q.shape[3] ** -0.5
        if self.valid is not None:
            logits = logits.masked_fill(~self.valid[:, None, None, own], -torch.inf)
        largest = logits.amax(dim=3, keepdim=True).clamp(min=torch.finfo(logits.dtype).min)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        weights = (logits - largest).exp()
        sums = torch.cat([weights @ v[:, :, own].float(), weights.sum(dim=3, keepdim=True)], dim=3)
        dist.all_reduce(sums)
        return (sums[..., :-1] / sums[..., -1:]).to(q.dtype)

    def _over_the_edge(self, held: Tensor, window: int) -> tuple[Tensor, int]:
        """Keys and values (2, B, heads, front + n, depth) of all that windows here reach, and the first of the n."""
        front, rank = self.layout.front, dist.get_rank()
        reached = [self._reached(rows, window) for rows in self.held]
        own = held[:, :, :, front:]
        parts, waiting = {rank: own}, []
        for other in range(len(self.held)):
            if other == rank:
                continue
            if asked := _common(reached[other], self.mine):
                sent = own[:, :, :, asked.start - self.mine.start : asked.stop - self.mine.start].contiguous()
                waiting.append((dist.isend(sent, other), sent))
            if wanted := _common(reached[rank], self.held[other]):
                parts[other] = own.new_empty(*own.shape[:3], len(wanted), own.shape[4])
                waiting.append((dist.irecv(parts[other], other), parts[other]))
        for work, _ in waiting:
            if work is not None:
                work.wait()
        joined = torch.cat([held[:, :, :, :front], *(parts[one] for one in sorted(parts))], dim=3)
        return joined, reached[rank].start

    def _reached(self, rows: range, window: int) -> range:
        begins, ends = self.layout.reaches(rows, window)
        return range(int(begins[0]), int(ends[-1]))


def shared_out(layout: Layout, processes: int) -> list[slice]:
    """Which images of the rest each process holds: as even as can be, in order."""
    images = layout.images - layout.first
    if images < processes:
        raise RerankError(
            f"{images} images on {processes} processes",
            wanted="at least one image for each",
            cure="Start fewer processes.",
        )
    return [slice(start, stop) for start, stop in pairwise(images * n // processes for n in range(processes + 1))]


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


def _gathered(found: Tensor, counts: list[int]) -> Tensor:
    """(B, all candidates) of every process's (B, own)."""
    padded = F.pad(found, (0, max(counts) - found.shape[1])).contiguous()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:, :count] for part, count in zip(parts, counts, strict=True)], dim=1)
