"""Stores filled together: whatever interrupts it, and however many work, the bytes are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bench.errors import BenchError
from bench.features.backbones import dinov2
from bench.features.images import ImageRef
from bench.features.layout import DESCRIPTOR, MASK, WEIGHT
from bench.features.learned import Learned
from bench.features.published import CHUNK, extract, outlines
from bench.features.store import DescriptorStore, GlobalStore, LocalStore
from bench.features.writing import Outline
from bench.processes import Crew
from tests.support import ROOT

Images = Callable[[int], list[ImageRef]]
CONFIG = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
KINDS = ("cls", "w-avg")
FILES = [
    "tiny-w-avg_gallery_global.hdf5",
    *(f"tiny_gallery_{kind}.hdf5" for kind in ("global", "local", "size")),
]


def describer(top: int = 10) -> Learned:
    backbone = dinov2.plain(CONFIG, None, 0)
    return Learned(backbone, side_px=56, scales=(1.0,), top=top, kinds=KINDS)


def run(
    images: Sequence[ImageRef],
    folder: Path,
    *,
    dtype: str = "float16",
    crew: Crew = Crew(),  # noqa: B008 (frozen)
    describer_: Learned | None = None,
    descriptor: dict[str, object] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Outline]:
    torch.set_num_threads(1)
    made = describer_ or describer()
    stores = outlines(
        images,
        folder,
        name="tiny",
        side="gallery",
        shapes=made.shapes,
        descriptor=descriptor or {"preset": "tiny"},
        about="a test",
        dtype=dtype,
    )
    extract(images, stores, made, crew=crew, workers=2, progress=progress)
    return stores


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def images_in(folder: Path) -> list[ImageRef]:
    return [ImageRef(path) for path in sorted(folder.glob("*.png"), key=lambda path: int(path.stem))]


def test_files_hold_what_the_describer_gives(tmp_path: Path, write_images: Images) -> None:
    images, told = write_images(CHUNK + 3), []
    stores = run(images, tmp_path / "a", dtype="float32", progress=lambda *now: told.append(now))
    assert sorted(content(tmp_path / "a")) == FILES
    assert told == [(0, 35), (32, 35), (35, 35)]
    made = describer()
    first = made.describe([made.read(image) for image in images[:CHUNK]])
    local = LocalStore.open(stores["local"].path)
    np.testing.assert_array_equal(local.rows[:CHUNK], first["local"])
    np.testing.assert_array_equal(GlobalStore.open(stores["cls"].path).array()[:CHUNK], first["cls"])
    np.testing.assert_array_equal(GlobalStore.open(stores["w-avg"].path).array()[:CHUNK], first["w-avg"])
    whole = DescriptorStore.open(tmp_path / "a", "tiny_gallery_", count=len(images)).features([0])
    assert (whole.xy[0] < whole.size[0]).all() and whole.size[0].max() == 56


def test_local_descriptors_are_half_as_long_unless_asked_for(tmp_path: Path, write_images: Images) -> None:
    images = write_images(3)
    half, full = run(images, tmp_path / "a")["local"], run(images, tmp_path / "b", dtype="float32")["local"]
    with h5py.File(half.path) as one, h5py.File(full.path) as other:
        assert one["features"].dtype == np.float16 and other["features"].dtype == np.float32
        np.testing.assert_array_equal(one["features"][:], other["features"][:].astype(np.float16))
        assert one["features"][0, :, MASK].sum() == 0 and one["features"].shape == (3, 10, DESCRIPTOR + 24)
        assert one.attrs["xy"] == "row, column in 0..1" and one.attrs["about"] == "a test"
        assert json.loads(one.attrs["descriptor"]) == {"preset": "tiny", "kind": "local", "dtype": "float16"}


def test_finished_stores_are_not_made_again(tmp_path: Path, write_images: Images) -> None:
    images, again = write_images(2), describer()
    run(images, tmp_path / "a")
    before = content(tmp_path / "a")
    again.read = None
    run(images, tmp_path / "a", describer_=again)
    assert content(tmp_path / "a") == before
    (tmp_path / "a" / FILES[0]).unlink()
    run(images, tmp_path / "a")
    assert content(tmp_path / "a") == before
    run(images, tmp_path / "a", descriptor={"preset": "tiny", "weights": "others"})
    assert content(tmp_path / "a").keys() == before.keys() and content(tmp_path / "a") != before


def test_a_broken_image_stops_with_its_name(tmp_path: Path, write_images: Images) -> None:
    images = write_images(CHUNK + 4)
    whole = images[34].path.read_bytes()
    images[34].path.write_bytes(b"no image")
    with pytest.raises(BenchError, match=r"cannot decode the image .*34\.png"):
        run(images, tmp_path / "a")
    assert not set(FILES) & set(content(tmp_path / "a"))
    images[34].path.write_bytes(whole)
    os.utime(images[34].path)
    run(images, tmp_path / "a")
    assert sorted(content(tmp_path / "a")) == FILES


def test_nan_stops_with_the_image(tmp_path: Path, write_images: Images) -> None:
    images, made = write_images(3), describer()
    plain = made.describe

    def spoilt(readings):
        rows = plain(readings)
        rows["local"][1, 0, DESCRIPTOR] = np.nan
        return rows

    made.describe = spoilt
    with pytest.raises(BenchError, match=r"1\.png gives NaN"):
        run(images, tmp_path / "a", describer_=made)

    def large(readings):
        rows = plain(readings)
        rows["local"][2, 0, WEIGHT] = 1e5
        return rows

    made.describe = large
    with pytest.raises(BenchError, match=r"2\.png gives .*more than float16 holds.*--dtype float32"):
        run(images, tmp_path / "a", describer_=made)
    run(images, tmp_path / "a", describer_=made, dtype="float32")


def test_an_interruption_keeps_what_was_done(tmp_path: Path, write_images: Images) -> None:
    images, told = write_images(3 * CHUNK), []

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "a", progress=interrupt)
    run(images, tmp_path / "a", progress=lambda *now: told.append(now))
    assert told[0] == (32, 96)
    run(images, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


KILLED = """
import sys, time
from pathlib import Path
from tests.bench.features.test_published import images_in, run

