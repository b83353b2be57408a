"""What a compiled graph costs: bytes from its plan, seconds from a run with a clock after every step."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from gradc.backends.numpy import TimedProgram
from gradc.ir import CONSTANT, Array, Node
from gradc.packing import ALIGNMENT, Block, live_bytes
from gradc.plan import Home, Plan, nbytes_of
from gradc.types import Dim, Shape, TensorType, size_of


class Memory(NamedTuple):
    """The memory of one call, in bytes: integers, or sympy expressions where dimensions have no value.

    Attributes:
        arena: planned buffers, all in one aligned block; with symbolic dimensions, the largest live set, which bounds it below.
        constants: what the graph's constants hold.
        outputs: the arrays that a call returns.
        peak: arena, outputs, and the most that ops which make their own results hold at once.
        live: the bytes of the arena alive at each step of the schedule.
        at_peak: the nodes alive where `live` is largest (where all sizes are numbers).
    """

    arena: Any
    constants: int
    outputs: Any
    peak: Any
    live: tuple[Any, ...]
    at_peak: tuple[Node, ...]

    def __str__(self) -> str:
        lines = [f"{name:<10}{value} bytes" for name, value in zip(self._fields[:4], self[:4], strict=True)]
        return "\n".join([*lines, *(f"  at peak: {node.op.name} {node.type}" for node in self.at_peak)])


def memory_of(plan: Plan, unknown: frozenset[str]) -> Memory:
    """The memory of `plan`; where names in `unknown` have no value, as expressions in them."""
    constants = sum(nbytes_of(n.type) for n in plan.graph.nodes if n.op is CONSTANT)
    fresh = [n for _, n in plan.outputs]
    if unknown:
        return _symbolic_memory(plan, constants, fresh)
    outputs = sum(nbytes_of(plan.types[n]) for n in fresh)
    top = max(range(len(plan.live_bytes)), key=plan.live_bytes.__getitem__)
    alive = [h[-1] for b, h in zip(plan.blocks, plan.holders, strict=True) if b.first <= top <= b.last and b.nbytes]
    arena = plan.arena_bytes + ALIGNMENT
    return Memory(arena, constants, outputs, arena + outputs + _fresh_bytes(plan), plan.live_bytes, tuple(alive))


def _fresh_bytes(plan: Plan) -> int:
    """The most bytes alive at once of results that are in no planned memory."""
    fresh = [
        Block(k, plan.last_use[node], nbytes_of(plan.types[node]))
        for k, node in enumerate(plan.order)
        if plan.home[node] is Home.FRESH
    ]
    return max(live_bytes(fresh, len(plan.order)))


def _symbolic_memory(plan: Plan, constants: int, fresh: Sequence[Node]) -> Memory:
    import sympy

    changes: list[list[Any]] = [[] for _ in range(len(plan.order) + 2)]
    for block, holders in zip(plan.blocks, plan.holders, strict=True):
        size = _symbolic_bytes(holders[0].type)
        changes[block.first].append(size)
        changes[min(block.last, len(plan.order)) + 1].append(-size)
    live: list[Any] = []
    total = sympy.Integer(0)
    for change in changes[:-1]:
        total = sympy.expand(total + sum(change))
        live.append(total)
    arena = sympy.Max(*dict.fromkeys(live))
    outputs = sum((_symbolic_bytes(n.type) for n in fresh), start=sympy.Integer(0))
    return Memory(arena, constants, outputs, arena + outputs, tuple(live), ())


def _symbolic_bytes(node_type: TensorType) -> Any:
    import sympy

    size = size_of(node_type.shape)
    return (size.expr if isinstance(size, Dim) else sympy.Integer(size)) * node_type.dtype.itemsize


class Row(NamedTuple):
    """One step of a profile: median seconds of a call, bytes read and written, floating point operations."""

    node: Node
    seconds: float
    nbytes: int
    flops: int


class Profile(NamedTuple):
    """Where the time of a call goes. Prints as a table, slowest first.

    Attributes:
        rows: a row per step, in order.
        total: median seconds of a call of the executable itself, without clocks.
    """

    rows: tuple[Row, ...]
    total: float

    def __str__(self) -> str:
        lines = [f"{'time':>10} {'share':>6} {'bytes':>11} {'flops':>11} {'GFLOP/s':>8}  op"]
        for row in sorted(self.rows, key=lambda r: -r.seconds):
            lines.append(_figures(row.seconds, self.total, row.nbytes, row.flops) + "  " + _what(row.node))
        spent = sum(row.seconds for row in self.rows)
        lines.append(_figures(max(self.total - spent, 0.0), self.total, 0, 0) + "  (checks, outputs, updates)")
        flops = sum(row.flops for row in self.rows)
        lines.append(_figures(self.total, self.total, sum(r.nbytes for r in self.rows), flops) + "  the call")
        return "\n".join(lines)


def _figures(seconds: float, total: float, nbytes: int, flops: int) -> str:
    rate = flops / seconds / 1e9 if seconds else 0.0
    return f"{seconds * 1e6:>8.2f}us {seconds / total if total else 0:>6.1%} {nbytes:>11} {flops:>11} {rate:>8.2f}"


def _what(node: Node) -> str:
    where = f"{os.path.basename(node.origin.file)}:{node.origin.line}" if node.origin.file else ""
    return f"{node.op.name} {node.type}  {node.origin.role}  {where}".rstrip()


def profile(plan: Plan, arguments: Sequence[Array], targets: Sequence[Array], call: Callable[[], Any], repeat: int) -> Profile:
    """Time each step of `plan` and the whole `call`, `repeat` times each, in turn."""
    program = TimedProgram(plan, perf_counter)
    times: list[list[float]] = []
    totals: list[float] = []

    def timed() -> None:
        program.run(*arguments, *targets, None, True)

    with np.errstate(all="ignore"):
        call()  # the first: it names the node where one raises
        timed()
        for _ in range(repeat):
            timed()
            times.append(program.times.copy())
            start = perf_counter()
            call()
            totals.append(perf_counter() - start)
    rows = tuple(
        Row(node, float(np.median(column)), _traffic(plan, node), _flops(plan, node))
        for node, column in zip(program.nodes, zip(*times, strict=True), strict=True)
    )
    return Profile(rows, float(np.median(totals)))


def _traffic(plan: Plan, node: Node) -> int:
    return nbytes_of(plan.types[node]) + sum(nbytes_of(plan.types[i]) for i in node.inputs)


def _flops(plan: Plan, node: Node) -> int:
    shape = _numbers(plan.types[node].shape)
    operands = [_numbers(plan.types[i].shape) for i in node.inputs]
    if node.op.flops is not None:
        return node.op.flops(operands, shape)
    return max(map(math.prod, [shape, *operands]))


def _numbers(shape: Shape) -> tuple[int, ...]:
    return shape  # type: ignore[return-value]
