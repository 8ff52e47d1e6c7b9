"""What is written beside weights: where they come from, and how they came to be."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from bench.files import write_bytes, write_text
from bench.training.state import Progress, Row


def write(folder: Path, name: str, weights: dict[str, Tensor], progress: Progress, facts: dict[str, Any]) -> Path:
    """NAME.safetensors, NAME.json (the card) and NAME.csv (the curve); the path of the weights, written last.

    facts: what the card says besides the training's course.
    """
    content = save({name: value.contiguous() for name, value in weights.items()}, metadata={"format": "pt"})
    best = progress.best
    assert best is not None
    card = facts | {
        "steps": progress.step,
        "finished": progress.finished,
        "seconds": round(progress.seconds, 1),
        "loss": round(progress.curve[-1].loss, 6),
        "kept": asdict(best),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(value.numel() for value in weights.values()),
        "bytes": len(content),
    }
    table = io.StringIO()
    writer = csv.DictWriter(table, list(asdict(best)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_short(row) for row in progress.curve)
    write_text(folder / f"{name}.csv", table.getvalue())
    write_text(folder / f"{name}.json", json.dumps(card, indent=1) + "\n")
    path = folder / f"{name}.safetensors"
    write_bytes(path, content)
    return path


def _short(row: Row) -> dict[str, int | float | str]:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
