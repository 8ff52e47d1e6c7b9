"""What the images of a rendered folder show of their landmarks, found again from its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import labels
from .labels import Mask
from .plan import LANDMARK, Building, gallery_positions, plan
from .recipe import Recipe
from .rendering import read_recipe


class Sights:
    """Images are places in the gallery, queries their numbers. A landmark is planned when it is first asked for."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._positions = gallery_positions(recipe)
        self._views = {image: k for k, image in enumerate(self._positions[: recipe.landmarks * recipe.views])}
        self._planned: dict[int, Building] = {}

    @classmethod
    def read(cls, folder: Path) -> Sights:
        """Those of a rendered folder; BenchError for any other."""
        return cls(read_recipe(folder))

    def share(self, first: int, second: int) -> float:
        """How much of what the first image shows of its landmark the second shows too; 0 where they are of two."""
        (building, one), (other, two) = self._view(first), self._view(second)
        if building is None or building is not other:
            return 0.0
        return labels.share(building.views[one].cells, building.views[two].cells)

    def query_share(self, query: int, image: int) -> float:
        """How much of what the query shows in its box the image shows too."""
        landmark, number = divmod(query, self.recipe.queries)
        (building, view), own = self._view(image), self._building(landmark)
        if building is not own:
            return 0.0
        cells = labels.query_box(own.layout, own.views[self.recipe.views + number])[1]
        return labels.share(cells, own.views[view].cells)

    def shared(self, image: int, other: int, pixels: NDArray[np.float64]) -> Mask:
        """Which pixels (n, 2) of the first image see a cell that the second shows too."""
        (building, one), (same, two) = self._view(image), self._view(other)
        if building is None or building is not same:
            return np.zeros(len(pixels), dtype=bool)
        cells = labels.cells_at(building.layout, building.shots[one], pixels)
        return (cells >= 0) & building.views[two].cells[cells]

    def _view(self, image: int) -> tuple[Building | None, int]:
        """The landmark that an image shows, if any, and the place among its views."""
        if image not in self._views:
            return None, -1
        landmark, view = divmod(self._views[image], self.recipe.views)
        return self._building(landmark), view

    def _building(self, landmark: int) -> Building:
        if landmark not in self._planned:
            self._planned[landmark] = plan(self.recipe, LANDMARK, landmark, self._positions)
        return self._planned[landmark]
