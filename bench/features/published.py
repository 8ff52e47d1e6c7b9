"""Descriptors of a list of images in files of the published layout, side by side, filled in one pass over the images.

Local descriptors: dataset `features` (N, L, 5 + D) with the columns row and column of the centre from 0 to 1, index of
the scale, mask (1 for padding), weight, descriptor. Global descriptors: dataset `global` (N, G), float32. Beside local
ones, `size` (N, 2): width and height in pixels that the image was described at. What they are is in the attributes:
`descriptor`, everything that decides the numbers, as JSON; `about`, the same for people; `xy`, what the first two
columns are.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.features.extract import Progress, fingerprint_of
from bench.features.images import ImageRef
from bench.features.layout import ABOUT, FINGERPRINT, GLOBAL, LAYOUT_VERSION, LOCAL, ROW_COLUMN, SIZE, XY
from bench.features.learned import LOCAL_KIND, SIZE_KIND
from bench.features.writing import ROW_TYPE, Outline, Partial, Run, Target, write_stores
from bench.files import unwritable

T = TypeVar("T")

#: Images described and noted at once: at most so many are lost a process by an interruption.
CHUNK = 32
#: Kinds that are no global descriptors -> what their file is called, and the dataset in it.
FILES = {LOCAL_KIND: ("local", LOCAL), SIZE_KIND: ("size", SIZE)}
#: Types that local descriptors may be stored in.
DTYPES: dict[str, np.dtype] = {"float16": np.dtype("<f2"), "float32": ROW_TYPE}


class Describer(Protocol):
    """What turns images into rows. shapes: kind -> shape of an image's row; the kind "local" is rows of `features`."""

    shapes: dict[str, tuple[int, ...]]

    def read(self, image: ImageRef) -> Any:
        """An image ready to be described; called by several threads at once."""
        ...

    def describe(self, readings: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        """Rows (n, *shape) by kind."""
        ...


class Crew(Protocol):
    """The processes that work together: see `bench.processes`."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def told(self, value: T) -> T:
        """What process 0 says."""
        ...

    def gathered(self, value: T) -> list[T]:
        """What every process says."""
        ...


class Orders(NamedTuple):
    """What is to be written: where the rows of each kind lie, and which runs of images are missing."""

    targets: dict[str, Target]
    runs: list[Run]


def outlines(
    images: Sequence[ImageRef],
    folder: Path,
    *,
    name: str,
    side: str | None,
    shapes: Mapping[str, tuple[int, ...]],
    descriptor: Mapping[str, object],
    about: str,
    dtype: str = "float16",
) -> dict[str, Outline]:
    """Kind -> the store that it goes to, for one side of a data set.

    name: of the preset, which files are named by; the first global kind goes by that alone, others add their own.
    side: "query" or "gallery"; None for a list of images that is no side, such as distractors.
    """
    main = next((kind for kind in shapes if kind not in FILES), None)
    found = {}
    for kind, shape in shapes.items():
        file, dataset = FILES.get(kind, ("global", GLOBAL))
        stored = dtype if kind == LOCAL_KIND else "float32"
        own = kind in FILES or kind == main
        what = json.dumps({**descriptor, "kind": kind, "dtype": stored}, sort_keys=True)
        stem = [name if own else f"{name}-{kind}", *([side] if side else []), file]
        found[kind] = Outline(
            path=folder / f"{'_'.join(stem)}.hdf5",
            dataset=dataset,
            shape=(len(images), *shape),
            dtype=DTYPES[stored],
            attributes={
                "layout": LAYOUT_VERSION,
                "descriptor": what,
                ABOUT: about if own else f"{about}, {kind}",
                **({XY: ROW_COLUMN} if kind == LOCAL_KIND else {}),
                FINGERPRINT: fingerprint_of(images, {"descriptor": what}),
            },
        )
    return found


def extract(
    images: Sequence[ImageRef],
    stores: Mapping[str, Outline],
    describer: Describer,
    *,
    crew: Crew,
    workers: int,
    progress: Progress | None = None,
) -> None:
    """Fills the stores, by kind, that are not there yet for these images and settings; goes on where it stopped.

    crew: each process takes its share of the missing runs; process 0 owns the files, the others write rows into them,
    so all see one disk. workers: threads that read images, one run ahead of the network.
    Raises BenchError when an image cannot be read, gives NaN, or another process has failed.
    """
    if crew.rank:
        while orders := crew.told(None):
            for _ in _work(images, orders, describer, crew, workers):
                pass
        return

    def fill(partials: Mapping[Path, Partial]) -> None:
        held = {kind: partials[store.path] for kind, store in stores.items() if store.path in partials}
        missing = sorted(set().union(*(partial.missing(CHUNK) for partial in held.values())))
        orders = crew.told(Orders({kind: partial.target for kind, partial in held.items()}, missing))
        _report(progress, held)
        for finished in _work(images, orders, describer, crew, workers):
            for run, checksums in finished:
                for kind, partial in held.items():
                    partial.finish(run, checksums[kind])
            _report(progress, held)

    write_stores(list(stores.values()), fill)
    crew.told(None)


def _work(
    images: Sequence[ImageRef], orders: Orders, describer: Describer, crew: Crew, workers: int
) -> Iterator[list[tuple[Run, dict[str, int]]]]:
    """One run of each process at a time: those that got finished, with the checksums of their rows by kind."""
    targets, runs = orders
    mine = _read_ahead(images, runs[crew.rank :: crew.count], describer, workers)
    for _ in range(0, len(runs), crew.count):
        said: tuple[Run, dict[str, int]] | BenchError | None = None
        try:
            if (mine_now := next(mine, None)) is not None:
                run, readings = mine_now
                rows = describer.describe(readings)
                said = run, {kind: _write(target, run, rows[kind], images) for kind, target in targets.items()}
        except BenchError as error:
            said = error
        heard = crew.gathered(said)
        yield [one for one in heard if isinstance(one, tuple)]
        if failures := [one for one in heard if isinstance(one, BenchError)]:
            raise failures[0]


def _read_ahead(
    images: Sequence[ImageRef], runs: Sequence[Run], describer: Describer, workers: int
) -> Iterator[tuple[Run, list[Any]]]:
    """The images of each run, the next run being read meanwhile."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    ahead: deque[tuple[Run, list[Future[Any]]]] = deque()
    try:
        for run in runs:
            ahead.append((run, [pool.submit(describer.read, image) for image in images[slice(*run)]]))
            if len(ahead) > 1:
                yield _taken(*ahead.popleft())
        while ahead:
            yield _taken(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _taken(run: Run, futures: list[Future[Any]]) -> tuple[Run, list[Any]]:
    return run, [future.result() for future in futures]


def _write(target: Target, run: Run, rows: NDArray[np.float32], images: Sequence[ImageRef]) -> int:
    """Writes the rows of a run in the type of their store; BenchError for NaN or infinity, and for a full disk."""
    with np.errstate(over="ignore"):
        stored = rows.astype(target.dtype, copy=False)
    finite = np.isfinite(stored).reshape(len(stored), -1).all(axis=1)
    if not finite.all():
        raise BenchError(
            f"{images[run[0] + int(np.argmin(finite))].path} gives NaN, infinity or more than {target.dtype} holds",
            wanted="finite descriptors",
            cure="Pass --dtype float32; if that is no help, the checkpoint is damaged: fetch it again.",
        )
    try:
        return target.write(run[0], stored)
    except OSError as error:
        raise unwritable(target.path, error) from error


def _report(progress: Progress | None, held: Mapping[str, Partial]) -> None:
    if progress is not None:
        least = min(held.values(), key=lambda partial: partial.done)
        progress(least.done, least.rows)
