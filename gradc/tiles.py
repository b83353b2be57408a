"""Tiles: elementwise steps on long arrays run block by block, so that what one makes is in the cache for the next.

Each step still does the same arithmetic on every entry: only the order in time changes, and no bit of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gradc.ir import Kernel, Node
from gradc.types import TensorType

TILE_BYTES = 1 << 17
"""The bytes of a block: of those that a formula holds at once, eight or so, all fit a core's second cache."""

LEAST_TILES = 4
LEAST_OWN_VALUES = 2
"""As measured: shorter arrays and shorter formulas gain no more than the loop costs."""


class Tiling(NamedTuple):
    """Consecutive steps that one loop runs, for `rows` rows of the first axis at a time, `length` in all."""

    nodes: tuple[Node, ...]
    rows: int
    length: int
    ndim: int

    def splits(self, shape: Sequence[object]) -> bool:
        """True when an operand of this shape is read block by block; others broadcast, whole, to every block."""
        return len(shape) == self.ndim and shape[0] == self.length

    def blocks(self) -> Iterator[tuple[int, int]]:
        """The rows of each block, from and to."""
        for start in range(0, self.length, self.rows):
            yield start, min(start + self.rows, self.length)

    def block_type(self, whole: TensorType) -> TensorType:
        """The type of a block of a value."""
        return TensorType((self.rows, *whole.shape[1:]), whole.dtype)


def in_tiles(kernel: Kernel, operands: Sequence[TensorType], out: TensorType) -> bool:
    """True when an elementwise step may run block by block, and is long enough for it to pay."""
    if not out.shape:
        return False
    widest = max([out.dtype.itemsize, *(t.dtype.itemsize for t in operands if t.shape == out.shape)])
    length: int = out.shape[0]  # type: ignore[assignment]
    return (
        length // rows_of(out, widest) >= LEAST_TILES
        and (kernel.by_blocks or all(isinstance(c.function, np.ufunc) or c.function is np.copyto for c in kernel.calls))
        and all(t.shape == out.shape for t in kernel.scratch)
    )


def rows_of(out: TensorType, itemsize: int) -> int:
    """How many rows make a block."""
    row = itemsize
    for s in out.shape[1:]:
        row *= s  # type: ignore[assignment]
    return max(1, TILE_BYTES // max(row, 1))


class _Run:
    """A run that is being gathered: all its steps in the order they came, and those of them that follow the loop."""

    def __init__(self) -> None:
        self.span: dict[Node, None] = {}
        self.after: dict[Node, None] = {}

    def loop(self) -> list[Node]:
        return [n for n in self.span if n not in self.after]


def gather(
    order: Sequence[Node],
    results: Collection[Node],
    before: Mapping[Node, Sequence[Node]],
    types: Mapping[Node, TensorType],
    fits: Callable[[Node], bool],
) -> tuple[list[Node], list[Tiling]]:
    """`order` with the steps that one loop can run brought together, and those loops.

    A step between them moves before the loop or, where it needs some of the loop's values, after it. `before` names
    what a node has to wait for though it reads none of it; `results` are kept whole for others than the loop.
    """
    users: dict[Node, list[Node]] = {}
    for node in order:
        for i in node.inputs:
            users.setdefault(i, []).append(node)
    arranged: list[Node] = []
    tilings: list[Tiling] = []
    run = _Run()

    def close() -> _Run:
        loop = run.loop()
        if _pays(loop, users, results):
            arranged.extend([*loop, *run.after])
            tilings.append(_tiling(loop, types))
        else:
            arranged.extend(run.span)
        return _Run()

    for node in order:
        awaited = (*node.inputs, *before.get(node, ()))
        fit = fits(node)
        if fit and run.span:
            other = types[node].shape != types[next(iter(run.span))].shape
            if other or not run.after.keys().isdisjoint(awaited):
                run = close()
        if not fit and run.span.keys().isdisjoint(awaited):
            arranged.append(node)
            continue
        run.span[node] = None
        if not fit:
            run.after[node] = None
    close()
    return arranged, tilings


def _pays(nodes: Sequence[Node], users: Mapping[Node, Sequence[Node]], results: Collection[Node]) -> bool:
    """True when the loop has some values of its own, which then never leave the cache."""
    inside = set(nodes)
    return sum(n not in results and bool(users.get(n)) and inside.issuperset(users[n]) for n in nodes) >= LEAST_OWN_VALUES


def _tiling(nodes: Sequence[Node], types: Mapping[Node, TensorType]) -> Tiling:
    out = types[nodes[0]]
    values = [types[v] for n in nodes for v in (n, *n.inputs)]
    widest = max(t.dtype.itemsize for t in values if t.shape == out.shape)
    length: int = out.shape[0]  # type: ignore[assignment]
    return Tiling(tuple(nodes), rows_of(out, widest), length, len(out.shape))
