"""ELViS (Suma et al., ICLR 2026), pair-wise, on local descriptors.

Descriptors of both images are matched by optimal transport with dustbins; the best match of every descriptor casts a
vote, and the sum of the votes is the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.ames import Binarization, mask
from rerankers.batching import pairs_at_once
from rerankers.checkpoints import load_into, load_state
from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker
from rerankers.registry import MICRO, MICRO_LOCALS, Inputs, Variant
from rerankers.rows import times

#: The dustbin head of the official code takes no other.
WIDTH = 128
#: Logits up to which their exponentials, and products of three of them, are safe in float32.
EXPONENTIAL_UP_TO = 20.0


@dataclass(frozen=True, kw_only=True)
class ElvisConfig:
    """Shape of the network; the defaults are the published ones.

    embed: width of the vote's network. hidden: width of the head that turns the score into a logit for training.
    iterations, temperature: of the Sinkhorn algorithm.
    """

    local_dim: int = 768
    embed: int = 16
    hidden: int = 64
    iterations: int = 10
    temperature: float = 10.0
    binarized: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 1 or not 0 < self.temperature < math.inf:
            raise RerankError(
                f"ELViS with {self.iterations} iterations at temperature {self.temperature}",
                wanted="at least 1 iteration and a finite temperature above 0",
                cure="The published network has 10 iterations at temperature 10.",
            )


class Side(NamedTuple):
    """One image's descriptors, (b, L, WIDTH) of unit length, and what each would pay to stay alone, (b, L).

    valid: (b, L), None when all are real. b is 1 or the number of pairs.
    """

    unit: Tensor
    dust: Tensor
    valid: Tensor | None


class Logits(NamedTuple):
    """What transport starts from, times the temperature: cosines (B, Q, T), minus infinity where either side is
    padding, and the dustbins' rows."""

    inner: Tensor
    query_dust: Tensor  # (B, Q), the extra column
    candidate_dust: Tensor  # (B, T), the extra row
    corner: Tensor  # ()


