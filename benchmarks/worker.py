"""A process of its own for each framework, kept alive: it builds sides and times batches of calls, one request at a time.

Frameworks in one process would share (and fight over) thread pools and allocators; here only the process that was
asked does anything, and the others sleep on their pipes.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from benchmarks import kernels
from benchmarks.kernels import Kernels
from benchmarks.peers import Side, builders
from benchmarks.workloads import Data, Workload, data_of

CHECKED_CALLS = 3
BATCH_SECONDS = 0.002
"""Shorter than what a scheduler gives a process before it looks at others."""
WARM_SECONDS = 0.001


class SideFailed(Exception):
    """A side is absent, cannot express the workload, or failed: the text says which."""


class Worker:
    """The parent's handle of one framework's process."""

    def __init__(self, name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True, name=f"benchmark-{name}")
        self._process.start()
        theirs.close()

    def build(self, side: str, workload: Workload) -> Data:
        """Build `side`; its numbers after a few calls from the initial data."""
        data: Data = self._ask("build", side, workload)
        return data

    def calibrate(self, side: str) -> int:
        """How many calls make a batch that is long enough to time."""
        count: int = self._ask("calibrate", side)
        return count

    def time(self, side: str, count: int) -> float:
        """Seconds per call of a batch of `count` calls, after a few that are not timed."""
        seconds: float = self._ask("time", side, count)
        return seconds

    def kernels(self) -> Kernels:
        """What the process computes with, once its sides have run."""
        found: Kernels = self._ask("kernels")
        return found

    def drop(self) -> None:
        """Forget all sides; a process that died has none."""
        with contextlib.suppress(SideFailed):
            self._ask("drop")

    @property
    def alive(self) -> bool:
        """False once the process has died."""
        return self._process.is_alive()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _ask(self, *request: Any) -> Any:
        try:
            self._pipe.send(request)
            done, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise SideFailed(f"its process died ({type(error).__name__})") from None
        if not done:
            raise SideFailed(answer)
        return answer


def serve(pipe: Connection) -> None:
    """Answer requests until the pipe closes."""
    sides: dict[str, Side] = {}
    requests = {"build": _build, "calibrate": _calibrate, "time": _time, "drop": _drop, "kernels": _kernels}
    while True:
        try:
            name, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, requests[name](sides, *arguments)))
        except Exception as error:  # whatever a framework raises is a note in the table
            pipe.send((False, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error) else ''}"))


def _build(sides: dict[str, Side], name: str, workload: Workload) -> Data:
    table = builders(name)
    if workload.family not in table:
        raise NotImplementedError("not expressed")
    side = table[workload.family](workload, data_of(workload))
    for _ in range(CHECKED_CALLS):
        side.call()
    sides[name] = side
    return side.read()


def _calibrate(sides: dict[str, Side], name: str) -> int:
    call = sides[name].call
    count = 1
    with _no_collector():
        while (seconds := _batch(call, count)) < BATCH_SECONDS / 2:
            count *= 2
    return max(1, round(count * BATCH_SECONDS / seconds))


def _time(sides: dict[str, Side], name: str, count: int) -> float:
    call = sides[name].call
    with _no_collector():
        end = time.perf_counter() + WARM_SECONDS
        call()
        while time.perf_counter() < end:
            call()
        return _batch(call, count) / count


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Collect garbage now, which goes through all of memory and leaves the caches cold, and not again."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _batch(call: Any, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


def _kernels(sides: dict[str, Side]) -> Kernels:
    return kernels.found()


def _drop(sides: dict[str, Side]) -> None:
    sides.clear()
    gc.collect()
