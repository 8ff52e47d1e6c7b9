"""Records of cells and where they are kept."""

from bench.results.journal import Journal
from bench.results.record import (
    AccuracyKey,
    ChurnKey,
    CostKey,
    Figure,
    GateKey,
    LinkingKey,
    NoiseKey,
    PowerKey,
    Provenance,
    RankedLists,
    Record,
    SweepKey,
    TuneKey,
)
from bench.results.store import ResultStore

__all__ = [
    "AccuracyKey",
    "ChurnKey",
    "CostKey",
    "Figure",
    "GateKey",
    "Journal",
    "LinkingKey",
    "NoiseKey",
    "PowerKey",
    "Provenance",
    "RankedLists",
    "Record",
    "ResultStore",
    "SweepKey",
    "TuneKey",
]
