"""LOCORE-RWKV and LOCORE-Mamba (LOCORE, CVPR 2025, supplement, Table D): recurrences in place of window attention.

There is no official code and there are no weights: sizes and details are this project's. A block reads the list twice,
once from either end, with weights of its own for each; both findings are added to the tokens. At listed layers a
crossing follows: the candidates' tokens attend to the query's and to nothing else, and the query stays as it is. So
every candidate is as near to the query as any other, wherever it stands in the list.

The weights and layers are those of transformers, with its kernels where they are installed, and `scans` elsewhere.
Padding is left out of the sequence: it is no step in time, it changes no other token, and it is not pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.errors import RerankError
from rerankers.interface import Features, Flops
from rerankers.locore.config import LocoreConfig
from rerankers.locore.entry import ListNetwork, Lists, places, pool
from rerankers.locore.flops import entry as entry_products
from rerankers.locore.layout import Layout
from rerankers.locore.model import ROWS_AT_ONCE
from rerankers.locore.reranker import Locore
from rerankers.locore.scans import selective_scan, wkv
from rerankers.room import gelu_

#: Tokens that RWKV's CUDA kernel makes room for, at least.
CONTEXT = 8192
#: Steps that Mamba's convolution spans.
KERNEL = 4
#: What a pooling takes padding for.
NEUTRAL = {"max-prod": 1.0, "max-sum": 0.0}


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(LocoreConfig):
    """Shape of the network; `windows` and `query_global` of LOCORE mean nothing here.

    kind: whose recurrence. layers: blocks that read the list from both ends. crossings: after which of them, counted
    from 0, a crossing stands. heads, hidden: of the crossings. mixed: width of RWKV's channel mix, which is 4 widths in
    its own models; 1 here keeps the network about as large as LOCORE small. state, expand: of Mamba, as in its own.
    """

    kind: Literal["rwkv", "mamba"] = "rwkv"
    layers: int = 6
    crossings: tuple[int, ...] = (1, 3, 5)
    mixed: int = 768
    state: int = 16
    expand: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        apart = sorted(set(self.crossings)) == list(self.crossings)
        if self.layers < 2 or not apart or not all(0 <= layer < self.layers for layer in self.crossings):
            raise RerankError(
                f"{self.layers} recurrent layers with crossings after {list(self.crossings)}",
                wanted="at least 2 layers, and crossings after some of them in ascending order, counted from 0",
                cure="The default has 6 layers and crossings after 1, 3 and 5.",
            )

    @property
    def inner(self) -> int:
        """Channels of Mamba's recurrence."""
        return self.expand * self.width

    @property
    def rank(self) -> int:
        """Width of what Mamba's step sizes are made of."""
        return -(-self.width // 16)


class Rwkv(nn.Module):
    """What each token (B, S, D) finds in those up to it: time mix, then channel mix."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        parts: Any = block  # its entry norm is left behind: the network has one
        self.ln1, self.attention = parts.ln1, parts.attention
        self.ln2, self.feed_forward = parts.ln2, parts.feed_forward

    def forward(self, x: Tensor) -> Tensor:
        found = self.attention(self.ln1(x))[0] if x.is_cuda else attentive(self.attention, self.ln1(x))
        result: Tensor = found + self.feed_forward(self.ln2(x + found))[0]
        return result

    @staticmethod
    def stack(config: RecurrentConfig) -> list[nn.Module]:
        """One for each layer, freshly drawn."""
        from transformers import RwkvConfig, RwkvModel

        shape = RwkvConfig(
            vocab_size=1,
            context_length=max(CONTEXT, config.table),
            hidden_size=config.width,
            intermediate_size=config.mixed,
            num_hidden_layers=config.layers,
            layer_norm_epsilon=config.norm_eps,
        )
        return [Rwkv(block) for block in RwkvModel(shape).blocks]


class Mamba(nn.Module):
    """What each token (B, S, D) finds in those up to it: convolution, then selective state space."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        parts: Any = block
        self.norm, self.mixer = parts.norm, parts.mixer

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.mixer(x) if x.is_cuda and _mamba_kernels() else selective(self.mixer, x)

    @staticmethod
    def stack(config: RecurrentConfig) -> list[nn.Module]:
        """One for each layer, freshly drawn."""
        from transformers import MambaConfig, MambaModel

        shape = MambaConfig(
            vocab_size=1,
            hidden_size=config.width,
            state_size=config.state,
            expand=config.expand,
            conv_kernel=KERNEL,
            time_step_rank=config.rank,
            num_hidden_layers=config.layers,
            layer_norm_epsilon=config.norm_eps,
            initializer_range=0.02,
        )
        return [Mamba(block) for block in MambaModel(shape).layers]


@cache
def _mamba_kernels() -> bool:
    """Whether transformers finds Mamba's kernels."""
    return find_spec("mamba_ssm") is not None


def attentive(attention: Any, x: Tensor) -> Tensor:
    """What transformers' RwkvSelfAttention makes of x (B, S, D), without its loop over tokens."""
    receptance, key, value, _ = attention.extract_key_value(x)
    return cast(Tensor, attention.output(receptance * wkv(attention.time_decay, attention.time_first, key, value)))


def selective(mixer: Any, x: Tensor) -> Tensor:
    """What transformers' MambaMixer makes of x (B, S, D).

    Its own form without kernels holds (B, inner, S, state) three times over, 1.5 GB at the default size.
    """
    steps = x.shape[1]
    u, gate = mixer.in_proj(x).chunk(2, dim=2)
    u = mixer.act(mixer.conv1d(u.transpose(1, 2))[..., :steps].transpose(1, 2))
    parts = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    step, into, out = mixer.x_proj(u).split(parts, dim=2)
    step, rate = F.softplus(mixer.dt_proj(step).float()), -torch.exp(mixer.A_log.float())
    y = selective_scan(u, step, rate, into, out) + u * mixer.D
    return cast(Tensor, mixer.out_proj((y * mixer.act(gate)).to(x.dtype)))


READERS: dict[str, type[Rwkv | Mamba]] = {"rwkv": Rwkv, "mamba": Mamba}


@dataclass(frozen=True)
class Way:
    """The real tokens of B lists in the order in which one direction reads them.

    rows: (B, T) where they stand among all tokens (B S). real: (B, T), False behind the end of a shorter list; None
    when all lists are equally long.
    """

    rows: Tensor
    real: Tensor | None

    def take(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, T, D)."""
        return x.flatten(0, 1)[self.rows]

    def put(self, found: Tensor, x: Tensor) -> Tensor:
        """What was found, (B, T, D), added to the tokens x (B, S, D) that found it."""
        found = found if self.real is None else found.masked_fill(~self.real[..., None], 0.0)
        rows = self.rows.flatten()
        return x.flatten(0, 1).index_add(0, rows, found.flatten(0, 1).to(x.dtype)).view_as(x)


def ways(real: Tensor) -> tuple[Way, Way]:
    """From the first token to the last, and back. real: (B, S)."""
    counts, length = real.sum(dim=1), real.shape[1]
    most = int(counts.max())
    within = None if int(counts.min()) == most else torch.arange(most, device=real.device) < counts[:, None]
    first = length * torch.arange(len(real), device=real.device)[:, None]
    ahead = torch.argsort(~real, dim=1, stable=True)[:, :most]
    back = length - 1 - torch.argsort(~real.flip(1), dim=1, stable=True)[:, :most]
    return Way(first + ahead, within), Way(first + back, within)


class BothWays(nn.Module):
    """A block: one reader from either end."""

    def __init__(self, ahead: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.ahead, self.back = ahead, back

    def forward(self, x: Tensor, along: tuple[Way, Way]) -> Tensor:
        """Tokens (B, S, D), the real ones with what was found in both directions."""
        ahead, back = along
        return back.put(self.back(back.take(x)), ahead.put(self.ahead(ahead.take(x)), x))


class Crossing(nn.Module):
    """A transformer block whose rows read the query's tokens only."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=config.norm_eps) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.linear1, self.linear2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)

    def forward(self, rows: Tensor, query: Tensor, real: Tensor | None) -> Tensor:
        """Rows (B, R, D) after reading the query's tokens (B, Q, D). real: (B, Q), None when all are."""
        read = self.norm1(query)
        asked = [self.query(self.norm1(rows)), self.key(read), self.value(read)]
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in asked)
        found = F.scaled_dot_product_attention(q, k, v, None if real is None else real[:, None, None])
        rows = rows + self.out(found.transpose(1, 2).flatten(2))
        return torch.cat([self.settle(part) for part in rows.flatten(0, 1).split(ROWS_AT_ONCE)]).view_as(rows)

    def settle(self, x: Tensor) -> Tensor:
        """What rows (n, D) become on their own."""
        found: Tensor = x + self.linear2(gelu_(self.linear1(self.norm2(x))))
        return found


