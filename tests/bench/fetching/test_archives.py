"""Archives that mean well, and archives that do not."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.fetching.archives import Limits, unpack
from bench.fetching.members import ArchiveError
from tests.bench.fetching.web import tar, tree, zipped

FILES = {"set/a/1.jpg": b"one", "set/a/2.jpg": b"two" * 1000, "set/list.txt": b"1\n2\n", "README": b"read me"}
NAMES = ["images.zip", "images.tar", "images.tar.gz", "images.tgz"]


def packed(path, files=FILES):
    return (zipped if path.suffix == ".zip" else tar)(path, files)


def member(name, kind=tarfile.REGTYPE, content=b"", link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), link
    return info, content


def tar_of(path, *members):
    with tarfile.open(path, "w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def refuses(archive, into, match, **options):
    """`archive` is refused by name, and neither it nor anything of it is in or around `into`."""
    around = {path: path.read_bytes() for path in into.parent.rglob("*") if path.is_file()}
    with pytest.raises(ArchiveError, match=match) as error:
        unpack(archive, into, **options)
    assert str(archive) in str(error.value)
    assert {path: path.read_bytes() for path in into.parent.rglob("*") if path.is_file()} == around
    assert not into.exists() and not list(into.parent.glob(".*"))


@pytest.fixture
def into(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "out"


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_unpacked(tmp_path, into, name):
    shown = []
    unpack(packed(tmp_path / name), into, progress=lambda done, total: shown.append((done, total)))
    assert tree(into) == FILES
    assert shown and all(done <= total == (tmp_path / name).stat().st_size for done, total in shown)


@pytest.mark.parametrize("name", NAMES)
def test_only_a_folder_of_it(tmp_path, into, name):
    unpack(packed(tmp_path / name), into, take="set")
    assert tree(into) == {name.removeprefix("set/"): FILES[name] for name in FILES if name.startswith("set/")}


def test_a_folder_with_a_similar_name_is_another(tmp_path, into):
    unpack(tar(tmp_path / "a.tar", {"set/a": b"a", "settle/b": b"b"}), into, take="set")
    assert tree(into) == {"a": b"a"}


@pytest.mark.parametrize("name", NAMES)
def test_flat(tmp_path, into, name):
    unpack(packed(tmp_path / name), into, flat=True)
    assert tree(into) == {"1.jpg": b"one", "2.jpg": b"two" * 1000, "list.txt": b"1\n2\n", "README": b"read me"}


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_without_what_is_wanted(tmp_path, into, name):
    refuses(packed(tmp_path / name), into, "nothing in other", take="other")


def test_flat_refuses_namesakes(tmp_path, into):
    refuses(tar(tmp_path / "a.tar", {"x/1.jpg": b"x", "y/1.jpg": b"y"}), into, r"'y/1\.jpg' .*namesake", flat=True)


def test_several_archives_into_one_folder(tmp_path, into):
    unpack(tar(tmp_path / "1.tar", {"a/1": b"1", "both": b"first"}), into)
    unpack(tar(tmp_path / "2.tar", {"a/2": b"2", "both": b"second"}), into)
    assert tree(into) == {"a/1": b"1", "a/2": b"2", "both": b"second"}


def test_names_that_differ_in_case_only(tmp_path, into):
    unpack(tar(tmp_path / "a.tar", {"IMG.JPG": b"upper", "img.jpg": b"lower"}), into)
    assert tree(into) == {"IMG.JPG": b"upper", "img.jpg": b"lower"}


OUTSIDE = ["../evil", "a/../../evil", "/tmp/evil", "\\evil", "C:\\evil", "..", "a\\..\\..\\evil"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_leave_the_folder(tmp_path, into, name, kind):
    refuses(packed(tmp_path / f"a.{kind}", {"good": b"good", name: b"evil"}), into, "evil|'..'")


@pytest.mark.parametrize("target", ["../..", "/etc/passwd", "a/../../../evil", "nothing"])
def test_links_that_leave_the_folder_or_lead_nowhere(tmp_path, into, target):
    archive = tar_of(
        tmp_path / "a.tar", member("a/good", content=b"good"), member("a/link", tarfile.SYMTYPE, link=target)
    )
    refuses(archive, into, "'a/link'.*link to")


def test_nothing_is_written_through_a_link(tmp_path, into):
    (tmp_path / "victim").mkdir()
    archive = tar_of(
        tmp_path / "a.tar",
        member("door", tarfile.SYMTYPE, link="../../../victim"),
        member("door/evil", content=b"evil"),
    )
    with pytest.raises(BenchError):
        unpack(archive, into)
    assert tree(tmp_path / "victim") == {} and not into.exists() and not list(into.parent.iterdir())


def test_a_link_made_through_a_link(tmp_path, into):
    (tmp_path / "victim").mkdir()
    archive = tar_of(
        tmp_path / "a.tar",
        member("door", tarfile.SYMTYPE, link="../../victim"),
        member("door/evil", tarfile.SYMTYPE, link="x"),
    )
    refuses(archive, into, "'door/evil'.*through a link")
    assert list((tmp_path / "victim").iterdir()) == []


def test_links_that_only_together_leave_the_folder(tmp_path, into):
    archive = tar_of(
        tmp_path / "a.tar",
        member("a/b/file", content=b"good"),
        member("a/b/up", tarfile.SYMTYPE, link="../.."),
        member("out", tarfile.SYMTYPE, link="a/b/up/../.."),
    )
    refuses(archive, into, "'out'.*link to")


def test_links_that_turn_in_a_circle(tmp_path, into):
    archive = tar_of(tmp_path / "a.tar", member("a", tarfile.SYMTYPE, link="b"), member("b", tarfile.SYMTYPE, link="a"))
    refuses(archive, into, "link to")


@pytest.mark.parametrize("target", ["../../secret", "/etc/hostname", "missing"])
def test_other_names_of_files_outside(tmp_path, into, target):
    (tmp_path / "secret").write_text("secret")
    refuses(tar_of(tmp_path / "a.tar", member("name", tarfile.LNKTYPE, link=target)), into, "'name'")


def test_links_within_the_archive_are_kept(tmp_path, into):
    archive = tar_of(
        tmp_path / "a.tar",
        member("set/link", tarfile.SYMTYPE, link="a/1"),
        member("set/a/1", content=b"one"),
        member("set/again", tarfile.LNKTYPE, link="set/a/1"),
    )
    unpack(archive, into, take="set")
    assert tree(into) == {"a/1": b"one", "again": b"one", "link": b"one"} and (into / "link").is_symlink()


def test_a_link_in_a_zip(tmp_path, into):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "../../secret")
    refuses(tmp_path / "a.zip", into, "'link'.*link to")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(tmp_path, into, kind):
    refuses(tar_of(tmp_path / "a.tar", member("good", content=b"good"), member("dev", kind)), into, "'dev' is a device")


def test_a_device_in_a_zip(tmp_path, into):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("dev")
        info.external_attr = stat.S_IFIFO << 16
        archive.writestr(info, "")
    refuses(tmp_path / "a.zip", into, "'dev' is a device")


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tgz"])
def test_a_bomb_by_what_it_says(tmp_path, into, name):
    archive = packed(tmp_path / name, {"small": b"small", "zeros": bytes(70 << 20)})
    assert archive.stat().st_size < 100_000
    refuses(archive, into, "'zeros'.*too much.*at most 67")


def test_a_bomb_that_lies_about_its_size(tmp_path, into):
    """The heading says 10 bytes; the count while writing does not believe it."""
    packed(tmp_path / "a.zip", {"zeros": bytes(1 << 20)})
    content = (tmp_path / "a.zip").read_bytes()
    lying = content.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != content
    (tmp_path / "a.zip").write_bytes(lying)
    refuses(tmp_path / "a.zip", into, "zeros|damaged", limits=Limits(most_bytes=100, most_members=10))


def test_a_sparse_file_counts_with_its_holes(tmp_path, into):
    hole = 1 << 40
    head = tarfile.TarInfo("sparse")
    head.type, head.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[386:398], block[398:410], block[483:495] = b"%011o\0" % 0, b"%011o\0" % 0, _octal(hole)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a.tar").write_bytes(bytes(block) + bytes(1024))
    refuses(tmp_path / "a.tar", into, "'sparse'.*too much")


def _octal(number):
    return b"\x80" + number.to_bytes(11, "big")


def test_too_many_members(tmp_path, into):
    archive = tar(tmp_path / "a.tar", {f"{number}": b"" for number in range(11)})
    refuses(archive, into, "'10' is number 11.*at most 10", limits=Limits(most_bytes=1000, most_members=10))


def test_a_description_that_does_not_fit_into_memory(tmp_path, into):
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 1 << 33
    with gzip.open(tmp_path / "a.tgz", "wb") as archive:
        archive.write(head.tobuf(tarfile.GNU_FORMAT))
        archive.write(bytes(1024))
    refuses(tmp_path / "a.tgz", into, "damaged.*header of")


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_cut_short(tmp_path, into, name):
    archive = packed(tmp_path / name, {"a": os.urandom(5000), "b": os.urandom(5000)})
    archive.write_bytes(archive.read_bytes()[:7000])
    refuses(archive, into, "damaged")


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_something_else(tmp_path, into, name):
    (tmp_path / name).write_text("<html>Not found</html>" * 100)
    refuses(tmp_path / name, into, "damaged")


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_bytes_that_have_changed(tmp_path, into, name):
    """Random bytes are stored as they are, so that only the checksum tells."""
    archive = packed(tmp_path / name, {"a": random.Random(0).randbytes(5000)})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 1
    archive.write_bytes(content)
    refuses(archive, into, "damaged.*CRC")


@example(changes=[(385, 0)])  # a member of the zip without a name
@given(changes=st.lists(st.tuples(st.integers(0, 699), st.integers(0, 255)), min_size=1, max_size=20))
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_whatever_has_changed_it_is_unpacked_or_refused(tmp_path_factory, name, changes):
    folder = tmp_path_factory.mktemp("changed")
    archive = packed(folder / name, {"set/a": b"a" * 100, "set/b": b"b" * 100})
    content = bytearray(archive.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    archive.write_bytes(content)
    with suppress(BenchError):
        unpack(archive, folder / "out")
    assert {path.name for path in folder.iterdir()} <= {name, "out"}


def test_an_encrypted_one(tmp_path, into):
    archive = packed(tmp_path / "a.zip", {"a": b"a"})
    content = archive.read_bytes()
    central = content.index(b"PK\x01\x02")
    archive.write_bytes(content[: central + 8] + b"\x01" + content[central + 9 :])
    refuses(archive, into, "'a' is encrypted")


def test_another_kind(tmp_path, into):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    refuses(tmp_path / "a.rar", into, "wanted one of .zip, .tar")


def test_what_an_earlier_archive_gave_stays_when_the_next_is_refused(tmp_path, into):
    unpack(tar(tmp_path / "1.tar", {"a": b"1"}), into)
    with pytest.raises(ArchiveError):
        unpack(tar(tmp_path / "2.tar", {"b": b"2", "../evil": b"2"}), into)
    assert tree(into.parent) == {"out/a": b"1"}


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        unpack(tar(tmp_path / "a.tar", {"a": b"1"}), tmp_path / "file" / "out")


def test_a_file_where_a_folder_should_be(tmp_path, into):
    with pytest.raises(BenchError, match="cannot write"):
        unpack(tar(tmp_path / "a.tar", {"a": b"1", "a/b": b"2"}), into)
    assert list(into.parent.iterdir()) == []
