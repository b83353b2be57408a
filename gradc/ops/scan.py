"""Scans along an axis: cumsum, cumprod, diff, trapezoid, gradient.

The derivatives of cumprod are linear recurrences, r_i = b_i + a_i r_{i-1}; theirs are recurrences run the other way.
Nothing is divided, so zeros are no matter, to every order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError
from gradc.ir import Call, Kernel, Node, Op, apply, constant, lift
from gradc.ops.declare import call, function, linear, op
from gradc.ops.reduction import infer_as, operand, reduction_samples, sum_, with_nan, without_nan
from gradc.ops.samples import Sample, Samples, at, cases, normal, sample
from gradc.types import TensorType, normalize_axis, show_shape

Array = np.ndarray[Any, Any]
_INF, _NAN = math.inf, math.nan


def scan_samples(low: float = -2, high: float = 2) -> Samples:
    """Vectors, matrices and cubes along every axis, flattened, 0-d, empty, and in all layouts."""

    def make() -> list[Sample]:
        made = reduction_samples(low, high, tuples=False)()
        return [s._replace(attrs={k: v for k, v in s.attrs.items() if k != "keepdims"}) for s in made]

    return make


def _along(x: Any, axis: Any, dtype: Any, out: Any, where: str) -> tuple[Node, int]:
    """The operand and the axis of a scan: flattened where no axis is given, as NumPy does."""
    node = operand(x, where, dtype, out)
    if axis is None:
        return call("ravel", node), 0
    return node, normalize_axis(axis, node.ndim, where)


# --- cumsum ----------------------------------------------------------------------------------------------


def _infer_scan(ufunc: np.ufunc) -> Callable[..., TensorType]:
    reduced = infer_as(ufunc)

    def infer(x: TensorType, **attrs: Any) -> TensorType:
        return TensorType(x.shape, reduced(x, axes=(), keepdims=False).dtype)

    return infer


def _backwards(axis: int, reverse: bool) -> str:
    """The index that turns an array around along `axis`, as source."""
    return f"[{':, ' * axis}::-1]" if reverse else ""


def _accumulate_kernel(ufunc: np.ufunc) -> Any:
    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        axis, index = attrs["axis"], _backwards(attrs["axis"], attrs.get("reverse", False))
        arguments = f"{{0}}{index}, {axis}, None, {{out}}{index}"
        return Kernel((Call(ufunc.accumulate, f"{ufunc.__name__}_accumulate", arguments),))

    return kernel


def _cumsum(x: Any, *, axis: int, reverse: bool) -> Any:
    if not reverse:
        return np.add.accumulate(x, axis)
    return np.flip(np.add.accumulate(np.flip(x, axis), axis), axis)


cumsum_op: Op = linear(
    "cumsum",
    infer=_infer_scan(np.add),
    evaluate=_cumsum,
    transpose=lambda g, out, x, *, axis, reverse: apply(cumsum_op, (g,), (("axis", axis), ("reverse", not reverse))),
    kernel=_accumulate_kernel(np.add),
)


@function(numpy=(np.cumsum,), samples=lambda: [*scan_samples()(), sample(np.array([True, True]), gradient=False)])
def cumsum(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.cumsum` along `axis`, or of the flattened array."""
    node, along = _along(x, axis, dtype, out, "cumsum")
    return apply(cumsum_op, (node,), (("axis", along), ("reverse", False)))


