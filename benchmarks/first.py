"""Time to the first gradient, in new processes: with and without the import, and what the process needed at most.

As a program, `python -m benchmarks.first SIDE WORKLOAD`, it is the process that is measured: it imports one framework, makes the
data, starts the clock, builds the side and calls it once, and prints what it found as JSON. The parent's clock runs from
before that process starts until its line is on the screen.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import wait_until_idle
from benchmarks.peers import builders
from benchmarks.workloads import Workload, data_of, workload_named


@dataclass(frozen=True)
class First:
    """One side's first gradients: seconds in the process, seconds of the whole process, its peak bytes, a number to compare."""

    building: list[float]
    process: list[float]
    peak_bytes: int
    number: float

    @property
    def seconds(self) -> float:
        """The median of building, differentiating, compiling and the first call."""
        return median(self.building)

    @property
    def whole(self) -> float:
        """The median from the start of `python` to the number on the screen."""
        return median(self.process)


def measure(side: str, workload: Workload, rounds: int) -> First | str:
    """Run `side` in `rounds` new processes, their caches on disk empty or, with `warm` in its name, filled by a run before.

    Returns what went wrong, where something did.
    """
    name, _, warm = side.partition(" ")
    runs = []
    with scratch_caches() as environment:
        if warm:
            _run(name, workload, environment)
        for _ in range(rounds):
            if warm:
                found = _run(name, workload, environment)
            else:
                with scratch_caches() as fresh:
                    found = _run(name, workload, fresh)
            if isinstance(found, str):
                return found
            runs.append(found)
    return First(
        [r["building"] for r in runs], [r["process"] for r in runs], max(r["peak_bytes"] for r in runs), runs[-1]["number"]
    )


@contextmanager
def scratch_caches() -> Iterator[dict[str, str]]:
    """An environment in which compilers that keep their work on disk keep it in a new folder; .pyc files are always kept."""
    with tempfile.TemporaryDirectory(prefix="gradc-bench-", ignore_cleanup_errors=True) as folder:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTENSOR_FLAGS"] = f"base_compiledir={folder}/pytensor"
        environment["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        environment["NUMBA_CACHE_DIR"] = f"{folder}/numba"
        yield environment


def _run(side: str, workload: Workload, environment: dict[str, str]) -> dict[str, float] | str:
    wait_until_idle()
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.first", side, workload.name]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        errors = process.communicate()[1]
    if process.returncode or not line.startswith("{"):
        return (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1][:160]
    return {**json.loads(line), "process": seconds}


def peak_resident_bytes() -> int:
    """The most that this process had in memory; `ru_maxrss` would count its parent's, whose copy it began as."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """The measured process."""
    side, name = sys.argv[1:]
    workload = workload_named(name)
    build = builders(side)[workload.family]
    data = data_of(workload)
    start = time.perf_counter()
    made = build(workload, data)
    made.call()
    seconds = time.perf_counter() - start
    found = made.read()
    number = float(np.sum(found["gradient"] if "gradient" in found else found["loss"]))
    peak = peak_resident_bytes()
    print(json.dumps({"building": seconds, "peak_bytes": peak, "number": number}), flush=True)


if __name__ == "__main__":
    main()
