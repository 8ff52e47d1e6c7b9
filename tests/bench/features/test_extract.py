"""Extraction: all cores or one give the same bytes, whatever interrupts it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features import extract
from bench.features.extract import CHUNK, describe, extract_globals, extract_locals
from bench.features.images import ImageRef, read_grey
from bench.features.layout import MASK
from bench.features.sift import root_sift
from bench.features.store import DescriptorStore, LocalStore
from bench.features.vlad import Vocabulary

Images = Callable[[int], list[ImageRef]]
LENGTH = 20


def run(images: Sequence[ImageRef], path: Path, **options: object) -> tuple[LocalStore, list[tuple[int, int]]]:
    """The store and the progress that was told."""
    told: list[tuple[int, int]] = []
    options = {"length": LENGTH, "workers": 1, **options}
    return extract_locals(images, path, progress=lambda *args: told.append(args), **options), told


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_store_holds_what_each_image_gives(tmp_path: Path, write_images: Images) -> None:
    images = write_images(3)
    cv2.imwrite(str(images[1].path), np.zeros((1, 1), np.uint8))
    images[2] = replace(images[2], box=(20, 10, 100, 80))
    store, _ = run(images, tmp_path / "a.hdf5", max_side=70)
    assert (len(store), store.length, store.dim) == (3, LENGTH, 128)
    for image, row in zip(images, store.rows, strict=True):
        np.testing.assert_array_equal(row, root_sift(read_grey(image, max_side=70), length=LENGTH))
    assert (store.rows[1, :, MASK] == 1).all() and (store.rows[2, :5, MASK] == 0).all()


def test_many_processes_give_the_bytes_of_one(tmp_path: Path, write_images: Images) -> None:
    images = write_images(2 * CHUNK + 5)
    one, told = run(images, tmp_path / "one.hdf5")
    many, told_by_many = run(images, tmp_path / "many.hdf5", workers=2)
    assert one.path.read_bytes() == many.path.read_bytes()
    assert told == [(0, 69), (32, 69), (64, 69), (69, 69)]
    assert told_by_many[0] == (0, 69) and told_by_many[-1] == (69, 69) and len(told_by_many) == 4


def test_a_finished_store_is_opened_and_not_made_again(
    tmp_path: Path, write_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(2)
    first, _ = run(images, tmp_path / "a.hdf5")
    monkeypatch.setattr(extract, "read_grey", None)
    again, told = run(images, tmp_path / "a.hdf5")
    assert not told and again.fingerprint == first.fingerprint is not None


def test_a_moved_data_set_keeps_its_store(tmp_path: Path, write_images: Images) -> None:
    images = write_images(2)
    run(images, tmp_path / "a.hdf5")
    (tmp_path / "images").rename(tmp_path / "moved")
    _, told = run([ImageRef(tmp_path / "moved" / image.path.name) for image in images], tmp_path / "a.hdf5")
    assert not told


def test_whatever_changes_the_descriptors_makes_the_store_anew(tmp_path: Path, write_images: Images) -> None:
    images, path = write_images(3), tmp_path / "a.hdf5"
    seen = [run(images, path)[0].fingerprint]

    def anew(images: Sequence[ImageRef], **options: object) -> LocalStore:
        store, told = run(images, path, **options)
        assert told and store.fingerprint not in seen
        seen.append(store.fingerprint)
        return store

    assert len(anew(images[:2])) == 2
    anew(images[1::-1])
    anew([images[0], replace(images[1], box=(0, 0, 50, 50))])
    assert anew(images, length=LENGTH + 1).length == LENGTH + 1
    anew(images, max_side=50)
    cv2.imwrite(str(images[0].path), np.zeros((5, 5), np.uint8))
    store = anew(images)
    assert (store.rows[0, :, MASK] == 1).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_image_stops_with_its_name(tmp_path: Path, write_images: Images, workers: int) -> None:
    images = write_images(2 * CHUNK)
    whole = images[40].path.read_bytes()
    images[40].path.write_bytes(whole[:50])
    with pytest.raises(BenchError, match=r"cannot decode the image .*40\.png .*; wanted .*\. Fetch or convert"):
        run(images, tmp_path / "a.hdf5", workers=workers)
    assert not (tmp_path / "a.hdf5").exists()
    images[40].path.write_bytes(whole)
    store, told = run(images, tmp_path / "a.hdf5", workers=workers)
    assert told[-1] == (64, 64) and len(store) == 64
    assert names(tmp_path) == ["a.hdf5", "images"]


def test_an_interruption_keeps_what_was_done(tmp_path: Path, write_images: Images) -> None:
    images = write_images(3 * CHUNK)

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_locals(images, tmp_path / "a.hdf5", length=LENGTH, workers=1, progress=interrupt)
    resumed, told = run(images, tmp_path / "a.hdf5")
    assert told[0] == (32, 96)
    straight, _ = run(images, tmp_path / "b.hdf5")
    assert resumed.path.read_bytes() == straight.path.read_bytes()


KILLED = """
import sys, time
from pathlib import Path
from bench.features.extract import extract_locals
from bench.features.images import ImageRef

def show(done, total):
    print(done, flush=True)
    if done:
        time.sleep(600)

