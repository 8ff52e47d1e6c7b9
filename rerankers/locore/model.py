"""The network of LOCORE (Xiao et al., CVPR 2025): a Longformer encoder over a query and its candidates.

Parameters bear the official names. What the last layer computes is what will be read, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from rerankers.locore.attention import Reading, reading
from rerankers.locore.config import LocoreConfig
from rerankers.locore.entry import ListNetwork, Lists, places, pool, rows_read
from rerankers.locore.layout import Layout
from rerankers.room import gelu_

#: Tokens that pass the feed-forward step at once: their hidden state stays small.
ROWS_AT_ONCE = 1024


class SelfAttention(nn.Module):
    """Projections: of all tokens for those of the rest, and, with names of their own, for the global ones."""

    def __init__(self, config: LocoreConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value = (nn.Linear(config.width, config.width) for _ in range(3))
        self.query_global, self.key_global, self.value_global = (
            nn.Linear(config.width, config.width) for _ in range(3)
        )

    def forward(self, x: Tensor, seen: Reading, window: int, rows: range | None) -> Tensor:
        """What the rows of the rest find, (B, rows, D); without rows, what all tokens find, (B, length, D)."""
        front, everyone = seen.layout.front, rows is None
        rows = seen.everything if rows is None else rows
        asking = x[:, front + rows.start : front + rows.stop : rows.step]
        q, k, v = self._split(self.query(asking), self.key(x), self.value(x))
        found = [seen.rest(q, k, v, window=window, rows=rows)]
        del q, k, v
        if everyone:
            asked = self._split(self.query_global(x[:, :front]), self.key_global(x), self.value_global(x))
            found.insert(0, seen.front(*asked))
        together = torch.cat([part.transpose(1, 2) for part in found], dim=1).flatten(2)
        if seen.valid is not None:
            real = seen.valid if everyone else seen.valid[:, front + rows.start : front + rows.stop : rows.step]
            together = together.masked_fill(~real[..., None], 0.0)
        return together

    def _split(self, *projected: Tensor) -> Iterable[Tensor]:
        """(B, tokens, D) -> (B, heads, tokens, depth)."""
        return (one.unflatten(2, (self.heads, -1)).transpose(1, 2) for one in projected)


class Output(nn.Module):
    """What was found or thought, added to the tokens."""

    def __init__(self, width: int, config: LocoreConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, found: Tensor, x: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(self.dense(found) + x)
        return result


class Layer(nn.Module):
    """Attention, feed-forward, each with its norm behind it."""

    def __init__(self, config: LocoreConfig, window: int) -> None:
        super().__init__()
        self.window = window
        self.attention = nn.ModuleDict({"self": SelfAttention(config), "output": Output(config.width, config)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.width, config.hidden)})
        self.output = Output(config.hidden, config)

    def forward(self, x: Tensor, seen: Reading, rows: range | None = None) -> Tensor:
        """All tokens (B, length, D) after this layer; or, of the rest, these rows only."""
        found = self.attention["self"](x, seen, self.window, rows)
        if rows is not None:
            front = seen.layout.front
            x = x[:, front + rows.start : front + rows.stop : rows.step]
        parts = zip(found.flatten(0, 1).split(ROWS_AT_ONCE), x.flatten(0, 1).split(ROWS_AT_ONCE), strict=True)
        return torch.cat([self.settle(*part) for part in parts]).view(x.shape)

    def settle(self, found: Tensor, x: Tensor) -> Tensor:
        """What tokens (n, D) become that found this; no token sees another."""
        x = self.attention["output"](found, x)
        result: Tensor = self.output(gelu_(self.intermediate["dense"](x)), x)
        return result


class Embeddings(nn.Module):
    """Where a token stands, and the norm on entry."""

    def __init__(self, config: LocoreConfig) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(config.table, config.width)
        self.token_type_embeddings = nn.Embedding(1, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.norm_eps)


class Longformer(nn.Module):
    """The encoder, and the two tokens that are no descriptor. Padding to a window needs none here: it stays unread."""

    def __init__(self, config: LocoreConfig) -> None:
        super().__init__()
        self.sep_embedding = nn.Parameter(torch.randn(config.width) * 0.02)
        self.pad_embedding = nn.Parameter(torch.zeros(config.width))
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config, window) for window in config.windows)})

    @property
    def layers(self) -> list[Layer]:
        return cast("list[Layer]", list(cast(nn.ModuleList, self.encoder["layer"])))


class LocoreNetwork(ListNetwork):
    """The encoder, and two logits a token."""

    def __init__(self, config: LocoreConfig) -> None:
        super().__init__(config)
        longformer, classifier = Longformer(config), nn.Linear(config.width, 2)
        self.language_model = nn.ModuleDict({"longformer": longformer, "classifier": classifier})
        self.initialize()

    @property
    def longformer(self) -> Longformer:
        return cast(Longformer, self.language_model["longformer"])

    def forward(self, lists: Lists) -> Tensor:
        """Logits (B, length, 2) of every token, in the order of the list."""
        layout = lists.layout(query_global=self.config.query_global)
        x = self.encode(self.embed(lists, layout), reading(layout, lists.seen(layout), lists.local.device))
        logits = self.language_model["classifier"](x)
        found: Tensor = logits[:, torch.argsort(layout.order).to(logits.device)]
        return found

    def scores(self, lists: Lists) -> Tensor:
        """Scores (B, candidates), pooled as the configuration says."""
        layout, pooling = lists.layout(query_global=self.config.query_global), self.config.pooling
        x = self.embed(lists, layout)
        x = self.encode(x, reading(layout, lists.seen(layout), x.device), rows_read(layout, pooling))
        logits = self.language_model["classifier"](x).unflatten(1, (layout.images - 1, -1))
        return pool(logits, pooling)

    def encode(self, x: Tensor, seen: Reading, rows: range | None = None) -> Tensor:
        """Tokens (B, length, D) after all layers; or, of the rest, these rows (B, rows, D) only."""
        *before, last = self.longformer.layers
        for layer in before:
            x = layer(x, seen)
        found: Tensor = last(x, seen, rows)
        return found

    def embed(self, lists: Lists, layout: Layout, images: slice = slice(None)) -> Tensor:
        """Tokens (B, length, D) on entry, as the network keeps them; or, of the rest, those of these images only."""
        table, first, size = self.longformer.embeddings, layout.first, layout.features
        start, stop, _ = images.indices(layout.images - first)
        features = self.features(lists.take([*range(first), *range(first + start, first + stop)]))  # (B, n, F, D)
        seps = self.longformer.sep_embedding.to(features.dtype).expand(len(features), layout.images, -1)
        x = torch.cat([features[:, :first].flatten(1, 2), seps, features[:, first:].flatten(1, 2)], dim=1)
        at = places(layout, self.config)[layout.order].to(x.device)
        at = torch.cat([at[: layout.front], at[layout.front :][start * size : stop * size]])
        x = x + (table.position_embeddings(at) + table.token_type_embeddings.weight[0])
        found: Tensor = table.LayerNorm(x)
        return found
