"""What a re-ranker works on: gathered by the command, handed as JSON to the process that runs the cell."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import rerankers
from bench import datasets
from bench.cells import CellMissing
from bench.console import progress
from bench.datasets import Dataset
from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.features.dense import DenseStore
from bench.features.resnet import BACKBONES
from bench.features.store import DescriptorStore
from bench.first_stage import FirstStage
from bench.prepare import Descriptors, Maps, Prepared, Wanted, prepare, prepare_maps
from bench.protocols import CandidateList, Policy
from bench.provenance import Surroundings
from bench.stores import Part, opened
from rerankers import Features, Reranker, hub
from rerankers.checkpoints import checkpoint_files
from rerankers.registry import Spec, learned_weights, variant_of


@dataclass(frozen=True)
class Ground:
    """One re-ranker's data set, descriptors, first-stage lists and weights, as JSON can carry them.

    stores: of the "queries" and of the "gallery", the fields of their parts. maps: folder of the feature maps, None for
    a re-ranker that reads none. checkpoints: by family.
    """

    reranker: str
    dataset_name: str
    dataset_folder: str
    dataset_layout: str
    stores: dict[str, list[dict[str, Any]]]
    maps: str | None
    first_stage_file: str
    shortlist: int
    checkpoints: dict[str, str]
    allow_random: bool
    seed: int

    def dataset(self) -> Dataset:
        """Without its distractors."""
        return datasets.reopen(self.dataset_name, Path(self.dataset_folder), self.dataset_layout)

    def store(self, side: str) -> DescriptorStore:
        """The descriptors of the "queries" or of the "gallery"."""
        store = opened([Part(**part) for part in self.stores[side]])
        return store if self.maps is None else replace(store, dense=DenseStore.open(Path(self.maps) / side))

    def first_stage(self) -> FirstStage:
        return FirstStage.load(Path(self.first_stage_file))

    def candidates(self, truths: Sequence[QueryTruth], policy: Policy) -> Candidates:
        return Candidates(self.first_stage(), truths, policy, self.shortlist)

    def build(self, dtype: str = "float32") -> Reranker:
        return rerankers.build(
            self.reranker,
            checkpoint={family: Path(path) for family, path in self.checkpoints.items()},
            allow_random=self.allow_random,
            seed=self.seed,
            dtype=dtype,
        )


@dataclass(frozen=True)
class Candidates:
    """The candidate lists of all queries, each made when it is asked for."""

    stage: FirstStage
    truths: Sequence[QueryTruth]
    policy: Policy
    shortlist: int

    def __len__(self) -> int:
        return len(self.truths)

    def __getitem__(self, number: int) -> CandidateList:
        return CandidateList.make(
            self.stage.indices[number],
            self.stage.similarity[number],
            truth=self.truths[number],
            policy=self.policy,
            length=self.shortlist,
        )


def read(store: DescriptorStore, images: np.ndarray, length: int | None, reranker: Reranker) -> Features:
    """What the re-ranker needs of these images, with at most `length` local descriptors; None: all there are."""
    if length is not None and store.local is not None:
        length = min(length, store.local.length)
    found = store.features(images, locals=length, needs=reranker.needs)
    if store.local is not None and found.xy is None and "xy" in reranker.needs:
        raise BenchError(
            f"places of descriptors in {store.local.path} as shares of images whose sizes are not known",
            wanted="places in pixels, for this re-ranker",
            cure="Describe the images with bench.extract, which keeps their sizes.",
        )
    return found


@dataclass(frozen=True)
class Setting:
    """What all cells of one command share: a prepared data set, and weights by family."""

    prepared: Prepared
    descriptors: str
    shortlist: int
    first_stage_file: Path
    checkpoints: dict[str, Path]
    allow_random: bool
    surroundings: Surroundings

    @classmethod
    def make(
        cls,
        dataset: str,
        descriptors: Descriptors | Wanted,
        *,
        shortlist: int,
        checkpoints: dict[str, Path],
        allow_random: bool,
        cache: Path,
        surroundings: Surroundings,
        data_root: Path | None = None,
        searches: bool = True,
    ) -> Setting:
        """Prepares the data set, with everything that is cached taken as it is.

        searches: whether to make the first-stage lists; another process has, where not.
        """
        prepared = prepare(
            dataset, descriptors, cache=cache, workers=surroundings.threads, progress=progress, data_root=data_root
        )
        file = prepared.first_stage_file(shortlist)
        if searches:
            prepared.first_stage(shortlist).save(file)
        return cls(prepared, prepared.described, shortlist, file, checkpoints, allow_random, surroundings)

    def weights(self, spec: Spec) -> str:
        """'none', or names and hashes of the weights of all parts; 'random' when one that learns has none."""
        learned = learned_weights(spec, self.checkpoints)
        if None in learned:
            return "random"
        return " + ".join(dict.fromkeys(weights_name(path) for path in learned if path is not None)) or "none"

    def described(self) -> dict[str, Any]:
        """What a record's key says of the data."""
        dataset = self.prepared.dataset
        return {
            "dataset": dataset.name,
            "dataset_sha256": dataset.sha256,
            "descriptors": self.descriptors,
            "shortlist": self.shortlist,
        }

    def ground(self, spec: Spec) -> Ground:
        """Everything for one cell, its feature maps made if it reads any; CellMissing for what cannot be had."""
        if self.weights(spec) == "random" and not self.allow_random:
            raise CellMissing("no trained weights: pass --checkpoint, or --allow-random to run it untrained")
        maps, prepared = self._maps(spec), self.prepared
        return Ground(
            reranker=str(spec),
            dataset_name=prepared.dataset.name,
            dataset_folder=str(prepared.dataset.folder),
            dataset_layout=prepared.dataset.layout,
            stores={
                side: [asdict(part) for part in parts]
                for side, parts in (("queries", prepared.query_parts), ("gallery", prepared.parts))
            },
            maps=str(maps) if maps else None,
            first_stage_file=str(self.first_stage_file),
            shortlist=self.shortlist,
            checkpoints={one: str(path) for one, path in self.checkpoints.items() if one in spec.families},
            allow_random=self.allow_random,
            seed=self.surroundings.seed,
        )

    def _maps(self, spec: Spec) -> Path | None:
        """The folder of the feature maps that its parts read, None when they read none."""
        read = {
            (variant.backbone, self.checkpoints.get(family))
            for variant, family in ((variant_of(part), part.family) for part in spec.parts)
            if variant.inputs.dense is not None
        }
        if not read:
            return None
        if self.prepared.dataset.distractors is not None:
            raise CellMissing("it reads feature maps, which distractors do not have")
        if len(read) > 1:
            raise CellMissing("its parts read the feature maps of different backbones")
        ((backbone, checkpoint),) = read
        if backbone not in BACKBONES:
            raise CellMissing("it reads the feature maps of a backbone of its own, which the suite does not have")
        return prepare_maps(self.prepared, Maps(backbone, checkpoint, self.surroundings.seed), progress=progress)