if __name__ == "__main__":
    folder, path, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    images = [ImageRef(folder / f"{number}.png") for number in range(count)]
    extract_locals(images, path, length=20, workers=2, progress=show)
"""


def test_a_killed_extraction_goes_on_where_it_stopped(tmp_path: Path, write_images: Images) -> None:
    images, path = write_images(4 * CHUNK), tmp_path / "a.hdf5"
    (tmp_path / "killed.py").write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "killed.py", tmp_path / "images", path, str(len(images))],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        start_new_session=True,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["0\n", "32\n"]
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    process.stdout.close()
    assert not path.exists()
    wait_for_the_end_of_group(process.pid)
    resumed, told = run(images, path)
    assert told[0] == (32, 128)
    straight, _ = run(images, tmp_path / "b.hdf5")
    assert resumed.path.read_bytes() == straight.path.read_bytes()
    assert names(tmp_path) == ["a.hdf5", "b.hdf5", "images", "killed.py"]


def wait_for_the_end_of_group(group: int) -> None:
    """Workers must not outlive the process that was killed."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers went on after their parent was killed")


def test_nothing_to_describe(tmp_path: Path, write_images: Images) -> None:
    with pytest.raises(BenchError, match="no images"):
        extract_locals([], tmp_path / "a.hdf5")
    with pytest.raises(BenchError, match="0 descriptors"):
        extract_locals(write_images(1), tmp_path / "a.hdf5", length=0)
    with pytest.raises(BenchError, match=r"absent\.png"):
        extract_locals([ImageRef(tmp_path / "absent.png")], tmp_path / "a.hdf5")
    assert names(tmp_path) == ["images"]


def test_images_become_local_and_global_descriptors(tmp_path: Path, write_images: Images) -> None:
    images = write_images(12)
    local = describe(images, tmp_path / "f", vocabulary=None, length=LENGTH, workers=1)
    assert local.local is not None and local.global_ is None
    vocabulary = Vocabulary.learn(local.local, centroids=4, width=6, locals=LENGTH)
    store = describe(images, tmp_path / "f", vocabulary=vocabulary, length=LENGTH, workers=1)
    part = store.features(range(12))
    np.testing.assert_array_equal(part.global_, vocabulary.describe(part.local.numpy(), part.valid.numpy()))
    assert names(tmp_path / "f") == ["global.hdf5", "local.hdf5", "size.hdf5"]
    sizes = [read_grey(image).shape[::-1] for image in images]
    np.testing.assert_array_equal(part.size, np.array(sizes, dtype=np.float32))
    assert store.features([]).size.shape == (0, 2)
    assert torch.equal(DescriptorStore.open(tmp_path / "f").features(range(12)).global_, part.global_)
    (tmp_path / "f" / "global.hdf5").unlink()
    assert DescriptorStore.open(tmp_path / "f").global_ is None


def test_global_descriptors_are_made_anew_for_another_vocabulary_only(
    tmp_path: Path, write_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, _ = run(write_images(12), tmp_path / "a.hdf5")
    one, other = (Vocabulary.learn(local, centroids=4, width=6, locals=LENGTH, seed=seed) for seed in (0, 1))
    first = extract_globals(local, one, tmp_path / "g.hdf5").array().copy()
    second = extract_globals(local, other, tmp_path / "g.hdf5").array().copy()
    assert not np.array_equal(first, second)
    monkeypatch.setattr(Vocabulary, "describe", None)
    np.testing.assert_array_equal(extract_globals(local, other, tmp_path / "g.hdf5").array(), second)


def test_a_store_shorter_than_the_vocabulary_reads(tmp_path: Path, write_images: Images) -> None:
    local, _ = run(write_images(12), tmp_path / "a.hdf5")
    vocabulary = replace(Vocabulary.learn(local, centroids=4, width=6, locals=LENGTH), locals=LENGTH + 1)
    with pytest.raises(BenchError, match=r"21 local descriptors an image asked of .*wanted 1 to 20"):
        extract_globals(local, vocabulary, tmp_path / "g.hdf5")
    assert not (tmp_path / "g.hdf5").exists()


def test_the_same_scene_is_nearer_than_another_one(tmp_path: Path, write_images: Images) -> None:
    # Each image a second time, smaller and a little turned: its global descriptor finds the first.
    images = write_images(40)
    turned = []
    for image in images:
        grey = read_grey(image)
        matrix = cv2.getRotationMatrix2D((60, 45), 8, 0.9)
        path = image.path.with_name(f"turned-{image.path.name}")
        cv2.imwrite(str(path), cv2.warpAffine(grey, matrix, (120, 90), borderMode=cv2.BORDER_REPLICATE))
        turned.append(ImageRef(path))
    local, _ = run(images, tmp_path / "a.hdf5", length=100)
    vocabulary = Vocabulary.learn(local, centroids=8, width=32, locals=100)
    gallery = describe(images, tmp_path / "gallery", vocabulary=vocabulary, length=100, workers=1)
    queries = describe(turned, tmp_path / "queries", vocabulary=vocabulary, length=100, workers=1)
    assert gallery.global_ is not None and queries.global_ is not None
    nearest = (queries.global_.array() @ gallery.global_.array().T).argmax(axis=1)
    assert (nearest == np.arange(40)).mean() > 0.8
