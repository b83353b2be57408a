"""Choices between arrays, entry by entry: choose and select, of `where`, so that what was not chosen has an exact zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError, show
from gradc.ir import Node, constant, lift
from gradc.ops.declare import call, function
from gradc.ops.gather import within
from gradc.ops.joining import listed
from gradc.ops.samples import cases, normal, sample

__all__ = [
    "choose",
    "select",
]


def _common(values: Sequence[Any], where: str) -> list[Node]:
    """`values` as nodes of one dtype."""
    if not values:
        raise ArgumentError(f"{where}: expected at least one array, got an empty sequence")
    nodes = lift(tuple(values), where)
    dtype = np.result_type(*[n.dtype for n in nodes])
    return [n if n.dtype == dtype else call("astype", n, dtype) for n in nodes]


@function(
    numpy=(np.choose,),
    samples=cases(
        lambda: sample([0, 1, 1, 0], normal(2, 4)),
        lambda: sample([[2, 0], [1, 2]], normal(3, 2), fixed=(0,)),
        lambda: sample([4, -1, 1], normal(2, 1), mode="wrap"),
        lambda: sample([4, -1, 1], normal(2, 3), mode="clip", fixed=(0,)),
        lambda: sample([0, 0], normal(1, 2)),
        lambda: sample(1, normal(2)),
    ),
)
def choose(a: Any, choices: Any, out: Any = None, mode: Any = "raise") -> Node:
    """`np.choose`: from a sequence of arrays the entries of number `a`, all broadcast. The adjoint of the others is exactly 0.

    Raises:
        BoundsError: mode "raise", and a number names no array: constants are checked now, nodes when they have values.
    """
    if out is not None or mode not in ("raise", "wrap", "clip"):
        raise ArgumentError(
            f"choose: mode is 'raise', 'wrap' or 'clip', and out= is no part of a graph; got {show(mode)}, out={show(out)}"
        )
    values = _common(listed(choices, "choose"), "choose")
    number = a if isinstance(a, Node) else constant(a)
    if number.dtype.kind == "b":
        number = call("astype", number, np.intp)
    chosen = within(number, len(values), "label" if mode == "raise" else mode)
    result = values[-1] if len(values) > 1 else call("zeros_like", values[0])
    for k in range(max(len(values) - 2, 0), -1, -1):
        result = call("where", call("equal", chosen, k), values[k], result)
    return result


@function(
    numpy=(np.select,),
    samples=cases(
        lambda: sample([[True, False, False], [True, True, False]], normal(2, 3), fixed=(0,)),
        lambda: sample([[True, False, False], [True, True, False]], normal(2, 3), normal(3, seed=1)),
        lambda: sample([[True, False, False], [True, True, False]], normal(2, 1), 2.0, fixed=(0,)),
        lambda: sample([[True, False]], normal(1, 2), normal(3, 2, seed=1)),
        lambda: sample(np.zeros((1, 0), bool), normal(1, 0)),
    ),
)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Node:
    """`np.select`: the entries of the first array whose condition holds, else `default`; all broadcast.

    Raises:
        ArgumentError: conditions and arrays differ in number, or there are none.
        DTypeError: a condition is not bool.
    """
    conditions, choices = listed(condlist, "select"), listed(choicelist, "select")
    if len(conditions) != len(choices) or not choices:
        raise ArgumentError(f"select: one condition for each choice, got {len(conditions)} for {len(choices)}")
    *values, result = _common([*choices, default], "select")
    masks = [c if isinstance(c, Node) else constant(c) for c in conditions]
    for k, mask in enumerate(masks):
        if mask.dtype.kind != "b":
            raise DTypeError(f"select: conditions are bool, got {mask.type} as number {k}; compare first (x > 0)")
    for mask, value in zip(reversed(masks), reversed(values), strict=True):
        result = call("where", mask, value, result)
    return result
