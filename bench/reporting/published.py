"""Published values, and which of them are of what was measured.

`published.csv` holds a value a row, as its source prints it. `hardware` also says how many candidates were re-ranked,
where the source does; `remark`: what is peculiar to the cell of a printed table; `uncertain`: why the value itself is
in doubt.

A value stands beside every record of the same data set and measure whose network it may be of: of any descriptors,
shortlist or seed, which its setting names. Values of other definitions (mAP@R as Musgrave et al. have it) and of
networks that a paper takes apart (ablations) stand beside nothing.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from bench.errors import BenchError
from bench.results.record import AccuracyKey, CostKey, Record

#: Our re-rankers -> the published method, and the words by which a setting names this network and no other of the
#: method. What is not here is not published: networks of this project (micro, RootSIFT), plain Chamfer similarity.
METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("none", "none:first-stage"), ("none (global only)",)),
    **dict.fromkeys(("ransac:affine", "ransac:affine-1000", "ransac:delg", "ransac:homography"), ("GV (RANSAC)",)),
    "sg-rerank:default": ("SG-Rerank",),
    **dict.fromkeys(("ames:dinov2", "ames:dinov2-50"), ("AMES", "dinov2_ames")),
    "ames:dinov2-binarized": ("AMES", "dinov2_ames_dist"),
    "ames:cvnet": ("AMES", "cvnet_ames"),
    "ames:cvnet-binarized": ("AMES", "cvnet_ames_dist"),
    "ames:768": ("AMES*",),
    **dict.fromkeys(("rrt:gld", "rrt:gld-50", "rrt:sop"), ("RRT",)),
    **dict.fromkeys(("rrt:768", "rrt:768-ff3072", "rrt:sop-768"), ("RRT*",)),
    **dict.fromkeys(("r2former:deit", "r2former:deit-48"), ("R2Former",)),
    "r2former:768": ("R2Former*",),
    **dict.fromkeys(("cvnet:r50", "cvnet:r101"), ("CVNet Reranker",)),
    **dict.fromkeys(("elvis:dinov2", "elvis:dinov2-100", "elvis:dinov2-binarized"), ("ELViS",)),
    **{
        f"locore:{size}{form}": ("LOCORE", size, "L=50", "K=100")
        for size in ("tiny", "small", "base")
        for form in ("", "-sum", "-1024")
    },
    "locore:base-100x50": ("LOCORE", "base", "L=100", "K=50"),
    "locore:base-25x200": ("LOCORE", "base", "L=25", "K=200"),
    "locore:rwkv": ("LOCORE", "RWKV"),
    "locore:mamba": ("LOCORE", "Mamba"),
}

#: Our data sets -> as the papers write them. Of the others no value of one data set is published.
DATASETS = {
    "roxford5k": "ROxf",
    "rparis6k": "RPar",
    "roxford5k+1m": "ROxf+1M",
    "rparis6k+1m": "RPar+1M",
    "sop": "SOP",
    "cub": "CUB-200",
    "inshop": "In-Shop",
}


@dataclass(frozen=True)
class Printed:
    """The published metric that a figure of ours is, under any of these protocols."""

    metric: str
    protocols: tuple[str, ...]


_RETRIEVAL = ("", "global", "re-rank top-100")
PRINTED = {
    "map_easy": Printed("mAP", ("Easy",)),
    "map_medium": Printed("mAP", ("Medium",)),
    "map_hard": Printed("mAP", ("Hard",)),
    "map_hard_star": Printed("mAP", ("Hard*",)),
    "recall_at_1": Printed("R@1", _RETRIEVAL),
    "recall_at_10": Printed("R@10", _RETRIEVAL),
    "recall_at_100": Printed("R@100", _RETRIEVAL),
    "map_at_r_locore": Printed("mAP@R", _RETRIEVAL),
}
PARAMETERS, LATENCY = {"Number of Parameters", "params"}, "latency"
COUNTS = {"M": 1e6, "K": 1e3}

FILE = Path(__file__).with_name("published.csv")
_WORDS = frozenset(word for method in METHODS.values() for word in method[1:])
_SAID_BY_THE_MEASURE = {protocol for one in PRINTED.values() for protocol in one.protocols} - set(_RETRIEVAL)
_THEN = "+then+"


@dataclass(frozen=True)
class Published:
    """A published value with its setting and source: the columns of the file, empty where nothing is said."""

    method: str
    variant: str
    dataset: str
    protocol: str
    metric: str
    value: str
    unit: str
    hardware: str
    source: str
    remark: str
    uncertain: str

    @property
    def number(self) -> float | None:
        """The value in `unit`; None where the source prints no number."""
        try:
            found = float(self.value)
        except ValueError:
            return None
        return found if math.isfinite(found) else None

    @property
    def setting(self) -> str:
        """Method, variant, protocol and hardware in one line, without what the measure says already.

        Whether the hardware is known matters to latencies only.
        """
        silent = {"", *_SAID_BY_THE_MEASURE, *([] if self.metric == LATENCY else ["hardware not stated"])}
        parts = (part.strip() for text in (self.variant, self.protocol, self.hardware) for part in text.split(";"))
        said = "; ".join(part for part in parts if part not in silent)
        return f"{self.method}: {said}" if said else self.method

    @property
    def words(self) -> frozenset[str]:
        """The words of the variant that name a network."""
        return _WORDS & {part.strip() for part in self.variant.split(";")}


@cache
def published() -> tuple[Published, ...]:
    """All published values, in the order of the file."""
    return read_published(FILE)


def read_published(path: Path) -> tuple[Published, ...]:
    """The values in a file of these columns; BenchError for any other."""
    names = [field.name for field in fields(Published)]
    try:
        with path.open(encoding="utf8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"cannot read {path} ({error})", wanted="CSV in UTF-8", cure="Restore the file.") from error
    if rows[:1] != [names] or any(len(row) != len(names) for row in rows):
        raise BenchError(
            f"{path} with other columns", wanted=f"{', '.join(names)} in every line", cure="Restore the file."
        )
    return tuple(Published(*row) for row in rows[1:])


def method_of(reranker: str) -> tuple[str, frozenset[str]] | None:
    """The published method of a re-ranker's full name, and the words that may name its network; None: not published.

    Blends, sums and windows change nothing: published values are with and without them. A chain is a method of its
    own, `SG-Rerank + LOCORE`, never one of its parts.
    """
    parts = [METHODS.get(part.split("+")[0]) for part in reranker.split(_THEN)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return " + ".join(part[0] for part in known), frozenset(word for part in known for word in part[1:])


def of_dataset(dataset: str) -> list[tuple[str, Published]]:
    """(figure, value) of one of our data sets, in the order of the file."""
    return [
        (figure, row)
        for row in published()
        if row.dataset == DATASETS.get(dataset)
        for figure, measure in PRINTED.items()
        if row.metric == measure.metric and row.protocol in measure.protocols
    ]


def beside_accuracy(record: Record) -> list[tuple[str, Published]]:
    """(figure, value) for every published value of what an accuracy record measured, by figure.

    Nothing for a re-ranker that was told how many descriptors to read: it is no published one.
    """
    key = record.key
    if not isinstance(key, AccuracyKey) or key.read is not None:
        return []
    found = [(figure, row) for figure, row in of_dataset(key.dataset) if _is_of(row, key.reranker)]
    return sorted(found, key=lambda one: list(PRINTED).index(one[0]))


def parameters_beside(record: Record) -> Iterator[tuple[float, Published]]:
    """(number of parameters, value) for every published one of a cost record's re-ranker."""
    for row, number in _of_cost(record):
        if row.metric in PARAMETERS and row.unit in COUNTS:
            yield number * COUNTS[row.unit], row


def latencies_beside(record: Record) -> Iterator[tuple[float, Published]]:
    """(ms for as many candidates as the cost record has, value) for every published latency of its re-ranker.

    A latency of one pair is multiplied; one of a list stands beside the same number of candidates only, and one that
    does not say how many candidates it is for beside nothing.
    """
    for row, number in _of_cost(record):
        candidates = getattr(record.key, "candidates", 0)
        if row.metric == LATENCY and row.unit == "us/pair":
            yield number * candidates / 1000, row
        elif row.metric == LATENCY and row.unit == "ms" and row.dataset == f"{candidates} candidates":
            yield number, row


def _of_cost(record: Record) -> Iterator[tuple[Published, float]]:
    if isinstance(record.key, CostKey):
        for row in published():
            if row.number is not None and _is_of(row, record.key.reranker):
                yield row, row.number


def _is_of(row: Published, reranker: str) -> bool:
    known = method_of(reranker)
    return known is not None and row.method == known[0] and row.words <= known[1]
