"""What this project writes for itself, and may find damaged: vocabularies, first stages, trainings, co-visibility."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.datasets.folder import GROUND_TRUTH
from bench.features.vlad import Vocabulary
from bench.first_stage import FirstStage
from bench.metrics.revisited import Tail
from bench.training.relations import Relations
from bench.training.state import Progress, Row, resume, save
from tests.fuzz.reading import Reader, edit_members

SETTINGS = json.dumps({"seed": 0, "recipe": {"rate": 0.1}})


def training() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    network = torch.nn.Linear(2, 1)
    return network, torch.optim.AdamW(network.parameters())


training()  # for AdamW imports much when it is first made, which else every process would do anew


def trainings(folder: Path) -> Iterator[bytes]:
    network, _ = training()
    moments = {
        f"{kind}.{name}": torch.zeros(one.shape)
        for name, one in network.named_parameters()
        for kind in ("exp_avg", "exp_avg_sq")
    }
    moments |= {f"step.{name}": torch.tensor(3.0) for name, _ in network.named_parameters()}
    progress = Progress(SETTINGS, step=3, losses=[0.5], curve=[Row(3, 1, 2.0, 0.5, 1e-3, 0.1, 0.4, 0.3)])
    for given, best in ((moments, dict(network.state_dict())), ({}, {})):
        save(folder / "made", progress, network, given, best)
        yield (folder / "made").read_bytes()


def read_training(path: Path) -> None:
    """Resumes, and takes a step."""
    network, optimizer = training()
    progress, best = resume(path, SETTINGS, network, optimizer)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert progress.best is None or progress.best.mean is not None
    sum(progress.losses)
    [value.clone() for value in best.values()]


def vocabularies(folder: Path) -> Iterator[bytes]:
    made = Vocabulary(np.eye(2, 3, dtype=np.float32), np.ones((2, 6), np.float32), np.zeros(2, np.float32), 5)
    made.save(folder / "made")
    yield (folder / "made").read_bytes()


def read_vocabulary(path: Path) -> None:
    """Reads it, and describes an image."""
    read = Vocabulary.load(path)
    with np.errstate(all="ignore"):
        read.describe(np.ones((1, 2, read.centroids.shape[1]), np.float32), np.ones((1, 2), dtype=bool))


def first_stages(folder: Path) -> Iterator[bytes]:
    indices, similarity = np.arange(4).reshape(2, 2), np.ones((2, 2), np.float32)
    tails = Tail(np.arange(1), np.array([2]), 3), Tail(np.arange(0), np.arange(0), 3)
    for stage in (FirstStage(indices, similarity), FirstStage(indices, similarity, tails)):
        stage.save(folder / "made")
        yield (folder / "made").read_bytes()


def graphs(folder: Path) -> Iterator[bytes]:
    ends, shares = np.array([[0, 1], [1, 2]], np.int32), np.array([[0.5, 0.2], [0.8, 0.1]], np.float32)
    names = "first", "second", "first_share", "second_share"
    np.savez(folder / "made.npz", allow_pickle=False, **dict(zip(names, (*ends, *shares), strict=True)))
    yield (folder / "made.npz").read_bytes()


def a_gallery(folder: Path) -> None:
    document = {"imlist": ["a", "b", "c"], "landmark": [0, 0, 0], "covisibility": "covisibility.npz"}
    (folder / GROUND_TRUTH).write_text(json.dumps(document), encoding="utf8")


def galleries(_: Path) -> Iterator[bytes]:
    yield json.dumps({"imlist": ["a", "b", "c"], "landmark": [0, 0, -1], "covisibility": "c.npz"}).encode()


def a_graph(folder: Path) -> None:
    (folder / "c.npz").write_bytes(next(graphs(folder)))


READERS = (
    Reader("training-state", "case.safetensors", trainings, read_training),
    Reader("vocabulary", "case.safetensors", vocabularies, read_vocabulary),
    Reader("first-stage", "case.npz", first_stages, FirstStage.load, mutate=edit_members),
    Reader(
        "co-visibility", "covisibility.npz", graphs, lambda path: Relations.read(path.parent), a_gallery, edit_members
    ),
    Reader("landmarks", GROUND_TRUTH, galleries, lambda path: Relations.read(path.parent), a_graph),
)
