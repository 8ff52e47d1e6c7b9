"""R2Former's re-ranker (Zhu et al., CVPR 2023), pair-wise, on local descriptors.

Every descriptor of either image takes its best correlated descriptors of the other one along. Each such group is read
by a small transformer, and what it says of the groups by another one, whose first token gives the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.checkpoints import load_into, load_state
from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker
from rerankers.registry import MICRO, MICRO_LOCALS, Inputs, Variant
from rerankers.room import Room, added_, gelu_, softmax_
from rerankers.rows import alone, linear, products

#: Entries of groups that are worked on at most at once: they are narrow, so more of them fit a cache than of other
#: tokens, and fewer cost more in calls.
ENTRIES_AT_ONCE = 18_000
ENTRIES_ON_DEVICE = 1 << 20
#: Coordinates beyond this are pixels, and need the image's size.
FAR_OUTSIDE = 10.0
INNER_BLOCKS = 2
#: Numbers that a vector of a CPU holds, at most.
LANES = 16
#: Numbers of a head up to which attention is written out on CPUs, and its logits that are worked on at once then.
SHALLOW, LOGITS_AT_ONCE = 16, 1 << 20


@dataclass(frozen=True, kw_only=True)
class R2FormerConfig:
    """Shape of the network; the defaults are the published ones.

    neighbours: how many descriptors each takes along. classes: 2 (softmax) or 1 (sigmoid).
    global_dim, patches: of parts that official checkpoints hold and ranking does not use.
    relative_weight: weights are divided by the largest of the image, as the official extraction does.
    """

    local_dim: int = 128
    width: int = 32
    heads: int = 4
    layers: int = 6
    hidden_ratio: int = 4
    eps: float = 1e-6
    classes: int = 2
    neighbours: int = 5
    patches: int = 1000
    relative_weight: bool = True

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width % self.heads or self.width % 4 or self.classes not in (1, 2):
            raise RerankError(
                f"R2Former of {self.layers} layers, {self.heads} heads, width {self.width} and {self.classes} classes",
                wanted="at least 1 layer, a width that 4 and the heads divide, and 1 or 2 classes",
                cure="The published network has 6 layers, 4 heads, width 32 and 2 classes.",
            )


class Side(NamedTuple):
    """One image's tokens: descriptors of unit length (b, N, D), their share of an entry and their position's encoding
    (b, N, W), and which are real (b, N), None for all."""

    unit: Tensor
    share: Tensor
    position: Tensor
    valid: Tensor | None


class Heads(nn.Module):
    """Multi-head attention with the parameters of timm's."""

    def __init__(self, config: R2FormerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, room: Room, valid: Tensor | None, *, first: bool) -> Tensor:
        """What x (B, S, W), or its first token alone, finds in it."""
        if first:
            return linear(self._first(x, valid), self.proj)
        if x.device.type == "cpu" and x.shape[2] // self.heads <= SHALLOW:
            found = self._written_out(x, room, valid)
        else:
            q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
            found = F.scaled_dot_product_attention(q, k, v, valid).transpose(1, 2).flatten(2)
        projected: Tensor = self.proj(found)
        return projected

    def _first(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """The same before the projection for the first token alone: (B, 1, W).

        Written out: what the fused kernel gives for a single row depends on where its memory lies.
        """
        width, weight, bias = x.shape[2], self.qkv.weight, self.qkv.bias
        q = alone(x[:, :1], weight[:width], bias[:width]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        both = F.linear(x, weight[width:], bias[width:]).unflatten(-1, (2, self.heads, -1))
        k, v = both.permute(2, 0, 3, 1, 4).contiguous().flatten(1, 2)  # (B heads, S, depth) each
        logits = torch.bmm(q.flatten(0, 1) * (width // self.heads) ** -0.5, k.transpose(1, 2)).float()
        if valid is not None:
            logits = logits.masked_fill(~valid.expand(-1, self.heads, -1, -1).flatten(0, 1), -torch.inf)
        return torch.bmm(logits.softmax(dim=2), v).view(len(x), 1, width)

    def _written_out(self, x: Tensor, room: Room, valid: Tensor | None) -> Tensor:
        """The same before the projection, for heads so shallow that the fused kernel is mostly calls of its products.

        The tokens lie innermost: a product with a few long rows is three times faster than one with many short ones.
        As much of the attention at once as stays in a cache; how it is cut depends on S only, so that a pair's score
        does not depend on the others.
        """
        pairs, tokens, width = x.shape
        turned = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 4, 1).contiguous()
        q, k, v = turned.flatten(1, 2)  # (B heads, depth, S) each
        q = q * (width // self.heads) ** -0.5
        absent = None if valid is None else ~valid.expand(-1, self.heads, -1, -1).flatten(0, 1)
        one = self.heads * tokens**2  # logits of a pair
        step, goes = self.heads * max(1, LOGITS_AT_ONCE // one), math.ceil(one / LOGITS_AT_ONCE)

        def read(some: slice, rows: Tensor) -> Tensor:
            logits = room.product(rows.transpose(1, 2), k[some])
            if absent is not None:
                logits.masked_fill_(absent[some], -torch.inf)
            return torch.bmm(v[some], softmax_(logits).transpose(1, 2))

        parts = [slice(start, start + step) for start in range(0, len(q), step)]
        found = [torch.cat([read(some, rows) for rows in q[some].chunk(goes, dim=2)], dim=2) for some in parts]
        return torch.cat(found).view(pairs, width, tokens).transpose(1, 2)

    def over_short(self, x: Tensor, room: Room, rows: int) -> Tensor:
        """The same for very many very short sequences: what the first `rows` of x (S, N, W) find in it, (rows, N, W).

        N lies innermost while tokens meet, so that every operation is a long one; S and the depth of a head are too
        small for matrix products to be worth their calls.
        """
        tokens, many, width = x.shape

        def parts(first: int, last: int, x: Tensor) -> Tensor:
            """Queries, keys and values from first to last: (parts, heads, depth, S, N)."""
            rows = slice(first * width, last * width)
            product = room.product(self.qkv.weight[rows], x.flatten(0, 1).t()).float()
            return product.add_(self.qkv.bias[rows, None]).view(last - first, self.heads, -1, len(x), many)

        q = parts(0, 1, x[:rows])[0] * (width // self.heads) ** -0.5  # a copy: the next parts take its place
        k, v = parts(1, 3, x)
        logits = q[:, 0, :, None] * k[:, 0, None]  # (heads, rows, S, N)
        for one in range(1, q.shape[1]):
            logits.addcmul_(q[:, one, :, None], k[:, one, None])
        # the last few of a row would go through another exponential: which groups they are depends on the batch
        share = F.pad(logits, (0, -many % LANES)).softmax(dim=2)[:, None, ..., :many]
        found = share[:, :, :, 0] * v[:, :, :1]  # (heads, depth, rows, N)
        for one in range(1, tokens):
            found.addcmul_(share[:, :, :, one], v[:, :, one : one + 1])
        result: Tensor = self.proj(found.view(width, rows * many).t()).view(rows, many, width)
        return result


class Mlp(nn.Module):
    def __init__(self, config: R2FormerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.hidden_ratio * config.width)
        self.fc2 = nn.Linear(config.hidden_ratio * config.width, config.width)

    def forward(self, x: Tensor, room: Room) -> Tensor:
        return linear(gelu_(room.hidden(x, self.fc1)), self.fc2)


class Block(nn.Module):
    """Attention and feed-forward, each on a normed copy."""

    def __init__(self, config: R2FormerConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(config.width, eps=config.eps) for _ in range(2))
        self.attn, self.mlp = Heads(config), Mlp(config)

    def forward(self, x: Tensor, room: Room, valid: Tensor | None = None, *, first: bool = False) -> Tensor:
        """All tokens of x (B, S, W), or the first alone."""
        x = added_(self.attn(self.norm1(x), room, valid, first=first), x[:, :1] if first else x)
        return added_(self.mlp(self.norm2(x), room), x)

    def over_short(self, x: Tensor, room: Room, rows: int) -> Tensor:
        """The first `rows` tokens of x (S, N, W)."""
        x = added_(self.attn.over_short(self.norm1(x), room, rows), x[:rows])
        return added_(self.mlp(self.norm2(x), room), x)


class R2FormerNetwork(nn.Module):
    """The network, under the official parameter names.

    Everywhere: xy (b, N, 2) as shares of the image's longer side, weight (b, N), local (b, N, D); b is 1 or the pairs.
    decoder_pos_embed is never read; ratio only by `blended`.
    """

    def __init__(self, config: R2FormerConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.cls_token, self.cls_token_2 = (nn.Parameter(0.02 * torch.randn(1, 1, width)) for _ in range(2))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, config.patches + 1, width))
        self.ratio = nn.Parameter(torch.full((1,), 0.5))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.blocks_2 = nn.ModuleList(Block(config) for _ in range(INNER_BLOCKS))
        self.decoder_norm = nn.LayerNorm(width, eps=config.eps)
        self.pair_head = nn.Linear(7, width)
        self.pair_head_2 = nn.Linear(width, width)
        self.decoder_pred = nn.Linear(width, config.classes)

    def query(self, xy: Tensor, weight: Tensor, local: Tensor, valid: Tensor | None = None) -> Side:
        """The query's tokens: columns 0 to 2 of an entry."""
        return self._side(xy, weight, local, self.pair_head.weight[:, :3], None, valid)

    def candidates(self, xy: Tensor, weight: Tensor, local: Tensor, valid: Tensor | None) -> Side:
        """The candidates' tokens: columns 3 to 5 of an entry, and the encoding of their places."""
        return self._side(xy, weight, local, self.pair_head.weight[:, 3:6], self.pair_head.bias, valid)

    def _side(
        self, xy: Tensor, weight: Tensor, local: Tensor, head: Tensor, bias: Tensor | None, valid: Tensor | None
    ) -> Side:
        xy, weight = xy.to(head.dtype).clamp(0, 1), weight.to(head.dtype).clamp(0, 1)
        position = encoding(xy, self.config.width)
        share = F.linear(torch.cat([xy, weight[..., None]], dim=-1), head, bias)
        if bias is not None:
            share = share + position
        return Side(F.normalize(local.to(head.dtype), dim=-1), share, position, valid)

    def match(self, query: Side, candidate: Side, room: Room) -> Tensor:
        """Logits (B, classes) of B pairs."""
        groups, first = self.groups(query, candidate)
        inner = self.read_groups(groups, room)
        x = torch.cat([self.cls_token.expand(len(inner), -1, -1), inner + first], dim=1)
        valid = None
        if query.valid is not None or candidate.valid is not None:
            sides = [
                torch.ones(side.unit.shape[:2], dtype=torch.bool, device=x.device) if side.valid is None else side.valid
                for side in (query, candidate)
            ]
            both = torch.cat([side.expand(len(x), -1) for side in sides], dim=1)
            valid = F.pad(both, (1, 0), value=True)[:, None, None]
        *before, last = self.blocks
        for block in before:
            x = block(x, room, valid)
        return linear(self.decoder_norm(last(x, room, valid, first=True)), self.decoder_pred)[:, 0].float()

    def groups(self, query: Side, candidate: Side) -> tuple[Tensor, Tensor]:
        """Entries (B, Q + T, neighbours, W), the query's groups first, and where the best of each stands in the
        query: an encoding (B, Q + T, W)."""
        pairs, width = len(candidate.unit), self.config.width
        of_query, position = (part.expand(pairs, -1, -1) for part in (query.share, query.position))
        # ranks must not depend on the number type: near ties would fall otherwise
        with torch.autocast(candidate.unit.device.type, enabled=False):
            cosine = products(query.unit.expand(pairs, -1, -1), candidate.unit.transpose(1, 2))  # (B, Q, T)
            seen = cosine if candidate.valid is None else cosine.masked_fill(~candidate.valid[:, None], -torch.inf)
            forth, forth_index = strongest(seen, self.config.neighbours)
            asked = cosine if query.valid is None else cosine.masked_fill(~query.valid[:, :, None], -torch.inf)
            back, back_index = strongest(asked.transpose(1, 2), self.config.neighbours)

        def gathered(tokens: Tensor, index: Tensor) -> Tensor:
            flat = index.flatten(1)[..., None].expand(-1, -1, width)
            found: Tensor = tokens.gather(1, flat).unflatten(1, index.shape[1:])
            return found

        by_cosine = self.pair_head.weight[:, 6].float()
        entries = [
            gathered(others, index).float().add_(own[:, :, None]).addcmul_(cosines[..., None], by_cosine)
            for cosines, own, others, index in (
                (forth, of_query, candidate.share, forth_index),
                (back, candidate.share, of_query, back_index),
            )
        ]
        return torch.cat(entries, dim=1), torch.cat([position, gathered(position, back_index[:, :, 0])], dim=1)

    def read_groups(self, groups: Tensor, room: Room) -> Tensor:
        """What the inner transformer says of each group: (B, G, W)."""
        x = groups.flatten(0, 1).transpose(0, 1)
        x = torch.cat([self.cls_token_2.expand(1, x.shape[1], -1), x])
        *before, last = cast("list[Block]", list(self.blocks_2))
        for block in before:
            x = block.over_short(x, room, len(x))
        x = last.over_short(x, room, 1)[0]
        found: Tensor = self.pair_head_2(self.decoder_norm(x)).unflatten(0, groups.shape[:2])
        return found

    def probability(self, logits: Tensor) -> Tensor:
        """Of a match, (B,): what the official evaluation sorts by."""
        return torch.sigmoid(logits[:, 0]) if self.config.classes == 1 else logits.softmax(dim=1)[:, 1]

    def blended(self, probability: Tensor, query: Tensor, candidate: Tensor) -> Tensor:
        """The official module's second output: with the cosine of global descriptors (B, G). Ranking ignores it."""
        ratio = self.ratio.clamp(0.1, 0.9)
        return ratio * F.cosine_similarity(query, candidate, eps=1e-8) + (1 - ratio) * probability


def encoding(xy: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of x, then of y: (..., width)."""
    quarter = width // 4
    frequency = 10000.0 ** (-torch.arange(quarter, device=xy.device, dtype=xy.dtype) / quarter)
    angle = xy[..., None] * frequency  # (..., 2, quarter)
    return torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def strongest(cosine: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest along the last dimension and their places, ties by place: a stable sort, cut short."""
    some = min(count + 1, cosine.shape[-1])
    values, places = cosine.topk(some, dim=-1)
    tied = (values[..., 1:] == values[..., :-1]).any(dim=-1)
    if bool(tied.any()):
        again = torch.sort(cosine[tied], dim=-1, descending=True, stable=True)
        values[tied], places[tied] = again.values[:, :some], again.indices[:, :some]
    return values[..., :count], places[..., :count]


class R2Former(Reranker):
    """Scores are probabilities of a match, from 0 to 1.

    An image with fewer valid descriptors than each takes along cannot be read: its pairs score 0.
    """

    needs = ("local", "xy", "weight", "valid")
    kind = "pair-wise"

    def __init__(
        self, config: R2FormerConfig, *, query_locals: int | None = None, candidate_locals: int | None = None
    ) -> None:
        self.network = R2FormerNetwork(config).eval()
        self.query_locals, self.candidate_locals = query_locals, candidate_locals

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,). Padding of the query is cut off; groups of a candidate's padding are made, but never read."""
        config, network = self.network.config, self.network
        for features in (query, candidates):
            if features.local.shape[-1] != config.local_dim:
                raise RerankError(
                    f"local descriptors {features.local.shape[-1]} wide",
                    wanted=f"{config.local_dim}, as this variant reads them",
                    cure="Choose the variant that fits.",
                )
        real = query.valid[0]
        readable = candidates.valid.sum(dim=1) >= config.neighbours
        scores = candidates.local.new_zeros(len(candidates), dtype=torch.float32)
        if int(real.sum()) < config.neighbours or not bool(readable.any()):
            return scores
        whole = bool(readable.all())
        inputs = [*self._places(candidates), candidates.local, candidates.valid]
        if not whole:
            inputs = [part[readable] for part in inputs]
        xy, weight = self._places(query)
        first, room = network.query(xy[:, real], weight[:, real], query.local[:, real]), Room()
        found = torch.cat(
            [
                network.probability(
                    network.match(
                        first, network.candidates(xy, weight, local, None if bool(valid.all()) else valid), room
                    )
                )
                for xy, weight, local, valid in zip(
                    *(part.split(self._pairs(int(real.sum()), inputs[2])) for part in inputs), strict=True
                )
            ]
        )
        if whole:
            return found
        scores[readable] = found
        return scores

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        """Of a match against no match. RerankError for an image with fewer descriptors than each takes along."""
        network = self.network
        fewest = min(int(features.valid.sum(dim=1).min()) for features in (query, candidates))
        if fewest < network.config.neighbours:
            raise RerankError(
                f"an image with {fewest} descriptors",
                wanted=f"at least {network.config.neighbours}, as many as each takes along",
                cure="Leave it out of training.",
            )
        sides = [
            make(*self._places(side), side.local, None if bool(side.valid.all()) else side.valid)
            for make, side in ((network.query, query), (network.candidates, candidates))
        ]
        logits = network.match(sides[0], sides[1], Room())
        return logits[:, 0] if network.config.classes == 1 else logits[:, 1] - logits[:, 0]

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """Executed: with the padding of candidates, and groups that meet without matrix products. Algorithmic: the
        other way round."""
        config, queries, valid = self.network.config, int(query.valid.sum()), candidates.valid
        enough = valid.sum(dim=1)[valid.sum(dim=1) >= config.neighbours].tolist()
        if queries < config.neighbours:
            enough = []
        again, length = 0, valid.shape[1]
        if enough and valid.device.type == "cpu":  # see rows.products
            pairs = self._pairs(queries, candidates.local[: len(enough)])
            again = len(enough) if pairs == 1 else int(len(enough) % pairs == 1)
        return Flops(
            executed=flops(config, queries, [length] * len(enough), products=False)
            + 2 * again * queries * length * config.local_dim,
            algorithmic=flops(config, queries, enough, products=True),
        )

    def module(self) -> nn.Module:
        return self.network

    def _pairs(self, queries: int, local: Tensor) -> int:
        """How many of the candidates (k, L, D) are scored at once, so that every go has about as many."""
        entries = (queries + local.shape[1]) * (1 + self.network.config.neighbours)
        most = ENTRIES_ON_DEVICE if local.is_cuda else ENTRIES_AT_ONCE
        goes = math.ceil(len(local) / max(1, most // entries))
        return self.at_once or math.ceil(len(local) / goes)

    def _places(self, features: Features) -> tuple[Tensor, Tensor]:
        """Coordinates as shares of the longer side, and weights as shares of the largest."""
        xy, weight = features.xy, features.weight
        if features.size is not None:
            xy = xy / features.size.amax(dim=1)[:, None, None]
        elif xy.numel() and float(xy.abs().max()) > FAR_OUTSIDE:
            raise RerankError(
                f"coordinates up to {float(xy.abs().max()):g} without the size of the image",
                wanted="the field 'size', or coordinates as shares of the longer side",
                cure="Extract the descriptors again: stores of this version keep the size.",
            )
        if self.network.config.relative_weight:
            largest = weight.masked_fill(~features.valid, 0).amax(dim=1, keepdim=True)
            weight = weight / largest.clamp(min=torch.finfo(weight.dtype).tiny)
        return xy, weight


def flops(config: R2FormerConfig, queries: int, candidates: list[int], *, products: bool) -> int:
    """FLOPs of one query with `queries` descriptors against candidates with so many each.

    products: the entries of a group meet in matrix products, else element by element, which is not counted.
    """
    width, square = config.width, config.width**2
    token = (4 + 2 * config.hidden_ratio) * square
    one = (2 + 2 * config.hidden_ratio) * square  # the row that is read: query, output, feed-forward

    def pair(length: int) -> int:
        groups, entries = queries + length, 1 + config.neighbours
        cosine = queries * length * config.local_dim
        meeting = 2 * width * ((INNER_BLOCKS - 1) * entries**2 + entries) if products else 0
        inner = (INNER_BLOCKS - 1) * entries * token + entries * 2 * square + one + square + meeting
        outer = (config.layers - 1) * ((groups + 1) * token + 2 * width * (groups + 1) ** 2)
        outer += (groups + 1) * 2 * square + 2 * width * (groups + 1) + one
        return cosine + length * 3 * width + groups * inner + outer + width * config.classes

    return 2 * (queries * 3 * width * bool(candidates) + sum(map(pair, candidates)))


def _variant(about: str, config: R2FormerConfig, locals_: int, *, source: str) -> Variant:
    def load(reranker: Reranker, path: Path) -> None:
        state = load_state(path)
        known = ("module.Reranker.", "Reranker.")
        inside = next((one for one in known if any(name.startswith(one) for name in state)), "")
        load_into(cast(R2Former, reranker).network, state, within=inside)

    return Variant(
        about=f"{about}, {locals_} x {locals_}",
        source=source,
        make=lambda: R2Former(config, query_locals=locals_, candidate_locals=locals_),
        inputs=Inputs(query_locals=locals_, candidate_locals=locals_, local_dim=config.local_dim),
        load=load,
    )


PAPER = "Zhu et al., CVPR 2023"
DEIT = R2FormerConfig()

VARIANTS: dict[str, Variant] = {
    "deit": _variant("DeiT-S descriptors", DEIT, 500, source=PAPER),
    "deit-48": _variant("DeiT-S descriptors", DEIT, 48, source=PAPER),
    "768": _variant(
        "R2Former* 768 wide, DINOv2 descriptors",
        replace(DEIT, local_dim=768, width=768, heads=12, patches=96),
        48,
        source="LOCORE (CVPR 2025), supplement",
    ),
    "rootsift": _variant("RootSIFT descriptors", DEIT, 500, source="this project; no trained weights"),
    "micro": _variant("RootSIFT descriptors", DEIT, MICRO_LOCALS, source=MICRO),
}
