"""Distractors that are made up from descriptors: a gallery of a million on any machine, labelled as synthetic.

A distractor is a chimera of two different images a and b of a parent store, drawn by a seed. Its global descriptor is
w * a + (1 - w) * b + noise, brought to unit length, with w from 0.5 to 0.8 and noise of length 0.5 in a random
direction. Two unrelated parents of unit length thus leave it a cosine of 0.6 to 0.8 with a and of 0.2 to 0.6 with b: it
is near to what they are near to, so that it comes into shortlists where they do, but it is a copy of neither, and two
chimeras of the same parents differ. Its local descriptors are the strongest of a and of b in turn, so that parts of
either may match; they are read from the parents' store when they are asked for. Its size is that of a, to which places
of b's descriptors in pixels are stretched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from bench.features.layout import (
    ABOUT,
    DISTRACTORS_FILE,
    FINGERPRINT,
    GLOBAL,
    GLOBAL_FILE,
    LAYOUT_VERSION,
    LOCAL_FILE,
)
from bench.features.parts import Locals, Part, checked, count_of, in_chunks
from bench.features.rows import block
from bench.features.store import DescriptorStore, GlobalStore, LocalStore
from bench.features.writing import Attributes, Partial, Run, write_store
from bench.files import write_text
from rerankers.interface import Features

ABOUT_THEM = "synthetic distractors: each a mixture of two images of another data set"
WEIGHTS = (0.5, 0.8)  # of the first parent's global descriptor
NOISE = 0.5  # length of what is added to it
RUN = 4096  # distractors made and noted at once

Progress = Callable[[int, int], None]  # called with the distractors done and their total


@dataclass(frozen=True)
class Recipe:
    """What a folder of distractors is made from.

    folder, stem: where the parents' files lie, as `DescriptorStore.open` wants them. parents: their fingerprint.
    """

    count: int
    seed: int
    folder: str
    stem: str
    parents: str

    @property
    def fingerprint(self) -> str:
        """Of all that the descriptors depend on."""
        made_of = [LAYOUT_VERSION, self.count, self.seed, self.parents, WEIGHTS, NOISE, RUN]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


@dataclass(frozen=True)
class Chimeras:
    """Local descriptors of distractors. pairs: (N, 2) numbers of both parents in `source`; sizes: of its images."""

    path: Path
    source: Locals
    sizes: NDArray[np.float32]
    pairs: NDArray[np.int64]
    fingerprint: str
    about: str = ABOUT_THEM

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def xy_convention(self) -> str | None:
        return self.source.xy_convention

    @property
    def length(self) -> int:
        return self.source.length

    @property
    def dim(self) -> int:
        return self.source.dim

    def features(self, indices: ArrayLike, *, locals: int | None = None) -> Features:
        pairs, count = self.pairs[checked(indices, self.path, len(self))], count_of(self, locals)
        shares = [(count + 1) // 2, count // 2]
        first, second = (
            self.source.features(images, locals=max(1, n)) for images, n in zip(pairs.T, shares, strict=True)
        )
        fields: dict[str, NDArray[Any]] = {}
        for name in ("local", "xy", "scale", "valid", "weight"):
            one, other = getattr(first, name).numpy(), getattr(second, name).numpy()[:, : shares[1]]
            fields[name] = np.empty((len(pairs), count, *one.shape[2:]), one.dtype)
            fields[name][:, 0::2], fields[name][:, 1::2] = one, other
        if self.xy_convention is None:
            stretch = self.sizes[pairs[:, 0]] / self.sizes[pairs[:, 1]]
            fields["xy"][:, 1::2] *= stretch[:, None]
        tensors: dict[str, Any] = {name: torch.from_numpy(value) for name, value in fields.items()}
        return Features(**tensors)

    def chunks(
        self, size: int, *, locals: int | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        return in_chunks(self, size, locals)


def make_distractors(
    parents: DescriptorStore, folder: Path, *, count: int, seed: int, progress: Progress | None = None
) -> DescriptorStore:
    """`count` distractors of these parents in `folder`, which keeps their global descriptors and where the parents lie.

    Those that are there already, of the same parents and seed, are opened as they are; unfinished ones are completed.
    Raises BenchError for parents without local and global descriptors and sizes, for fewer than two of them, and
    when the folder cannot be written.
    """
    local, globals_, _ = _whole(parents)
    if len(parents) < 2 or count < 1:
        raise BenchError(
            f"{count} distractors of {len(parents)} images",
            wanted="at least one, of at least two",
            cure="Ask for more.",
        )
    home, stem = local.path.parent.resolve(), local.path.name.removesuffix(LOCAL_FILE)
    where = os.path.relpath(home, folder.resolve())  # so that both may be moved together
    recipe = Recipe(count, seed, where, stem, _fingerprint(parents))
    attributes: Attributes = {
        "layout": LAYOUT_VERSION,
        "synthetic": True,
        ABOUT: ABOUT_THEM,
        FINGERPRINT: recipe.fingerprint,
    }
    write_text(folder / DISTRACTORS_FILE, json.dumps({"synthetic": True, ABOUT: ABOUT_THEM, **vars(recipe)}, indent=1))

    def fill(partial: Partial) -> None:
        known, pairs = globals_.array(), _pairs(recipe, len(parents))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

            def make(run: Run) -> tuple[Run, int]:
                return run, partial.target.write(run[0], _mixed(known, pairs, run, seed))

            for run, checksum in pool.map(make, partial.missing(RUN)):
                partial.finish(run, checksum)
                if progress is not None:
                    progress(partial.done, partial.rows)

    shape = (count, globals_.dim)
    write_store(folder / GLOBAL_FILE, dataset=GLOBAL, shape=shape, attributes=attributes, fill=fill)
    return open_distractors(folder)


def open_distractors(folder: Path) -> DescriptorStore:
    """What `make_distractors` put into `folder`. BenchError when it is damaged, or its parents are gone or changed."""
    recipe = read_recipe(folder / DISTRACTORS_FILE)
    globals_ = GlobalStore.open(folder / GLOBAL_FILE, count=recipe.count)
    parents = DescriptorStore.open(folder.resolve() / recipe.folder, recipe.stem)
    local, _, sizes = _whole(parents)
    if _fingerprint(parents) != recipe.parents or globals_.fingerprint != recipe.fingerprint:
        raise BenchError(
            f"the distractors in {folder} were made of other descriptors than those in {local.path.parent}",
            wanted="their parents as they were",
            cure="Delete the folder of the distractors and make them again.",
        )
    pairs = _pairs(recipe, len(parents))
    chimeras = Chimeras(folder / DISTRACTORS_FILE, local, sizes, pairs, recipe.fingerprint)
    return DescriptorStore(chimeras, globals_, sizes[pairs[:, 0]])


def _whole(parents: DescriptorStore) -> tuple[LocalStore, GlobalStore, NDArray[np.float32]]:
    """All parts of the parents; BenchError when one is missing, or they do not lie in files of their own."""
    local, globals_, sizes = parents.local, parents.global_, parents.size
    if not isinstance(local, LocalStore) or not isinstance(globals_, GlobalStore) or sizes is None:
        raise BenchError(
            "parents of distractors without a part of their descriptors",
            wanted="a folder with local and global descriptors and sizes of real images",
            cure="Extract all of them.",
        )
    return local, globals_, block(sizes, 0, len(parents))


def _fingerprint(parents: DescriptorStore) -> str:
    assert parents.local is not None and parents.global_ is not None
    return hashlib.sha256(f"{_origin(parents.local)} {_origin(parents.global_)}".encode()).hexdigest()


def _origin(part: Part) -> str:
    """The fingerprint of a part; of files that have none, what changes when they do."""
    status = part.path.stat()
    return part.fingerprint or f"{part.path.name} {status.st_size} {status.st_mtime_ns}"


def read_recipe(path: Path) -> Recipe:
    """What a folder of distractors says that it was made from; BenchError for anything else."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        recipe = Recipe(**{name: found[name] for name in KINDS})
        if [type(getattr(recipe, name)) for name in KINDS] != list(KINDS.values()):
            raise ValueError("a field of another type")
        if not 0 < recipe.count < MOST or not 0 <= recipe.seed < MOST:
            raise ValueError(f"{recipe.count} distractors by seed {recipe.seed}")
        return recipe
    except Exception as error:  # whatever JSON of another form leads to
        raise BenchError(
            f"cannot read {path} ({error!r:.200})",
            wanted="what was written beside the distractors",
            cure="Delete the folder of the distractors and make them again.",
        ) from error


#: Of distractors, and of seeds.
MOST = 1 << 40
KINDS: dict[str, type] = {"count": int, "seed": int, "folder": str, "stem": str, "parents": str}


def _pairs(recipe: Recipe, parents: int) -> NDArray[np.int64]:
    """Both parents of every distractor, (count, 2), never the same image twice."""
    generator = np.random.default_rng([recipe.seed, recipe.count])
    first = generator.integers(parents, size=recipe.count)
    second = (first + generator.integers(1, parents, size=recipe.count)) % parents
    return np.stack([first, second], axis=1)


def _mixed(known: NDArray[np.float32], pairs: NDArray[np.int64], run: Run, seed: int) -> NDArray[np.float32]:
    """Global descriptors of the distractors of one run; the same whoever makes it."""
    generator = np.random.default_rng([seed, run[0]])
    first, second = (known[side] for side in pairs[slice(*run)].T)
    weight = generator.uniform(*WEIGHTS, (len(first), 1)).astype(np.float32)
    rows: NDArray[np.float32] = generator.standard_normal(first.shape, dtype=np.float32)
    rows *= np.float32(NOISE / np.sqrt(rows.shape[1]))
    rows += weight * first
    rows += (1 - weight) * second
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