def show(done, total):
    print(done, flush=True)
    if done == 64:
        time.sleep(600)

if __name__ == "__main__":
    run(images_in(Path(sys.argv[1])), Path(sys.argv[2]), progress=show)
"""


def test_a_killed_extraction_ends_in_the_same_bytes(tmp_path: Path, write_images: Images) -> None:
    images, told = write_images(4 * CHUNK), []
    (tmp_path / "killed.py").write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "killed.py", tmp_path / "images", tmp_path / "a"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == ["0\n", "32\n", "64\n"]
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    process.stdout.close()
    assert not set(FILES) & set(content(tmp_path / "a"))
    with (tmp_path / "a" / f"{FILES[2]}.partial").open("r+b") as file:  # half a run was lost as well
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    run(images, tmp_path / "a", progress=lambda *now: told.append(now))
    assert told[0] == (64, 128)
    run(images, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def started(rank: int, folder: Path, work: Callable[[Crew, Path], None]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    work(Crew(rank, 2), folder)
    dist.destroy_process_group()


def sharing(crew: Crew, folder: Path) -> None:
    images = images_in(folder / "images")
    run(images, folder / "a", crew=crew)
    run(images, folder / "a", crew=crew)  # nothing is left to do


def failing(crew: Crew, folder: Path) -> None:
    with pytest.raises(BenchError, match=rf"cannot decode the image .*{CHUNK}\.png"):
        run(images_in(folder / "images"), folder / "a", crew=crew)


def together(folder: Path, work: Callable[[Crew, Path], None]) -> None:
    mp.start_processes(started, (folder, work), nprocs=2, start_method="spawn")


def test_two_processes_give_the_bytes_of_one(tmp_path: Path, write_images: Images) -> None:
    run(write_images(3 * CHUNK + 5), tmp_path / "b")
    together(tmp_path, sharing)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_what_one_process_cannot_read_stops_all(tmp_path: Path, write_images: Images) -> None:
    images = write_images(3 * CHUNK)
    images[CHUNK].path.write_bytes(b"no image")
    together(tmp_path, failing)
    journal = (tmp_path / "a" / f"{FILES[2]}.journal").read_text()
    assert "\n0 32 " in journal and "\n32 64 " not in journal
