"""Stored descriptors: HDF5 of every storage, `.npy`, raw floats, feature maps, and stores that are not finished."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bench.errors import BenchError
from bench.features.dense import DenseStore
from bench.features.store import GlobalStore, LocalStore
from bench.features.writing import Partial, write_store
from tests.fuzz.reading import Reader

ROWS = np.arange(2 * 3 * 7, dtype=np.float32).reshape(2, 3, 7)
FINGERPRINT = "0123"


def written(fill: Callable[[h5py.File], Any], **options: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return content.getvalue()


def plain(file: h5py.File, name: str = "features", content: np.ndarray = ROWS, **options: Any) -> None:
    file.attrs.update(fingerprint=FINGERPRINT, xy="row, column in 0..1")
    file.create_dataset(name, data=content, track_times=False, **options)


def fields(file: h5py.File, **options: Any) -> None:
    kind = np.dtype([("metadata", "<f4", (3, 5)), ("descriptor", "<f2", (3, 2))])
    file.create_dataset("features", data=np.zeros(2, kind), track_times=False, **options)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, *ROWS.shape[1:]), "<f4")
    layout[:2], layout[2:] = (h5py.VirtualSource(where, "features", ROWS.shape) for where in ("part.hdf5", "part.hdf5"))
    file.create_virtual_dataset("features", layout)


def part(folder: Path) -> None:
    with h5py.File(folder / "part.hdf5", "w") as file:
        plain(file)


def contiguous(_: Path) -> Iterator[bytes]:
    for libver in ("earliest", "latest"):
        yield written(plain, libver=libver)
        yield written(partial(plain, content=ROWS.astype(">f2")), libver=libver)
        yield written(fields, libver=libver)


def chunked(_: Path) -> Iterator[bytes]:
    for libver in ("earliest", "latest"):
        for filters in ({"compression": "gzip", "shuffle": True, "fletcher32": True}, {}):
            yield written(partial(plain, chunks=(1, 2, 7), **filters), libver=libver)
            yield written(partial(plain, chunks=ROWS.shape, **filters), libver=libver)
        yield written(partial(fields, chunks=(1,), compression="gzip"), libver=libver)


def virtuals(_: Path) -> Iterator[bytes]:
    yield from (written(virtual, libver=libver) for libver in ("earliest", "v110"))


def globals_(_: Path) -> Iterator[bytes]:
    yield written(partial(plain, name="global", content=ROWS[0]))
    yield written(partial(plain, name="features", content=ROWS[0], chunks=(2, 7)), libver="latest")
    for content in (ROWS[0], ROWS[0].astype(">f2")):
        array = io.BytesIO()
        np.save(array, content)
        yield array.getvalue()
    yield ROWS[0].tobytes()


def maps(_: Path) -> Iterator[bytes]:
    content = np.zeros((2, 2 + 2 * 4), np.float32)
    content[:, :2] = 2, 2
    for libver in ("earliest", "latest"):
        yield written(lambda file: (file.attrs.update(channels=2), plain(file, "maps", content)), libver=libver)


def local(path: Path) -> None:
    store = LocalStore.open(path)
    store.features([0, len(store) - 1], locals=1)
    store.features([len(store) - 1])


def global_(path: Path) -> None:
    try:
        store = GlobalStore.open(path)
    except BenchError:
        store = GlobalStore.open(path, count=len(ROWS[0]))
    store.rows([0, len(store) - 1])
    store.block(0, 2)


def dense(path: Path) -> None:
    store = DenseStore.open(path.parent)
    store.features([0, len(store) - 1])


class Interrupted(Exception):
    """As a kill would."""


def fill(store: Partial) -> None:
    for run in store.missing(1):
        store.finish(run, store.target.write(run[0], ROWS[slice(*run)]))


def begin(path: Path, fill_: Callable[[Partial], None] = fill) -> None:
    attributes = {"layout": 1, "fingerprint": FINGERPRINT}
    write_store(path, dataset="features", shape=ROWS.shape, attributes=attributes, fill=fill_)


def unfinished(folder: Path, *, ending: str) -> Iterator[bytes]:
    def fail(store: Partial) -> None:
        store.finish((0, 1), store.target.write(0, ROWS[:1]))
        raise Interrupted

    path = folder / "case.hdf5"
    try:
        begin(path, fail)
    except Interrupted:
        yield path.with_name(path.name + ending).read_bytes()
    kept = {name: path.with_name(path.name + name).read_bytes() for name in (".partial", ".journal")}
    for name, content in kept.items():
        (folder / f"kept{name}").write_bytes(content)


def resume(path: Path) -> None:
    """Goes on with a store of which one of two files was touched."""
    folder, store = path.parent, path.with_suffix("")
    store.unlink(missing_ok=True)
    for name in {".partial", ".journal"} - {path.suffix}:
        store.with_name(store.name + name).write_bytes((folder / f"kept{name}").read_bytes())
    begin(store)
    np.testing.assert_array_equal(LocalStore.open(store).rows[:], ROWS)


def locals_(folder: Path) -> Iterator[bytes]:
    for storage in (contiguous, chunked, virtuals):
        yield from storage(folder)


READERS = (
    Reader("descriptors", "case.hdf5", locals_, local, prepare=part),
    Reader("descriptors-global", "case.hdf5", globals_, global_),
    Reader("descriptors-maps", "maps.hdf5", maps, dense),
    Reader("descriptors-partial", "case.hdf5.partial", partial(unfinished, ending=".partial"), resume),
    Reader("descriptors-journal", "case.hdf5.journal", partial(unfinished, ending=".journal"), resume),
)
