"""Stores on their way to the disk: interruptions, rivals, full and forbidden disks."""

import errno
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.errors import BenchError
from bench.features.writing import Outline, Partial, Target, is_written, write_store, write_stores
from bench.others import locked

SHAPE = (10, 3, 7)
CONTENT = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def filler(log: list[tuple[int, int]], *, stop_after: int | None = None) -> Callable[[Partial], None]:
    """Writes CONTENT four rows at a time, last run first, and fails after so many runs."""

    def fill(partial: Partial) -> None:
        for number, run in enumerate(reversed(partial.missing(4))):
            if number == stop_after:
                raise KeyboardInterrupt
            partial.finish(run, partial.target.write(run[0], CONTENT[slice(*run)]))
            log.append(run)

    return fill


def write(path: Path, fill: Callable[[Partial], None], *, fingerprint: str = "one") -> None:
    attributes = {"layout": 1, "fingerprint": fingerprint}
    write_store(path, dataset="features", shape=SHAPE, attributes=attributes, fill=fill)


def read(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["features"][:]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_reads_back_and_is_not_written_again(tmp_path: Path) -> None:
    path, log = tmp_path / "new" / "a.hdf5", []
    write(path, filler(log))
    assert log == [(8, 10), (4, 8), (0, 4)]
    np.testing.assert_array_equal(read(path), CONTENT)
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"layout": 1, "fingerprint": "one"}
    assert names(path.parent) == ["a.hdf5"]
    write(path, filler(log))
    assert len(log) == 3


def test_an_interrupted_store_has_no_name_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, log = tmp_path / "a.hdf5", []
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=2))
    assert not path.exists()
    write(path, filler(log))
    assert log == [(8, 10), (4, 8), (0, 4)]
    np.testing.assert_array_equal(read(path), CONTENT)
    assert names(tmp_path) == ["a.hdf5"]


@pytest.mark.parametrize("tail", ["", "0 4 12", "4 8", "rubbish"])
def test_a_journal_cut_within_a_line_loses_that_line_only(tmp_path: Path, tail: str) -> None:
    path, log = tmp_path / "a.hdf5", []
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=1))
    with (tmp_path / "a.hdf5.journal").open("a") as journal:
        journal.write(tail)
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=1))
    write(path, filler(log))
    assert log == [(8, 10), (4, 8), (0, 4)]
    np.testing.assert_array_equal(read(path), CONTENT)


def test_rows_that_do_not_match_the_journal_are_written_again(tmp_path: Path) -> None:
    path, log = tmp_path / "a.hdf5", []
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=2))
    with h5py.File(tmp_path / "a.hdf5.partial", "r+") as file:  # as after a power cut
        file["features"][9] = 0
    write(path, filler(log))
    assert log == [(8, 10), (4, 8), (8, 10), (0, 4)]
    np.testing.assert_array_equal(read(path), CONTENT)


def test_runs_of_another_size_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with pytest.raises(KeyboardInterrupt):
        write(path, filler([], stop_after=2))

    def by_three(partial: Partial) -> None:
        assert partial.missing(3) == [(0, 3), (3, 6), (6, 9), (9, 10)]
        for run in partial.missing(3):
            partial.finish(run, partial.target.write(run[0], CONTENT[slice(*run)]))

    write(path, by_three)
    np.testing.assert_array_equal(read(path), CONTENT)


@pytest.mark.parametrize("damage", ["partial", "journal"])
def test_without_its_other_half_a_beginning_is_worth_nothing(tmp_path: Path, damage: str) -> None:
    path, log = tmp_path / "a.hdf5", []
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=2))
    (tmp_path / f"a.hdf5.{damage}").write_bytes(b"")
    write(path, filler(log))
    assert len(log) == 5
    np.testing.assert_array_equal(read(path), CONTENT)


def test_a_journal_that_outlived_its_store_goes(tmp_path: Path) -> None:
    """A kill between the store's name and the journal's end leaves it."""
    path, journal = tmp_path / "a.hdf5", tmp_path / "a.hdf5.journal"
    write(path, filler([]))
    for left in ("one\n0 4 17\n", ""):
        journal.write_text(left)
        write(path, filler([]))
        assert names(tmp_path) == ["a.hdf5"]
    journal.write_text("two\n0 4 17\n")  # of another store, interrupted on its way to the same name
    write(path, filler([]))
    assert names(tmp_path) == ["a.hdf5", "a.hdf5.journal"]


def test_a_journal_that_somebody_holds_stays(tmp_path: Path) -> None:
    path, journal = tmp_path / "a.hdf5", tmp_path / "a.hdf5.journal"
    write(path, filler([]))
    held = locked(journal, lambda _: pytest.fail("nobody else holds it"))
    write(path, filler([]))
    os.close(held)
    assert journal.exists()
    write(path, filler([]))
    assert not journal.exists()


