"""Where the descriptors of a data set lie: this suite's own folders, or files that others publish beside the data.

In the data set's folder: `NAME_query_local.hdf5` and `NAME_gallery_local.hdf5` (AMES, ELViS, LOCORE); global ones as
`NAME_query_global.*` and `NAME_gallery_global.*`, or `_cls`; first-stage lists as `nn_NAME.pkl`. Of the million
distractors: `../revisitop1m/NAME_local.hdf5` and `NAME_global.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.datasets import Dataset
from bench.errors import BenchError
from bench.features.layout import GLOBAL_FILES, LOCAL_FILE
from bench.features.store import DescriptorStore
from bench.files import digest


@dataclass(frozen=True)
class Part:
    """The store of some images that follow each other, as JSON can carry it.

    local, global_: how the names of its files begin; None for descriptors that are not read.
    """

    folder: str
    local: str | None = ""
    global_: str | None = ""
    count: int | None = None

    def open(self) -> DescriptorStore:
        folder = Path(self.folder)
        if self.local == self.global_ and self.local is not None:
            return DescriptorStore.open(folder, self.local, count=self.count)
        found = DescriptorStore()
        if self.local is not None:
            opened = DescriptorStore.open(folder, self.local, count=self.count)
            found = replace(found, local=opened.local, size=opened.size)
        if self.global_ is not None:
            found = replace(found, global_=DescriptorStore.open(folder, self.global_, count=self.count).global_)
        return found


@dataclass(frozen=True)
class Stored:
    """Descriptors by the names of their files. neighbours: first-stage lists, in place of global descriptors."""

    local: str
    global_: str
    neighbours: Path | None = None

    @classmethod
    def of(cls, dataset: Dataset, local: str, global_: str | None, neighbours: Path | None) -> Stored:
        """The descriptors called `local`, with the global ones and the lists of `global_`; None: of the same name.

        Lists that are not named are read where there are no global descriptors to search with. BenchError for named
        lists that are not there.
        """
        if neighbours is not None and not neighbours.is_file():
            raise BenchError(
                f"no file {neighbours}", wanted="first-stage lists", cure="Check the path, or leave --neighbours out."
            )
        name = global_ or local
        listed = _folder(dataset, name) / f"nn_{name}.pkl"
        searched = _lies(dataset.folder, f"{name}_query_", GLOBAL_FILES)
        return cls(local, name, neighbours or (listed if listed.is_file() and not searched else None))

    @property
    def slug(self) -> str:
        lists = "" if self.neighbours is None else f"-{self.neighbours.stem}"
        return f"{self.local}{lists}" if self.local == self.global_ else f"{self.local}-{self.global_}{lists}"

    def queries(self, dataset: Dataset) -> tuple[Part, ...]:
        count = len(dataset.truth.queries)
        return (self._part(dataset.folder, "_query_", count),)

    def gallery(self, dataset: Dataset) -> tuple[Part, ...]:
        """The gallery's own images, then distractors: in files of their own, or in those of `NAME+1m`."""
        count, behind = len(dataset.truth.gallery), dataset.distractors
        whole = _folder(dataset, self.local)
        if behind is None:
            return (self._part(dataset.folder, "_gallery_", count),)
        if behind.folder is None:
            raise BenchError(
                f"made-up distractors behind the stored descriptors {self.slug}",
                wanted="this suite's own descriptors, of which they are made",
                cure=f"Leave --descriptors out, or take {dataset.name.partition('+')[0]} without distractors.",
            )
        if whole != dataset.folder:
            return (self._part(whole, "_gallery_", None if behind.count is None else count + behind.count),)
        return self._part(dataset.folder, "_gallery_", count), self._part(behind.folder, "_", behind.count)

    def name(self, dataset: Dataset) -> str:
        """What records say of the descriptors: their names, and what their files say of themselves."""
        said = about(self.queries(dataset)[0].open())
        first = "" if self.global_ == self.local else f" + {self.global_} globals"
        if self.neighbours is not None:
            first = f", first stage by the lists of {self.neighbours.name} sha256:{digest(self.neighbours)[:12]}"
        return f"{self.local}{first} ({said})"

    def _part(self, folder: Path, joint: str, count: int | None) -> Part:
        local, global_ = (f"{name}{joint}" for name in (self.local, self.global_))
        return Part(
            str(folder),
            local if _lies(folder, local, (LOCAL_FILE,)) or not _lies(folder, global_, GLOBAL_FILES) else None,
            global_ if self.neighbours is None or _lies(folder, global_, GLOBAL_FILES) else None,
            count,
        )


def opened(parts: Sequence[Part]) -> DescriptorStore:
    """One store of all parts, one after the other."""
    stores = [part.open() for part in parts]
    return stores[0] if len(stores) == 1 else DescriptorStore.joined(stores)


def about(store: DescriptorStore) -> str:
    """What the files of a store say of how they were made; query crops above all."""
    said = [part.about for part in (store.local, store.global_) if part is not None and part.about]
    return "; ".join(dict.fromkeys(said)) or "files that do not say how they were made, nor whether queries are cropped"


def _folder(dataset: Dataset, name: str) -> Path:
    """Where the files of the data set's gallery lie: with distractors, perhaps in a folder `NAME+1m` of all images."""
    whole = dataset.folder.parent / dataset.name
    kinds = (*(f"{name}_gallery_{kind}" for kind in (LOCAL_FILE, *GLOBAL_FILES)), f"nn_{name}.pkl")
    behind = dataset.distractors is not None and any((whole / kind).is_file() for kind in kinds)
    return whole if behind else dataset.folder


def _lies(folder: Path, stem: str, kinds: Sequence[str]) -> bool:
    return any((folder / f"{stem}{kind}").is_file() for kind in kinds)
