"""Memory: what calls leave behind, and planned against measured bytes. `python -m benchmarks.memory [--calls SMALL STEP]`.

Exits with 1 when a call leaks, or when a plan is off by more than a hundredth of what NumPy was seen to take.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from benchmarks.allocations import counting
from benchmarks.peers import Side, builders
from benchmarks.peers.gradc_side import BUILDERS
from benchmarks.workloads import STEADY, Workload, data_of, workload_named

GROWTH_LIMIT = 1 << 20
PLAN_LIMIT = 0.01
WARM_CALLS = 5000


class Peak(NamedTuple):
    """Bytes of one call: what the plan says, what NumPy was seen to take, and the largest live set of the order."""

    planned: int
    measured: int
    live: int

    @property
    def error(self) -> float:
        """How far the plan is off, relative to the measured bytes."""
        return abs(self.planned - self.measured) / max(self.measured, 1)


def peak_of(workload: Workload) -> Peak:
    """One call of gradc's side of `workload`, its arena included, its feeds not."""
    executable, feeds = compiled(workload)
    executable(feeds)
    memory = executable.memory()
    program = executable._newest.program  # a bound copy made inside is counted from its arena on
    with counting() as counter:
        executable._newest.free[:] = [program.bind()]
        result = executable(feeds)
    del result
    return Peak(memory.peak, counter.peak, max(memory.live))


def torch_peak(workload: Workload) -> int | None:
    """The most bytes of tensors that one warm call of PyTorch's side holds at once; None where PyTorch is absent."""
    try:
        side = builders("torch")[workload.family](workload, data_of(workload))
        from torch import profiler
    except ImportError:
        return None
    for _ in range(3):
        side.call()
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        side.call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes), default=0)


def growth(workload: Workload, calls: int) -> tuple[int, int]:
    """Bytes gained over `calls` warm calls: resident, and traced by tracemalloc (in a second run, for it is slow)."""
    executable, feeds = compiled(workload)
    for _ in range(min(calls, WARM_CALLS)):
        executable(feeds)
    gc.collect()
    before = resident_bytes()
    for _ in range(calls):
        executable(feeds)
    gained = resident_bytes() - before
    tracemalloc.start()
    for _ in range(min(calls, WARM_CALLS)):  # CPython keeps up to 2,000 freed tuples of a size for later
        executable(feeds)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(calls):
        executable(feeds)
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return gained, traced


def compiled(workload: Workload) -> tuple[object, dict[str, object]]:
    """gradc's executable of a workload, and its feeds."""
    side: Side = BUILDERS["gradc"][workload.family](workload, data_of(workload))
    return side.executable, side.feeds


def resident_bytes() -> int:
    """What the process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--calls", nargs=2, type=int, default=(1_000_000, 10_000), metavar=("SMALL", "STEP"))
    calls = parser.parse_args().calls
    failed = 0
    print(f"{'planned and measured bytes of a call':<40} {'planned':>12} {'measured':>12} {'off':>8} {'live set':>12}")
    for workload in STEADY:
        peak = peak_of(workload)
        failed += peak.error > PLAN_LIMIT
        print(f"{workload.title:<40} {peak.planned:>12,} {peak.measured:>12,} {peak.error:>8.2%} {peak.live:>12,}", flush=True)
    print(f"\n{'growth in bytes':<40} {'calls':>12} {'resident':>12} {'traced':>12}")
    for name, count in zip(("rosenbrock-10", "mnist-100-100"), calls, strict=True):
        workload = workload_named(name)
        gained, traced = growth(workload, count)
        failed += max(gained, traced) > GROWTH_LIMIT
        print(f"{workload.title:<40} {count:>12,} {gained:>12,} {traced:>12,}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
