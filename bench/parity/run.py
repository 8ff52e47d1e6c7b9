"""From a case to its verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Literal

from bench.errors import BenchError
from bench.parity.case import Case, Verdict
from rerankers.errors import RerankError

log = logging.getLogger(__name__)

Runner = Callable[[Case], list[Verdict]]

#: One module a system; each offers RUNNERS, from the kind of a case to what runs it.
SYSTEMS = (
    "ames",
    "cvnet",
    "cvnet_rank",
    "detector",
    "elvis",
    "gv",
    "locore",
    "locore_protocol",
    "metrics",
    "r2former",
    "rrt",
    "sg",
    "training",
)


@dataclass(frozen=True)
class Report:
    """A case with its verdicts, or the reason why it could not be run."""

    case: Case
    verdict: Literal["ok", "off", "unsupported"]
    verdicts: tuple[Verdict, ...] = ()
    reason: str | None = None

    @property
    def worst(self) -> Verdict | None:
        """The output that decides: one that is off before any that is not, then the largest deviation."""
        return max(self.verdicts, key=lambda verdict: (not verdict.ok, verdict.deviation), default=None)


@cache
def runners() -> dict[str, Runner]:
    """What runs each kind of case."""
    return {
        kind: runner for system in SYSTEMS for kind, runner in import_module(f"bench.parity.{system}").RUNNERS.items()
    }


def supported() -> list[str]:
    """The kinds of cases that can be run."""
    return sorted(runners())


def run_case(case: Case) -> Report:
    """Runs a case. An output of the case that its runner did not compare counts as off."""
    runner = runners().get(case.kind)
    if runner is None:
        return Report(case, "unsupported")
    try:
        verdicts = runner(case)
    except (BenchError, RerankError) as error:
        return Report(case, "off", reason=str(error))
    except Exception as error:  # whatever one case does, the others are run
        log.exception("%s", case.name)
        return Report(case, "off", reason=f"{type(error).__name__}: {error}")
    compared = {verdict.output for verdict in verdicts}
    verdicts += [
        Verdict(output, False, float("inf"), "", "not compared") for output in case.outputs if output not in compared
    ]
    if not verdicts:
        return Report(case, "off", reason="nothing was compared")
    return Report(case, "ok" if all(verdict.ok for verdict in verdicts) else "off", tuple(verdicts))
