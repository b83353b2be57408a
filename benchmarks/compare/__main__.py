"""`python -m benchmarks.compare`: gradc against JAX and PyTorch.

Exits with 1 where gradc is wrong, or where nothing says why it differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# JAX compiles each function for each shape: what one worker, or an earlier run, has compiled is kept beside it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(sys.prefix) / "jax-cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

from benchmarks.compare import report
from benchmarks.compare.work import PEERS, Result, do, sides
from gradc.ir import FUNCTIONS

_CHUNK = 250


def tasks(graphs: int, attacks: int, only: str | None) -> Iterator[tuple[str, Any]]:
    """Everything there is to do, the longest first."""
    names = [name for name in FUNCTIONS if only is None or name == only]
    for first in range(0, graphs, _CHUNK):
        yield "graph", range(first, min(first + _CHUNK, graphs))
    for first in range(0, attacks, 100):
        yield "attack", range(first, min(first + 100, attacks))
    for name in names:
        yield "sample", name
        if FUNCTIONS[name].edges:
            yield "edge", name
    if only is None:
        yield "trap", None


def work(todo: list[tuple[str, Any]], processes: int) -> Result:
    """Do the tasks in worker processes; the results added up, in an order that does not depend on time."""
    total = Result(Counter(), [], [])
    with get_context("spawn").Pool(processes) as pool:
        for done, result in enumerate(pool.imap(do, todo), 1):
            total.counts.update(result.counts)
            total.found.extend(result.found)
            total.rows.extend(result.rows)
            if done % 20 == 0 or done == len(todo):
                print(f"compare: {done} of {len(todo)} tasks, {len(total.found)} differences", file=sys.stderr, flush=True)
    return total


def main() -> int:
    """Compare, print the totals, write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--graphs", type=int, default=21_250, help="how many random graphs")
    parser.add_argument("--attacks", type=int, default=800, help="how many random graphs on extreme values")
    parser.add_argument("--function", choices=list(FUNCTIONS), help="samples and edges of this function only; writes no page")
    parser.add_argument("--processes", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--page", type=Path, default=Path("docs/comparison.md"))
    options = parser.parse_args()
    present = sides()
    if not present:
        print("compare: neither JAX nor PyTorch is installed here: nothing to compare with", file=sys.stderr)
        return 1
    began = time.perf_counter()
    part = options.function is not None
    result = work(list(tasks(0 if part else options.graphs, 0 if part else options.attacks, options.function)), options.processes)
    page = report.page(result, present)
    if part or len(present) < len(PEERS):
        print(page)
        print(
            f"compare: {options.page} is left as it was: {'a part only' if part else 'a peer is not installed here'}",
            file=sys.stderr,
        )
    else:
        options.page.write_text(page)
    print(report.summary(result), f"compare: {time.perf_counter() - began:.0f} s", sep="\n")
    return report.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
