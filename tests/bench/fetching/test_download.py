from __future__ import annotations

import random
import resource
import signal

import pytest

from bench.errors import BenchError
from bench.fetching import download as module
from bench.fetching.download import download
from tests.bench.fetching.web import HASTY, nowhere

CONTENT = random.Random(0).randbytes(100_000)


@pytest.fixture
def get(web, tmp_path):
    """Fetches big.bin, or what is there by the name, to a file of a folder of its own."""
    web.files["big.bin"] = CONTENT

    def fetch(name="big.bin", **options):
        path = tmp_path / "work" / "big.bin"
        download(web.url(name), path, put_at=tmp_path / "here" / "big.bin", patience=HASTY, **options)
        return path

    return fetch


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "work").iterdir())


def test_a_whole_file_and_nothing_beside_it(get, tmp_path):
    shown = []
    assert get(progress=lambda done, total: shown.append((done, total))).read_bytes() == CONTENT
    assert left(tmp_path) == ["big.bin"] and shown[-1] == (len(CONTENT), len(CONTENT))


def test_a_connection_that_breaks_is_taken_up_where_it_broke(get, web):
    web.cuts["big.bin"] = [30_000, 20_000, 0]
    assert get().read_bytes() == CONTENT
    assert [asked for _, asked in web.asked] == [None, "bytes=30000-", "bytes=50000-", "bytes=50000-"]


def test_one_that_breaks_too_often_leaves_what_has_come_and_the_next_call_goes_on(get, web, tmp_path):
    web.cuts["big.bin"] = [40_000, 10, 10, 10]
    with pytest.raises(BenchError, match=r"broke off after 40030 bytes, 3 times in a row.*goes on where it stopped"):
        get()
    assert left(tmp_path) == ["big.bin.part", "big.bin.part.stamp"]
    assert get().read_bytes() == CONTENT and web.asked[-1] == ("big.bin", "bytes=40030-")


def test_a_server_without_ranges_starts_anew(get, web):
    web.ranges = False
    web.cuts["big.bin"] = [30_000]
    assert get().read_bytes() == CONTENT and len(web.asked) == 2


@pytest.mark.parametrize("stamp", ['"two"', None])
def test_another_version_of_the_file_is_not_joined_to_what_has_come_of_the_first(get, web, stamp):
    web.cuts["big.bin"] = [40_000, 0, 0, 0]
    with pytest.raises(BenchError, match="broke off"):
        get()
    web.files["big.bin"], web.stamp = CONTENT[::-1], stamp
    assert get().read_bytes() == CONTENT[::-1]


def test_without_a_stamp_it_goes_on_all_the_same(get, web):
    web.stamp = None
    web.cuts["big.bin"] = [30_000]
    assert get().read_bytes() == CONTENT and web.asked[-1] == ("big.bin", "bytes=30000-")


def test_a_part_that_is_the_whole_already(get, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "big.bin.part").write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_thrown_away(get, web, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "big.bin.part").write_bytes(CONTENT + b"more")
    assert get().read_bytes() == CONTENT and web.asked[-1] == ("big.bin", None)


def test_a_server_that_does_not_tell_the_length(get, web):
    web.chunked = True
    assert get().read_bytes() == CONTENT
    with pytest.raises(BenchError, match="100000 bytes at .*wanted 100001"):
        download(web.url("big.bin"), get().with_name("other"), size_bytes=100_001, put_at=get(), patience=HASTY)


def test_one_that_sends_without_end(get, web, monkeypatch):
    web.chunked = True
    monkeypatch.setattr(module, "MOST_BYTES", 50_000)
    with pytest.raises(BenchError, match="bytes or more at .*wanted 50000"):
        get()


def test_a_file_of_another_length(get, tmp_path):
    with pytest.raises(BenchError, match="100000 bytes .*wanted 99999"):
        get(size_bytes=99_999)
    assert "big.bin" not in left(tmp_path)


def test_a_server_that_promises_more_than_it_sends(get, web, tmp_path):
    web.length, web.ranges = 100_005, False
    with pytest.raises(BenchError, match="broke off"):
        get()
    assert "big.bin" not in left(tmp_path)


def test_no_such_file(get):
    with pytest.raises(BenchError, match="404 Not Found.*home page"):
        get("nothing.bin")


def test_a_server_in_trouble_is_asked_again_before_it_is_given_up(get, web):
    web.status = 503
    with pytest.raises(BenchError, match="3 times in a row.*503 Service Unavailable"):
        get()
    assert len(web.asked) == 3


def test_an_answer_that_drips_without_end(get, web):
    web.drip = True
    with pytest.raises(BenchError, match=r"broke off .* bytes in 0 s"):
        get()


def test_a_server_that_falls_silent(get, web):
    web.silent = True
    with pytest.raises(BenchError, match=r"broke off after 300 bytes.*[Tt]imed out"):
        get()


def test_a_closed_network_names_host_address_and_what_to_do(tmp_path):
    address = nowhere()
    with pytest.raises(BenchError) as error:
        download(f"{address}/a.tgz", tmp_path / "a.tgz", put_at=tmp_path / "data" / "a.tgz", patience=HASTY)
    said = str(error.value)
    assert "cannot reach 127.0.0.1" in said and f"{address}/a.tgz" in said
    assert f"put it at {tmp_path / 'data' / 'a.tgz'}" in said and list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_what_has_come(get, web, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(progress=interrupt)
    assert (tmp_path / "work" / "big.bin.part").stat().st_size > 0
    assert get().read_bytes() == CONTENT


def test_a_disk_that_is_full(get, tmp_path):
    """By the kernel's own limit on the length of a file."""
    before, handled = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(BenchError, match="cannot write .*big.bin"):
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)
    assert get().read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(web, tmp_path):
    web.files["big.bin"] = CONTENT
    (tmp_path / "work").write_text("a file")
    with pytest.raises(BenchError, match="cannot write"):
        download(web.url("big.bin"), tmp_path / "work" / "big.bin", put_at=tmp_path, patience=HASTY)
