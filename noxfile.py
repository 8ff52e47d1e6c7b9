"""`nox -s main` does the main job, `nox -s tests` checks the code; `nox -l` lists the rest.

All sessions share one environment, .nox/suite: torch is large, and is installed once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import venv
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["main"]

ROOT = Path(__file__).parent
SUITE = ROOT / ".nox" / "suite"
#: What `nox -s main` evaluates: one re-ranker of every family, and a chain.
EVALUATED = (
    "none,sg-rerank,ransac,chamfer:rootsift,elvis:micro,ames:micro,rrt:micro,r2former:micro,cvnet:micro,locore:micro,"
    "sg-rerank+then+locore:micro"
)
INSTALLED_FROM = ("pyproject.toml", "constraints.txt")


#: What `nox -s web` looks for; Debian's package is the first of them.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def suite(session: nox.Session) -> str:
    """The interpreter of the shared environment, made or brought up to date first."""
    wanted = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INSTALLED_FROM)).hexdigest()
    python = SUITE / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = SUITE / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        session.log(f"installing into {SUITE.relative_to(ROOT)} (once; a few minutes)")
        stamp.unlink(missing_ok=True)
        venv.create(SUITE, with_pip=True, clear=not python.exists())
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        # torch first, so that what depends on it builds and resolves against the pinned one
        session.run(*install, "torch", external=True)
        session.run(*install, "--editable", f"{ROOT}[test,lint]", external=True)
        stamp.write_text(wanted)
    return str(python)


def bench(session: nox.Session, command: str, *arguments: str) -> None:
    session.run(suite(session), "-m", f"bench.{command}", *arguments, external=True)


@nox.session
def main(session: nox.Session) -> None:
    """Profile with long cells cut, accuracy on the default data, report."""
    session.log("1 of 3: what every re-ranker costs per 100 candidates, long cells cut")
    bench(session, "profile", "--protocol", "quick")
    session.log("2 of 3: what a re-ranker of every family earns on the embedded data, re-ranking the first 100")
    bench(session, "accuracy", "--shortlist", "100", "--rerankers", EVALUATED)
    session.log("3 of 3: the page, tables and plots")
    bench(session, "report")


@nox.session
def profile(session: nox.Session) -> None:
    """What every re-ranker costs per 100 candidates, then the tables; arguments go to bench.profile."""
    bench(session, "profile", *session.posargs)
    bench(session, "report")


@nox.session
def accuracy(session: nox.Session) -> None:
    """What every re-ranker earns on the default data; arguments go to bench.accuracy."""
    bench(session, "accuracy", *(session.posargs or ("--shortlist", "400")))


@nox.session
def churn(session: nox.Session) -> None:
    """How far rankings depend on number type and batch size, then the tables; arguments go to bench.churn."""
    bench(session, "churn", *session.posargs)
    bench(session, "report")


@nox.session
def tune(session: nox.Session) -> None:
    """Blends chosen on facades-val for facades, then the tables; arguments go to bench.tune."""
    bench(session, "tune", *session.posargs)
    bench(session, "report")


@nox.session
def check(session: nox.Session) -> None:
    """Holds this code against the stored baseline, or against a revision; arguments go to bench.check."""
    bench(session, "check", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests; arguments go to pytest."""
    pytest(session)


@nox.session(name="bench")
def benchmarks(session: nox.Session) -> None:
    """Benchmarks of the re-rankers, the evaluator, the first stage, RANSAC and the harness itself."""
    pytest(session, "tests/benchmarks", "--benchmark-only", "--benchmark-group-by=group")


@nox.session
def web(session: nox.Session) -> None:
    """The report's page in a browser, and its pictures in the docs; installs Debian's chromium if need be."""
    python = suite(session)
    constrained = ("--quiet", "--constraint", str(ROOT / "constraints.txt"))
    session.run(python, "-m", "pip", "install", *constrained, "--editable", f"{ROOT}[test,web]", external=True)
    if "CHROMIUM" not in os.environ and not any(map(shutil.which, BROWSERS)):
        if shutil.which("apt-get") is None:
            session.error("no chromium and no apt-get: install a Chromium, and name it in $CHROMIUM if it is elsewhere")
        root = () if os.geteuid() == 0 else ("sudo",)
        session.run(*root, "apt-get", "update", "--quiet", external=True)
        session.run(*root, "apt-get", "install", "--yes", "--no-install-recommends", "chromium", external=True)
    pytest(session, "tests/bench/reporting/web", "--screenshots", str(ROOT / "docs" / "images"))
    pytest(session, "tests/benchmarks/test_web.py", "--benchmark-only")


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, full disks, broken workers and load, as often as the docs say: hours; arguments go to pytest."""
    pytest(session, "tests/faults", "tests/load", "--thorough", "--timeout", "0")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Bad bytes for every reader, and what no score may depend on, as often as the docs say; arguments go to pytest."""
    pytest(session, "tests/fuzz", "tests/rerankers/test_metamorphic.py", "--thorough", "--timeout", "0")


@nox.session
def parity(session: nox.Session) -> None:
    """Every reference case in the repository; arguments name other folders."""
    bench(session, "parity", *(session.posargs or sorted(map(str, (ROOT / "tests" / "golden").iterdir()))))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    python = suite(session)
    session.run(python, "-m", "ruff", "check", external=True)
    session.run(python, "-m", "ruff", "format", "--check", external=True)
    session.run(python, "-m", "mypy", external=True)


def pytest(session: nox.Session, *arguments: str) -> None:
    session.run(
        suite(session),
        "-m",
        "pytest",
        *arguments,
        *session.posargs,
        external=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
