from __future__ import annotations

import pytest

from tests.bench.fetching.web import serving


@pytest.fixture
def web():
    with serving() as site:
        yield site