class ElvisNetwork(nn.Module):
    """The network, under the official parameter names.

    Padding is part of the method: padded descriptors keep their dustbins and their share of the transport, and only
    cast no vote. So a longer padding changes a score slightly, as it does officially.
    """

    def __init__(self, config: ElvisConfig) -> None:
        super().__init__()
        self.config = config
        entry: list[nn.Module] = [nn.Linear(config.local_dim, WIDTH)]
        if config.binarized:
            entry = [Binarization(config.local_dim, WIDTH), nn.Linear(WIDTH, WIDTH)]
        self.dust_bin = nn.Parameter(torch.tensor(1.0))
        self.remap_local = nn.Sequential(*entry, nn.LayerNorm(WIDTH))
        self.f = nn.Sequential(
            nn.Linear(1, config.embed), nn.LayerNorm(config.embed, eps=1e-6), nn.GELU(), nn.Linear(config.embed, 1)
        )
        self.g = nn.Sequential(nn.Linear(1, config.hidden), nn.GELU(), nn.Linear(config.hidden, 1))
        self.dust_bin_mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1), nn.Tanh())

    def forward(
        self, query: Tensor, candidate: Tensor, query_valid: Tensor | None = None, candidate_valid: Tensor | None = None
    ) -> Tensor:
        """Scores (B,) of B pairs (logits while training): query (B or 1, Q, local_dim), candidate (B, T, local_dim)."""
        score = self.match(self.side(query, query_valid), self.side(candidate, candidate_valid))
        return self.g(score[:, None])[:, 0] if self.training else score

    def side(self, local: Tensor, valid: Tensor | None) -> Side:
        """What either image needs before it meets the other. local: (b, L, local_dim)."""
        unit = F.normalize(self.remap_local(local.to(self.dust_bin.dtype)).float(), dim=-1)
        return Side(unit, self.dust_bin_mlp(unit)[..., 0], valid)

    def match(self, query: Side, candidate: Side) -> Tensor:
        """Scores (B,): the sum of the votes, from 0 to Q + T."""
        return self.votes(self.gains(self.logits(query, candidate)), query, candidate).sum(dim=1)

    def logits(self, query: Side, candidate: Side) -> Logits:
        """Cosines and dustbins, times the temperature."""
        pairs, temperature = len(candidate.unit), self.config.temperature
        queries = query.unit if len(query.unit) == pairs else query.unit.expand(pairs, -1, -1)
        inner = torch.matmul(queries, candidate.unit.transpose(1, 2)).float().mul_(temperature)
        if query.valid is not None:
            inner.masked_fill_(~query.valid[:, :, None], -torch.inf)
        if candidate.valid is not None:
            inner.masked_fill_(~candidate.valid[:, None], -torch.inf)
        return Logits(
            inner,
            query.dust.float().expand(pairs, -1) * temperature,
            candidate.dust.float() * temperature,
            self.dust_bin.float() * temperature,
        )

    @property
    def exponential(self) -> bool:
        """Whether transport may leave the log domain. Cosines and dustbins are at most 1; the corner is learned."""
        return self.config.temperature * max(1.0, abs(float(self.dust_bin.detach()))) <= EXPONENTIAL_UP_TO

    def gains(self, logits: Logits) -> Tensor:
        """The best transport of every descriptor, query's first: (B, Q + T)."""
        scale, iterations = sum(logits.inner.shape[1:]), self.config.iterations
        with torch.autocast(logits.inner.device.type, enabled=False):
            if not self.exponential:
                plan = transport(logits, iterations)
                return torch.cat([plan.amax(dim=2), plan.amax(dim=1)], dim=1)
            kernel, rows, columns = scaled(logits, iterations)
            if torch.is_grad_enabled():  # what follows writes over what a gradient needs
                plan = scale * rows[:, :, None] * kernel * columns[:, None]
                return torch.cat([plan.amax(dim=2), plan.amax(dim=1)], dim=1)
            by_column = kernel * columns[:, None]
            best = [by_column.amax(dim=2).mul_(rows), torch.mul(kernel, rows[:, :, None], out=by_column).amax(dim=1)]
            best[1].mul_(columns)
            return torch.cat(best, dim=1).mul_(scale)

    def votes(self, gains: Tensor, query: Side, candidate: Side) -> Tensor:
        """Of every descriptor (B, Q + T), from 0 to 1; padding has none."""
        votes = torch.sigmoid(self.f(gains[..., None])[..., 0].float())
        if query.valid is None and candidate.valid is None:
            return votes
        sides = [
            torch.ones(side.unit.shape[:2], dtype=torch.bool, device=votes.device) if side.valid is None else side.valid
            for side in (query, candidate)
        ]
        return votes * torch.cat([side.expand(len(votes), -1) for side in sides], dim=1)


def transport(logits: Logits, iterations: int) -> Tensor:
    """Sinkhorn's algorithm in the log domain, safe for logits of any size: the plan (B, Q, T) without dustbins."""
    inner, query_dust, candidate_dust, corner = logits
    pairs, queries, candidates = inner.shape
    top = torch.cat([inner, query_dust[:, :, None]], dim=2)
    bottom = torch.cat([candidate_dust, corner.expand(pairs, 1)], dim=1)
    whole = torch.cat([top, bottom[:, None]], dim=1)
    share = -math.log(queries + candidates)
    mu, nu = (torch.full((one + 1,), share, device=inner.device) for one in (queries, candidates))
    mu[-1] += math.log(candidates)
    nu[-1] += math.log(queries)
    u, v = torch.zeros_like(whole[:, :, 0]), torch.zeros_like(whole[:, 0])
    for _ in range(iterations):
        u = mu - torch.logsumexp(whole + v[:, None], dim=2)
        v = nu - torch.logsumexp(whole + u[:, :, None], dim=1)
    plan = whole + u[:, :, None] + v[:, None] - share
    return plan[:, :-1, :-1].exp()


