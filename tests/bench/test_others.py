from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from bench.errors import BenchError
from bench.others import alone
from tests.support import ROOT

HOLDER = """
    import signal, sys, time
    from pathlib import Path
    from bench.others import alone
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us in the background has it ignored
    with alone(Path(sys.argv[1]), "it"):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
"""


def held_by_another(lock, seconds):
    """A process that holds the lock for so long."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(lock), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_goes_with_the_block_and_leaves_nothing(tmp_path):
    lock = tmp_path / "deep" / ".lock"
    for _ in range(2):
        with alone(lock, "it"):
            assert lock.read_text().startswith(f"process {os.getpid()} on ")
        assert list(lock.parent.iterdir()) == []
    with pytest.raises(ValueError), alone(lock, "it"):
        raise ValueError
    assert list(lock.parent.iterdir()) == []


def test_a_second_process_says_who_is_at_work_and_waits(tmp_path, caplog):
    with held_by_another(tmp_path / ".lock", 1) as other, alone(tmp_path / ".lock", "records in here"):
        assert other.wait() == 0
        assert (tmp_path / ".lock").exists()
    assert f"records in here: at work on it is process {other.pid} on " in caplog.text


def test_a_killed_process_holds_nothing(tmp_path, caplog):
    with held_by_another(tmp_path / ".lock", 600) as other:
        other.send_signal(signal.SIGKILL)
        assert other.wait() == -signal.SIGKILL and (tmp_path / ".lock").exists()
    with alone(tmp_path / ".lock", "it"):
        assert str(other.pid) not in (tmp_path / ".lock").read_text()
    assert not caplog.text and not (tmp_path / ".lock").exists()


def test_of_many_that_wait_one_goes_at_a_time(tmp_path):
    writes = """
        import sys, time
        from pathlib import Path
        from bench.others import alone
        for _ in range(20):
            with alone(Path(sys.argv[1]) / ".lock", "it"):
                held = Path(sys.argv[1]) / "held"
                held.touch(exist_ok=False)
                time.sleep(0.001)
                held.unlink()
    """
    command = [sys.executable, "-c", textwrap.dedent(writes), str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.communicate()[1].count("Error") == 0 and process.returncode == 0


def test_an_interruption_ends_the_waiting(tmp_path):
    with held_by_another(tmp_path / ".lock", 600) as other:
        command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / ".lock"), "0"]
        waiting = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert "waiting for its end" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in waiting.communicate(timeout=60)[1]
        other.kill()


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    with caplog.at_level(logging.WARNING), alone(tmp_path / ".lock", "it"):
        assert "knows no locks" in caplog.text


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"), alone(tmp_path / "file" / ".lock", "it"):
        pass


def test_workers_leave_with_their_parent():
    program = """
        import multiprocessing, os, time
        from bench.others import leave_with_parent
        if __name__ == "__main__":
            pool = multiprocessing.get_context("fork").Pool(1, leave_with_parent)
            print(pool.apply(os.getpid), flush=True)
            time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 20
    while psutil.pid_exists(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE
