"""Reference cases of AMES: its network, its whole protocol, and its blend with the global similarity."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from bench.features.store import LocalStore
from bench.parity.case import Case, Verdict
from bench.parity.given import BEHIND, Known, blended, images, load, maps_in_percent, same_query, scores, shortlists
from rerankers.ames import Ames, AmesConfig
from rerankers.interface import Features


def forward(case: Case, *, normalize_input: bool = True) -> list[Verdict]:
    """Scores through the re-ranker, query by query; all tokens, and training mode, from the network."""
    ames = reranker_of(case, normalize_input=normalize_input)
    tensors = {name: torch.from_numpy(value) for name, value in case.inputs.items()}
    query, candidate = tensors["src_local"], tensors["tgt_local"]
    query_valid, candidate_valid = _valid(tensors, "src"), _valid(tensors, "tgt")
    sims = [
        scores(
            ames,
            Features(local=query[pairs][:1], valid=query_valid[pairs][:1]),
            Features(local=candidate[pairs], valid=candidate_valid[pairs]),
        )
        for pairs in same_query(query, query_valid)
    ]
    with torch.inference_mode():
        tokens = ames.network.encode(query, candidate, query_valid, candidate_valid)
        training = ames.network.train()(query, candidate, query_valid, candidate_valid)
    outputs = {"sim": torch.cat(sims), "tokens": tokens, "sim_train_mode": training}
    return [case.compare(name, value.numpy()) for name, value in outputs.items() if name in case.outputs]


def _valid(tensors: Mapping[str, Tensor], side: str) -> Tensor:
    """Where descriptors are real; official masks say 1 for padding, and may be left out."""
    mask = tensors.get(f"{side}_mask")
    return torch.ones(tensors[f"{side}_local"].shape[:2], dtype=torch.bool) if mask is None else mask == 0


def elvis_forward(case: Case) -> list[Verdict]:
    """The AMES of the ELViS repository takes descriptors as they are."""
    return forward(case, normalize_input=False)


def protocol(case: Case) -> list[Verdict]:
    """From descriptor files to mAP: for medium, junk goes behind the list; for hard, the easy images too."""
    ames, spec = reranker_of(case), case.spec["protocol"]
    queries = LocalStore(case.folder, case.inputs["query_file"])
    gallery = LocalStore(case.folder, case.inputs["gallery_file"])
    verdicts = []
    for setting, moved in BEHIND.items():
        ids, similarity = shortlists(case, moved)
        inputs = [
            (
                queries.features([query], locals=min(spec["query_sequence_len"], queries.length)),
                gallery.features(row[: max(spec["top_k"])], locals=min(spec["sequence_len"], gallery.length)),
            )
            for query, row in enumerate(ids)
        ]
        sims = torch.stack([scores(ames, query, candidates) for query, candidates in inputs])
        verdicts.append(case.compare(f"local_sims_{setting}", sims.numpy()))
        for top in spec["top_k"]:
            runs = [(ames, query, candidates[:top]) for query, candidates in inputs]
            fused, ranks = blended(product(spec["lamb"], spec["temp"]), ids, similarity, runs)
            maps = [maps_in_percent(lists, spec["gnd"]) for lists in ranks]
            for name, value in (("fused", fused), ("ranks", ranks), ("map", maps)):
                verdicts.append(case.compare(f"{name}_{setting}_top{top}", value))
    return verdicts


def ensemble(case: Case) -> list[Verdict]:
    """Blends of known scores with the global similarity, and the lists that they give."""
    spec, scores = case.spec["protocol"], torch.from_numpy(case.inputs["local_sims"])
    verdicts = []
    for top in spec["top_k"]:
        runs = [(Known(row[:top]), images(1), images(top)) for row in scores]
        weights = product(spec["lamb"], spec["temp"])
        fused, ranks = blended(weights, case.inputs["shortlist_ids"], case.inputs["global_sims"], runs)
        verdicts += [case.compare(f"fused_top{top}", fused), case.compare(f"ranks_top{top}", ranks)]
    return verdicts


def reranker_of(case: Case, *, normalize_input: bool = True) -> Ames:
    """The re-ranker of a case's configuration, with its checkpoint."""
    given = case.config
    ames = Ames(
        AmesConfig(
            local_dim=given["itq_local_dim"] if given["binarized"] else given["local_dim"],
            width=given["model_dim"],
            heads=given["nhead"],
            layers=given["num_encoder_layers"],
            hidden=given["dim_feedforward"],
            activation=given["activation"],
            norm_first=given["normalize_before"],
            binarized=given["binarized"],
            normalize_input=normalize_input,
        )
    )
    load(case, ames.network)
    return ames


RUNNERS = {
    "ames_forward": forward,
    "ames_elvis_forward": elvis_forward,
    "ames_protocol": protocol,
    "ames_ensemble": ensemble,
}
