"""The embedded data set: procedural building fronts, photographed by random cameras, with exact ground truth."""

from .recipe import SUBSETS, Recipe, training_recipe
from .rendering import digest, ensure, folder_of, is_complete, read_recipe, render
from .sights import Sights

__all__ = [
    "SUBSETS",
    "Recipe",
    "Sights",
    "digest",
    "ensure",
    "folder_of",
    "is_complete",
    "read_recipe",
    "render",
    "training_recipe",
]
