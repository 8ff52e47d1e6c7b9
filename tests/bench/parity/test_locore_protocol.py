from __future__ import annotations

import pytest

from bench.parity.case import Case
from bench.parity.run import run_case
from tests.support import altered, golden

OUTPUTS = {"locore-schedule": 62, "locore-ensemble": 2, "locore-protocol": 58}


@pytest.mark.parametrize(("name", "outputs"), OUTPUTS.items())
def test_reference_cases(name, outputs):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report
    assert len(report.verdicts) == outputs


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("locore-schedule", "starts_t24_w8_s6_start-to-end"),
        ("locore-schedule", "order_t400_w100_s100_start-to-end-to-start"),
        ("locore-ensemble", "fused"),
        ("locore-protocol", "onepass_map_hard_max-start"),
        ("locore-protocol", "local_medium_t42_w12_s6_end-to-start-to-end"),
        ("locore-protocol", "ranks_hard_t40_w12_s4_end-to-start"),
    ],
)
def test_a_wrong_output_is_seen(tmp_path, name, output):
    def change(outputs):
        outputs[output].flat[-1] += 1

    report = run_case(altered(tmp_path, name, change))
    assert [verdict.output for verdict in report.verdicts if not verdict.ok] == [output]
