"""What a training needs to go on after a kill, in one file that is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
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
        try:
            save_file(owned, beside, metadata={"progress": json.dumps(asdict(progress))})
        except SafetensorError as error:  # which keeps the number of a full disk in its text
            number = re.search(r"os error (\d+)", str(error))
            code = errno.EIO if number is None else int(number[1])
            raise OSError(code, os.strerror(code)) from error


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
        progress = Progress(**found | {"curve": [_checked(Row(**row)) for row in found["curve"]]})
        _checked(progress)
        differing = "" if progress.settings == settings else _difference(progress.settings, settings)
    except Exception as error:  # whatever safetensors and json raise on a header of any content
        raise _unreadable(path, error) from error
    if progress.settings != settings:
        raise BenchError(
            f"{path} of a training with other settings: {differing}",
            wanted="the settings that it was begun with",
            cure="Pass the same ones, another --out, or --again to begin anew.",
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        groups.setdefault(kind, {})[rest] = value
    try:
        network.load_state_dict(groups["model"])
        for name, parameter in network.named_parameters():
            if name in groups.get("exp_avg", {}):
                optimizer.state[parameter] = {
                    moment: _moment(groups[moment][name], moment, parameter) for moment in MOMENTS
                }
    except (RuntimeError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error
    return progress, groups.get("best", {})


def _moment(value: Tensor, moment: str, parameter: nn.Parameter) -> Tensor:
    if value.shape != (() if moment == "step" else parameter.shape):
        raise ValueError(f"{moment} of shape {tuple(value.shape)}")
    if moment == "step" and not 0 <= float(value) < 1 << 31:
        raise ValueError(f"a moment after {float(value)} steps")
    return value if moment == "step" else value.to(parameter)


def _checked(record: Progress | Row) -> Any:
    """The same; TypeError where a value is not of its field's type."""
    for one in fields(record):
        value, kinds = getattr(record, one.name), _KINDS.get(str(one.type))
        if kinds is not None and (type(value) not in kinds or (type(value) is int and abs(value) >= 1 << 53)):
            raise TypeError(f"{one.name} as {type(value).__name__}")
    if isinstance(record, Progress) and not all(type(loss) in (int, float) for loss in record.losses):
        raise TypeError("losses that are no numbers")
    return record


#: Types in JSON, by the name of a field's type.
_KINDS = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "list[float]": (list,)}


def _unreadable(path: Path, error: Exception) -> BenchError:
    return BenchError(
        f"cannot read {path} ({error!s:.200})", wanted="the state of a training", cure="Delete it to begin anew."
    )


def _difference(stored: str, given: str) -> str:
    """The first settings that differ, in words."""
    one, other = (_flat(json.loads(text)) for text in (stored, given))
    differing = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name)!r:.200}, now {other.get(name)!r}" for name in differing[:4])


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Those within settings beside the others."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found
