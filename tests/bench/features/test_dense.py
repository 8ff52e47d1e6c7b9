from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features import dense
from bench.features.dense import DenseStore, describe_dense
from bench.features.images import ImageRef
from bench.features.store import DescriptorStore


class Halves:
    """Stands in for a backbone: 1024 equal channels with one pixel in 16 x 16."""

    name, weights = "halves", "none"

    def __init__(self):
        self.batches = []

    def feature_map(self, images):
        self.batches.append(len(images))
        return images[:, :1, ::16, ::16].expand(-1, 1024, -1, -1)


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
    np.testing.assert_allclose(maps[1][5], (blue - 0.406) / 0.225, atol=1e-5)


def test_a_finished_store_is_not_made_again_and_an_unfinished_one_is_completed(images, tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "CHUNK", 2)
    whole = [
        one.clone() for one in describe_dense(images, tmp_path / "a", backbone=Halves(), side=64).features([0, 3]).dense
    ]

    class Interrupted(Halves):
        def feature_map(self, images):
            if self.batches:
                raise KeyboardInterrupt
            return super().feature_map(images)

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
        def feature_map(self, images):
            return super().feature_map(images) * float("nan")

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
