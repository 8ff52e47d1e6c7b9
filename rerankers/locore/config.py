"""Shape of a LOCORE network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rerankers.errors import RerankError

Pooling = Literal["max-prod", "max-sum", "max-start", "max-end"]
Positions = Literal["absolute", "segment", "none"]

#: Rows of a position table that stand for no place: RoBERTa's, whose places begin at its padding index + 1.
RESERVED = 2


@dataclass(frozen=True, kw_only=True)
class LocoreConfig:
    """Shape of the network; the defaults are LOCORE base on DINOv2 descriptors (Table A and the published command).

    windows: attention window of each layer: half of it on either side of a token, and the token itself.
    table: rows of the position table, RESERVED and one for each token. positions: one a token, one an image, or one.
    reads_global: an image's global descriptor is its first token. query_global: the query's tokens are read by all.
    bottleneck, activation: two maps in place of one from descriptors to tokens, with an activation between them.
    force_linear: a map even where descriptors are as wide as tokens. normalize: mapped descriptors get unit length.
    scale_bounds: where one scale index ends and the next begins; None when `Features.scale` holds indices.
    pooling: which logits of a candidate's tokens become its score: their product, sum, the first, the last.
    """

    local_dim: int = 768
    global_dim: int = 768
    reads_global: bool = True
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    windows: tuple[int, ...] = (512,) * 12
    table: int = 5120 + RESERVED
    positions: Positions = "absolute"
    query_global: bool = True
    scales: int = 3
    scale_bounds: tuple[float, ...] | None = None
    normalize: bool = False
    bottleneck: int | None = None
    activation: Literal["relu", "gelu", "tanh"] | None = None
    force_linear: bool = False
    norm_eps: float = 1e-5
    pooling: Pooling = "max-end"

    def __post_init__(self) -> None:
        odd = [window for window in self.windows if window < 2 or window % 2]
        if not self.windows or self.width % self.heads or odd:
            raise RerankError(
                f"LOCORE of width {self.width}, {self.heads} heads and windows {list(self.windows)}",
                wanted="at least one layer, even windows, and a width that the heads divide",
                cure="The published network has 12 layers with windows of 512, 12 heads and width 768.",
            )
        if self.scale_bounds is not None and len(self.scale_bounds) != self.scales - 1:
            raise RerankError(
                f"{len(self.scale_bounds)} bounds between {self.scales} scales",
                wanted="one less than there are scales",
                cure="Give the scale at which each index but the first begins.",
            )
