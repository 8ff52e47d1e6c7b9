"""The embedded data set: procedural building fronts, photographed by random cameras, with exact ground truth."""

from .recipe import SUBSETS, Recipe, training_recipe
from .rendering import digest, ensure, is_complete, render

__all__ = ["SUBSETS", "Recipe", "digest", "ensure", "is_complete", "render", "training_recipe"]
