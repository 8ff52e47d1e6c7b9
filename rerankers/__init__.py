"""Image re-rankers behind one interface. Nothing here knows of data sets, metrics or timers."""

from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Ranking, Reranker
from rerankers.registry import Variant, build, names, variants

__all__ = [
    "Features",
    "Flops",
    "Ranking",
    "RerankError",
    "Reranker",
    "Variant",
    "build",
    "names",
    "variants",
]
