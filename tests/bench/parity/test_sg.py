import pytest

from bench.errors import BenchError
from bench.parity.case import Case
from bench.parity.sg import RUNNERS
from tests.support import altered, golden

CASES = [
    "sgrerank-official",
    "sgrerank-small",
    "sgrerank-short",
    "sgrerank-tiny",
    "sgrerank-ties",
    "sgrerank-pool-a",
    "sgrerank-pool-b",
    "sgrerank-pool-head",
]


def run(case: Case):
    return {verdict.output: verdict for verdict in RUNNERS[case.kind](case)}


@pytest.mark.parametrize("name", CASES)
def test_reference_case(name):
    case = Case.read(golden(name))
    verdicts = run(case)
    assert verdicts.keys() == case.outputs.keys()
    assert not [verdict for verdict in verdicts.values() if not verdict.ok]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("sgrerank-tiny", "knn_positions"),
        ("sgrerank-tiny", "refined"),
        ("sgrerank-tiny", "final_ranks"),
        ("sgrerank-ties", "s1_ranks"),
        ("sgrerank-ties", "s2_sorted"),
        ("sgrerank-pool-b", "sgem_finite"),
    ],
)
def test_a_wrong_output_is_seen(tmp_path, name, output):
    def spoil(stored):
        stored[output].flat[0] += 1

    verdicts = run(altered(tmp_path, name, spoil))
    assert [verdict.output for verdict in verdicts.values() if not verdict.ok] == [output]


def test_only_the_named_duplicates_may_change_places(tmp_path):
    def swap(stored, ids):
        ranks = stored["final_ranks"][:, 0]
        first, second = ((ranks == i).nonzero()[0][0] for i in ids)
        ranks[[first, second]] = ranks[[second, first]]

    assert run(altered(tmp_path / "a", "sgrerank-ties", lambda stored: swap(stored, (3, 19))))["final_ranks"].ok
    assert not run(altered(tmp_path / "b", "sgrerank-ties", lambda stored: swap(stored, (3, 40))))["final_ranks"].ok


@pytest.mark.parametrize(("name", "output"), [("sgrerank-pool-b", "gemp_custom"), ("sgrerank-tiny", "s1")])
def test_unknown_outputs_are_named(tmp_path, name, output):
    def rename(stored):
        stored["unheard_of"] = stored.pop(output)

    with pytest.raises(BenchError, match="unheard_of"):
        run(altered(tmp_path, name, rename))
