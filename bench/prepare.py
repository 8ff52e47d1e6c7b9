"""From images to candidates: data set -> descriptors -> first-stage lists, each step cached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bench import datasets
from bench.datasets import Dataset, Distractors
from bench.datasets.neighbours import read_neighbours
from bench.errors import BenchError
from bench.features.dense import describe_dense
from bench.features.distractors import make_distractors
from bench.features.extract import describe
from bench.features.images import ImageRef
from bench.features.resnet import load_backbone
from bench.features.store import DescriptorStore
from bench.features.vlad import Vocabulary
from bench.files import digest
from bench.first_stage import FirstStage
from bench.others import alone
from bench.stores import Part, Stored, opened

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
class Wanted:
    """Descriptors that lie beside the data, by the names of their files. global_: None for the same name.

    neighbours: first-stage lists in place of a search. See `bench.stores`.
    """

    local: str
    global_: str | None = None
    neighbours: Path | None = None


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
        return digest(self.checkpoint)[:12]

    @property
    def slug(self) -> str:
        return f"{self.backbone}-{self.weights}-{self.side_px}"


@dataclass(frozen=True)
class Gallery:
    """A data set's gallery, described.

    folder: where this suite keeps what it makes of the data set. parts: of the gallery's store, one after the other.
    """

    dataset: Dataset
    folder: Path
    parts: tuple[Part, ...]

    @cached_property
    def gallery(self) -> DescriptorStore:
        return opened(self.parts)

    @property
    def images(self) -> dict[str, list[ImageRef]]:
        """Those of the gallery. BenchError for an image that is not there."""
        return {"gallery": [ImageRef(path) for path in self.dataset.gallery_paths]}


@dataclass(frozen=True)
class Prepared(Gallery):
    """Everything that re-ranking one data set needs.

    described: how images are described, as records say it. neighbours: a file of first-stage lists of others.
    """

    described: str
    query_parts: tuple[Part, ...]
    neighbours: Path | None = None

    @cached_property
    def queries(self) -> DescriptorStore:
        return opened(self.query_parts)

    @property
    def images(self) -> dict[str, list[ImageRef]]:
        """Those of queries, cut to their boxes, and gallery."""
        truths = self.dataset.truth.truths
        queries = [ImageRef(path, one.box) for path, one in zip(self.dataset.query_paths, truths, strict=True)]
        return {"queries": queries, **super().images}

    def first_stage_file(self, shortlist: int) -> Path:
        """Where the first-stage lists are kept."""
        return self.folder / f"first_stage-{shortlist}.npz"

    def first_stage(self, shortlist: int | None = None) -> FirstStage:
        """The first-stage lists, with at least `shortlist` candidates; None: all there are.

        BenchError for a shortlist of more images than there are.
        """
        count = len(self.gallery)
        shortlist = count if shortlist is None else shortlist
        if self.neighbours is None:
            _check_length(shortlist, count, "a gallery")
            return FirstStage.searched(self.dataset, self.queries, self.gallery, shortlist=shortlist)
        given = read_neighbours(self.neighbours, queries=len(self.dataset.truth.queries), gallery=count)
        _check_length(shortlist, given[1].shape[1], "lists")
        return FirstStage.published(self.dataset, *given, shortlist=shortlist)


def prepare(
    name: str,
    descriptors: Descriptors | Wanted,
    *,
    cache: Path,
    workers: int,
    progress: Progress,
    data_root: Path | None = None,
) -> Prepared:
    """The data set `name` (or the folder it names), described and ready; what is cached already is used as it is."""
    with progress(f"data set {name}") as shown:
        dataset = datasets.load(name, cache=cache, workers=workers, data_root=data_root, progress=shown)
    if not dataset.truth.queries:
        raise BenchError(
            f"no queries in {dataset.name}", wanted="at least one", cure="List them under 'qimlist' and 'gnd'."
        )
    home = _home(dataset, cache)
    if isinstance(descriptors, Wanted):
        stored = Stored.of(dataset, descriptors.local, descriptors.global_, descriptors.neighbours)
        return Prepared(
            dataset,
            home / stored.slug,
            stored.gallery(dataset),
            f"{stored.name(dataset)}{_behind(dataset)}",
            stored.queries(dataset),
            stored.neighbours,
        )
    describer, folder = _Describer(descriptors, cache, workers, progress), home / descriptors.slug
    plain = replace(dataset, name=name.partition("+")[0], distractors=None) if dataset.distractors else dataset
    shared = _home(plain, cache) / descriptors.slug  # by all galleries with these images
    sides = {
        side: describer.described(images, shared / side, f"{side} of {name}")
        for side, images in Prepared(plain, shared, (), descriptors.name, ()).images.items()
    }
    behind = () if dataset.distractors is None else (describer.distractors(dataset.distractors, folder),)
    described = f"{descriptors.name}{_behind(dataset)}"
    return Prepared(dataset, folder, (sides["gallery"], *behind), described, (sides["queries"],))


def prepare_gallery(name: str, descriptors: Descriptors, *, cache: Path, workers: int, progress: Progress) -> Gallery:
    """`prepare` for the gallery alone: what is learnt from needs no queries."""
    with progress(f"data set {name}") as shown:
        dataset = datasets.load(name, cache=cache, workers=workers, progress=shown)
    folder = _home(dataset, cache) / descriptors.slug
    describer = _Describer(descriptors, cache, workers, progress)
    images = Gallery(dataset, folder, ()).images["gallery"]
    return Gallery(dataset, folder, (describer.described(images, folder / "gallery", f"gallery of {name}"),))


def prepare_maps(prepared: Gallery, maps: Maps, *, progress: Progress) -> Path:
    """The folder with the feature maps of all images, made first where they are not there yet."""
    folder = prepared.folder / maps.slug
    backbone = load_backbone(maps.backbone, checkpoint=maps.checkpoint, seed=maps.seed)
    for side, images in prepared.images.items():
        with progress(f"maps of {side} of {prepared.dataset.name}") as shown:
            describe_dense(images, folder / side, backbone=backbone, side=maps.side_px, progress=shown)
    return folder


@dataclass(frozen=True)
class _Describer:
    """What describes images by this suite's own descriptors."""

    descriptors: Descriptors
    cache: Path
    workers: int
    progress: Progress

    def described(self, images: Sequence[ImageRef], folder: Path, title: str) -> Part:
        self._describe(images, folder, title, self.vocabulary)
        return Part(str(folder), count=len(images))

    def distractors(self, asked: Distractors, folder: Path) -> Part:
        """Real ones described like the gallery; made-up ones from the descriptors of the training set."""
        if asked.folder is not None:
            images = [ImageRef(path) for path in asked.paths]
            return self.described(images, folder / asked.name, asked.name)
        assert asked.count is not None
        training, home = self._training
        images = [ImageRef(path) for path in training.gallery_paths]
        parents = self._describe(images, home, f"descriptors of {training.name}", self.vocabulary)
        place = folder / asked.name.replace(" ", "-")
        with self.progress(f"{asked.name} distractors") as shown:
            make_distractors(parents, place, count=asked.count, seed=asked.seed, progress=shown)
        return Part(str(place), count=asked.count)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The VLAD vocabulary, learnt once on the training set and cached."""
        asked = self.descriptors
        training, folder = self._training
        path = self.cache / "vocabularies" / f"{asked.slug}-{folder.parent.name}.safetensors"
        if not path.exists():
            with alone(path.with_suffix(".lock"), f"visual words of {asked.training} in {path.parent}"):
                if not path.exists():  # else by the process that we waited for
                    self._learn(training, folder, path)
        return Vocabulary.load(path)

    def _learn(self, training: Dataset, folder: Path, path: Path) -> None:
        asked = self.descriptors
        images = [ImageRef(path) for path in training.gallery_paths]
        store = self._describe(images, folder, f"descriptors of {asked.training}", None)
        assert store.local is not None
        log.info("learning %d visual words and their whitening to %d dimensions", asked.words, asked.global_dim)
        found = Vocabulary.learn(store.local, centroids=asked.words, width=asked.global_dim, locals=asked.locals)
        found.save(path)

    @cached_property
    def _training(self) -> tuple[Dataset, Path]:
        """The training set and the folder of its descriptors."""
        name = self.descriptors.training
        with self.progress(f"data set {name}") as shown:
            found = datasets.load(name, cache=self.cache, workers=self.workers, progress=shown)
        origin = f"{found.folder.name}-{found.sha256[:12]}"
        return found, self.cache / "descriptors" / origin / self.descriptors.slug

    def _describe(
        self, images: Sequence[ImageRef], folder: Path, title: str, vocabulary: Vocabulary | None
    ) -> DescriptorStore:
        with self.progress(title) as shown:
            return describe(
                images,
                folder,
                vocabulary=vocabulary,
                length=self.descriptors.locals,
                workers=self.workers,
                progress=shown,
            )


def _home(dataset: Dataset, cache: Path) -> Path:
    """Where this suite keeps what it makes of a data set."""
    return cache / "descriptors" / f"{dataset.name}-{dataset.sha256[:12]}"


def _behind(dataset: Dataset) -> str:
    """What records say of distractors; made-up ones are never called anything less."""
    return "" if dataset.distractors is None else f", and distractors: {dataset.distractors.name}"


def _check_length(shortlist: int, count: int, source: str) -> None:
    if shortlist > count:
        raise BenchError(
            f"a shortlist of {shortlist} from {source} of {count} images",
            wanted="a shortlist no longer than that",
            cure=f"Pass --shortlist {count} or less.",
        )
