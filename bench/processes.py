"""Several processes that make the same steps, each doing its share: `torchrun --nproc-per-node N -m bench.train`.

Works over gloo on CPUs and over nccl on GPUs. Process 0 decides, validates and writes.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bench.errors import BenchError
from bench.others import alone

T = TypeVar("T")

#: How long one process waits for another that is alive: validation, and what is prepared, take less. One that has died
#: is noticed at once, by gloo or by torchrun.
TIMEOUT = timedelta(hours=4)


@dataclass(frozen=True)
class Crew:
    """This process among `count` of them. Alone, it waits for nobody."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes, in the place of `values`."""
        if self.count > 1:
            with _noticing():
                dist.all_reduce(values)
        return values

    def alike(self, values: Iterable[Tensor]) -> None:
        """Puts those of process 0 in their place."""
        if self.count > 1:
            with _noticing():
                for one in values:
                    dist.broadcast(one, src=0)

    def told(self, value: T) -> T:
        """What process 0 says."""
        said = [value]
        if self.count > 1:
            with _noticing():
                dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0]

    def gathered(self, value: T) -> list[T]:
        """What every process says, in the order of their ranks."""
        said: list[Any] = [value]
        if self.count > 1:
            said = [None] * self.count
            with _noticing():
                dist.all_gather_object(said, value)
        return said

    def heard(self, *said: bool) -> tuple[bool, ...]:
        """Which of these at least one process says."""
        return tuple(self.summed(torch.tensor(said, dtype=torch.int64)).bool().tolist()) if self.count > 1 else said

    def alone(self, path: Path, what: str) -> AbstractContextManager[None]:
        """`alone` for all of them: process 0 holds the lock, and the others wait for what it says next."""
        return alone(path, what) if self.first else nullcontext()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Process 0 goes through the block first: what it has put into the cache, the others find there."""
        if not self.first:
            self.told(None)
        yield
        if self.first:
            self.told(None)

    @contextmanager
    def interruption(self) -> Iterator[Callable[[], bool]]:
        """Whether this process was interrupted, for all to stop at one step; one alone stops at once, as ever."""
        if self.count == 1:
            yield lambda: False
            return
        asked: list[Any] = []
        before = signal.signal(signal.SIGINT, lambda *given: asked.append(given))
        try:
            yield lambda: bool(asked)
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def joined(device: str, *, alone: bool = False) -> Iterator[Crew]:
    """The processes that torchrun has started, this one among them.

    device: of this process. alone: makes a group even of one process, which DeepSpeed asks for and keeps.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    if count == 1:
        if alone and not dist.is_initialized():
            # DeepSpeed takes its device from there
            os.environ.update({"RANK": "0", "LOCAL_RANK": str(torch.device(device).index or 0), "WORLD_SIZE": "1"})
            store = dist.HashStore()  # type: ignore[attr-defined]  # torch lists it nowhere
            dist.init_process_group(backend, rank=0, world_size=1, store=store)
            atexit.register(dist.destroy_process_group)
        yield Crew()
        return
    rank = int(os.environ["RANK"])
    dist.init_process_group(backend, timeout=TIMEOUT, rank=rank, world_size=count)
    yield Crew(rank, count)
    dist.destroy_process_group()  # not after an error: others may be waited for that are gone


def device_for(asked: str | None) -> str:
    """The device of this process, a GPU of its own among several; None: a GPU where there is one.

    BenchError for one that is not there.
    """
    name = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    several, number = int(os.environ.get("WORLD_SIZE", "1")) > 1, int(os.environ.get("LOCAL_RANK", "0"))
    if name == "cuda":
        name = f"cuda:{number}"
    elif several and name != "cpu":
        raise BenchError(f"--device {name} for several processes", wanted="cpu or cuda", cure="Each takes its own GPU.")
    kind, _, place = name.partition(":")
    if name != "cpu" and not (kind == "cuda" and place.isdigit() and int(place) < torch.cuda.device_count()):
        raise BenchError(
            f"--device {name}, of {torch.cuda.device_count()} GPUs",
            wanted="cpu, or a CUDA device that is there",
            cure="Pass --device cpu, or start fewer processes.",
        )
    if kind == "cuda":
        torch.cuda.set_device(int(place))
    return name


def share_of_cores(cores: int) -> int:
    """Threads of each process on this machine."""
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def unbroken() -> Iterator[None]:
    """An interruption within the block comes at its end: what changes together there is not saved by halves."""
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    came: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


@contextmanager
def _noticing() -> Iterator[None]:
    """BenchError when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise BenchError(
            f"another process is gone ({str(error).splitlines()[0]})",
            wanted="all of them, until the end",
            cure="See what it said; the same command goes on from the last saving.",
        ) from error
