"""AMES: Asymmetric and Memory-Efficient Similarity (Suma et al., ECCV 2024), pair-wise, on local descriptors.

A pair is one sequence: the query's tokens, a matching token, the candidate's tokens. In every layer a token reads
its own image, then the other image, then passes a feed-forward step. The matching token reads both images, and what
it holds in the end gives the score.
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


@dataclass(frozen=True, kw_only=True)
class AmesConfig:
    """Shape of the network; the defaults are the published ones.

    normalize_input: L2-normalise descriptors on entry, as the repository of 2024 does and that of ELViS does not.
    """

    local_dim: int = 768
    width: int = 128
    heads: int = 2
    layers: int = 5
    hidden: int = 1024
    activation: Literal["relu", "gelu"] = "relu"
    norm_first: bool = False
    binarized: bool = False
    normalize_input: bool = True

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width % self.heads:
            raise RerankError(
                f"AMES of {self.layers} layers, {self.heads} heads and width {self.width}",
                wanted="at least 1 layer, and a width that the heads divide",
                cure="The published network has 5 layers, 2 heads and width 128.",
            )


class Pairs:
    """Where the tokens of B pairs stand: `queries` of the query, the matching token, the candidate's.

    With the matching token in the middle, either image together with it is a slice. So the masked attentions of the
    method become dense ones on slices: no mask is built, no masked product is paid for.

    own, other: what query, matching token and candidate read, in this order, of their own and of the other image.
    valid: (B, S), False for padding, which nothing reads; None where there is none. room: where they are worked on.
    """

    def __init__(self, queries: int, room: Room, valid: Tensor | None = None) -> None:
        def reading(rows: slice, keys: slice) -> Reading:
            return Reading(rows, keys, None if valid is None else valid[:, None, None, keys])

        query, token, candidate = slice(0, queries), slice(queries, queries + 1), slice(queries + 1, None)
        with_query, with_candidate, both = slice(0, queries + 1), slice(queries, None), slice(None)
        self.query, self.token, self.candidate, self.valid, self.room = query, token, candidate, valid, room
        self.own = reading(query, with_query), reading(token, both), reading(candidate, with_candidate)
        self.other = reading(query, with_candidate), reading(token, both), reading(candidate, with_query)


class QuerySide(NamedTuple):
    """What the first layer computes from the query alone, once for all candidates.

    tokens: (b, Q, D) after its self block. own, other: queries, keys, values for either block, (b, Q, 3, heads, depth).
    b is 1, or the number of pairs when each has its own query. valid: (b, Q + 1), the matching token last, or None.
    room: where its candidates are worked on.
    """

    tokens: Tensor
    own: Tensor
    other: Tensor
    valid: Tensor | None
    room: Room


class Layer(nn.Module):
    """Self block, cross block, feed-forward."""

    def __init__(self, config: AmesConfig) -> None:
        super().__init__()
        self.norm_first, self.gelu = config.norm_first, config.activation == "gelu"
        self.self_attn = Attention(config.width, config.heads)
        self.cross_attn = Attention(config.width, config.heads)
        self.linear1 = nn.Linear(config.width, config.hidden)
        self.linear2 = nn.Linear(config.hidden, config.width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(config.width) for _ in range(3))

    def forward(self, x: Tensor, pairs: Pairs) -> Tensor:
        x = self.self_block(x, pairs)
        qkv = self.cross_attn.project(self.before(self.norm2, x))
        return self.feed(self.after(self.norm2, x, self.cross_attn.attend(qkv, *pairs.other)), pairs.room)

    def query_side(self, x: Tensor, pairs: Pairs) -> QuerySide:
        """The part of a first layer that needs the query only; x: its tokens and the matching token."""
        qkv = self.self_attn.project(self.before(self.norm1, x))
        tokens = self.after(self.norm1, x[:, pairs.query], self.self_attn.attend(qkv, pairs.own[0]))
        other = self.cross_attn.project(self.before(self.norm2, tokens))
        return QuerySide(tokens, qkv[:, pairs.query], other, pairs.valid, pairs.room)

    def first(self, query: QuerySide, x: Tensor, pairs: Pairs) -> Tensor:
        """The same as forward with the query's side at hand; x: matching token and candidate."""

        def beside_query(part: Tensor, rest: Tensor) -> Tensor:
            return torch.cat([part.expand(len(rest), *part.shape[1:]), rest], dim=1)

        qkv = beside_query(query.own, self.self_attn.project(self.before(self.norm1, x)))
        x = self.after(self.norm1, x, self.self_attn.attend(qkv, *pairs.own[1:]))
        qkv = beside_query(query.other, self.cross_attn.project(self.before(self.norm2, x)))
        x = beside_query(query.tokens, x)
        return self.feed(self.after(self.norm2, x, self.cross_attn.attend(qkv, *pairs.other)), pairs.room)

    def last(self, x: Tensor, pairs: Pairs) -> Tensor:
        """The matching token alone (B, 1, D), the only row of the last layer that is read."""
        x = self.self_block(x, pairs)
        normed = self.before(self.norm2, x)
        read = self.cross_attn.attend_once(normed[:, pairs.token], normed, pairs.other[1].valid)
        return self.feed(self.after(self.norm2, x[:, pairs.token], read), pairs.room)

    def self_block(self, x: Tensor, pairs: Pairs) -> Tensor:
        qkv = self.self_attn.project(self.before(self.norm1, x))
        return self.after(self.norm1, x, self.self_attn.attend(qkv, *pairs.own))

    def feed(self, x: Tensor, room: Room) -> Tensor:
        hidden = room.hidden(self.before(self.norm3, x), self.linear1)
        hidden = gelu_(hidden) if self.gelu else F.relu(hidden, inplace=True)
        return self.after(self.norm3, x, linear(hidden, self.linear2))

    def before(self, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x) if self.norm_first else x

    def after(self, norm: nn.Module, x: Tensor, change: Tensor) -> Tensor:
        return x + change if self.norm_first else norm(x + change)


