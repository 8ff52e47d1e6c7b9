"""Files that do harm to whoever believes them: refused in words and at once, and nothing in them is run."""

from __future__ import annotations

import pickletools
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz import attacks
from tests.fuzz.assembly import call, legacy, name, put, whole, zipped
from tests.fuzz.readers.every import READERS
from tests.fuzz.reading import REFUSALS
from tests.fuzz.watch import HANG_S

#: What holds a pickle, by the reader that takes it.
CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "pickle": bytes,
    "ground-truth-pickle": bytes,
    "shortlist-pickle": bytes,
    "shortlist-zip": zipped,
    "shortlist-legacy": legacy,
    "checkpoint-zip": zipped,
    "checkpoint-legacy": legacy,
    "torch-globals": zipped,
}
OF_TORCH = tuple(reader for reader, container in CONTAINERS.items() if container is not bytes)
#: Sequences of opcodes: (in CI, by nox).
EXAMPLES = 300, 20_000


def refuse(reader: str, content: bytes, folder: Path) -> str | None:
    """Reads `content`; what is wrong with how that went."""
    path = folder / READERS[reader].file
    path.write_bytes(content)
    begun = time.process_time()  # of this process: others may keep the machine busy
    try:
        READERS[reader].read(path)
    except REFUSALS as refusal:
        if len(str(refusal)) > 2_000:
            return f"refused in {len(str(refusal))} letters"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    else:
        return "read"
    took = time.process_time() - begun
    return f"{took:.1f} s" if took > HANG_S else None


