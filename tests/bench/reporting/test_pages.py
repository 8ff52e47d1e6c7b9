"""The whole report, in memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.reporting.pages import PAGES, Found, render
from bench.results import ChurnKey, Record
from tests.bench.reporting.examples import accuracy_record, comparison, cost_record, provenance
from tests.bench.reporting.test_linking import linking_record
from tests.bench.reporting.test_scaling import sweeps
from tests.bench.reporting.test_tables import check_latex
from tests.bench.reporting.test_tune import tune_record

TABLES = {
    *("README.md", "cost.md", "cost.csv", "accuracy.md", "accuracy.csv", "churn.md", "churn.csv"),
    *("cost.tex", "accuracy.tex", "published.tex"),
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return render(comparison())


def test_the_front_page_embeds_tables_and_pictures(files: dict[str, bytes]) -> None:
    pictures = {name for name in files if name.endswith(".png")}
    assert set(files) == TABLES | pictures | {name.replace(".png", ".svg") for name in pictures}
    front = files["README.md"].decode()
    assert set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", front)) == pictures
    assert pictures == {
        f"scatter_facades-top400_{kind}_{protocol}.png"
        for kind in ("before_after", "methods")
        for protocol in ("medium", "hard")
    }
    assert "from 10 stored records of 2025-03-01 10:00 to 2025-03-02 09:30 UTC; 2 of them without a result" in front
    assert front.count("\nProvenance:\n") == 3
    assert "| ransac:homography |" in front and "gain medium [95%]" in front


def test_the_same_records_give_the_same_bytes_in_any_order(files: dict[str, bytes]) -> None:
    assert render(comparison()[::-1]) == files


def test_half_a_store_says_how_to_fill_the_other_half() -> None:
    front = render([cost_record()])["README.md"].decode()
    assert "No accuracy has been measured yet: `python -m bench.accuracy --shortlist 400`" in front
    front = render([accuracy_record("none:first-stage", {"medium": [0.1, 0.2]})])["README.md"].decode()
    assert "No cost has been measured yet: `python -m bench.profile`" in front


def test_groups_of_one_data_set_and_length_have_pictures_of_their_own() -> None:
    records = [
        accuracy_record(name, {"medium": [0.1, shift, 0.3]}, policy=policy)
        for policy in ("junk behind", "junk stays")
        for name, shift in (("none:first-stage", 0.2), ("ransac:affine", 0.4))
    ]
    pictures = sorted(name for name in render(records) if name.endswith(".png"))
    assert pictures == [f"scatter_facades-top400-{n}_before_after_medium.png" for n in (1, 2)]


def test_an_ablation_has_tables_and_no_pictures() -> None:
    first, *others = (
        accuracy_record(name, {"medium": [0.1, 0.2, 0.3]}) for name in ("none:first-stage", "ransac:affine")
    )
    told = [accuracy_record("locore:micro", {"medium": [0.1, 0.2, 0.4]}, read=read) for read in (12, 24)]
    files = render([first, *others, *told])
    assert [name for name in files if name.endswith(".png")] == ["scatter_facades-top400_before_after_medium.png"]
    front = files["README.md"].decode()
    assert front.count("### Accuracy") == 2 and "### Accuracy by number of local descriptors on facades" in front


def test_pictures_of_matches_are_shown_on_the_front_page() -> None:
    front = render([cost_record()], ["matches_locore-micro.png"])["README.md"].decode()
    assert "## Matches" in front and "](matches_locore-micro.png)" in front
    assert "Matches" not in render([cost_record()])["README.md"].decode()


def test_nothing_to_report_says_which_command_measures() -> None:
    with pytest.raises(BenchError, match=r"python -m bench\.profile"):
        render([])


def test_a_date_that_is_none_is_bad_input() -> None:
    with pytest.raises(BenchError, match="yesterday"):
        render([cost_record(provenance=provenance(started_at="yesterday"))])


def test_reporting_does_without_torch_and_pyplot() -> None:
    check = "import sys, bench.reporting.pages; sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_tables_for_papers_compile_and_say_where_they_are_from() -> None:
    nasty = "x_y & 50% {$#~^\\\\ ±é中}"
    records = [
        *comparison(),
        cost_record(nasty),
        accuracy_record(nasty, {"medium": [0.1, 0.2, 0.4], "hard": [0.1, 0.3, 0.4]}, dataset="roxford5k+1m"),
        *(accuracy_record("locore:micro", {"medium": [0.1, 0.2, 0.4]}, read=read) for read in (12, 24)),
        *(tune_record(shortlist=length) for length in (100, 400)),
        *sweeps(),
        linking_record(),
        churn_record(),
    ]
    found = Found(records)
    texts = {page.name: page.latex(found) for page in PAGES}
    counts = {name: check_latex(text) for name, text in texts.items() if text}
    assert counts == {"cost": 2, "scaling": 2, "accuracy": 3, "churn": 1, "tune": 4, "published": 3, "linking": 1}
    for name, text in texts.items():
        assert not text or text.splitlines()[1] == "% \\usepackage{booktabs}"
        assert text.count("% - Commit: ") == text.count("% - Machine: ") == counts.get(name, 0)
        assert text.count("% - Command: ") == text.count("\\caption{") == counts.get(name, 0)
    assert "tab:accuracy-facades-top400-ablation" in texts["accuracy"]
    assert "\\label{tab:tune-facades-top100-oracle}" in texts["tune"]
    assert Found(records[::-1]).records != records
    assert {page.name: page.latex(Found(records[::-1])) for page in PAGES} == texts


def churn_record() -> Record:
    key = ChurnKey(
        reranker="ames:micro",
        dataset="facades",
        dataset_sha256="e" * 64,
        descriptors="RootSIFT-500 + VLAD-256",
        shortlist=100,
        weights="none",
        queries=10,
        device="cpu",
    )
    return Record(key=key, status="failed", reason="timeout", provenance=provenance())


def test_papers_compile_without_a_line_that_is_too_wide(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine; test_tables checks the structure of LaTeX without one")
    papers = {name: text for name, text in render(comparison()).items() if name.endswith(".tex")}
    for name, text in papers.items():
        (tmp_path / name).write_bytes(text)
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in papers)
    preamble = "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs}\n\\usepackage[margin=2cm]{geometry}\n"
    (tmp_path / "main.tex").write_text(f"{preamble}\\begin{{document}}\n{inputs}\n\\end{{document}}\n")
    asked = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and papers, done.stdout[-2000:]
    assert not re.findall(r"Overfull \\hbox.*", done.stdout)