class Binarization(nn.Module):
    """Iterative quantization (Gong et al., 2011): signs of rotated descriptors; a soft sign while training."""

    def __init__(self, local_dim: int, bits: int) -> None:
        super().__init__()
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(local_dim, bits)))

    def forward(self, local: Tensor) -> Tensor:
        rotated = torch.matmul(F.normalize(local, dim=-1), self.W)
        return torch.erf(rotated / 2e-6**0.5) if self.training else torch.sign(rotated)


class Decoder(nn.Module):
    """The layers, and the norm that closes them when each begins with its own."""

    def __init__(self, config: AmesConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width) if config.norm_first else nn.Identity()

    @property
    def stack(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))


class AmesNetwork(nn.Module):
    """The network, under the official parameter names.

    Everywhere: query (B, Q, local_dim), or (1, Q, local_dim) for all pairs at once; candidate (B, T, local_dim);
    the valid fields (B, Q) and (B, T), True for a real descriptor, or None when all are.
    """

    def __init__(self, config: AmesConfig) -> None:
        super().__init__()
        self.config = config
        entry: list[nn.Module] = [nn.Linear(config.local_dim, config.width)]
        if config.binarized:
            entry = [Binarization(config.local_dim, config.width), nn.Linear(config.width, config.width)]
        self.mtc_token = nn.Parameter(torch.randn(config.width))
        self.remap_local = nn.Sequential(*entry, nn.LayerNorm(config.width))
        self.decoder = Decoder(config)
        self.classifier = nn.Linear(config.width, 1)

    def forward(
        self,
        query: Tensor,
        candidate: Tensor,
        query_valid: Tensor | None = None,
        candidate_valid: Tensor | None = None,
    ) -> Tensor:
        """Logits (B,) of B pairs."""
        return self.match(self.prepare(query, query_valid), candidate, candidate_valid)

    def prepare(self, query: Tensor, valid: Tensor | None = None) -> QuerySide:
        """All that can be computed before a candidate is known."""
        token = self.mtc_token.expand(len(query), 1, -1)
        seen = None if valid is None else F.pad(valid, (0, 1), value=True)
        first = self.decoder.stack[0]
        return first.query_side(torch.cat([self.remap(query), token], dim=1), Pairs(query.shape[1], Room(), seen))

    def match(self, query: QuerySide, candidate: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits (B,) of B candidates for a prepared query."""
        x, pairs = self.meet(query, candidate, valid)
        later = self.decoder.stack[1:]
        for layer in later[:-1]:
            x = layer(x, pairs)
        token = later[-1].last(x, pairs) if later else x[:, pairs.token]
        return self.classify(self.decoder.norm(token))[:, 0]

    def encode(
        self,
        query: Tensor,
        candidate: Tensor,
        query_valid: Tensor | None = None,
        candidate_valid: Tensor | None = None,
    ) -> Tensor:
        """All tokens (B, 1 + Q + T, width) in the official order: matching token, query, candidate."""
        x, pairs = self.meet(self.prepare(query, query_valid), candidate, candidate_valid)
        for layer in self.decoder.stack[1:]:
            x = layer(x, pairs)
        x = self.decoder.norm(x)
        return torch.cat([x[:, pairs.token], x[:, pairs.query], x[:, pairs.candidate]], dim=1)

    def classify(self, token: Tensor) -> Tensor:
        """Logits (B, 1) of matching tokens (B, 1, width)."""
        return linear(token, self.classifier)[..., 0]

    def meet(self, query: QuerySide, candidate: Tensor, valid: Tensor | None) -> tuple[Tensor, Pairs]:
        """Tokens of the pairs after the first layer."""
        queries = query.tokens.shape[1]
        token = self.mtc_token.expand(len(candidate), 1, -1)
        x = torch.cat([token, self.remap(candidate, stored=True)], dim=1)
        seen = None
        if query.valid is not None or valid is not None:
            seen = torch.ones(len(x), queries + x.shape[1], dtype=torch.bool, device=x.device)
            if query.valid is not None:
                seen[:, : queries + 1] = query.valid
            if valid is not None:
                seen[:, queries + 1 :] = valid
        pairs = Pairs(queries, query.room, seen)
        return self.decoder.stack[0].first(query, x, pairs), pairs

    def remap(self, local: Tensor, *, stored: bool = False) -> Tensor:
        """Descriptors to tokens. Those of the gallery are `stored` as float16 once trained, in full precision."""
        local = local.to(self.mtc_token.dtype)
        tokens: Tensor = self.remap_local(F.normalize(local, dim=-1) if self.config.normalize_input else local)
        if stored and not self.training and not self.config.binarized:
            tokens = tokens.half().to(tokens.dtype)
        return tokens


class Ames(Reranker):
    """Scores are raw logits; the published ranking blends their sigmoid with the global similarity."""

    needs = ("local", "valid")
    kind = "pair-wise"

    def __init__(
        self, config: AmesConfig, *, query_locals: int | None = None, candidate_locals: int | None = None
    ) -> None:
        self.network = AmesNetwork(config).eval()
        self.query_locals, self.candidate_locals = query_locals, candidate_locals

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Logits (k,). Padding of the query is cut off; padding of a candidate is computed, but never read."""
        local, valid = described(query)
        prepared = self.network.prepare(local[valid][None])
        local, valid = described(candidates)
        pairs = self.at_once or pairs_at_once(prepared.tokens.shape[1] + 1 + local.shape[1], local.device)
        return torch.cat(
            [
                self.network.match(prepared, chunk, None if bool(real.all()) else real)
                for chunk, real in zip(local.split(pairs), valid.split(pairs), strict=True)
            ]
        )

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        found: Tensor = self.network(query.local, candidates.local, mask(query), mask(candidates))
        return found

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """Executed: with the padding of candidates, and `attend_once`. Algorithmic: without either."""
        queries, valid = int(described(query)[1].sum()), described(candidates)[1]
        return Flops(
            executed=flops(self.network.config, queries, [valid.shape[1]] * len(valid), folded=True),
            algorithmic=flops(self.network.config, queries, valid.sum(dim=1).tolist(), folded=False),
        )

    def module(self) -> nn.Module:
        return self.network


def described(features: Features) -> tuple[Tensor, Tensor]:
    """Descriptors and which of them are real; the base has checked that they are there."""
    return features.local, features.valid


def mask(features: Features) -> Tensor | None:
    """Which descriptors are real (n, L), None when all are."""
    return None if bool(features.valid.all()) else features.valid


def flops(config: AmesConfig, queries: int, candidates: Iterable[int], *, folded: bool) -> int:
    """FLOPs of one query with `queries` descriptors against candidates with so many each.

    folded: the last matching token reads through `Attention.attend_once`, else through keys and values of all tokens.
    """
    square, feed = config.width**2, 2 * config.width * config.hidden
    remap = square + config.local_dim * config.width if config.binarized else config.local_dim * config.width
    within_query = 2 * config.width * queries * (queries + 1)

    def pair(length: int) -> int:
        total = queries + 1 + length
        own = within_query + 2 * config.width * (length * (length + 1) + total)
        other = 2 * config.width * (queries * (length + 1) + length * (queries + 1) + total)
        first = 7 * square * (length + 1) + own - within_query + other + total * (square + feed)
        middle = own + other + total * (8 * square + feed)
        once = 4 * square + 2 * config.width * config.heads * total
        if not folded:
            once = 2 * square * (1 + total) + 2 * config.width * total
        last = own + total * 4 * square + once + feed
        later = (config.layers - 2) * middle + last if config.layers > 1 else 0
        return length * remap + first + later + config.width

    alone = queries * remap + 3 * square * (queries + 1) + within_query + 4 * square * queries
    return 2 * (alone + sum(map(pair, candidates)))


def _variant(
    about: str,
    config: AmesConfig,
    *,
    query_locals: int = 50,
    source: str = "Suma et al., ECCV 2024",
    candidate_locals: int = 50,
    blend: tuple[float, float] | None = None,
) -> Variant:
    def load(reranker: Reranker, path: Path) -> None:
        load_into(cast(Ames, reranker).network, load_state(path))

    return Variant(
        about=f"{about}, {query_locals} x {candidate_locals}",
        source=source,
        make=lambda: Ames(config, query_locals=query_locals, candidate_locals=candidate_locals),
        inputs=Inputs(query_locals=query_locals, candidate_locals=candidate_locals, local_dim=config.local_dim),
        load=load,
        blend=blend,
    )


DINOV2, CVNET = AmesConfig(local_dim=768), AmesConfig(local_dim=1024)

VARIANTS: dict[str, Variant] = {
    "dinov2": _variant("DINOv2 descriptors", DINOV2, query_locals=600, blend=(0.55, 0.30)),
    "dinov2-50": _variant("DINOv2 descriptors", DINOV2, blend=(0.55, 0.30)),
    "dinov2-binarized": _variant(
        "DINOv2 descriptors of 128 bits", replace(DINOV2, binarized=True), query_locals=600, blend=(0.35, 0.10)
    ),
    "cvnet": _variant("CVNet descriptors", CVNET, query_locals=600, blend=(0.85, 0.80)),
    "cvnet-binarized": _variant(
        "CVNet descriptors of 128 bits", replace(CVNET, binarized=True), query_locals=600, blend=(0.65, 0.20)
    ),
    "768": _variant(
        "AMES* 768 wide, DINOv2 descriptors", AmesConfig(width=768), source="LOCORE (CVPR 2025), supplement"
    ),
    "rootsift": _variant("RootSIFT descriptors", AmesConfig(local_dim=128), source="this project; no trained weights"),
    "micro": _variant(
        "RootSIFT descriptors",
        AmesConfig(local_dim=128, layers=3, hidden=256),
        query_locals=MICRO_LOCALS,
        candidate_locals=MICRO_LOCALS,
        source=MICRO,
    ),
    "micro-binarized": _variant(
        "RootSIFT descriptors of 128 bits",
        AmesConfig(local_dim=128, layers=3, hidden=256, binarized=True),
        query_locals=MICRO_LOCALS,
        candidate_locals=MICRO_LOCALS,
        source=MICRO,
    ),
}
