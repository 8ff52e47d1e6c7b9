"""The record of one cell: what was run, on what, at which commit, and every figure or the reason why it is missing."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Final = 1

Status = Literal["ok", "failed", "missing"]
#: Whether a candidate's score depends on the query and that candidate only, or on the others too.
Scoring = Literal["pair-wise", "list-wise"]
#: What an image of a ranked list is to its query, by the letter that stands for it.
LABELS: Final = {
    "e": "easy positive",
    "h": "hard positive",
    "t": "transitive positive",
    "p": "positive",
    "j": "junk",
    "-": "negative",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Frozen):
    """A number, or the reason why there is none; never both, never neither."""

    value: float | int | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Figure:
        if (self.value is None) == (not self.reason):
            raise ValueError("a figure has either a value or a reason for its absence")
        return self


class CostKey(_Frozen):
    """A re-ranker on synthetic inputs of the published size."""

    kind: Literal["cost"] = "cost"
    reranker: str
    device: str
    dtype: str
    candidates: int
    inputs: str = Field(description="sizes of the inputs, e.g. '600 x 50 locals of 768'")


class AccuracyKey(_Frozen):
    """A re-ranker on a data set."""

    kind: Literal["accuracy"] = "accuracy"
    reranker: str
    dataset: str
    dataset_sha256: str
    descriptors: str
    shortlist: int
    policy: str = Field(description="what happens to junk images before re-ranking")
    weights: str = Field(description="'none', 'random', or the checkpoint's name and hash")
    read: int | None = Field(None, description="local descriptors read of an image; None: as many as the variant reads")


class ChurnKey(_Frozen):
    """How far the rankings of a re-ranker depend on the number type and on how many candidates it sees at once."""

    kind: Literal["churn"] = "churn"
    reranker: str
    device: str
    dataset: str
    dataset_sha256: str
    descriptors: str
    shortlist: int
    queries: int
    weights: str


class TuneKey(_Frozen):
    """A re-ranker's blend with the first stage, chosen on a validation set for the data set."""

    kind: Literal["tune"] = "tune"
    reranker: str
    dataset: str
    dataset_sha256: str
    descriptors: str
    shortlist: int
    policy: str
    weights: str
    validation: str
    validation_sha256: str


class LinkingKey(_Frozen):
    """How far a transitive positive's score depends on what its linking positive shows of it."""

    kind: Literal["linking"] = "linking"
    reranker: str
    dataset: str
    dataset_sha256: str
    descriptors: str
    shortlist: int
    policy: str
    weights: str
    draws: int = Field(description="how often other descriptors are drawn for each case")


class SweepKey(_Frozen):
    """How the cost of a re-ranker grows along one axis."""

    kind: Literal["sweep"] = "sweep"
    reranker: str
    device: str
    dtype: str
    axis: str = Field(description="what is varied: candidates, descriptors, window, batch or threads")
    values: str = Field(description="the values of the axis, comma-separated, ascending")
    candidates: int
    inputs: str


class GateKey(_Frozen):
    """What must not change of a re-ranker unnoticed: facts, scores, latency and memory over several processes."""

    kind: Literal["gate"] = "gate"
    reranker: str
    device: str
    dtype: str
    candidates: int
    inputs: str
    weights: str


class NoiseKey(_Frozen):
    """How far two measurements of the same code lie apart on one machine (A/A)."""

    kind: Literal["noise"] = "noise"
    reranker: str
    device: str
    dtype: str
    candidates: int
    inputs: str
    duels: int = Field(description="duels that one comparison takes")


class PowerKey(_Frozen):
    """How often the gate notices a change that was planted."""

    kind: Literal["power"] = "power"
    reranker: str = Field(description="comma-separated: the re-rankers that the change was planted in")
    device: str
    candidates: int
    duels: int
    planted: str = Field(description="'nothing', 'slower by 20 %', 'memory +50 %', 'another ranking', ...")
    how: str = Field(description="'run' where the changed code ran, 'added' where the share was added to samples")


Key = Annotated[
    CostKey | AccuracyKey | ChurnKey | TuneKey | LinkingKey | SweepKey | GateKey | NoiseKey | PowerKey,
    Field(discriminator="kind"),
]


class Provenance(_Frozen):
    """Where a record comes from. Two records compare only when fingerprint and threads agree."""

    project_version: str
    commit: str | None
    dirty: bool | None
    code_sha256: str
    command: str
    started_at: str
    wall_s: float
    seed: int
    threads: int
    fingerprint: str
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]


class RankedLists(_Frozen):
    """What a cell ranked, and the heads of the final lists: a row a query, best first.

    images: numbers in the gallery. places: where the first-stage list had them, from 1. scores: what they were sorted
    by; None where a method gives an order only. labels: for each query a letter an image, see LABELS.
    """

    first_stage_sha256: str = Field(description="of all first-stage lists: equal where the same candidates were ranked")
    images: list[list[int]]
    places: list[list[int]]
    scores: list[list[float | None]]
    labels: list[str]

    @model_validator(mode="after")
    def _rows_agree(self) -> RankedLists:
        columns = self.images, self.places, self.scores, self.labels
        if len({tuple(map(len, column)) for column in columns}) != 1:
            raise ValueError("images, places, scores and labels of ranked lists differ in length")
        if unknown := set("".join(self.labels)) - set(LABELS):
            raise ValueError(f"labels {''.join(sorted(unknown))!r} are not of {''.join(LABELS)!r}")
        return self


class Record(_Frozen):
    """One cell. `series` holds what is plotted: per-query AP, latency samples; `lists` what was ranked."""

    schema_version: Literal[1] = SCHEMA_VERSION
    key: Key
    status: Status
    reason: str | None = None
    figures: dict[str, Figure] = {}
    series: dict[str, list[float | int | None]] = {}
    notes: list[str] = []
    scores_sha256: str | None = None
    scoring: Scoring | None = None
    lists: RankedLists | None = None
    provenance: Provenance

    @model_validator(mode="after")
    def _reason_when_not_ok(self) -> Record:
        if self.status != "ok" and not self.reason:
            raise ValueError("a cell that is not ok says why")
        return self

    def figure(self, name: str) -> Figure:
        """A figure by name; one that was never taken carries the cell's reason, or says so."""
        return self.figures.get(name) or Figure(reason=self.reason or "not measured")
