"""Pictures of the report of record for the docs, from the run that tests its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

#: Name -> the address of the view, and how it is looked at.
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "leaderboard": ("view=leaderboard", {"width": 1480, "height": 860}),
    "tradeoff": ("view=tradeoff", {"height": 900}),
    "queries": ("view=queries&query=5", {"height": 1420}),
    "ceiling": ("view=ceiling", {"height": 900}),
    "phone": ("view=queries&query=5", {"width": 390, "height": 820, "scheme": "dark"}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_for_the_docs(request: pytest.FixtureRequest, opened: Callable[..., Any], name: str) -> None:
    folder = request.config.getoption("--screenshots")
    if folder is None:
        pytest.skip("pictures are taken with --screenshots FOLDER only, as `nox -s web` does")
    where, look = PICTURES[name]
    page = opened(ROOT / "reports" / "index.html", where, **look)
    page.eval_on_selector_all("img", "all => Promise.all(all.map(one => one.decode()))")
    path = Path(folder) / f"report-{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000
