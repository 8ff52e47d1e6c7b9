from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file

from bench.errors import BenchError
from bench.parity.__main__ import OFF, UNSUPPORTED, main
from bench.parity.case import Case
from tests.support import golden

CASE = "ames-ensemble"


def code(*folders, brief=False):
    """The exit code of the command."""
    try:
        main(list(folders), brief=brief)
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.fixture
def copy(tmp_path):
    """A case that may be changed."""
    return shutil.copytree(golden(CASE), tmp_path / CASE)


def test_a_case_at_parity(capsys):
    assert code(golden(CASE)) == 0
    said = capsys.readouterr().out
    assert CASE in said and "fused_top8" in said and "1 ok, 0 off" in said


def test_a_deviation_is_off_and_named(copy, capsys):
    outputs = load_file(copy / "outputs.safetensors")
    outputs["fused_top8"][0, 0, 0] += 0.5
    save_file(outputs, copy / "outputs.safetensors")
    assert code(copy, brief=True) == OFF
    said = capsys.readouterr().out
    assert "largest deviation 0.5 in fused_top8" in said


def test_an_output_that_nobody_compares_is_off(copy, capsys):
    outputs = load_file(copy / "outputs.safetensors") | {"surprise": np.zeros(2, dtype=np.float32)}
    save_file(outputs, copy / "outputs.safetensors")
    assert code(copy) == OFF
    assert "not compared" in capsys.readouterr().out


def test_a_case_that_breaks_does_not_stop_the_others(copy, capsys):
    (copy / "inputs.safetensors").write_bytes(b"")
    assert code(copy, golden(CASE)) == OFF
    assert "1 ok, 1 off" in capsys.readouterr().out


def test_an_unknown_kind_says_what_is_supported(copy, capsys):
    spec = json.loads((copy / "case.json").read_text()) | {"kind": "psychic_forward"}
    (copy / "case.json").write_text(json.dumps(spec))
    assert code(copy) == UNSUPPORTED
    said = capsys.readouterr().out
    assert "psychic_forward is not supported" in said and "ames_forward" in said


def test_a_folder_of_cases_is_run_as_a_whole(copy, capsys):
    shutil.copytree(copy, copy.parent / "second")
    assert code(copy.parent, brief=True) == 0
    assert "2 ok" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_a_broken_case_is_bad_input(copy, text):
    (copy / "case.json").write_text(text)
    with pytest.raises(BenchError, match=r"case\.json is not a case"):
        main([copy])


def test_folders_without_cases_are_bad_input(tmp_path):
    with pytest.raises(BenchError, match=r"no case\.json"):
        main([tmp_path])
    with pytest.raises(BenchError, match="no folder"):
        main([tmp_path / "none"])


def test_compare_takes_integers_exactly_and_shapes_seriously():
    case = Case(golden(CASE), {"kind": "x", "atol": 0.1, "tolerances": {"tight": {"atol": 0.0}}})
    assert case.compare("a", [1.05], expected=[1.0]).ok
    assert not case.compare("tight", [1.05], expected=[1.0]).ok
    assert not case.compare("a", np.array([2]), expected=np.array([1])).ok
    assert not case.compare("a", [1.0, 1.0], expected=[1.0]).ok
    assert not case.compare("a", [np.nan], expected=[1.0]).ok
    assert not case.compare("a", [1.0], expected=[np.inf]).ok
    assert not case.compare("a", [-np.inf], expected=[np.inf]).ok
    assert case.compare("a", [np.nan, np.inf], expected=[np.nan, np.inf]).ok
