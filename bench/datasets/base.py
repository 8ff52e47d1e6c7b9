"""What every data set looks like to the rest of the suite."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from bench.datasets.ground_truth import GroundTruth
from bench.errors import BenchError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


class Task(StrEnum):
    """What rankings are judged by.

    REVISITED: mAP under easy, medium, hard and hard*. LANDMARKS: mAP@100 of public and private queries.
    INSTANCES: mAP@100 and recall. CLASSES: recall, mAP@R and mAP@100.
    """

    REVISITED = "revisited"
    LANDMARKS = "landmarks"
    INSTANCES = "instances"
    CLASSES = "classes"


@dataclass(frozen=True)
class Distractors:
    """Images behind the gallery that are right for no query: real ones in a folder, or descriptors that are made up.

    count: None where only their descriptors say it. images: names below the folder's `jpg`. seed: of made-up ones.
    """

    name: str
    count: int | None
    folder: Path | None = None
    images: tuple[str, ...] = ()
    seed: int = 0

    @property
    def paths(self) -> list[Path]:
        """Of the images; BenchError without a list of them."""
        if self.folder is None or not self.images:
            raise BenchError(
                f"no list of the images of {self.name} in {self.folder}",
                wanted=f"{self.name}.txt, a name a line",
                cure=f"See docs/datasets/{self.name}.md for what lies where.",
            )
        return [self.folder / "jpg" / name for name in self.images]

    @property
    def synthetic(self) -> bool:
        return self.folder is None


@dataclass(frozen=True)
class Dataset:
    """Queries, a gallery and who belongs to whom.

    name: as tables print it. folder: of the data set's files. truth: names and labels.
    layout: how the folder is read, for `reopen`. images: where image names lead from, tried in this order; the folder
    and its `jpg` unless given. private: how many of the last queries are the private ones (LANDMARKS).
    """

    name: str
    folder: Path
    truth: GroundTruth
    task: Task = Task.REVISITED
    layout: str = "folder"
    images: tuple[Path, ...] = ()
    private: int = 0
    distractors: Distractors | None = None

    @cached_property
    def gallery_paths(self) -> list[Path]:
        """Of the gallery's own images, without distractors."""
        return [self._path(name) for name in self.truth.gallery]

    @cached_property
    def query_paths(self) -> list[Path]:
        return [self._path(name) for name in self.truth.queries]

    @cached_property
    def sha256(self) -> str:
        """Of names, labels and task: two data sets with the same hash ask the same questions."""
        digest = hashlib.sha256()
        for names in (self.truth.gallery, self.truth.queries):
            digest.update("\n".join(names).encode() + b"\0")
        for truth in self.truth.truths:
            for ids in (truth.easy, truth.hard, truth.junk):
                digest.update(ids.astype("<i8").tobytes() + b"\0")
            digest.update(repr(truth.box).encode())
        if self.task is not Task.REVISITED:
            digest.update(f"{self.task} {self.private}".encode())
        if self.distractors is not None:
            digest.update(f"{self.distractors.name} {self.distractors.count} {self.distractors.seed}".encode())
        return digest.hexdigest()

    def _path(self, name: str) -> Path:
        """An image by its name in the ground truth, which may lack the ending, as in the official files."""
        folders = self.images or (self.folder, self.folder / "jpg")
        for base in (folder / name for folder in folders):
            for path in (base, *(base.with_name(base.name + ending) for ending in IMAGE_ENDINGS)):
                if path.is_file():
                    return path
        raise BenchError(
            f"no image {name!r} in {' or '.join(map(str, folders))}",
            wanted=f"a file of that name, or with one of {', '.join(IMAGE_ENDINGS)}",
            cure="Check the names in the ground truth: they are relative to the folder.",
        )
