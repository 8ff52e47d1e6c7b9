"""A record's cell, run again from what its key says, with its seed and threads; nothing unfinished is gone on with."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench import accuracy, churn, linking, tune
from bench.audit import Check
from bench.cells import Cell, CellResult, Limits, isolated, run_cells
from bench.cost import CostTask, describe_inputs
from bench.costing import TOGETHER, Protocol, measure
from bench.errors import BenchError
from bench.ground import Setting, checkpoints_of
from bench.places import DATA_ROOT
from bench.prepare import Descriptors, Wanted
from bench.processes import Crew
from bench.protocols import Policy
from bench.provenance import Surroundings
from bench.results import AccuracyKey, ChurnKey, CostKey, LinkingKey, Record, ResultStore, TuneKey
from bench.steady import SteadyTask
from rerankers.registry import Spec, parse

#: This suite's own descriptors, as records say them.
_OWN = re.compile(r"RootSIFT-(\d+) \+ VLAD-(\d+)-(\d+) \((.+?)\)(, and distractors: .*)?")
#: Descriptors beside the data: names of their files, then what those say of themselves.
_STORED = re.compile(r"(\S+?)( \+ (\S+) globals)?(, first stage by the lists of \S+ sha256:\w+)? \(.*", re.DOTALL)
#: How a cost record says that some candidates only were counted.
_COUNTED = re.compile(r"FLOPs by the closed form; .* on (\d+) candidates")
#: Calls before the measured ones, which records do not keep.
WARMUP = 10


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a key does not say. dataset, validation: where own images lie, by the folder. checkpoints: FAMILY=PATH.

    descriptors, globals_, neighbours: those beside the data, where the key's words for them are not their names.
    timed: whether latency and memory of cost records are measured as thoroughly as they were.
    """

    cache: Path
    command: str
    limits: Limits = field(default_factory=Limits)
    dataset: str | None = None
    validation: str | None = None
    data_root: Path = DATA_ROOT
    descriptors: str | None = None
    globals_: str | None = None
    neighbours: Path | None = None
    checkpoints: list[str] = field(default_factory=list)
    timed: bool = False


