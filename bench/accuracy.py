"""What every re-ranker earns on a data set: `python -m bench.accuracy --shortlist 400`."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from bench import options
from bench.cells import Cell, CellResult, earned, exit_code, isolated, run_cells
from bench.console import output, run
from bench.earn import EarnTask
from bench.ground import Setting, checkpoints_of
from bench.measure import this_machine
from bench.places import DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors
from bench.protocols import Policy
from bench.provenance import Surroundings, code_sha256, command_line
from bench.reporting import accuracy_table
from bench.results import AccuracyKey, ResultStore
from rerankers.registry import Spec, parse

#: Re-rankers of the default comparison.
DEFAULT = ",".join(
    (
        "none",
        "sg-rerank",
        "ransac",
        "chamfer:rootsift",
        "chamfer:rootsift-48",
        "elvis:micro",
        "ames:micro",
        "rrt:micro",
        "r2former:micro",
        "cvnet:micro",
        "locore:micro",
        "locore:micro+slide",
        "locore:rwkv-rootsift",
        "locore:mamba-rootsift",
        "sg-rerank+then+locore:micro",
        "sg-rerank+then+locore:micro+slide",
    )
)


@dataclass(frozen=True)
class Request:
    """What all cells of one call share."""

    setting: Setting
    policy: Policy
    work: Path
    timeout_s: float

    def cell(self, spec: Spec) -> Cell:
        key = AccuracyKey(
            reranker=str(spec),
            **self.setting.described(),
            policy=str(self.policy),
            weights=self.setting.weights(spec),
        )
        return Cell(key, lambda: self.earn(spec, key))

    def earn(self, spec: Spec, key: AccuracyKey) -> CellResult:
        """Runs one cell in its own process."""
        ground, surroundings = self.setting.ground(spec), self.setting.surroundings
        heading = f"{key.model_dump_json()} {code_sha256()} {surroundings.seed}"
        journal = self.work / f"{hashlib.sha256(heading.encode()).hexdigest()[:16]}.journal"
        task = EarnTask(ground=asdict(ground), policy=str(self.policy), journal=str(journal), heading=heading)
        found = isolated(
            "bench.earn:run", asdict(task), threads=surroundings.threads, timeout_s=self.timeout_s, title=str(spec)
        )
        journal.unlink(missing_ok=True)
        notes = ["random weights: the accuracy of this row means nothing"] if key.weights == "random" else []
        return CellResult(earned(found["figures"]), found["series"], notes, found["scores_sha256"])


def main(
    shortlist: options.Shortlist = 400,
    dataset: options.DatasetName = "facades",
    rerankers: options.Rerankers = DEFAULT,
    policy: options.Policy = Policy.JUNK_BEHIND,
    checkpoint: options.Checkpoints = None,
    allow_random: options.AllowRandom = False,
    local_descriptors: options.Locals = 500,
    training: options.Training = "facades-train",
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 3600,
    again: options.Again = False,
) -> None:
    """Re-ranks the shortlist of every query with every re-ranker, evaluates the lists, and keeps a record of each."""
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(",")))
    folder, store = cache_folder(cache), ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.accuracy"))
    setting = Setting.make(
        dataset,
        Descriptors(locals=local_descriptors, training=training),
        shortlist=shortlist,
        checkpoints=checkpoints_of(checkpoint or [], specs),
        allow_random=allow_random,
        cache=folder,
        surroundings=surroundings,
    )
    request = Request(setting, policy, folder / "unfinished", timeout)
    found = run_cells([request.cell(spec) for spec in specs], store, surroundings, again=again)
    output.print(accuracy_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


if __name__ == "__main__":
    run(main)
