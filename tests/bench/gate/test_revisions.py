"""Revisions out of small real git repositories."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.gate import revisions
from bench.gate.revisions import checked_out, same_libraries

PROJECT = '[project]\nname = "x"\ndependencies = ["torch>=2.7", "numpy>=2"]\n'


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of three commits: without re-rankers, with them (tag `before`), and with others; then work on it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    write(folder, {"README.md": "soon", PROJECT_NAME: PROJECT, "constraints.txt": "torch==2.7.0\n"})
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=Words")
    git(folder, "tag", "empty")
    write(folder, {"rerankers/__init__.py": "ANSWER = 41\n", "rerankers/deep/x.py": "", "bench/__init__.py": ""})
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=A first answer\n\nMore of it")
    git(folder, "tag", "before")
    write(folder, {"rerankers/__init__.py": "ANSWER = 42\n"})
    git(folder, "commit", "--quiet", "--all", "--message=Another")
    write(folder, {"rerankers/__init__.py": "ANSWER = 43\n"})
    monkeypatch.setattr(revisions, "ROOT", folder)
    return folder


PROJECT_NAME = "pyproject.toml"


def answer(path: Path) -> int:
    return int((path / "rerankers" / "__init__.py").read_text().split("=")[1])


def test_a_revision_s_re_rankers_and_nothing_else(checkout, tmp_path):
    found = checked_out("before", tmp_path / "cache" / "revisions")
    assert found.commit == git(checkout, "rev-parse", "before") and found.title == "A first answer"
    assert found.path == tmp_path / "cache" / "revisions" / found.commit
    assert answer(found.path) == 41
    assert [path.name for path in found.path.iterdir()] == ["rerankers"]
    assert [path.name for path in found.path.parent.iterdir()] == [found.commit]
    assert (checkout / "rerankers" / "__init__.py").read_text() == "ANSWER = 43\n"


@pytest.mark.parametrize("name", ["HEAD", "main", "HEAD~1", "short"])
def test_whatever_git_takes_for_a_revision(checkout, tmp_path, name):
    commit = git(checkout, "rev-parse", "HEAD")[:8] if name == "short" else name
    assert answer(checked_out(commit, tmp_path).path) == (41 if name == "HEAD~1" else 42)


def test_it_is_importable_as_it_stands(checkout, tmp_path):
    path = checked_out("before", tmp_path).path
    script = "import rerankers; print(rerankers.ANSWER, rerankers.__file__)"
    said = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(path)}, check=True
    )
    assert said.stdout.split()[0] == "41" and str(path) in said.stdout


def test_one_that_is_there_is_taken_as_it_is(checkout, tmp_path):
    path = checked_out("before", tmp_path).path
    write(path, {"rerankers/__init__.py": "ANSWER = 7\n"})
    assert answer(checked_out("before", tmp_path).path) == 7


def test_several_may_ask_at_once(checkout, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: checked_out("before", tmp_path / "cache"), range(8)))
    assert len(set(found)) == 1 and answer(found[0].path) == 41
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [found[0].commit]


@pytest.mark.parametrize("name", ["no-such-branch", "0123456", "--output=x", "before:rerankers", ""])
def test_what_names_no_commit(checkout, tmp_path, name):
    with pytest.raises(BenchError, match="unknown revision") as error:
        checked_out(name, tmp_path)
    assert "git fetch" in error.value.cure and not list(tmp_path.glob("*/.*.part"))


def test_a_shallow_clone_says_how_to_get_the_rest(checkout, tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{checkout}", str(clone))
    monkeypatch.setattr(revisions, "ROOT", clone)
    with pytest.raises(BenchError, match="shallow clone") as error:
        checked_out(git(checkout, "rev-parse", "before"), tmp_path / "cache")
    assert "git fetch --unshallow" in error.value.cure and "fetch-depth: 0" in error.value.cure
    assert answer(checked_out("HEAD", tmp_path / "cache").path) == 42


def test_no_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(BenchError, match="is no git checkout"):
        checked_out("HEAD", tmp_path / "cache")


def test_no_git(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no git"):
        checked_out("HEAD", tmp_path / "cache")


def test_a_commit_before_there_were_re_rankers(checkout, tmp_path):
    with pytest.raises(BenchError, match=r"'empty' \(.{7}\) has no rerankers/"):
        checked_out("empty", tmp_path)


def test_a_folder_that_cannot_be_made(checkout, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot write"):
        checked_out("before", tmp_path / "file" / "revisions")


def test_the_same_libraries_need_no_note(checkout, tmp_path):
    found = checked_out("before", tmp_path)
    assert same_libraries(found) is None
    write(checkout, {"constraints.txt": "torch==2.7.0  # the newest\n\n"})
    assert same_libraries(found) is None


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({PROJECT_NAME: PROJECT.replace("2.7", "2.8")}, "torch>=2.7 there, torch>=2.8 here"),
        ({"constraints.txt": "torch==2.8.0\n"}, "torch==2.7.0 there, torch==2.8.0 here"),
        ({PROJECT_NAME: "not toml ["}, "numpy>=2 there"),
    ],
)
def test_other_libraries_are_noted(checkout, tmp_path, files, said):
    found = checked_out("before", tmp_path)
    write(checkout, files)
    note = same_libraries(found)
    assert said in note and note.startswith(found.commit[:7]) and "installed here" in note
