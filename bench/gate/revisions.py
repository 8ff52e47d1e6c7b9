"""Another revision's re-rankers on disk, out of git's history and without touching the checkout."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.files import unwritable
from bench.provenance import ROOT

#: What is taken of a revision; everything else of both sides is this tree's.
PACKAGE = "rerankers"
CONSTRAINTS, PROJECT = "constraints.txt", "pyproject.toml"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Revision:
    """A commit whose re-rankers lie in `path`/rerankers. title: the first line of its message."""

    commit: str
    path: Path
    title: str


def checked_out(revision: str, folder: Path) -> Revision:
    """The revision, its re-rankers in a folder named by its commit under `folder`, reused when there.

    Several processes may ask at once. Raises BenchError outside a git checkout, for what names no commit, and for a
    commit without re-rankers.
    """
    commit = _commit(revision)
    path = Path(folder) / commit
    if not path.is_dir():
        _extract(revision, commit, path)
    return Revision(commit, path, _said("log", "-1", "--format=%s", commit))


def same_libraries(revision: Revision) -> str | None:
    """A note when the revision asks for other libraries than this tree: both sides run with those installed here."""
    before = _project(_blob(revision.commit, PROJECT)), _lines(_blob(revision.commit, CONSTRAINTS))
    after = _project(_own(PROJECT)), _lines(_own(CONSTRAINTS))
    if before == after:
        return None
    pairs = list(zip(before, after, strict=True))
    gone = sorted(line for one, other in pairs for line in one - other)
    added = sorted(line for one, other in pairs for line in other - one)
    changes = [*(f"{line} there" for line in gone), *(f"{line} here" for line in added)]
    return (
        f"{revision.commit[:7]} asks for other libraries ({', '.join(changes)}): "
        "both sides ran with those that are installed here"
    )


def _commit(revision: str) -> str:
    """The commit that the revision names."""
    try:
        inside = _git("rev-parse", "--is-inside-work-tree")
    except FileNotFoundError as error:
        raise BenchError("no git", wanted="git, to read another revision", cure="Install git.") from error
    if inside.returncode != 0:
        raise BenchError(
            f"{ROOT} is no git checkout ({_words(inside.stderr)})",
            wanted="one, to read another revision",
            cure="Clone the project with git.",
        )
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    if _said("rev-parse", "--is-shallow-repository") == "true":
        raise BenchError(
            f"revision {revision!r} is not in this shallow clone",
            wanted="a commit, branch or tag whose history is here",
            cure="Run `git fetch --unshallow`; in GitHub Actions give actions/checkout fetch-depth: 0.",
        )
    raise BenchError(
        f"unknown revision {revision!r}",
        wanted="a commit, branch or tag of this checkout",
        cure="See `git log --oneline`, or run `git fetch` first.",
    )


def _extract(revision: str, commit: str, path: Path) -> None:
    """Puts the commit's re-rankers into `path`: made beside it and renamed, so that it is whole or not there."""
    if not _git("ls-tree", commit, PACKAGE).stdout:
        raise BenchError(
            f"revision {revision!r} ({commit[:7]}) has no {PACKAGE}/",
            wanted="a commit of this project with re-rankers in it",
            cure="Choose a later one.",
        )
    archive = _git("archive", "--format=tar", commit, PACKAGE)
    if archive.returncode != 0:
        raise BenchError(
            f"git cannot read {commit[:7]} ({_words(archive.stderr)})",
            wanted="a commit whose files are here",
            cure="Run `git fetch`, then the command again.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{commit[:12]}.", suffix=".part", dir=path.parent))
        try:
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
                packed.extractall(beside, filter="data")
            beside.chmod(0o755)
            _rename(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _rename(beside: Path, path: Path) -> None:
    """Another process may have been quicker: what it made is as good."""
    try:
        beside.rename(path)
    except OSError:
        if not path.is_dir():
            raise


def _project(text: bytes | None) -> set[str]:
    """The requirements of a pyproject.toml; none where it is absent or damaged."""
    try:
        found = tomllib.loads((text or b"").decode())
    except ValueError:
        return set()
    return set(found.get("project", {}).get("dependencies", []))


def _lines(text: bytes | None) -> set[str]:
    """What stands in a constraints file, comments apart."""
    lines = (line.partition("#")[0].strip() for line in (text or b"").decode(errors="replace").splitlines())
    return {line for line in lines if line}


def _own(name: str) -> bytes | None:
    path = ROOT / name
    return path.read_bytes() if path.is_file() else None


def _blob(commit: str, name: str) -> bytes | None:
    """A file of a commit, in the folder of this project."""
    found = _git("show", f"{commit}:./{name}")
    return found.stdout if found.returncode == 0 else None


def _said(*arguments: str) -> str:
    return _git(*arguments).stdout.decode(errors="replace").strip()


def _words(stderr: bytes) -> str:
    return " ".join(stderr.decode(errors="replace").split()) or "it does not say why"


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """git on this checkout, whatever repository the environment names (a hook's, say); it asks nobody anything."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            timeout=TIMEOUT_S,
            env={**inherited, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"git {arguments[0]} has not ended after {TIMEOUT_S} s",
            wanted="a checkout on a disk that answers",
            cure="Run the command again.",
        ) from error


def import_from(path: Path) -> dict[str, str]:
    """Environment in which a new interpreter finds what lies in `path` before all else, its own folder included."""
    others = [place or os.getcwd() for place in sys.path]  # noqa: PTH109 - text, not a Path
    return {"PYTHONPATH": os.pathsep.join([str(path), *others]), "PYTHONSAFEPATH": "1"}


def only_from(path: Path) -> None:
    """In the new interpreter: BenchError unless all re-rankers come from `path`; what is not there stays missing.

    An editable installation would give the modules of its own tree for those that the revision lacks.
    """
    sys.meta_path[:] = [one for one in sys.meta_path if "__editable__" not in getattr(one, "__module__", "")]
    for name, module in list(sys.modules.items()):
        where = getattr(module, "__file__", None)
        if name.partition(".")[0] != PACKAGE or where is None:
            continue
        if path.resolve() not in Path(where).resolve().parents:
            raise BenchError(
                f"{name} from {where}",
                wanted=f"that in {path}",
                cure="The revision is too old for this bench, or PYTHONPATH names another checkout.",
            )
