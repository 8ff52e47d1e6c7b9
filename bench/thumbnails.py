"""Small images for the report's page, of data sets that lie on this machine already: nothing is rendered or fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from bench import datasets
from bench.datasets import Dataset
from bench.errors import BenchError
from bench.features.images import ImageRef, read_colour
from bench.reporting.web import Pictures, shown_images
from bench.results import AccuracyKey, Record

#: Pixels of a thumbnail's longer side, of candidates and of queries; and the quality of its JPEG.
SIDE, QUERY_SIDE, QUALITY = 86, 160, 60

Shown = Callable[[int, int], None]


def pictures(
    records: Sequence[Record],
    *,
    cache: Path,
    data_root: Path | None,
    folders: Mapping[str, Path],
    workers: int,
    progress: Shown = lambda done, total: None,
) -> dict[str, Pictures]:
    """For every data set (by hash) whose lists the records keep: its images, or why there are none.

    folders: of data sets of one's own, by name.
    """
    found = {}
    for sha256, (key, images) in shown_images(records).items():
        try:
            dataset = _dataset(key, cache, data_root, folders)
            found[sha256] = of(dataset, sorted(images), workers=workers, progress=progress)
        except BenchError as error:
            found[sha256] = Pictures(why=f"{error.seen}. {error.cure}")
    return found


def of(
    dataset: Dataset, images: Sequence[int], *, workers: int, progress: Shown = lambda done, total: None
) -> Pictures:
    """All queries, cut to their boxes, and these images of the gallery; distractors without an image are left out."""
    own = [number for number in images if number < len(dataset.truth.gallery)]
    queries = zip(dataset.query_paths, dataset.truth.truths, strict=True)
    asked = [
        *((ImageRef(path, truth.box), QUERY_SIDE) for path, truth in queries),
        *((ImageRef(dataset.gallery_paths[number]), SIDE) for number in own),
    ]
    made = []
    with ThreadPoolExecutor(workers) as pool:
        for image in pool.map(lambda one: thumbnail(*one), asked):
            made.append(image)
            progress(len(made), len(asked))
    count = len(dataset.truth.queries)
    return Pictures(
        queries=made[:count],
        gallery=dict(zip(own, made[count:], strict=True)),
        query_names=dataset.truth.queries,
        gallery_names={number: dataset.truth.gallery[number] for number in own},
    )


def thumbnail(image: ImageRef, side: int) -> bytes:
    """A JPEG whose longer side has at most `side` pixels. BenchError for an image that cannot be read."""
    done, encoded = cv2.imencode(
        ".jpg", read_colour(image, max_side=side), [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    )
    assert done, "JPEG of 8 bits cannot fail"
    return encoded.tobytes()


def _dataset(key: AccuracyKey, cache: Path, data_root: Path | None, folders: Mapping[str, Path]) -> Dataset:
    """The data set that a record names, from this machine; BenchError where it is not there, or is another one."""
    plain = key.dataset.partition("+")[0]
    if plain in folders:
        found = datasets.load_folder(folders[plain], name=key.dataset)
    elif plain in datasets.names():
        found = datasets.load(key.dataset, cache=cache, workers=1, data_root=data_root, renders=False)
    else:
        raise BenchError(
            f"{key.dataset} is a folder whose place the record does not keep",
            wanted="the folder",
            cure=f"Pass --images {key.dataset}=FOLDER.",
        )
    if found.sha256 != key.dataset_sha256:
        raise BenchError(
            f"{key.dataset} on this machine has other queries, images or labels (sha256 {found.sha256[:12]})",
            wanted=f"those of the record (sha256 {key.dataset_sha256[:12]})",
            cure="Make the report where the records were made.",
        )
    return found
