"""From a list of images to tokens, and from tokens to scores: what every form of LOCORE shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.errors import RerankError
from rerankers.locore.config import RESERVED, LocoreConfig, Pooling
from rerankers.locore.layout import Layout

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
#: Column of the logits that says "shows what the query shows".
MATCH = 1


@dataclass(frozen=True)
class Lists:
    """B lists of N images each, the query first, with L local descriptors an image.

    local: (B, N, L, D). scale: (B, N, L) indices. valid: (B, N, L), True for a real descriptor; None when all are.
    global_: (B, N, G), or None.
    """

    local: Tensor
    scale: Tensor
    valid: Tensor | None = None
    global_: Tensor | None = None

    def take(self, images: Sequence[int]) -> Lists:
        """The same lists with these images only."""
        if list(images) == list(range(self.local.shape[1])):
            return self

        def chosen(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[:, images]

        return Lists(self.local[:, images], self.scale[:, images], chosen(self.valid), chosen(self.global_))

    @classmethod
    def stacked(cls, lists: Sequence[Lists]) -> Lists:
        """Batches of lists of one shape as one batch; all with global descriptors and `valid`, or all without."""

        def together(parts: list[Tensor | None]) -> Tensor | None:
            return None if parts[0] is None else torch.cat(cast("list[Tensor]", parts))

        local, scale = (torch.cat([getattr(one, name) for one in lists]) for name in ("local", "scale"))
        return cls(local, scale, together([one.valid for one in lists]), together([one.global_ for one in lists]))

    def layout(self, *, query_global: bool) -> Layout:
        features = self.local.shape[2] + (0 if self.global_ is None else 1)
        return Layout(self.local.shape[1], features, query_global)

    def seen(self, layout: Layout) -> Tensor | None:
        """(B, length) which tokens are real, as the network keeps them; None when all are."""
        if self.valid is None or bool(self.valid.all()):
            return None
        before = 0 if self.global_ is None else 1  # global descriptors and SEP are always real
        seen = F.pad(self.valid, (before, 1), value=True).flatten(1)
        return seen[:, layout.order.to(seen.device)]


class ListNetwork(nn.Module):
    """Descriptors to tokens, under the official parameter names. A subclass reads the tokens."""

    def __init__(self, config: LocoreConfig) -> None:
        super().__init__()
        self.config = config
        self.scale_encoder = nn.Embedding(config.scales, config.width)
        self.local_to_lm, self.global_to_lm = entry(config.local_dim, config), entry(config.global_dim, config)

    def forward(self, lists: Lists) -> Tensor:
        """Logits (B, length, 2) of every token, in the order of the list."""
        raise NotImplementedError

    def scores(self, lists: Lists) -> Tensor:
        """Scores (B, candidates), pooled as the configuration says."""
        raise NotImplementedError

    def initialize(self) -> None:
        """Draws all weights as BERT does; for training from scratch."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def features(self, lists: Lists) -> Tensor:
        """Descriptors as tokens (B, N, F, D), the global one first."""
        dtype, normalize = self.scale_encoder.weight.dtype, self.config.normalize
        local = self.local_to_lm(lists.local.to(dtype))
        local = F.normalize(local, dim=-1) if normalize else local
        local = local + self.scale_encoder(lists.scale)
        if lists.global_ is None:
            found: Tensor = local
            return found
        first = self.global_to_lm(lists.global_.to(dtype))[:, :, None]
        return torch.cat([F.normalize(first, dim=-1) if normalize else first, local], dim=2)

    def loss(self, logits: Tensor, positive: Tensor) -> Tensor:
        """Mean cross-entropy over all tokens of the candidates, SEP and padding too, each with its image's label.

        logits: (B, length, 2) of every token. positive: (B, candidates), True or non-zero for a match.
        """
        images = positive.shape[1] + 1
        tokens = logits.unflatten(1, (images, -1))[:, 1:]
        labels = positive.long()[:, :, None].expand(tokens.shape[:3])
        return F.cross_entropy(tokens.flatten(0, 2), labels.flatten())


def pool(logits: Tensor, pooling: Pooling) -> Tensor:
    """Scores (B, candidates) of logits (B, candidates, F, 2), raw or softmaxed, of their features; padding counts."""
    match = logits[..., MATCH]
    if pooling == "max-prod":
        return match.prod(dim=-1)
    if pooling == "max-sum":
        return match.sum(dim=-1)
    return match[..., 0 if pooling == "max-start" else -1]


def entry(dim: int, config: LocoreConfig) -> nn.Module:
    """From descriptors to tokens."""
    if config.bottleneck is not None:
        between = [] if config.activation is None else [ACTIVATIONS[config.activation]()]
        return nn.Sequential(nn.Linear(dim, config.bottleneck), *between, nn.Linear(config.bottleneck, config.width))
    if dim == config.width and not config.force_linear:
        return nn.Identity()
    return nn.Linear(dim, config.width)


def rows_read(layout: Layout, pooling: Pooling) -> range:
    """The tokens of the rest that become scores."""
    slot = {"max-start": slice(0, 1), "max-end": slice(-1, None)}.get(pooling, slice(None))
    return layout.rows(features=slot)


def places(layout: Layout, config: LocoreConfig) -> Tensor:
    """(length,) the row of the position table for each token, in the order of the list.

    Raises RerankError for a list with more places than the table has.
    """
    if config.positions == "none":
        return torch.full((layout.length,), RESERVED)
    rows = RESERVED + torch.arange(layout.length) // (1 if config.positions == "absolute" else layout.features + 1)
    if int(rows.max()) >= config.table:
        raise RerankError(
            f"a list of {layout.images} images and {layout.length} tokens",
            wanted=f"at most {config.table - RESERVED} {'tokens' if config.positions == 'absolute' else 'images'},"
            " for which there are positions",
            cure="Let a window slide over the list (+slide), or pass fewer candidates or descriptors.",
        )
    return rows
