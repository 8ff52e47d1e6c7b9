"""The data sets of the papers by name: which folder of the data root holds them, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.datasets.base import Dataset
from bench.datasets.classes import load_classes
from bench.datasets.instances import load_instances
from bench.datasets.landmarks import load_landmarks
from bench.datasets.revisited import load_revisited


@dataclass(frozen=True)
class Layout:
    """load: the data set of a name in its folder. folders: of the data root, the first that is there."""

    load: Callable[[str, Path], Dataset]
    folders: tuple[str, ...]


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "roxford5k": Layout(load_revisited, ("roxford5k",)),
        "rparis6k": Layout(load_revisited, ("rparis6k",)),
        "gldv2": Layout(load_landmarks, ("gldv2", "gldv2-test")),
        "gldv2-val": Layout(load_landmarks, ("gldv2", "gldv2-test")),
        "instre": Layout(load_instances, ("instre",)),
        "product1m": Layout(load_instances, ("product1m",)),
        "sop": Layout(load_classes, ("sop", "Stanford_Online_Products")),
        "cub": Layout(load_classes, ("cub", "CUB_200_2011")),
        "inshop": Layout(load_classes, ("inshop",)),
        "met": Layout(load_classes, ("met",)),
        "rp2k": Layout(load_classes, ("rp2k", "rp2k-test")),
        "sop-1k": Layout(load_classes, ("sop-1k",)),
    }
)
