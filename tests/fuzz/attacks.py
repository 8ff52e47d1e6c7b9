"""Pickles that do harm: run code by every road that is known, take memory and time, or reach beyond their own memory.

Those that run code make a file, the marker, by which it is known that they did.
"""

from __future__ import annotations

import marshal
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.assembly import STORAGE, Raw, built, call, name, put, whole


def running(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that make the marker where they are believed, each with a name."""
    here = str(marker)
    shell, code, script = f"touch {here}", f"open({here!r}, 'w').close()", marker.parent / "script.py"
    wanted = f"Path({str(marker.parent)!r}).glob('*.wanted')"
    script.write_text(f"from pathlib import Path\nfor one in {wanted}: one.with_suffix('').touch()\n", encoding="utf8")
    system = call(name("os", "system"), shell)
    simple = {
        "os.system": (shell,),
        "posix.system": (shell,),
        "os.popen": (shell,),
        "os.mkdir": (here,),
        "os.makedirs": (here,),
        "os.spawnlp": (0, "touch", "touch", here),
        "subprocess.Popen": (["touch", here],),
        "subprocess.call": (["touch", here],),
        "subprocess.run": (["touch", here],),
        "subprocess.check_output": (["touch", here],),
        "subprocess.getoutput": (shell,),
        "builtins.exec": (code,),
        "builtins.eval": (code,),
        "__builtin__.eval": (code,),
        "builtins.open": (here, "w"),
        "io.open": (here, "w"),
        "_io.FileIO": (here, "w"),
        "runpy._run_code": (code, Raw(b"}")),
        "timeit.timeit": ("pass", code),
        "timeit.repeat": ("pass", code),
        "cProfile.run": (code,),
        "profile.run": (code,),
        "pty.spawn": (["touch", here],),
        "multiprocessing.util.spawnv_passfds": (b"/usr/bin/touch", ["touch", here], ()),
        "distutils.spawn.spawn": (["touch", here],),
        "logging.FileHandler": (here,),
        "shutil.copyfile": (str(script), here),
        "zipfile.ZipFile": (here, "w"),
        "numpy.testing._private.utils.runstring": (code, Raw(b"}")),
        "numpy.f2py.crackfortran.myeval": (code, Raw(b"}"), Raw(b"}")),
        "numpy.savetxt": (here, [1]),
        "numpy.memmap": (here, "uint8", "w+", 0, (1,)),
        "torch.jit.unsupported_tensor_ops.execWrapper": (code, Raw(b"}"), Raw(b"}")),
        "torch.utils.collect_env.run": (shell,),
        "torch.save": (1, here),
        "pickle.loads": (whole(system),),
        "_pickle.loads": (whole(system),),
        "torch.storage._load_from_bytes": (whole(system),),
        "torch.utils.data.datapipes.utils.decoder.basichandlers": ("pickle", whole(system)),
    }
    for full, arguments in simple.items():
        module, _, attribute = full.rpartition(".")
        yield full, whole(call(name(module, attribute), *arguments))
        if module != "__builtin__":  # which is a name of Python 2, and of the protocols that it wrote
            yield f"{full} by stack", whole(call(Raw(b"\x80\x04" + put(module) + put(attribute) + b"\x93"), *arguments))
    for full in ("runpy.run_path", "torch._inductor.runtime.compile_tasks._reload_python_module"):
        module, _, attribute = full.rpartition(".")
        arguments = (str(script),) if module == "runpy" else ("key", str(script))
        beside = call(name("os", "mkdir"), f"{here}.wanted")
        yield full, whole(beside + b"0" + call(name(module, attribute), *arguments))
    yield "dotted names", whole(call(name("os", "path.os.system"), shell))
    yield "dotted path", whole(call(name("pathlib", "Path.touch"), call(name("pathlib", "PosixPath"), here)))
    got = call(name("builtins", "getattr"), call(name("builtins", "__import__"), "os"), "system")
    yield "getattr", whole(call(got, shell))
    imported = call(name("importlib", "import_module"), "os")
    yield "methodcaller", whole(call(call(name("operator", "methodcaller"), "system", shell), imported))
    yield "attrgetter", whole(call(call(call(name("operator", "attrgetter"), "system"), imported), shell))
    yield "partial", whole(call(call(name("functools", "partial"), name("os", "system"), shell)))
    yield "map", whole(call(name("builtins", "list"), call(name("builtins", "map"), name("os", "system"), [shell])))
    compiled = call(name("marshal", "loads"), marshal.dumps(compile(code, "-", "exec")))
    yield "marshal", whole(call(call(name("types", "FunctionType"), compiled, Raw(b"}"))))
    yield "INST", b"(" + put(shell) + b"ios\nsystem\n."
    yield "OBJ", b"(" + name("os", "system") + put(shell) + b"o."
    namespace = call(name("types", "SimpleNamespace"))
    yield "BUILD", whole(built(Raw(namespace + b"}" + put("__setstate__") + name("os", "system") + b"sb"), shell))
    yield (
        "EXT1",
        whole(call(name("copyreg", "add_extension"), "os", "system", 77) + b"0\x82\x4d" + put((shell,)) + b"R"),
    )
    yield (
        "EXT4",
        whole(
            call(name("copyreg", "add_extension"), "os", "mkdir", 1 << 20)
            + b"0\x84"
            + struct.pack("<i", 1 << 20)
            + put((here,))
            + b"R"
        ),
    )
    yield "memo", whole(name("os", "system") + b"p7\n0" + put(shell) + b"\x85q\x080g7\nh\x08R")
    yield (
        "names from the memo",
        b"\x80\x04" + put("os") + b"\x940" + put("system") + b"\x940h\x00h\x01\x93" + put((shell,)) + b"R.",
    )
    yield "framed", b"\x80\x04\x95" + struct.pack("<Q", len(whole(system))) + whole(system)
    yield "bytes behind", whole(system) + b"\xff7z\xbc\xaf\x27\x1c"
    yield "no end", system
    yield "an unknown opcode behind", system + b"\xff."
    yield "within a list", whole(put([1, [system], "a"]))
    yield "as a key", whole(b"}" + system + put(1) + b"s")
    yield "text opcodes", b"cos\nsystem\n(S'" + shell.encode() + b"'\ntR."
    yield "hooks", whole(call(name("torch._utils", "_rebuild_parameter"), 1, False, system))
    yield (
        "a type's function",
        whole(
            call(
                name("torch._tensor", "_rebuild_from_type_v2"),
                name("os", "system"),
                name("torch", "Tensor"),
                (shell,),
                None,
            )
        ),
    )
    yield (
        "object array",
        whole(
            built(
                call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), (0,), b"b"),
                (1, (1,), call(name("numpy", "dtype"), "O8", False, True), False, [system]),
            )
        ),
    )
    yield (
        "object scalar",
        whole(call(name("numpy.core.multiarray", "scalar"), call(name("numpy", "dtype"), "O8", False, True), system)),
    )
    nested = whole(system)
    for _ in range(4):
        nested = whole(call(name("pickle", "loads"), nested))
    yield "pickles in pickles", nested


def elsewhere() -> Iterator[tuple[str, bytes]]:
    """Ways to code that end elsewhere: in a net, a window, a person's hands, another system, other libraries."""
    for full, arguments in {
        "nt.system": ("calc.exe",),
        "__builtin__.eval": ("1",),
        "pdb.run": ("1",),
        "doctest.debug_script": ("1",),
        "webbrowser.open": ("http://127.0.0.1:9/",),
        "urllib.request.urlopen": ("http://127.0.0.1:9/",),
        "socket.create_connection": (("127.0.0.1", 9),),
        "torch.hub.load": ("owner/repository", "model"),
        "torch.hub.load_state_dict_from_url": ("http://127.0.0.1:9/",),
        "torch.jit.load": ("model.pt",),
        "torch.load": ("model.pt",),
        "torch.package.PackageImporter": ("model.pt",),
        "torch._inductor.codecache.compile_file": ("a.cpp", "a.so", ["touch a"]),
        "torch.utils.cpp_extension.load_inline": ("name", "int main() {}"),
        "asyncio.unix_events._UnixSubprocessTransport._start": (),
        "bdb.Bdb.run": ("1",),
        "code.InteractiveInterpreter.runcode": ("1",),
        "idlelib.run.Executive.runcode": ("1",),
        "lib2to3.pgen2.grammar.Grammar.loads": (b"N.",),
        "ensurepip._run_pip": (["--version"],),
        "ctypes.CDLL": ("evil.so",),
        "sys.exit": (1,),
        "os._exit": (1,),
        "os.kill": (1, 9),
        "os.abort": (),
        "signal.raise_signal": (9,),
        "gc.get_objects": (),
        "builtins.compile": ("1", "-", "eval"),
        "builtins.type": ("A", (), Raw(b"}")),
        "numpy.load": ("model.npy", None, True),
        "numpy.fromfile": ("/etc/passwd",),
        "numpy.core.multiarray.fromstring": ("1",),
        "joblib.load": ("model.joblib",),
        "dill._dill._load_type": ("CodeType",),
        "cloudpickle.loads": (b"N.",),
        "_codecs.encode": ("a", "rot13"),
        "_codecs.decode": (zlib.compress(bytes(1 << 20)), "zlib_codec"),
    }.items():
        module, _, attribute = full.rpartition(".")
        yield full, whole(call(Raw(b"\x80\x04" + put(module) + put(attribute) + b"\x93"), *arguments))
    yield "an import by an encoding", whole(call(name("_codecs", "encode"), "a", "antigravity"))
    yield "an import by punycode", whole(call(name("_codecs", "encode"), "a", "mbcs"))
    yield "persistent id", b"P../../etc/passwd\n."
    yield "persistent object", whole(put(("module", name("os", "system"), "a", "b")) + b"Q")
    yield "a new object", whole(name("subprocess", "Popen") + put((["true"],)) + b"\x81")
    yield "a new object with words", whole(name("subprocess", "Popen") + put((["true"],)) + b"}\x92")
    yield "a state for a type", whole(built(name("numpy", "dtype"), Raw(b"}")))
    yield (
        "defaults of a function",
        whole(built(name("_codecs", "encode"), (None, Raw(b"}" + put("__defaults__") + b"Ns")))),
    )
    state = (3, "|", None, ("a",), Raw(b"}" + put("a") + put((name("numpy", "float64"), 0)) + b"s"), 8, 1, 0)
    yield "a type made to hold objects", whole(built(call(name("numpy", "dtype"), "i8", False, True), state))
    yield "a buffer from outside", b"\x80\x05\x97."
    yield "7z", b"7z\xbc\xaf\x27\x1c" + bytes(50)


#: Of `bombs`, pickles of plain values, however they are nested: what walks through them must not.
PLAIN = (
    *("a billion laughs", "laughs in a ground truth", "lists deeper than the stack", "a memo place"),
    *("an array of any length", "keys of one hash"),
)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that ask for much time or memory, or for memory that is not theirs."""
    laughs = put([1]) + b"q\x00"
    for level in range(1, 60):
        laughs += b"0" + put([Raw(b"h" + bytes([level - 1])) for _ in range(10)]) + b"q" + bytes([level])
    yield "a billion laughs", whole(laughs)
    yield (
        "laughs in a ground truth",
        whole(
            laughs
            + b"0}"
            + put("imlist")
            + put(["a"])
            + b"s"
            + put("qimlist")
            + put(["q"])
            + b"s"
            + put("gnd")
            + b"(}"
            + put("easy")
            + b")s"
            + put("hard")
            + b")s"
            + put("junk")
            + b")s"
            + put("bbx")
            + b"h\x3bsls"
        ),
    )
    tuples = b")q\x00" + b"".join(b"0h" + bytes([n]) + b"2\x86q" + bytes([n + 1]) for n in range(60))
    yield "a key that takes for ever to hash", whole(b"}" + tuples + b"Ns")
    yield "a key deeper than the stack", whole(b"}" + b")" + b"\x85" * 100_000 + b"Ns")
    yield "an element deeper than the stack", whole(b"\x8f(" + b")" + b"\x85" * 100_000 + b"\x90")
    yield "lists deeper than the stack", whole(b"]" * 100_000 + b"a" * 99_999)
    yield (
        "keys of one hash",
        whole(b"}(" + b"".join(put(n * sys.hash_info.modulus) + b"N" for n in range(20_000)) + b"u"),
    )
    yield "a memo place", b"\x80\x04Nr\xff\xff\xff\x7f."
    yield "a number of 2 GB", b"\x80\x02\x8b\xff\xff\xff\x7f."
    yield "a number of a million digits", b"I" + b"9" * 1_000_000 + b"\n."
    yield "a hexadecimal number", b"L0x" + b"f" * 1_000_000 + b"\n."
    for opcode, width in ((b"B", 4), (b"X", 4), (b"T", 4), (b"\x8e", 8), (b"\x8d", 8), (b"\x96", 8), (b"\x95", 8)):
        for length in (1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1):
            if length < 1 << 8 * width:
                yield f"{length} bytes by {opcode!r}", b"\x80\x05" + opcode + length.to_bytes(width, "little") + b"a."
    yield (
        "copies of one text",
        whole(
            b"("
            + put("a" * 100_000)
            + b"q\x00"
            + b"".join(call(name("_codecs", "encode"), Raw(b"h\x00"), "latin1") for _ in range(20_000))
            + b"l"
        ),
    )
    for kind in ("bytearray", "bytes", "range", "list"):
        yield f"a {kind} of any length", whole(call(name("builtins", kind), 1 << 40))
    reconstructed = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), (1 << 40,), b"b")
    yield "an array of any length", whole(reconstructed)
    kind = call(name("numpy", "dtype"), "f8", False, True)
    for shape in ((1 << 40,), (-1,), (1 << 32, 1 << 32), (1 << 40, 0), (2,) * 100):
        yield f"an array of shape {shape}"[:60], whole(built(reconstructed, (1, shape, kind, False, b"")))
        yield (
            f"a buffer of shape {shape}"[:60],
            whole(call(name("numpy.core.numeric", "_frombuffer"), b"", kind, shape, "C")),
        )
    yield (
        "text of any length",
        whole(call(name("numpy.core.multiarray", "scalar"), call(name("numpy", "dtype"), "U999999999"), b"")),
    )


#: The two numbers of `assembly.zipped`.
TWO = Raw(STORAGE)


def tensors() -> Iterator[tuple[str, bytes]]:
    """Pickles for files of torch: tensors beyond their memory, and kinds that check nothing."""

    def state(value: Raw) -> bytes:
        return whole(b"}" + put("weight") + value + b"s")

    hooks = call(name("collections", "OrderedDict"))
    storage = TWO
    for offset, size, stride in (
        *((-1, (2,), (1,)), (0, (-2,), (1,)), (1, (2,), (-1,)), (0, (3,), (1,)), (2, (1,), (1,)), (0, (2,), ())),
        *(
            (0, (1 << 40,), (0,)),
            (0, (1 << 32, 1 << 32), (0, 0)),
            (0, (2, 2), (1 << 62, 1 << 62)),
            (1 << 63, (1,), (1,)),
        ),
        *((0, (1 << 31, 1 << 31, 4), (0, 0, 0)), (0, (2,) * 100, (0,) * 100)),
    ):
        for function in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            more = (False, hooks) if function.endswith("v2") else ()
            yield (
                f"{function} of {offset}, {size}, {stride}"[:80],
                state(call(name("torch._utils", function), storage, offset, size, stride, *more)),
            )
    for count in (1 << 40, -1, (1 << 63) - 1, 1 << 62):
        yield (
            f"a storage of {count}",
            state(Raw(put(("storage", name("torch", "FloatStorage"), "0", "cpu", count)) + b"Q")),
        )
    for key in ("../../../etc/passwd", "0/../0", "\0", "1"):
        yield (
            f"a storage called {key!r}",
            state(Raw(put(("storage", name("torch", "FloatStorage"), key, "cpu", 2)) + b"Q")),
        )
    for kind in ("Tensor", "FloatTensor", "FloatStorage", "BoolTensor"):
        yield f"{kind} of any size", state(call(name("torch", kind), 1 << 40))
    size = call(name("torch", "Size"), (1 << 40,))
    double, meta = name("torch", "float64"), call(name("torch", "device"), "meta")
    dense = call(name("torch._utils", "_rebuild_tensor_v2"), storage, 0, (2,), (1,), False, hooks)
    for function, arguments in {
        "_rebuild_nested_tensor": (dense, dense, dense, dense),
        "_rebuild_qtensor": (storage, 0, (1 << 30,), (1,), (name("torch", "per_tensor_affine"), 1.0, 0), False, hooks),
        "_rebuild_sparse_tensor": (name("torch", "sparse_coo"), (dense, dense, size)),
        "_rebuild_meta_tensor_no_storage": (double, (1 << 40,), (1,), False),
        "_rebuild_wrapper_subclass": (name("torch", "Tensor"), double, (1 << 40,), (1,), 0, None, meta, False),
        "_rebuild_device_tensor_from_numpy": (1, double, "cuda", False),
        "_rebuild_device_tensor_from_cpu_tensor": (dense, double, "meta", False),
        "_rebuild_parameter_with_state": (1, False, hooks, Raw(b"}" + put("data") + put(1) + b"s")),
    }.items():
        yield function, state(call(name("torch._utils", function), *arguments))
    yield "a state for a tensor", state(built(dense, (storage, -1, (2,), (1,))))
    yield "a quantised type", state(Raw(put(("storage", name("torch", "QInt8Storage"), "0", "cpu", 8)) + b"Q"))
