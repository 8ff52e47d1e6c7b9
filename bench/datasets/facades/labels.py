"""The ground truth, from geometry: which part of a front an image shows, and what two images share of it.

A front, up to its eaves, is cut into cells of 0.5 m. An image shows a cell when the cell's centre falls inside the
image, on no occluder, and the cell covers at least MIN_CELL_PX pixels along its shorter side.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from .building import Layout
from .camera import Camera, inverse, jacobian, project
from .scene import prop_pieces
from .shot import Shot

CELL_M = 0.5
MIN_CELL_PX = 4.0

EASY_SHARE, EASY_AZIMUTH_DEG, EASY_SCALE = 0.45, 35.0, 2.2
HARD_SHARE = 0.15  # of the query's cells ...
HARD_INSIDE, HARD_CELLS = 0.7, 40  # ... or a close-up: this share of the image's own cells, and at least so many
BRIDGE_QUERY_SHARE, BRIDGE_IMAGE_SHARE = 0.3, 0.4
BOX_MARGIN = 0.03

Mask = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What an image shows of its building: cells (n,), pixels a metre at each (n,), and where the camera stood."""

    cells: Mask
    scale: NDArray[np.float32]
    camera: Camera


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryLabels:
    """Positions among the landmark's views. transitive ones are hard as well."""

    easy: tuple[int, ...]
    hard: tuple[int, ...]
    junk: tuple[int, ...]
    transitive: tuple[int, ...]


def centres(layout: Layout) -> NDArray[np.float64]:
    """(n, 2) metres: the cells' centres, row by row from the ground."""
    x, y = (np.arange(int(size / CELL_M)) * CELL_M + CELL_M / 2 for size in (layout.width_m, layout.eaves_m))
    return np.stack([a.ravel() for a in np.meshgrid(x, y)], axis=1)


def see(layout: Layout, shot: Shot) -> View:
    """Which cells the shot shows."""
    points, homography = centres(layout), shot.camera.front()
    pixels, depth = project(homography, points)
    width, height = shot.camera.size
    inside = (depth > 0.1) & (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    slopes = jacobian(homography, points)
    area = np.abs(slopes[:, 0, 0] * slopes[:, 1, 1] - slopes[:, 0, 1] * slopes[:, 1, 0])
    total = (slopes**2).sum(axis=(1, 2))
    shorter = np.sqrt(np.maximum(0, (total - np.sqrt(np.maximum(0, total**2 - 4 * area**2))) / 2))
    visible = inside & (shorter * CELL_M >= MIN_CELL_PX) & ~hidden(shot, pixels)
    return View(cells=visible, scale=np.sqrt(area).astype(np.float32), camera=shot.camera)


def hidden(shot: Shot, pixels: NDArray[np.float64]) -> Mask:
    """Which of the pixels (n, 2) lie on an occluder."""
    column, row = (np.clip(np.floor(pixels), -1, 1 << 20).astype(int)).T
    found = np.zeros(len(pixels), dtype=bool)
    for piece, left, top in prop_pieces(shot):
        x, y = column - left, row - top
        hit = (x >= 0) & (y >= 0) & (x < piece.shape[1]) & (y < piece.shape[0])
        found[np.flatnonzero(hit)[piece[y[hit], x[hit], 3] > 127]] = True
    return found


def cells_at(layout: Layout, shot: Shot, pixels: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) places in `centres` of the cells that are seen at the pixels (n, 2); -1 where no cell is."""
    points, nearness = project(inverse(shot.camera.front()), pixels)
    columns, rows = (int(size / CELL_M) for size in (layout.width_m, layout.eaves_m))
    column, row = np.floor(points / CELL_M).T
    there = (nearness > 0) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows) & ~hidden(shot, pixels)
    return np.where(there, row * columns + column, -1).astype(np.int64)


def query_box(layout: Layout, view: View) -> tuple[tuple[float, float, float, float], Mask]:
    """The box x0, y0, x1, y1 (pixels) around what the query shows of the front, and the cells inside it."""
    pixels = project(view.camera.front(), centres(layout))[0]
    size = np.asarray(view.camera.size, dtype=np.float64)
    cells = view.cells & (pixels >= BOX_MARGIN * size).all(axis=1) & (pixels <= (1 - BOX_MARGIN) * size).all(axis=1)
    if not cells.any():
        return (0.0, 0.0, float(size[0]), float(size[1])), cells
    low, high = pixels[cells].min(axis=0), pixels[cells].max(axis=0)
    return (round(low[0], 1), round(low[1], 1), round(high[0], 1), round(high[1], 1)), cells


def share(first: Mask, second: Mask) -> float:
    """How much of the first is in the second, 0 to 1."""
    return float((first & second).sum() / max(1, first.sum()))


def label(layout: Layout, query: View, box_cells: Mask, views: list[View]) -> QueryLabels:
    """Sorts a landmark's views into easy, hard and junk for one query."""
    easy, hard, junk = [], [], []
    shares = [share(box_cells, view.cells) for view in views]
    for index, view in enumerate(views):
        shared = box_cells & view.cells
        if shares[index] >= EASY_SHARE and _alike(layout, query, view, shared):
            easy.append(index)
        elif shares[index] >= HARD_SHARE or (
            shared.sum() >= HARD_CELLS and share(view.cells, box_cells) >= HARD_INSIDE
        ):
            hard.append(index)
        else:
            junk.append(index)
    bridges = [k for k in (*easy, *hard) if shares[k] >= BRIDGE_QUERY_SHARE]
    transitive = [
        k
        for k in junk
        if shares[k] > 0 and any(share(views[k].cells, views[b].cells) >= BRIDGE_IMAGE_SHARE for b in bridges)
    ]
    return QueryLabels(
        easy=tuple(easy),
        hard=tuple(sorted(hard + transitive)),
        junk=tuple(k for k in junk if k not in transitive),
        transitive=tuple(transitive),
    )


def _alike(layout: Layout, query: View, view: View, shared: Mask) -> bool:
    """Whether the shared part is seen from about the same side and at about the same scale."""
    x = float(centres(layout)[shared, 0].mean())
    turn = abs(query.camera.azimuth(x) - view.camera.azimuth(x))
    ratio = float(np.median(view.scale[shared] / query.scale[shared]))
    return turn <= EASY_AZIMUTH_DEG and 1 / EASY_SCALE <= ratio <= EASY_SCALE
