"""Stored records as tables and plots: `python -m bench.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.console import console, run
from bench.errors import BenchError
from bench.files import write_bytes
from bench.places import DEFAULT_RECORDS
from bench.reporting.pages import render
from bench.results import ResultStore

#: Where, inside a report, the records lie that it was made from.
EVIDENCE = "records"
#: Pictures that `bench.matches` leaves beside a report.
MATCHES = "matches_*.png"
#: What a report consists of.
KINDS = (
    "README.md",
    *(
        f"{page}.*"
        for page in ("accuracy", "churn", "cost", "tune", "linking", "published", "scaling", "noise", "power")
    ),
    "scatter_*.png",
    "noise_*.png",
    "scaling_*.png",
    f"{EVIDENCE}/*.json",
)


def main(
    records: Annotated[Path, typer.Option(help="Where records are kept.")] = DEFAULT_RECORDS,
    out: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("reports"),
) -> None:
    """Writes README.md, the cost and accuracy tables (Markdown, CSV) and the scatter plots (PNG)."""
    stored = list(ResultStore(records))
    if not stored:
        raise BenchError(
            f"no records in {records}",
            wanted="a folder with at least one record",
            cure="Run `python -m bench.profile` or `python -m bench.accuracy --shortlist 400`, or pass --records.",
        )
    files = render(stored, sorted(path.name for path in out.glob(MATCHES)))
    for name, contents in files.items():
        write_bytes(out / name, contents)
        console.print(f"wrote {out / name}", markup=False, highlight=False)
    evidence = ResultStore(out / EVIDENCE)
    kept = {evidence.put(record) for record in stored} | {out / name for name in files}
    for stale in sorted({path for kind in KINDS for path in out.glob(kind)} - kept):
        console.print(f"{stale} is not of these records: delete it", style="yellow", markup=False)


if __name__ == "__main__":
    run(main)
