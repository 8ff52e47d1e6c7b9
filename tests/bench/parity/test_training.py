from __future__ import annotations

import json

import pytest
import torch

from bench.parity.case import Case
from bench.parity.run import run_case
from tests.support import altered, golden

OUTPUTS = {"ames-train": 7, "ames-train-dist": 8, "elvis-train": 7, "elvis-sampler": 5}


@pytest.mark.parametrize(("name", "outputs"), OUTPUTS.items())
def test_reference_cases(name, outputs):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report
    assert len(report.verdicts) == outputs


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("ames-train", "grad_norms"),
        ("ames-train", "accuracy"),
        ("ames-train-dist", "mse"),
        ("ames-train-dist", "param_norms_after"),
        ("elvis-train", "step_norms"),
        ("elvis-train", "bce"),
        ("elvis-sampler", "valid_anchors"),
        ("elvis-sampler", "batches"),
        ("elvis-sampler", "lr_warmcos"),
    ],
)
def test_a_wrong_output_is_seen(tmp_path, name, output):
    def change(outputs):
        outputs[output].flat[-1] += 1

    report = run_case(altered(tmp_path, name, change))
    assert [verdict.output for verdict in report.verdicts if not verdict.ok] == [output]


def test_another_teacher_is_seen_where_it_teaches(tmp_path):
    case = altered(tmp_path, "ames-train-dist", lambda outputs: None)
    stored = torch.load(case.folder / "teacher.pt", weights_only=True)
    stored["state"]["mtc_token"][0] += 1
    torch.save(stored, case.folder / "teacher.pt")
    off = {verdict.output for verdict in run_case(case).verdicts if not verdict.ok}
    assert {"loss", "mse", "grad_norms"} <= off
    assert off.isdisjoint({"bce", "sims", "accuracy"})


@pytest.mark.parametrize(("seed", "off"), [(51, []), (52, ["batches"])])
def test_another_seed_gives_other_triplets(tmp_path, seed, off):
    case = altered(tmp_path, "elvis-sampler", lambda outputs: None)
    spec = json.loads((case.folder / "case.json").read_text())
    spec["protocol"]["seed"] = seed
    assert [verdict.output for verdict in run_case(Case(case.folder, spec)).verdicts if not verdict.ok] == off
