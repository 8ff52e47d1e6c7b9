"""RRT: Reranking Transformer (Tan, Yuan, Ordonez, ICCV 2021), pair-wise, in its two forms.

A pair is one sequence: [CLS, query, SEP, candidate]. An ordinary transformer encoder reads it, and what CLS holds in
the end gives the score. The GLD form reads a global and many local descriptors of each image, the SOP form a grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.attention import Attention, Reading
from rerankers.batching import pairs_at_once
from rerankers.checkpoints import load_into, load_state
from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker
from rerankers.registry import MICRO, MICRO_LOCALS, Inputs, Variant
from rerankers.room import Room, gelu_
from rerankers.rows import linear

#: Scales that the official code tells apart. It compares float32 scales with these float64 numbers, and the
#: irrational ones fall just below: DELG's seven scales get the indices 0, 0, 2, 2, 4, 4, 6. Published weights were
#: trained so.
SCALES = tuple(2 ** (k / 2) for k in range(-2, 5))


@dataclass(frozen=True, kw_only=True)
class RrtConfig:
    """Shape of the network; the defaults are the published ones.

    global_dim: width of the global descriptors; None for the SOP form, which reads none.
    scale_unit: what a scale of 1 is in the units of `Features.scale`; 1 for DELG.
    """

    width: int = 128
    heads: int = 4
    layers: int = 6
    hidden: int = 1024
    activation: Literal["relu", "gelu"] = "relu"
    norm_first: bool = False
    global_dim: int | None = 2048
    scale_unit: float = 1.0

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width % self.heads:
            raise RerankError(
                f"RRT of {self.layers} layers, {self.heads} heads and width {self.width}",
                wanted="at least 1 layer, and a width that the heads divide",
                cure="The published network has 6 layers, 4 heads and width 128.",
            )


class Shared(NamedTuple):
    """What needs the query only: tokens (1, P, D) of CLS, the query and SEP, their first projection (None for a single
    layer, which never projects them all), and room to work on its candidates."""

    tokens: Tensor
    qkv: Tensor | None
    room: Room


class Layer(nn.Module):
    """Attention, feed-forward."""

    def __init__(self, config: RrtConfig) -> None:
        super().__init__()
        self.norm_first, self.gelu = config.norm_first, config.activation == "gelu"
        self.self_attn = Attention(config.width, config.heads)
        self.linear1 = nn.Linear(config.width, config.hidden)
        self.linear2 = nn.Linear(config.hidden, config.width)
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)

    def project(self, x: Tensor) -> Tensor:
        return self.self_attn.project(self.before(self.norm1, x))

    def forward(self, x: Tensor, qkv: Tensor, valid: Tensor | None, room: Room) -> Tensor:
        everything = Reading(slice(None), slice(None), valid)
        return self.feed(self.after(self.norm1, x, self.self_attn.attend(qkv, everything)), room)

    def last(self, x: Tensor, valid: Tensor | None, room: Room) -> Tensor:
        """The first token alone (B, 1, D), the only row of the last layer that is read."""
        normed = self.before(self.norm1, x)
        read = self.self_attn.attend_once(normed[:, :1], normed, valid)
        return self.feed(self.after(self.norm1, x[:, :1], read), room)

    def feed(self, x: Tensor, room: Room) -> Tensor:
        hidden = room.hidden(self.before(self.norm2, x), self.linear1)
        hidden = gelu_(hidden) if self.gelu else F.relu(hidden, inplace=True)
        return self.after(self.norm2, x, linear(hidden, self.linear2))

    def before(self, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x) if self.norm_first else x

    def after(self, norm: nn.Module, x: Tensor, change: Tensor) -> Tensor:
        return x + change if self.norm_first else norm(x + change)


class Encoder(nn.Module):
    """The layers, and the norm that closes them when each begins with its own."""

    def __init__(self, config: RrtConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width) if config.norm_first else nn.Identity()

    def prepare(self, tokens: Tensor) -> Shared:
        """tokens: (1, P, D), or (B, P, D) when each pair has its own query."""
        first = cast(Layer, self.layers[0])
        return Shared(tokens, first.project(tokens) if len(self.layers) > 1 else None, Room())

    def forward(self, shared: Shared, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """What CLS holds in the end (B, D). tokens: the candidates' (B, C, D). valid: (B, P + C), None for all."""
        seen = None if valid is None else valid[:, None, None]
        *before, last = cast("list[Layer]", list(self.layers))
        x = _beside(shared.tokens, tokens)
        for number, layer in enumerate(before):
            if number == 0 and shared.qkv is not None:
                qkv = _beside(shared.qkv, layer.project(tokens))
            else:
                qkv = layer.project(x)
            x = layer(x, qkv, seen, shared.room)
        found: Tensor = self.norm(last.last(x, seen, shared.room))[:, 0]
        return found


