"""How many local descriptors a re-ranker is made to read."""

from __future__ import annotations

from rerankers import Reranker


def reading(reranker: Reranker, length: int) -> Reranker:
    """The re-ranker, with all that it is made of, made to read `length` local descriptors of every image."""
    for inner in vars(reranker).values():
        if isinstance(inner, Reranker):
            reading(inner, length)
    reranker.query_locals = reranker.candidate_locals = length
    return reranker