class RecurrentNetwork(ListNetwork):
    """Recurrent blocks and crossings over tokens in the order of the list, and two logits a token."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.shape = config
        self.sep_embedding = nn.Parameter(torch.empty(config.width))
        self.position_embeddings = nn.Embedding(config.table, config.width)
        self.norm, self.last_norm = (nn.LayerNorm(config.width, eps=config.norm_eps) for _ in range(2))
        self.crossings = nn.ModuleDict({str(layer): Crossing(config) for layer in config.crossings})
        self.classifier = nn.Linear(config.width, 2)
        self.blocks = nn.ModuleList()
        self.initialize()

    def initialize(self) -> None:
        """Draws all weights: the recurrent ones as transformers does, which are not BERT's normal ones."""
        super().initialize()
        nn.init.normal_(self.sep_embedding, std=0.02)
        reader = READERS[self.shape.kind]
        pairs = zip(reader.stack(self.shape), reader.stack(self.shape), strict=True)
        blocks = nn.ModuleList(BothWays(ahead, back) for ahead, back in pairs)
        self.blocks = blocks.to(self.sep_embedding).train(self.training)

    def forward(self, lists: Lists) -> Tensor:
        """Logits (B, length, 2) of every token, in the order of the list."""
        found: Tensor = self.classifier(self.last_norm(torch.cat(self.encode(lists), dim=1)))
        return found

    def scores(self, lists: Lists) -> Tensor:
        """Scores (B, candidates), pooled over real features as the configuration says."""
        pooling, real = self.config.pooling, feature_mask(lists)[:, 1:]
        slots = pooled(real, pooling)
        size = lists.layout(query_global=False).features + 1
        rows = slots + size * torch.arange(real.shape[1], device=slots.device)[:, None]
        _, x = self.encode(lists, rows.flatten(1))
        logits = self.classifier(self.last_norm(x)).unflatten(1, slots.shape[1:])
        if pooling in NEUTRAL:
            logits = logits.masked_fill(~real[..., None], NEUTRAL[pooling])
        return pool(logits, pooling)

    def encode(self, lists: Lists, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The query's tokens (B, Q, D) and the candidates' (B, R, D) in the end. rows: (B, R), which; or all."""
        x = self.embed(lists)
        real = F.pad(feature_mask(lists), (0, 1), value=True)
        along, size = ways(real.flatten(1)), real.shape[2]
        seen = None if bool(real[:, 0].all()) else real[:, 0]
        query, rest = x[:, :size], x[:, size:]
        for number, block in enumerate(self.blocks):
            x = block(torch.cat([query, rest], dim=1), along)
            query, rest = x[:, :size], x[:, size:]
            if rows is not None and number == len(self.blocks) - 1:
                rest = rest.gather(1, rows[..., None].expand(-1, -1, rest.shape[2]))
            if number in self.shape.crossings:
                rest = self.crossings[str(number)](rest, query, seen)
        return query, rest

    def embed(self, lists: Lists) -> Tensor:
        """Tokens (B, length, D) on entry: the features of an image, SEP, the next image."""
        features = self.features(lists)  # (B, N, F, D)
        seps = self.sep_embedding.to(features.dtype).expand(*features.shape[:2], 1, -1)
        rows = places(Layout(features.shape[1], features.shape[2], query_global=False), self.config)
        x = torch.cat([features, seps], dim=2).flatten(1, 2)
        found: Tensor = self.norm(x + self.position_embeddings(rows.to(x.device)))
        return found


def feature_mask(lists: Lists) -> Tensor:
    """(B, N, F) which features are real; a global descriptor always is."""
    valid = torch.ones_like(lists.scale, dtype=torch.bool) if lists.valid is None else lists.valid
    return valid if lists.global_ is None else F.pad(valid, (1, 0), value=True)


def pooled(real: Tensor, pooling: str) -> Tensor:
    """(B, candidates, n) the features that become scores: all, or the first or last real one; the first if none is."""
    slots = torch.arange(real.shape[2], device=real.device).expand_as(real)
    if pooling in NEUTRAL:
        return slots
    if pooling == "max-start":
        return real.int().argmax(dim=2, keepdim=True)
    return slots.masked_fill(~real, 0).amax(dim=2, keepdim=True)


class LocoreRecurrent(Locore):
    """LOCORE with recurrences. Scores are raw logits, pooled over a candidate's real features."""

    config: RecurrentConfig

    @staticmethod
    def build(config: LocoreConfig) -> ListNetwork:
        return RecurrentNetwork(cast(RecurrentConfig, config))

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """FLOPs of one list; element-wise recurrences are none. See `flops`."""
        return flops(self.config, self.joined(query, candidates))


def flops(config: RecurrentConfig, lists: Lists) -> Flops:
    """Executed: all of every recurrent block, and padding as rows and keys of crossings. Algorithmic: without padding,
    without what the last block gives to tokens that nothing reads, and without the convolution's overhang."""
    real = F.pad(feature_mask(lists), (0, 1), value=True)[0].cpu()
    features = real[1:, :-1]
    slots = pooled(features[None], config.pooling)[0]
    scored, used = slots.numel(), int(features.gather(1, slots).sum())
    needed = torch.zeros_like(real)
    needed[1:].scatter_(1, slots, features.gather(1, slots))
    needed[0] = real[0] & (config.layers - 1 in config.crossings)
    described = entry_products(config.local_dim, config) * lists.local.shape[:3].numel()
    if lists.global_ is not None:
        described += entry_products(config.global_dim, config) * lists.global_.shape[:2].numel()
    everything = torch.ones(int(real.sum()), dtype=torch.bool)
    executed = algorithmic = described
    for number in range(config.layers):
        last = number == config.layers - 1
        asked = needed[real] if last else everything
        executed += 2 * recurrence(config, everything, overhang=True)
        algorithmic += recurrence(config, asked) + recurrence(config, asked.flip(0))
        if number in config.crossings:
            executed += crossing(config, scored if last else real[1:].numel(), real.shape[1])
            algorithmic += crossing(config, used if last else int(real[1:].sum()), int(real[0].sum()))
    return Flops(
        executed=2 * (executed + 2 * config.width * scored),
        algorithmic=2 * (algorithmic + 2 * config.width * used),
    )


def recurrence(config: RecurrentConfig, asked: Tensor, *, overhang: bool = False) -> int:
    """Multiply-adds of one direction over the tokens (T,), for results of those that are asked for.

    overhang: with the steps that the convolution takes beyond the end.
    """
    width, inner, rows = config.width, config.inner, int(asked.sum())
    if not rows:
        return 0
    tokens = int(asked.nonzero().max()) + 1  # those behind the last row are never read
    if config.kind == "mamba":
        every = inner * (width + KERNEL + 2 * config.state + 2 * config.rank)
        return every * tokens + inner * (2 * width + config.state) * rows + overhang * (KERNEL - 1) * KERNEL * inner
    before = int((asked | F.pad(asked[1:], (0, 1))).sum())  # the channel mix of a token reads the one before it, too
    return width * (2 * width * (tokens + before) + (width + 2 * config.mixed) * rows)


def crossing(config: RecurrentConfig, rows: int, keys: int) -> int:
    """Multiply-adds of rows that read keys."""
    width = config.width
    return rows * width * (2 * width + 2 * config.hidden + 2 * keys) + 2 * keys * width**2
