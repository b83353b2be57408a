"""Time per call once everything is warm: every side of a workload, verified, then interleaved round by round."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import wait_until_idle
from benchmarks.peers import peer_of
from benchmarks.worker import SideFailed, Worker
from benchmarks.workloads import Data, Workload, data_of, weight_names

ROUNDS = 41
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}
"""Of the largest entry, per result. For weights it is their *change* over the checked steps that is compared, which
float32 resolves to no better than about 1e-3: a step moves a weight by some thousand of its last digits."""


@dataclass
class Timings:
    """Seconds per call of each side, round by round, and why the sides that are missing are missing."""

    workload: Workload
    rounds: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def seconds(self, side: str) -> float:
        """The median of the rounds."""
        return median(self.rounds[side])

    def spread(self, side: str) -> tuple[float, float]:
        """The 10th and the 90th percentile of the rounds."""
        low, high = np.percentile(self.rounds[side], (10, 90))
        return float(low), float(high)

    def ratio(self, side: str, other: str) -> float:
        """The median over the rounds of the two sides' ratio in the same round, which a drifting machine cancels out of."""
        return median(a / b for a, b in zip(self.rounds[side], self.rounds[other], strict=True))

    def fastest(self, sides: Iterable[str]) -> str | None:
        """Which of `sides` has the lowest median; None where none was timed."""
        return min((s for s in sides if s in self.rounds), key=self.seconds, default=None)


def measure(workload: Workload, sides: Iterable[str], workers: dict[str, Worker], rounds: int = ROUNDS) -> Timings:
    """Build each side in its process, compare its numbers with the hand-written ones, and time all in turn."""
    timings = Timings(workload)
    numbers: dict[str, Data] = {}
    for side in sides:
        try:
            numbers[side] = _worker(side, workers).build(side, workload)
        except SideFailed as error:
            timings.missing[side] = str(error)
    reference = numbers.get("hand") or numbers.get("gradc")
    batches: dict[str, int] = {}
    for side, found in numbers.items():
        wrong = reference and disagreement(workload, found, reference)
        if wrong:
            timings.missing[side] = wrong
        else:
            batches[side] = _worker(side, workers).calibrate(side)
    timings.rounds = {side: [] for side in batches}
    for number in range(rounds):
        for side in _shuffled(list(batches), number):
            wait_until_idle()
            timings.rounds[side].append(_worker(side, workers).time(side, batches[side]))
    for worker in workers.values():
        worker.drop()
    return timings


def disagreement(workload: Workload, found: Data, reference: Data) -> str:
    """What is wrong with the numbers of a side, or nothing."""
    start = data_of(workload)
    weights = weight_names(start)
    for name, expected in reference.items():
        if name not in found:
            return f"gives no {name!r}"
        base = start[name] if name in weights else np.zeros(())
        got, want = (np.asarray(v, np.float64) - base for v in (found[name], expected))
        limit = TOLERANCE[str(expected.dtype)] * max(np.abs(want).max(), 1e-30)
        difference = np.abs(got - want).max() if got.shape == want.shape else np.inf
        if not difference <= limit:
            return f"wrong numbers: {name!r} is off by {difference:.3g}, more than {limit:.3g}"
    return ""


def _worker(side: str, workers: dict[str, Worker]) -> Worker:
    process = peer_of(side).process
    if process not in workers or not workers[process].alive:
        workers[process] = Worker(process)
    return workers[process]


def _shuffled(items: list[Any], number: int) -> list[Any]:
    """Another order each round: no side always follows the same one, and finds what that left in the caches."""
    return random.Random(number).sample(items, len(items))
