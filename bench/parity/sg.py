"""Reference cases of SuperGlobal: re-ranking, pooling and the head that is in front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.errors import unknown_name
from bench.features.pooling import Head, gemp, relup, rgem, sgem
from bench.parity.case import Case, Verdict
from rerankers import Features
from rerankers.checkpoints import load_state
from rerankers.superglobal import Stages, SuperGlobal

T = TypeVar("T")

#: (gemp, rgem, sgem) in the names of the head's outputs.
_SWITCHES = {"all_on": (True, True, True), "all_off": (False, False, False), "gemp_only": (True, False, False)}


def rerank(case: Case) -> list[Verdict]:
    """Every step of every query; exact duplicates may stand for each other where the case says so."""
    gallery, queries = (torch.from_numpy(case.inputs[name]) for name in ("X", "Q"))
    config = case.config
    reranker = SuperGlobal(shortlist=config["M"], neighbours=config["K"], beta=config["beta"])
    similarity = gallery @ queries.T
    ranks = torch.sort(similarity, dim=0, descending=True, stable=True).indices
    columns: dict[str, list[Tensor]] = {}
    for number, order in enumerate(ranks.T):
        query, candidates = Features(global_=queries[number : number + 1]), Features(global_=gallery[order])
        first_stage = similarity[order, number]
        final = order[reranker.rank(query, candidates, first_stage)]
        for name, value in _steps(reranker.stages(query, candidates), order, final).items():
            columns.setdefault(name, []).append(value)
    # Quantities of the whole gallery are stored with a column a query, those of the shortlist with a row a query.
    got = {name: torch.stack(values, dim=int(name == "final_ranks")).numpy() for name, values in columns.items()}
    got |= {"init_sim": similarity.numpy(), "init_ranks": ranks.numpy()}
    return [_compare(case, output, got) for output in case.outputs]


def _steps(stages: Stages, order: Tensor, final: Tensor) -> dict[str, Tensor]:
    best = stages.s1_order
    return {
        "knn_positions": stages.knn_positions,
        "knn_weights": stages.knn_weights,
        "refined": stages.refined,
        "s1": stages.s1,
        "s1_order": best,
        "s1_ranks": order[best],
        "query_expanded": stages.query_expanded,
        "s2_sorted": stages.s2[best],
        "final_score_sorted": stages.score[best],
        "final_ranks": final,
    }


def _compare(case: Case, output: str, got: Mapping[str, np.ndarray]) -> Verdict:
    """One output; where duplicates tie, images are compared through the first of their group, neighbours as sets."""
    value, wanted = _known("output", output, got), case.outputs[output]
    groups = case.spec.get("tie_groups", [])
    if not groups or value.dtype.kind != "i" or value.shape != wanted.shape:
        return case.compare(output, value)
    first = np.arange(len(got["init_ranks"]))
    for group in groups:
        first[group] = min(group)
    ids = [value, wanted]
    if output in ("knn_positions", "s1_order"):  # positions in the shortlist of a query: to images
        ids = [
            np.stack([column[row] for column, row in zip(ranks.T, positions, strict=True)])
            for ranks, positions in zip((got["init_ranks"], case.outputs["init_ranks"]), ids, strict=True)
        ]
    ids = [first[one] for one in ids]
    if output == "knn_positions":
        ids = [np.sort(one, axis=-1) for one in ids]
    return case.compare(output, ids[0], expected=ids[1], note="duplicates exchanged")


def pool(case: Case) -> list[Verdict]:
    """The pooling functions with their defaults and with the settings of the case."""
    given = {name: torch.from_numpy(value) for name, value in case.inputs.items()}
    scales = [given[name] for name in sorted(given, key=_number) if name.startswith("scale_")]
    feature_map, signed, config = given["map"], given["signed"], case.config
    made: dict[str, Callable[[], Tensor]] = {
        "gemp_default": lambda: gemp(feature_map).unsqueeze(2),
        "gemp_custom": lambda: gemp(feature_map, p=config["p"], eps=config["eps"]).unsqueeze(2),
        "rgem_default": lambda: rgem(feature_map),
        "rgem_custom": lambda: rgem(feature_map, pr=config["pr"], size=config["size"]),
        "rgem_then_gemp": lambda: gemp(rgem(feature_map)).unsqueeze(2),
        "sgem_default": lambda: sgem(scales),
        "sgem_finite": lambda: sgem(scales, ps=config["ps"]),
        "relup_default": lambda: relup(signed),
        "relup_custom": lambda: relup(signed, alpha=config["alpha"]),
    }
    return [case.compare(output, _known("output", output, made)().numpy()) for output in case.outputs]


def head(case: Case) -> list[Verdict]:
    """Descriptors through the head of an official checkpoint, with its modules switched on and off."""
    assert case.checkpoint is not None
    state = load_state(case.checkpoint)
    names = sorted((name for name in case.inputs if name.startswith("map_")), key=_number)
    maps = [torch.from_numpy(case.inputs[name]) for name in names]
    verdicts = []
    for output in case.outputs:
        switches = output.removeprefix("per_scale_").removeprefix("descriptor_")
        use_gemp, use_rgem, use_sgem = _known("head", switches, _SWITCHES)
        made = Head.from_state(state, use_gemp=use_gemp, use_rgem=use_rgem, use_sgem=use_sgem)
        value = made(maps) if output.startswith("descriptor") else torch.stack([made.per_scale(one) for one in maps])
        verdicts.append(case.compare(output, value.numpy()))
    return verdicts


def _number(name: str) -> int:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def _known(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise unknown_name(kind, name, known)
    return known[name]


RUNNERS: dict[str, Callable[[Case], list[Verdict]]] = {"sg_rerank": rerank, "sg_pool": pool, "sg_head": head}
