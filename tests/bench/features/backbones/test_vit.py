"""Vision transformers of three families, small and with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SiglipConfig, SiglipModel

from bench.errors import BenchError
from bench.features.backbones import dinov2, dinov3, siglip2
from bench.features.backbones.vit import IMAGENET
from bench.features.images import bicubic
from rerankers import RerankError

SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = SIZE | {"intermediate_size": 48}
FAMILIES = {
    "dinov2": (dinov2.plain, SIZE | {"image_size": 28}, 14, 1),
    "dinov2 with registers": (dinov2.registered, SIZE | {"image_size": 28}, 14, 5),
    "dinov3": (dinov3.load, WIDE, 16, 5),
    "siglip2": (siglip2.load, WIDE | {"image_size": 32}, 16, 0),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_patch_tokens_lie_in_the_map_as_in_the_image(family: str) -> None:
    load, config, patch_px, skipped = FAMILIES[family]
    backbone = load(config, None, 0)
    image = backbone.prepare(PIXELS, 1.0)
    rows, columns = round(50 / patch_px), round(80 / patch_px)
    assert image.shape == (3, rows * patch_px, columns * patch_px)
    with torch.inference_mode():
        seen = backbone.see(image[None])
        mean, deviation = (one.view(3, 1, 1) for one in map(torch.tensor, _colours(family)))
        found = backbone.network(((image - mean) / deviation)[None], **backbone.options)
    assert seen.maps is not None and seen.maps.shape == (1, 24, rows, columns)
    torch.testing.assert_close(seen.maps[0, :, 2, 1], found.last_hidden_state[0, skipped + 2 * columns + 1])
    assert torch.equal(seen.whole, found.pooler_output) and torch.equal(seen.token, found.pooler_output)
    if skipped:
        torch.testing.assert_close(seen.token, found.last_hidden_state[:, 0])


def _colours(family: str) -> tuple[tuple[float, ...], ...]:
    return siglip2.COLOURS if family == "siglip2" else IMAGENET


def test_images_are_read_in_red_green_and_blue() -> None:
    blue = np.zeros((14, 14, 3), np.uint8)
    blue[..., 0] = 255
    assert bicubic(blue, (14, 14)).mean(dim=(1, 2)).tolist() == [0, 0, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_checkpoints_load_whole(tmp_path: Path, family: str) -> None:
    load, config, *_ = FAMILIES[family]
    saved, other = load(config, None, 1), load(config, None, 2)
    saved.network.save_pretrained(tmp_path)
    loaded = load(config, tmp_path, 0)
    own, given, drawn = (one.network.state_dict() for one in (loaded, saved, other))
    assert all(torch.equal(own[name], given[name]) for name in given)
    assert not all(torch.equal(drawn[name], given[name]) for name in given)
    assert not loaded.network.training


def test_the_vision_tower_of_a_whole_siglip_loads(tmp_path: Path) -> None:
    text = WIDE | {"vocab_size": 20, "bos_token_id": None, "eos_token_id": None}
    whole = SiglipModel(SiglipConfig(text_config=text, vision_config=WIDE | {"image_size": 32, "patch_size": 16}))
    whole.save_pretrained(tmp_path)
    loaded = siglip2.load(WIDE | {"image_size": 32}, tmp_path, 0)
    wanted = whole.vision_model.embeddings.patch_embedding.weight
    assert torch.equal(loaded.network.embeddings.patch_embedding.weight, wanted)


def test_checkpoints_of_another_network_are_refused(tmp_path: Path) -> None:
    load, config, *_ = FAMILIES["dinov2"]
    load(config, None, 0).network.save_pretrained(tmp_path)
    with pytest.raises(BenchError, match="hidden_size 24 for 32.*Choose the preset"):
        load(config | {"hidden_size": 32}, tmp_path, 0)
    with pytest.raises(BenchError, match="num_attention_heads 2 for 4"):
        load(config | {"num_attention_heads": 4}, tmp_path, 0)
    (tmp_path / "config.json").unlink()
    with pytest.raises(BenchError, match=r"misshapen: .*wanted the weights of Dinov2Model, 32 wide"):
        load(config | {"hidden_size": 32}, tmp_path, 0)
    with pytest.raises(BenchError, match="missing: embeddings.register_tokens"):
        dinov2.registered(config, tmp_path, 0)
    with pytest.raises(BenchError, match=r"unexpected: encoder\.layer\.1"):
        load(config | {"num_hidden_layers": 1}, tmp_path, 0)
    with pytest.raises(RerankError, match="no file"):
        load(config, tmp_path / "absent", 0)


@pytest.mark.parametrize("text", ["[]", "{", json.dumps({"vision_config": 3})])
def test_a_broken_configuration_is_named(tmp_path: Path, text: str) -> None:
    load, config, *_ = FAMILIES["dinov2"]
    load(config, None, 0).network.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BenchError, match=r"cannot read .*config\.json"):
        load(config, tmp_path, 0)
