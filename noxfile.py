"""`nox -s main` does the main job, `nox -s tests` checks the code; `nox -l` lists the rest.

All sessions share one environment, .nox/suite: torch is large, and is installed once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tomllib
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
#: Versions and hashes of files, one file an environment: `nox -s lock` writes them.
REQUIREMENTS = ROOT / "requirements"
CONSTRAINTS = ROOT / "constraints.txt"
INSTALLED_FROM = (ROOT / "pyproject.toml", *(REQUIREMENTS / f"{name}.txt" for name in ("build", "suite", "torch")))
#: What `nox -s web` looks for; Debian's package is the first of them.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def suite(session: nox.Session) -> str:
    """The interpreter of the shared environment, made or brought up to date first."""
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in INSTALLED_FROM)).hexdigest()
    python, stamp = interpreter(SUITE), SUITE / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        session.log(f"installing into {SUITE.relative_to(ROOT)} (once; a few minutes)")
        stamp.unlink(missing_ok=True)
        venv.create(SUITE, with_pip=True, clear=not python.exists())
        locked(session, python, "build")
        locked(session, python, "suite")
        if os.environ.get("RERANK_TORCH") == "hashed":
            locked(session, python, "torch")
        else:  # builds for CPU, CUDA and ROCm are other files of one version: the one that pip is set up to find
            pip(session, python, "install", "--constraint", str(CONSTRAINTS), "torch")
        pip(session, python, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        pip(session, python, "check")
        stamp.write_text(wanted)
    return str(python)


def tool(session: nox.Session, name: str) -> str:
    """The interpreter of an environment of its own, for what shall not stand beside the suite."""
    folder, listed = ROOT / ".nox" / name, REQUIREMENTS / f"{name}.txt"
    python, stamp = interpreter(folder), folder / "installed"
    if not stamp.exists() or stamp.read_bytes() != listed.read_bytes():
        venv.create(folder, with_pip=True, clear=True)
        locked(session, python, name)
        stamp.write_bytes(listed.read_bytes())
    return str(python)


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def locked(session: nox.Session, python: Path | str, name: str) -> None:
    """Installs what a file in requirements/ lists, by hash; nothing that it does not list, not even to build."""
    options = ("--require-hashes", "--no-deps", "--no-build-isolation")
    pip(session, python, "install", *options, "--requirement", str(REQUIREMENTS / f"{name}.txt"))


def pip(session: nox.Session, python: Path | str, *arguments: str) -> None:
    # DeepSpeed is built from source, and needs no operators of its own here: without, it needs no torch to be built
    env = {**os.environ, "DS_BUILD_OPS": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    session.run(str(python), "-m", "pip", "--quiet", *arguments, external=True, env=env)


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
    locked(session, python, "web")
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


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests, and which lines of rerankers/ and bench/ they run, commands apart; pyproject.toml says the least."""
    python = suite(session)
    session.run(python, "-m", "coverage", "erase", external=True)
    pytest(session, module=("coverage", "run", "-m", "pytest"))
    session.run(python, "-m", "coverage", "combine", "--quiet", external=True)
    session.run(python, "-m", "coverage", "report", external=True)


@nox.session
def lock(session: nox.Session) -> None:
    """Pins and hashes what pyproject.toml asks for, keeping what is pinned; `-- --upgrade` takes what is newest."""
    groups = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["dependency-groups"])
    every = ("--all-extras", *(word for group in groups for word in ("--group", group)))
    hashed = ("--generate-hashes", "--constraint", CONSTRAINTS.name)
    own = ("--extra", "test", "--extra", "lint", "--no-emit-package", "torch")
    session.chdir(ROOT)
    # --no-config: with the libraries of builds for CUDA, which pyproject.toml leaves out for the suite
    compiled(session, CONSTRAINTS.name, "pyproject.toml", "--no-config", *every, *session.posargs)
    compiled(session, "requirements/suite.txt", "pyproject.toml", *hashed, *own)
    for group in groups:
        compiled(session, f"requirements/{group}.txt", "--no-config", *hashed, "--group", group)


def compiled(session: nox.Session, output: str, *arguments: str) -> None:
    """Writes versions, and hashes, for every platform and every Python from 3.11 on."""
    options = ("--quiet", "--universal", "--python-version", "3.11", "--no-annotate")
    head = ("--custom-compile-command", "nox -s lock")
    uv = (tool(session, "lock"), "-m", "uv", "pip", "compile")
    session.run(*uv, *options, *head, *arguments, "--output-file", output, external=True)


@nox.session
def audit(session: nox.Session) -> None:
    """Known holes in what is pinned, by the package index's own service; arguments go to pip-audit."""
    found = ROOT / ".nox" / "audit" / "found.json"
    ask = (tool(session, "audit"), "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--disable-pip", "--no-deps")
    form = ("--progress-spinner", "off", "--format", "json", "--output", str(found))
    found.unlink(missing_ok=True)
    said = session.run(*ask, *form, *session.posargs, external=True, silent=True, success_codes=(0, 1))
    if not found.exists():
        session.error(f"nobody could be asked, so nothing is known: {str(said).strip().splitlines()[-1]}")
    asked = json.loads(found.read_text(encoding="utf8"))["dependencies"]
    unknown = [one["name"] for one in asked if "skip_reason" in one]
    holes = [(one, hole) for one in asked for hole in one.get("vulns", ())]
    for one, hole in holes:
        session.warn(
            f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}"
        )
    if unknown:
        session.error(
            f"the service says nothing of {len(unknown)} of {len(asked)} packages ({', '.join(unknown[:3])}, ...): "
            "that of a mirror may know none. Run it where the package index itself can be reached."
        )
    if holes:
        session.error(f"{len(holes)} known holes; {len(asked)} packages were asked about")
    session.log(f"no known hole in {len(asked)} packages")


@nox.session
def licences(session: nox.Session) -> None:
    """Writes docs/licences.md; fails on a licence that pyproject.toml does not allow."""
    listed = (REQUIREMENTS / "suite.txt").read_text(encoding="utf8")
    names = sorted({"torch", *re.findall(r"^([\w-]+)==", listed, re.MULTILINE)})
    session.chdir(ROOT)
    ask = (tool(session, "licences"), "-m", "piplicenses", "--python", suite(session))
    table = session.run(*ask, "--with-system", "--packages", *names, external=True, silent=True)
    page = ROOT / "docs" / "licences.md"
    head = page.read_text(encoding="utf8").partition("\n|")[0]
    page.write_text(f"{head}\n{str(table).strip()}\n", encoding="utf8")


def pytest(session: nox.Session, *arguments: str, module: tuple[str, ...] = ("pytest",)) -> None:
    session.run(
        suite(session),
        "-m",
        *module,
        *arguments,
        *session.posargs,
        external=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
