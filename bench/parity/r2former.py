"""Reference cases of R2Former's re-ranker."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.parity.case import Case, Verdict
from bench.parity.given import load, same_query, scores
from rerankers.interface import Features
from rerankers.r2former import R2Former, R2FormerConfig
from rerankers.room import Room

WITHIN = "module.Reranker."


def forward(case: Case) -> list[Verdict]:
    """Scores through the re-ranker, query by query; logits and the blend with the global cosine from the network."""
    given = case.config
    tokens = {side: torch.from_numpy(case.inputs[f"{side}_rerank"]) for side in ("x", "y")}
    reranker = R2Former(
        R2FormerConfig(
            local_dim=tokens["x"].shape[2] - 3,
            width=given["decoder_embed_dim"],
            heads=given["decoder_num_heads"],
            layers=given["decoder_depth"],
            hidden_ratio=given["decoder_mlp_ratio"],
            eps=given["decoder_norm_eps"],
            classes=given["num_classes"],
            neighbours=given["num_corr"],
            patches=given["num_patches"],
            relative_weight=False,
        )
    )
    network = reranker.network
    load(case, network, within=WITHIN)
    every = torch.ones(tokens["x"].shape[:2], dtype=torch.bool)
    found = torch.cat(
        [
            scores(reranker, _features(tokens["x"][pairs][:1]), _features(tokens["y"][pairs]))
            for pairs in same_query(tokens["x"], every)
        ]
    )
    with torch.inference_mode():
        x, y = (_features(tokens[side]) for side in ("x", "y"))
        logits = network.match(
            network.query(x.xy, x.weight, x.local), network.candidates(y.xy, y.weight, y.local, None), Room()
        )
        probability = network.probability(logits)
        final = network.blended(probability, *(torch.from_numpy(case.inputs[f"{side}_global"]) for side in ("x", "y")))
    outputs = {
        "local_score": found if given["num_classes"] == 1 else logits,
        "final_score": final,
        "rerank_score": found,
    }
    return [case.compare(name, value.numpy()) for name, value in outputs.items() if name in case.outputs]


def _features(tokens: Tensor) -> Features:
    return Features(
        xy=tokens[:, :, :2],
        weight=tokens[:, :, 2],
        local=tokens[:, :, 3:],
        valid=torch.ones(tokens.shape[:2], dtype=torch.bool),
    )


RUNNERS = {"r2former_forward": forward}