def _beside(query: Tensor, candidates: Tensor) -> Tensor:
    """The query's part before each candidate's, along the tokens."""
    return torch.cat([query.expand(len(candidates), *query.shape[1:]), candidates], dim=1)


class GldNetwork(nn.Module):
    """The form for landmarks, under the official parameter names.

    Everywhere: global (B, G), local (B, L, D), scale (B, L) indices 0 to 6, valid (B, L) or None when all are real.
    """

    def __init__(self, config: RrtConfig) -> None:
        super().__init__()
        assert config.global_dim is not None
        self.config = config
        self.encoder = Encoder(config)
        self.remap = nn.Linear(config.global_dim, config.width)
        self.scale_encoder = nn.Embedding(7, config.width)
        self.seg_encoder = nn.Embedding(6, config.width)
        self.classifier = nn.Linear(config.width, 1)

    def prepare(self, global_: Tensor, local: Tensor, scale: Tensor) -> Shared:
        """CLS, the query's global and local descriptors, SEP."""
        of_local, _, cls, sep, of_global, _ = self.seg_encoder.weight
        tokens = self.embed(global_, local, scale, of_global, of_local)
        ends = [token.to(tokens.dtype).expand(len(tokens), 1, -1) for token in (cls, sep)]
        return self.encoder.prepare(torch.cat([ends[0], tokens, ends[1]], dim=1))

    def read(
        self,
        shared: Shared,
        global_: Tensor,
        local: Tensor,
        scale: Tensor,
        query_valid: Tensor | None,
        valid: Tensor | None,
    ) -> Tensor:
        """What CLS holds in the end (B, D). query_valid: (B, L) as well, None when padding was cut off."""
        _, of_local, _, _, _, of_global = self.seg_encoder.weight
        tokens = self.embed(global_, local, scale, of_global, of_local)
        seen = None
        if query_valid is not None or valid is not None:
            before = shared.tokens.shape[1]
            seen = torch.ones(len(tokens), before + tokens.shape[1], dtype=torch.bool, device=tokens.device)
            if query_valid is not None:
                seen[:, 2 : before - 1] = query_valid
            if valid is not None:
                seen[:, before + 1 :] = valid
        found: Tensor = self.encoder(shared, tokens, seen)
        return found

    def embed(self, global_: Tensor, local: Tensor, scale: Tensor, of_global: Tensor, of_local: Tensor) -> Tensor:
        """Tokens (B, 1 + L, D); globals are mapped before their normalisation, locals only normalised."""
        mapped = linear(global_.to(self.remap.weight.dtype)[:, None], self.remap)
        first = F.normalize(mapped, dim=-1) + of_global
        rest = F.normalize(local.to(first.dtype), dim=-1) + self.scale_encoder(scale) + of_local
        return torch.cat([first, rest], dim=1)


class SopNetwork(nn.Module):
    """The form for products: grids (B, D, h, w) of one size, under the official parameter names."""

    def __init__(self, config: RrtConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.seg_encoder = nn.Embedding(4, config.width)
        self.classifier = nn.Linear(config.width, 1)

    def prepare(self, grid: Tensor) -> Shared:
        """CLS, the query's grid row by row, SEP."""
        cls, sep, of_query, _ = self.seg_encoder.weight
        tokens = self.embed(grid, of_query)
        ends = [token.expand(len(tokens), 1, -1) for token in (cls, sep)]
        return self.encoder.prepare(torch.cat([ends[0], tokens, ends[1]], dim=1))

    def read(self, shared: Shared, grid: Tensor) -> Tensor:
        """What CLS holds in the end (B, D)."""
        found: Tensor = self.encoder(shared, self.embed(grid, self.seg_encoder.weight[3]), None)
        return found

    def embed(self, grid: Tensor, segment: Tensor) -> Tensor:
        position = sine_positions(self.config.width, grid.shape[2], grid.shape[3]).to(grid)
        return (grid + position).flatten(2).transpose(1, 2) + segment


def sine_positions(width: int, height: int, breadth: int) -> Tensor:
    """Position encoding (1, width, height, breadth): rows in the first half of the channels, columns in the second."""
    half = width // 2
    period = 10000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)

    def along(size: int) -> Tensor:
        angle = 2.0 * torch.arange(1, size + 1)[:, None] / (size + 1e-6) / period  # (size, half)
        return torch.where(torch.arange(half) % 2 == 0, angle.sin(), angle.cos())

    rows, columns = along(height)[:, None], along(breadth)[None]
    whole = torch.cat([rows.expand(height, breadth, half), columns.expand(height, breadth, half)], dim=2)
    return whole.permute(2, 0, 1)[None]


