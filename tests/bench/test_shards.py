"""One cell over several processes: the same record, nothing lost with a process, and what is lost is named."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bench.cells import CellFailed
from bench.processes import Crew
from bench.results import Journal
from bench.shards import Shards, spoken
from tests.support import MINI, ROOT, by_name

COMMAND = ("--dataset", MINI, "--training", MINI, "--locals", "100", "--threads", "1", "--shortlist", "20")
TIMEOUT_S = 200


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def command(cache, records, rerankers, *, processes):
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    places = ["--cache", str(cache), "--records", str(records)]
    return [*start, "bench.accuracy", *COMMAND, "--rerankers", rerankers, *places]


def run(*arguments, **options):
    done = subprocess.run(
        command(*arguments, **options), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


RERANKERS = "none,ransac,sg-rerank,ames:rootsift"


def test_several_processes_give_what_one_gives(cache, tmp_path):
    run(cache, tmp_path / "one", RERANKERS, processes=1)
    said = run(cache, tmp_path / "two", RERANKERS, processes=2)
    one, two = by_name(tmp_path / "one"), by_name(tmp_path / "two")
    assert set(one) == set(two) and [record.status for record in two.values()].count("ok") == 3
    for name, record in two.items():
        assert record.scores_sha256 == one[name].scores_sha256 and record.series == one[name].series
        assert (record.status, record.reason) == (one[name].status, one[name].reason)
        assert record.provenance.command.startswith("torchrun --nproc-per-node 2 -m bench.accuracy --dataset")
    assert said.stdout.count("| ransac:affine") == 1  # one table, though two processes ran
    assert not list((cache / "unfinished").rglob("*.journal"))
    before = two["ransac:affine"].provenance.started_at
    run(cache, tmp_path / "two", RERANKERS, processes=2)
    assert by_name(tmp_path / "two")["ransac:affine"].provenance.started_at == before


def journals(cache):
    return sorted((cache / "unfinished").rglob("*.journal"))


def worker_of(parent, rank):
    """The process with this rank that torchrun has started."""
    for child in parent.children():
        try:
            if child.environ().get("RANK") == str(rank):
                return child
        except psutil.Error:
            continue
    return None


def test_a_lost_process_is_named_with_its_queries_and_the_rest_is_done_later(cache, tmp_path):
    run(cache, tmp_path / "whole", "none", processes=1)  # descriptors and lists, so that the queries come soon
    slow = "ransac:affine+blend=0.5/0.05"
    process = subprocess.Popen(
        command(cache, tmp_path / "lost", slow, processes=2), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    parent, until = psutil.Process(process.pid), time.monotonic() + TIMEOUT_S
    # once the second process works at its range, it is killed, and its child with it
    while len(journals(cache)) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    victim = worker_of(parent, 1)
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    said = process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode != 0
    assert re.search(r"process 1 is gone, which had queries 4 to 7", said), said
    assert by_name(tmp_path / "lost") == {}
    run(cache, tmp_path / "lost", slow, processes=1)
    run(cache, tmp_path / "whole", slow, processes=1)
    found, wanted = (by_name(tmp_path / folder)["ransac:affine+blend=0.5/0.05"] for folder in ("lost", "whole"))
    assert found.scores_sha256 == wanted.scores_sha256 and journals(cache) == []


class Alone(Crew):
    """Both ranges fall to one process that plays the first and hears the second."""

    def __init__(self, said):
        super().__init__(0, 2)
        object.__setattr__(self, "said", said)

    def told(self, value):
        return value

    def gathered(self, value):
        other = {tuple: ("elsewhere", 1), str: self.said, dict: {"2": "theirs", "3": "theirs"}}[type(value)]
        return [value, other]


def test_a_range_that_fails_is_named_and_what_was_done_is_kept(tmp_path):
    def work(journal, queries):
        done = Journal(journal, "heading")
        for query in queries:
            done.add(str(query), "ours")

    shards = Shards(Alone("out of memory"), tmp_path, "cell", "heading")
    with pytest.raises(CellFailed, match="^queries 2 to 3: out of memory$"):
        shards.run(4, work)
    kept = Journal(shards.first_journal, "heading").parts
    assert kept == {"0": "ours", "1": "ours", "2": "theirs", "3": "theirs"}
    asked = []
    Shards(Alone(""), tmp_path, "cell", "heading").run(6, lambda journal, queries: asked.extend(queries))
    assert asked == [4]
    shards.discard()
    assert list(tmp_path.iterdir()) == []


def test_journals_of_an_earlier_run_with_more_processes_count(tmp_path):
    Journal(tmp_path / "cell.3.journal", "heading").add("1", "theirs")
    Journal(tmp_path / "cell.2.journal", "another heading").add("0", "stale")
    asked = []
    shards = Shards(Crew(), tmp_path, "cell", "heading")
    shards.run(3, lambda journal, queries: asked.extend(queries))
    assert asked == [0, 2] and Journal(shards.first_journal, "heading").parts == {"1": "theirs"}


def test_ranges_in_words():
    assert spoken([]) == "no query" and spoken([3, 4, 5]) == "queries 3 to 5"
    assert spoken([3, 5, 9]) == "queries 3 to 9 (3 of them)"
