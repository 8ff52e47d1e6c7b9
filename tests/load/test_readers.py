"""Many readers of one store at once: every row is what was written, while another store is being written beside it.

What a row holds follows from its number, so that any row can be checked by whoever reads it.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bench.features.layout import GLOBAL, GLOBAL_FILE, LOCAL, LOCAL_FILE, SIZE, SIZE_FILE
from bench.features.store import DescriptorStore
from bench.features.writing import Partial, write_store
from bench.first_stage import FirstStage
from tests.tally import Tally

READERS, IMAGES, LOCALS, DIM, GLOBAL_DIM, HEAD = 8, 300, 16, 32, 64, 120
LISTS = "lists.npz"
#: How a store may lie on the disk: as we write it, at half the size, in chunks that are packed.
KINDS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "f4"},
    "float16": {"dtype": "f2"},
    "packed": {"dtype": "f4", "chunks": True, "compression": "gzip"},
}


def content(rows: np.ndarray, *shape: int) -> np.ndarray:
    """What rows (n,) hold, (n, *shape): whole numbers that float16 has, other ones in every row and at every place."""
    places = np.arange(int(np.prod(shape))).reshape(shape)
    return ((rows.reshape(-1, *[1] * len(shape)) * 37 + places * 11) % 2039).astype(np.float32)


def local_rows(rows: np.ndarray) -> np.ndarray:
    """(n, LOCALS, 5 + DIM), with as much padding as the row's number says; what lies there is not to be read."""
    found = content(rows, LOCALS, 5 + DIM)
    found[:, :, 3] = np.arange(LOCALS) >= LOCALS - rows[:, None] % 5
    return found


def make(folder: Path, how: dict[str, Any]) -> None:
    folder.mkdir()
    everyone = np.arange(IMAGES)
    for file, name, rows in (
        (LOCAL_FILE, LOCAL, local_rows(everyone)),
        (GLOBAL_FILE, GLOBAL, content(everyone, GLOBAL_DIM)),
        (SIZE_FILE, SIZE, content(everyone, 2)),
    ):
        with h5py.File(folder / file, "w") as made:
            made.create_dataset(name, data=rows, **({"dtype": how["dtype"]} if name == SIZE else how))
            made.attrs["fingerprint"] = "by number"
    FirstStage(content(everyone, HEAD).astype(np.int64), content(everyone + 1, HEAD)).save(folder / LISTS)


def wrong(store: DescriptorStore, folder: Path, seed: int, until: float) -> tuple[int, list[str]]:
    """Reads random rows until then: how many, and what was wrong with them."""
    draw, rows, found = np.random.default_rng(seed), 0, []
    while time.monotonic() < until and not found:
        asked = draw.integers(0, IMAGES, int(draw.integers(1, 40)))
        count = int(draw.integers(1, LOCALS + 1))
        features, rows = store.features(asked, locals=count), rows + len(asked)
        stored = local_rows(asked)[:, :count]
        valid = stored[:, :, 3] == 0
        expected = {
            "local": np.where(valid[:, :, None], stored[:, :, 5:], 0),
            "xy": np.where(valid[:, :, None], stored[:, :, :2], 0),
            "scale": np.where(valid, stored[:, :, 2], 0),
            "weight": np.where(valid, stored[:, :, 4], 0),
            "valid": valid,
            "global_": content(asked, GLOBAL_DIM),
            "size": content(asked, 2),
        }
        for name, one in expected.items():
            if not np.array_equal(getattr(features, name).numpy(), one):
                found.append(f"reader {seed}: another {name} in rows {asked.tolist()}")
        first, last = sorted(draw.integers(0, IMAGES + 1, 2).tolist())
        assert store.global_ is not None
        if not np.array_equal(store.global_.block(first, last), content(np.arange(first, last), GLOBAL_DIM)):
            found.append(f"reader {seed}: another block {first} to {last}")
        lists, everyone = FirstStage.load(folder / LISTS), np.arange(IMAGES)
        if not np.array_equal(lists.indices, content(everyone, HEAD)):
            found.append(f"reader {seed}: other first-stage lists")
    return rows, found


def opened_and_read(folder: Path, seed: int, seconds: float) -> tuple[int, list[str]]:
    """What a process does that has a store of its own."""
    return wrong(DescriptorStore.open(folder), folder, seed, time.monotonic() + seconds)


class Writer(threading.Thread):
    """Writes store after store beside the one that is read, each over the one before."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path, self.written, self.ended, self.failed = folder / "beside.hdf5", 0, threading.Event(), ""

    def run(self) -> None:
        def fill(partial: Partial) -> None:
            for start, stop in partial.missing(32):
                rows = content(np.arange(start, stop) + self.written, GLOBAL_DIM)
                partial.finish((start, stop), partial.target.write(start, rows))

        try:
            while not self.ended.is_set():
                write_store(
                    self.path,
                    dataset=GLOBAL,
                    shape=(IMAGES, GLOBAL_DIM),
                    attributes={"fingerprint": f"number {self.written}"},
                    fill=fill,
                )
                with h5py.File(self.path) as file:
                    if not np.array_equal(file[GLOBAL][:], content(np.arange(IMAGES) + self.written, GLOBAL_DIM)):
                        raise AssertionError(f"store {self.written} holds something else")
                self.written += 1
        except Exception as error:
            self.failed = f"the writer: {type(error).__name__}: {error}"


def by_processes(folder: Path, seconds: float) -> list[tuple[int, list[str]]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.features.store"])  # once for all eight
    with ProcessPoolExecutor(READERS, mp_context=context) as pool:
        jobs = [pool.submit(opened_and_read, folder, seed, seconds) for seed in range(READERS)]
        return [job.result() for job in jobs]


def by_threads(folder: Path, seconds: float) -> list[tuple[int, list[str]]]:
    """All of one process, with one store that they share."""
    store, until = DescriptorStore.open(folder), time.monotonic() + seconds
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda seed: wrong(store, folder, seed, until), range(READERS)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readers", [by_threads, by_processes])
def test_every_row_is_its_own(
    readers: Callable[[Path, float], list[tuple[int, list[str]]]],
    kind: str,
    tmp_path: Path,
    thorough: bool,
    tally: Tally,
) -> None:
    if kind == "float16" and not thorough:
        pytest.skip("nox -s faults")
    folder = tmp_path / "store"
    make(folder, KINDS[kind])
    writer = Writer(folder)
    writer.start()
    try:
        read = readers(folder, 60.0 if thorough else 1.0)
    finally:
        writer.ended.set()
        writer.join()
    off = [one for _, found in read for one in found] + ([writer.failed] if writer.failed else [])
    rows, how = sum(rows for rows, _ in read), "threads" if readers is by_threads else "processes"
    said = f"{writer.written} stores written beside"
    tally.note(f"rows of a {kind} store, {READERS} {how}", tried=rows, said=said, found=off[0] if off else None)
    assert not off and all(count for count, _ in read) and writer.written


def test_a_wrong_row_would_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    make(folder, KINDS["float32"])
    with h5py.File(folder / LOCAL_FILE, "r+") as file:
        file[LOCAL][7, 0, 9] += 1
    _, found = opened_and_read(folder, 0, 10.0)
    assert found and "another local" in found[0]
