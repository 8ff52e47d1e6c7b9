"""From images to rows by a small network of random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features import images as reading
from bench.features.backbones import cvnet, delg, dinov2
from bench.features.detector import Detector
from bench.features.images import ImageRef
from bench.features.layout import DESCRIPTOR, MASK, SCALE, WEIGHT
from bench.features.learned import BATCH, Learned

Images = Callable[[int], list[ImageRef]]
CONFIG = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
KINDS = ("cls", "w-avg", "og-avg")


def learned(**options: object) -> Learned:
    settings = {"side_px": 84, "scales": (1.0,), "top": 20, "kinds": KINDS, **options}
    return Learned(dinov2.registered(CONFIG, None, 0), **settings)


def described(describer: Learned, images: list[ImageRef]) -> dict[str, np.ndarray]:
    return describer.describe([describer.read(image) for image in images])


def test_rows_are_those_of_each_image_alone(write_images: Images) -> None:
    images = write_images(BATCH + 3)
    cv2.imwrite(str(images[4].path), np.full((90, 40, 3), 80, np.uint8))  # another size among them
    describer = learned(scales=(0.5, 1.0))
    together = described(describer, images)
    assert {kind: rows.shape for kind, rows in together.items()} == {
        "local": (len(images), 20, DESCRIPTOR + 24),
        "size": (len(images), 2),
        **{kind: (len(images), 24) for kind in KINDS},
    }
    for number in (0, 4, BATCH + 2):
        for kind, rows in described(describer, [images[number]]).items():
            np.testing.assert_allclose(together[kind][number], rows[0], atol=2e-5)
    local = together["local"]
    np.testing.assert_allclose(np.linalg.norm(local[..., DESCRIPTOR:], axis=2), 1 - local[..., MASK], atol=1e-5)
    assert (np.diff(local[..., WEIGHT][local[..., MASK].sum(axis=1) == 0]) <= 0).all()
    for kind in KINDS:
        np.testing.assert_allclose(np.linalg.norm(together[kind], axis=1), 1, atol=1e-5)


def test_the_class_token_is_that_of_the_network(write_images: Images) -> None:
    image, describer = write_images(1)[0], learned()
    pixels, longer = reading.read_whole(image)
    with torch.inference_mode():
        wanted = describer.backbone.see(describer.backbone.prepare(pixels, 84 / longer)[None]).whole
    np.testing.assert_allclose(described(describer, [image])["cls"], wanted / wanted.norm(), atol=1e-6)


def test_scales_compete_for_the_places(write_images: Images) -> None:
    image = write_images(1)
    (rows,) = described(learned(scales=(0.5, 1.0), top=40), image)["local"]
    counts = [int(((rows[:, SCALE] == scale) & (rows[:, MASK] == 0)).sum()) for scale in (0, 1)]
    assert counts == [6, 24]  # 2 x 3 and 4 x 6 patches
    assert rows[:, MASK].sum() == 10


def test_the_scale_is_of_the_whole_image_though_its_box_is_seen(write_images: Images) -> None:
    image = write_images(1)[0]  # 120 x 90
    describer = learned(side_px=112)
    cropped = describer.read(replace(image, box=(10.9, 0.9, 70.9, 45.9)))  # 10, 0, 70, 45
    assert cropped.scales[0].shape == (3, 42, 56)
    assert describer.read(image).scales[0].shape == (3, 84, 112)


def test_a_detector_chooses_but_does_not_change_descriptors(write_images: Images) -> None:
    images = write_images(2)
    torch.manual_seed(3)
    detector = Detector(24).eval().requires_grad_(False)
    all_places = {"top": 24, "side_px": 84}
    plain, chosen = (described(learned(detector=one, **all_places), images) for one in (None, detector))

    def by_descriptor(rows: np.ndarray) -> np.ndarray:
        return rows[np.lexsort(rows[:, DESCRIPTOR : DESCRIPTOR + 3].T)]

    for one, other in zip(plain["local"], chosen["local"], strict=True):
        assert not np.allclose(one, other, atol=1e-3)
        one, other = by_descriptor(one), by_descriptor(other)
        np.testing.assert_allclose(np.delete(one, WEIGHT, axis=1), np.delete(other, WEIGHT, axis=1), atol=1e-5)
    np.testing.assert_allclose(plain["cls"], chosen["cls"], atol=1e-6)
    assert not np.allclose(plain["w-avg"], chosen["w-avg"], atol=1e-3)


def test_a_resnet_is_weighed_by_norms_over_seven_scales(write_images: Images) -> None:
    backbone = delg.load({"network": "cvnet-r50"}, None, 0)
    describer = Learned(backbone, side_px=None, scales=delg.SCALES, top=50, kinds=())
    (rows,) = described(describer, write_images(1))["local"]
    kept = rows[rows[:, MASK] == 0]
    assert len(kept) == 50 and set(kept[:, SCALE]) <= set(range(7)) and (np.diff(kept[:, WEIGHT]) <= 0).all()
    assert describer.shapes == {"local": (50, DESCRIPTOR + 1024), "size": (2,)}


def test_what_does_not_fit_is_refused(write_images: Images, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="a detector for maps of 25 channels; wanted one for 24"):
        learned(detector=Detector(25))
    with pytest.raises(BenchError, match=r"images of 13 pixels; wanted 14 pixels or more"):
        learned(side_px=26, scales=(0.5, 1.0))
    small = ImageRef(tmp_path / "small.png")
    cv2.imwrite(str(small.path), np.zeros((60, 300, 3), np.uint8))
    whole = cvnet.superglobal({"network": "cvnet-r50"}, None, 0)
    describer = Learned(whole, side_px=None, scales=cvnet.SCALES, top=0, kinds=("superglobal",))
    with pytest.raises(BenchError, match=r"small\.png of 300 x 60 pixels at scale 0\.707; wanted 65 pixels a side"):
        describer.read(small)
