"""The accuracy tables."""

from __future__ import annotations

import csv
import io
import json

import pytest

from bench.reporting import accuracy, accuracy_table
from bench.reporting.queries import NotComparable, paired_ap
from bench.results import RankedLists, Record
from tests.bench.reporting.examples import accuracy_record, comparison
from tests.bench.reporting.test_cost import rows_of
from tests.bench.reporting.test_tables import check_latex

BEFORE = [0.1, 0.2, 0.3, None]
AFTER = [0.2, 0.4, 0.6, None]


def ap(values: list[float | None]) -> dict[str, list[float | None]]:
    return dict.fromkeys(("easy", "medium", "hard", "hard_star"), values)


def pair() -> list[Record]:
    return [accuracy_record("none:first-stage", ap(BEFORE)), accuracy_record("ransac:affine", ap(AFTER))]


def test_rows_are_known_to_the_letter() -> None:
    gain = "+20.00 [+10.00, +30.00]"
    assert rows_of(accuracy_table(pair()).markdown()) == [
        ["none:first-stage", "none", *["20.00"] * 4, "–¹", "–¹", "0123456"],
        ["ransac:affine", "none", *["**40.00**"] * 4, gain, gain, "0123456"],
    ]


def test_the_caption_says_what_was_evaluated_and_how() -> None:
    text = accuracy_table(pair()).markdown()
    for words in (
        "data set facades (sha256 eeeeeeeeeeee)",
        "descriptors RootSIFT-500 + VLAD-256",
        "shortlist of 400",
        "candidate policy: junk behind",
        "number of all positives (the revisitop divisor)",
        "medium 3",
        "an interval that holds 0 shows no difference",
    ):
        assert words in text


def test_gains_in_detail() -> None:
    (group,) = accuracy.groups(pair())
    rows = rows_of(accuracy.gain_table(group).markdown())
    assert [row[2] for row in rows] == ["easy", "medium", "hard", "hard*"]
    assert rows[1][3:] == ["+20.00", "+10.00", "+30.00", "0.250", "0.250", "3", "3", "0", "0"]


def test_precision_and_the_other_divisor() -> None:
    (group,) = accuracy.groups(pair())
    assert rows_of(accuracy.precision_table(group).markdown())[0][2:] == ["**51.00**", "**55.00**", "**60.00**"] * 4
    assert rows_of(accuracy.divisor_table(group).markdown())[1][2:] == ["**50.00**"] * 4
    assert "no figure of this table compares with the revisitop divisor" in accuracy.divisor_table(group).markdown()


def test_how_long_a_cell_took_under_whatever_load_is_in_the_sheet_only() -> None:
    (group,) = accuracy.groups(comparison())
    assert "rerank_seconds" in accuracy.sheet(comparison()).csv().splitlines()[0]
    assert not [column.title for column in accuracy.divisor_table(group).columns if "(s)" in column.title]


@pytest.mark.parametrize(
    "difference",
    [{"dataset": "roxford5k"}, {"shortlist": 100}, {"policy": "junk stays"}],
)
def test_what_does_not_compare_never_shares_a_table(difference: dict[str, object]) -> None:
    records = [pair()[0], accuracy_record("ransac:affine", ap(AFTER), **difference)]
    assert [len(group.records) for group in accuracy.groups(records)] == [1, 1]
    with pytest.raises(ValueError, match="not of 2 kinds"):
        accuracy_table(records)


def test_untrained_rows_say_that_they_mean_nothing() -> None:
    text = accuracy_table([*pair(), accuracy_record("ames:dinov2", ap(AFTER), weights="random")]).markdown()
    assert rows_of(text)[2][:2] == ["ames:dinov2 (random weights)²", "random"]
    assert "- ² random weights: the accuracy of this row means nothing\n" in text


def test_a_row_without_weights_is_no_row_of_random_weights() -> None:
    record = accuracy_record("ames:dinov2", weights="random")
    missing = record.model_copy(update={"status": "missing", "reason": "no trained weights", "notes": []})
    text = accuracy_table([*pair(), missing]).markdown()
    row = next(row for row in rows_of(text) if row[0].startswith("ames"))
    assert row[:3] == ["ames:dinov2", "–²", "–²"] and "- ² no trained weights\n" in text
    assert "random weights" not in text


