"""Several stores as one, whose images follow each other part after part: a gallery, then its distractors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from bench.features.parts import Globals, Locals, Part, checked, count_of, in_chunks
from bench.features.rows import Rows, block
from rerankers.interface import Features

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class _Joined(Generic[P]):
    """What joined stores of any kind are."""

    parts: Sequence[P]

    @property
    def path(self) -> Path:
        return self.parts[0].path

    @property
    def fingerprint(self) -> str | None:
        return _fingerprint(self.parts)

    @property
    def about(self) -> str | None:
        return _about(self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def dim(self) -> int:
        return self.parts[0].dim


@dataclass(frozen=True)
class JoinedLocals(_Joined[Locals]):
    """Local descriptors of the images of all parts. Those of a part with fewer an image are followed by padding."""

    @classmethod
    def of(cls, parts: Sequence[Locals | None]) -> Locals | None:
        """None unless all parts are there. BenchError unless their widths and their meanings of `xy` agree."""
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            return None
        _agree(present, lambda part: part.dim, "local descriptors {} wide")
        _agree(present, lambda part: part.xy_convention, "places of descriptors as {!r}")
        return cls(present)

    @property
    def xy_convention(self) -> str | None:
        return self.parts[0].xy_convention

    @property
    def length(self) -> int:
        return max(part.length for part in self.parts)

    def features(self, indices: ArrayLike, *, locals: int | None = None) -> Features:
        chosen, count = checked(indices, self.path, len(self)), count_of(self, locals)
        joined: dict[str, Any] = {}
        for part, where, images in _shares(self.parts, chosen):
            found = part.features(images, locals=min(count, part.length))
            if len(where) == len(chosen) and count <= part.length:
                return found
            for name, value in _tensors(found).items():
                whole = joined.setdefault(name, value.new_zeros(len(chosen), count, *value.shape[2:]))
                whole[torch.from_numpy(where), : value.shape[1]] = value
        return Features(**joined)

    def chunks(
        self, size: int, *, locals: int | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        return in_chunks(self, size, locals)


@dataclass(frozen=True)
class JoinedGlobals(_Joined[Globals]):
    """Global descriptors of the images of all parts."""

    @classmethod
    def of(cls, parts: Sequence[Globals | None]) -> Globals | None:
        """None unless all parts are there. BenchError unless their widths agree."""
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            return None
        _agree(present, lambda part: part.dim, "global descriptors {} wide")
        return cls(present)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.dim

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Copied only where it reaches over the end of a part."""
        found, first = [], 0
        for part in self.parts:
            begin, end = max(start, first) - first, min(stop, first + len(part)) - first
            if begin < end:
                found.append(part.block(begin, end))
            first += len(part)
        return found[0] if len(found) == 1 else np.concatenate([np.empty((0, self.dim), np.float32), *found])

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        chosen = checked(ids, self.path, len(self))
        rows = np.empty((len(chosen), self.dim), np.float32)
        for part, where, images in _shares(self.parts, chosen):
            rows[where] = part.rows(images)
        return rows

    def array(self) -> NDArray[np.float32]:
        return np.concatenate([part.array() for part in self.parts])

    def features(self, indices: ArrayLike) -> Features:
        return Features(global_=torch.from_numpy(self.rows(indices)))


def joined_sizes(parts: Sequence[Rows | None]) -> NDArray[np.float32] | None:
    """The sizes (N, 2) of the images of all parts, None unless all are there."""
    if any(part is None for part in parts):
        return None
    return np.concatenate([block(part, 0, len(part)) for part in parts if part is not None])


def _shares(parts: Sequence[P], chosen: NDArray[np.int64]) -> Iterator[tuple[P, NDArray[np.int64], NDArray[np.int64]]]:
    """The parts that some of the chosen images lie in: which of the chosen these are, and their numbers there.

    The first part comes even when nothing is chosen, so that there is something to tell shapes from.
    """
    ends = np.cumsum([len(part) for part in parts])
    owners = np.searchsorted(ends, chosen, side="right")
    for number, part in enumerate(parts):
        where = np.flatnonzero(owners == number)
        if len(where) or (number == 0 and len(chosen) == 0):
            yield part, where, chosen[where] - (ends[number] - len(part))


def _tensors(features: Features) -> dict[str, Any]:
    values = {field.name: getattr(features, field.name) for field in fields(features)}
    return {name: value for name, value in values.items() if value is not None}


def _agree(parts: Sequence[P], read: Callable[[P], object], said: str) -> None:
    """BenchError unless `read` gives the same of all parts."""
    first = parts[0]
    for part in parts[1:]:
        if read(part) != read(first):
            raise BenchError(
                f"{said.format(read(first))} in {first.path} and {said.format(read(part))} in {part.path}",
                wanted="the same in all parts of one gallery",
                cure="Extract all parts with the same descriptor.",
            )


def _fingerprint(parts: Sequence[Part]) -> str | None:
    """One of all parts; None when a part has none."""
    own = [part.fingerprint for part in parts]
    return None if None in own else hashlib.sha256(" ".join(map(str, own)).encode()).hexdigest()


def _about(parts: Sequence[Part]) -> str | None:
    """What the parts say, each thing once."""
    return "; ".join(dict.fromkeys(part.about for part in parts if part.about)) or None
