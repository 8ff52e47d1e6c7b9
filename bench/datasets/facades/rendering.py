"""Renders a recipe into a folder: in parallel, resumable, each file either whole or absent."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.errors import BenchError
from bench.files import clear, unwritable, write_bytes
from bench.others import alone, from_clean_server, leave_with_parent

from . import front, scene
from .plan import Building, buildings, gallery_positions, plan
from .recipe import PAINT, VERSION, Recipe, stream
from .truth import covisibility, ground_truth
from .warp import Texture

Progress = Callable[[int, int], None]
DETAILS = 44  # one-of-a-kind pieces on a front


def specification(recipe: Recipe) -> dict[str, object]:
    """What recipe.json holds: all that decides the rendered bytes."""
    return {"generator": "facades", "version": VERSION, **dataclasses.asdict(recipe)}


def digest(recipe: Recipe) -> str:
    """sha256 of the specification: two recipes with the same digest render the same folder."""
    return hashlib.sha256(json.dumps(specification(recipe), sort_keys=True).encode()).hexdigest()


def is_complete(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder holds everything that the recipe renders; ground_truth.json is written last."""
    return (folder / "ground_truth.json").is_file() and _read_specification(folder) == specification(recipe)


def folder_of(recipe: Recipe, root: Path) -> Path:
    """Where the recipe's images lie below root, rendered or not."""
    return root / f"{recipe.name}-{digest(recipe)[:12]}"


def ensure(recipe: Recipe, root: Path, *, workers: int, progress: Progress = lambda done, total: None) -> Path:
    """The recipe's folder below root, rendered now where it is not complete."""
    folder = folder_of(recipe, root)
    if not is_complete(folder, recipe):
        with alone(folder.with_name(f".{folder.name}.lock"), f"images of {recipe.name} in {root}"):
            if not is_complete(folder, recipe):  # else by the process that we waited for
                render(recipe, folder, workers=workers, progress=progress)
    return folder


def render(recipe: Recipe, folder: Path, *, workers: int, progress: Progress = lambda done, total: None) -> None:
    """Renders images, then covisibility.npz, then ground_truth.json.

    Images that are there already are kept, so an interrupted call can be repeated. progress(done, total) counts images.
    Raises BenchError when the folder belongs to another recipe, cannot be written, or the disk is full.
    """
    held = _read_specification(folder)
    if held is not None and held != specification(recipe):
        raise BenchError(
            f"{folder} holds {held.get('name')!r} of another recipe",
            wanted=f"an empty folder for {recipe.name!r}",
            cure="Choose another folder, or delete this one.",
        )
    try:
        for part in ("gallery", "queries"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            clear(folder / part)
        write_bytes(folder / "recipe.json", json.dumps(specification(recipe), indent=1).encode())
        landmarks: dict[int, Building] = {}
        done, total = 0, recipe.gallery_size + recipe.query_count
        for building in _render_all(recipe, folder, workers):
            done += len(building.names)
            if building.views:
                landmarks[building.index] = building
            progress(done, total)
        found = [landmarks[k] for k in range(recipe.landmarks)]
        archive = io.BytesIO()
        np.savez(archive, allow_pickle=False, **covisibility(recipe, found))
        write_bytes(folder / "covisibility.npz", archive.getvalue())
        write_bytes(folder / "ground_truth.json", json.dumps(ground_truth(recipe, found)).encode())
    except OSError as error:
        raise unwritable(folder, error) from error
    except BrokenProcessPool as error:
        raise BenchError(
            "a rendering process died",
            wanted="all of them to finish",
            cure="Start again with fewer workers: what is rendered is kept.",
        ) from error


def _render_all(recipe: Recipe, folder: Path, workers: int) -> Iterator[Building]:
    """Every building, in whatever order they are done."""
    tasks = buildings(recipe)
    if workers <= 1:
        positions = gallery_positions(recipe)
        for group, index in tasks:
            yield render_building(recipe, folder, group, index, positions)
        return
    pool = concurrent.futures.ProcessPoolExecutor(workers, from_clean_server(__name__), _initialise, (recipe, folder))
    try:
        for future in concurrent.futures.as_completed([pool.submit(_work, *task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: tuple[Recipe, Path, list[int]] | None = None  # of a worker process


def _initialise(recipe: Recipe, folder: Path) -> None:
    global _job
    leave_with_parent()
    cv2.setNumThreads(1)
    _job = recipe, folder, gallery_positions(recipe)


def _work(group: int, index: int) -> Building:
    assert _job is not None
    recipe, folder, positions = _job
    return render_building(recipe, folder, group, index, positions)


def render_building(recipe: Recipe, folder: Path, group: int, index: int, positions: list[int]) -> Building:
    """Renders those of a building's photographs that are missing; its front is painted once, and lit once a sun."""
    building = plan(recipe, group, index, positions)
    missing = [k for k, name in enumerate(building.names) if not _is_whole(folder / name)]
    if not missing:
        return building
    ppm = recipe.pixels_per_metre
    canvas = front.paint(
        building.style, building.layout, stream(recipe.seed, PAINT, group, index), ppm=ppm, details=DETAILS
    )
    lit: dict[str, Texture] = {}
    for k in missing:
        shot = building.shots[k]
        if shot.film.sun not in lit:
            lit[shot.film.sun] = Texture(front.light(canvas, shot.film.sun))
        image = scene.photograph(lit[shot.film.sun], ppm, building.style, building.layout, shot)
        coded, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, shot.film.quality])
        assert coded
        write_bytes(folder / building.names[k], buffer.tobytes(), sync=False)
    return building


def _is_whole(path: Path) -> bool:
    """Whether the file is there and ends as a JPEG does."""
    try:
        with path.open("rb") as file:
            file.seek(-2, os.SEEK_END)
            return file.read() == b"\xff\xd9"
    except OSError:
        return False


def read_recipe(folder: Path) -> Recipe:
    """The recipe that a folder was rendered from; BenchError for a folder of anything else."""
    held: dict[str, Any] = _read_specification(folder) or {}
    with contextlib.suppress(Exception):  # fields that no recipe has, or none that can be, of any type
        recipe = Recipe(**{name: value for name, value in held.items() if name not in ("generator", "version")})
        if specification(recipe) == held:
            return recipe
    raise BenchError(
        f"{folder} without the recipe.json of a data set that this version renders",
        wanted="facades: what an image shows of its front follows from the recipe",
        cure="Pass --dataset facades or facades-val.",
    )


def _read_specification(folder: Path) -> dict[str, object] | None:
    try:
        held = json.loads((folder / "recipe.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None
