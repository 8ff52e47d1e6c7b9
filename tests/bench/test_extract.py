"""From the images of a data set to files in the published layout, by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import h5py
import numpy as np
import psutil
import pytest
import torch

from bench import extract
from bench.errors import BenchError
from bench.features.backbones import PRESETS, Preset, dinov2
from bench.features.detector import Detector
from bench.features.layout import DESCRIPTOR
from tests.support import ROOT

CONFIG = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
TINY = Preset(about="Tiny", load=dinov2.plain, config=CONFIG, globals=("cls", "w-avg"), side_px=56, top=10)
FILES = sorted(
    f"{name}_{side}_{kind}.hdf5"
    for name, kind in (("tiny", "local"), ("tiny", "size"), ("tiny", "global"), ("tiny-w-avg", "global"))
    for side in ("query", "gallery")
)
GALLERY = 70


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Own images: a gallery, and two queries with boxes."""
    folder = tmp_path / "data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    names = [f"g{number}" for number in range(GALLERY)] + ["q0", "q1"]
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), generator.integers(0, 256, (45, 60, 3), np.uint8))
    gnd = [{"easy": [i], "hard": [], "junk": [], "bbx": [5.5, 5.5, 55.5, 40.5]} for i in range(2)]
    truth = {"imlist": names[:GALLERY], "qimlist": names[GALLERY:], "gnd": gnd}
    (folder / "ground_truth.json").write_text(json.dumps(truth))
    return folder


def run(data: Path, **options: object) -> None:
    extract.main(str(data), **{"preset": "tiny", "allow_random": True, "threads": 1, "device": "cpu", **options})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("tiny*")}


def said(path: Path) -> tuple[str, dict[str, object]]:
    with h5py.File(path) as file:
        return file.attrs["about"], json.loads(file.attrs["descriptor"])


def test_files_lie_beside_the_data_and_say_how_they_were_made(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data)
    assert sorted(content(data)) == FILES
    about, descriptor = said(data / "tiny_query_local.hdf5")
    assert about == "Tiny, random weights, 56 px, top 10, query crop"
    assert descriptor["weights"] == "random, seed 0" and descriptor["queries"] == "query crop"
    assert descriptor["versions"]["torch"] == torch.__version__
    assert said(data / "tiny-w-avg_gallery_global.hdf5")[0] == "Tiny, random weights, 56 px, top 10, w-avg"
    assert f"{data / 'tiny_gallery_local.hdf5'}: Tiny, random" in capsys.readouterr().out


def test_queries_are_cropped_unless_told_otherwise(data: Path, tmp_path: Path) -> None:
    run(data)
    run(data, crop=False, out=tmp_path / "whole")
    cropped, whole = content(data), content(tmp_path / "whole")
    assert said(tmp_path / "whole" / "tiny_query_local.hdf5")[0].endswith("whole queries")
    for name in FILES:
        assert (cropped[name] == whole[name]) == ("gallery" in name)


def test_weights_and_detector_are_named_by_their_hashes(data: Path, tmp_path: Path) -> None:
    dinov2.plain(CONFIG, None, 5).network.save_pretrained(tmp_path / "weights")
    torch.save({"state": Detector(24).state_dict()}, tmp_path / "detector.pt")
    given = {"weights": str(tmp_path / "weights"), "detector": tmp_path / "detector.pt", "allow_random": False}
    run(data, **given, top=12, side=42, dtype=extract.Dtype.FLOAT32)
    about, descriptor = said(data / "tiny_gallery_local.hdf5")
    assert about == "Tiny, 42 px, top 12 by detector"
    assert str(descriptor["weights"]).startswith("weights sha256:")
    assert str(descriptor["detector"]).startswith("detector.pt sha256:")
    with h5py.File(data / "tiny_gallery_local.hdf5") as file:
        assert file["features"].shape == (GALLERY, 12, DESCRIPTOR + 24) and file["features"].dtype == np.float32


def test_rootsift_needs_no_weights(data: Path) -> None:
    run(data, preset="rootsift", allow_random=False, top=20)
    assert said(data / "rootsift_query_local.hdf5")[0] == "RootSIFT, 640 px, top 20, query crop"
    assert not list(data.glob("rootsift*global*"))


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"preset": "tinny"}, "unknown preset 'tinny'.*Did you mean 'tiny'"),
        ({"allow_random": False}, "no weights for tiny; wanted --weights PATH"),
        ({"side": 13}, "images of 13 pixels"),
        ({"preset": "rootsift", "weights": "x"}, "--weights for rootsift, which has learnt nothing"),
        ({"preset": "rootsift", "detector": Path("x")}, "--detector for rootsift"),
        ({"preset": "superglobal-r50", "top": 10}, "--top 10 for superglobal-r50"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(data: Path, options: dict[str, object], seen: str) -> None:
    with pytest.raises(BenchError, match=seen):
        run(data, **options)
    assert not content(data)


#: The command with the tiny preset. SLOW: seconds that each run of images takes longer.
SCRIPT = """
import os, time
from bench import extract
from bench.console import run
from bench.features.backbones import PRESETS
from bench.features.learned import Learned
from tests.bench.test_extract import TINY

def describe(describer, readings, plain=Learned.describe):
    time.sleep(float(os.environ["SLOW"]))
    return plain(describer, readings)

if __name__ == "__main__":
    PRESETS["tiny"], Learned.describe = TINY, describe
    run(extract.main)
"""


def test_two_processes_killed_and_started_again_end_in_the_bytes_of_one(data: Path, tmp_path: Path) -> None:
    run(data)
    out = tmp_path / "out"
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [tmp_path / "script.py", data, "--preset", "tiny", "--allow-random", "--threads", "1", "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    killed = subprocess.Popen(command, env={**environment, "SLOW": "3"}, stderr=subprocess.DEVNULL)
    journal, limit = out / "tiny_gallery_local.hdf5.journal", time.monotonic() + 120
    while not (journal.exists() and "32 64 " in journal.read_text()):
        assert killed.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    workers = psutil.Process(killed.pid).children(recursive=True)  # in sessions of their own
    for process in (killed, *workers):
        process.kill()
    killed.wait(30)
    psutil.wait_procs(workers, timeout=30)
    assert not (out / "tiny_gallery_local.hdf5").exists()
    ended = subprocess.run(command, env={**environment, "SLOW": "0"}, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert "at 64 of 70 images" in ended.stderr
    assert content(out) == content(data)
