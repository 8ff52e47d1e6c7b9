"""What every re-ranker costs per 100 candidates: `python -m bench.profile`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import torch
import typer

from bench import options
from bench.axes import Sweep
from bench.cells import Cell, Limits, exit_code, run_cells
from bench.console import output, run
from bench.cost import CostTask, describe_inputs
from bench.costing import TOGETHER, Protocol, expected_s, measure
from bench.errors import BenchError, unknown_name
from bench.measure import this_machine
from bench.places import DEFAULT_RECORDS, cache_folder, records_folder, unfinished
from bench.provenance import Surroundings, command_line
from bench.reporting.cost import section_table, sections
from bench.reporting.scaling import groups, law_table
from bench.results import CostKey, Record, ResultStore
from bench.sweeping import sweep_cell
from rerankers.registry import DTYPES, Spec, parse

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


class Thoroughness(StrEnum):
    """paper: nothing is cut. quick: a cell's calls get a budget, FLOPs are counted on few candidates."""

    PAPER = "paper"
    QUICK = "quick"


#: Candidates that FLOPs are counted on in a hurry.
QUICKLY_COUNTED = 10


def main(
    rerankers: options.Rerankers = DEFAULT,
    candidates: Annotated[int, typer.Option(help="Candidates of the one query.", min=1)] = 100,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: the CPU, and the GPU if any.")] = "",
    dtypes: Annotated[
        str,
        typer.Option(
            help=f"Comma-separated number types of matrix products: {', '.join(DTYPES)}; "
            "default: float32 on the CPU, all on a GPU."
        ),
    ] = "",
    protocol: Annotated[
        Thoroughness, typer.Option(help="paper cuts nothing; quick cuts long cells, and says what it cut.")
    ] = Thoroughness.PAPER,
    budget: Annotated[
        float, typer.Option(help="Under quick: seconds for the warm-up and measured calls of a cell.", min=0)
    ] = 6,
    warmup: Annotated[int, typer.Option(help="Calls before the measured ones.", min=0)] = 10,
    runs: Annotated[int, typer.Option(help="Measured calls.", min=1)] = 10,
    processes: Annotated[int, typer.Option(help="Under paper: processes that time a cell.", min=1)] = 3,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="AXIS=V,V,V,V: only how cost grows along candidates, descriptors, window, batch or threads; "
            "may be given several times."
        ),
    ] = None,
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: Annotated[float, typer.Option(help="Seconds that one process of a cell may take.", min=1)] = 1800,
    memory_limit: options.MemoryLimit = None,
    again: options.Again = False,
) -> None:
    """Measures parameters, FLOPs, latency, memory and energy of every re-ranker, and keeps a record of each."""
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(",")))
    store = ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.profile"))
    chosen = Protocol(processes=processes)
    if protocol is Thoroughness.QUICK:
        chosen = Protocol(TOGETHER, budget_s=budget, processes=1, counted=min(QUICKLY_COUNTED, candidates))

    limits = Limits(timeout, memory_limit)

    def cell(spec: Spec, where: str, dtype: str) -> Cell:
        task = CostTask(str(spec), where, dtype, candidates, seed, warmup, runs)
        key = CostKey(
            reranker=str(spec), device=where, dtype=dtype, candidates=candidates, inputs=describe_inputs(task.inputs)
        )

        def thorough(record: Record) -> bool:
            seen = {name: len(record.series.get(name, ())) for name in ("latency_samples_ms", "process_medians_ms")}
            enough = seen["latency_samples_ms"] >= runs and seen["process_medians_ms"] >= processes
            return protocol is Thoroughness.QUICK or enough

        return Cell(
            key,
            lambda: measure(task, chosen, threads=surroundings.threads, limits=limits),
            enough=thorough,
            expected_s=lambda record: expected_s(record, chosen, warmup + runs),
        )

    def swept(along: Sweep, spec: Spec, where: str, dtype: str) -> Cell:
        task = CostTask(str(spec), where, dtype, candidates, seed, warmup, runs, budget_s=chosen.budget_s)
        work = unfinished(cache_folder(cache), records)
        return sweep_cell(
            task,
            along,
            threads=surroundings.threads,
            work=work,
            limits=limits,
            processes=chosen.processes,
        )

    all_places = [(spec, *place) for place in places(device, dtypes) for spec in specs]
    sweeps = [Sweep.parse(one) for one in sweep or []]
    cells = [swept(along, *one) for along in sweeps for one in all_places] or [cell(*one) for one in all_places]
    found = run_cells(cells, store, surroundings, again=again)
    tables = [section_table(one) for one in sections(found)] + [law_table(one) for one in groups(found)]
    for table in tables:
        output.print(table.markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def places(device: str, dtypes: str) -> list[tuple[str, str]]:
    """(device, number type) of the cells; BenchError for what is not there."""
    has_gpu = torch.cuda.is_available()
    if device not in ("", "cpu") and not (device.startswith("cuda") and has_gpu):
        raise BenchError(f"device {device!r}", wanted="cpu, or a CUDA device that is there", cure="Pass --device cpu.")
    types = list(dict.fromkeys(dtypes.split(","))) if dtypes else []
    for unknown in set(types) - set(DTYPES):
        raise unknown_name("dtype", unknown, DTYPES)
    devices = [device] if device else ["cpu", *(["cuda"] if has_gpu else [])]
    return [(one, dtype) for one in devices for dtype in types or (["float32"] if one == "cpu" else DTYPES)]


if __name__ == "__main__":
    run(main)
