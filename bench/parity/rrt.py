"""Reference cases of RRT: the GLD and the SOP form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.parity.case import Case, Verdict
from bench.parity.given import load, scores
from rerankers.interface import Features
from rerankers.rrt import SCALES, RrtConfig, RrtGld, RrtSop, Shared, sine_positions


def gld(case: Case) -> list[Verdict]:
    """Scores through the re-ranker, pair by pair; CLS from the network, all pairs at once and with their padding."""
    reranker = RrtGld(_config(case.config, global_dim=case.config["d_global"]))
    load(case, reranker.network)
    given = {name: torch.from_numpy(value) for name, value in case.inputs.items()}

    def features(side: str, pair: int) -> Features:
        one = slice(pair, pair + 1)
        return Features(
            global_=given[f"{side}_global"][one],
            local=given[f"{side}_local"][one],
            # the case holds indices; any scale in the middle of its step has that index
            scale=torch.tensor(SCALES)[given[f"{side}_scales"][one]] * 1.1,
            valid=given[f"{side}_mask"][one] == 0,
        )

    found = torch.cat(
        [scores(reranker, features("src", pair), features("tgt", pair)) for pair in range(len(given["src_global"]))]
    )
    with torch.inference_mode():
        query = [given[f"src_{name}"] for name in ("global", "local", "scales")]
        candidate = [given[f"tgt_{name}"] for name in ("global", "local", "scales")]
        valid = [given[f"{side}_mask"] == 0 for side in ("src", "tgt")]
        state = reranker.network.read(reranker.network.prepare(*query), *candidate, *valid)
    return [case.compare("scores", found.numpy()), case.compare("cls_final", state.numpy())]


def sop(case: Case) -> list[Verdict]:
    """Scores through the re-ranker, pair by pair; CLS and positions from the network."""
    reranker = RrtSop(_config(case.config["matcher"], global_dim=None))
    load(case, reranker.network, within="matcher.")
    query, candidate = (torch.from_numpy(case.inputs[f"{side}_local"]) for side in ("src", "tgt"))
    found = torch.cat([scores(reranker, _grid(one), _grid(other)) for one, other in zip(query, candidate, strict=True)])
    network = reranker.network
    with torch.inference_mode():
        shared: Shared = network.prepare(query)
        outputs = {
            "scores": found,
            "cls_final": network.read(shared, candidate),
            "pos_embed": sine_positions(*query.shape[1:]),
        }
    return [case.compare(name, value.numpy()) for name, value in outputs.items()]


def _grid(one: Tensor) -> Features:
    return Features(dense=(one,))


def _config(given: Mapping[str, Any], *, global_dim: int | None) -> RrtConfig:
    return RrtConfig(
        width=given["d_model"],
        heads=given["nhead"],
        layers=given["num_encoder_layers"],
        hidden=given["dim_feedforward"],
        activation=given["activation"],
        norm_first=given["normalize_before"],
        global_dim=global_dim,
    )


RUNNERS = {"rrt_gld_forward": gld, "rrt_sop_forward": sop}
