"""Queries re-ranked one after the other from a store on the disk, in a process of its own: how its memory grows."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import rerankers
from bench.datasets.ground_truth import QueryTruth
from bench.earn import rerank_query
from bench.features.layout import GLOBAL, GLOBAL_FILE, LOCAL, LOCAL_FILE, SIZE, SIZE_FILE
from bench.features.store import DescriptorStore
from bench.features.synthetic import workload
from bench.ground import read
from bench.protocols import CandidateList, Policy

LOCALS, LOCAL_DIM, GLOBAL_DIM = 24, 128, 512


def make_store(folder: Path, images: int) -> None:
    """Descriptors of `images` images, as RootSIFT's: the first is the query of all others."""
    query, others, _ = workload(
        candidates=images - 1,
        query_locals=LOCALS,
        candidate_locals=LOCALS,
        local_dim=LOCAL_DIM,
        global_dim=GLOBAL_DIM,
        seed=0,
    )

    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(query, name).numpy(), getattr(others, name).numpy()])

    columns = [both(name)[:, :, None] for name in ("scale", "weight")]
    mask = np.zeros_like(columns[0])
    rows = np.concatenate([both("xy"), columns[0], mask, columns[1], both("local")], axis=2)
    folder.mkdir()
    for file, name, content in (
        (LOCAL_FILE, LOCAL, rows),
        (GLOBAL_FILE, GLOBAL, both("global_")),
        (SIZE_FILE, SIZE, both("size")),
    ):
        with h5py.File(folder / file, "w") as made:
            made.create_dataset(name, data=content.astype(np.float32))
            made.attrs["fingerprint"] = "made up"


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Re-ranks `queries` queries of `candidates` candidates each: bytes of the process's own memory after some of them,
    and seconds. samples: how often, about. leak: bytes that are kept a query, to see whether that is found."""
    store, kept = DescriptorStore.open(Path(payload["folder"])), []
    reranker = rerankers.build(payload["reranker"], allow_random=True)
    draw, nobody = np.random.default_rng(0), np.empty(0, np.int64)
    step = max(1, payload["queries"] // payload["samples"])
    memory, start = np.zeros(payload["queries"] // step, np.int64), time.perf_counter()  # a list would grow itself
    for number in range(payload["queries"]):
        query = read(store, np.array([number % len(store)]), reranker.query_locals, reranker)
        ids = draw.permutation(len(store))[: payload["candidates"]]
        similarity = np.sort(draw.uniform(0, 1, len(ids)).astype(np.float32))[::-1]
        truth = QueryTruth(nobody, nobody, nobody, box=None)
        listed = CandidateList.make(ids, similarity, truth=truth, policy=Policy.JUNK_BEHIND, length=len(ids))
        found = rerank_query(reranker, query, store, listed)
        if len(found.orders["standard"]) != len(ids):
            raise AssertionError(f"{len(found.orders['standard'])} of {len(ids)} candidates in order")
        kept.append(b"x" * payload["leak"])
        if number % step == step - 1:
            memory[number // step] = own_memory()
            progress(number + 1, payload["queries"], payload["reranker"])
    return {"memory": memory.tolist(), "step": step, "seconds": time.perf_counter() - start}


def own_memory() -> int:
    """Bytes of resident memory that is no file's, after all that is free has been given back: else a leak would hide
    in it for thousands of queries."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("a kernel without RssAnon")
