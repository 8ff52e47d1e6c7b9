"""Reference cases of ELViS: its scores, and every step on the way to them."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.parity.case import Case, Verdict
from bench.parity.given import load, same_query, scores
from rerankers.elvis import Elvis, ElvisConfig, Side, transport
from rerankers.interface import Features

#: What the cases hold instead of minus infinity.
NOWHERE = -1e30


def forward(case: Case) -> list[Verdict]:
    """Scores through the re-ranker, query by query; the steps, and training mode, from the network."""
    given = case.config
    elvis = Elvis(
        ElvisConfig(
            local_dim=given["local_dim"],
            embed=given["embed_dim"],
            hidden=given["proj_dim"],
            iterations=given["sh_iter"],
            temperature=given["sh_temp"],
            binarized=given["binarized"],
        )
    )
    load(case, elvis.network)
    query, candidate = (torch.from_numpy(case.inputs[f"{side}_local"]) for side in ("src", "tgt"))
    query_valid, candidate_valid = _valid(case, "src", query), _valid(case, "tgt", candidate)
    sims = [
        scores(
            elvis,
            Features(local=query[pairs][:1], valid=query_valid[pairs][:1]),
            Features(local=candidate[pairs], valid=candidate_valid[pairs]),
        )
        for pairs in same_query(query, query_valid)
    ]
    network = elvis.network
    with torch.inference_mode():
        one, other = network.side(query, query_valid), network.side(candidate, candidate_valid)
        logits = network.logits(one, other)
        plan = transport(logits, network.config.iterations)
        outputs = {
            "sim": torch.cat(sims),
            "src_projected": network.remap_local(query),
            "tgt_projected": network.remap_local(candidate),
            "src_dust": one.dust,
            "tgt_dust": other.dust,
            "correlation": torch.nan_to_num(logits.inner / network.config.temperature, neginf=NOWHERE),
            "transport": plan,
            **_votes(elvis, one, other),
            "sim_train_mode": network.train()(query, candidate, query_valid, candidate_valid),
        }
    return [case.compare(name, value.numpy()) for name, value in outputs.items() if name in case.outputs]


def _votes(elvis: Elvis, query: Side, candidate: Side) -> dict[str, Tensor]:
    network = elvis.network
    gains = network.gains(network.logits(query, candidate))
    return {
        "gains": gains,
        "f_out": network.f(gains[..., None])[..., 0],
        "votes": network.votes(gains, query, candidate),
    }


def _valid(case: Case, side: str, local: Tensor) -> Tensor:
    """Where descriptors are real. Official masks say 1 for padding, and only count when both images have one."""
    if not {"src_mask", "tgt_mask"} <= case.inputs.keys():
        return torch.ones(local.shape[:2], dtype=torch.bool)
    return torch.from_numpy(case.inputs[f"{side}_mask"]) == 0


RUNNERS = {"elvis_forward": forward}