def scaled(logits: Logits, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same without logarithms: kernel K (B, Q, T), a (B, Q), b (B, T), so that the plan is (Q + T) a K b.

    exp(logit + u + v) = a K b with a = exp(u), b = exp(v): each update is one product of K with a vector. K is made
    in the place of the logits.
    """
    inner, query_dust, candidate_dust, corner = (part.exp_() if part is logits.inner else part.exp() for part in logits)
    pairs, queries, candidates = inner.shape
    share = 1 / (queries + candidates)
    b, b_dust = torch.ones_like(candidate_dust), torch.ones(pairs, 1, device=inner.device)
    for _ in range(iterations):
        a = share / times(inner, b).addcmul_(query_dust, b_dust)
        a_dust = share * candidates / ((candidate_dust * b).sum(1, keepdim=True) + corner * b_dust)
        b = share / torch.matmul(a[:, None], inner)[:, 0].addcmul_(candidate_dust, a_dust)
        b_dust = share * queries / ((query_dust * a).sum(1, keepdim=True) + corner * a_dust)
    return inner, a, b


class Elvis(Reranker):
    """Scores are sums of votes, from 0 to the number of descriptors of both images."""

    needs = ("local", "valid")
    kind = "pair-wise"

    def __init__(
        self, config: ElvisConfig, *, query_locals: int | None = None, candidate_locals: int | None = None
    ) -> None:
        self.network = ElvisNetwork(config).eval()
        self.query_locals, self.candidate_locals = query_locals, candidate_locals

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,). A descriptor whose image meets one without any casts the vote of a gain of 0."""
        for features in (query, candidates):
            if features.local.shape[-1] != self.network.config.local_dim:
                raise RerankError(
                    f"local descriptors {features.local.shape[-1]} wide",
                    wanted=f"{self.network.config.local_dim}, as the network reads them",
                    cure="Choose the variant that fits.",
                )
        first = self.network.side(query.local, None if bool(query.valid.all()) else query.valid)
        length = query.local.shape[1] + candidates.local.shape[1]
        pairs = self.at_once or pairs_at_once(length, candidates.local.device)
        return torch.cat(
            [
                self.network.match(first, self.network.side(local, None if bool(valid.all()) else valid))
                for local, valid in zip(candidates.local.split(pairs), candidates.valid.split(pairs), strict=True)
            ]
        )

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        """Those of the training head, whatever the mode."""
        network = self.network
        score = network.match(network.side(query.local, mask(query)), network.side(candidates.local, mask(candidates)))
        found: Tensor = network.g(score[:, None])[:, 0]
        return found

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """Executed: with the products of the transport, where it leaves the log domain. Algorithmic: without."""
        config, (k, length), queries = self.network.config, candidates.valid.shape, query.valid.shape[1]
        entry = config.local_dim * WIDTH + (WIDTH**2 if config.binarized else 0)
        sides = (queries + k * length) * (entry + WIDTH**2 + WIDTH)
        votes = k * (queries + length) * 2 * config.embed
        cells = k * queries * length
        products = 2 * config.iterations * cells if self.network.exponential else 0
        algorithmic = 2 * (sides + cells * WIDTH + votes)
        return Flops(executed=algorithmic + 2 * products, algorithmic=algorithmic)

    def module(self) -> nn.Module:
        return self.network


def _variant(
    about: str,
    config: ElvisConfig,
    locals_: tuple[int, int] = (600, 600),
    *,
    source: str = "Suma et al., ICLR 2026",
    blend: tuple[float, float] | None = (0.5, 0.5),
) -> Variant:
    def load(reranker: Reranker, path: Path) -> None:
        load_into(cast(Elvis, reranker).network, load_state(path))

    return Variant(
        about=f"{about}, {locals_[0]} x {locals_[1]}",
        source=source,
        make=lambda: Elvis(config, query_locals=locals_[0], candidate_locals=locals_[1]),
        inputs=Inputs(query_locals=locals_[0], candidate_locals=locals_[1], local_dim=config.local_dim),
        load=load,
        blend=blend,
    )


DINOV2 = ElvisConfig()

VARIANTS: dict[str, Variant] = {
    "dinov2": _variant("DINOv2 descriptors", DINOV2),
    "dinov2-100": _variant("DINOv2 descriptors", DINOV2, (600, 100)),
    "dinov2-binarized": _variant("DINOv2 descriptors of 128 bits", replace(DINOV2, binarized=True)),
    "dinov3": _variant("DINOv3 descriptors", replace(DINOV2, local_dim=1024)),
    "siglip2": _variant("SigLIP2 descriptors", replace(DINOV2, local_dim=1152)),
    "rootsift": _variant(
        "RootSIFT descriptors",
        replace(DINOV2, local_dim=128),
        (500, 500),
        source="this project; no trained weights",
        blend=None,
    ),
    "micro": _variant(
        "RootSIFT descriptors",
        replace(DINOV2, local_dim=128),
        (MICRO_LOCALS, MICRO_LOCALS),
        source=MICRO,
        blend=None,
    ),
}
