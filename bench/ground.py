"""What a re-ranker works on: gathered by the command, handed as JSON to the process that runs the cell."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import rerankers
from bench.cells import CellMissing
from bench.console import progress
from bench.datasets import Dataset, load_folder
from bench.errors import BenchError
from bench.features.dense import DenseStore
from bench.features.resnet import BACKBONES
from bench.features.store import DescriptorStore
from bench.prepare import Descriptors, Maps, Prepared, prepare, prepare_maps
from bench.provenance import Surroundings
from rerankers import Features, Reranker
from rerankers.registry import Spec, variant_of


@dataclass(frozen=True)
class Ground:
    """One re-ranker's data set, descriptors, first-stage lists and weights, as JSON can carry them.

    maps: folder of the feature maps, None for a re-ranker that reads none.
    """

    reranker: str
    dataset_name: str
    dataset_folder: str
    descriptors: str
    maps: str | None
    shortlist_file: str
    shortlist: int
    checkpoint: str | None
    allow_random: bool
    seed: int

    def dataset(self) -> Dataset:
        return load_folder(Path(self.dataset_folder), name=self.dataset_name)

    def store(self, side: str) -> DescriptorStore:
        """The descriptors of the "queries" or of the "gallery"."""
        store = DescriptorStore.open(Path(self.descriptors) / side)
        return store if self.maps is None else replace(store, dense=DenseStore.open(Path(self.maps) / side))

    def first_stage(self) -> tuple[np.ndarray, np.ndarray]:
        """Image ids and similarities (queries, n), best first."""
        with np.load(self.shortlist_file, allow_pickle=False) as stored:
            return stored["indices"], stored["similarity"]

    def build(self, dtype: str = "float32") -> Reranker:
        return rerankers.build(
            self.reranker,
            checkpoint=Path(self.checkpoint) if self.checkpoint else None,
            allow_random=self.allow_random,
            seed=self.seed,
            dtype=dtype,
        )


def read(store: DescriptorStore, images: np.ndarray, length: int | None, reranker: Reranker) -> Features:
    """What the re-ranker needs of these images, with at most `length` local descriptors; None: all there are."""
    if length is not None and store.local is not None:
        length = min(length, store.local.length)
    return store.features(images, locals=length, needs=reranker.needs)


@dataclass(frozen=True)
class Setting:
    """What all cells of one command share: a prepared data set, and weights by family."""

    prepared: Prepared
    descriptors: Descriptors
    shortlist: int
    shortlist_file: Path
    checkpoints: dict[str, Path]
    allow_random: bool
    surroundings: Surroundings

    @classmethod
    def make(
        cls,
        dataset: str,
        descriptors: Descriptors,
        *,
        shortlist: int,
        checkpoints: dict[str, Path],
        allow_random: bool,
        cache: Path,
        surroundings: Surroundings,
    ) -> Setting:
        """Prepares the data set, with everything that is cached taken as it is."""
        prepared = prepare(dataset, descriptors, cache=cache, workers=surroundings.threads, progress=progress)
        file = prepared.shortlist_file(shortlist)
        return cls(prepared, descriptors, shortlist, file, checkpoints, allow_random, surroundings)

    def weights(self, spec: Spec) -> str:
        """'none', 'random', or the checkpoint's name and hash."""
        if not variant_of(spec).learned:
            return "none"
        checkpoint = self.checkpoints.get(spec.family)
        return _weights_name(checkpoint) if checkpoint else "random"

    def described(self) -> dict[str, Any]:
        """What a record's key says of the data."""
        dataset = self.prepared.dataset
        return {
            "dataset": dataset.name,
            "dataset_sha256": dataset.sha256,
            "descriptors": self.descriptors.name,
            "shortlist": self.shortlist,
        }

    def ground(self, spec: Spec) -> Ground:
        """Everything for one cell, its feature maps made if it reads any; CellMissing for what cannot be had."""
        if self.weights(spec) == "random" and not self.allow_random:
            raise CellMissing("no trained weights: pass --checkpoint, or --allow-random to run it untrained")
        checkpoint = self.checkpoints.get(spec.family)
        maps = self._maps(spec, checkpoint)
        return Ground(
            reranker=str(spec),
            dataset_name=self.prepared.dataset.name,
            dataset_folder=str(self.prepared.dataset.folder),
            descriptors=str(self.prepared.folder),
            maps=str(maps) if maps else None,
            shortlist_file=str(self.shortlist_file),
            shortlist=self.shortlist,
            checkpoint=str(checkpoint) if checkpoint else None,
            allow_random=self.allow_random,
            seed=self.surroundings.seed,
        )

    def _maps(self, spec: Spec, checkpoint: Path | None) -> Path | None:
        variant = variant_of(spec)
        if variant.inputs.dense is None:
            return None
        if variant.backbone not in BACKBONES:
            raise CellMissing("it reads the feature maps of a backbone of its own, which the suite does not have")
        maps = Maps(variant.backbone, checkpoint, self.surroundings.seed)
        return prepare_maps(self.prepared, maps, progress=progress)


def checkpoints_of(given: list[str], specs: list[Spec]) -> dict[str, Path]:
    """FAMILY=PATH pairs; BenchError when one is malformed, unused or not there."""
    found = {}
    for pair in given:
        family, _, path = pair.partition("=")
        if not path or family not in {spec.family for spec in specs} or not Path(path).is_file():
            raise BenchError(
                f"--checkpoint {pair}",
                wanted="FAMILY=PATH with a re-ranker of this run and a file that exists",
                cure=f"Families of this run: {', '.join(spec.family for spec in specs)}.",
            )
        found[family] = Path(path)
    return found


def _weights_name(checkpoint: Path) -> str:
    with checkpoint.open("rb") as file:
        return f"{checkpoint.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
