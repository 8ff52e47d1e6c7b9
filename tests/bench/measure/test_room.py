"""Rules of the house for bench/measure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import bench.measure

FOLDER = Path(bench.measure.__file__).parent
ROOMS = ("rerankers", "bench.datasets", "bench.features", "bench.search", "bench.metrics", "bench.results")


def test_importing_it_imports_no_torch():
    code = (
        "import sys, bench.measure; print(sorted({'torch', 'numpy', 'cv2', 'faiss', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_it_knows_no_other_room():
    imported = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    assert "bench.errors" in imported
    assert not [name for name in imported if name.startswith(ROOMS)]


def test_every_name_it_offers_is_there():
    assert all(getattr(bench.measure, name) is not None for name in bench.measure.__all__)
