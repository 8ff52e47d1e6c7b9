"""What every data set looks like to the rest of the suite."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.datasets.ground_truth import GroundTruth
from bench.errors import BenchError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Dataset:
    """Queries, a gallery and who belongs to whom.

    name: as tables print it. folder: where the images lie. truth: names and labels.
    """

    name: str
    folder: Path
    truth: GroundTruth

    @cached_property
    def gallery_paths(self) -> list[Path]:
        return [self._path(name) for name in self.truth.gallery]

    @cached_property
    def query_paths(self) -> list[Path]:
        return [self._path(name) for name in self.truth.queries]

    @cached_property
    def sha256(self) -> str:
        """Of the names and labels: two data sets with the same hash ask the same questions."""
        digest = hashlib.sha256()
        for names in (self.truth.gallery, self.truth.queries):
            digest.update("\n".join(names).encode() + b"\0")
        for truth in self.truth.truths:
            for ids in (truth.easy, truth.hard, truth.junk):
                digest.update(ids.astype("<i8").tobytes() + b"\0")
            digest.update(repr(truth.box).encode())
        return digest.hexdigest()

    def _path(self, name: str) -> Path:
        """An image by its name in the ground truth, which may lack the ending, as in the official files."""
        for base in (self.folder / name, self.folder / "jpg" / name):
            for path in (base, *(base.with_name(base.name + ending) for ending in IMAGE_ENDINGS)):
                if path.is_file():
                    return path
        raise BenchError(
            f"no image {name!r} in {self.folder}",
            wanted=f"a file of that name, or with one of {', '.join(IMAGE_ENDINGS)}",
            cure="Check the names in ground_truth.json: they are relative to the folder.",
        )
