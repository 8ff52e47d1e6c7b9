"""From images to stored descriptors, on all cores; what is there already is not extracted again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np

from bench.errors import BenchError
from bench.features import sift
from bench.features.images import ImageRef, read_grey
from bench.features.layout import (
    DESCRIPTOR,
    FINGERPRINT,
    GLOBAL,
    GLOBAL_FILE,
    LAYOUT_VERSION,
    LOCAL,
    LOCAL_FILE,
    SIZE,
    SIZE_FILE,
)
from bench.features.store import DescriptorStore, GlobalStore, LocalStore
from bench.features.vlad import Vocabulary
from bench.features.writing import Attributes, Partial, Run, Target, write_store
from bench.others import from_clean_server, leave_with_parent

logger = logging.getLogger(__name__)

CHUNK = 32  # images described and noted at once: at most so many are lost per core by an interruption

Progress = Callable[[int, int], None]  # called with the images done and their total


def describe(
    images: Sequence[ImageRef],
    folder: Path,
    *,
    vocabulary: Vocabulary | None,
    length: int = 500,
    max_side: int = 640,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DescriptorStore:
    """The descriptors of `images`, from `folder` if they are there and up to date, else extracted into it.

    Without a vocabulary: local ones only. See `extract_locals` and `extract_globals` for the rest.
    """
    local = extract_locals(
        images, folder / LOCAL_FILE, length=length, max_side=max_side, workers=workers, progress=progress
    )
    if vocabulary is None:
        return DescriptorStore(local)
    extract_sizes(images, folder / SIZE_FILE, max_side=max_side)
    extract_globals(local, vocabulary, folder / GLOBAL_FILE)
    return DescriptorStore.open(folder)


def extract_locals(
    images: Sequence[ImageRef],
    path: Path,
    *,
    length: int = 500,
    max_side: int = 640,
    workers: int | None = None,
    progress: Progress | None = None,
) -> LocalStore:
    """RootSIFT of every image, `length` of them, in the store `path`.

    A finished store of the same images (by name, size, time of change and box) and parameters is opened as it
    is; an unfinished one is completed. images: cut to their boxes, then reduced to `max_side` pixels.
    workers: processes; None for one a core. Raises BenchError when there is no image, when one cannot be read,
    or when the store cannot be written.
    """
    if not images:
        raise BenchError("no images to describe", wanted="at least one", cure="Check the data set.")
    if length < 1 or max_side < 1:
        raise BenchError(
            f"{length} descriptors of images of {max_side} pixels", wanted="at least 1 of each", cure="Ask for more."
        )
    parameters = sift.parameters(length=length, max_side=max_side)
    attributes: Attributes = {
        "layout": LAYOUT_VERSION,
        "descriptor": json.dumps(parameters, sort_keys=True),
        FINGERPRINT: fingerprint_of(images, parameters),
    }

    def fill(partial: Partial) -> None:
        _report(progress, partial)
        for run, checksum in _described(images, partial, length, max_side, workers or _cores()):
            partial.finish(run, checksum)
            _report(progress, partial)

    shape = (len(images), length, DESCRIPTOR + sift.DIM)
    write_store(path, dataset=LOCAL, shape=shape, attributes=attributes, fill=fill)
    return LocalStore.open(path)


def extract_sizes(images: Sequence[ImageRef], path: Path, *, max_side: int = 640) -> None:
    """Width and height in pixels of every image as it is described, in the store `path`."""
    attributes: Attributes = {
        "layout": LAYOUT_VERSION,
        FINGERPRINT: fingerprint_of(images, {"kind": "size", "max_side": max_side}),
    }

    def fill(partial: Partial) -> None:
        for start, stop in partial.missing(CHUNK):
            sides = [read_grey(image, max_side=max_side).shape[::-1] for image in images[start:stop]]
            partial.finish((start, stop), partial.target.write(start, np.array(sides, dtype=np.float32)))

    write_store(path, dataset=SIZE, shape=(len(images), 2), attributes=attributes, fill=fill)


def extract_globals(
    store: LocalStore, vocabulary: Vocabulary, path: Path, *, progress: Progress | None = None
) -> GlobalStore:
    """Global descriptors of every image in `store`, by `vocabulary`, in the store `path`.

    A finished store of the same local descriptors and vocabulary is opened as it is.
    """
    origin = store.fingerprint or f"{store.path.name} {store.path.stat().st_size} {store.path.stat().st_mtime_ns}"
    attributes: Attributes = {
        "layout": LAYOUT_VERSION,
        FINGERPRINT: hashlib.sha256(f"{origin} {vocabulary.fingerprint}".encode()).hexdigest(),
    }

    def fill(partial: Partial) -> None:
        size = 2 * CHUNK
        for start, stop in partial.missing(size):
            part = store.features(np.arange(start, stop), locals=vocabulary.locals)
            rows = vocabulary.describe(part.local.numpy(), part.valid.numpy())
            partial.finish((start, stop), partial.target.write(start, rows))
            _report(progress, partial)

    write_store(path, dataset=GLOBAL, shape=(len(store), vocabulary.dim), attributes=attributes, fill=fill)
    return GlobalStore.open(path)


def _report(progress: Progress | None, partial: Partial) -> None:
    if progress is not None:
        progress(partial.done, partial.rows)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def fingerprint_of(images: Sequence[ImageRef], parameters: dict[str, str | int]) -> str:
    """A hash that changes with any image file, box, their order, and the parameters."""
    folder = os.path.commonpath([image.path.parent.absolute() for image in images])
    digest = hashlib.sha256(json.dumps([LAYOUT_VERSION, parameters], sort_keys=True).encode())
    for image in images:
        try:
            status = image.path.stat()
        except OSError as error:
            raise BenchError(
                f"cannot read the image {image.path} ({error.strerror})",
                wanted="a file that exists and may be read",
                cure="Check the path and the data set's list of images.",
            ) from error
        name = os.path.relpath(image.path, folder)  # so that a data set may be moved
        digest.update(f"{name!r} {image.box} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _described(
    images: Sequence[ImageRef], partial: Partial, length: int, max_side: int, workers: int
) -> Iterator[tuple[Run, int]]:
    """The missing runs as they get finished, each with the checksum of its rows."""
    tasks = [(partial.target, run, images[slice(*run)], length, max_side) for run in partial.missing(CHUNK)]
    if workers == 1 or len(tasks) <= 1:
        yield from map(_describe_run, tasks)
        return
    processes = min(workers, len(tasks))
    pool = ProcessPoolExecutor(processes, mp_context=from_clean_server(__name__), initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(_describe_run, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise BenchError(
            "a process that describes images died",
            wanted="enough memory for one image a core",
            cure="Run the command again, with fewer workers if it happens again: it goes on where it stopped.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


Task = tuple[Target, Run, Sequence[ImageRef], int, int]


def _describe_run(task: Task) -> tuple[Run, int]:
    """Describes the images of a run and writes their rows; returns the run and its checksum."""
    target, run, images, length, max_side = task
    rows = np.stack([sift.root_sift(read_grey(image, max_side=max_side), length=length) for image in images])
    return run, target.write(run[0], rows)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and a run in progress gets finished
    leave_with_parent()
