"""Differences between neighbours, derivatives on a grid, and integrals by trapezia."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import Node, as_array, lift
from gradc.ops.declare import call, function
from gradc.ops.reduction import operand, sum_
from gradc.ops.samples import Sample, normal, sample
from gradc.ops.scan import scan_samples
from gradc.types import Size, as_integer, normalize_axes, normalize_axis, show_shape

__all__ = [
    "diff",
    "ediff1d",
    "gradient",
    "trapezoid",
]

Array = np.ndarray[Any, Any]


def part(x: Node, axis: int, start: int | None, stop: int | None, step: int | None = None) -> Node:
    """`x[start:stop:step]` along `axis`."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def _end(value: Any, node: Node, axis: int) -> Node:
    """What is joined to an end of `node`: a number fills one more entry along `axis`."""
    (end,) = lift((value,), "diff")
    return end if end.ndim else call("broadcast_to", end, (*node.shape[:axis], 1, *node.shape[axis + 1 :]))


def _with_an_axis() -> list[Sample]:
    made = [s for s in scan_samples()() if s.arrays[0].ndim]
    return [s._replace(attrs={k: v for k, v in s.attrs.items() if v is not None}) for s in made]


def _diff_samples() -> list[Sample]:
    return [
        *_with_an_axis(),
        sample(normal(5), n=2),
        sample(normal(5), n=0),
        sample(normal(2, 3), n=4),
        sample(normal(2, 4), n=2, axis=1, prepend=0.0),
        sample(normal(3, 2), axis=0, append=1.5),
        sample(normal(3), prepend=[1.0, 2.0], append=[3.0]),
        sample(np.array([True, False, False]), gradient=False),
    ]


@function(numpy=(np.diff,), samples=_diff_samples)
def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Node:
    """`np.diff`: the n-th difference along `axis`, after `prepend` and `append` are joined to its ends.

    Raises:
        ArgumentError: `n` is negative.
    """
    node = operand(x, "diff")
    n = as_integer(n, "diff: n")
    if n < 0:
        raise ArgumentError(f"diff: n counts differences and is not negative, got {n}")
    if n == 0:
        return node
    along = normalize_axis(axis, node.ndim, "diff")
    parts = [_end(prepend, node, along)] if prepend is not None else []
    parts += [node] + ([_end(append, node, along)] if append is not None else [])
    node = call("concatenate", tuple(parts), along) if len(parts) > 1 else node
    subtract = "not_equal" if node.dtype.kind == "b" else "subtract"
    for _ in range(n):
        node = call(subtract, part(node, along, 1, None), part(node, along, None, -1))
    return node


@function(
    numpy=(np.ediff1d,),
    samples=lambda: [
        *(s._replace(attrs={}) for s in scan_samples()()),
        sample(normal(4), to_end=[1.0, 2.0], to_begin=3.0),
        sample(normal(2, 2), to_begin=[[1.0, 2.0]]),
    ],
)
def ediff1d(x: Any, to_end: Any = None, to_begin: Any = None) -> Node:
    """`np.ediff1d`: differences of the flattened array, with more entries joined to the ends."""
    steps = diff(call("ravel", operand(x, "ediff1d")))
    ends = [None if e is None else call("ravel", lift((e,), "ediff1d")[0].astype(steps.dtype)) for e in (to_begin, to_end)]
    parts = [v for v in (ends[0], steps, ends[1]) if v is not None]
    return call("concatenate", tuple(parts)) if len(parts) > 1 else steps


# --- integrals -------------------------------------------------------------------------------------------


def _steps(x: Any, y: Node, along: int, dx: Any) -> Any:
    """The widths between the points along `along`, in a shape that broadcasts against `y`."""
    if x is None:
        return dx
    points = operand(x, "trapezoid")
    if points.ndim != 1:
        return diff(points, axis=along)
    return call("reshape", diff(points), tuple(-1 if k == along else 1 for k in range(y.ndim)))


@function(
    numpy=(np.trapezoid,),
    samples=lambda: [
        *_with_an_axis(),
        sample(normal(2, 3), dx=0.5, axis=0),
        sample(normal(3), [0.0, 1.0, 3.0]),
        sample(normal(2, 3), [0.0, 1.0, 3.0], axis=1),
        sample(normal(3, 2), [0.0, 1.0, 3.0], axis=0),
        sample(normal(2, 3), normal(2, 3, seed=1)),
        sample(normal(2, 3, 2), normal(2, 3, 2, seed=1), axis=1),
    ],
)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Node:
    """`np.trapezoid`: the integral of `y` along `axis` by trapezia, at points `x` or `dx` apart."""
    values = operand(y, "trapezoid")
    along = normalize_axis(axis, values.ndim, "trapezoid")
    pairs = part(values, along, 1, None) + part(values, along, None, -1)
    return sum_(_steps(x, values, along, dx) * pairs / 2.0, along)


# --- derivatives on a grid ---------------------------------------------------------------------------------

Weights = tuple[Any, Any, Any]


