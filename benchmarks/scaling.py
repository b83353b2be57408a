"""Time and memory a node, from a chain of 10,000 ops to one of 100,000: python benchmarks/scaling.py

The chain is y <- sin(y) x + y / 2 on 8 elements. Each size runs in processes of its own, once for the time and once under
tracemalloc for the memory; the table shows medians, and their ratio, which a linear stage keeps near 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

SIZES = (10_000, 100_000)
LIMIT = 1.3
CALLS = 20


def stages(ops: int) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """What is measured, in order: each takes the results so far."""
    import numpy as np

    import gradc as gc

    def build(_: Any) -> gc.Graph:
        graph = gc.Graph("chain")
        x = y = graph.placeholder("x", 8)
        for _ in range(ops // 4):
            y = np.sin(y) * x + y / 2
        graph.output("y", y)
        graph.nodes  # noqa: B018  (derived on first use)
        return graph

    feeds = np.linspace(0.1, 1.0, 8)
    return {
        "build": build,
        "differentiate": lambda made: gc.differentiate(made["build"], "x"),
        "str": lambda made: str(made["differentiate"]),
        "to_dot": lambda made: made["differentiate"].to_dot(),
        "verify": lambda made: gc.verify(made["differentiate"]),
        "evaluate": lambda made: gc.evaluate(made["differentiate"], x=feeds),
        "compile": lambda made: made["differentiate"].compile(["d_y/d_x"]),
        "first call": lambda made: made["compile"](x=feeds),
        "call": lambda made: made["compile"](x=feeds),
    }


def measure(ops: int, memory: bool) -> dict[str, float]:
    """Seconds, or bytes at the peak, of each stage."""
    made: dict[str, Any] = {}
    figures: dict[str, float] = {}
    if memory:
        tracemalloc.start()
    for name, stage in stages(ops).items():
        if memory:
            tracemalloc.reset_peak()
        before, times = tracemalloc.get_traced_memory()[0] if memory else 0, []
        for _ in range(CALLS if name == "call" else 1):
            start = perf_counter()
            made[name] = stage(made)
            times.append(perf_counter() - start)
        figures[name] = tracemalloc.get_traced_memory()[1] - before if memory else median(times)
        if name in ("str", "to_dot", "evaluate"):
            del made[name]
    return figures


def in_a_process(ops: int, memory: bool) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--ops", str(ops), *(["--memory"] if memory else [])]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ops", type=int, help="measure one size in this process, and print it as JSON")
    parser.add_argument("--memory", action="store_true", help="with --ops: bytes instead of seconds")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.ops:
        print(json.dumps(measure(options.ops, options.memory)))
        return 0
    time: dict[int, list[dict[str, float]]] = {ops: [] for ops in SIZES}
    for _ in range(options.rounds):
        for ops in SIZES:
            time[ops].append(in_a_process(ops, memory=False))
    memory = {ops: in_a_process(ops, memory=True) for ops in SIZES}
    small, large = SIZES
    print(f"{'':<14} | {'µs a node':^23} | {'bytes a node':^23}")
    print(f"{'stage':<14} | {small:>8,} {large:>8,} {'ratio':>5} | {small:>8,} {large:>8,} {'ratio':>5}")
    worst = 0.0
    for stage in memory[small]:
        seconds = [median(run[stage] for run in time[ops]) * 1e6 / ops for ops in SIZES]
        bytes_ = [memory[ops][stage] / ops for ops in SIZES]
        ratios = [seconds[1] / seconds[0], bytes_[1] / bytes_[0] if bytes_[0] > 1 else 1.0]
        worst = max(worst, *ratios)
        cells = [f"{a:>8.2f} {b:>8.2f} {r:>5.2f}" for (a, b), r in zip((seconds, bytes_), ratios, strict=True)]
        print(f"{stage:<14} | {cells[0]} | {cells[1]}")
    print(f"\nlargest ratio {worst:.2f}, allowed {LIMIT}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
