from __future__ import annotations

import builtins
import sys
import time

import pytest

from bench.measure.imports import imports_timed

SLOW = "import time\ntime.sleep(0.2)\n"


@pytest.fixture
def slow_modules(tmp_path, monkeypatch):
    """slow_outer imports slow_inner; each sleeps a fifth of a second."""
    (tmp_path / "slow_outer.py").write_text(SLOW + "import slow_inner\n")
    (tmp_path / "slow_inner.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("slow_outer", "slow_inner"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("slow_modules")
def test_an_import_counts_once_with_all_that_it_imports():
    with imports_timed() as clock:
        import slow_outer  # noqa: F401

        time.sleep(0.5)  # not an import
    assert 0.4 <= clock.seconds < 0.9


@pytest.mark.usefixtures("slow_modules")
def test_the_usual_import_is_back_afterwards_even_after_an_error():
    usual = builtins.__import__
    with pytest.raises(ImportError), imports_timed() as clock:
        import no_such_module  # noqa: F401
    assert builtins.__import__ is usual
    import slow_inner  # noqa: F401

    assert clock.seconds < 0.2
