import json

import pytest

from bench.errors import BenchError
from bench.parity.case import Case
from bench.parity.detector import forward
from bench.parity.run import run_case
from tests.support import altered, golden

CASE = "detector-a"


def test_reference_case():
    report = run_case(Case.read(golden(CASE)))
    assert report.verdict == "ok", report.verdicts
    assert {verdict.output for verdict in report.verdicts} == report.case.outputs.keys()


@pytest.mark.parametrize("output", ["attention_1", "detector_store_64", "cosine_global_og-avg"])
def test_a_wrong_output_is_seen(tmp_path, output):
    def spoil(stored):
        stored[output].flat[0] += 1e-3

    assert [one.output for one in forward(altered(tmp_path, CASE, spoil)) if not one.ok] == [output]


def test_a_case_without_weights_is_refused(tmp_path):
    case = altered(tmp_path, CASE, lambda stored: None)
    spec = json.loads((case.folder / "case.json").read_text()) | {"checkpoint": None}
    with pytest.raises(BenchError, match="without a checkpoint"):
        forward(Case(case.folder, spec))
