"""Which local descriptors are kept. Official outputs are compared in tests/bench/parity/test_detector.py."""

from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.features.detector import Attended, Detector, attend, load_detector, over_scales, strongest
from bench.features.layout import DESCRIPTOR, MASK, SCALE, WEIGHT, X, Y
from rerankers import RerankError

#: One image of one channel: a map of 1 x 2 and a map of 2 x 2 places.
SCALES = [
    Attended(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.3, 0.9]]]), {}),
    Attended(torch.tensor([[[[3.0, 4.0], [5.0, 6.0]]]]), torch.tensor([[[0.1, 0.5], [0.8, 0.2]]]), {}),
]


def test_the_strongest_of_all_scales_come_first_with_their_places() -> None:
    (rows,) = strongest(SCALES, 3)
    assert rows[:, DESCRIPTOR].tolist() == [2, 5, 4]
    torch.testing.assert_close(rows[:, WEIGHT], torch.tensor([0.9, 0.8, 0.5]))
    assert rows[:, [X, Y]].tolist() == [[0.5, 0.75], [0.75, 0.25], [0.25, 0.75]]  # row, column
    assert rows[:, SCALE].tolist() == [0, 1, 1] and not rows[:, MASK].any()


def test_an_image_with_fewer_places_is_filled_up() -> None:
    (rows,) = strongest(SCALES, 8)
    assert rows[:, MASK].tolist() == [0] * 6 + [1] * 2
    padding = rows[6:].clone()
    padding[:, MASK] = 0
    assert not padding.any()


def test_without_a_detector_places_are_weighed_by_cosine_or_norm() -> None:
    maps = torch.tensor([3.0, 4.0, 0.0, 2.0]).reshape(1, 2, 1, 2)  # descriptors (3, 0) and (4, 2)
    near = attend(maps, torch.tensor([[0.0, 5.0]]), None)
    torch.testing.assert_close(near.weights, torch.tensor([[[0.0, 2 / 20**0.5]]]))
    torch.testing.assert_close(near.local.norm(dim=1), torch.ones(1, 1, 2))
    torch.testing.assert_close(attend(maps, None, None).weights, torch.tensor([[[3.0, 20**0.5]]]))


def test_each_scale_counts_as_much_whatever_its_length() -> None:
    found = over_scales([torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 1.0]])])
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5]]))


def test_official_files_load_and_others_are_named(tmp_path: Path) -> None:
    detector = Detector(6)
    torch.save({"state": detector.state_dict(), "epoch": 3}, tmp_path / "detector.pth")
    loaded = load_detector(tmp_path / "detector.pth")
    assert loaded.channels == 6 and not loaded.training
    torch.save(detector.state_dict() | {"more": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(RerankError, match="unexpected: more"):
        load_detector(tmp_path / "more.pt")
    torch.save({"state": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "other.pt")
    with pytest.raises(BenchError, match=r"other\.pt holds fc\.weight; wanted an attention detector"):
        load_detector(tmp_path / "other.pt")
