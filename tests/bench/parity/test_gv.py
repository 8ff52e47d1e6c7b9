import pytest

from bench.errors import BenchError
from bench.parity.case import Case
from bench.parity.gv import RUNNERS
from tests.support import altered, golden

CASES = ["gv-points", "gv-degenerate", "gv-match", "gv-delg"]


def run(case: Case):
    return {verdict.output: verdict for verdict in RUNNERS[case.kind](case)}


@pytest.mark.parametrize("name", CASES)
def test_reference_case(name):
    case = Case.read(golden(name))
    verdicts = run(case)
    assert verdicts.keys() >= case.outputs.keys()
    assert not [verdict for verdict in verdicts.values() if not verdict.ok]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("gv-points", "homography_ransac_mask_03"),
        ("gv-points", "affine_magsac_model"),
        ("gv-points", "homography_ransac_count_spread"),
        ("gv-degenerate", "affine_ransac_status"),
        ("gv-degenerate", "homography_magsac_mask_count"),
        ("gv-match", "ratio_pairs_02"),
        ("gv-match", "inliers_both"),
        ("gv-match", "order_mutual"),
        ("gv-delg", "inliers"),
    ],
)
def test_a_wrong_output_is_seen(tmp_path, name, output):
    def spoil(stored):
        stored[output].flat[0] += 1000

    verdicts = run(altered(tmp_path, name, spoil))
    assert [verdict.output for verdict in verdicts.values() if not verdict.ok] == [output]


@pytest.mark.parametrize(
    ("name", "output"), [("gv-points", "affine_ransac_found"), ("gv-match", "order_both"), ("gv-delg", "inliers")]
)
def test_unknown_outputs_are_named(tmp_path, name, output):
    def rename(stored):
        stored["unheard_of"] = stored.pop(output)

    with pytest.raises(BenchError, match="unheard_of"):
        run(altered(tmp_path, name, rename))


def test_degenerate_sets_score_zero_under_every_estimator():
    verdicts = run(Case.read(golden("gv-degenerate")))
    assert sum("score 0" in output for output in verdicts) == 6
    assert sum("of nothing" in output for output in verdicts) == 6


def test_another_sample_size_is_refused():
    case = Case.read(golden("gv-delg"))
    other = Case(case.folder, {**case.spec, "config": {**case.config, "min_samples": 4}})
    with pytest.raises(BenchError, match="4 points a sample"):
        RUNNERS["gv_delg"](other)
