"""The machine a run was made on, and whether it is doing anything else."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, MutableMapping
from importlib import metadata
from pathlib import Path

IDLE_SHARE = 0.9
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 1.0
PATIENCE_OF_A_RUN = 60.0

PINS = ("OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "NVPL_", "ARMPL_", "ONEDNN_", "DNNL_", "OMP_", "NPY_", "ATEN_CPU_", "NUMBA_CPU_")
"""How the names of variables begin that make a library take an older processor's kernels, or threads that it did not choose."""
PIN = "CORETYPE"
"""How others of them end."""

waited = 0.0
"""How long this run has waited for other programs to finish, in seconds."""


def unpin(environment: MutableMapping[str, str]) -> list[str]:
    """Take out what pins the kernels or the threads of one side or another; the names of what was there."""
    pins = sorted(name for name in environment if name.startswith(PINS) or name.endswith(PIN))
    for name in pins:
        del environment[name]
    return pins


def keep_to(cores: int) -> None:
    """Keep this process, and those that it starts, to the last `cores` of the cores that it may use.

    Raises:
        ValueError: there are not so many, or the system cannot do that.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if not 1 <= cores <= len(usable):
        raise ValueError(f"{cores} cores were asked for, and a process can be kept to {len(usable)} here")
    os.sched_setaffinity(0, usable[-cores:])


def describe() -> dict[str, str]:
    """CPU, cores, memory, system and Python."""
    return {
        "CPU": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown",
        "cores": _cores(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def _cores() -> str:
    there = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return f"{usable}" if usable == there else f"{usable} of {there}, to which the run was kept"


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution; those that are absent are left out."""
    found = {}
    for name in dict.fromkeys(distributions):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def wait_until_idle() -> None:
    """Return when the processors are idle, or after a second: what is timed next should have them for itself.

    It looks at the machine and never at a result, so it favours no side. On a busy machine the patience of a whole run ends.
    """
    global waited
    start = time.monotonic()
    patience = min(PATIENCE_SECONDS, PATIENCE_OF_A_RUN - waited)
    while time.monotonic() - start < patience and _idle_share() < IDLE_SHARE:
        pass
    waited += time.monotonic() - start


def _idle_share() -> float:
    """The share of processor time that nobody used in a moment's look; 1 where the system does not say."""
    try:
        before = _ticks()
        while True:
            time.sleep(LOOK_SECONDS)
            idle, total = (b - a for a, b in zip(before, _ticks(), strict=True))
            if total >= 4:
                return idle / total
    except OSError:
        return 1.0


def _ticks() -> tuple[int, int]:
    numbers = [int(v) for v in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return numbers[3] + numbers[4], sum(numbers[:8])


def _field(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def _memory() -> str:
    kilobytes = _field(Path("/proc/meminfo"), "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.0f} GiB" if kilobytes else "unknown"
