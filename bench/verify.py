"""Recomputes a stored row, and says what of it still agrees: `python -m bench.verify reports/records/NAME.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import options
from bench.audit import Check
from bench.cells import CellFailed, Limits
from bench.console import BAD_INPUT, console, output, run
from bench.errors import BenchError
from bench.places import DATA_ROOT, cache_folder
from bench.provenance import command_line
from bench.reporting.tables import Cell, Column, Table
from bench.results import CostKey, Record
from bench.verifying.compare import NOTHING, Aspect, aspects, holds, table, times
from bench.verifying.rerun import Told, audited, read, rerun
from rerankers import RerankError

#: Of the whole command, beside 0 and BAD_INPUT: a row does not hold.
DIFFERS = 1
VERDICTS = {True: "holds", False: "broken", None: "cannot tell"}


def main(
    records: Annotated[list[Path], typer.Argument(help="Files of records.", metavar="RECORD...")],
    timed: Annotated[
        bool, typer.Option("--time", help="Measure latency and memory of cost records too, for their ratios.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="The folder of own images that a row is of; others are known by name.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="The folder of own images that a row's blend was chosen on.")
    ] = None,
    data_root: options.DataRoot = DATA_ROOT,
    descriptors: options.StoredDescriptors = None,
    globals_: options.StoredGlobals = None,
    neighbours: options.Neighbours = None,
    checkpoint: options.Checkpoints = None,
    cache: options.Cache = None,
    timeout: options.Timeout = 3600,
    memory_limit: options.MemoryLimit = None,
) -> None:
    """Runs the cells of records again and compares: code, weights, features, candidates, scores, figures.

    Cost records are audited as well. Descriptors in the cache are taken as they are: name an empty --cache to describe
    the images anew. Ends with 0 all holds, 1 a row does not hold, 2 a row cannot be run again.
    """
    found = [(path, read(path)) for path in records]
    told = Told(
        cache=cache_folder(cache),
        command=command_line("bench.verify"),
        limits=Limits(timeout, memory_limit),
        dataset=dataset,
        validation=validation,
        data_root=data_root,
        descriptors=descriptors,
        globals_=globals_,
        neighbours=neighbours,
        checkpoints=checkpoint or [],
        timed=timed,
    )
    codes = [verified(path, record, told) for path, record in found]
    raise typer.Exit(DIFFERS if DIFFERS in codes else max(codes))


def verified(path: Path, record: Record, told: Told) -> int:
    """Verifies one record, prints its tables, and gives its exit code."""
    try:
        now = rerun(record, told)
    except (BenchError, RerankError) as error:
        console.print(f"error: {path.name}: {error}", style="red", markup=False, highlight=False)
        return BAD_INPUT
    rows = aspects(record, now)
    checks: list[Check] = []
    if isinstance(record.key, CostKey) and record.status == now.status == "ok":
        row, checks = audit_of(record, now, told)
        rows += [row, *(times(record, now) if told.timed else ())]
    fine = holds(rows)
    verdict = "holds" if fine else "does not hold"
    show(table(rows, f"{record.key.kind} of {record.key.reranker}, {path.name}: {verdict}"))
    if checks:
        show(checks_table(checks))
    return 0 if fine else DIFFERS


def audit_of(record: Record, now: Record, told: Told) -> tuple[Aspect, list[Check]]:
    """The audit as an aspect of the row, and its checks. now: the row as it was run again."""
    expected = f"sha256 {(now.scores_sha256 or '')[:12]}"
    try:
        checks, digest = audited(record, told)
    except CellFailed as reason:
        return Aspect(name="audit", recorded=NOTHING, now="not finished", word="cannot tell", why=str(reason)), []
    broken = [one.name for one in checks if one.holds is False]
    if digest != now.scores_sha256:
        broken.append(f"timed scores, which are not those of {expected}")
    return (
        Aspect(
            name="audit",
            recorded=NOTHING,
            now=f"sha256 {digest[:12]}, {len(checks)} checks",
            word="differs" if broken else "agrees",
            why=f"broken: {', '.join(broken)}" if broken else "",
        ),
        checks,
    )


def checks_table(checks: list[Check]) -> Table:
    """What the audit has seen."""
    return Table(
        columns=tuple(map(Column, ("check of the timed program", "verdict", "what was seen"))),
        rows=tuple((Cell(one.name), Cell(VERDICTS[one.holds]), Cell(one.words)) for one in checks),
    )


def show(shown: Table) -> None:
    output.print(shown.markdown(), markup=False, highlight=False)


if __name__ == "__main__":
    run(main)
