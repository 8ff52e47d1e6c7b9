"""CVNet's re-ranker (Lee et al., CVPR 2022), pair-wise, on feature maps.

Maps at three scales are correlated, all positions of the query with all of the candidate. A small network of
4-D convolutions reads the nine correlations and gives the probability that both images show the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.checkpoints import load_into, load_state
from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker
from rerankers.registry import MICRO, MICRO_LOCALS, Inputs, Variant
from rerankers.room import Room
from rerankers.rows import linear

#: Candidates of one size that are scored at once.
PAIRS_AT_ONCE = 2
PAIRS_ON_DEVICE = 32
#: Up to so many numbers a single map is no work for oneDNN, says torch, and rounds otherwise than one of several.
LONELY = 20_480
#: Added to the product of two norms, as the official code does.
EPSILON = 1e-8
#: Products of norms above this make EPSILON vanish in float32.
FAR_FROM_ZERO = 0.1
GROUPS = 4
#: Length of a descriptor in a map, that of OpenCV's SIFT: with length 1, products of norms would come near EPSILON.
CELL_NORM = 512.0
#: Rows and columns of a wide image's descriptors in the `micro` variant.
MICRO_GRID = (6, 8)

#: Of the 4-D convolutions, block by block: channels in and out, side of the kernel, stride.
BLOCKS = (
    ((9, 16, 5, 2),),
    ((16, 16, 3, 1), (16, 32, 3, 2)),
    ((32, 32, 3, 1), (32, 32, 3, 1), (32, 64, 3, 2)),
    ((64, 64, 3, 1), (64, 64, 3, 1), (64, 128, 3, 1)),
)


#: Where the channel 3 * candidate scale + query scale stands among those by query scale first.
_TURNED = [0, 3, 6, 1, 4, 7, 2, 5, 8]


@dataclass(frozen=True, kw_only=True)
class CvnetConfig:
    """Shape of the network; the defaults are the published ones. scales: of the area, the last one 1."""

    channels: int = 1024
    compressed: int = 256
    scales: tuple[float, float, float] = (0.25, 0.5, 1.0)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Of a map at every scale. Raises RerankError where one would be empty."""
        found = [(round(height * math.sqrt(scale)), round(width * math.sqrt(scale))) for scale in self.scales]
        if min(map(min, found)) < 1:
            raise RerankError(
                f"a feature map of {height} x {width}",
                wanted="at least 2 x 2, so that the smallest scale is not empty",
                cure="Extract this image at a larger size.",
            )
        return found

    def convolution(self, size: tuple[int, ...]) -> int:
        """FLOPs of the convolution of one map of this size."""
        return 2 * math.prod(size) * 9 * self.channels * self.compressed

    def lonely(self, maps: int, size: tuple[int, ...]) -> bool:
        """Whether so many maps of this size are convolved by other means than more of them."""
        return maps == 1 and self.channels * math.prod(size) <= LONELY


class Pyramid(NamedTuple):
    """A map at every scale, after its convolution, (B, C, h, w) each, and the size (H, W) of the largest."""

    levels: list[Tensor]
    size: tuple[int, int]


class Vectors(NamedTuple):
    """A pyramid as the two correlation products read it, every level normalised and brought to the size (H, W).

    every: (b, C, 3 H W), level by level. even: (b, H' W' 3, C), the even rows and columns, position by position.
    least: the smallest norm that is not 0, (b,).
    """

    every: Tensor
    even: Tensor
    least: Tensor
    size: tuple[int, int]


class CenterPivot(nn.Module):
    """A 4-D convolution as the sum of two 2-D ones: over the query's positions and over the candidate's."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)
        self.conv2 = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, h, w, h', w', C), the query's positions first. Each convolution reads only where the other's stride
        leaves a result."""
        s = self.stride
        return self.added(x[:, :, :, ::s, ::s].permute(0, 3, 4, 1, 2, 5), x[:, ::s, ::s])

    def added(self, by_candidate: Tensor, by_query: Tensor, *, turned: bool = False) -> Tensor:
        """by_candidate: (B, h', w', h, w, C), the candidate's positions thinned out; by_query: the query's."""
        weight = self.conv1.weight[:, _TURNED] if turned else self.conv1.weight
        over_query = _over_last(self.conv1, by_candidate, weight)
        return _over_last(self.conv2, by_query, self.conv2.weight).add_(over_query.permute(0, 3, 4, 1, 2, 5))


