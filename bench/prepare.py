"""From images to candidates: data set -> descriptors -> shortlist, each step cached."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import datasets
from bench.datasets import Dataset
from bench.errors import BenchError
from bench.features.dense import describe_dense
from bench.features.extract import describe
from bench.features.images import ImageRef
from bench.features.resnet import load_backbone
from bench.features.store import DescriptorStore
from bench.features.vlad import Vocabulary
from bench.files import replacing
from bench.search import Shortlist, search

log = logging.getLogger(__name__)

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Descriptors:
    """How images are described: RootSIFT, the strongest `locals`, and a VLAD of them whitened to `global_dim`.

    training: the data set that the words and the whitening are learnt on; never the one that is evaluated.
    """

    locals: int = 500
    words: int = 64
    global_dim: int = 512
    training: str = "facades-train"

    @property
    def name(self) -> str:
        return f"RootSIFT-{self.locals} + VLAD-{self.words}-{self.global_dim} ({self.training})"

    @property
    def slug(self) -> str:
        return f"rootsift{self.locals}-vlad{self.words}-{self.global_dim}-{self.training}"


@dataclass(frozen=True)
class Maps:
    """How feature maps are made: by which backbone with which weights, of images whose longer side has `side_px`."""

    backbone: str
    checkpoint: Path | None
    seed: int
    side_px: int = 256

    @property
    def weights(self) -> str:
        if self.checkpoint is None:
            return f"random-{self.seed}"
        with self.checkpoint.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]

    @property
    def slug(self) -> str:
        return f"{self.backbone}-{self.weights}-{self.side_px}"


@dataclass(frozen=True)
class Gallery:
    """A data set's gallery, described. images: of each side that is described."""

    dataset: Dataset
    folder: Path
    images: dict[str, list[ImageRef]]
    gallery: DescriptorStore


@dataclass(frozen=True)
class Prepared(Gallery):
    """Everything that re-ranking one data set needs."""

    queries: DescriptorStore

    def shortlist_file(self, length: int) -> Path:
        """The exact first-stage lists (indices, similarity) in a file; BenchError for more images than there are."""
        if length > len(self.dataset.truth.gallery):
            raise BenchError(
                f"a shortlist of {length} from a gallery of {len(self.dataset.truth.gallery)} images",
                wanted="a shortlist no longer than the gallery",
                cure=f"Pass --shortlist {len(self.dataset.truth.gallery)} or less.",
            )
        found, path = self.first_stage(), self.folder / "first_stage.npz"
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(file, indices=found.indices, similarity=found.similarity)
        return path

    def first_stage(self, length: int | None = None) -> Shortlist:
        """The exact first-stage lists, whole unless a length is given."""
        assert self.queries.global_ is not None and self.gallery.global_ is not None
        return search(self.queries.global_.array(), self.gallery.global_.array(), length)


def prepare(name: str, descriptors: Descriptors, *, cache: Path, workers: int, progress: Progress) -> Prepared:
    """The data set `name` (or the folder it names), described and ready; what is cached already is used as it is."""
    with progress(f"data set {name}") as shown:
        dataset = datasets.load(name, cache=cache, workers=workers, progress=shown)
    if not dataset.truth.queries:
        raise BenchError(
            f"no queries in {dataset.name}", wanted="at least one", cure="List them under 'qimlist' and 'gnd'."
        )
    gallery = [ImageRef(path) for path in dataset.gallery_paths]
    queries = [ImageRef(path, truth.box) for path, truth in zip(dataset.query_paths, dataset.truth.truths, strict=True)]
    images = {"queries": queries, "gallery": gallery}
    folder, stores = _described(dataset, images, descriptors, cache=cache, workers=workers, progress=progress)
    return Prepared(dataset, folder, images, stores["gallery"], stores["queries"])


def prepare_gallery(name: str, descriptors: Descriptors, *, cache: Path, workers: int, progress: Progress) -> Gallery:
    """`prepare` for the gallery alone: what is learnt from needs no queries."""
    with progress(f"data set {name}") as shown:
        dataset = datasets.load(name, cache=cache, workers=workers, progress=shown)
    images = {"gallery": [ImageRef(path) for path in dataset.gallery_paths]}
    folder, stores = _described(dataset, images, descriptors, cache=cache, workers=workers, progress=progress)
    return Gallery(dataset, folder, images, stores["gallery"])


def _described(
    dataset: Dataset,
    images: dict[str, list[ImageRef]],
    descriptors: Descriptors,
    *,
    cache: Path,
    workers: int,
    progress: Progress,
) -> tuple[Path, dict[str, DescriptorStore]]:
    """The folder of a data set's descriptors, and those of each side."""
    vocabulary = learn_vocabulary(descriptors, cache=cache, workers=workers, progress=progress)
    folder = cache / "descriptors" / f"{dataset.name}-{dataset.sha256[:12]}" / descriptors.slug
    stores = {}
    for side, shots in images.items():
        with progress(f"{side} of {dataset.name}") as shown:
            stores[side] = describe(
                shots,
                folder / side,
                vocabulary=vocabulary,
                length=descriptors.locals,
                workers=workers,
                progress=shown,
            )
    return folder, stores


def prepare_maps(prepared: Gallery, maps: Maps, *, progress: Progress) -> Path:
    """The folder with the feature maps of all images, made first where they are not there yet."""
    folder = prepared.folder / maps.slug
    backbone = load_backbone(maps.backbone, checkpoint=maps.checkpoint, seed=maps.seed)
    for side, images in prepared.images.items():
        with progress(f"maps of {side} of {prepared.dataset.name}") as shown:
            describe_dense(images, folder / side, backbone=backbone, side=maps.side_px, progress=shown)
    return folder


def learn_vocabulary(descriptors: Descriptors, *, cache: Path, workers: int, progress: Progress) -> Vocabulary:
    """The VLAD vocabulary, learnt once on the training set and cached."""
    with progress(f"data set {descriptors.training}") as shown:
        training = datasets.load(descriptors.training, cache=cache, workers=workers, progress=shown)
    origin = f"{training.folder.name}-{training.sha256[:12]}"
    path = cache / "vocabularies" / f"{descriptors.slug}-{origin}.safetensors"
    if path.exists():
        return Vocabulary.load(path)
    images = [ImageRef(path) for path in training.gallery_paths]
    folder = cache / "descriptors" / origin / descriptors.slug
    with progress(f"descriptors of {descriptors.training}") as shown:
        store = describe(images, folder, vocabulary=None, length=descriptors.locals, workers=workers, progress=shown)
    assert store.local is not None
    log.info("learning %d visual words and their whitening to %d dimensions", descriptors.words, descriptors.global_dim)
    vocabulary = Vocabulary.learn(
        store.local, centroids=descriptors.words, width=descriptors.global_dim, locals=descriptors.locals
    )
    vocabulary.save(path)
    return vocabulary
