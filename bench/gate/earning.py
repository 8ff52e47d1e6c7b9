"""AP of one side's re-rankers on a small data set: the accuracy cells, run with this tree's re-rankers or others."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import earn
from bench.cells import Cell, CellFailed, CellResult, earned, run_cells
from bench.earn import EarnTask
from bench.gate.revisions import import_from, only_from
from bench.ground import Setting
from bench.measure.process import run_isolated
from bench.prepare import Descriptors
from bench.protocols import Policy
from bench.provenance import Surroundings, code_sha256
from bench.results import AccuracyKey, Record, ResultStore
from rerankers.registry import parse

#: What is re-ranked: small, rendered here, and a shortlist about half as long as its gallery.
DATASET, SHORTLIST = "facades-mini", 30


@dataclass(frozen=True)
class Earning:
    """The accuracy cells of the gate. cache: where what is prepared lies, and journals of unfinished cells."""

    setting: Setting
    cache: Path
    timeout_s: float

    @classmethod
    def make(cls, descriptors: Descriptors, *, cache: Path, surroundings: Surroundings, timeout_s: float) -> Earning:
        """Prepares the data set, with everything that is cached taken as it is."""
        setting = Setting.make(
            DATASET,
            descriptors,
            shortlist=SHORTLIST,
            checkpoints={},
            allow_random=False,
            cache=cache,
            surroundings=surroundings,
        )
        return cls(setting, cache, timeout_s)

    def records(self, requests: Sequence[str], store: ResultStore | None, path: Path | None = None) -> list[Record]:
        """One record a re-ranker, run afresh; kept in `store`, if any.

        path: a folder with the `rerankers` of another revision, which are run with its own weights.
        """
        cells = [self._cell(request, path) for request in requests]
        with tempfile.TemporaryDirectory(prefix="rerank-") as aside:
            return run_cells(cells, store or ResultStore(Path(aside)), self.setting.surroundings, again=True)

    def _cell(self, request: str, path: Path | None) -> Cell:
        spec = parse(request)
        key = AccuracyKey(
            reranker=str(spec),
            **self.setting.described(),
            policy=str(Policy.JUNK_BEHIND),
            weights=self.setting.weights(spec),
            read=None,
        )

        def run() -> CellResult:
            found = self._earned(asdict(self.setting.ground(spec)), key, path)
            return CellResult(earned(found["figures"]), found["series"], scores_sha256=found["scores_sha256"])

        return Cell(key, run)

    def _earned(self, ground: dict[str, Any], key: AccuracyKey, path: Path | None) -> dict[str, Any]:
        """What the cell's process gives; its journal goes with it, so that nothing is kept from an earlier run."""
        heading = f"gate {key.model_dump_json()} {code_sha256()} {path}"
        folder = self.cache / "unfinished"
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / f"{hashlib.sha256(heading.encode()).hexdigest()[:16]}.journal"
        journal.unlink(missing_ok=True)  # of a run that was killed
        task = EarnTask(ground, key.policy, str(journal), heading)
        try:
            outcome = run_isolated(
                "bench.gate.earning:run",
                {"task": asdict(task), "path": None if path is None else str(path)},
                threads=self.setting.surroundings.threads,
                timeout_s=self.timeout_s,
                env=None if path is None else import_from(path),
            )
        finally:
            journal.unlink(missing_ok=True)
        if not outcome.ok or outcome.result is None:
            raise CellFailed(outcome.reason)
        return dict(outcome.result)


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """In the cell's process: `bench.earn.run`, once the re-rankers are shown to be those that were asked for."""
    if payload["path"] is not None:
        only_from(Path(payload["path"]))
    return earn.run(payload["task"], progress)
