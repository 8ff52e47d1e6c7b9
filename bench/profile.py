"""What every re-ranker costs per 100 candidates: `python -m bench.profile`."""

from __future__ import annotations

from typing import Annotated

import torch
import typer

from bench import options
from bench.cells import Cell, exit_code, run_cells
from bench.console import output, run
from bench.cost import CostTask, describe_inputs, measure
from bench.errors import BenchError, unknown_name
from bench.measure import this_machine
from bench.places import DEFAULT_RECORDS, records_folder
from bench.provenance import Surroundings, command_line
from bench.reporting import cost_table
from bench.results import CostKey, Record, ResultStore
from rerankers.registry import DTYPES, Spec, inputs_of, parse

#: The cells of the default comparison, each at its published size.
DEFAULT = ",".join(
    (
        "none",
        "sg-rerank",
        "ransac:affine",
        "ransac:homography",
        "chamfer:dinov2",
        "elvis:dinov2",
        "elvis:dinov2-100",
        "ames:dinov2-50",
        "ames:dinov2",
        "ames:dinov2-binarized",
        "ames:768",
        "rrt:gld",
        "rrt:gld-50",
        "rrt:768",
        "rrt:sop",
        "r2former:deit",
        "r2former:deit-48",
        "r2former:768",
        "cvnet:r50",
        "locore:tiny",
        "locore:small",
        "locore:base",
        "locore:rwkv",
        "locore:mamba",
    )
)


def main(
    rerankers: options.Rerankers = DEFAULT,
    candidates: Annotated[int, typer.Option(help="Candidates of the one query.", min=1)] = 100,
    device: options.Device = "cpu",
    dtypes: Annotated[
        str, typer.Option(help=f"Comma-separated number types of matrix products: {', '.join(DTYPES)}.")
    ] = "float32",
    warmup: Annotated[int, typer.Option(help="Calls before the measured ones.", min=0)] = 10,
    runs: Annotated[int, typer.Option(help="Measured calls.", min=1)] = 10,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds for the warm-up and measured calls of a cell; those that take longer get fewer."),
    ] = None,
    records: options.Records = DEFAULT_RECORDS,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: Annotated[float, typer.Option(help="Seconds that one pass of a cell may take.", min=1)] = 1800,
    again: options.Again = False,
) -> None:
    """Measures parameters, FLOPs, latency and peak memory of every re-ranker, and keeps a record of each."""
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise BenchError(f"device {device!r}", wanted="cpu, or a CUDA device that is there", cure="Pass --device cpu.")
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(",")))
    types = list(dict.fromkeys(dtypes.split(",")))
    for unknown in set(types) - set(DTYPES):
        raise unknown_name("dtype", unknown, DTYPES)
    store = ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.profile"))

    def cell(spec: Spec, dtype: str) -> Cell:
        key = CostKey(
            reranker=str(spec),
            device=device,
            dtype=dtype,
            candidates=candidates,
            inputs=describe_inputs(inputs_of(spec)),
        )
        task = CostTask(str(spec), key.device, key.dtype, candidates, seed, warmup, runs, budget)

        def whole(record: Record) -> bool:
            return budget is not None or len(record.series.get("latency_samples_ms", ())) >= runs

        return Cell(key, lambda: measure(task, threads=surroundings.threads, timeout_s=timeout), whole)

    found = run_cells([cell(spec, one) for spec in specs for one in types], store, surroundings, again=again)
    output.print(cost_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


if __name__ == "__main__":
    run(main)
