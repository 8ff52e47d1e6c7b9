"""The pytest fixture `rerank_benchmark`: what a re-ranker of one's own costs, timed by pytest-benchmark.

pytest loads this wherever the package is installed, in other projects' runs too: so whatever is heavy is imported by
the call of the fixture, not before. docs/own-reranker.md shows its use.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from typing import Unpack

    from pytest_benchmark.fixture import BenchmarkFixture

    from bench.contract import Sizes, Subject
    from bench.measure import Noise
    from rerankers import Ranking, Reranker

GIGA, MIB = 1e9, 1 << 20
#: What was measured so far, as rows of the table at the end.
MEASURED = pytest.StashKey[list[dict[str, Any]]]()
NOISY = "noisy: other programs took the cores meanwhile; measure again when the machine is calm"
TITLES = ("re-ranker", "candidates", "GFLOP", "median (ms)", "GFLOP/s", "of peak (%)", "memory (MiB)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = []


@pytest.fixture
def rerank_benchmark(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> RerankBenchmark:
    """Measures a re-ranker by calling it: `rerank_benchmark(MyReranker(), candidates=100, local_dim=128)`."""
    return RerankBenchmark(benchmark, request.config.stash[MEASURED])


@dataclass(frozen=True)
class RerankBenchmark:
    """The fixture's value. benchmark: pytest-benchmark's fixture of the same test, whose `extra_info` is filled."""

    benchmark: BenchmarkFixture
    measured: list[dict[str, Any]]

    def __call__(
        self,
        reranker: Reranker | str,
        *,
        candidates: int = 100,
        rounds: int = 10,
        warmup_rounds: int = 10,
        seed: int = 0,
        name: str | None = None,
        **sizes: Unpack[Sizes],
    ) -> Ranking:
        """Ranks one synthetic list, times it, counts it, and gives its ranking. The test fails on a broken contract.

        reranker: one that is built, on the CPU, or a request such as "ames:micro", whose sizes are known. seed: of the
        inputs, and of random weights of a request that has none. name: for the tables; default: class or request.
        With --benchmark-disable the contract is checked and nothing is measured. Raises BenchError for inputs that
        cannot be made, RerankError as the re-ranker does.
        """
        from bench.contract import breaches, subject

        taken = subject(reranker, candidates=candidates, seed=seed, name=name, sizes=sizes)
        if self.benchmark.group is None:
            self.benchmark.group = f"re-ranking {candidates} candidates"
        kept, first = taken.copied(), taken.call()
        with _window() as noise:
            last: Ranking = self.benchmark.pedantic(taken.call, rounds=rounds, warmup_rounds=warmup_rounds)
        if broken := breaches(taken, kept, first, last):
            self.benchmark.has_error = True  # leaves it out of the tables and of what is saved
            pytest.fail(f"{taken.name} breaks the contract of a re-ranker:\n- " + "\n- ".join(broken), pytrace=False)
        self.benchmark.extra_info |= _described(taken, last) | {"seed": seed}
        if (timed := self.benchmark.stats) is not None:
            self.benchmark.extra_info |= _costs(taken, timed.stats.median) | {"noisy": noise[0].noisy}
            self.measured.append({"median_ms": timed.stats.median * 1e3, **self.benchmark.extra_info})
        return last


def _described(subject: Subject, ranking: Ranking) -> dict[str, Any]:
    """What was run, and what came out."""
    from bench.cost import describe_inputs, scores_sha256

    network = subject.reranker.module()
    return {
        "reranker": subject.name,
        "candidates": len(subject.candidates),
        "inputs": describe_inputs(subject.inputs),
        "parameters": 0 if network is None else sum(parameter.numel() for parameter in network.parameters()),
        "scores_sha256": scores_sha256(ranking),
    }


def _costs(subject: Subject, median_s: float) -> dict[str, Any]:
    """Figures by name, None where one is missing, and why in `reasons`. FLOPs last: counting changes the program."""
    from bench.measure import host_memory, matmul_peak, this_machine, threads_in_force

    peak = matmul_peak(str(subject.reranker.dtype).removeprefix("torch.")) / GIGA
    memory, _ = host_memory(subject.call)
    flops, counted = _flops(subject)
    rate = None if flops is None else flops / median_s / GIGA
    reasons = {"gflops_executed": counted["flops_explanation"]} if flops is None else {}
    if memory.delta_bytes is None:
        reasons["peak_memory_bytes"] = memory.reason
    return counted | {
        "gflops_executed": None if flops is None else flops / GIGA,
        "gflop_per_s": rate,
        "matmul_peak_gflop_per_s": peak,
        "share_of_peak": None if rate is None else rate / peak,
        "peak_memory_bytes": memory.delta_bytes,
        "threads": threads_in_force(),
        "machine": this_machine().fingerprint,
        "cpu": this_machine().cpu,
        "reasons": reasons,
    }


def _flops(subject: Subject) -> tuple[int | None, dict[str, str]]:
    """Executed FLOPs of a call, and what the witnesses say."""
    from bench.measure import count

    reranker = subject.reranker
    if reranker.uncounted is not None:
        return None, {"flops_verdict": "none", "flops_explanation": reranker.uncounted}
    form = reranker.closed_form(*reranker.readable(subject.query, subject.candidates))
    counted = count(subject.call, closed_form=None if form is None else form.executed)
    return counted.flops, {"flops_verdict": counted.verdict, "flops_explanation": counted.explanation}


@contextmanager
def _window() -> Iterator[list[Noise]]:
    """Garbage is collected before the calls, and none within; afterwards the list holds what disturbed them."""
    from bench.measure import NoiseWindow

    noise: list[Noise] = []
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        before, start = NoiseWindow(), time.perf_counter()
        yield noise
        noise.append(before.until_now(time.perf_counter() - start))
    finally:
        if was_on:
            gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A row for every re-ranker measured."""
    if not (measured := config.stash.get(MEASURED, [])):
        return
    from tabulate import tabulate

    notes: dict[str, int] = {}
    rows = [_row(one, notes) for one in measured]
    terminalreporter.section("cost of re-rankers")
    terminalreporter.write_line(
        tabulate(rows, headers=TITLES, disable_numparse=True, colalign=("left", *["right"] * (len(TITLES) - 1)))
    )
    for reason, number in notes.items():
        terminalreporter.write_line(f"[{number}] {reason}")
    last, threads = measured[-1], max(measured[-1]["threads"].values(), default=1)
    terminalreporter.write_line(
        f"{last['cpu']}, fingerprint {last['machine']}, {threads} threads. GFLOP: matrix products and convolutions\n"
        "of one call. Of peak: of what a matrix product of the same number type reached just after the calls.\n"
        "Memory: the peak of one call over what the process held before it."
    )


def _row(one: Mapping[str, Any], notes: dict[str, int]) -> tuple[str, ...]:
    """Cells of one re-ranker; `notes` numbers the reasons of missing figures, and what else to know."""
    from bench.reporting.numbers import significant

    def shown(value: float | None, of: str, unit: float = 1.0) -> str:
        if value is not None:
            return significant(value / unit)
        return f"- [{number(one['reasons'][of])}]"

    def number(note: str) -> int:
        return notes.setdefault(note, len(notes) + 1)

    return (
        one["reranker"],
        str(one["candidates"]),
        shown(one["gflops_executed"], "gflops_executed"),
        shown(one["median_ms"], "median_ms") + (f" [{number(NOISY)}]" if one["noisy"] else ""),
        shown(one["gflop_per_s"], "gflops_executed"),
        shown(one["share_of_peak"], "gflops_executed", 0.01),
        shown(one["peak_memory_bytes"], "peak_memory_bytes", MIB),
    )
