"""Tells a regression from noise: `python -m bench.check`, `python -m bench.check --against REV`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bench import options
from bench.console import log, output, run
from bench.errors import BenchError
from bench.files import unwritable, write_text
from bench.gate.calibrating import Found, calibration, measured_power
from bench.gate.checking import Gate, Outcome, baseline_of, cells_of, known_noise, renew
from bench.gate.duel import GATE_CANDIDATES
from bench.gate.duels import DuelPlan
from bench.gate.earning import Earning
from bench.gate.verdicts import FINE, MISSING, exit_code
from bench.measure import this_machine
from bench.others import alone
from bench.places import DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors
from bench.provenance import ROOT, Start, Surroundings, command_line
from bench.reporting import noise as noise_pages
from bench.reporting import verdicts as reporting
from bench.results import Record, ResultStore

BASELINES = ROOT / "reports" / "baselines"
#: Where GitHub Actions takes Markdown for the page of a job.
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


def main(
    against: Annotated[
        str | None, typer.Option(metavar="REV", help="Compare with this revision, in place of a stored baseline.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Find out first what this machine can see, by duels of this code.")
    ] = False,
    duels_in_all: Annotated[
        int, typer.Option(help="Under --calibrate: duels of this code against itself.", min=4)
    ] = 20,
    power: Annotated[
        int, typer.Option(help="Measure how often planted changes are found, by so many duels; 80 is a good number.")
    ] = 0,
    update: Annotated[bool, typer.Option("--update", help="Store what was found as the new baseline.")] = False,
    baselines: Annotated[Path, typer.Option(help="Where baselines are kept.")] = BASELINES,
    rerankers: options.Rerankers = "",
    duels: Annotated[int, typer.Option(help="Duels of a comparison, each in fresh processes.", min=2)] = 4,
    candidates: Annotated[
        int, typer.Option(help="Candidates of the one query that is timed.", min=2)
    ] = GATE_CANDIDATES,
    local_descriptors: options.Locals = 500,
    training: options.Training = "facades-train",
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: Annotated[int | None, typer.Option(help="Of every library; default: half of the cores.", min=1)] = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 600,
    summary: Annotated[Path | None, typer.Option(help="Write a Markdown summary there.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the verdicts as JSON there.")] = None,
) -> None:
    """Compares this code with a stored baseline or another revision. Ends with 0 fine, 1 regression, 2 cannot compare,
    3 missing cells."""
    if update and against is not None:
        raise BenchError("--update with --against", wanted="one of them", cure="A baseline is made without --against.")
    start = Start()
    used = threads or max(1, this_machine().cores // 2)  # what else runs finds a core
    surroundings = Surroundings(used, seed, command_line("bench.check"))
    folder, store, stored = cache_folder(cache), ResultStore(records_folder(records)), ResultStore(baselines)
    with alone(folder / "unfinished" / "check.lock", f"comparisons of code by way of {folder}"):
        base = baseline_of(stored)
        plan = DuelPlan(cells_of(rerankers, base, candidates=candidates, seed=seed), surroundings.threads, timeout)
        code = FINE
        if calibrate:
            found = calibration(plan, duels_in_all, duels=duels, cache=folder, surroundings=surroundings)
            keep(found, store, *((stored,) if update else ()))
            code = FINE if len(found.records) == len(plan.cells) else MISSING
        noise = known_noise(plan, (store, stored), surroundings, duels=duels)
        if power:
            keep(measured_power(plan, power, noise, duels=duels, cache=folder, surroundings=surroundings), store)
        if (calibrate or power) and against is None:
            raise typer.Exit(code)

        def earning() -> Earning:
            described = Descriptors(locals=local_descriptors, training=training)
            return Earning.make(described, cache=folder, surroundings=surroundings, timeout_s=timeout)

        gate = Gate(plan, duels, surroundings, folder, noise, earning)
        fresh: list[Record] = []
        if against is not None:
            outcome = gate.against(against)
        elif base or update:
            fresh = gate.fresh()
            asked = [record for record in base if not rerankers or record.key.reranker in gate.rerankers]
            outcome = gate.stored(asked, fresh, baselines)
        else:
            raise BenchError(
                f"no baseline in {baselines}",
                wanted="records of an earlier run",
                cure="Store one by `python -m bench.check --update`, or compare with a revision by --against REV.",
            )
        code = publish(outcome, surroundings, duels, start, summary=summary, junit=junit, json=json)
        if update:
            failed = renew(stored, fresh)
            log.info("%d records stored in %s", len(fresh) - len(failed), baselines)
            code = MISSING if failed else FINE
        raise typer.Exit(code)


def keep(found: Found, *stores: ResultStore) -> None:
    """Stores and prints noise or power records, then drops the journal that they would go on from."""
    for store in stores:
        with alone(store.lock, f"records in {store.folder}"):
            for record in found.records:
                store.put(record)
    found.journal.unlink()
    for section in noise_pages.sections(found.records):
        for part in noise_pages.parts(section):
            output.print(part, markup=False, highlight=False)


def publish(
    outcome: Outcome,
    surroundings: Surroundings,
    duels: int,
    start: Start,
    *,
    summary: Path | None,
    junit: Path | None,
    json: Path | None,
) -> int:
    """Prints the verdicts, writes the files that are wanted, and gives the exit code."""
    here = this_machine()
    code = exit_code(outcome.verdicts)
    compared = reporting.Compared(
        base=outcome.base,
        head=outcome.head,
        machine=f"{here.fingerprint} ({here.cpu}, {here.cores} cores)",
        threads=surroundings.threads,
        started_at=start.at.isoformat(timespec="seconds"),
        wall_s=start.ago_s,
        exit_code=code,
        duels=duels,
        notes=outcome.notes,
    )
    rows = [asdict(verdict) for verdict in outcome.verdicts]
    output.print(reporting.table(rows).markdown(), markup=False, highlight=False)
    output.print(reporting.headline(rows, code), markup=False, highlight=False)
    for note in outcome.notes:
        output.print(note, markup=False, highlight=False)
    for path, text in ((summary, reporting.summary), (junit, reporting.junit), (json, reporting.as_json)):
        if path is not None:
            write_text(path, text(rows, compared))
    if page := os.environ.get(STEP_SUMMARY):
        _append(Path(page), reporting.summary(rows, compared))
    return code


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf8") as file:
            file.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


if __name__ == "__main__":
    run(main)
