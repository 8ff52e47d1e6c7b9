"""What the report's page costs: to make, and to open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.reporting import statistics
from bench.reporting.web import document, payload, thumbnails
from tests.bench.reporting.web.conftest import browser, opened  # noqa: F401
from tests.bench.reporting.web.made_up import pictures, report

#: 30 methods, 3 protocols, 70 queries, with an image for whatever their lists show.
RECORDS = report(methods=29, queries=70, pool=60)
PICTURES = pictures(RECORDS)


def made() -> bytes:
    return document("A report", payload(RECORDS, PICTURES, "records"), thumbnails(PICTURES))


@pytest.mark.benchmark(group="report page")
def test_making_the_page(benchmark: Any) -> None:
    page = benchmark.pedantic(made, setup=statistics._difference.cache_clear, rounds=3)
    benchmark.extra_info["megabytes"] = len(page) / 1e6
    assert len(page) < 15e6


@pytest.mark.benchmark(group="report page")
@pytest.mark.parametrize("view", ["leaderboard", "queries"])
def test_opening_the_page_until_it_can_be_used(
    benchmark: Any,
    opened: Callable[..., Any],  # noqa: F811
    tmp_path: Path,
    view: str,
) -> None:
    path = tmp_path / "index.html"
    path.write_bytes(made())
    pages = []
    benchmark.pedantic(lambda: pages.append(opened(path, f"view={view}&query=3")), rounds=5, warmup_rounds=1)
    # of the page alone, by its own clock, without the browser's new window
    benchmark.extra_info["ready_ms"] = [int(page.get_attribute("html", "data-ready")) for page in pages]
