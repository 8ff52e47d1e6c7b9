"""What is installed is pinned and hashed, and nothing else is: told from files, and from what is installed here."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
#: The environment that docs/licences.md was written in, whatever runs the test.
LINUX = {
    "implementation_name": "cpython",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "python_full_version": "3.11.7",
    "python_version": "3.11",
    "sys_platform": "linux",
}
#: Of the extra `gpu`, which no environment of nox has: pinned, not hashed.
GPU = re.compile(r"(faiss-gpu|nvidia-[\w-]+)-cu12")
#: Libraries that builds of torch for CUDA bring along.
CUDA = re.compile(r"(cuda|nvidia)-.+|triton")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))


@cache
def entries(path: Path) -> dict[str, tuple[Requirement, tuple[str, ...]]]:
    """What a file pins, by name, with the hashes."""
    text = re.sub(r"(?m)^#.*\n", "", path.read_text(encoding="utf8")).replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        pin, *hashes = line.split(" --hash")
        requirement = Requirement(pin)
        assert requirement.name == canonicalize_name(requirement.name) not in found, line
        found[requirement.name] = requirement, tuple(f"--hash{one}".strip() for one in hashes)
    return found


def version_in(path: Path, name: str) -> str:
    (only,) = entries(path)[name][0].specifier
    assert only.operator == "=="
    return only.version


def lock(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


CONSTRAINTS = ROOT / "constraints.txt"


def test_there_is_a_file_for_the_suite_and_one_for_each_group():
    assert [path.stem for path in LOCKS] == sorted(["suite", *project()["dependency-groups"]])


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
class TestLock:
    def test_everything_is_hashed(self, path):
        assert entries(path)
        for name, (_, hashes) in entries(path).items():
            assert hashes and all(map(HASH.fullmatch, hashes)), name
            assert list(hashes) == sorted(set(hashes)), name

    def test_versions_are_those_of_the_constraints(self, path):
        own = {name: version_in(path, name) for name in entries(path)}
        assert own == {name: version_in(CONSTRAINTS, name) for name in own}

    def test_what_was_asked_for_is_in_it(self, path):
        groups = project()["dependency-groups"]
        for text in groups.get(path.stem, declared() if path.stem == "suite" else ()):
            wanted = Requirement(text)
            if path.stem == "suite" and wanted.name == "torch":  # in a file of its own
                continue
            assert wanted.specifier.contains(version_in(path, wanted.name)), text


def declared() -> list[str]:
    extras = project()["project"]["optional-dependencies"]
    return [*project()["project"]["dependencies"], *extras["test"], *extras["lint"]]


def test_no_constraint_is_superfluous():
    locked = {name for path in LOCKS for name in entries(path)}
    assert {name for name in entries(CONSTRAINTS) if not GPU.fullmatch(name)} == locked
    assert not any(hashes for _, hashes in entries(CONSTRAINTS).values())


def holds(requirement: Requirement, extra: str, environment: dict[str, str] | None = None) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**(environment or {}), "extra": extra})


@cache
def needed() -> frozenset[str]:
    """What the project, its tests and its checks need here, by the metadata of what is installed."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(one, "") for one in map(Requirement, declared())]
    while todo:
        requirement, extra = todo.pop()
        if not holds(requirement, extra):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for one in ("", *requirement.extras):
            if (name, one) not in seen:
                seen.add((name, one))
                todo += [(Requirement(text), one) for text in distribution(name).requires or ()]
    return frozenset(found)


def test_all_that_is_needed_is_locked_and_nothing_else():
    suite = {name for name, (pin, _) in entries(lock("suite")).items() if holds(pin, "")}
    libraries = {name for name in needed() if CUDA.fullmatch(name) and name not in suite}
    assert libraries <= set(entries(lock("torch")))
    assert needed() - libraries == suite | {"torch"}


def test_what_is_installed_is_what_is_locked():
    suite = entries(lock("suite"))
    other = {}
    for name in needed():
        path = lock("suite" if name in suite else "torch")
        installed = Version(distribution(name).version).public  # torch's builds have local versions
        if installed != version_in(path, name):
            other[name] = installed
    assert not other


def test_what_torch_needs_is_what_the_project_says_it_needs():
    (said,) = project()["tool"]["uv"]["dependency-metadata"]
    assert said["name"] == "torch" and said["version"] == version_in(CONSTRAINTS, "torch")
    own = [Requirement(text) for text in distribution("torch").requires or ()]
    kept = {str(one) for one in own if "extra ==" not in str(one.marker) and not CUDA.fullmatch(one.name)}
    assert set(map(str, map(Requirement, said["requires-dist"]))) == kept


def test_what_the_code_imports_is_declared():
    known = {canonicalize_name(Requirement(text).name) for text in project()["project"]["dependencies"]}
    known.add("pytest")  # by the plug-in for it
    makers = packages_distributions()
    strange: dict[str, set[str]] = {}
    for path in [*(ROOT / "bench").rglob("*.py"), *(ROOT / "rerankers").rglob("*.py")]:
        for module in imported(path) - set(sys.stdlib_module_names) - {"bench", "rerankers"}:
            if known.isdisjoint(map(canonicalize_name, makers.get(module, [module]))):
                strange.setdefault(module, set()).add(str(path.relative_to(ROOT)))
    assert not strange


def imported(path: Path) -> set[str]:
    """The first names of all modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
    return {name.partition(".")[0] for name in found}


def test_the_list_of_licences_has_all_that_is_installed():
    """`nox -s licences` writes it."""
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf8")
    listed = {canonicalize_name(name) for name in re.findall(r"(?m)^\| ([\w-]+) +\| \S", page)} - {"name"}
    ignored = {name.partition(":")[0] for name in project()["tool"]["pip-licenses"]["ignore-packages"]}
    suite = {name for name, (pin, _) in entries(lock("suite")).items() if holds(pin, "", LINUX)}
    assert listed == (suite | {"torch"}) - ignored
    assert all(name in page for name in ignored)


def test_a_licence_is_read_for_one_version():
    for one in project()["tool"]["pip-licenses"]["ignore-packages"]:
        name, version = one.split(":")
        assert version == version_in(CONSTRAINTS, name)


def test_coverage_leaves_out_the_commands_and_nothing_else():
    commands = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "bench").rglob("*.py")
        if re.search(r"(?m)^    run\(main\)$", path.read_text(encoding="utf8"))
    }
    assert set(project()["tool"]["coverage"]["report"]["omit"]) == commands


def test_ignored_types_say_why():
    silent = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*(ROOT / "bench").rglob("*.py"), *(ROOT / "rerankers").rglob("*.py")]
        for line in path.read_text(encoding="utf8").splitlines()
        if "# type: ignore" in line and not re.search(r"# type: ignore\[[\w, -]+\]  # \w", line)
    ]
    assert not silent
