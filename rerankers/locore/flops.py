"""What one pass of LOCORE takes, from its shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rerankers.interface import Flops
from rerankers.locore.config import LocoreConfig
from rerankers.locore.entry import Lists, rows_read
from rerankers.locore.layout import Layout, blocks


def flops(config: LocoreConfig, lists: Lists) -> Flops:
    """Executed: blocks of keys and padding, too. Algorithmic: keys that are read, and rows that a score depends on."""
    layout = lists.layout(query_global=config.query_global)
    entered = entry(config.local_dim, config) * lists.local.shape[:3].numel()
    if lists.global_ is not None:
        entered += entry(config.global_dim, config) * lists.global_.shape[:2].numel()
    left = entered + classifier(config, layout)
    executed, needed = (
        sum(layer(config, layout, lists, number, asked=asked) for number in range(len(config.windows)))
        for asked in (False, True)
    )
    return Flops(executed=2 * (left + executed), algorithmic=2 * (left + needed))


def entry(dim: int, config: LocoreConfig) -> int:
    """Multiply-adds that make a token of a descriptor."""
    if config.bottleneck is not None:
        return config.bottleneck * (dim + config.width)
    return 0 if dim == config.width and not config.force_linear else dim * config.width


def classifier(config: LocoreConfig, layout: Layout) -> int:
    return 2 * config.width * len(rows_read(layout, config.pooling))


def layer(config: LocoreConfig, layout: Layout, lists: Lists, number: int, *, asked: bool) -> int:
    """Multiply-adds of one layer. asked: of what the definition asks for, else of what runs."""
    width, last = config.width, number == len(config.windows) - 1
    rows = rows_read(layout, config.pooling) if last else range(layout.rest)
    seen = lists.seen(layout)
    real = torch.ones(layout.length, dtype=torch.bool) if seen is None else seen[0].cpu()
    keys, window = int(real.sum()) if asked else layout.length, config.windows[number]
    settled = len(rows) if last else layout.length
    total = settled * width * (width + 2 * config.hidden) + (len(rows) + 2 * keys) * width**2
    if asked:
        reads = _reads(layout, real, window, rows)
    else:
        reads = sum(block.read.numel() for block in blocks(layout, window, rows))
    if not last:
        total += (layout.front + 2 * keys) * width**2
        reads += (int(real[: layout.front].sum()) if asked else layout.front) * keys
    return total + 2 * width * reads


def _reads(layout: Layout, real: torch.Tensor, window: int, rows: range) -> int:
    """How many keys the real ones of these rows read, all together."""
    rest = real[layout.front :]
    begins, ends = layout.reaches(rows, window)
    before = F.pad(rest.long().cumsum(0), (1, 0))
    each = int(real[: layout.front].sum()) + before[ends] - before[begins]
    return int(each[rest[rows.start : rows.stop : rows.step]].sum())
