"""Who may import whom, as docs/architecture.md draws it: told from the code itself, imports within functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

#: Rooms on the ground, which know nothing of each other.
GROUND = (
    *(f"bench.{room}" for room in ("datasets", "features", "fetching", "measure", "metrics", "results")),
    *("bench.search", "bench.exact"),
)
#: Below all of bench.
CELLAR = ("bench.errors", "bench.files", "bench.others", "bench.npz")
#: What a room may import beside itself and the cellar.
ALLOWED = {
    "bench.datasets": ("rerankers.pickles", "rerankers.torch_files", "rerankers.errors"),
    "bench.features": ("rerankers",),
    "bench.fetching": ("rerankers",),
    "bench.search": ("bench.exact",),
    "bench.reporting": ("bench.results",),
}
WITHOUT_TORCH = ("bench.metrics", "bench.reporting", "bench.results", "bench.exact", "bench.fetching")

#: Each takes a second or more to import, and few cells need it.
SLOW = {"scipy.stats", "scipy.optimize", "transformers.modeling_utils", "deepspeed"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Modules of this project, and torch, that a file names in its imports."""
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            start = base if node.level else node.module
            # `from bench import search` names a module, `from bench.search import Stored` one that is named already
            found |= {f"{start}.{name.name}" if start in ("bench", "rerankers") else str(start) for name in node.names}
    return {name for name in found if name.split(".")[0] in ("bench", "rerankers", "torch")}


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


FILES = sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "rerankers").rglob("*.py")])


def files_of(room: str) -> list[Path]:
    return [path for path in FILES if within(module_of(path), (room,))]


def test_re_rankers_know_nothing_of_the_bench():
    assert not [(path, name) for path in files_of("rerankers") for name in imports(path) if within(name, ("bench",))]


@pytest.mark.parametrize("room", [*GROUND, "bench.reporting"])
def test_a_room_imports_what_it_may(room):
    files = files_of(room)
    may = (room, *CELLAR, *ALLOWED.get(room, ()), "torch")
    strangers = [
        (str(path.relative_to(ROOT)), name) for path in files for name in imports(path) if not within(name, may)
    ]
    assert files and not strangers


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_without_torch(room):
    assert not [path for path in files_of(room) if any(within(name, ("torch",)) for name in imports(path))]


def test_every_module_of_the_bench_has_a_place_in_the_drawing():
    drawing = (ROOT / "docs" / "architecture.md").read_text(encoding="utf8").split("```")[1]
    modules = {module_of(path).split(".")[1] for path in files_of("bench") if module_of(path) != "bench"}
    assert not {name for name in modules if name not in drawing}


def test_no_command_waits_for_slow_libraries_at_its_start():
    """Help, errors and the first line of progress come soon; that they are imported later, for those who use them."""
    commands = [module_of(path) for path in FILES if path.parent.name == "bench" and "run(main)" in path.read_text()]
    program = f"import sys, {', '.join(commands)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "bench.extract" in commands and "torch" in loaded.stdout.split()
    assert not SLOW & set(loaded.stdout.split())
