"""Reading images: formats, orientation, boxes, sizes, and files that are no images."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.errors import BenchError
from bench.features.images import ImageRef, bicubic, quantised_px, read_grey, read_whole, scaled

LEFT_WHITE = np.zeros((40, 60), np.uint8)
LEFT_WHITE[:, :20] = 255


def saved(path: Path, image: np.ndarray) -> ImageRef:
    assert cv2.imwrite(str(path), image)
    return ImageRef(path)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_grey_images_of_every_format_read_as_they_are(tmp_path: Path, ending: str) -> None:
    read = read_grey(saved(tmp_path / f"a{ending}", LEFT_WHITE))
    assert read.dtype == np.uint8 and read.shape == (40, 60)
    assert read[:, :16].min() > 200 and read[:, 24:].max() < 60


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bits_become_eight(tmp_path: Path, ending: str) -> None:
    read = read_grey(saved(tmp_path / f"a{ending}", LEFT_WHITE.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read, LEFT_WHITE)


def test_alpha_is_ignored(tmp_path: Path) -> None:
    rgba = np.dstack([LEFT_WHITE] * 3 + [np.zeros_like(LEFT_WHITE)])
    np.testing.assert_array_equal(read_grey(saved(tmp_path / "a.png", rgba)), LEFT_WHITE)


def test_a_name_that_is_not_ascii(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", LEFT_WHITE).path.rename(tmp_path / "Köln Ω.png")
    assert read_grey(ImageRef(tmp_path / "Köln Ω.png")).shape == (40, 60)


def test_exif_orientation_turns_the_image_before_its_box(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", LEFT_WHITE)[1].tobytes()
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)  # 6: turn right by 90 degrees
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    turned = read_grey(ImageRef(path))
    assert turned.shape == (60, 40)
    assert turned[:16].min() > 200 and turned[24:].max() < 60
    assert read_grey(ImageRef(path, (0, 0, 40, 16))).min() > 200


def test_the_box_is_cut_and_clipped(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", LEFT_WHITE).path
    assert read_grey(ImageRef(path, (0.4, 0, 19.6, 40))).shape == (40, 20)
    assert read_grey(ImageRef(path, (0.4, 0, 19.6, 40))).min() == 255
    assert read_grey(ImageRef(path, (-5, 30, 1000, 1000))).shape == (10, 60)


def test_the_cut_comes_before_the_reduction(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.zeros((1000, 2000), np.uint8)).path
    assert read_grey(ImageRef(path, (100, 100, 200, 150))).shape == (50, 100)


@pytest.mark.parametrize(
    "box", [(10, 10, 10, 20), (20, 0, 10, 40), (58, 0, 90, 40), (0, 0, float("nan"), 9), (0, 0, 9)], ids=str
)
def test_a_box_with_nothing_in_it_is_refused(tmp_path: Path, box: tuple[float, ...]) -> None:
    path = saved(tmp_path / "a.png", LEFT_WHITE).path
    with pytest.raises(BenchError, match=r"box .* of .*a\.png \(60 x 40 pixels\)"):
        read_grey(ImageRef(path, box))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "read"), [((480, 640), (480, 640)), ((1281, 960), (640, 480)), ((2, 3000), (1, 640)), ((1, 1), (1, 1))]
)
def test_the_longest_side_is_reduced_and_never_enlarged(
    tmp_path: Path, size: tuple[int, int], read: tuple[int, int]
) -> None:
    image = saved(tmp_path / "a.png", np.full(size, 7, np.uint8))
    assert read_grey(image).shape == read
    assert (read_grey(image) == 7).all()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"absent\.jpg \(No such file"):
        read_grey(ImageRef(tmp_path / "absent.jpg"))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_file_cut_short_is_named(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"cut{ending}", np.random.default_rng(0).integers(0, 256, (90, 120)).astype(np.uint8)).path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BenchError, match=rf"cannot decode the image .*cut\{ending}"):
        read_grey(ImageRef(path))


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.jpg").write_bytes(content)
    with pytest.raises(BenchError, match=rf"notes\.jpg \({len(content)} bytes\)"):
        read_grey(ImageRef(tmp_path / "notes.jpg"))


def test_a_whole_image_is_cut_to_whole_numbers_and_not_resized(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    path = saved(tmp_path / "a.png", image).path
    pixels, longer = read_whole(ImageRef(path))
    np.testing.assert_array_equal(pixels, image)
    cut, longer_of_cut = read_whole(ImageRef(path, (3.9, 2.6, 20.9, 1000)))
    np.testing.assert_array_equal(cut, image[2:, 3:20])
    assert longer == longer_of_cut == 60


@pytest.mark.parametrize(
    ("side_px", "scale", "wanted"),
    [(1024, 770 / 1024, 770), (768, 770 / 1024, 574), (21, 1, 28), (35, 1, 28), (3, 1, 14), (100, 0.01, 14)],
)
def test_sides_become_multiples_of_the_patch(side_px: int, scale: float, wanted: int) -> None:
    assert quantised_px(side_px, scale, 14) == wanted


def test_bicubic_resizing_averages_what_it_leaves_out() -> None:
    stripes = np.zeros((32, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the result can show
    small = bicubic(stripes, (16, 16))
    assert small.shape == (3, 16, 16)
    np.testing.assert_allclose(small[:, :, 2:-2], 100 / 255, atol=0.02)
    np.testing.assert_array_equal(bicubic(stripes, (32, 64)), stripes.transpose(2, 0, 1) / np.float32(255))
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    assert bicubic(edge, (8, 32)).min() < 0 and bicubic(edge, (8, 32)).max() > 1


def test_opencv_resizes_by_area_or_linearly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    half, double = scaled(image, 0.5), scaled(image, 2)
    np.testing.assert_allclose(half, image.reshape(5, 2, 7, 2, 3).mean(axis=(1, 3)), atol=0.6)
    assert double.shape == (20, 28, 3) and (double[0, 0] == image[0, 0]).all()
    assert scaled(image, 1.0) is image
