from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.measure.process import run_isolated, says_out_of_memory

MIB = 1 << 20
HERE = Path(__file__).parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or needs RLIMIT_DATA or F_SETSIG")


@pytest.fixture(autouse=True)
def _targets(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def isolated(name, payload=None, **options):
    options.setdefault("timeout_s", 60)
    return run_isolated(f"isolated_targets:{name}", payload or {}, **options)


def lock_is_free(path):
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_result_comes_back_whatever_the_child_prints():
    outcome = isolated("echo", {"a": [1, None, "é"], "b": 0.1})
    assert outcome.ok and outcome.status == "ok" and outcome.reason == ""
    assert outcome.result == {"payload": {"a": [1, None, "é"], "b": 0.1}, "stdin": ""}
    assert "noise on stdout" in outcome.log_tail and "noise on stderr" in outcome.log_tail
    assert 0 < outcome.wall_s < 60


def test_results_and_payloads_larger_than_any_pipe():
    outcome = isolated("large", {"length": 3_000_000, "ballast": "y" * 1_000_000})
    assert outcome.result == "x" * 3_000_000


def test_progress_arrives_in_order():
    seen = []
    outcome = isolated("steps", {"steps": 300}, on_progress=lambda *said: seen.append(said))
    assert outcome.ok and outcome.result is None
    assert seen == [(step, 300, f"step {step}") for step in range(1, 301)]


def test_exceptions_come_back_with_the_whole_message():
    outcome = isolated("bench_error")
    assert outcome.status == "failed"
    assert outcome.reason == ("BenchError: a gallery of 0 images; wanted at least one. Pass a folder with images.")
    assert "Traceback" in outcome.log_tail


@pytest.mark.parametrize(
    ("name", "payload", "status", "reason"),
    [
        ("leave", {"code": 3}, "failed", "SystemExit: 3"),
        ("leave", {"code": 0}, "failed", "SystemExit: 0"),
        ("leave_at_once", {"code": 0}, "crashed", "exited with code 0 before it gave a result"),
        ("leave_at_once", {"code": 7}, "crashed", "exited with code 7 before it gave a result"),
        ("kill_self", {"signal": "SIGSEGV"}, "crashed", "killed by SIGSEGV before it gave a result"),
        ("segfault", {}, "crashed", "killed by SIGSEGV before it gave a result"),
        (
            *("kill_self", {"signal": "SIGKILL"}, "memory"),
            "killed by SIGKILL, as the kernel does when the machine is out of memory",
        ),
        ("unspeakable", {}, "failed", r"ValueError: caf\udce9 \x1b[31m"),
        ("speechless", {}, "failed", "Mute"),
        ("close_all", {}, "crashed", "exited with code 1 before it gave a result"),
        ("become_another", {}, "crashed", "closed its channel to this process before it gave a result"),
        ("babble", {}, "crashed", "something else than a result came from it"),
        ("unserialisable", {}, "failed", "TypeError: Object of type set is not JSON serializable"),
        ("nothing", {}, "failed", "AttributeError: module 'isolated_targets' has no attribute 'nothing'"),
    ],
)
def test_every_other_end_has_a_status_and_a_reason(name, payload, status, reason):
    outcome = isolated(name, payload)
    assert (outcome.status, outcome.reason, outcome.result) == (status, reason, None)
    assert not outcome.ok


def test_the_tail_of_the_log_is_kept():
    assert isolated("leave_at_once", {"code": 1}).log_tail.endswith("last words\n")


def test_a_module_that_is_not_there():
    outcome = run_isolated("no_such_module:run", {}, timeout_s=60)
    assert (outcome.status, outcome.reason) == ("failed", "ModuleNotFoundError: No module named 'no_such_module'")


@linux
def test_a_fork_that_outlives_the_child_does_not_hold_things_up():
    outcome = isolated("leave_a_fork")
    assert (outcome.status, outcome.reason) == ("crashed", "exited with code 5 before it gave a result")
    assert outcome.wall_s < 30


@linux
def test_what_has_left_the_group_ends_with_the_child(tmp_path):
    lock = tmp_path / "lock"
    outcome = isolated("leave_a_daemon", {"lock": str(lock)})
    assert (outcome.status, outcome.reason) == ("crashed", "exited with code 5 before it gave a result")
    assert wait_for(lambda: lock_is_free(lock))


def test_a_reason_is_not_endless():
    outcome = isolated("verbose")
    assert outcome.reason.startswith("ValueError: yyy") and outcome.reason.endswith("y [...]")
    assert len(outcome.reason) < 1100


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EAGAIN])
def test_a_system_that_starts_no_process(monkeypatch, code):
    def refuses(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("subprocess.Popen" if code == errno.EAGAIN else "tempfile.TemporaryFile", refuses)
    with pytest.raises(BenchError, match=rf"cannot start a process \({os.strerror(code)}\); wanted .*goes on"):
        isolated("echo")


@linux
def test_an_allocation_over_the_limit_is_out_of_memory():
    within = isolated("allocate", {"bytes": 64 * MIB}, memory_limit_bytes=256 * MIB)
    over = isolated("allocate", {"bytes": 512 * MIB}, memory_limit_bytes=256 * MIB)
    assert within.result == 64 * MIB
    assert (over.status, over.reason) == ("memory", "out of memory: MemoryError (under a limit of 0.25 GiB)")


def test_libraries_that_say_it_in_their_own_words():
    assert says_out_of_memory("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    assert says_out_of_memory("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    assert says_out_of_memory("terminate called after throwing an instance of 'std::bad_alloc'")
    assert not says_out_of_memory("ValueError: wanted 3 numbers")


def test_time_limit_kills_the_child_and_what_it_started(tmp_path):
    lock = tmp_path / "lock"
    outcome = isolated("hold", {"lock": str(lock)}, timeout_s=1.5)
    assert (outcome.status, outcome.reason) == ("timeout", "no result after 1.5 s")
    assert 1.5 <= outcome.wall_s < 20
    assert wait_for(lambda: lock_is_free(lock))


def test_interrupt_kills_the_child_and_goes_on(tmp_path):
    lock = tmp_path / "lock"

    def interrupt(*_):
        assert not lock_is_free(lock)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        isolated("hold", {"lock": str(lock)}, on_progress=interrupt)
    assert wait_for(lambda: lock_is_free(lock))


@pytest.mark.parametrize(
    "how", ["asleep", *(pytest.param(how, marks=linux) for how in ("holding the interpreter", "stopped"))]
)
def test_the_child_dies_with_its_parent(tmp_path, how):
    payload = {"lock": str(lock := tmp_path / "lock"), "how": how}
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from bench.measure import run_isolated\n"
        f"run_isolated('isolated_targets:hold', {payload!r}, timeout_s=60,"
        " on_progress=lambda *said: print(said, flush=True))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with parent:
        assert b"held" in parent.stdout.readline()
        time.sleep(0.2)  # so that it does what it has told
        assert not lock_is_free(lock)
        os.kill(parent.pid, signal.SIGKILL)
    assert wait_for(lambda: lock_is_free(lock))


@linux
def test_a_child_whose_parent_was_gone_before_it_came():
    ours, theirs = os.pipe()
    os.close(theirs)
    command = [sys.executable, "-m", "bench.measure.worker", "no channel", "no job"]  # it does not come to ask for them
    with os.fdopen(ours) as stdin:
        assert subprocess.run(command, stdin=stdin, start_new_session=True).returncode == -signal.SIGKILL


def test_a_result_stands_though_the_child_does_not_leave(monkeypatch):
    monkeypatch.setattr("bench.measure.process.GRACE_S", 0.2)
    outcome = isolated("linger")
    assert (outcome.status, outcome.result) == ("ok", "done")
    assert outcome.wall_s < 30


@linux
def test_the_child_of_a_fat_parent_is_thin():
    ballast = b"x" * (300 * MIB)
    outcome = isolated("resident")
    assert len(ballast) == 300 * MIB
    assert 4 * MIB < outcome.result < 60 * MIB


def test_threads_are_one_number_for_every_library():
    said = isolated("threads", threads=1).result
    assert {"torch", "cv2", "faiss"} < set(said)
    assert set(said.values()) == {1}


def test_the_worker_imports_nothing_heavy():
    loaded = set(isolated("modules").result)
    assert "bench.measure.worker" not in loaded  # it runs as __main__, once
    assert not loaded & {"torch", "numpy", "cv2", "deepspeed", "rerankers"}


def test_environment_is_passed_on():
    assert isolated("environment", {"name": "MEASURED"}, env={"MEASURED": "yes"}).result == "yes"


@pytest.mark.parametrize(
    ("target", "payload", "options"),
    [
        ("module.function", {}, {}),
        ("module:function", {"path": Path()}, {}),
        ("module:function", {}, {"timeout_s": 0}),
        ("module:function", {}, {"threads": 0}),
    ],
)
def test_what_cannot_be_run_is_refused(target, payload, options):
    with pytest.raises(BenchError, match="wanted"):
        run_isolated(target, payload, **{"timeout_s": 5, **options})