def _over_last(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """The convolution over the last two positions of x (B, a, b, c, d, C)."""
    images = x.flatten(0, 2).permute(0, 3, 1, 2)
    found = F.conv2d(images, weight, conv.bias, conv.stride, conv.padding)
    result: Tensor = found.permute(0, 2, 3, 1).unflatten(0, x.shape[:3])
    return result


class Learner(nn.Module):
    """From nine correlations to two logits, under the official parameter names."""

    def __init__(self) -> None:
        super().__init__()
        for number, block in enumerate(BLOCKS, 1):
            parts = [
                part
                for channels, out, kernel, stride in block
                for part in (CenterPivot(channels, out, kernel, stride), nn.GroupNorm(GROUPS, out), nn.ReLU())
            ]
            self.add_module(f"block{number}", nn.Sequential(*parts))
        width = BLOCKS[-1][-1][1]
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, by_candidate: Tensor, by_query: Tensor, *, turned: bool = False) -> Tensor:
        """Logits (B, 2) from correlations thinned out on either side, as the first layer reads them.

        by_candidate: (B, h', w', h, w, 9), by_query: (B, h, w, h', w', 9); channels: 3 * query scale + candidate scale.
        turned: those of by_candidate are 3 * candidate scale + query scale.
        """
        pooled = self.pooled(self.blocks(by_candidate, by_query, turned=turned)[-1])
        first, _, last = self.mlp
        return linear(linear(pooled[:, None], cast(nn.Linear, first)).relu_(), cast(nn.Linear, last))[:, 0]

    def blocks(self, by_candidate: Tensor, by_query: Tensor, *, turned: bool = False) -> list[Tensor]:
        """What each block gives, (B, h, w, h', w', C)."""
        found: list[Tensor] = []
        x = by_query
        for number in range(1, len(BLOCKS) + 1):
            parts = list(cast(nn.Sequential, getattr(self, f"block{number}")))
            for conv, norm in zip(parts[::3], parts[1::3], strict=True):
                first = not found and conv is parts[0]
                x = cast(CenterPivot, conv).added(by_candidate, by_query, turned=turned) if first else conv(x)
                x = _normed(cast(nn.GroupNorm, norm), x).relu_()
            found.append(x)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over all positions: (B, C)."""
        return x.flatten(1, 4).mean(dim=1)


def _normed(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """GroupNorm of x (B, a, b, c, d, C) over all positions. On a CPU pair by pair: threads share out the positions of
    all, so that how a pair's are summed would depend on the others."""
    positions = x.shape[1:5]
    flat = x.flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)
    together = len(flat) == 1 or flat.is_cuda or torch.is_grad_enabled()
    normed = norm(flat) if together else torch.cat([norm(one) for one in flat.split(1)])
    found: Tensor = normed.permute(0, 2, 3, 1).unflatten(2, positions[2:]).unflatten(1, positions[:2])
    return found


class CvnetNetwork(nn.Module):
    """The network, under the official parameter names."""

    def __init__(self, config: CvnetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv2ds = nn.ModuleList(
            nn.Conv2d(config.channels, config.compressed, 3, padding=1, bias=False) for _ in config.scales
        )
        self.cv_learner = Learner()
        # as the maps lie: else every convolution turns its weights first
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    def pyramid(self, maps: Tensor, *, company: bool = False) -> Pyramid:
        """maps: (B, channels, H, W), before the last ReLU of the backbone's stage 3.

        company: a single map comes out as it would among others.
        """
        sizes = self.config.sizes(*maps.shape[2:])
        # resizing is sixty times faster with the channels last
        maps = maps.to(cast(nn.Conv2d, self.conv2ds[0]).weight.dtype).contiguous(memory_format=torch.channels_last)
        levels = []
        for conv, size in zip(self.conv2ds, sizes, strict=True):
            resized = _resized(maps, size)
            twice = company and self.config.lonely(len(maps), size)
            found = conv(resized.expand(2, -1, -1, -1))[:1] if twice else conv(resized)
            levels.append(found.float())
        return Pyramid(levels, (maps.shape[2], maps.shape[3]))

    def vectors(self, pyramid: Pyramid) -> Vectors:
        """Normalised first and resized then: a correlation is linear in either side, so that resizing it is resizing
        what it is made of. A zero vector stays zero, and its gradient finite."""
        norms = [level.norm(dim=1, keepdim=True) for level in pyramid.levels]
        unit = [
            _resized(level / torch.where(norm > 0, norm, 1), pyramid.size)
            for level, norm in zip(pyramid.levels, norms, strict=True)
        ]
        stacked = torch.stack(unit, dim=2)  # (b, C, 3, H, W)
        even = stacked[:, :, :, ::2, ::2].flatten(3).permute(0, 3, 2, 1).flatten(1, 2)
        least = torch.cat([torch.where(norm > 0, norm, torch.inf).flatten(1) for norm in norms], dim=1).amin(dim=1)
        return Vectors(stacked.flatten(2), even, least, pyramid.size)

    def match(self, query: Vectors, candidate: Vectors, room: Room) -> Tensor:
        """Logits (B, 2) of B pairs, or of one query and B candidates. Only the correlations that the first layer reads
        are made."""
        pairs = len(candidate.every)
        (height, width), (high, wide) = query.size, candidate.size

        def read(name: str, rows: Tensor, columns: Tensor, thin: tuple[int, int], full: tuple[int, int]) -> Tensor:
            thinned = (thin[0] + 1) // 2, (thin[1] + 1) // 2
            rows, columns = rows.expand(pairs, -1, -1), columns.expand(pairs, -1, -1)
            product = room.product(rows, columns).float()  # (B, positions 3, 3 positions)
            # the channels last: convolutions of nine take a third of the time so
            channels = product.view(pairs, math.prod(thinned), 9, math.prod(full)).transpose(2, 3)
            if torch.is_grad_enabled():
                positive = channels.contiguous().relu_()
            else:
                positive = torch.clamp(channels, min=0, out=room.place(name, product, *channels.shape))
            return positive.view(pairs, *thinned, *full, 9)

        by_candidate = read("by candidate", candidate.even, query.every, candidate.size, (height, width))
        by_query = read("by query", query.even, candidate.every, query.size, (high, wide))
        found: Tensor = self.cv_learner(by_candidate, by_query, turned=True)
        return found

    def correlation(self, query: Pyramid, candidate: Pyramid) -> Tensor:
        """All nine correlations (B, 9, H, W, H', W'), by the definition; small norms are seen to."""
        found = []
        for one in query.levels:
            for other in candidate.levels:
                product = torch.einsum("bcp,bcq->bpq", one.flatten(2).expand(len(other), -1, -1), other.flatten(2))
                norms = one.flatten(2).norm(dim=1)[:, :, None] * other.flatten(2).norm(dim=1)[:, None]
                whole = (product / (norms + EPSILON)).unflatten(2, other.shape[2:]).unflatten(1, one.shape[2:])
                found.append(_resized_4d(whole, query.size, candidate.size))
        return torch.stack(found, dim=1).relu_()


def thinned(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """The two inputs of the learner from whole correlations (B, 9, H, W, H', W')."""
    last = correlation.permute(0, 2, 3, 4, 5, 1)
    return last[:, :, :, ::2, ::2].permute(0, 3, 4, 1, 2, 5), last[:, ::2, ::2]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def _resized_4d(x: Tensor, query: tuple[int, int], candidate: tuple[int, int]) -> Tensor:
    """x (B, h, w, h', w') to the sizes of both images, over the query's axes first."""
    pairs, h, w, high, wide = x.shape
    x = _resized(x.reshape(pairs, h, w, high * wide).permute(0, 3, 1, 2), query)
    x = x.permute(0, 2, 3, 1).reshape(pairs, query[0] * query[1], high, wide)
    return _resized(x, candidate).reshape(pairs, *query, *candidate)


class Cvnet(Reranker):
    """Scores are probabilities, from 0 to 1. Candidates are batched with those of the same size."""

    needs: Sequence[str] = ("dense",)
    kind = "pair-wise"

    def __init__(self, config: CvnetConfig) -> None:
        self.network = CvnetNetwork(config).eval()

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,)."""
        self._check((*query.dense, *candidates.dense))
        network = self.network
        pyramid = network.pyramid(query.dense[0][None])
        first = network.vectors(pyramid)
        room = Room()
        scores = torch.empty(len(candidates), device=query.dense[0].device)
        for chosen in self._goes(candidates.dense):
            maps = torch.stack([candidates.dense[number] for number in chosen])
            scores[torch.tensor(chosen, device=scores.device)] = self._probability(pyramid, first, maps, room)
        return scores

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        """Logits (B,) of a match against no match, of each query image and the candidate that stands beside it.

        For training: gradients flow, and what the official code adds to small norms is left out.
        """
        self._check((*query.dense, *candidates.dense))
        network, found = self.network, query.dense[0].new_empty(len(query), dtype=torch.float32)
        by_size: dict[tuple[torch.Size, ...], list[int]] = {}
        for number, (one, other) in enumerate(zip(query.dense, candidates.dense, strict=True)):
            by_size.setdefault((one.shape, other.shape), []).append(number)
        for numbers in by_size.values():
            first, second = (
                network.vectors(network.pyramid(torch.stack([side.dense[number] for number in numbers])))
                for side in (query, candidates)
            )
            none, match = network.match(first, second, Room()).float().unbind(dim=1)
            found[torch.tensor(numbers, device=found.device)] = match - none
        return found

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """Executed: correlations of resized maps, as far as they are read. Algorithmic: those of the definition."""
        config = self.network.config
        sizes = [tuple(one.shape[1:]) for one in candidates.dense]
        executed, algorithmic = (
            flops(config, tuple(query.dense[0].shape[1:]), sizes, resized=resized) for resized in (True, False)
        )
        alone = [sizes[chosen[0]] for chosen in self._goes(candidates.dense) if len(chosen) == 1]
        again = [size for one in alone for size in config.sizes(*one) if config.lonely(1, size)]
        return Flops(executed=executed + sum(config.convolution(size) for size in again), algorithmic=algorithmic)

    def module(self) -> nn.Module:
        return self.network

    def _goes(self, maps: Sequence[Tensor]) -> list[list[int]]:
        """Which candidates are scored at once: a few, of one size."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, one in enumerate(maps):
            by_size.setdefault(tuple(one.shape), []).append(number)
        pairs = self.at_once or (PAIRS_ON_DEVICE if maps[0].is_cuda else PAIRS_AT_ONCE)
        return [
            numbers[start : start + pairs] for numbers in by_size.values() for start in range(0, len(numbers), pairs)
        ]

    def _probability(self, pyramid: Pyramid, first: Vectors, maps: Tensor, room: Room) -> Tensor:
        network = self.network
        levels = network.pyramid(maps, company=True)
        vectors = network.vectors(levels)
        logits = network.match(first, vectors, room)
        for number in torch.nonzero(vectors.least * first.least < FAR_FROM_ZERO)[:, 0].tolist():
            one = Pyramid([level[number : number + 1] for level in levels.levels], levels.size)
            logits[number] = network.cv_learner(*thinned(network.correlation(pyramid, one)))[0]
        return logits.float().softmax(dim=1)[:, 1]

    def _check(self, maps: Sequence[Tensor]) -> None:
        for one in maps:
            if one.shape[0] != self.network.config.channels:
                raise RerankError(
                    f"a feature map of {one.shape[0]} channels",
                    wanted=f"{self.network.config.channels}",
                    cure="Extract maps with the backbone that this checkpoint was trained with.",
                )
            self.network.config.sizes(*one.shape[1:])


class CvnetOnGrid(Cvnet):
    """Reads local descriptors, laid out in order: a map for images of which nobody has one."""

    needs = ("local", "xy", "valid")

    def __init__(self, config: CvnetConfig, *, grid: tuple[int, int]) -> None:
        super().__init__(config)
        self.query_locals = self.candidate_locals = math.prod(grid)
        self.grid = grid

    def score(self, query: Features, candidates: Features) -> Tensor:
        return super().score(laid_out(query, self.grid), laid_out(candidates, self.grid))

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        return super().pair_logits(laid_out(query, self.grid), laid_out(candidates, self.grid))

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        return super().closed_form(laid_out(query, self.grid), laid_out(candidates, self.grid))


def laid_out(features: Features, grid: tuple[int, int]) -> Features:
    """Maps (D, 2 rows, 2 columns) of local descriptors: rows from top to bottom, within a row from left to right.

    grid: rows and columns; the other way round for an image higher than wide, by its `size`. So no descriptor hides
    another, however close they lie. Each fills four cells, since the first layer reads every other row and column.
    A descriptor of length 1 becomes CELL_NORM long. The first are taken that the grid has room for; where there are
    fewer, the last cells are zero.
    """
    wide = _in_order(features, *grid)
    if features.size is None:
        return Features(dense=tuple(wide))
    upright = (features.size[:, 1] > features.size[:, 0]).tolist()
    high = _in_order(features, *reversed(grid)) if any(upright) else wide
    return Features(dense=tuple((high if up else wide)[number] for number, up in enumerate(upright)))


def _in_order(features: Features, rows: int, columns: int) -> Tensor:
    """(count, D, 2 rows, 2 columns)"""
    room = rows * columns
    missing = max(0, room - features.local.shape[1])
    local, xy = (F.pad(one[:, :room], (0, 0, 0, missing)) for one in (features.local, features.xy))
    valid = F.pad(features.valid[:, :room], (0, missing))
    x, y = xy.masked_fill(~valid[:, :, None], torch.inf).unbind(dim=2)
    downwards = y.argsort(dim=1, stable=True).unflatten(1, (rows, columns))
    along = x.gather(1, downwards.flatten(1)).unflatten(1, (rows, columns)).argsort(dim=2, stable=True)
    order = downwards.gather(2, along).flatten(1)[:, :, None].expand(-1, -1, local.shape[2])
    known = CELL_NORM * local.masked_fill(~valid[:, :, None], 0)
    maps = known.gather(1, order).transpose(1, 2).unflatten(2, (rows, columns))
    found: Tensor = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return found


def flops(config: CvnetConfig, query: tuple[int, ...], candidates: Sequence[tuple[int, ...]], *, resized: bool) -> int:
    """FLOPs of one query map of this size against candidates of these sizes.

    resized: correlations of maps that were resized, of which the learner's first layer reads a part; else of all
    positions at their own scales.
    """

    def area(size: tuple[int, ...], thin: int = 1) -> int:
        return -(-size[0] // thin) * -(-size[1] // thin)

    def pyramid(size: tuple[int, ...]) -> int:
        return sum(map(config.convolution, config.sizes(*size))) // 2

    def learner(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        total = 0
        for channels, out, kernel, stride in (conv for block in BLOCKS for conv in block):
            one, other = (tuple(-(-side // stride) for side in size) for size in (one, other))
            total += 2 * area(one) * area(other) * channels * out * kernel**2
        width = BLOCKS[-1][-1][1]
        return total + width**2 + 2 * width

    def correlation(other: tuple[int, ...]) -> int:
        if resized:
            return 9 * config.compressed * (area(query) * area(other, 2) + area(query, 2) * area(other))
        return config.compressed * sum(map(area, config.sizes(*query))) * sum(map(area, config.sizes(*other)))

    each = sum(pyramid(other) + correlation(other) + learner(query, other) for other in candidates)
    return 2 * (pyramid(query) + each)


def _variant(about: str, backbone: str, config: CvnetConfig, *, side: int) -> Variant:
    return Variant(
        about=about,
        source="Lee et al., CVPR 2022",
        make=lambda: Cvnet(config),
        inputs=Inputs(dense=(config.channels, side, side)),
        load=_load,
        sum=0.5,
        backbone=backbone,
    )


def _on_grid(about: str, config: CvnetConfig, *, source: str) -> Variant:
    return Variant(
        about=f"{about}, {MICRO_LOCALS} x {MICRO_LOCALS}",
        source=source,
        make=lambda: CvnetOnGrid(config, grid=MICRO_GRID),
        inputs=Inputs(query_locals=MICRO_LOCALS, candidate_locals=MICRO_LOCALS, local_dim=config.channels),
        load=_load,
    )


def _load(reranker: Reranker, path: Path) -> None:
    load_into(cast(Cvnet, reranker).network, load_state(path), skip=("encoder_q.",))


VARIANTS: dict[str, Variant] = {
    "r50": _variant("maps of CVNet's ResNet-50", "cvnet-r50", CvnetConfig(), side=32),
    "r101": _variant("maps of CVNet's ResNet-101", "cvnet-r101", CvnetConfig(), side=32),
    "micro": _on_grid("RootSIFT descriptors in reading order", CvnetConfig(channels=128, compressed=64), source=MICRO),
}