def test_another_fingerprint_begins_again_and_replaces_the_old_store(tmp_path: Path) -> None:
    path, log = tmp_path / "a.hdf5", []
    write(path, filler(log), fingerprint="old")
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=2), fingerprint="new")
    assert is_written(path, "old") and not is_written(path, "new")
    with pytest.raises(KeyboardInterrupt):
        write(path, filler(log, stop_after=1), fingerprint="newer")
    write(path, filler(log), fingerprint="newer")
    assert log[5:] == [(8, 10), (4, 8), (0, 4)]
    assert is_written(path, "newer")


def test_a_damaged_store_is_named_and_not_overwritten(tmp_path: Path) -> None:
    path, log = tmp_path / "a.hdf5", []
    write(path, filler(log))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"a\.hdf5 has .* bytes; wanted .*Delete it"):
        write(path, filler(log))
    path.write_text("my notes")
    with pytest.raises(BenchError, match=r"cannot read .*a\.hdf5 as HDF5"):
        write(path, filler(log))
    assert path.read_text() == "my notes" and len(log) == 3


def test_a_store_with_missing_rows_gets_no_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="0 of 10 rows"):
        write(tmp_path / "a.hdf5", lambda partial: None)
    assert not (tmp_path / "a.hdf5").exists()


def test_two_writers_of_one_store_do_the_work_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path, log = tmp_path / "a.hdf5", []
    begun, go_on = threading.Event(), threading.Event()

    def slowly(partial: Partial) -> None:
        begun.set()
        assert go_on.wait(30)
        filler(log)(partial)

    first = threading.Thread(target=write, args=(path, slowly))
    first.start()
    assert begun.wait(30)
    second = threading.Thread(target=write, args=(path, filler(log)))
    second.start()
    while "waiting for it" not in caplog.text:
        assert second.is_alive()
    go_on.set()
    first.join(30)
    second.join(30)
    assert len(log) == 3
    np.testing.assert_array_equal(read(path), CONTENT)
    assert names(tmp_path) == ["a.hdf5"]


def test_a_full_disk_is_found_before_the_first_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    log: list[tuple[int, int]] = []
    with pytest.raises(BenchError, match=r"cannot write .*a\.hdf5 \(No space left.*Free some space"):
        write(tmp_path / "a.hdf5", filler(log))
    assert not log and not names(tmp_path)


def test_a_disk_that_fills_while_writing_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, log = tmp_path / "a.hdf5", []

    def full(target: Target, start: int, rows: np.ndarray) -> int:
        if start == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(target, start, rows)

    plain = Target.write
    with monkeypatch.context() as patch:
        patch.setattr(Target, "write", full)
        with pytest.raises(BenchError, match="No space left"):
            write(path, filler(log))
    assert not path.exists()
    write(path, filler(log))
    assert log == [(8, 10), (4, 8), (0, 4)]


def test_a_file_system_that_reserves_no_space_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    write(tmp_path / "a.hdf5", filler([]))
    np.testing.assert_array_equal(read(tmp_path / "a.hdf5"), CONTENT)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"cannot write .*file/a\.hdf5"):
        write(tmp_path / "file" / "a.hdf5", filler([]))

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(BenchError, match=r"Read-only file system.*Choose another folder"):
        write(tmp_path / "a.hdf5", filler([]))


def test_half_floats_are_stored_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    half = np.dtype("<f2")
    options = {"dataset": "features", "shape": SHAPE, "attributes": {"fingerprint": "one"}}
    with pytest.raises(KeyboardInterrupt):
        write_store(path, **options, fill=filler([], stop_after=2), dtype=np.dtype("<f4"))
    log: list[tuple[int, int]] = []
    with pytest.raises(KeyboardInterrupt):
        write_store(path, **options, fill=filler(log, stop_after=2), dtype=half)
    write_store(path, **options, fill=filler(log), dtype=half)
    assert log == [(8, 10), (4, 8), (0, 4)]  # nothing of the other type was kept
    assert read(path).dtype == half
    np.testing.assert_array_equal(read(path), CONTENT.astype(half))


def outlines(folder: Path) -> list[Outline]:
    attributes = {"fingerprint": "one"}
    return [
        Outline(path=folder / name, dataset="features", shape=SHAPE, attributes=attributes) for name in ("a", "b", "c")
    ]


def test_stores_are_filled_together_but_for_those_that_are_there(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def fill(partials: Mapping[Path, Partial]) -> None:
        asked.append([path.name for path in partials])
        for partial in partials.values():
            filler([])(partial)

    def fail(partials: Mapping[Path, Partial]) -> None:
        filler([], stop_after=1)(partials[tmp_path / "c"])

    with pytest.raises(KeyboardInterrupt):
        write_stores(outlines(tmp_path), fail)
    assert not any(one.written for one in outlines(tmp_path))
    write_stores(outlines(tmp_path), fill)
    (tmp_path / "b").unlink()
    (tmp_path / "c.journal").touch()
    write_stores(outlines(tmp_path), fill)
    write_stores(outlines(tmp_path), fill)
    assert asked == [["a", "b", "c"], ["b"]]
    for one in outlines(tmp_path):
        np.testing.assert_array_equal(read(one.path), CONTENT)
    assert names(tmp_path) == ["a", "b", "c"]