def scale_indices(scale: Tensor, unit: float) -> Tensor:
    """Rows of the scale table, 0 to 6, for scales in multiples of `unit`. See SCALES."""
    table = torch.tensor(SCALES, dtype=torch.float64, device=scale.device)
    at_most = torch.searchsorted(table, scale.double() / unit, right=True)
    return (at_most - 1).clamp(0, len(SCALES) - 1)


class RrtGld(Reranker):
    """Scores are raw logits. An image without valid descriptors is scored by its global descriptor."""

    needs = ("global_", "local", "scale", "valid")
    kind = "pair-wise"

    def __init__(
        self, config: RrtConfig, *, query_locals: int | None = None, candidate_locals: int | None = None
    ) -> None:
        self.config, self.network = config, GldNetwork(config).eval()
        self.query_locals, self.candidate_locals = query_locals, candidate_locals

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Logits (k,). Padding of the query is cut off; padding of a candidate is computed, but never read."""
        for features in (query, candidates):
            _same_width("global descriptors", features.global_.shape[-1], self.config.global_dim)
            _same_width("local descriptors", features.local.shape[-1], self.config.width)
        network, unit = self.network, self.config.scale_unit
        real = query.valid[0]
        shared = network.prepare(query.global_, query.local[:, real], scale_indices(query.scale[:, real], unit))
        pairs = self.at_once or pairs_at_once(
            shared.tokens.shape[1] + 1 + candidates.local.shape[1], candidates.local.device
        )
        scales = scale_indices(candidates.scale, unit)
        parts = (candidates.global_, candidates.local, scales, candidates.valid)
        states = [
            network.read(shared, global_, local, scale, None, None if bool(valid.all()) else valid)
            for global_, local, scale, valid in zip(*(part.split(pairs) for part in parts), strict=True)
        ]
        return linear(torch.cat(states)[:, None], network.classifier)[:, 0, 0].float()

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        network, unit = self.network, self.config.scale_unit
        shared = network.prepare(query.global_, query.local, scale_indices(query.scale, unit))
        whole = bool(query.valid.all()) and bool(candidates.valid.all())
        valid = (None, None) if whole else (query.valid, candidates.valid)
        states = network.read(
            shared, candidates.global_, candidates.local, scale_indices(candidates.scale, unit), *valid
        )
        found: Tensor = network.classifier(states)[:, 0]
        return found

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """Executed: with the padding of candidates, and `attend_once`. Algorithmic: without either."""
        queries, valid = int(query.valid.sum()), candidates.valid
        mapped = cast(int, self.config.global_dim) * self.config.width * (1 + len(valid))
        return Flops(
            executed=2 * mapped + flops(self.config, queries + 3, [valid.shape[1] + 1] * len(valid), folded=True),
            algorithmic=2 * mapped + flops(self.config, queries + 3, (valid.sum(dim=1) + 1).tolist(), folded=False),
        )

    def module(self) -> nn.Module:
        return self.network


class RrtSop(Reranker):
    """Scores are raw logits. All images bring a grid of one size."""

    needs = ("dense",)
    kind = "pair-wise"

    def __init__(self, config: RrtConfig) -> None:
        self.config, self.network = config, SopNetwork(config).eval()

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Logits (k,)."""
        sizes = {tuple(grid.shape) for grid in (*query.dense, *candidates.dense)}
        if len(sizes) > 1 or next(iter(sizes))[0] != self.config.width:
            raise RerankError(
                f"grids of {', '.join(map(str, sorted(sizes)))}",
                wanted=f"one size ({self.config.width}, h, w)",
                cure="Extract all images at one size, with the backbone that this checkpoint was trained with.",
            )
        shared = self.network.prepare(query.dense[0][None])
        cells = query.dense[0][0].numel()
        pairs = self.at_once or pairs_at_once(2 * cells + 2, query.dense[0].device)
        grids = [torch.stack(candidates.dense[start : start + pairs]) for start in range(0, len(candidates), pairs)]
        states = torch.cat([self.network.read(shared, grid) for grid in grids])
        return linear(states[:, None], self.network.classifier)[:, 0, 0].float()

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        cells = query.dense[0][0].numel()
        lengths = [grid[0].numel() for grid in candidates.dense]
        executed, algorithmic = (flops(self.config, cells + 2, lengths, folded=folded) for folded in (True, False))
        return Flops(executed=executed, algorithmic=algorithmic)

    def module(self) -> nn.Module:
        return self.network