def test_a_failed_row_gives_its_reason_in_every_cell() -> None:
    text = accuracy_table([*pair(), accuracy_record("ransac:homography")]).markdown()
    assert rows_of(text)[2][2:8] == ["–²"] * 6
    assert "- ² timeout: not done after 3,600 s\n" in text


def test_no_baseline_no_gain() -> None:
    text = accuracy_table([pair()[1]]).markdown()
    assert rows_of(text)[0][6:8] == ["–¹", "–¹"]
    assert "- ¹ no finished record of 'none' to compare with" in text


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([0.1, 0.2, 0.3], "not evaluated on the same queries"),
        ([0.1, 0.2, None, 0.3], "not evaluated on the same queries"),
    ],
)
def test_other_queries_do_not_compare(values: list[float | None], why: str) -> None:
    with pytest.raises(NotComparable, match=why):
        paired_ap(pair()[0], accuracy_record("b", ap(values)), "medium")


def test_queries_without_positives_are_left_out() -> None:
    found = paired_ap(*pair(), "medium")
    assert found.first.tolist() == [0.1, 0.2, 0.3]
    assert found.positives.tolist() == [3, 3, 3]


def test_the_sheet_reads_back_in_full_precision() -> None:
    records = comparison()
    rows = list(csv.DictReader(io.StringIO(accuracy.sheet(records).csv())))
    assert [row["reranker"] for row in rows] == [
        "none:first-stage",
        "ransac:affine",
        "ransac:homography",
        "sg-rerank:published",
        "ames:rootsift",
    ]
    ransac = rows[2]
    wanted = next(one for one in records if one.key.reranker == "ransac:homography" and one.key.kind == "accuracy")
    assert float(ransac["map_hard_star"]) == wanted.figures["map_hard_star"].value
    base = float(rows[0]["map_medium"])
    assert float(ransac["gain_medium"]) == pytest.approx(float(ransac["map_medium"]) - base, abs=1e-12)
    assert float(ransac["gain_low_medium"]) < float(ransac["gain_medium"]) < float(ransac["gain_high_medium"])
    assert rows[1]["status"] == "failed" and rows[1]["map_easy"] == ""
    assert "map_easy" in json.loads(rows[1]["reasons"])["timeout: not done after 3,600 s"]
    assert rows[4]["weights"] == "random" and "means nothing" in rows[4]["notes"]
    assert rows[3]["dirty"] == "true"


def test_names_cannot_break_the_table() -> None:
    text = accuracy_table([accuracy_record("x|<b>y", ap(AFTER))]).markdown()
    assert "| x\\|\\<b>y " in text


def ablation() -> list[Record]:
    windows = [(96, 25), (12, 100), (12, 25)]
    names = [(read, f"locore:micro+slide=400/{window}/{window // 2}") for read, window in windows]
    return [accuracy_record(name, ap(AFTER), read=read) for read, name in names]


def test_re_rankers_told_what_to_read_stand_apart_with_the_first_stage() -> None:
    plain, apart = accuracy.groups([*pair(), *ablation()])
    assert [record.key.reranker for record in plain.records] == ["none:first-stage", "ransac:affine"]
    assert apart.title.startswith("Accuracy by number of local descriptors on facades")
    rows = rows_of(accuracy_table([pair()[0], *ablation()]).markdown())
    assert [(row[0], row[2][0]) for row in rows] == [
        ("none:first-stage", "–"),
        ("locore:micro+slide=400/25/12", "1"),
        ("locore:micro+slide=400/100/50", "1"),
        ("locore:micro+slide=400/25/12", "9"),
    ]
    assert rows[1][-3] == "+20.00 [+10.00, +30.00]"
    assert "L" in accuracy_table(ablation()).markdown().splitlines()[0]
    assert "by number" not in plain.title and "read" not in rows_of(accuracy_table(pair()).markdown())


