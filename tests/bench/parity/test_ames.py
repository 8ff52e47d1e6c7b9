from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from bench.parity.ames import RUNNERS
from bench.parity.case import Case
from tests.support import golden

OUTPUTS = {
    "ames-fp": 3,
    "ames-bin": 3,
    "ames-prenorm": 3,
    "ames-elvis": 3,
    "ames-protocol": 14,
    "ames-ensemble": 4,
}


@pytest.mark.parametrize(("name", "outputs"), OUTPUTS.items())
def test_every_output_is_inside_its_tolerance(name: str, outputs: int) -> None:
    case = Case.read(golden(name))
    verdicts = RUNNERS[case.kind](case)
    assert {verdict.output for verdict in verdicts} == set(case.outputs)
    assert len(verdicts) == outputs
    assert [verdict for verdict in verdicts if not verdict.ok] == []


def test_one_wrong_weight_puts_every_output_off(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(golden("ames-fp"), folder)
    stored = torch.load(folder / "checkpoint.pt", weights_only=True)
    stored["state"]["mtc_token"][0] += 0.1
    torch.save(stored, folder / "checkpoint.pt")
    case = Case.read(folder)
    assert [verdict.ok for verdict in RUNNERS[case.kind](case)] == [False, False, False]


def test_swapped_blend_weights_are_off(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(golden("ames-ensemble"), folder)
    spec = json.loads((folder / "case.json").read_text())
    spec["protocol"]["lamb"].reverse()
    (folder / "case.json").write_text(json.dumps(spec))
    case = Case.read(folder)
    assert not any(verdict.ok for verdict in RUNNERS[case.kind](case))
