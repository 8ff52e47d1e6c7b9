"""The whole contract between a re-ranker and whoever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from rerankers.errors import RerankError

#: None, for the eyes of a type checker of any type: a re-ranker reads only what it needs, and that was checked.
ABSENT: Any = None


@dataclass(frozen=True, kw_only=True)
class Features:
    """Descriptors of n images. A field is None when it was not extracted.

    global_: (n, G) global descriptors.
    local: (n, L, D) local descriptors, strongest first, padded with zeros.
    xy: (n, L, 2) their positions in pixels of the image that was described; as shares of it when there is no `size`.
    size: (n, 2) width and height of that image in pixels.
    scale: (n, L) their scales (pixels, or an index into the extractor's scales).
    valid: (n, L) bool, True for a real descriptor, False for padding.
    weight: (n, L) strength given by the detector.
    dense: n feature maps (C, H, W), whose sizes may differ.
    """

    global_: Tensor = ABSENT
    local: Tensor = ABSENT
    xy: Tensor = ABSENT
    size: Tensor = ABSENT
    scale: Tensor = ABSENT
    valid: Tensor = ABSENT
    weight: Tensor = ABSENT
    dense: tuple[Tensor, ...] = ABSENT

    def __len__(self) -> int:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                return len(value)
        return 0

    def __getitem__(self, images: slice | Tensor) -> Features:
        """The chosen images: a slice, or a tensor of indices or booleans."""

        def take(value: Any) -> Any:
            if not isinstance(value, tuple):
                return None if value is None else value[images]
            if isinstance(images, slice):
                return value[images]
            chosen = torch.arange(len(value))[images.cpu()]
            return tuple(value[int(i)] for i in chosen)

        return Features(**{f.name: take(getattr(self, f.name)) for f in fields(self)})

    def truncated(self, length: int) -> Features:
        """The first `length` local descriptors of every image."""
        kept = {
            name: value[:, :length]
            for name in ("local", "xy", "scale", "valid", "weight")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **kept)

    def to(self, device: str | torch.device) -> Features:
        """The same features on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(one.to(device) for one in value)
            return None if value is None else value.to(device)

        return Features(**{f.name: move(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Flops:
    """Closed form of the matrix products and convolutions of one `score` call, 2 per multiply-add.

    executed: what this implementation runs.
    algorithmic: what the method's definition asks for, without masked or unread results.
    """

    executed: int
    algorithmic: int


@dataclass(frozen=True)
class Ranking:
    """order: (k,) positions of the candidates, best first. key: (k,) what they were sorted by."""

    order: Tensor
    key: Tensor


def best_first(key: Tensor) -> Tensor:
    """Positions of `key` (k,) in descending order; a tie keeps the first-stage order."""
    return torch.argsort(key, dim=-1, descending=True, stable=True)


#: A query, its candidates in first-stage order and their similarities (k,): what one list is ranked from.
Given: TypeAlias = tuple[Features, Features, Tensor]


class Reranker(ABC):
    """Orders the candidates of one query, or of several.

    A subclass names the fields it `needs`, whether it is pair-wise or list-wise, and gives `score`; or `scores` too,
    where several lists are quicker together. Checking, sorting and ties are settled here once.
    """

    needs: Sequence[str] = ()
    kind: Literal["pair-wise", "list-wise"] = "pair-wise"
    #: Whether it sorts by scores; False for one that gives an order only.
    scored: bool = True
    #: How many local descriptors it reads, strongest first; None: as many as there are.
    query_locals: int | None = None
    candidate_locals: int | None = None
    #: How many candidates it sees at once; those behind keep their first-stage place. None: as many as there are.
    window: int | None = None
    #: Pairs scored at once, by those that score several; None: as many as suit the device.
    at_once: int | None = None
    #: What matrix products are computed in; the scores come out as float32.
    dtype: torch.dtype = torch.float32
    #: Why its FLOPs cannot be counted; None when they can.
    uncounted: str | None = None

    @abstractmethod
    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,) of the k candidates for the one image in `query`; higher is better."""

    def scores(self, lists: Sequence[tuple[Features, Features]]) -> list[Tensor]:
        """`score` of several lists, whose lengths may differ."""
        return [self.score(query, candidates) for query, candidates in lists]

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        """What the candidates are sorted by, (k,); `score` unless first-stage similarities (k,) join in."""
        return self.score(query, candidates)

    def sort_keys(self, lists: Sequence[Given]) -> list[Tensor]:
        """`sort_key` of several lists; `scores` where no subclass lets the similarities join in."""
        if type(self).sort_key is Reranker.sort_key:
            return self.scores([(query, candidates) for query, candidates, _ in lists])
        return [self.sort_key(*one) for one in lists]

    def pair_logits(self, query: Features, candidates: Features) -> Tensor:
        """Logits (B,) of B pairs, the images of either side one by one, with gradients: what training reads.

        Of a pair-wise re-ranker that learns. The sides bring as many local descriptors as `cut` leaves.
        """
        raise NotImplementedError(f"{type(self).__name__} does not learn from pairs")

    def closed_form(self, query: Features, candidates: Features) -> Flops | None:
        """FLOPs of `score` on inputs of these shapes; None where no formula holds."""
        return None

    def module(self) -> torch.nn.Module | None:
        """The network inside, for counting parameters; None for a method without any."""
        return None

    def ranking(self, query: Features, candidates: Features, similarity: Tensor) -> Ranking:
        """Checked inputs, scores and order of the candidates.

        query: one image. candidates: k images in first-stage order. similarity: (k,), descending.
        Raises RerankError when a needed field is missing, misshapen or not finite.
        """
        return self.rankings([(query, candidates, similarity)])[0]

    def rankings(self, lists: Sequence[Given]) -> list[Ranking]:
        """`ranking` of several lists, whose lengths may differ."""
        for query, candidates, similarity in lists:
            self.readable(query, candidates)
            if similarity.shape != (len(candidates),):
                raise RerankError(
                    f"similarity of shape {tuple(similarity.shape)} for {len(candidates)} candidates",
                    wanted="one first-stage similarity a candidate",
                    cure="Pass the row of the shortlist that belongs to these candidates.",
                )
        keys = iter(self.keys([one for one in lists if len(one[1])]))
        found = [next(keys) if len(candidates) else torch.empty(0) for _, candidates, _ in lists]
        return [Ranking(best_first(key), key) for key in found]

    def rank(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        """Positions (k,) of the candidates, best first. See `ranking`."""
        return self.ranking(query, candidates, similarity).order

    def keys(self, lists: Sequence[Given]) -> list[Tensor]:
        """What checked lists, none of them empty, are sorted by: `sort_keys` of what is read, -inf behind the window.

        For re-rankers made of re-rankers; others call `rankings`. RerankError when the keys are misshapen or NaN.
        """
        if not lists:
            return []
        read = [(*self.cut(query, candidates), similarity[: self.window]) for query, candidates, similarity in lists]
        reduced = self.dtype is not torch.float32
        with torch.inference_mode(), torch.autocast(_device(read[0][0], self.needs), self.dtype, enabled=reduced):
            keys = self.sort_keys(read)
        for key, (_, candidates, _) in zip(keys, read, strict=True):
            if key.shape != (len(candidates),) or bool(torch.isnan(key).any()):
                raise RerankError(
                    f"{type(self).__name__} gave scores of shape {tuple(key.shape)}"
                    f" with {int(torch.isnan(key).sum())} NaN",
                    wanted=f"{len(candidates)} numbers",
                    cure="The checkpoint or the descriptors are damaged: check both.",
                )
        if reduced:
            keys = [key.float() for key in keys]
        if self.window is None:
            return keys
        behind = [len(similarity) - len(key) for key, (_, _, similarity) in zip(keys, lists, strict=True)]
        return [pad(key, (0, count), value=float("-inf")) for key, count in zip(keys, behind, strict=True)]

    def cut(self, query: Features, candidates: Features) -> tuple[Features, Features]:
        """Both sides cut to what this re-ranker reads."""
        if self.query_locals is not None:
            query = query.truncated(self.query_locals)
        if self.candidate_locals is not None:
            candidates = candidates.truncated(self.candidate_locals)
        return query, candidates if self.window is None else candidates[: self.window]

    def readable(self, query: Features, candidates: Features) -> tuple[Features, Features]:
        """Both sides cut to what this re-ranker reads, or a RerankError."""
        if len(query) != 1:
            raise RerankError(
                f"{len(query)} queries", wanted="one query a list", cure="Slice the features: features[i:i + 1]."
            )
        query, candidates = self.cut(query, candidates)
        for side, features in (("query", query), ("candidates", candidates)):
            check(features, self.needs, side)
        for name in ("global_", "local"):
            if name in self.needs:
                widths = getattr(query, name).shape[-1], getattr(candidates, name).shape[-1]
                if widths[0] != widths[1]:
                    raise RerankError(
                        f"{name} descriptors {widths[0]} wide for the query and {widths[1]} for the candidates",
                        wanted="one width",
                        cure="Extract both sides with the same descriptor.",
                    )
        return query, candidates


def _device(features: Features, needs: Sequence[str]) -> str:
    """Type of the device that the features lie on."""
    for name in needs:
        value = getattr(features, name)
        return str((value[0] if name == "dense" else value).device.type)
    return "cpu"


_RANKS = {"global_": 2, "local": 3, "xy": 3, "size": 2, "scale": 2, "valid": 2, "weight": 2, "dense": 3}


def check(features: Features, needs: Sequence[str], side: str) -> None:
    """Raises RerankError unless every needed field is there, rightly shaped and finite."""
    for name in needs:
        value = getattr(features, name)
        if value is None:
            raise RerankError(
                f"{side} without {name.rstrip('_')!r}",
                wanted=f"the fields {', '.join(need.rstrip('_') for need in needs)}",
                cure="Extract them, or choose a re-ranker that does without.",
            )
        for part in value if name == "dense" else (value,):
            if part.ndim != _RANKS[name]:
                raise RerankError(
                    f"{side} field {name.rstrip('_')!r} of shape {tuple(part.shape)}",
                    wanted="(C, H, W)" if name == "dense" else f"{_RANKS[name]} dimensions, the first for the images",
                    cure="See rerankers.Features for the layout.",
                )
            if not _all_finite(part):
                bad = int((~torch.isfinite(part)).sum())
                raise RerankError(
                    f"{side} field {name.rstrip('_')!r} with {bad} values that are NaN or infinite",
                    wanted="finite numbers",
                    cure="Extract this image again, or remove it from the data set.",
                )
        beside = name in ("xy", "scale", "valid", "weight") and features.local is not None
        if beside and value.shape[:2] != features.local.shape[:2]:
            raise RerankError(
                f"{side} field {name!r} of shape {tuple(value.shape)}"
                f" beside local descriptors of shape {tuple(features.local.shape)}",
                wanted="the same images and descriptors in both",
                cure="Read both from one store.",
            )


def _all_finite(part: Tensor) -> bool:
    """Whether no number is NaN or infinite; by the extremes, which costs a tenth of asking every number."""
    if not part.is_floating_point() or part.numel() == 0:
        return True
    return bool(torch.isfinite(torch.stack(part.aminmax())).all())
