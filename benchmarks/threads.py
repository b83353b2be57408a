"""One executable, many threads, a switch as often as Python can: every bit compared. `python -m benchmarks.threads`.

Exits with 1 when a call raised, or returned anything but the bits that a single thread got from the same feeds.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import Any

import numpy as np

import gradc as gc
from gradc import passes


def network() -> gc.Graph:
    """Loss and gradients of a small network, its batch symbolic, so that threads meet in the cache of programs too."""
    graph = gc.Graph("net")
    x = graph.placeholder("x", ("n", 16), "float32")
    w1 = graph.placeholder("w1", (16, 12), "float32")
    w2 = graph.placeholder("w2", (12, 4), "float32")
    graph.output("loss", (gc.softmax(gc.relu(x @ w1) @ w2) ** 2).mean())
    return gc.differentiate(graph, [w1, w2])


def soak(threads: int, calls: int, interval: float) -> tuple[int, list[str]]:
    """Wrong results and exceptions of `threads` threads making `calls` calls each."""
    executable = gc.compile(network())
    rng = np.random.default_rng(0)
    feeds = [
        {
            "x": rng.standard_normal((4 + k % 3, 16), dtype=np.float32),
            "w1": rng.standard_normal((16, 12), dtype=np.float32),
            "w2": rng.standard_normal((12, 4), dtype=np.float32),
        }
        for k in range(threads)
    ]
    expected = [bits(executable(f)) for f in feeds]
    wrong = [0] * threads
    errors: list[str] = []

    def work(k: int) -> None:
        try:
            for _ in range(calls):
                wrong[k] += bits(executable(feeds[k])) != expected[k]
        except Exception as error:
            errors.append(f"thread {k}: {type(error).__name__}: {error}")

    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    return sum(wrong), errors


def bits(result: dict[str, Any]) -> bytes:
    """All outputs, to the last bit."""
    return b"".join(value.tobytes() for value in result.values())


def repeats(runs: int) -> int:
    """How many of `runs` compilations and calls, with NONE and with EXACT passes in turn, differ from the first in any bit."""
    rng = np.random.default_rng(0)
    graph = network()
    shapes = {"x": (5, 16), "w1": (16, 12), "w2": (12, 4)}
    feeds = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    first = bits(gc.compile(graph, passes=passes.NONE)(feeds))
    return sum(bits(gc.compile(graph, passes=(passes.NONE, passes.EXACT)[k % 2])(feeds)) != first for k in range(runs))


def main() -> None:
    """Print what was run and what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--calls", type=int, default=10_000, help="by each thread")
    parser.add_argument("--interval", type=float, default=1e-6, help="seconds between switches of threads")
    given = parser.parse_args()
    start = time.perf_counter()
    wrong, errors = soak(given.threads, given.calls, given.interval)
    seconds = time.perf_counter() - start
    print(f"{given.threads} threads x {given.calls:,} calls in {seconds:.0f} s: {wrong} wrong results, {len(errors)} exceptions")
    print("\n".join(errors[:5]), end="\n" if errors else "")
    different = repeats(200)
    print(f"200 compilations and calls, NONE and EXACT passes in turn: {different} differ in any bit")
    sys.exit(bool(wrong or errors or different))


if __name__ == "__main__":
    main()
