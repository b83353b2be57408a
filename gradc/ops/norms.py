"""Norms: of vectors over any axis, and of matrices: Frobenius, by rows and columns, by singular values.

The slope of a 2-norm is x / |x|, and 0 at the origin: the subgradient of least norm. No square is formed that overflows or
underflows where the norm itself does not: slices whose sum of squares is out of range are scaled by a power of two.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import Call, Kernel, Node, Op, apply, lift
from gradc.ops.declare import call, function, op
from gradc.ops.elementwise import abs_, over_distance, over_size, power, select, sign
from gradc.ops.reduction import kept, max_, may_be_empty, min_, narrowed, reduced_shape, reduction_samples, sum_
from gradc.ops.samples import Sample, at, normal, sample
from gradc.types import TensorType, normalize_axes, normalize_axis, show_shape

__all__ = [
    "matrix_norm",
    "norm",
    "vector_norm",
]

Array = np.ndarray[Any, Any]
_INF, _NAN = math.inf, math.nan
_MOST = sys.float_info.max

# --- roots of sums of powers -----------------------------------------------------------------------------


_sum_over: Any = np.add.reduce


@lru_cache(maxsize=8)
def _range(dtype: Any) -> tuple[float, float]:
    """Between these, a sum of powers neither overflowed nor lost digits to underflow."""
    limits = np.finfo(dtype)
    return float(limits.tiny / limits.eps), float(limits.max)


def _within(values: Array, low: float, high: float) -> bool:
    """low < values <= high, all of them: in two passes, or by one comparison of Python's."""
    if values.size == 1:
        return bool(low < values.item() <= high)
    return not values.size or bool(values.min() > low and values.max() <= high)


def scale_of(x: Array, axes: tuple[int, ...], smallest: bool = False) -> Array:
    """A power of two beside the largest entry of each slice, or the smallest, so that dividing by it is exact.

    It is 1 where that is zero or infinite.
    """
    size = np.abs(x)
    top = size.min(axes, keepdims=True, initial=_INF) if smallest else size.max(axes, keepdims=True, initial=0)
    scale: Array = np.ldexp(np.ones_like(top), np.frexp(top)[1] - 1)
    return np.where((top > 0) & np.isfinite(top), scale, 1)


def root_of_squares(
    x: Array, out: Any, squares: Array, axes: tuple[int, ...], keepdims: bool, flat: bool = False, count: Any = None
) -> None:
    """Into `out`: sqrt(sum(x * x) / count) over `axes`, in one product of all entries if `flat`; `squares` is scratch."""
    if flat:
        np.dot(x.reshape(-1), x.reshape(-1), out.reshape(()))
    else:
        np.multiply(x, x, squares)
        _sum_over(squares, axes, None, out, keepdims)
    scale = None
    if not _within(out, *_range(out.dtype)):
        scale = scale_of(x, axes)
        np.divide(x, scale, squares)
        np.multiply(squares, squares, squares)
        _sum_over(squares, axes, None, out, keepdims)
    if count is not None:
        np.divide(out, count, out)
    np.sqrt(out, out)
    if scale is not None:
        np.multiply(out, scale.reshape(out.shape), out)


def root_of_powers(x: Array, out: Any, powers: Array, axes: tuple[int, ...], keepdims: bool, p: float) -> None:
    """Into `out`: sum(|x|**p) ** (1/p) over `axes`; `powers` is scratch. Below p = 0 the smallest entry counts most."""

    def summed(values: Array) -> None:
        np.absolute(values, powers)
        np.power(powers, p, powers)
        _sum_over(powers, axes, None, out, keepdims)

    summed(x)
    scale = None if _within(out, *_range(out.dtype)) else scale_of(x, axes, p < 0)
    if scale is not None:
        summed(x / scale)
    np.power(out, np.reciprocal(p, dtype=out.dtype), out)
    if scale is not None:
        np.multiply(out, scale.reshape(out.shape), out)


def unit_into(x: Array, size: Array, out: Array) -> None:
    """Into `out`: x / size; 0 where the size is 0, and where it is infinite the limit, shared by the infinite entries."""
    np.divide(x, size, out)
    if _within(size, 0.0, _MOST):
        return
    np.copyto(out, 0, where=size == 0)
    infinite = np.isinf(x) & np.isinf(size)
    axes = tuple(k for k, n in enumerate(size.shape) if n == 1)
    count = infinite.sum(axes, keepdims=True)
    np.copyto(out, np.sign(x) / np.sqrt(np.maximum(count, 1)), "same_kind", where=infinite)


def _unit(x: Any, size: Any, *, axes: tuple[int, ...]) -> Any:
    out = np.empty(x.shape, x.dtype)
    unit_into(x, size, out)
    return out


