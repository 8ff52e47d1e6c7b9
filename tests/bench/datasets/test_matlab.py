"""Variables are those that scipy reads, whose reader is not used."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from bench.datasets.matlab import Damaged, read_variables


@pytest.mark.parametrize("packed", [False, True])
def test_cells_structures_and_numbers(tmp_path: Path, packed: bool) -> None:
    names = np.array([["all_souls"], ["é" * 9], ["c"]], dtype=object)
    truth = np.zeros((1, 2), dtype=[("ok", object), ("bbx", object)])
    for number in range(2):
        truth[0, number] = np.arange(number + 1.0)[None] * 300, np.array([[0.5, 1, 2, 3]])
    stored = {"imlist": names, "gnd": truth, "small": np.array([[7]], np.uint8), "none": np.zeros((0, 0))}
    savemat(tmp_path / "a.mat", stored, do_compression=packed)
    found = read_variables(tmp_path / "a.mat")
    assert found["imlist"] == ["all_souls", "é" * 9, "c"]
    assert [list(entry["ok"]) for entry in found["gnd"]] == [[0], [0, 300]]
    assert list(found["gnd"][1]["bbx"]) == [0.5, 1, 2, 3]
    assert list(found["small"]) == [7] and len(found["none"]) == 0


def test_what_matlab_did_not_write(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"a": np.arange(100.0)})
    whole = (tmp_path / "a.mat").read_bytes()
    for content in (whole[:-8], whole[:126] + b"XX" + whole[128:]):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(Damaged):
            read_variables(tmp_path / "a.mat")