def test_the_sheet_has_each_record_once() -> None:
    rows = list(csv.DictReader(io.StringIO(accuracy.sheet([*pair(), *ablation()]).csv())))
    assert [row["read"] for row in rows] == ["", "", "12", "12", "96"]


def seven(shift: float) -> dict[str, list[float | None]]:
    """Seven queries that gain as much each: 2 of 128 ways to swap are as extreme, p = 1/64."""
    return ap([0.1 * n + shift for n in range(7)])


def test_gains_are_marked_after_holms_correction_over_the_table() -> None:
    """Four methods of p = 1/64 each: alone 0.016, of four 0.0625, which earns nothing."""
    none = accuracy_record("none:first-stage", seven(0))
    found = [accuracy_record(f"m{n}", seven(0.01 * (n + 1))) for n in range(4)]
    (few,), (many,) = accuracy.groups([none, *found[:2]]), accuracy.groups([none, *found])
    assert few.corrected[1, "medium"] == 2 / 64 and many.corrected[4, "hard"] == 4 / 64
    assert rows_of(accuracy.group_table(few).markdown())[1][6] == "+1.00 [+1.00, +1.00]∗"
    assert "∗" not in rows_of(accuracy.group_table(many).markdown())[1][6]
    assert rows_of(accuracy.gain_table(many).markdown())[0][6:8] == ["0.016", "0.062"]
    assert "after Holm's correction over the re-rankers of the table" in accuracy.group_table(few).caption
    assert "∗" not in accuracy.sheet([none, *found[:2]]).csv()


def test_random_weights_are_never_the_best() -> None:
    random = accuracy_record("ames:dinov2", ap([0.9, 0.9, 0.9, None]), weights="random")
    rows = rows_of(accuracy_table([*pair(), random]).markdown())
    assert [row[3] for row in rows] == ["20.00", "**40.00**", "90.00"]
    assert accuracy.UNCOUNTED in accuracy_table([*pair(), random]).caption
    assert accuracy.UNCOUNTED not in accuracy_table(pair()).caption


def test_papers_get_map_and_marked_gains() -> None:
    (group,) = accuracy.groups(
        [accuracy_record("none:first-stage", seven(0)), accuracy_record("ransac:affine", seven(-0.05))]
    )
    table = accuracy.paper_table(group)
    titles = ["re-ranker", "mAP easy", "mAP medium", "mAP hard", "mAP hard*", "gain medium", "gain hard"]
    assert [column.title for column in table.columns] == titles
    text = table.latex("tab:x")
    assert check_latex(text) == 1
    first, second = [line for line in text.splitlines() if line.startswith("    {}")][1:]
    assert first.count("\\textbf{30.00}") == 4 and second.count("\\underline{25.00}") == 4
    assert second.count("$-$5.00\\textsuperscript{$\\ast$}") == 2


def test_rows_that_re_ranked_other_first_stage_lists_have_no_gain_and_say_why() -> None:
    def of_lists(name: str, ap: list[float], sha256: str | None) -> Record:
        lists = None
        if sha256:
            lists = RankedLists(first_stage_sha256=sha256, images=[[1]], places=[[1]], scores=[[None]], labels=["-"])
        return accuracy_record(name, {"hard": list(ap)}, lists=lists)

    base = of_lists("none:first-stage", [0.1, 0.2, 0.3], "a" * 64)
    same = of_lists("ames:micro", [0.2, 0.3, 0.4], "a" * 64)
    other = of_lists("rrt:micro", [0.2, 0.3, 0.5], "b" * 64)
    unknown = of_lists("cvnet:micro", [0.3, 0.3, 0.5], None)
    (group,) = accuracy.groups([base, same, other, unknown])
    gains = {record.key.reranker: group.gains[row, "hard"] for row, record in enumerate(group.records)}
    assert "re-ranked different first-stage lists" in str(gains["rrt:micro"])
    assert [isinstance(gains[name], str) for name in ("ames:micro", "cvnet:micro")] == [False, False]
