"""Reference cases of the metrics: every value that an official evaluation printed, held against ours."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench.datasets.ground_truth import QueryTruth, read_ground_truth
from bench.errors import BenchError, unknown_name
from bench.metrics import gldv2, map_at_k, map_at_r, recall_at_k, relevance, revisited
from bench.metrics.scores import Scores
from bench.parity.case import Case, Verdict
from bench.protocols import behind

_PROTOCOLS = {"E": "easy", "M": "medium", "H": "hard"}
_RRT_CANDIDATES = 100

#: ELViS's data sets by the start of their names: by lists of images; by class, with the query in the gallery; without.
_ELVIS_LISTS, _ELVIS_OWN_CLASS, _ELVIS_CLASS = ("instre", "product1m"), ("sop", "rp2k"), ("met",)


def run_revisited(case: Case) -> list[Verdict]:
    """Revisited AP and precision of every list, with both divisors, and as the official wrappers round them."""
    truths = _truths(case)
    verdicts = []
    for name, wanted in case.expected.items():
        ranks = case.inputs[name].T
        strict, shortlist = (
            {key: _revisited(ranks, truths[: len(ranks)], key, divisor, case) for key in _PROTOCOLS}
            for divisor in revisited.DIVISORS
        )
        got = {"strict": strict, "shortlist": shortlist}
        got |= {"rrt_rounded_percent": _rounded(strict, 2), "ames_rounded_percent": _rounded(shortlist, 3)}
        verdicts.append(hold(case, name, wanted, got))
    return verdicts


def _revisited(
    ranks: np.ndarray, truths: Sequence[QueryTruth], key: str, divisor: revisited.Divisor, case: Case
) -> Any:
    """One protocol as the cases write it, or the error that it raises."""
    protocol = _PROTOCOLS[key]
    kappas = case.spec.get("kappas", [1, 5, 10])
    try:
        found = revisited.evaluate(ranks, truths, protocols=(protocol,), divisor=divisor, kappas=kappas)[protocol]
    except BenchError as error:
        return error
    return {
        "map": found.map,
        "aps": found.per_query_ap,
        "mpk": {str(kappa): value for kappa, value in found.precision_at.items()},
        "prs": found.per_query_precision,
    }


def _rounded(protocols: Mapping[str, Any], decimals: int) -> dict[str, Any]:
    """Percent, as the official wrappers return it; without the protocols that raise."""
    values: dict[str, Any] = {}
    for key, found in protocols.items():
        if not isinstance(found, BenchError):
            values[f"{key}_map"] = np.around(100 * found["map"], decimals)
            values[f"{key}_mp"] = np.around(100 * np.array(list(found["mpk"].values())), decimals)
    return values


def run_rrt_protocol(case: Case) -> list[Verdict]:
    """RRT's evaluation: medium and hard are two re-rankings, each with its ignored images moved behind the list."""
    ids, queries, gallery = (case.inputs[name] for name in ("nn_inds", "query_vec", "gallery_vec"))
    truths = _truths(case)[: len(ids)]
    got: dict[str, Any] = {}
    for key, name in (("M", "medium"), ("H", "hard")):
        ignored = [truth.junk if key == "M" else np.concatenate([truth.junk, truth.easy]) for truth in truths]
        lists = np.stack([_reranked(*each, gallery) for each in zip(ids, ignored, queries, strict=True)])
        got[key] = _revisited(lists, truths, key, "revisitop", case)
        got[f"{name}_top110"] = lists[:, :110]
    got["official_return"] = _rounded({key: got[key] for key in ("M", "H")}, 2)
    return [hold(case, name, wanted, got.get(name)) for name, wanted in case.expected.items()]


