"""Records of cells and where they are kept."""

from bench.results.journal import Journal
from bench.results.record import AccuracyKey, ChurnKey, CostKey, Figure, Provenance, Record, TuneKey
from bench.results.store import ResultStore

__all__ = ["AccuracyKey", "ChurnKey", "CostKey", "Figure", "Journal", "Provenance", "Record", "ResultStore", "TuneKey"]