@function(
    numpy=(np.nancumsum,), samples=with_nan(scan_samples()), edges=(at([1.0, _NAN], value=[1.0, 1.0], adjoints=([2.0, 0.0],)),)
)
def nancumsum(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.nancumsum`: as `cumsum`, with NaN as 0."""
    return cumsum(without_nan(operand(x, "nancumsum", dtype, out), 0), axis)


# --- cumprod ---------------------------------------------------------------------------------------------


def _shift(x: Any, *, axis: int, by: int, fill: int) -> Any:
    out = np.empty(x.shape, x.dtype)
    shift_into(x, out, axis, by, fill)
    return out


def shift_into(x: Array, out: Array, axis: int, by: int, fill: int) -> None:
    """Into `out`: `x` moved by one along `axis`, to the end (by=1) or to the start (by=-1), with `fill` in its place."""
    before = (slice(None),) * axis
    if by == 1:
        out[*before, 1:], out[*before, :1] = x[*before, :-1], fill
    else:
        out[*before, :-1], out[*before, -1:] = x[*before, 1:], fill


def _shift_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(shift_into, "shift", f"{{0}}, {{out}}, {attrs['axis']}, {attrs['by']}, {attrs['fill']}"),))


def shift(x: Node, axis: int, by: int, fill: int = 0) -> Node:
    """`x` moved by one along `axis`, with `fill` in the place that is left."""
    return apply(shift_op, (x,), (("axis", axis), ("by", by), ("fill", fill)))


shift_op = op(
    "shift",
    infer=lambda x, *, axis, by, fill: x,
    evaluate=_shift,
    vjp=(lambda g, out, x, *, axis, by, fill: shift(g, axis, -by),),
    jvp=(lambda t, out, x, *, axis, by, fill: shift(t, axis, by),),
    kernel=_shift_kernel,
)

_FEW_ROWS = 8


def recur(a: Array, b: Array, out: Array, axis: int, reverse: bool) -> None:
    """Into `out`: r_i = b_i + a_i r_{i-1} along `axis`; in reverse, r_i = b_i + a_{i+1} r_{i+1}."""
    if not out.size:
        return
    a, b, out = (np.moveaxis(v, axis, 0)[:: -1 if reverse else 1] for v in (a, b, out))
    factors = a[:-1] if reverse else a[1:]
    if out[0].size < _FEW_ROWS:
        _recur_by_row(factors, b, out)
        return
    out[0] = b[0]
    for k in range(1, len(out)):
        np.multiply(factors[k - 1], out[k - 1], out[k, ...])
        np.add(out[k], b[k], out[k, ...])


def _recur_by_row(factors: Array, b: Array, out: Array) -> None:
    """Few long rows: Python's floats are faster than calls on short arrays."""
    for row in np.ndindex(out.shape[1:]):
        addends = b[:, *row].tolist()
        value = addends[0]
        values = [value]
        for factor, addend in zip(factors[:, *row].tolist(), addends[1:], strict=True):
            value = addend + factor * value
            values.append(value)
        out[:, *row] = values


def _recurrence(a: Any, b: Any, *, axis: int, reverse: bool) -> Any:
    out = np.empty(b.shape, b.dtype)
    recur(a, b, out, axis, reverse)
    return out


def _infer_recurrence(a: TensorType, b: TensorType, *, axis: int, reverse: bool) -> TensorType:
    if a != b:
        raise ShapeError(f"recurrence: the factors {a} and the addends {b} differ")
    return b


def _recurrence_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(recur, "recur", f"{{0}}, {{1}}, {{out}}, {attrs['axis']}, {attrs['reverse']}"),))


def recurrence(a: Node, b: Node, axis: int, reverse: bool = False) -> Node:
    """r_i = b_i + a_i r_{i-1} along `axis`; in reverse, r_i = b_i + a_{i+1} r_{i+1}. The two are each other's transposes in b."""
    return apply(recurrence_op, (a, b), (("axis", axis), ("reverse", reverse)))


def _factor_vjp(g: Node, out: Node, a: Node, b: Node, *, axis: int, reverse: bool) -> Node:
    carried = recurrence(a, g, axis, not reverse)
    return shift(carried, axis, 1) * out if reverse else carried * shift(out, axis, 1)


def _factor_jvp(t: Node, out: Node, a: Node, b: Node, *, axis: int, reverse: bool) -> Node:
    change = shift(t * out, axis, -1) if reverse else t * shift(out, axis, 1)
    return recurrence(a, change, axis, reverse)


recurrence_op = op(
    "recurrence",
    infer=_infer_recurrence,
    evaluate=_recurrence,
    vjp=(_factor_vjp, lambda g, out, a, b, *, axis, reverse: recurrence(a, g, axis, not reverse)),
    jvp=(_factor_jvp, lambda t, out, a, b, *, axis, reverse: recurrence(a, t, axis, reverse)),
    kernel=_recurrence_kernel,
)

cumprod_op = op(
    "cumprod",
    infer=_infer_scan(np.multiply),
    evaluate=lambda x, *, axis: np.multiply.accumulate(x, axis),
    vjp=(lambda g, out, x, *, axis: recurrence(x, g, axis, True) * shift(out, axis, 1, fill=1),),
    jvp=(lambda t, out, x, *, axis: recurrence(x, t * shift(out, axis, 1, fill=1), axis),),
    kernel=_accumulate_kernel(np.multiply),
)

_ZEROS: tuple[Callable[[], Sample], ...] = (
    lambda: sample([2.0, 0.0, 3.0, 4.0]),
    lambda: sample([2.0, 0.0, 3.0, 0.0, 5.0]),
    lambda: sample([0.0, 0.0, 0.0]),
    lambda: sample([[0.0, 2.0], [3.0, 0.0], [4.0, 5.0]], axis=0),
    lambda: sample([[0.0, 2.0, 0.0], [3.0, 0.0, 1.0]], axis=1),
    lambda: sample(normal(3, 9), axis=0),
)


@function(
    numpy=(np.cumprod,),
    samples=lambda: [*scan_samples()(), *(z() for z in _ZEROS)],
    edges=(
        at([2.0, 0.0, 3.0], value=[2.0, 0.0, 0.0], adjoints=([1.0, 8.0, 0.0],), why="nothing is divided by the zero"),
        at([0.0, 2.0, 0.0], value=[0.0, 0.0, 0.0], adjoints=([3.0, 0.0, 0.0],)),
        at([1e-200, 1e-200, 1.0], value=[1e-200, 0.0, 0.0], adjoints=([1.0, 2e-200, 0.0],)),
    ),
)
def cumprod(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.cumprod` along `axis`, or of the flattened array. Derivatives are right with zeros, to every order."""
    node, along = _along(x, axis, dtype, out, "cumprod")
    return apply(cumprod_op, (node,), (("axis", along),))


@function(
    numpy=(np.nancumprod,), samples=with_nan(scan_samples()), edges=(at([2.0, _NAN], value=[2.0, 2.0], adjoints=([2.0, 0.0],)),)
)
def nancumprod(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.nancumprod`: as `cumprod`, with NaN as 1."""
    return cumprod(without_nan(operand(x, "nancumprod", dtype, out), 1), axis)


def _cumulative(name: str, start: int, x: Any, axis: Any, dtype: Any, out: Any, include_initial: bool) -> Node:
    node = operand(x, name, dtype, out)
    if axis is None and node.ndim != 1:
        raise ArgumentError(f"{name}: say which axis of {show_shape(node.shape)}; only 1-d arrays have a default")
    along = normalize_axis(0 if axis is None else axis, node.ndim, name)
    result = cumprod(node, along) if start else cumsum(node, along)
    if not include_initial:
        return result
    edge = (*node.shape[:along], 1, *node.shape[along + 1 :])
    return call("concatenate", (call("broadcast_to", constant(start, result.dtype), edge), result), along)


_CUMULATIVE = cases(
    lambda: sample(normal(4)), lambda: sample(normal(2, 3), axis=1), lambda: sample(normal(2, 3), axis=-2, include_initial=True)
)


@function(numpy=(np.cumulative_sum,), samples=_CUMULATIVE)
def cumulative_sum(x: Any, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False) -> Node:
    """`np.cumulative_sum` along `axis`, with a 0 in front where `include_initial` is True."""
    return _cumulative("cumulative_sum", 0, x, axis, dtype, out, include_initial)


@function(numpy=(np.cumulative_prod,), samples=_CUMULATIVE)
def cumulative_prod(x: Any, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False) -> Node:
    """`np.cumulative_prod` along `axis`, with a 1 in front where `include_initial` is True."""
    return _cumulative("cumulative_prod", 1, x, axis, dtype, out, include_initial)


# --- differences and integrals ---------------------------------------------------------------------------


def part(x: Node, axis: int, start: int | None, stop: int | None, step: int | None = None) -> Node:
    """`x[start:stop:step]` along `axis`."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def _end(value: Any, node: Node, axis: int) -> Node:
    """What is joined to an end of `node`: a number fills one more entry along `axis`."""
    (end,) = lift((value,), "diff")
    return end if end.ndim else call("broadcast_to", end, (*node.shape[:axis], 1, *node.shape[axis + 1 :]))


def _diff_samples() -> list[Sample]:
    made = [s for s in scan_samples()() if s.arrays[0].ndim]
    made = [s._replace(attrs={k: v for k, v in s.attrs.items() if v is not None}) for s in made]
    return [
        *made,
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
    samples=cases(
        lambda: sample(normal(4)), lambda: sample(normal(2, 3)), lambda: sample(normal(4), to_end=[1.0, 2.0], to_begin=3.0)
    ),
)
def ediff1d(x: Any, to_end: Any = None, to_begin: Any = None) -> Node:
    """`np.ediff1d`: differences of the flattened array, with more entries joined to the ends."""
    steps = diff(call("ravel", operand(x, "ediff1d")))
    ends = [None if e is None else call("ravel", lift((e,), "ediff1d")[0].astype(steps.dtype)) for e in (to_begin, to_end)]
    parts = [v for v in (ends[0], steps, ends[1]) if v is not None]
    return call("concatenate", tuple(parts)) if len(parts) > 1 else steps


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
    samples=cases(
        lambda: sample(normal(4)),
        lambda: sample(normal(1)),
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3), dx=0.5, axis=0),
        lambda: sample(normal(3), [0.0, 1.0, 3.0]),
        lambda: sample(normal(2, 3), [0.0, 1.0, 3.0], axis=1),
        lambda: sample(normal(3, 2), [0.0, 1.0, 3.0], axis=0),
        lambda: sample(normal(2, 3), normal(2, 3, seed=1)),
        lambda: sample(normal(2, 3, 2), normal(2, 3, 2, seed=1), axis=1),
    ),
)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Node:
    """`np.trapezoid`: the integral of `y` along `axis` by trapezia, at points `x` or `dx` apart."""
    values = operand(y, "trapezoid")
    along = normalize_axis(axis, values.ndim, "trapezoid")
    pairs = part(values, along, 1, None) + part(values, along, None, -1)
    return sum_(_steps(x, values, along, dx) * pairs / 2.0, along)
