"""python -m bench.profile."""

from __future__ import annotations

import pytest
import torch

from bench import profile
from bench.errors import BenchError
from rerankers.registry import DTYPES
from tests.support import by_name, exit_code


def test_quick_cells_are_kept_and_a_paper_cell_replaces_them(tmp_path, capsys):
    asked = {"rerankers": "none,sg-rerank", "candidates": 5, "warmup": 1, "runs": 2, "records": tmp_path, "threads": 1}
    assert exit_code(profile.main, **asked, protocol=profile.Thoroughness.QUICK) == 0
    first = by_name(tmp_path)
    assert set(first) == {"none:first-stage", "sg-rerank:default"}
    assert "sg-rerank:default" in capsys.readouterr().out
    assert exit_code(profile.main, **asked, protocol=profile.Thoroughness.QUICK) == 0
    assert by_name(tmp_path) == first
    assert exit_code(profile.main, **asked | {"rerankers": "none"}, processes=2) == 0
    replaced = by_name(tmp_path)["none:first-stage"]
    assert replaced != first["none:first-stage"]
    assert len(replaced.series["process_medians_ms"]) == 2


def test_places(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert profile.places("", "") == [("cpu", "float32")]
    assert profile.places("cpu", "float32,bfloat16") == [("cpu", "float32"), ("cpu", "bfloat16")]
    with pytest.raises(BenchError, match="device 'cuda'; wanted cpu"):
        profile.places("cuda", "")
    with pytest.raises(BenchError, match="unknown dtype 'float8'"):
        profile.places("", "float8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert profile.places("", "") == [("cpu", "float32"), *(("cuda", dtype) for dtype in DTYPES)]
    with pytest.raises(BenchError, match="device 'tpu'"):
        profile.places("tpu", "")


def test_the_default_names_cells_that_exist():
    assert len(profile.DEFAULT.split(",")) == len({str(profile.parse(one)) for one in profile.DEFAULT.split(",")}) == 24