def flops(config: RrtConfig, before: int, candidates: Iterable[int], *, folded: bool) -> int:
    """FLOPs of the encoder and classifier, for `before` tokens up to SEP against candidates with so many each.

    folded: the last CLS reads through `Attention.attend_once`, else through keys and values of all tokens.
    """
    width, square, feed = config.width, config.width**2, 2 * config.width * config.hidden
    shared = 3 * square * before if config.layers > 1 else 0

    def pair(length: int) -> int:
        total = before + length
        within = 2 * width * total**2 + total * (square + feed)
        once = 4 * square + 2 * width * config.heads * total
        if not folded:
            once = 2 * square * (1 + total) + 2 * width * total
        later = (config.layers - 1) * (within + 3 * square * total) - shared
        return later + once + feed + width

    return 2 * (shared + sum(map(pair, candidates)))


def _same_width(what: str, found: int, wanted: int | None) -> None:
    if found != wanted:
        raise RerankError(
            f"{what} {found} wide", wanted=f"{wanted}, as the network reads them", cure="Choose the variant that fits."
        )


def _variant(about: str, config: RrtConfig, locals_: int, *, source: str) -> Variant:
    def load(reranker: Reranker, path: Path) -> None:
        load_into(cast(RrtGld, reranker).network, load_state(path))

    return Variant(
        about=f"{about}, {locals_} x {locals_}",
        source=source,
        make=lambda: RrtGld(config, query_locals=locals_, candidate_locals=locals_),
        inputs=Inputs(
            query_locals=locals_, candidate_locals=locals_, local_dim=config.width, global_dim=config.global_dim
        ),
        load=load,
    )


def _grid_variant(about: str, config: RrtConfig, *, source: str) -> Variant:
    def load(reranker: Reranker, path: Path) -> None:
        state = load_state(path)
        inside = "matcher." if any(name.startswith("matcher.") for name in state) else ""
        load_into(cast(RrtSop, reranker).network, state, within=inside)

    return Variant(
        about=about,
        source=source,
        make=lambda: RrtSop(config),
        inputs=Inputs(dense=(config.width, 7, 7)),
        load=load,
    )


PAPER, SUPPLEMENT = "Tan et al., ICCV 2021", "LOCORE (CVPR 2025), supplement"
GLD = RrtConfig()
WIDE = RrtConfig(width=768, global_dim=768)

VARIANTS: dict[str, Variant] = {
    "gld": _variant("DELG descriptors", GLD, 500, source=PAPER),
    "gld-50": _variant("DELG descriptors", GLD, 50, source=PAPER),
    "768": _variant("RRT* 768 wide, DINOv2 descriptors", WIDE, 50, source=SUPPLEMENT),
    "768-ff3072": _variant(
        "RRT* 768 wide, hidden width 3072, DINOv2 descriptors",
        replace(WIDE, hidden=3072),
        50,
        source=SUPPLEMENT,
    ),
    "sop": _grid_variant("7 x 7 grids of a ResNet-50", RrtConfig(global_dim=None), source=PAPER),
    "sop-768": _grid_variant("RRT* 768 wide, 7 x 7 grids", RrtConfig(width=768, global_dim=None), source=SUPPLEMENT),
    "rootsift": _variant(
        "RootSIFT descriptors",
        RrtConfig(global_dim=512, scale_unit=4.0),
        500,
        source="this project; no trained weights",
    ),
    "micro": _variant(
        "RootSIFT descriptors",
        RrtConfig(layers=3, heads=2, hidden=256, global_dim=512, scale_unit=4.0),
        MICRO_LOCALS,
        source=MICRO,
    ),
}
