"""Pairs of images with lines between their matching descriptors: what Figure B of LOCORE's supplement shows."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.reporting.style import STYLE

#: Cosines at the ends of the colour bar; those of RootSIFT are never negative.
LEAST, MOST = 0.7, 1.0
_COLOURS = "plasma"
_DPI = 150
#: Images of a row are shown at one height, which is 1; these are shares of it.
_GAP, _LABEL = 0.06, 0.04
_WIDTH_INCHES, _ROW_INCHES, _LABEL_INCHES = 6.0, 5.1, 0.24
_ORIGIN_WIDTH = 150


@dataclass(frozen=True)
class Picture:
    """An image (h, w, 3) in RGB, and what stands over it."""

    label: str
    pixels: NDArray[np.uint8]

    @property
    def width(self) -> float:
        """At a height of 1."""
        return float(self.pixels.shape[1] / self.pixels.shape[0])

    def placed(self, xy: NDArray[np.float32], start: float) -> NDArray[np.float64]:
        """Pixels (p, 2) where they are drawn, of an image of height 1 that begins at `start`."""
        found: NDArray[np.float64] = xy.astype(np.float64) / len(self.pixels) + np.array([start, 0])
        return found


@dataclass(frozen=True)
class Pair:
    """Two images, the pixels (p, 2) that match in either, and the cosines (p,) of their descriptors."""

    left: Picture
    right: Picture
    left_xy: NDArray[np.float32]
    right_xy: NDArray[np.float32]
    cosines: NDArray[np.float32]

    @property
    def width(self) -> float:
        """Of both side by side, at a height of 1."""
        return self.left.width + _GAP + self.right.width


def draw(pairs: Sequence[Pair], origin: str) -> bytes:
    """A PNG with a row for each pair, one colour bar, and `origin` in small print, the same bytes every time."""
    with matplotlib.style.context(["default", STYLE]):
        rows = [_ROW_INCHES / pair.width + _LABEL_INCHES for pair in pairs]
        height = sum(rows) + 0.3
        figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI)
        FigureCanvasAgg(figure)
        origin = textwrap.fill(origin, _ORIGIN_WIDTH)
        lowest = (0.1 * origin.count("\n") + 0.16) / height
        figure.set_layout_engine("compressed", rect=(0, lowest, 1, 1 - lowest))
        grid = figure.subplots(len(pairs), 1, squeeze=False, height_ratios=rows)
        norm = Normalize(LEAST, MOST)
        for axes, pair in zip(grid.flat, pairs, strict=True):
            _draw_pair(axes, pair, norm)
        bar = figure.colorbar(ScalarMappable(norm, _COLOURS), ax=grid, aspect=22 * len(pairs), pad=0.02, extend="min")
        bar.ax.set_ylabel("cosine of the descriptors")
        figure.text(0.004, 0.01, origin, fontsize=5, color="0.35", va="bottom")
        out = io.BytesIO()
        figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    return out.getvalue()


def _draw_pair(axes: Axes, pair: Pair, norm: Normalize) -> None:
    second = pair.left.width + _GAP
    for picture, start in ((pair.left, 0.0), (pair.right, second)):
        axes.imshow(picture.pixels, extent=(start, start + picture.width, 1, 0), interpolation="antialiased")
        axes.text(start + picture.width / 2, -_LABEL, picture.label, ha="center", va="bottom")
    order = np.argsort(pair.cosines, kind="stable")  # the most similar on top
    ends = np.stack([pair.left.placed(pair.left_xy, 0), pair.right.placed(pair.right_xy, second)], axis=1)[order]
    lines = LineCollection(list(ends), cmap=_COLOURS, norm=norm, linewidths=0.6)
    lines.set_array(pair.cosines[order])
    axes.add_collection(lines)
    for x, y in (ends[:, 0].T, ends[:, 1].T):
        axes.scatter(x, y, c=pair.cosines[order], cmap=_COLOURS, norm=norm, s=4, linewidths=0)
    axes.set(xlim=(0, pair.width), ylim=(1, 0))
    count = len(pair.cosines)
    axes.text(-_LABEL, 0.5, f"{count} match{'' if count == 1 else 'es'}", rotation=90, ha="right", va="center")
    axes.set_axis_off()
