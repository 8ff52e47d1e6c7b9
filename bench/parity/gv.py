"""Reference cases of geometric verification: OpenCV's answers, and those of DELG's estimator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from bench.errors import BenchError, unknown_name
from bench.parity.case import Case, Verdict
from rerankers import Features
from rerankers.estimators import Estimate, Status, affine_trials, estimate
from rerankers.matching import Matching, match
from rerankers.ransac import Ransac, Verification, inlier_count

_ESTIMATOR = re.compile(r"(affine|homography|similarity|fundamental)_(ransac|magsac)_(\w+)")
_EMPTY = {Status.REFUSED: "raises cv2.error", Status.NO_MODEL: "returns (None, None)"}


def points(case: Case) -> list[Verdict]:
    """Masks, counts and models of every estimator, set and threshold."""
    made: dict[str, list[list[Estimate]]] = {}
    verdicts = []
    for output in case.outputs:
        estimator, model, method, what = _named(output)
        if estimator not in made:
            made[estimator] = [
                [_estimate(case, pair, model, method, threshold) for threshold in case.config["thresholds"]]
                for pair in _sets(case)
            ]
        found = made[estimator]
        if what == "count_spread":
            verdicts.append(_band(case, output, found))
        elif numbered := re.fullmatch(r"mask_(\d+)", what):
            rows = [e.mask for e in found[int(numbered[1])]]
            width = case.outputs[output].shape[1]
            masks = [np.zeros(width, bool) if mask is None else mask for mask in rows]
            verdicts.append(case.compare(output, np.array(masks)))
        else:
            verdicts.append(case.compare(output, _table(found, what, case.outputs[output])))
    return verdicts


def degenerate(case: Case) -> list[Verdict]:
    """Status and mask of sets that have no transform, and that the re-ranker scores those 0."""
    verdicts = []
    for output in case.outputs:
        _, model, method, what = _named(output)
        sets = list(_sets(case))
        made = [_estimate(case, pair, model, method, case.config["threshold"]) for pair in sets]
        if what == "mask_count":
            counts = [-1 if e.matrix is None or e.mask is None else int(e.mask.sum()) for e in made]
            verdicts.append(case.compare(output, np.array(counts)))
            continue
        verdicts.append(case.compare(output, np.array([int(e.status) for e in made])))
        rule = _verification(case, model, method, case.config["threshold"], minimum_matches=0)
        wrong = [
            name
            for name, pair, e in zip(case.spec["sets"], sets, made, strict=True)
            if e.status is not Status.FOUND and inlier_count(*pair, rule) > 0
        ]
        verdicts.append(_fact(f"{output}: score 0 without a model", not wrong, ", ".join(wrong)))
    nothing = np.empty((0, 2), np.float32)
    for name, wanted in case.spec.get("empty_input", {}).items():
        _, model, method, _ = _named(f"{name}_status")
        got = _estimate(case, (nothing, nothing), model, method, case.config["threshold"]).status
        verdicts.append(_fact(f"{name} of nothing", _EMPTY.get(got) == wanted, f"{got.name}, wanted: {wanted}"))
    return verdicts


def delg(case: Case) -> list[Verdict]:
    """Inliers of DELG's estimator, exactly and seed by seed."""
    config = case.config
    if config["min_samples"] != 3:
        raise BenchError(
            f"{config['min_samples']} points a sample", wanted="3, an affine transform", cure="Leave this case out."
        )
    counts = [
        [
            [
                affine_trials(*pair, threshold_px=threshold, trials=config["max_trials"], seed=seed).inliers
                for seed in config["seeds"]
            ]
            for threshold in config["thresholds"]
        ]
        for pair in _sets(case)
    ]
    return _compared(case, {"inliers": np.array(counts)})


