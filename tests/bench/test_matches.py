"""A picture of matches in a list of the small embedded data set."""

from __future__ import annotations

import pytest

from bench import matches
from bench.errors import BenchError
from rerankers import RerankError
from tests.support import QUICK


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def job(cache, out, **changes):
    options = {"reranker": "ransac", "shortlist": 20, "cache": cache}
    matches.main(out=out, **(QUICK | options | changes))


def test_a_picture_comes_out_the_same_every_time(cache, tmp_path):
    job(cache, tmp_path / "one")
    job(cache, tmp_path / "two", query=None)
    (one,), (two,) = (list((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert one.name == "matches_ransac-affine.png"
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reranker": "none"}, "none:first-stage, which reads no local descriptors"),
        ({"reranker": "ransack"}, "unknown re-ranker"),
        ({"reranker": "ames:rootsift"}, "re-ranker ames:rootsift; wanted one that can be run. no trained weights"),
        ({"query": 8}, "query 8 of facades-mini; wanted 0 to 7, for it has 8 queries"),
        ({"shortlist": 1, "query": 0}, "no hard positive among the first 1 candidates"),
    ],
)
def test_bad_requests_draw_nothing(cache, tmp_path, changes, words):
    with pytest.raises((BenchError, RerankError), match=words):
        job(cache, tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []
