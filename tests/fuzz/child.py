"""Feeds bytes to readers, under watch, in processes that may die of it: `python -m tests.fuzz.child`.

It imports everything, which takes seconds, then forks for each job whose file a line of its standard input names, and
answers how that process ended. Each input lies in a file before it is read, and is counted: so it is known what kills.
"""

from __future__ import annotations

import codecs
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.reading import REFUSALS, Reader, edit
from tests.fuzz.watch import HANG_S, Watch

#: Longest input, as a multiple of the longest seed.
GROWTH = 4
#: What zip files and pickles write text in; Python imports them when they are first met.
ENCODINGS = ("cp437", "latin1", "raw_unicode_escape", "utf-8-sig", "utf-16", "utf-32")


@dataclass(frozen=True)
class Job:
    """What one process is to try. engine: one of ENGINES. inputs: how many. folder: its own, for inputs and counts."""

    reader: str
    engine: str
    inputs: int
    seed: int
    folder: str

    @property
    def input_file(self) -> Path:
        """The last input that was tried: a link to the file that the reader reads."""
        return Path(self.folder) / "input"

    @property
    def findings_file(self) -> Path:
        """JSON lines of `Finding`s."""
        return Path(self.folder) / "findings.jsonl"

    @property
    def count_file(self) -> Path:
        return Path(self.folder) / "count"

    def write(self) -> Path:
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(asdict(self)), encoding="utf8")
        return path


@dataclass(frozen=True)
class Finding:
    """What a reader did that it must not. input: hexadecimal."""

    what: str
    input: str


class Trial:
    """One reader in this process."""

    def __init__(self, job: Job, reader: Reader) -> None:
        self.job, self.reader = job, reader
        self.box = Path(job.folder) / "box"
        self.box.mkdir(exist_ok=True)
        reader.prepare(self.box)
        self.path = self.box / reader.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.seeds = list(reader.seeds(self.box))
        self.most = GROWTH * max(map(len, self.seeds))
        self.tried = 0
        for content in self.seeds:  # each is read whole; and what is imported late is imported now
            self._read(content)
        job.input_file.unlink(missing_ok=True)
        job.input_file.symlink_to(self.path)
        self.watch = Watch(self.box)
        self.count = job.count_file.open("r+b" if job.count_file.exists() else "w+b", buffering=0)
        self.known: set[str] = set()

    def one(self, content: bytes) -> None:
        """Reads `content`; what must not happen is written down."""
        self.tried += 1
        os.pwrite(self.count.fileno(), b"%d" % self.tried, 0)
        found = None
        signal.setitimer(signal.ITIMER_REAL, HANG_S)  # ends this process
        try:
            with self.watch:
                self._read(content)
        except REFUSALS:
            pass
        except Exception as error:
            found = f"{type(error).__name__} from {_origin(error)}: {str(error)[:200]}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for what in (found, *self.watch.complaints()):
            if what is not None and (key := what.partition(":")[0]) not in self.known:
                self.known.add(key)
                with self.job.findings_file.open("a", encoding="utf8") as file:
                    file.write(json.dumps(asdict(Finding(what, content.hex()))) + "\n")

    def _read(self, content: bytes) -> None:
        with self.path.open("wb", buffering=0) as file:
            file.write(content)
        self.reader.read(self.path)


def _origin(error: Exception) -> str:
    """The last line of ours that it came through, else the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if "/bench/" in one.filename or "/rerankers/" in one.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def by_hypothesis(trial: Trial) -> None:
    """Edits of seeds as hypothesis draws them."""

    @seed(trial.job.seed)
    @settings(
        max_examples=trial.job.inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(trial.seeds), st.randoms(use_true_random=True), st.sampled_from((edit, trial.reader.mutate)))
    def try_one(content: bytes, rng: random.Random, mutate: Callable[[bytes, random.Random], bytes]) -> None:
        trial.one(mutate(content, rng))

    try_one()


def by_atheris(trial: Trial) -> None:
    """Whatever leads to lines that were not run before; libFuzzer counts the runs, and ends the process."""
    import atheris

    corpus = Path(trial.job.folder) / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(trial.seeds):
        (corpus / f"seed-{number}").write_bytes(content)

    def mutate(content: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        how = rng.random()
        if how < 0.5:
            return trial.reader.mutate(content, rng)[:most]
        return edit(content, rng)[:most] if how < 0.75 else atheris.Mutate(content, most)

    command = [
        sys.argv[0],
        str(corpus),
        f"-runs={trial.job.inputs}",
        f"-seed={trial.job.seed}",
        f"-max_len={trial.most}",
        "-timeout=0",
        "-rss_limit_mb=0",
        "-reload=0",
        "-verbosity=0",
        "-print_final_stats=0",
        f"-artifact_prefix={corpus}/",
    ]
    atheris.Setup(command, trial.one, custom_mutator=mutate, enable_python_coverage=True)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    atheris.Fuzz()


def replayed(trial: Trial) -> None:
    """The input that lies in the folder, once."""
    trial.one((Path(trial.job.folder) / "replay").read_bytes())


ENGINES: dict[str, Callable[[Trial], None]] = {"hypothesis": by_hypothesis, "atheris": by_atheris, "replay": replayed}


def instrumented() -> AbstractContextManager[object]:
    """While it is entered, imports are made such that atheris sees which lines run, where there is atheris."""
    try:
        import atheris
    except ImportError:
        return nullcontext()
    rooms = ["bench", "rerankers", "zipfile", "tarfile", "pickle"]
    found: AbstractContextManager[object] = atheris.instrument_imports(include=rooms, enable_loader_override=False)
    return found


def work(job_file: str) -> None:
    """One job, all of this process."""
    from tests.fuzz.readers.every import READERS

    job = Job(**json.loads(Path(job_file).read_text(encoding="utf8")))
    with (Path(job.folder) / "log").open("wb") as log, Path(os.devnull).open("rb") as nothing:
        for stream, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(stream.fileno(), number)
    ENGINES[job.engine](Trial(job, READERS[job.reader]))


def main() -> None:
    with instrumented():
        import tests.fuzz.readers.every  # noqa: F401
    for name in ENCODINGS:
        codecs.lookup(name)
    for line in sys.stdin:
        if child := os.fork():
            sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
            sys.stdout.flush()
            continue
        code = 1
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        try:
            work(line.strip())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


if __name__ == "__main__":
    main()
