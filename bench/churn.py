"""How far rankings depend on number type and batch size: `python -m bench.churn`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import torch
import typer

from bench import options
from bench.cells import Cell, CellResult, Limits, exit_code, isolated, run_cells
from bench.console import output, run
from bench.errors import BenchError
from bench.ground import Setting, checkpoints_of, wanted
from bench.measure import this_machine
from bench.places import DATA_ROOT, DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors
from bench.provenance import Surroundings, command_line
from bench.reporting import churn_table
from bench.results import ChurnKey, Figure, ResultStore
from bench.steady import ALTERNATIVES, SteadyTask
from rerankers.registry import Spec, parse

MEASURES = ("kendall_tau_mean", "kendall_tau_min", "left_top_10", "queries_changed", "score_change_max")


def main(
    rerankers: options.Rerankers = options.DESCRIBED,
    shortlist: Annotated[int, typer.Option(help="How many first-stage candidates are re-ranked.", min=2)] = 100,
    queries: Annotated[int, typer.Option(help="How many queries, from the first on.", min=1)] = 10,
    dataset: options.DatasetName = "facades",
    device: options.Device = "cpu",
    checkpoint: options.Checkpoints = None,
    local_descriptors: options.Locals = 500,
    data_root: options.DataRoot = DATA_ROOT,
    descriptors: options.StoredDescriptors = None,
    globals_: options.StoredGlobals = None,
    training: options.Training = "facades-train",
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 3600,
    memory_limit: options.MemoryLimit = None,
    again: options.Again = False,
) -> None:
    """Ranks the same shortlists with other number types and batch sizes, and says what changed.

    A learned re-ranker without a checkpoint runs with random weights, and its row says so.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise BenchError(f"device {device!r}", wanted="cpu, or a CUDA device that is there", cure="Pass --device cpu.")
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(",")))
    store = ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.churn"))
    setting = Setting.make(
        dataset,
        wanted(descriptors, globals_, None) or Descriptors(locals=local_descriptors, training=training),
        shortlist=shortlist,
        checkpoints=checkpoints_of(checkpoint or [], specs),
        allow_random=True,
        cache=cache_folder(cache),
        surroundings=surroundings,
        data_root=data_root,
    )
    limits = Limits(timeout, memory_limit)
    asked = min(queries, len(setting.prepared.dataset.truth.queries))

    def cell(spec: Spec) -> Cell:
        weights = setting.weights(spec)
        key = ChurnKey(reranker=str(spec), device=device, queries=asked, weights=weights, **setting.described())

        def measure() -> CellResult:
            task = SteadyTask(asdict(setting.ground(spec)), device, asked)
            found = isolated(
                "bench.steady:run", asdict(task), threads=surroundings.threads, limits=limits, title=str(spec)
            )
            notes = ["random weights: trained ones may rank more or less steadily"] if weights == "random" else []
            return CellResult(figures(found), notes=notes)

        return Cell(key, measure)

    found = run_cells([cell(spec) for spec in specs], store, surroundings, again=again)
    output.print(churn_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def figures(found: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """What the cell found, or why it did not look, by measure and alternative."""
    return {
        f"{measure}_{name}": Figure(reason=found["reasons"][name])
        if name in found["reasons"]
        else Figure(value=found["figures"][name][measure])
        for name in ALTERNATIVES
        for measure in MEASURES
    }


if __name__ == "__main__":
    run(main)
