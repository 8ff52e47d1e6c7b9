"""A duel without processes: every re-ranker takes 10 ms and 100 MiB, with seeded noise, and planted changes show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.gate.duel import Failure, GateCell, Round, Side

MIB = 1 << 20
TURNS = 6


@dataclass
class FakeDuels:
    """Stands for `bench.gate.duel.duel`. failing: (re-ranker, side). noisy: numbers of duels with a disturbed round.

    unlucky: duels in which the head takes half as long again. stop_at: the duel that is interrupted.
    """

    failing: tuple[str, str] | None = None
    noisy: tuple[int, ...] = ()
    unlucky: tuple[int, ...] = ()
    stop_at: int | None = None
    spread: float = 0.01
    held: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, sides: Sequence[Side], cells: Sequence[GateCell], **_: Any) -> Iterator[Round | Failure]:
        number = len(self.held)
        if number == self.stop_at:
            raise KeyboardInterrupt
        self.held.append(tuple(cell.reranker for cell in cells))
        random = np.random.default_rng(number)
        for cell in cells:
            if self.failing and cell.reranker == self.failing[0]:
                yield Failure(reranker=cell.reranker, side=self.failing[1], reason="exited with code 7")
                continue
            yield Round(
                reranker=cell.reranker,
                samples_ms=tuple(self.turns(side, number, random) for side in sides),
                memory_bytes=tuple(int(100 * MIB * (1 + side.planted.get("memory", 0))) for side in sides),
                noise=tuple({"noisy": number in self.noisy} for _ in sides),
            )

    def turns(self, side: Side, number: int, random: np.random.Generator) -> tuple[float, ...]:
        factor = 1 + side.planted.get("slower", 0)
        if side.name == "head" and number in self.unlucky:
            factor *= 1.5
        return tuple(10 * factor * np.exp(random.normal(0, self.spread, TURNS)))