def _reranked(ids: np.ndarray, ignored: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """One query's list with its first candidates sorted by their dot product with the query."""
    moved, _ = behind(ids, np.zeros(len(ids)), ignored)
    candidates = moved[:_RRT_CANDIDATES]
    order = np.argsort(-(gallery[candidates] @ query), kind="stable")
    return np.concatenate([candidates[order], moved[_RRT_CANDIDATES:]])


def run_gldv2(case: Case) -> list[Verdict]:
    """GLDv2 mAP@100 of all, public and private queries, and the two treatments of repeated images."""
    truth = json.loads((case.folder / "gnd.json").read_text(encoding="utf8"))
    if any(entry.get("junk") for entries in truth.values() for entry in entries):
        raise BenchError(f"{case.folder}: junk in gnd.json", wanted="none, as in GLDv2", cure="Leave this case out.")
    ranks, dup_ranks = case.inputs["ranks"].T, case.inputs["dup_ranks"].T
    positives, dup_positives = ([entry["ok"] for entry in truth[name]] for name in ("gnd", "dup_gnd"))
    found = gldv2.evaluate(ranks, positives)
    dup = gldv2.evaluate(dup_ranks, dup_positives)
    got = {
        "combined": {"map": found.map, "aps": found.per_query_ap},
        "public": {"map": found.public_map},
        "private": {"map": found.private_map},
        "google_map_at_100": gldv2.evaluate(ranks, positives, variant="google").map,
        "rounded_percent": {
            "pub_map": np.around(100 * found.public_map, 3),
            "priv_map": np.around(100 * found.private_map, 3),
            "map": np.around(100 * found.map, 3),
        },
        "dup": {
            "map": dup.map,
            "aps": dup.per_query_ap,
            "google_map_at_100": gldv2.evaluate(dup_ranks, dup_positives, variant="google").map,
        },
    }
    return [hold(case, name, wanted, got.get(name)) for name, wanted in case.expected.items()]


def run_sop(case: Case) -> list[Verdict]:
    """Recall@k, mAP@R and mAP@100 of metric learning, as RRT and LOCORE compute them."""
    # The distances were printed with six decimals; the notes of the case allow this much.
    distances = {f"{name}/nn_sqdist_first10": {"atol": 1e-4} for name in case.expected}
    case = replace(case, spec={**case.spec, "tolerances": {**distances, **case.spec.get("tolerances", {})}})
    return [hold(case, name, wanted, _sop(case.inputs, name, wanted)) for name, wanted in case.expected.items()]


@dataclass(frozen=True)
class _Search:
    """Queries and a gallery: features (n, D) float32, L2-normalised where `cosine`, and classes (n,).

    own: the queries are the gallery, so that every query finds itself.
    """

    queries: np.ndarray
    gallery: np.ndarray
    query_classes: np.ndarray
    gallery_classes: np.ndarray
    own: bool

    @classmethod
    def of(cls, given: Mapping[str, np.ndarray], *, own: bool, cosine: bool) -> _Search:
        side = "query" if own else "gallery"
        features = given["query_features"], given[f"{side}_features"]
        if cosine:
            features = _normalised(features[0]), _normalised(features[1])
        return cls(*features, given["query_labels"], given[f"{side}_labels"], own)

    def relevant(self, ranks: np.ndarray) -> np.ndarray:
        return relevance.by_class(ranks, self.query_classes, self.gallery_classes)

    def sizes(self) -> np.ndarray:
        return relevance.class_sizes(self.query_classes, self.gallery_classes)

    def nearest(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared L2 distances and indices (queries, k); the first hit, taken for the query itself, left out if own."""
        index = faiss.IndexFlatL2(self.gallery.shape[1])
        index.add(self.gallery)
        distances, ids = index.search(self.queries, k + self.own)
        return distances[:, int(self.own) :], ids[:, int(self.own) :]

    def ranks(self) -> np.ndarray:
        """The whole gallery by falling dot product (queries, gallery), the query itself at the end if own."""
        similarity = self.queries @ self.gallery.T
        if self.own:
            np.fill_diagonal(similarity, -1e8)
        return np.argsort(-similarity, axis=1, kind="stable")


def _sop(given: Mapping[str, np.ndarray], name: str, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The evaluation called `name`: metric/self or metric/gallery, and after it cosine, l2 or trunc<depth>."""
    metric, _, variant = name.partition("/")
    source, _, option = variant.partition("_")
    search = _Search.of(given, own=source == "self", cosine=option != "l2")
    if metric == "recall_at_ks":
        return _nearest_recall(search, wanted)
    if metric == "recall_at_ks_rerank":
        return _reranked_recall(search, given["query_grids"], wanted)
    ranks = search.ranks()[:, : int(option.removeprefix("trunc")) if option.startswith("trunc") else None]
    if metric == "map_at_r":
        score = map_at_r.evaluate(search.relevant(ranks), search.sizes(), variant="locore")
        similarity = search.queries @ search.gallery.T
        return {
            "map_at_r": score.mean,
            "ranks_first20": _up_to_ties(ranks[:, :20], wanted["ranks_first20"], similarity),
        }
    if metric == "recall_by_ranks":
        found = recall_at_k.evaluate(search.relevant(ranks), ks=wanted["ks"])
        return {"ks": wanted["ks"], "recall": [score.mean for score in found.values()]}
    return _class_map(search, ranks[:, :100], wanted) if metric == "map_at_100" else None


def _nearest_recall(search: _Search, wanted: Mapping[str, Any]) -> dict[str, Any]:
    ks = [int(k) for k in wanted["recall_percent"]]
    distances, ids = search.nearest(max(ks))
    queries, gallery = search.queries.astype(np.float64), search.gallery.astype(np.float64)
    exact = (queries**2).sum(axis=1)[:, None] + (gallery**2).sum(axis=1) - 2 * queries @ gallery.T
    return {
        "recall_percent": _percent(recall_at_k.evaluate(search.relevant(ids), ks=ks)),
        "nn_inds": _up_to_ties(ids, wanted["nn_inds"], exact),
        "nn_sqdist_first10": distances[:, :10],
    }


def _reranked_recall(search: _Search, grids: np.ndarray, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The nearest neighbours sorted by the sum over the products of their grids with the query's."""
    ks = [int(k) for k in wanted["recall_percent"]]
    flat = grids.reshape(len(grids), -1)
    scores = flat @ flat.T
    _, ids = search.nearest(max(ks))
    ids = ids[:, :_RRT_CANDIDATES]
    order = np.argsort(-np.take_along_axis(scores, ids, axis=1), axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, axis=1)
    return {
        "recall_percent": _percent(recall_at_k.evaluate(search.relevant(ids), ks=ks)),
        "nn_inds": _up_to_ties(ids, wanted["nn_inds"], scores),
    }


def _class_map(search: _Search, ranks: np.ndarray, wanted: Mapping[str, Any]) -> dict[str, Any]:
    sizes = search.sizes() - search.own
    counted = np.flatnonzero(sizes > 0)
    relevant, positives, kappas = search.relevant(ranks)[counted], sizes[counted], wanted["kappas"]
    whole = map_at_k.evaluate(relevant, positives)
    recall = recall_at_k.evaluate(relevant, positives, ks=kappas)
    return {
        "kappas": kappas,
        "query_index": counted,
        "map": whole.mean,
        "aps": whole.per_query,
        "map_at_k": [map_at_k.evaluate(relevant, positives, k=kappa).mean for kappa in kappas],
        "recall_at_k": [recall[kappa].mean for kappa in kappas],
    }


def _percent(recall: Mapping[int, Scores]) -> dict[str, float]:
    return {str(k): round(100 * score.mean, 2) for k, score in recall.items()}


def _normalised(features: np.ndarray) -> np.ndarray:
    found: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return found


def _up_to_ties(ids: np.ndarray, wanted: Sequence[Sequence[int]], values: np.ndarray) -> np.ndarray:
    """`ids` (queries, k) with the wanted ones where the two differ by no more than float32 rounding of their values.

    values: (queries, gallery), what the lists were sorted by. Either order is right then, and both codes' is chance.
    """
    other = np.asarray(wanted)
    if other.shape != ids.shape:
        return ids
    mine, theirs = (np.take_along_axis(values, one, axis=1) for one in (ids, other))
    tied = np.isclose(mine, theirs, rtol=1e-6, atol=1e-6)
    return np.where(tied, other, ids)


def run_elvis(case: Case) -> list[Verdict]:
    """ELViS's metrics for the data sets that are not Revisited ones."""
    protocol = case.spec["protocol"]
    ranks = case.inputs["ranks"].T[:, : int(protocol["map_k"])]
    relevant, positives = _elvis_relevance(ranks, protocol["dataset"], case.inputs)
    scores = map_at_k.evaluate(relevant, positives)
    verdicts = []
    for output in case.outputs:
        name, _, cut = output.partition("@")
        value: Any = {"map": scores.mean, "aps": scores.per_query}.get(name)
        if name == "r":
            value = recall_at_k.evaluate(relevant, positives, ks=(int(cut),))[int(cut)].mean
        elif name == "ap":
            value = map_at_k.evaluate(relevant, positives, k=int(cut)).mean
        verdicts.append(hold(case, output, case.outputs[output], None if value is None else np.atleast_1d(value)))
    return verdicts


def _elvis_relevance(ranks: np.ndarray, dataset: str, given: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Relevance (queries, depth) and the number of positives (queries,) by the rule of the data set."""
    if dataset.startswith(_ELVIS_LISTS):
        positives, junk = ([row[row >= 0] for row in given[name]] for name in ("ok", "junk"))
        relevant = relevance.without(relevance.by_images(ranks, positives), relevance.by_images(ranks, junk))
        return relevant, np.array([len(row) for row in positives])
    if dataset.startswith(_ELVIS_OWN_CLASS + _ELVIS_CLASS):
        classes = given["query_class"], given["gallery_class"]
        own = dataset.startswith(_ELVIS_OWN_CLASS)
        return relevance.by_class(ranks, *classes), np.maximum(relevance.class_sizes(*classes) - own, 0)
    raise unknown_name("ELViS data set", dataset, _ELVIS_LISTS + _ELVIS_OWN_CLASS + _ELVIS_CLASS)


def hold(case: Case, output: str, wanted: Any, got: Any) -> Verdict:
    """One verdict over all values under `output`, that of the worst; a value that is wanted and missing is off."""
    parts = _parts(case, output, wanted, got)
    worst = max(parts, key=lambda part: (not part.ok, part.deviation))
    note = "; ".join(
        filter(None, [f"{len(parts)} values, worst: {worst.output}" if len(parts) > 1 else "", worst.note])
    )
    return Verdict(output, worst.ok, worst.deviation, worst.tolerance, note)


def _parts(case: Case, output: str, wanted: Any, got: Any) -> list[Verdict]:
    if isinstance(wanted, Mapping) and "raises" in wanted:
        raised = wanted["raises"] in {kind.__name__ for kind in type(got).__mro__}
        return [Verdict(output, raised, 0.0 if raised else np.inf, f"raises {wanted['raises']}")]
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        return [part for key, value in wanted.items() for part in _parts(case, f"{output}/{key}", value, got.get(key))]
    if got is None or isinstance(got, Exception | Mapping) or isinstance(wanted, Mapping):
        return [Verdict(output, False, np.inf, "", f"no value ({got})" if isinstance(got, Exception) else "no value")]
    values = np.asarray(wanted)
    # JSON writes NaN as null, which makes an array of objects.
    return [case.compare(output, got, expected=values.astype(np.float64) if values.dtype == object else values)]


def _truths(case: Case) -> tuple[QueryTruth, ...]:
    named = re.search(r"gnd_\w+\.json", str(case.spec.get("ground_truth", "")))
    if named is None:
        raise BenchError(
            f"{case.folder}: no ground truth file named in case.json", wanted="gnd_<dataset>.json", cure="Name it."
        )
    places = [case.folder, case.folder / "../../data/revisitop"]
    if golden := os.environ.get("RERANK_GOLDEN"):
        places += [Path(golden), Path(golden) / "../data/revisitop"]
    for place in places:
        if (path := place / named[0]).exists():
            return read_ground_truth(path).truths
    raise BenchError(
        f"no {named[0]} for the case {case.name}",
        wanted=f"the file in one of {', '.join(map(str, places))}",
        cure="Put it beside the case, or set RERANK_GOLDEN to the folder of the reference cases.",
    )


RUNNERS: dict[str, Callable[[Case], list[Verdict]]] = {
    "metrics_revisited": run_revisited,
    "metrics_rrt_protocol": run_rrt_protocol,
    "metrics_gldv2": run_gldv2,
    "metrics_sop": run_sop,
    "metrics_elvis": run_elvis,
}
