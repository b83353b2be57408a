"""The known traps: places where a derivative is easily NaN, infinite, or of the wrong sign, written as users write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.compare.programs import Program, Step


def trap(
    place: str, inputs: tuple[Any, ...], *steps: tuple[Any, ...], order: int = 1, fixed: tuple[int, ...] = (), why: str
) -> Program:
    """A program from steps `(function, operand, ..., {attributes})`; the last result is differentiated."""
    arrays = tuple(np.asarray(a) if np.asarray(a).dtype.kind in "bi" else np.asarray(a, float) for a in inputs)
    made = []
    for function, *operands in steps:
        attrs = operands.pop() if operands and isinstance(operands[-1], dict) else {}
        made.append(Step(function, tuple(operands), attrs))
    last = len(arrays) + len(made) - 1
    return Program(place, arrays, tuple(made), (last,), frozenset(fixed), plain=True, order=order, why=why)


def _guarded(name: str, x: float, *inner: tuple[Any, ...], why: str) -> Program:
    """`where(x > 0, f(x), 0)` at `x`."""
    steps = (("greater", 0, 1), *inner, ("where", 2, 2 + len(inner), 1))
    return trap(f"where(x > 0, {name}, 0) at x = {x:g}", (x, 0.0), *steps, fixed=(1,), why=why)


MASK = "what `where` did not select has the adjoint 0, whatever the rules after it"
SQUARES = "no square is formed that overflows or underflows"
NAIVE = "the naive form is computed in its stable form"
TIES = "entries that tie share the adjoint"

TRAPS: tuple[Program, ...] = (
    *(_guarded("sqrt(x)", x, ("sqrt", 0), why=MASK) for x in (0.0, -1.0)),
    *(_guarded("log(x)", x, ("log", 0), why=MASK) for x in (0.0, -1.0)),
    _guarded("1 / x", 0.0, ("reciprocal", 0), why=MASK),
    _guarded("exp(-1 / x**2)", 0.0, ("square", 0), ("reciprocal", 3), ("negative", 4), ("exp", 5), why=MASK),
    trap(
        "where(x < 0, exp(x), 0) at x = 1000", (1000.0, 0.0), ("less", 0, 1), ("exp", 0), ("where", 2, 3, 1), fixed=(1,), why=MASK
    ),
    trap("max, a tie", ([1.0, 1.0, 0.0],), ("max", 0), why=TIES),
    trap("max over axis 1, ties", ([[1.0, 1.0], [0.0, 2.0]],), ("max", 0, {"axis": 1}), why=TIES),
    trap("max over axes (0, 1), ties", ([[1.0, 1.0], [1.0, 0.0]],), ("max", 0, {"axis": (0, 1)}), why=TIES),
    *(
        trap(f"x**{n} at 0, order {order}", (0.0, float(n)), ("power", 0, 1), fixed=(1,), order=order, why="a polynomial")
        for n in (0, 1, 2, 3)
        for order in (1, 2, 3)
    ),
    trap("power(-2, 2)", (-2.0, 2.0), ("power", 0, 1), fixed=(1,), why="a polynomial"),
    trap("power(-2, 2), both", (-2.0, 2.0), ("power", 0, 1), why="no real slope along y: NaN; along x, -4"),
    trap("power(0, 0)", (0.0, 0.0), ("power", 0, 1), why="no derivative: both slopes of least norm"),
    trap("prod, one zero", ([0.0, 2.0, 3.0],), ("prod", 0), why="the product of the others"),
    trap("prod, two zeros", ([0.0, 2.0, 0.0],), ("prod", 0), why="the product of the others"),
    trap("prod, one zero, order 2", ([0.0, 2.0, 3.0],), ("prod", 0), order=2, why="the product of the others"),
    trap("prod, two zeros, order 2", ([0.0, 2.0, 0.0],), ("prod", 0), order=2, why="the product of the others"),
    trap("cumprod, one zero", ([2.0, 0.0, 3.0],), ("cumprod", 0, {"axis": 0}), why="the product of the others"),
    trap("cumprod, two zeros", ([2.0, 0.0, 0.0, 3.0],), ("cumprod", 0, {"axis": 0}), why="the product of the others"),
    trap(
        "cumprod, two zeros, order 2",
        ([2.0, 0.0, 0.0, 3.0],),
        ("cumprod", 0, {"axis": 0}),
        order=2,
        why="the product of the others",
    ),
    trap("sort, ties", ([1.0, 1.0, 0.0],), ("sort", 0), ("cumsum", 1, {"axis": 0}), why="in the order of a stable sort"),
    trap("median, ties", ([2.0, 2.0, 2.0],), ("median", 0), why=TIES),
    trap("norm at the origin", ([0.0, 0.0],), ("norm", 0), why="least norm of the unit ball"),
    trap(
        "sqrt(sum(x**2)) at the origin", ([0.0, 0.0],), ("square", 0), ("sum", 1), ("sqrt", 2), why="as written, 0 times infinity"
    ),
    trap("std of equal entries", ([2.0, 2.0, 2.0],), ("std", 0), why="least norm"),
    trap("hypot at the origin", (0.0, 0.0), ("hypot", 0, 1), why="least norm of the unit disc"),
    trap("arctan2 at the origin", (0.0, 0.0), ("arctan2", 0, 1), why="no direction: least norm"),
    trap("sinc at 0", (0.0,), ("sinc", 0), why="an even function"),
    trap("sinc at 0, order 2", (0.0,), ("sinc", 0), order=2, why="-pi**2 / 3"),
    trap("x / y at (1e200, 1e200)", (1e200, 1e200), ("divide", 0, 1), why=SQUARES),
    trap("hypot at (1e200, 1e200)", (1e200, 1e200), ("hypot", 0, 1), why=SQUARES),
    trap("norm at (3e200, 4e200)", ([3e200, 4e200],), ("norm", 0), why=SQUARES),
    trap(
        "logaddexp(1e308, 1e308)", (1e308, 1e308), ("logaddexp", 0, 1), why="exp(x - out) is not 1/2 where log 2 is lost in out"
    ),
    trap("logsumexp(1e17, 1e17)", ([1e17, 1e17],), ("logsumexp", 0), why="exp(x - out) is not 1/2 where log 2 is lost in out"),
    trap("logsumexp(-inf, 0)", ([-np.inf, 0.0],), ("logsumexp", 0), why="the softmax"),
    trap("logsumexp(1000, 1000)", ([1000.0, 1000.0],), ("logsumexp", 0), why="the softmax"),
    trap("log(softmax(x)) at (-800, 800)", ([-800.0, 800.0],), ("softmax", 0, {"axis": -1}), ("log", 1), why=NAIVE),
    *(trap(f"log(sigmoid(x)) at {x:g}", (x,), ("sigmoid", 0), ("log", 1), why=NAIVE) for x in (-800.0, 800.0)),
    *(
        trap(f"log(1 + exp(x)) at {x:g}", (x, 1.0), ("exp", 0), ("add", 1, 2), ("log", 3), fixed=(1,), why=NAIVE)
        for x in (-800.0, 800.0)
    ),
    *(trap(f"log(sum(exp(x))) at {x:g}", ([x, x],), ("exp", 0), ("sum", 1), ("log", 2), why=NAIVE) for x in (-800.0, 800.0)),
    trap("sum over no axis", ([1.0, 2.0],), ("sum", 0, {"axis": ()}), why="the identity"),
    trap("sum over an empty axis", (np.ones((0, 2)),), ("sum", 0, {"axis": 0}), why="nothing to differentiate"),
    trap("matmul of vectors", ([1.0, 2.0], [3.0, 4.0]), ("matmul", 0, 1), why="bilinear"),
    trap("matmul of batches", (np.ones((2, 1, 2, 3)), np.ones((4, 3, 2))), ("matmul", 0, 1), why="bilinear"),
    trap("matmul of empty batches", (np.ones((0, 2, 3)), np.ones((3, 2))), ("matmul", 0, 1), why="bilinear"),
    trap(
        "a float64 through float32",
        (1.1,),
        ("astype", 0, {"dtype": "float32"}),
        ("astype", 1, {"dtype": "float64"}),
        why="slope 1",
    ),
    trap("stop_gradient(x) * x", (3.0,), ("stop_gradient", 0), ("multiply", 0, 1), why="one factor is held"),
)
"""Errors of gradc at two of the traps (the maximum of nothing, a cast to an integer) are tests, not numbers to compare."""