def wanted(local: str | None, global_: str | None, neighbours: Path | None) -> Wanted | None:
    """The stored descriptors that a command was told, None for this suite's own; BenchError for half of it."""
    if local is not None:
        return Wanted(local, global_, neighbours)
    if global_ is not None or neighbours is not None:
        raise BenchError(
            "--globals or --neighbours without --descriptors",
            wanted="the name of the local descriptors too",
            cure="Pass --descriptors NAME: files NAME_query_local.hdf5 and NAME_gallery_local.hdf5 beside the data.",
        )
    return None


def checkpoints_of(given: list[str], specs: list[Spec]) -> dict[str, Path]:
    """FAMILY=PATH pairs, PATH a checkpoint's file, its folder, or `hf:OWNER/NAME`, which is fetched here.

    A folder with the weights in one file stands for that file. BenchError when a pair is malformed, unused or not
    there; RerankError for a folder without weights, and for what the hub does not give.
    """
    families = list(dict.fromkeys(family for spec in specs for family in spec.families))
    found = {}
    for pair in given:
        family, _, path = pair.partition("=")
        known = family in families
        if not path or not known or not (path.startswith(hub.PREFIX) or Path(path).exists()):
            raise BenchError(
                f"--checkpoint {pair}",
                wanted="FAMILY=PATH with a re-ranker of this run and a file or folder that exists, "
                f"or FAMILY={hub.PREFIX}OWNER/NAME",
                cure=f"Families of this run: {', '.join(families)}.",
            )
        checkpoint = hub.fetch(path) if path.startswith(hub.PREFIX) else Path(path)
        files = checkpoint_files(checkpoint)
        found[family] = files[0] if len(files) == 1 else checkpoint
    return found


def weights_name(checkpoint: Path) -> str:
    """The checkpoint's name, and one hash over its files, one after the other."""
    digest = hashlib.sha256()
    for path in checkpoint_files(checkpoint):
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return f"{checkpoint.name} sha256:{digest.hexdigest()[:12]}"
