"""Packing: where in one arena each block of memory starts, so that blocks that are alive together do not overlap."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

ALIGNMENT = 64
_PACK_NODES = 512


class Block(NamedTuple):
    """Bytes of the arena from one step to another, both included."""

    first: int
    last: int
    nbytes: int


def live_bytes(blocks: Sequence[Block], steps: int) -> tuple[int, ...]:
    """The sum of the blocks alive at each step."""
    change = [0] * (steps + 2)
    for block in blocks:
        change[block.first] += block.nbytes
        change[min(block.last, steps) + 1] -= block.nbytes
    live, total = [], 0
    for k in range(steps + 1):
        total += change[k]
        live.append(total)
    return tuple(live)


def _aligned(nbytes: int) -> int:
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def pack(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Offsets such that blocks alive at the same time do not overlap, and the total.

    Best fit in order of time; for a few hundred blocks also largest first, and the better of the two.
    """
    by_time = _pack_by_time(blocks)
    if len(blocks) > _PACK_NODES:
        return by_time
    by_size = _pack_by_size(blocks)
    return by_size if by_size[1] < by_time[1] else by_time


def _pack_by_size(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Largest first, each in the lowest gap among the blocks it meets in time."""
    offsets = [0] * len(blocks)
    placed: list[int] = []
    total = 0
    for k in sorted(range(len(blocks)), key=lambda b: (-blocks[b].nbytes, blocks[b].first)):
        block = blocks[k]
        taken = sorted(
            (offsets[p], offsets[p] + _aligned(blocks[p].nbytes))
            for p in placed
            if blocks[p].first <= block.last and block.first <= blocks[p].last
        )
        start = 0
        size = _aligned(block.nbytes)
        for low, high in taken:
            if low - start >= size:
                break
            start = max(start, high)
        offsets[k] = start
        total = max(total, start + size)
        placed.append(k)
    return offsets, total


def _pack_by_time(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Best fit among the freed bytes, in order of time; equal sizes are found at once."""
    offsets = [0] * len(blocks)
    arena = _Arena()
    ending: list[tuple[int, int]] = []
    for k in sorted(range(len(blocks)), key=lambda b: blocks[b].first):
        block = blocks[k]
        while ending and ending[0][0] < block.first:
            _, dead = heapq.heappop(ending)
            arena.free(offsets[dead], _aligned(blocks[dead].nbytes))
        offsets[k] = arena.take(_aligned(block.nbytes))
        heapq.heappush(ending, (block.last, k))
    return offsets, arena.top


class _Arena:
    """Free memory as gaps; neighbours merge."""

    def __init__(self) -> None:
        self.top = 0
        self._gaps: list[tuple[int, int]] = []
        self._start: dict[int, int] = {}
        self._end: dict[int, int] = {}

    def take(self, size: int) -> int:
        if not size:
            return 0
        at = bisect_left(self._gaps, (size, -1))
        if at < len(self._gaps):
            gap, offset = self._gaps.pop(at)
            del self._start[offset], self._end[offset + gap]
            if gap > size:
                self._add(offset + size, gap - size)
            return offset
        offset = self.top
        last = self._start_of_last_gap()
        if last is not None:
            offset = last
            self._remove(last, self.top - last)
        self.top = offset + size
        return offset

    def _start_of_last_gap(self) -> int | None:
        return self._end.get(self.top)

    def free(self, offset: int, size: int) -> None:
        if not size:
            return
        after = self._start.get(offset + size)
        if after is not None:
            self._remove(offset + size, after)
            size += after
        before = self._end.get(offset)
        if before is not None:
            self._remove(before, offset - before)
            offset, size = before, offset - before + size
        self._add(offset, size)

    def _add(self, offset: int, size: int) -> None:
        insort(self._gaps, (size, offset))
        self._start[offset] = size
        self._end[offset + size] = offset

    def _remove(self, offset: int, size: int) -> None:
        del self._gaps[bisect_left(self._gaps, (size, offset))]
        del self._start[offset], self._end[offset + size]
