from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features import dense
from bench.features.dense import DenseStore, describe_dense
from bench.features.images import ImageRef, read_colour
from bench.features.resnet import BACKBONES, load_backbone, normalised
from bench.features.store import DescriptorStore
from bench.prepare import Maps
from rerankers.registry import names, variants


class Halves:
    """Stands in for a backbone: 1024 equal channels with one pixel in 16 x 16."""

    name, weights, channels, stride = "halves", "none", 1024, 16

    def __init__(self):
        self.batches = []

    def maps(self, images):
        self.batches.append(len(images))
        return np.repeat(images[:, None, ::16, ::16, 0] / np.float32(255), 1024, axis=1)


@pytest.fixture
def images(tmp_path):
    draw, found = np.random.default_rng(0), []
    for number, (height, width) in enumerate([(64, 48), (64, 48), (40, 128), (30, 20)]):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), draw.integers(0, 255, (height, width, 3), dtype=np.uint8))
        found.append(ImageRef(path))
    return found


def test_maps_have_the_sizes_of_their_images_and_come_back_as_made(images, tmp_path):
    backbone = Halves()
    store = describe_dense(images, tmp_path / "out", backbone=backbone, side=64)
    maps = store.features([2, 0, 3]).dense
    assert [tuple(one.shape) for one in maps] == [(1024, 2, 4), (1024, 4, 3), (1024, 2, 2)]
    assert sorted(backbone.batches) == [1, 1, 2]
    blue = cv2.imread(str(images[0].path))[::16, ::16, 0].astype(np.float32) / 255
    np.testing.assert_allclose(maps[1][5], blue, atol=1e-5)


def test_a_network_reads_images_normalised(images, tmp_path):
    backbone = load_backbone("cvnet-r50", seed=1)
    store = describe_dense(images[2:3], tmp_path, backbone=backbone, side=64)
    pixels = torch.from_numpy(read_colour(images[2], max_side=64)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        torch.testing.assert_close(store.features([0]).dense[0], backbone.feature_map(normalised(pixels))[0])


def test_only_weights_tell_maps_of_one_backbone_apart(tmp_path):
    checkpoint = tmp_path / "weights.pt"
    checkpoint.write_bytes(b"weights")
    given = [(None, 0), (None, 1), (checkpoint, 0)]
    network = [Maps("cvnet-r50", *one).slug for one in given]
    digest = hashlib.sha256(b"weights").hexdigest()[:12]
    assert network == ["cvnet-r50-random-0-256", "cvnet-r50-random-1-256", f"cvnet-r50-{digest}-256"]


def test_backbones_that_variants_name_are_known():
    named = {variant.backbone for family in names() for variant in variants(family).values()} - {None}
    assert named == set(BACKBONES)


def test_a_finished_store_is_not_made_again_and_an_unfinished_one_is_completed(images, tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "CHUNK", 2)
    whole = [
        one.clone() for one in describe_dense(images, tmp_path / "a", backbone=Halves(), side=64).features([0, 3]).dense
    ]

    class Interrupted(Halves):
        def maps(self, images):
            if self.batches:
                raise KeyboardInterrupt
            return super().maps(images)

    with pytest.raises(KeyboardInterrupt):
        describe_dense(images, tmp_path / "b", backbone=Interrupted(), side=64)
    with pytest.raises(BenchError):
        DenseStore.open(tmp_path / "b")
    rest = Halves()
    store = describe_dense(images, tmp_path / "b", backbone=rest, side=64)
    assert sum(rest.batches) == 2
    for one, other in zip(whole, store.features([0, 3]).dense, strict=True):
        assert torch.equal(one, other)
    again = Halves()
    describe_dense(images, tmp_path / "b", backbone=again, side=64)
    assert again.batches == []
    describe_dense(images, tmp_path / "b", backbone=again, side=48)
    assert sum(again.batches) == 4


def test_maps_that_are_not_finite_are_not_stored(images, tmp_path):
    class Broken(Halves):
        def maps(self, images):
            return super().maps(images) * float("nan")

    with pytest.raises(BenchError, match="gives NaN"):
        describe_dense(images, tmp_path / "a", backbone=Broken(), side=64)


def test_maps_of_other_images_are_refused(images, tmp_path):
    store = describe_dense(images, tmp_path / "a", backbone=Halves(), side=64)
    with pytest.raises(BenchError, match="4 images in .*maps.hdf5 and 3 images in size.hdf5"):
        DescriptorStore(size=np.ones((3, 2), dtype=np.float32), dense=store)
    whole = DescriptorStore(size=np.ones((4, 2), dtype=np.float32), dense=store)
    assert len(whole.features([0, 1], needs=("dense",)).dense) == 2
    assert whole.features([0], needs=("global_",)).dense is None


def test_bad_requests_say_what_was_wanted(images, tmp_path):
    with pytest.raises(BenchError, match="at 16 pixels"):
        describe_dense(images, tmp_path / "a", backbone=Halves(), side=16)
    store = describe_dense(images, tmp_path / "a", backbone=Halves(), side=64)
    with pytest.raises(BenchError, match="image 4 asked"):
        store.features([4])
    with pytest.raises(BenchError, match="cannot read"):
        DenseStore.open(tmp_path / "nowhere")
