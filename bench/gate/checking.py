"""One run of the gate: this tree against a stored baseline, or against another revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gate.baseline import gate_records, noise_model
from bench.gate.comparing import DEFAULT_THRESHOLD, compare, of_failure
from bench.gate.duel import Failure, GateCell, Side, facts
from bench.gate.duels import DuelPlan
from bench.gate.earning import Earning
from bench.gate.facts import Facts
from bench.gate.noise import CellNoise
from bench.gate.revisions import Revision, checked_out, same_libraries
from bench.gate.verdicts import Verdict, against_stored, lacking, not_compared, of_earned, of_facts
from bench.gate.words import percent
from bench.options import DESCRIBED
from bench.others import alone
from bench.provenance import Surroundings, git_state
from bench.results import Record, ResultStore
from rerankers.errors import RerankError
from rerankers.registry import parse

#: What the gate watches where nothing else is said: a quick re-ranker of every family.
DEFAULT = ("none", *DESCRIBED.split(","))
HEAD = Side(name="head")
KINDS = ("gate", "accuracy")


@dataclass(frozen=True)
class Outcome:
    """Verdicts, what they were reached on in words, and what a reader must know beside them."""

    verdicts: list[Verdict]
    base: str
    head: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """What one run works with. earning: prepares the accuracy cells, when they are wanted."""

    plan: DuelPlan
    duels: int
    surroundings: Surroundings
    cache: Path
    noise: Mapping[str, CellNoise]
    earning: Callable[[], Earning]

    @property
    def rerankers(self) -> list[str]:
        return [cell.reranker for cell in self.plan.cells]

    def facts(self, side: Side) -> Mapping[str, Facts | Failure]:
        return facts(side, self.plan.cells, threads=self.plan.threads, timeout_s=self.plan.timeout_s)

    def fresh(self) -> list[Record]:
        """Gate and accuracy records of this tree, as a baseline holds them."""
        seen = self.facts(HEAD)
        able = [name for name in self.rerankers if not isinstance(seen.get(name), Failure)]
        held = self.plan.of(able).run((HEAD,), self.duels, "this tree")
        return [
            *gate_records(self.plan.cells, seen, held, self.surroundings),
            *self.earning().records(self.rerankers, None),
        ]

    def stored(self, base: Sequence[Record], fresh: Sequence[Record], place: Path) -> Outcome:
        """This tree against a baseline."""
        commits = dict.fromkeys((one.provenance.commit or "unknown commit")[:7] for one in base)
        return Outcome(
            against_stored(base, fresh, self.noise),
            base=f"the baseline in {place} ({', '.join(commits) or 'empty'})",
            head=this_tree(),
        )

    def against(self, revision: str) -> Outcome:
        """This tree against another revision, both now and on this machine."""
        base = checked_out(revision, self.cache / "revisions")
        side = Side(name="base", path=base.path)
        before, after = self.facts(side), self.facts(HEAD)
        verdicts, able = _deterministic(self.rerankers, before, after)
        plan = self.plan.of(able)
        verdicts += compare(plan, (side, HEAD), self.duels, self.noise, title=f"{base.commit[:7]} against this tree")
        verdicts += self._earned(able, base)
        order = {name: place for place, name in enumerate(self.rerankers)}
        verdicts.sort(key=lambda one: order[one.reranker])
        notes = (same_libraries(base), self._uncalibrated(able))
        return Outcome(
            verdicts,
            base=f"{base.commit[:7]} {base.title}",
            head=this_tree(),
            notes=tuple(note for note in notes if note),
        )

    def _earned(self, rerankers: Sequence[str], base: Revision) -> list[Verdict]:
        """AP of both sides, with the same inputs."""
        earning, found = self.earning(), []
        sides = [earning.records(rerankers, None, path) for path in (base.path, None)]
        for before, after in zip(*sides, strict=True):
            name = after.key.reranker
            if after.status != "ok":
                found.append(lacking(name, "AP", f"{after.status}: {after.reason}"))
            elif before.status != "ok":
                found.append(not_compared(name, "AP", f"the base cannot run it: {before.reason}"))
            else:
                found.append(of_earned(before, after, False))
        return found

    def _uncalibrated(self, rerankers: Sequence[str]) -> str | None:
        unknown = [name for name in rerankers if name not in self.noise]
        if not unknown:
            return None
        return (
            f"no noise model of this machine for {', '.join(unknown)}: a limit of {percent(DEFAULT_THRESHOLD)} "
            "was used for latency and memory; python -m bench.check --calibrate gives a better one"
        )


def cells_of(requests: str, baseline: Sequence[Record], *, candidates: int, seed: int) -> tuple[GateCell, ...]:
    """The cells of a run: those asked for, comma-separated; else the default ones and all others in the baseline."""
    names = [str(parse(one)) for one in requests.split(",")] if requests else [str(parse(one)) for one in DEFAULT]
    if not requests:
        names += [record.key.reranker for record in baseline if _known(record.key.reranker)]
    return tuple(GateCell(reranker=name, candidates=candidates, seed=seed) for name in dict.fromkeys(names))


def baseline_of(store: ResultStore) -> list[Record]:
    """What the gate compares with, of all that is stored there."""
    return [record for record in store if record.key.kind in KINDS]


def renew(store: ResultStore, fresh: Sequence[Record]) -> list[Record]:
    """Stores the records that are ok in place of all earlier ones of their cells; gives those that are not."""
    good = [record for record in fresh if record.status == "ok"]
    renewed = {(record.key.kind, record.key.reranker) for record in good}
    with alone(store.lock, f"records in {store.folder}"):
        kept = {store.put(record) for record in good}
        for old in baseline_of(store):
            if (old.key.kind, old.key.reranker) in renewed and (path := store.path(old.key)) not in kept:
                path.unlink()
    return [record for record in fresh if record.status != "ok"]


def known_noise(
    plan: DuelPlan, stores: Sequence[ResultStore], surroundings: Surroundings, *, duels: int
) -> dict[str, CellNoise]:
    """The noise model of this machine, from the first store that has one of a re-ranker."""
    stored = (record for store in stores for record in store)
    return noise_model(plan.cells, stored, surroundings, duels=duels)


def this_tree() -> str:
    """The head, in words."""
    commit, dirty = git_state()
    if commit is None:
        return "this tree"
    return f"this tree ({commit[:7]}{' with changes' if dirty else ''})"


def _deterministic(
    rerankers: Sequence[str], before: Mapping[str, Facts | Failure], after: Mapping[str, Facts | Failure]
) -> tuple[list[Verdict], list[str]]:
    """Verdicts on facts, and the re-rankers that both sides can run."""
    verdicts: list[Verdict] = []
    able = []
    for name in rerankers:
        base, head = before[name], after[name]
        if isinstance(head, Failure):
            verdicts.append(of_failure(head, "cell"))
        elif isinstance(base, Failure):
            verdicts.append(of_failure(base, "cell"))
        else:
            verdicts += of_facts(name, base, head)
            able.append(name)
    return verdicts, able


def _known(request: str) -> bool:
    try:
        parse(request)
    except RerankError:
        return False
    return True