@dataclass(frozen=True)
class Row:
    """A record that is run again, with what was told."""

    record: Record
    told: Told

    @property
    def spec(self) -> Spec:
        return parse(self.record.key.reranker)

    @property
    def surroundings(self) -> Surroundings:
        """Those of the record, as far as this machine has them."""
        found = self.record.provenance
        return Surroundings(found.threads, found.seed, self.told.command)

    def setting(self, key: Any, name: str) -> Setting:
        """The data set `name`, prepared as the key says; BenchError where the weights meant are not told."""
        spec, random = self.spec, key.weights == "random" and self.record.status == "ok"
        found = Setting.make(
            name,
            described(key.descriptors, self.told),
            shortlist=key.shortlist,
            checkpoints=checkpoints_of(self.told.checkpoints, [spec]),
            allow_random=random or isinstance(key, ChurnKey),
            cache=self.told.cache,
            surroundings=self.surroundings,
            data_root=self.told.data_root,
        )
        if _names(found.weights(spec)) != _names(key.weights):
            raise BenchError(
                f"a row of the weights {key.weights}, where {spec} would have {found.weights(spec)}",
                wanted="those weights",
                cure=f"Pass --checkpoint {spec.family}=PATH, or leave it out where the row was made without.",
            )
        return found

    def isolated(self, target: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        threads = self.record.provenance.threads
        return isolated(target, dict(payload), threads=threads, limits=self.told.limits, title=str(self.spec))


def read(path: Path) -> Record:
    """The record in a file; BenchError for what is none."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        seen = f"{path} cannot be read" if isinstance(error, OSError) else f"{path} is not a record of this version"
        raise BenchError(
            f"{seen} ({str(error).splitlines()[0]})",
            wanted="a JSON file that a command has left in its --records folder, or one of reports/records",
            cure="Check the path; a record that is damaged has to be run again.",
        ) from error


def rerun(record: Record, told: Told) -> Record:
    """What the cell of `record` gives now. BenchError for what cannot be run again here."""
    kind = record.key.kind
    if kind not in CELLS:
        raise BenchError(
            f"a record of kind {kind!r}, which is not verified yet",
            wanted=f"one of {', '.join(CELLS)}",
            cure="Run its command again with --again, into another --records folder, and compare.",
        )
    row = Row(record, told)
    with tempfile.TemporaryDirectory(prefix="rerank-") as aside:
        cell = CELLS[kind](row, Path(aside))
        return run_cells([cell], ResultStore(Path(aside)), row.surroundings, again=True)[0]


def audited(record: Record, told: Told) -> tuple[list[Check], str]:
    """The checks of a cost record's program, run in a process of its own, and the hash of the scores that it timed.

    CellFailed when they could not be run.
    """
    row = Row(record, told)
    found = row.isolated("bench.audit:run", asdict(cost_task(row)))
    return [Check(**one) for one in found["checks"]], found["scores_sha256"]


def described(text: str, told: Told) -> Descriptors | Wanted:
    """The descriptors that a record names, unless others are told; BenchError for words that name none."""
    if told.descriptors is not None:
        return Wanted(told.descriptors, told.globals_, told.neighbours)
    if own := _OWN.fullmatch(text):
        return Descriptors(locals=int(own[1]), words=int(own[2]), global_dim=int(own[3]), training=own[4])
    if stored := _STORED.fullmatch(text):
        return Wanted(stored[1], told.globals_ or stored[3], told.neighbours)
    raise BenchError(
        f"descriptors {text!r}",
        wanted="a name that tells how to get them",
        cure="Pass --descriptors NAME, the start of their files beside the data.",
    )


def cost_task(row: Row) -> CostTask:
    """The task of a cost record, as thorough as it was; BenchError for a device that is not there."""
    key, record = row.record.key, row.record
    assert isinstance(key, CostKey)
    if key.device != "cpu" and not torch.cuda.is_available():
        raise BenchError(
            f"a row of device {key.device!r} on a machine without one",
            wanted="the device",
            cure="Verify it on such a machine.",
        )
    counted = next((int(found[1]) for note in record.notes if (found := _COUNTED.match(note))), None)
    runs = len(record.series.get("latency_samples_ms", ())) or WARMUP
    return CostTask(
        str(row.spec),
        key.device,
        key.dtype,
        key.candidates,
        record.provenance.seed,
        warmup=WARMUP,
        runs=runs,
        counted=counted,
    )


def _cost(row: Row, aside: Path) -> Cell:
    """Without `timed`, a few calls: counts and scores need no more."""
    task, told = cost_task(row), row.told
    protocol = Protocol(TOGETHER, budget_s=0.0, processes=1, counted=task.counted)
    if told.timed:
        medians = row.record.series.get("process_medians_ms", ())
        protocol = Protocol(processes=max(1, len(medians)), counted=task.counted)
    key = CostKey(
        reranker=task.reranker,
        device=task.device,
        dtype=task.dtype,
        candidates=task.candidates,
        inputs=describe_inputs(task.inputs),
    )
    threads = row.record.provenance.threads
    return Cell(key, lambda: measure(task, protocol, threads=threads, limits=told.limits))


def _accuracy(row: Row, aside: Path) -> Cell:
    key = row.record.key
    assert isinstance(key, AccuracyKey)
    setting = row.setting(key, row.told.dataset or key.dataset)
    return accuracy.Request(setting, Policy(key.policy), aside, row.told.limits, Crew()).cell(row.spec, key.read)


def _churn(row: Row, aside: Path) -> Cell:
    key = row.record.key
    assert isinstance(key, ChurnKey)
    setting = row.setting(key, row.told.dataset or key.dataset)

    def measured() -> CellResult:
        task = SteadyTask(asdict(setting.ground(row.spec)), key.device, key.queries)
        return CellResult(churn.figures(row.isolated("bench.steady:run", asdict(task))))

    now = key.model_copy(update={**setting.described(), "weights": setting.weights(row.spec)})
    return Cell(now, measured)


def _tune(row: Row, aside: Path) -> Cell:
    key = row.record.key
    assert isinstance(key, TuneKey)
    validation, evaluated = (
        row.setting(key, name) for name in (row.told.validation or key.validation, row.told.dataset or key.dataset)
    )
    return tune.Request(validation, evaluated, Policy(key.policy), row.told.limits).cell(row.spec)


def _linking(row: Row, aside: Path) -> Cell:
    key = row.record.key
    assert isinstance(key, LinkingKey)
    setting = row.setting(key, row.told.dataset or key.dataset)
    return linking.Request(setting, Policy(key.policy), key.draws, row.told.limits).cell(row.spec)


def _names(weights: str) -> list[str]:
    """Those of the checkpoints, without their hashes: other contents of one file show as a difference."""
    return [one.partition(" sha256:")[0] for one in weights.split(" + ")]


#: What runs the cell of a record again, by kind; each gets a folder for what it leaves.
CELLS: Mapping[str, Callable[[Row, Path], Cell]] = {
    "accuracy": _accuracy,
    "cost": _cost,
    "churn": _churn,
    "tune": _tune,
    "linking": _linking,
}