def _infer_unit(x: TensorType, size: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    if size != TensorType(reduced_shape(x.shape, axes, True), x.dtype):
        raise ShapeError(f"unit: {size} is no size of {x} over the axes {axes}")
    return x


def unit(x: Node, size: Node, axes: tuple[int, ...]) -> Node:
    """x / size, where `size`, with axes of length 1, is a norm of `x` over `axes`; 0 at the origin, with its derivative."""
    return apply(unit_op, (x, size), (("axes", axes),))


def slope_of_norm(x: Node, size: Node, axes: tuple[int, ...]) -> Node:
    """The same, as the derivative of a norm: the one of least norm at the origin. Its own derivative is NaN there."""
    return apply(slope_of_norm_op, (x, size), (("axes", axes),))


def _unit_op(name: str, over: Callable[[Node, Node], Node], **traits: Any) -> Op:
    return op(
        name,
        infer=_infer_unit,
        evaluate=_unit,
        vjp=(
            lambda g, out, x, size, *, axes: over(g, size),
            lambda g, out, x, size, *, axes: -sum_(over(g, size) * out, axes, keepdims=True),
        ),
        jvp=(
            lambda t, out, x, size, *, axes: over(t, size),
            lambda t, out, x, size, *, axes: -(over(t, size) * out),
        ),
        kernel=lambda inputs, out, attrs: Kernel((Call(unit_into, "unit", "{0}, {1}, {out}"),)),
        scans=True,
        **traits,
    )


unit_op = _unit_op("unit", over_distance)
slope_of_norm_op = _unit_op("slope_of_norm", over_size)


def _into_scratch(fill: Callable[..., None], option: str) -> tuple[Any, Any]:
    """`evaluate` and `kernel` of a norm that `fill(x, out, scratch, axes, keepdims, option)` computes."""

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        text = f"{{0}}, {{out}}, {{s0}}, {attrs['axes']}, {attrs['keepdims']}, {attrs[option]}"
        return Kernel((Call(fill, fill.__name__, text),), scratch=(inputs[0],))

    def evaluate(x: Any, *, axes: tuple[int, ...], keepdims: bool, **attrs: Any) -> Any:
        out = np.empty(reduced_shape(x.shape, axes, keepdims), x.dtype)
        fill(x, out, np.empty(x.shape, x.dtype), axes, keepdims, attrs[option])
        return out

    return evaluate, kernel


def _norm_rules(slope: Callable[..., Node]) -> dict[str, Any]:
    """The derivatives, and traits, of a norm whose slope at each entry is `slope(x, size, axes, **attrs)`."""

    def vjp(g: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool, **attrs: Any) -> Node:
        return kept(g, x, axes, keepdims) * slope(x, kept(out, x, axes, keepdims), axes, **attrs)

    def jvp(t: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool, **attrs: Any) -> Node:
        return sum_(t * slope(x, kept(out, x, axes, keepdims), axes, **attrs), axes, keepdims=keepdims)

    def kinks(g: Node, out: Node, x: Node, **attrs: Any) -> Node:
        return call("equal", out, 0)

    return {"vjp": (vjp,), "jvp": (jvp,), "kinks": kinks, "reduces": True, "nonnegative": True}


def _infer_norm(x: TensorType, *, axes: tuple[int, ...], keepdims: bool, **attrs: Any) -> TensorType:
    return TensorType(reduced_shape(x.shape, axes, keepdims), x.dtype)


def _power_slope(x: Node, size: Node, axes: tuple[int, ...], p: float) -> Node:
    """sign(x) (|x| / size)**(p - 1), and 0 where x is 0, which is its value or the least of its subgradients.

    Below p = 0 the norm is 0 as soon as one entry is; then it is 0 for the others too.
    """
    share = slope_of_norm(x, size, axes)
    slope = select(call("not_equal", x if p > 0 else size, 0), sign(share) * power(abs_(share), p - 1))
    return slope + slope_of_norm(x, size, axes) * 0  # at the origin, what is 0 here has no derivative; a node that no mask reads


def _unit_slope(x: Node, size: Node, axes: tuple[int, ...], flat: bool) -> Node:
    return slope_of_norm(x, size, axes)


_evaluate, _kernel = _into_scratch(root_of_squares, "flat")
norm_2 = op("norm_2", infer=_infer_norm, evaluate=_evaluate, kernel=_kernel, **_norm_rules(_unit_slope))
_evaluate, _kernel = _into_scratch(root_of_powers, "p")
norm_p = op("norm_p", infer=_infer_norm, evaluate=_evaluate, kernel=_kernel, **_norm_rules(_power_slope))

# --- norms of vectors and matrices -----------------------------------------------------------------------


def _operand(x: Any) -> Node:
    """`x` as floats; float16 is computed in float32, since its squares overflow from 256 on."""
    (node,) = lift((x,), "norm")
    if node.dtype.kind != "f":
        return node.astype("float64")
    return node.astype("float32") if node.dtype.itemsize == 2 else node


def _vector_norm(node: Node, p: Any, axes: tuple[int, ...], keepdims: bool, flat: bool = False) -> Node:
    if p is None or p == 2:
        return apply(norm_2, (node,), (("axes", axes), ("flat", flat), ("keepdims", keepdims)))
    if p == 1:
        return sum_(abs_(node), axes, keepdims=keepdims)
    if p == 0:
        return sum_(call("not_equal", node, 0).astype(node.dtype), axes, keepdims=keepdims)
    if p == _INF:
        return max_(abs_(node), axes, keepdims=keepdims, initial=0 if may_be_empty(node, axes) else None)
    if p == -_INF:
        return min_(abs_(node), axes, keepdims=keepdims)
    if not isinstance(p, (int, float, np.integer, np.floating)) or p != p:
        raise ArgumentError(f"norm: the order of a vector's norm is None or a number, got {show(p)}")
    return apply(norm_p, (node,), (("axes", axes), ("keepdims", keepdims), ("p", float(p))))


_BY_COLUMN = {1: max_, -1: min_, _INF: max_, -_INF: min_}


def _matrix_norm(node: Node, p: Any, axes: tuple[int, int], keepdims: bool) -> Node:
    rows, columns = axes
    both = (min(axes), max(axes))
    if p is None or p in ("fro", "f"):
        return _vector_norm(node, 2, both, keepdims)
    if p in (2, -2, "nuc"):
        return _singular_norm(node, p, axes, keepdims)
    known: bool = np.isscalar(p) and p in _BY_COLUMN
    if not known:
        raise ArgumentError(f"norm: the order of a matrix's norm is None, 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2, got {show(p)}")
    added, chosen = (rows, columns) if abs(p) == 1 else (columns, rows)
    empty = p > 0 and may_be_empty(node, (chosen,))
    found = _BY_COLUMN[float(p)](sum_(abs_(node), added, keepdims=True), chosen, keepdims=True, initial=0 if empty else None)
    return found if keepdims else call("reshape", found, reduced_shape(node.shape, both, False))


def _singular_norm(node: Node, p: Any, axes: tuple[int, int], keepdims: bool) -> Node:
    """The largest, the smallest, or the sum of the singular values."""
    rest = tuple(k for k in range(node.ndim) if k not in axes)
    values = call("svdvals", call("transpose", node, (*rest, *axes)))
    found = sum_(values, -1) if p == "nuc" else _extreme_value(values, p)
    return call("reshape", found, reduced_shape(node.shape, axes, True)) if keepdims else found


def _extreme_value(values: Node, p: int) -> Node:
    """The largest of singular values, 0 of none, or the smallest."""
    if p == -2:
        return min_(values, -1)
    return max_(values, -1, initial=0 if may_be_empty(values, (values.ndim - 1,)) else None)


def _norm_samples() -> list[Sample]:
    def orders(*values: Any, **options: Any) -> list[Sample]:
        rows = (normal(5), normal(4, 3)[:, 1], normal(3)[::-1])
        return [sample(row, ord=p, **options) for p in values for row in rows]

    matrices = [
        sample(normal(3, 4, seed=k), ord=p, **options)
        for k, p in enumerate(("fro", 1, -1, _INF, -_INF))
        for options in ({}, {"axis": (1, 0)}, {"axis": (0, 1), "keepdims": True})
    ]
    singular = [sample(normal(*s, seed=k), ord=p) for k, p in enumerate((2, -2, "nuc")) for s in ((3, 4), (3, 2), (2, 2))]
    return [
        *[s for s in reduction_samples(0.5, 2, tuples=False)() if s.arrays[0].ndim or not s.attrs],
        *orders(1, 2, 3, 2.5, _INF, -_INF, 0),
        *orders(-1, -2.5),
        *orders(4.0, axis=-1, keepdims=True),
        *matrices,
        *singular,
        sample(normal(2, 3, 2), axis=(2, 0), ord="nuc", keepdims=True),
        sample(normal(2, 3, 2), axis=(0, 2)),
        sample(normal(2, 3, 2), axis=(-1, 1), keepdims=True),
        sample(normal(2, 3, 2), axis=1, ord=3),
        sample(normal(2, 3, 2), axis=(2, 0), ord=1),
        sample(np.array([3, 4]), gradient=False),
    ]


_NORM_EDGES = (
    at([0.0, 0.0], value=0.0, adjoints=([0.0, 0.0],), why="least norm of the unit ball"),
    at([[0.0, 0.0], [3.0, 4.0]], value=[0.0, 5.0], adjoints=([[0.0, 0.0], [0.6, 0.8]],), axis=1),
    at([3 * 2.0**600, 4 * 2.0**600], value=5 * 2.0**600, adjoints=([0.6, 0.8],), why="no square overflows"),
    at([3 * 2.0**-600, 4 * 2.0**-600], value=5 * 2.0**-600, adjoints=([0.6, 0.8],), why="no square underflows"),
    at([_INF, 1.0], value=_INF, adjoints=([1.0, 0.0],), why="the limits"),
    at([0.0, -2.0], value=2.0, adjoints=([0.0, -1.0],), ord=1, why="a kink at 0"),
    at([2.0, -2.0], value=2.0, adjoints=([0.5, -0.5],), ord=_INF, why="ties share equally"),
    at([2.0, -2.0], value=2.0, adjoints=([0.5, -0.5],), ord=-_INF, why="ties share equally"),
    at([0.0, 0.0], value=0.0, adjoints=([0.0, 0.0],), ord=3),
    at([2.0, 0.0], value=1.0, adjoints=([0.0, 0.0],), ord=0, why="it counts"),
    at([1.0, 2.0], value=2 / 3, adjoints=([4 / 9, 1 / 9],), ord=-1),
    at([2.0, 0.0], value=0.0, adjoints=([0.0, 0.0],), ord=-1, why="flat in the one, a kink in the other"),
    at([3 * 2.0**-600, 6 * 2.0**-600], value=2.0**-599, adjoints=([4 / 9, 1 / 9],), ord=-1, why="no power overflows"),
    at(np.zeros((2, 2)).tolist(), value=0.0, adjoints=(np.zeros((2, 2)).tolist(),), ord="nuc", why="least norm of the unit ball"),
    at([[2.0, 0.0], [0.0, 2.0]], value=2.0, adjoints=([[0.5, 0.0], [0.0, 0.5]],), ord=2, why="equal singular values share"),
)


@function(numpy=(np.linalg.norm,), samples=_norm_samples, edges=_NORM_EDGES)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Node:
    """`np.linalg.norm`: of all entries, of vectors (`axis` an integer) or of matrices (`axis` a pair).

    Args:
        ord: of vectors None or 2, inf, -inf, 0, or any other number; of matrices None or "fro", 1, -1, inf, -inf, and
            by singular values 2, -2, "nuc".

    Raises:
        ArgumentError: there is no such norm.
    """
    (given,) = lift((x,), "norm")
    node = _operand(given)
    if axis is None and (ord is None or (ord in ("fro", "f") and node.ndim == 2) or (ord == 2 and node.ndim == 1)):
        return narrowed(_vector_norm(node, 2, tuple(range(node.ndim)), keepdims, flat=True), given)
    asked = tuple(range(node.ndim)) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(normalize_axis(a, node.ndim, "norm") for a in asked)
    normalize_axes(axes, node.ndim, "norm")
    if len(axes) == 1:
        return narrowed(_vector_norm(node, ord, axes, keepdims), given)
    if len(axes) != 2:
        raise ArgumentError(f"norm: {show_shape(node.shape)} over {len(axes)} axes is neither a vector nor a matrix; give axis=")
    return narrowed(_matrix_norm(node, ord, (axes[0], axes[1]), keepdims), given)


@function(
    numpy=(np.linalg.vector_norm,),
    samples=lambda: [
        *reduction_samples(0.5, 2, tuples=False)(),
        sample(normal(2, 3), ord=1, axis=None),
        sample(normal(2, 3, 2), axis=(1, 2)),
        sample(normal(2, 3, 2), ord=3, axis=(-2, -1), keepdims=True),
    ],
    edges=(at([[0.0, 0.0]], value=0.0, adjoints=([[0.0, 0.0]],), why="least norm of the unit ball"),),
)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Node:
    """`np.linalg.vector_norm`: of the entries over `axis` as one vector: None for all, an integer, or a tuple."""
    (given,) = lift((x,), "vector_norm")
    node = _operand(given)
    return narrowed(_vector_norm(node, ord, normalize_axes(axis, node.ndim, "vector_norm"), keepdims), given)


@function(
    numpy=(np.linalg.matrix_norm,),
    samples=lambda: [
        sample(normal(*shape), ord=p, keepdims=keepdims)
        for shape in ((3, 2), (2, 2, 3))
        for p in ("fro", 1, -1, _INF, -_INF, 2, -2, "nuc")
        for keepdims in (False, True)
    ],
)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Node:
    """`np.linalg.matrix_norm`: of the matrices in the last two axes; `ord` as in `norm`."""
    (node,) = lift((x,), "matrix_norm")
    if node.ndim < 2:
        raise ShapeError(f"matrix_norm: expected at least two axes, got {show_shape(node.shape)}")
    return norm(node, ord, (-2, -1), keepdims)
