"""Runs reference cases against this project: `python -m bench.parity FOLDER...`.

Exit code 0: all at parity. 1: one is off. 2: bad input. 3: a kind of case is not supported yet.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.console import output, run
from bench.errors import BenchError
from bench.parity.case import Case
from bench.parity.run import Report, run_case, supported

OFF, UNSUPPORTED = 1, 3


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of cases, or folders of such folders.")],
    brief: Annotated[
        bool, typer.Option("--brief", help="One line a case; outputs only of those that are off.")
    ] = False,
) -> None:
    """Holds every output of every case against its tolerance, and says which is off and by how much."""
    counted = Counter[str]()
    for case in _cases(folders):
        report = run_case(case)
        counted[report.verdict] += 1
        output.print(_line(report))
        if report.verdicts and (report.verdict == "off" or not brief):
            output.print(_details(report))
    output.print(", ".join(f"{counted[verdict]} {verdict}" for verdict in ("ok", "off", "unsupported")))
    if counted["off"]:
        raise typer.Exit(OFF)
    if counted["unsupported"]:
        output.print(f"supported kinds: {', '.join(supported())}")
        raise typer.Exit(UNSUPPORTED)


def _cases(folders: list[Path]) -> list[Case]:
    """The case in each folder, or the cases one level below it."""
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise BenchError(f"no folder {folder}", wanted="a folder with a case.json", cure="Check the path.")
        inside = [folder] if (folder / "case.json").exists() else sorted(p.parent for p in folder.glob("*/case.json"))
        if not inside and not (folder / "full_size.json").exists():
            raise BenchError(
                f"no case.json in {folder} or one level below", wanted="reference cases", cure="Check the path."
            )
        found += [Case.read(one) for one in inside]
    return found


def _line(report: Report) -> str:
    colour = {"ok": "green", "off": "red", "unsupported": "yellow"}[report.verdict]
    worst = report.worst
    detail = report.reason or ""
    if report.verdict == "unsupported":
        detail = f"kind {report.case.kind} is not supported yet"
    elif worst is not None:
        detail = f"{len(report.verdicts)} outputs, largest deviation {worst.deviation:.3g} in {worst.output}"
    return f"[{colour}]{report.verdict:11}[/] {escape(report.case.name)}: {escape(detail)}"


def _details(report: Report) -> Table:
    table = Table("output", "verdict", "deviation", "tolerance", "note", box=None)
    for verdict in report.verdicts:
        table.add_row(
            escape(verdict.output),
            "ok" if verdict.ok else "off",
            f"{verdict.deviation:.3g}",
            escape(verdict.tolerance),
            escape(verdict.note),
        )
    return table


if __name__ == "__main__":
    run(main)
