"""Records of cells and where they are kept."""

from bench.results.journal import Journal
from bench.results.record import AccuracyKey, ChurnKey, CostKey, Figure, LinkingKey, Provenance, Record, TuneKey
from bench.results.store import ResultStore

__all__ = [
    "AccuracyKey",
    "ChurnKey",
    "CostKey",
    "Figure",
    "Journal",
    "LinkingKey",
    "Provenance",
    "Record",
    "ResultStore",
    "TuneKey",
]