def _spacings(spacing: tuple[Any, ...], axes: Sequence[int], node: Node) -> list[Any]:
    """For each axis a step, or the distances between its points."""
    if len(spacing) not in (0, 1, len(axes)):
        raise ArgumentError(f"gradient: {len(spacing)} spacings for {len(axes)} axes; give none, one, or one for each axis")
    if any(isinstance(h, Node) for h in spacing):
        raise ArgumentError("gradient: the spacing is a constant of the graph, numbers or arrays of points; got a node")
    given = [as_array(h, "gradient").astype("float64") for h in spacing or (1.0,)]
    if len(given) == 1:
        given *= len(axes)
    return [_spacing(h, node.shape[a], a) for h, a in zip(given, axes, strict=True)]


def _spacing(h: Array, size: Size, axis: int) -> Any:
    if h.ndim == 0:
        return float(h)
    if h.ndim > 1 or h.shape != (size,):
        raise ShapeError(f"gradient: axis {axis} has {size} entries, its points are an array of shape {show_shape(h.shape)}")
    steps = np.diff(h)
    return float(steps[0]) if steps.size and (steps == steps[0]).all() else steps


def _inner(h: Array, shape: tuple[int, ...]) -> Weights:
    """Weights of the entries before, at and after each inner point: exact for parabolas."""
    left, right = h[:-1].reshape(shape), h[1:].reshape(shape)
    return -right / (left * (left + right)), (right - left) / (left * right), left / (right * (left + right))


def _first(h: Array) -> Weights:
    """Weights of the three entries from an end: exact for parabolas."""
    near, far = h[0], h[1]
    return -(2 * near + far) / (near * (near + far)), (near + far) / (near * far), -near / (far * (near + far))


def _combined(weights: Weights, entries: Sequence[Node]) -> Node:
    a, b, c = (call("multiply", np.asarray(w, v.dtype), v) for w, v in zip(weights, entries, strict=True))
    return call("add", call("add", a, b), c)


def _gradient_along(f: Node, h: Any, axis: int, edge_order: int) -> Node:
    def entries(*starts: int) -> list[Node]:
        return [f[(slice(None),) * axis + (k, None)] for k in starts]

    before, at_, after = part(f, axis, None, -2), part(f, axis, 1, -1), part(f, axis, 2, None)
    even = isinstance(h, float)
    if even:
        inner = (after - before) / (2.0 * h)
    else:
        inner = _combined(_inner(h, tuple(-1 if k == axis else 1 for k in range(f.ndim))), (before, at_, after))
    if edge_order == 1:
        (f0, f1), (y1, y0) = entries(0, 1), entries(-2, -1)
        first, last = (f1 - f0) / (h if even else float(h[0])), (y0 - y1) / (h if even else float(h[-1]))
    else:
        start = (-1.5 / h, 2.0 / h, -0.5 / h) if even else _first(h)
        end = (0.5 / h, -2.0 / h, 1.5 / h) if even else tuple(-w for w in reversed(_first(h[::-1])))
        first, last = _combined(start, entries(0, 1, 2)), _combined(end, entries(-3, -2, -1))
    return call("concatenate", (first, inner, last), axis)


@function(
    numpy=(np.gradient,),
    samples=lambda: [
        *(sample(normal(n, seed=k)) for k, n in enumerate((2, 3, 5))),
        *(sample(normal(3, 4), axis=a, edge_order=e) for a in (0, -1) for e in (1, 2)),
        *(sample(normal(2, 3, 4), axis=a) for a in (0, 1, 2)),
        sample(normal(4)[::-1]),
        sample(np.asfortranarray(normal(4, 3)), axis=1),
        sample(np.array([1, 4, 9]), gradient=False),
    ],
)
def gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """`np.gradient`: central differences inside, one-sided ones at the ends; a node, or a tuple of them for several axes.

    Args:
        spacing: none for 1, or a step or the points of an axis, for all axes or each.
        edge_order: 1 or 2, the order of accuracy at the ends.

    Raises:
        ArgumentError, ShapeError: the spacing does not fit, or an axis has fewer than `edge_order` + 1 entries.
    """
    node = operand(f, "gradient")
    node = node if node.dtype.kind == "f" else node.astype("float64")
    axes = normalize_axes(axis, node.ndim, "gradient") if not isinstance(axis, tuple) else axis
    along = [normalize_axis(a, node.ndim, "gradient") for a in axes]
    if edge_order not in (1, 2):
        raise ArgumentError(f"gradient: edge_order is 1 or 2, got {show(edge_order)}")
    for a in along:
        size = node.shape[a]
        if isinstance(size, int) and size < edge_order + 1:
            raise ShapeError(f"gradient: axis {a} of {show_shape(node.shape)} needs at least {edge_order + 1} entries")
    steps = _spacings(spacing, along, node)
    found = tuple(_gradient_along(node, h, a, edge_order) for h, a in zip(steps, along, strict=True))
    return found[0] if len(found) == 1 else found
