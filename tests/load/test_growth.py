"""Re-ranking one query after the other does not take more and more memory.

Each method re-ranks in a process of its own, by the path of the accuracy cells: descriptors read from a store on the
disk, candidates scored, ordered, hashed. Growth is the Theil-Sen slope of the process's own resident memory over
queries, after a warm-up: a median of slopes, which a few jumps of an allocator do not move. With 95 % confidence it
has to lie below LEAK: that is what a few tensors' headers, or one Features object, would take.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scipy.stats import theilslopes

from bench.measure.process import run_isolated
from tests.load.ranking import make_store
from tests.tally import Tally

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

#: Bytes a query from which on we speak of a leak: a megabyte in a thousand queries. Few queries cannot show so little.
LEAK, LEAK_OF_FEW = 1024, 16 * 1024
#: What the control keeps.
KEPT = 3 * LEAK_OF_FEW
#: Pair-wise methods, quickest first; and the list-wise one that is as quick. The first are for the short form.
METHODS = (
    *("none", "chamfer:rootsift-48", "elvis:micro", "sg-rerank", "ransac:affine", "ransac:homography", "ransac:delg"),
    *("rrt:micro", "r2former:micro", "ames:micro", "ames:micro-binarized", "cvnet:micro"),
)
SHORT = METHODS[:3]
HOURS = 4 * 3600.0


@pytest.fixture(scope="module")
def sizes(thorough: bool) -> dict[str, int]:
    """The issue's 1,000 queries of 400 candidates; or so many that it takes seconds."""
    queries, candidates, samples = (1000, 400, 200) if thorough else (60, 40, 30)
    return {"queries": queries, "candidates": candidates, "samples": samples}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("growth") / "store"
    make_store(made, 600)
    return made


def growth(folder: Path, method: str, sizes: dict[str, int], *, leak: int = 0) -> tuple[float, float, float, float]:
    """Slope in bytes a query, the ends of its 95 % interval, and seconds; the first third of the queries is warm-up."""
    payload = {"folder": str(folder), "reranker": method, "leak": leak, **sizes}
    outcome = run_isolated("tests.load.ranking:run", payload, timeout_s=HOURS, env={"MALLOC_ARENA_MAX": "2"})
    assert outcome.ok, f"{method}: {outcome.reason}\n{outcome.log_tail}"
    memory, step = outcome.result["memory"], outcome.result["step"]
    found = theilslopes(memory[len(memory) // 3 :], alpha=0.95)
    return found.slope / step, found.low_slope / step, found.high_slope / step, outcome.result["seconds"]


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow(method: str, folder: Path, sizes: dict[str, int], thorough: bool, tally: Tally) -> None:
    if not thorough and method not in SHORT:
        pytest.skip("nox -s faults")
    slope, low, high, seconds = growth(folder, method, sizes)
    limit = LEAK if thorough else LEAK_OF_FEW
    what = f"growth over {sizes['queries']:,} queries of {sizes['candidates']} candidates, {method}"
    grown = f"{slope:,.0f} bytes a query ({low:,.0f} to {high:,.0f})"
    took = f"{1000 * seconds / sizes['queries']:,.0f} ms a query"
    tally.note(what, tried=sizes["queries"], said=f"{grown}, {took}", found=None if high < limit else grown)
    assert high < limit, f"{method} grows by {grown}, allowed is {limit:,}"


def test_a_leak_would_be_seen(folder: Path, sizes: dict[str, int], thorough: bool, tally: Tally) -> None:
    """What is kept on purpose is found, and as large as it is."""
    kept = 2 * LEAK if thorough else KEPT
    slope, low, high, _ = growth(folder, "chamfer:rootsift-48", sizes, leak=kept)
    tally.note("a leak made on purpose", tried=sizes["queries"], said=f"{kept:,} bytes a query, seen as {slope:,.0f}")
    assert low > (LEAK if thorough else LEAK_OF_FEW), f"{kept} bytes a query seen as {low:,.0f} to {high:,.0f}"
    assert slope == pytest.approx(kept, rel=0.5)
