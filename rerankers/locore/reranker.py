"""LOCORE as a re-ranker: a query and its candidates, all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.batching import pairs_at_once
from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker
from rerankers.locore.config import LocoreConfig
from rerankers.locore.entry import ListNetwork, Lists
from rerankers.locore.flops import flops
from rerankers.locore.model import LocoreNetwork


class Locore(Reranker):
    """Scores are raw logits, pooled over a candidate's tokens; the published ranking blends them with the similarity.

    Reads the first `window` candidates, and `locals_` descriptors of every image, padded when there are fewer. A list
    shorter than the window is read as it is. The pooling of the official code reads padded descriptors too.
    """

    kind = "list-wise"

    def __init__(self, config: LocoreConfig, *, window: int | None = None, locals_: int | None = None) -> None:
        self.config, self.network, self.window = config, self.build(config).eval(), window
        self.query_locals = self.candidate_locals = locals_
        self.needs = ("global_", "local", "scale", "valid") if config.reads_global else ("local", "scale", "valid")

    @staticmethod
    def build(config: LocoreConfig) -> ListNetwork:
        return LocoreNetwork(config)

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,)."""
        return self.scores([(query, candidates)])[0]

    def scores(self, lists: Sequence[tuple[Features, Features]]) -> list[Tensor]:
        """Scores (k,) of each list; those of one length go through the network together, as many as suit the device."""
        found: dict[int, Tensor] = {}
        joined = [self.joined(query, candidates) for query, candidates in lists]
        for shape in dict.fromkeys(one.local.shape for one in joined):
            alike = [number for number, one in enumerate(joined) if one.local.shape == shape]
            device = joined[alike[0]].local.device
            at_once = pairs_at_once(shape[1] * (shape[2] + 2), device)
            for start in range(0, len(alike), at_once):
                chosen = alike[start : start + at_once]
                scores = self.network.scores(Lists.stacked([joined[number] for number in chosen]))
                found.update(zip(chosen, scores.float(), strict=True))
        return [found[number] for number in range(len(lists))]

    def joined(self, query: Features, candidates: Features) -> Lists:
        """Query and candidates as one list (1, 1 + k, L, D)."""
        length = self.candidate_locals or max(query.local.shape[1], candidates.local.shape[1])
        parts = [self.read(images, length) for images in (query, candidates)]
        local, scale, valid = (torch.cat(both)[None] for both in zip(*parts, strict=True))
        global_ = torch.cat([query.global_, candidates.global_])[None] if self.config.reads_global else None
        for name, width, seen in (
            ("local", self.config.local_dim, local),
            ("global", self.config.global_dim, global_),
        ):
            if seen is not None and seen.shape[-1] != width:
                raise RerankError(
                    f"{name} descriptors {seen.shape[-1]} wide",
                    wanted=f"{width}, as these weights read",
                    cure="Extract them with the descriptor that this checkpoint was trained with.",
                )
        return Lists(local, scale, valid, global_)

    def lists(self, images: Features, size: int) -> Lists:
        """The images as lists of `size` each, one list after the other; every list's first image is its query."""
        length = self.candidate_locals or images.local.shape[1]
        local, scale, valid = (part.unflatten(0, (-1, size)) for part in self.read(images, length))
        global_ = images.global_.unflatten(0, (-1, size)) if self.config.reads_global else None
        return Lists(local, scale, valid, global_)

    def read(self, images: Features, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """Local descriptors (n, length, D), scale indices and valid (n, length), padded behind."""
        missing = length - images.local.shape[1]
        return (
            F.pad(images.local, (0, 0, 0, missing)),
            F.pad(self.scale_indices(images.scale), (0, missing)),
            F.pad(images.valid, (0, missing), value=False),
        )

    def scale_indices(self, scale: Tensor) -> Tensor:
        """Rows of the scale table for scales of any shape. RerankError for an index that the table does not have."""
        if self.config.scale_bounds is not None:
            bounds = torch.tensor(self.config.scale_bounds, device=scale.device)
            return torch.bucketize(scale.float(), bounds, right=True)
        found = scale.long()
        if found.numel() and not (int(found.min()) >= 0 and int(found.max()) < self.config.scales):
            raise RerankError(
                f"scale indices from {int(found.min())} to {int(found.max())}",
                wanted=f"0 to {self.config.scales - 1}",
                cure="Use descriptors whose scale is an index, or a variant that reads scales in pixels.",
            )
        return found

    def closed_form(self, query: Features, candidates: Features) -> Flops | None:
        return flops(self.config, self.joined(query, candidates))

    def module(self) -> nn.Module:
        return self.network
