"""Bad bytes for every reader: refused in words, soon, within memory, and nothing in them is run.

`nox -s fuzz` tries each reader 100,000 times; a short form runs in CI.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.fuzz.attack import STUMBLES, Report, attack, replay
from tests.fuzz.readers.every import READERS

#: Inputs for a reader: (in CI, by nox).
INPUTS = {"hypothesis": (150, 5_000), "atheris": (300, 100_000)}
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.fixture(scope="module")
def begun(tmp_path_factory, thorough) -> Callable[[str, str], Future[Report]]:
    """Attacks on all readers, as many at once as there are cores; by reader and engine."""
    folder = tmp_path_factory.mktemp("fuzz")
    engines = [engine for engine in INPUTS if engine != "atheris" or HAS_ATHERIS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {
            (name, engine): pool.submit(attack, name, engine, INPUTS[engine][thorough], folder / engine / name)
            for name in READERS
            for engine in engines
        }
        yield lambda name, engine: futures[name, engine]
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("engine", INPUTS)
@pytest.mark.parametrize("name", READERS)
def test_bad_bytes(begun, tally, name, engine):
    if engine == "atheris" and not HAS_ATHERIS:
        pytest.skip("atheris has no wheel for this platform")
    report = begun(name, engine).result()
    what = f"bytes for {name}, by {engine}"
    tally.note(what, tried=report.tried, said=f"{report.shaky} not seen again" if report.shaky else None)
    for finding in report.findings:
        tally.note(what, tried=0, found=f"{finding.what}; input {finding.input[:400]}")
    assert not report.findings and report.tried


def stumbles() -> list[tuple[str, str]]:
    return [(path.parent.name, path.name) for path in sorted(STUMBLES.glob("*/*"))]


@pytest.mark.parametrize(("folder", "file"), stumbles())
def test_what_was_found_once(tally, folder, file):
    found = replay(folder, (STUMBLES / folder / file).read_bytes())
    tally.note("inputs that readers once stumbled over", found=found)
    assert found is None
