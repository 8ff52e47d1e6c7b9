"""What a training needs to go on after a kill, in one file that is whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.errors import BenchError
from bench.files import replacing

#: Of AdamW, for each parameter.
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Row:
    """One validation. loss: mean over the steps since the last one. waited: share of their time spent on loading."""

    step: int
    epoch: int
    seconds: float
    loss: float
    rate: float
    waited: float
    map_medium: float
    map_hard: float

    @property
    def mean(self) -> float:
        return (self.map_medium + self.map_hard) / 2


@dataclass
class Progress:
    """How far a training is. factor: of the rate. stale: validations without a rise. seconds: spent so far, those of
    validations left out."""

    settings: str
    step: int = 0
    seconds: float = 0.0
    factor: float = 1.0
    falls: int = 0
    stale: int = 0
    finished: bool = False
    losses: list[float] = field(default_factory=list)
    waited: float = 0.0
    begun: float = 0.0
    curve: list[Row] = field(default_factory=list)

    @property
    def best(self) -> Row | None:
        """The earliest of the best validations."""
        return max(self.curve, key=lambda row: row.mean, default=None)


def save(
    path: Path, progress: Progress, network: nn.Module, moments: dict[str, Tensor], best: dict[str, Tensor]
) -> None:
    """Writes all of it, in place of what was there. moments: as `MOMENT.PARAMETER`."""
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()} | moments
    owned = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as beside:
        save_file(owned, beside, metadata={"progress": json.dumps(asdict(progress))})


def resume(
    path: Path, settings: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Where an interrupted training stopped, with its weights and moments put back; a new beginning without a file.

    settings: all that decides the training's course. BenchError for a file of other settings, or a damaged one.
    """
    if not path.exists():
        return Progress(settings), {}
    try:
        with safe_open(path, "pt") as stored:
            found = json.loads((stored.metadata() or {})["progress"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        progress = Progress(**found | {"curve": [Row(**row) for row in found["curve"]]})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"cannot read {path} ({error})", wanted="the state of a training", cure="Delete it to begin anew."
        ) from error
    if progress.settings != settings:
        raise BenchError(
            f"{path} of a training with other settings: {_difference(progress.settings, settings)}",
            wanted="the settings that it was begun with",
            cure="Pass the same ones, another --out, or --again to begin anew.",
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        groups.setdefault(kind, {})[rest] = value
    network.load_state_dict(groups["model"])
    for name, parameter in network.named_parameters():
        if name in groups.get("exp_avg", {}):
            optimizer.state[parameter] = {
                moment: groups[moment][name] if moment == "step" else groups[moment][name].to(parameter)
                for moment in MOMENTS
            }
    return progress, groups.get("best", {})


def _difference(stored: str, given: str) -> str:
    """The first settings that differ, in words."""
    one, other = (_flat(json.loads(text)) for text in (stored, given))
    differing = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name)!r}, now {other.get(name)!r}" for name in differing[:4])


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Those within settings beside the others."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found