def matches(case: Case) -> list[Verdict]:
    """Pairs, inliers and order of a whole query under each rule of matching."""
    names = sorted(name for name in case.inputs if re.fullmatch(r"c_desc_\d+", name))
    local, xy, valid = _images(case, ["q_desc"])
    query = Features(local=local, xy=xy, valid=valid)
    many, places, real = _images(case, names)
    candidates = Features(local=many, xy=places, valid=real)
    ratio = case.config["ratio"]
    rules = {
        "mutual": Matching(mutual=True),
        "ratio": Matching(ratio=ratio),
        "both": Matching(mutual=True, ratio=ratio),
    }
    similarity = torch.from_numpy(case.inputs["sim_global"])
    first_stage = torch.argsort(similarity, descending=True, stable=True)
    got: dict[str, np.ndarray] = {}
    for rule, matching in rules.items():
        pairs = match(local[0], many, real, matching)
        for name, found in zip(names, pairs, strict=True):
            got[name.replace("c_desc", f"{rule}_pairs")] = found if len(found) else np.array([[-1, -1]])
        got[f"{rule}_matches"] = np.array([len(found) for found in pairs])
        reranker = Ransac(_verification(case, "homography", "ransac", case.config["threshold"], matching=matching))
        got[f"inliers_{rule}"] = reranker.score(query, candidates).to(torch.int64).numpy()
        order = reranker.rank(query, candidates[first_stage], similarity[first_stage])
        got[f"order_{rule}"] = first_stage[order].numpy()
    return _compared(case, got)


def _images(case: Case, names: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The named descriptors, their positions and which are real, padded to one length."""
    local = [torch.from_numpy(case.inputs[name]) for name in names]
    xy = [torch.from_numpy(case.inputs[name.replace("desc", "xy")]) for name in names]
    valid = [torch.ones(len(one), dtype=torch.bool) for one in local]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(local, True), pad(xy, True), pad(valid, True)


def _sets(case: Case) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for number in range(len(case.spec["sets"])):
        yield case.inputs[f"src_{number:02d}"], case.inputs[f"dst_{number:02d}"]


def _named(output: str) -> tuple[str, str, str, str]:
    """(estimator, model, method, quantity) in the name of an output."""
    if not (named := _ESTIMATOR.fullmatch(output)):
        raise BenchError(f"output {output!r}", wanted="<model>_<method>_<quantity>", cure="Fetch the case again.")
    model, method, what = named.groups()
    return f"{model}_{method}", model, method, what


def _verification(case: Case, model: str, method: str, threshold_px: float, **changes: object) -> Verification:
    settings = {"matching": Matching(), "source": "query", "max_descriptors": None, **changes}
    return Verification(
        model=model,  # type: ignore[arg-type]  # one that the pattern of names allows
        method=method,  # type: ignore[arg-type]  # likewise
        threshold_px=threshold_px,
        max_iterations=case.config["maxIters"],
        confidence=case.config["confidence"],
        **settings,  # type: ignore[arg-type]  # of several types
    )


def _estimate(case: Case, pair: tuple[np.ndarray, np.ndarray], model: str, method: str, threshold: float) -> Estimate:
    return estimate(
        *pair,
        model=model,  # type: ignore[arg-type]  # one that the pattern of names allows
        method=method,  # type: ignore[arg-type]  # likewise
        threshold_px=threshold,
        max_iterations=case.config["maxIters"],
        confidence=case.config["confidence"],
    )


def _table(found: list[list[Estimate]], what: str, wanted: np.ndarray) -> np.ndarray:
    """The quantity `what` of every set and threshold."""
    if what == "model":
        rows, columns = wanted.shape[2:]
        nothing = np.zeros((rows, columns))
        return np.array([[nothing if e.matrix is None else e.matrix for e in row] for row in found])
    if what == "found":
        return np.array([[int(e.matrix is not None) for e in row] for row in found])
    return np.array([[e.inliers for e in row] for row in found])


def _band(case: Case, output: str, found: list[list[Estimate]]) -> Verdict:
    """Whether every count lies between the least and the most over random orders of the same matches."""
    least, _, most = np.moveaxis(case.outputs[output], -1, 0)
    counts = _table(found, "count", least)
    outside = np.maximum(np.maximum(least - counts, counts - most), 0)
    return Verdict(output, not outside.any(), float(outside.max()), "inside the band")


def _compared(case: Case, got: Mapping[str, np.ndarray]) -> list[Verdict]:
    """A verdict on every output of the case; BenchError for one that is not among `got`."""
    for output in case.outputs.keys() - got.keys():
        raise unknown_name("output", output, got)
    return [case.compare(output, got[output]) for output in case.outputs]


def _fact(output: str, holds: bool, otherwise: str) -> Verdict:
    return Verdict(output, holds, 0.0 if holds else float("inf"), "exact", "" if holds else otherwise)


RUNNERS: dict[str, Callable[[Case], list[Verdict]]] = {
    "gv_points": points,
    "gv_degenerate": degenerate,
    "gv_match": matches,
    "gv_delg": delg,
}