def tried(
    tally, what: str, reader: str, cases: Iterator[tuple[str, bytes]], folder: Path, harmless: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong, after all cases. harmless: those that may be read."""
    found, path = [], folder / READERS[reader].file
    READERS[reader].prepare(folder)
    for content in READERS[reader].seeds(folder):  # whole ones are read; and what is imported late is imported now
        path.write_bytes(content)
        READERS[reader].read(path)
    for case, content in cases:
        wrong = refuse(reader, content, folder)
        wrong = None if wrong == "read" and case in harmless else wrong
        tally.note(what, found=wrong and f"{reader}, {case}: {wrong}")
        found += [f"{case}: {wrong}"] if wrong else []
    return found


@pytest.mark.parametrize("reader", CONTAINERS)
def test_pickles_that_run_code(tmp_path, tally, reader):
    marker = tmp_path / "marker"
    cases = [*attacks.running(marker), *attacks.elsewhere()]
    contained = ((case, CONTAINERS[reader](content)) for case, content in cases)
    assert not tried(tally, "pickles that run code", reader, contained, tmp_path / "..")
    assert not marker.exists()


#: Loads what it is given as nobody should, each in a process that may die of it.
CREDULOUS = """
import os, pickle, sys, torch, numpy.testing, numpy.f2py
for path in sys.argv[2:]:
    if not os.fork():
        try:
            torch.load(path, weights_only=False) if sys.argv[1] == "torch" else pickle.load(open(path, "rb"))
        except BaseException as error:
            print(path, repr(error)[:300])
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("container", [bytes, zipped, legacy])
def test_the_same_pickles_run_where_they_are_believed(tmp_path, container):
    names = [case for case, _ in attacks.running(tmp_path / "marker")]
    names = names if container is bytes else names[::8]  # what is inside is the same
    paths = [tmp_path / f"{number}.case" for number in range(len(names))]
    for number, path in enumerate(paths):
        path.write_bytes(container(dict(attacks.running(tmp_path / f"{number}"))[names[number]]))
    loader = "pickle" if container is bytes else "torch"
    command = [sys.executable, "-c", CREDULOUS, loader, *map(str, paths)]
    said = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    time.sleep(0.5)  # for those that wait for nothing
    assert not [name for number, name in enumerate(names) if not (tmp_path / f"{number}").exists()], said.stdout


@pytest.mark.parametrize("reader", CONTAINERS)
def test_pickles_that_ask_for_much(tmp_path, tally, reader):
    contained = ((case, CONTAINERS[reader](content)) for case, content in attacks.bombs())
    harmless = attacks.PLAIN if reader == "pickle" else ()
    assert not tried(tally, "pickles that ask for much", reader, contained, tmp_path, harmless)


@pytest.mark.parametrize("reader", OF_TORCH)
def test_tensors_beyond_their_memory(tmp_path, tally, reader):
    contained = ((case, CONTAINERS[reader](content)) for case, content in attacks.tensors())
    assert not tried(tally, "tensors beyond their memory", reader, contained, tmp_path)


def test_folders_of_checkpoints_are_read_as_files_are(tmp_path, tally):
    marker = tmp_path / "marker"
    for case, content in attacks.running(marker):
        (tmp_path / "pytorch_model.bin").write_bytes(zipped(content))
        with pytest.raises(REFUSALS):
            READERS["checkpoint-folder"].read(tmp_path / "model.safetensors.index.json")
        tally.note("pickles that run code", found=f"a folder, {case}" if marker.exists() else None)
    assert not marker.exists()


WEIGHTS = whole(b"}" + put("weight") + call(name("torch._utils", "_rebuild_tensor"), attacks.TWO, 0, (2,), (1,)) + b"s")


def odd_zips(evil: bytes) -> Iterator[tuple[str, bytes]]:
    """Archives in which two readers may see two things, or more than there is."""
    yield "two pickles of one name", zipped(WEIGHTS, more=(("archive/data.pkl", evil),))
    yield "two pickles of one name, turned round", zipped(evil, more=(("archive/data.pkl", WEIGHTS),))
    yield "two folders", zipped(WEIGHTS, more=(("other/data.pkl", evil),))
    yield (
        "a step up",
        zipped(WEIGHTS, folder="..", more=(("../../data.pkl", evil),)).replace(b"../data/0", b"../datA/0"),
    )
    yield "a packed pickle", zipped(WEIGHTS, packed=True)
    yield "a packed bomb", zipped(whole(put("a" * 50_000_000)), packed=True)
    yield "two storages of one name", zipped(WEIGHTS, more=(("archive/data/0", bytes(8)),))
    yield "TorchScript", zipped(whole(name("__torch__", "Model") + b")\x81"), more=(("archive/constants.pkl", b"N."),))
    content = bytearray(zipped(WEIGHTS))
    yield "a wrong checksum", bytes(content.replace(struct.pack("<I", zipfile.crc32(bytes(8))), b"abcd"))
    yield "a cut one", bytes(content[:-30])
    at = content.index(b"PK\x01\x02") + 8
    yield "an encrypted one", bytes([*content[:at], content[at] | 1, *content[at + 1 :]])
    for at, width in ((20, 4), (24, 4), (42, 4), (28, 2)):
        start = content.index(b"PK\x01\x02") + at
        yield (
            f"a directory with {at} at its edge",
            bytes(content[:start] + b"\xfe\xff\xff\xff"[:width] + content[start + width :]),
        )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("reader", [one for one in OF_TORCH if CONTAINERS[one] is zipped])
def test_zip_files_in_which_two_readers_see_two_things(tmp_path, tally, reader):
    marker = tmp_path / "marker"
    evil = whole(call(name("os", "mkdir"), str(marker)))
    assert not tried(tally, "odd zip files", reader, odd_zips(evil), tmp_path)
    assert not marker.exists()


def safetensors_bombs() -> Iterator[tuple[str, bytes]]:
    entry = '{{"a": {{"dtype": "{}", "shape": {}, "data_offsets": {}}}}}'
    for kind, shape, offsets in (
        *(("F32", [1 << 40], [0, 8]), ("F32", [2], [0, 1 << 62]), ("F32", [-2], [0, 8]), ("F32", [1 << 63, 0], [0, 0])),
        *(("F32", [1 << 32, 1 << 32], [0, 0]), ("F99", [2], [0, 8]), ("F32", [2], [8, 0]), ("F32", [[[2]]], [0, 8])),
    ):
        header = entry.format(kind, shape, offsets).encode()
        yield f"{kind} {shape} {offsets}", struct.pack("<Q", len(header)) + header + bytes(8)
    for length in (1 << 63, (1 << 64) - 1, 100_000_000, 1 << 20):
        yield f"a header of {length}", struct.pack("<Q", length) + b"{" * 1000
    for header in (b"[" * 1_000_000, b'{"a":' * 100_000, b'{"__metadata__": 1}', b'{"a": null}'):
        yield f"a header of {header[:20]!r}", struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize("reader", ["checkpoint-safetensors", "vocabulary", "training-state"])
def test_headers_of_safetensors_that_promise_much(tmp_path, tally, reader):
    assert not tried(tally, "odd headers of safetensors", reader, safetensors_bombs(), tmp_path)


#: What arguments of opcodes are drawn from.
NAMES = ("os\nmkdir\n", "numpy\ndtype\n", "_codecs\nencode\n", "builtins\nset\n", "torch._utils\n_rebuild_tensor_v2\n")
WORDS = ("os", "mkdir", "marker", "latin1", "i8", "numpy", "dtype", "O8", "storage", "0", "__setstate__", "\u00e9")


@st.composite
def opcodes(draw: st.DrawFn) -> bytes:
    """One opcode with an argument of its kind."""
    chosen = draw(st.sampled_from(pickletools.opcodes))
    code = chosen.code.encode("latin1")
    if chosen.arg is None:
        return code
    kind, word = chosen.arg.name, draw(st.sampled_from(WORDS)).encode()
    if kind == "stringnl_noescape_pair":
        return code + draw(st.sampled_from(NAMES)).encode()
    if kind == "stringnl":
        return code + b"'" + word + b"'\n"
    if "nl" in kind:
        number = draw(st.sampled_from((b"0", b"1", b"01", b"7", b"2.5")))
        return code + (number if kind.startswith(("decimal", "float")) else word) + b"\n"
    for width, ending in ((1, "1"), (2, "2"), (4, "4"), (8, "8")):
        if kind.endswith(ending) and kind.startswith(("uint", "int", "float")):
            return code + draw(st.sampled_from((0, 1, 2, 8))).to_bytes(width, "little")
        if kind.endswith(ending):
            return code + len(word).to_bytes(width, "little") + word
    raise NotImplementedError(kind)


def test_opcodes_in_any_order_run_nothing(tmp_path, monkeypatch, tally, thorough):
    monkeypatch.chdir(tmp_path)
    every = st.lists(opcodes(), max_size=40)
    making = b"cos\nmkdir\n(S'marker'\ntR."

    @settings(max_examples=EXAMPLES[thorough], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(every, st.sampled_from(list(CONTAINERS)), st.booleans())
    @example([making], "pickle", False)
    def run(parts: list[bytes], reader: str, call_it: bool) -> None:
        content = b"\x80\x04" + b"".join(parts) + (making if call_it else b".")
        tally.note("opcodes in any order", found=_wrong(reader, content, tmp_path))
        assert not (tmp_path / "marker").exists()

    run()


def _wrong(reader: str, content: bytes, folder: Path) -> str | None:
    found = refuse(reader, CONTAINERS[reader](content), folder)
    return None if found == "read" else found
