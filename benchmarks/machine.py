"""The machine a run was made on, and whether it is doing anything else."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

IDLE_SHARE = 0.9
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 1.0
PATIENCE_OF_A_RUN = 60.0

waited = 0.0
"""How long this run has waited for other programs to finish, in seconds."""


def describe() -> dict[str, str]:
    """CPU, cores, memory, system and Python."""
    return {
        "CPU": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown",
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


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
