"""LOCORE by transformers' own Longformer: the tests' oracle, and what the benchmarks race against."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers.interface import Features
from rerankers.locore.model import LocoreNetwork
from rerankers.locore.reranker import Locore


def naive_locore(reranker: Locore, query: Features, candidates: Features) -> Tensor:
    """Scores (k,) in the steps of the paper: one embedded sequence, the encoder, pooled logits."""
    config, network = reranker.config, reranker.network
    parts = []
    for images in (query, candidates):
        local = network.local_to_lm(images.local)
        local = F.normalize(local, dim=-1) if config.normalize else local
        tokens = [local + network.scale_encoder(reranker.scale_indices(images.scale))]
        valid = [images.valid, torch.ones(len(images), 1, dtype=torch.bool)]
        if config.reads_global:
            mapped = network.global_to_lm(images.global_)[:, None]
            tokens.insert(0, F.normalize(mapped, dim=-1) if config.normalize else mapped)
            valid.insert(0, torch.ones(len(images), 1, dtype=torch.bool))
        sep = network.longformer.sep_embedding.expand(len(images), 1, -1)
        parts.append((torch.cat([*tokens, sep], dim=1), torch.cat(valid, dim=1)))
    embedded = torch.cat([tokens for tokens, _ in parts])
    valid = torch.cat([valid for _, valid in parts])
    images, length = valid.shape
    seen_by_all = torch.zeros_like(valid)
    seen_by_all[:, -1] = True
    if config.query_global:
        seen_by_all[0] = True
    position = {
        "absolute": None,
        "segment": 2 + torch.arange(images).repeat_interleave(length)[None],
        "none": torch.full((1, images * length), 2),
    }[config.positions]
    state = encoder(network)(
        inputs_embeds=embedded.view(1, images * length, -1),
        attention_mask=valid.view(1, -1).long(),
        global_attention_mask=seen_by_all.view(1, -1).long(),
        position_ids=position,
    )[0]
    match = network.language_model["classifier"](state).view(images, length, 2)[1:, :-1, 1]
    pooled = {"max-prod": match.prod(1), "max-sum": match.sum(1), "max-start": match[:, 0], "max-end": match[:, -1]}
    return pooled[config.pooling]


@lru_cache(maxsize=2)
def encoder(network: LocoreNetwork) -> torch.nn.Module:
    """transformers' model with the weights of the network."""
    from transformers import LongformerConfig, LongformerModel

    config = network.config
    widest = max(config.windows)
    room = config.table + widest  # it pads the sequence to a multiple of the widest window, and wants positions there
    model = LongformerModel(
        LongformerConfig(
            hidden_size=config.width,
            num_hidden_layers=len(config.windows),
            num_attention_heads=config.heads,
            intermediate_size=config.hidden,
            attention_window=list(config.windows),
            max_position_embeddings=room,
            vocab_size=12,
            type_vocab_size=1,
            layer_norm_eps=config.norm_eps,
            pad_token_id=1,
        ),
        add_pooling_layer=False,
    ).eval()
    state = network.longformer.state_dict()
    table = state["embeddings.position_embeddings.weight"]
    state["embeddings.position_embeddings.weight"] = F.pad(table, (0, 0, 0, widest))
    state["embeddings.word_embeddings.weight"] = torch.zeros(12, config.width)
    known = model.state_dict()
    model.load_state_dict({name: state.get(name, value) for name, value in known.items()})
    unread = state.keys() - known.keys() - {"sep_embedding", "pad_embedding"}
    assert not unread, unread
    return model.requires_grad_(False)
