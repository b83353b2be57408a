"""Scans along an axis: cumsum and cumprod, with and without NaN.

The derivatives of cumprod are linear recurrences, r_i = b_i + a_i r_{i-1}; theirs are recurrences run the other way.
Nothing is divided, so zeros are no matter, to every order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError
from gradc.ir import Call, Kernel, Node, Op, apply, constant
from gradc.ops.declare import call, function, linear, op
from gradc.ops.recipes import do
from gradc.ops.reduction import WIDE, infer_as, is_half, narrowed, operand, reduction_samples, widened, with_nan, without_nan
from gradc.ops.samples import Sample, Samples, at, normal, sample, uniform
from gradc.types import TensorType, normalize_axis, show_shape

__all__ = [
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "nancumprod",
    "nancumsum",
]

Array = np.ndarray[Any, Any]
_INF, _NAN = math.inf, math.nan


def scan_samples(low: float = -2, high: float = 2) -> Samples:
    """Vectors, matrices and cubes along every axis, flattened, 0-d, empty, and in all layouts."""

    def make() -> list[Sample]:
        made = [
            *reduction_samples(low, high, tuples=False)(),
            sample(uniform(low, high, 2, 2, 3, seed=7), axis=1),
            sample(np.asfortranarray(uniform(low, high, 3, 2, seed=8)), axis=None),
            sample(np.broadcast_to(uniform(low, high, 3, seed=9), (2, 3)), axis=-1),
            sample(uniform(low, high, 1, 4, seed=10), axis=0),
        ]
        return [s._replace(attrs={k: v for k, v in s.attrs.items() if k != "keepdims"}) for s in made]

    return make


def _along(x: Any, axis: Any, dtype: Any, out: Any, where: str) -> tuple[Node, int]:
    """The operand and the axis of a scan: flattened where no axis is given, as NumPy does."""
    node = operand(x, where, dtype, out)
    if axis is None:
        return call("ravel", node), 0
    return node, normalize_axis(axis, node.ndim, where)


def _in_dtype(scan: Node, node: Node, dtype: Any) -> Node:
    """A scan in the dtype that was asked for: small integers are scanned as int64, and wrap the same."""
    return scan if dtype is None else scan.astype(node.dtype)


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
        wide = is_half(out.dtype)
        arguments = f"{{0}}{index}, {axis}, {repr(WIDE.char) if wide else None}, {{{'s0' if wide else 'out'}}}{index}"
        scan = Call(ufunc.accumulate, f"{ufunc.__name__}_accumulate", arguments)
        if not wide:
            return Kernel((scan,))
        return Kernel((scan, do(np.copyto, "{out}, {s0}, 'same_kind'")), scratch=(TensorType(out.shape, WIDE),))

    return kernel


def _cumsum(x: Any, *, axis: int, reverse: bool) -> Any:
    if is_half(x.dtype):
        return _cumsum(x.astype(WIDE), axis=axis, reverse=reverse).astype(x.dtype)
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
    """`np.cumsum` along `axis`, or of the flattened array; float16 is added in float32."""
    node, along = _along(x, axis, dtype, out, "cumsum")
    return _in_dtype(apply(cumsum_op, (node,), (("axis", along), ("reverse", False))), node, dtype)


@function(
    numpy=(np.nancumsum,), samples=with_nan(scan_samples()), edges=(at([1.0, _NAN], value=[1.0, 1.0], adjoints=([2.0, 0.0],)),)
)
def nancumsum(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.nancumsum`: as `cumsum`, with NaN as 0."""
    return cumsum(without_nan(operand(x, "nancumsum", None, out), 0), axis, dtype)


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
    analytic=True,
    vjp=(lambda g, out, x, *, axis, by, fill: shift(g, axis, -by),),
    jvp=(lambda t, out, x, *, axis, by, fill: shift(t, axis, by),),
    kernel=_shift_kernel,
)

_FEW_ROWS, _LONG = 8, 512


def recur(a: Array, b: Array, out: Array, axis: int, reverse: bool) -> None:
    """Into `out`: r_i = b_i + a_i r_{i-1} along `axis`; in reverse, r_i = b_i + a_{i+1} r_{i+1}."""
    if not out.size:
        return
    a, b, out = (np.moveaxis(v, axis, 0)[:: -1 if reverse else 1] for v in (a, b, out))
    factors = a[:-1] if reverse else a[1:]
    (_recur_by_row if out[0].size < _FEW_ROWS else _recur_by_step)(factors, b, out)
    if not np.isfinite(out).all() and np.isfinite(factors).all() and np.isfinite(b).all():
        _recur_past_zeros(factors, b, out)


def _recur_by_step(factors: Array, b: Array, out: Array) -> None:
    """Many short rows, one step of all at once."""
    out[0] = b[0]
    for k in range(1, len(out)):
        np.multiply(factors[k - 1], out[k - 1], out[k, ...])
        np.add(out[k], b[k], out[k, ...])


def _recur_past_zeros(factors: Array, b: Array, out: Array) -> None:
    """A factor of zero carries nothing on, though what it is multiplied by has overflowed."""
    out[0] = b[0]
    for k in range(1, len(out)):
        carried = np.where(factors[k - 1] == 0, 0, factors[k - 1] * out[k - 1])
        np.add(carried, b[k], out[k, ...])


def _recur_by_row(factors: Array, b: Array, out: Array) -> None:
    """Few long rows, each by itself."""
    for row in np.ndindex(out.shape[1:]):
        a, addends = factors[:, *row].astype(np.float64), b[:, *row].astype(np.float64)
        values = _in_blocks(a, addends) if len(addends) >= _LONG else None
        out[:, *row] = _one_by_one(a, addends) if values is None else values


def _one_by_one(factors: Array, addends: Array) -> list[float]:
    """In Python's floats, which are faster than calls on short arrays."""
    value, *rest = addends.tolist()
    values = [value]
    for factor, addend in zip(factors.tolist(), rest, strict=True):
        value = addend + factor * value
        values.append(value)
    return values


def _in_blocks(factors: Array, addends: Array) -> Array | None:
    """All blocks of a row at once, each as if it started from zero; then what each carries into the next.

    None where a product of factors within a block is zero or leaves the range of normal numbers.
    """
    n = len(addends)
    width = math.isqrt(n)
    count = -(-n // width)

    def columns(values: Array, fill: float) -> Array:
        padded = np.full(count * width, fill)
        padded[count * width - len(values) :] = values  # in front, so that what is carried in there is nothing
        return np.ascontiguousarray(padded.reshape(count, width).T)

    a, local = columns(factors, 1.0), columns(addends, 0.0)
    products = np.multiply.accumulate(a)
    size = np.abs(products)
    if not (size.min() >= np.finfo(float).tiny and size.max() < _INF):
        return None
    for k in range(1, width):
        local[k] += a[k] * local[k - 1]
    carried = [0.0, *_one_by_one(products[-1, 1:], local[-1])[:-1]]
    values: Array = (local + products * carried).T.reshape(-1)[count * width - n :]
    return values if np.isfinite(values).all() else None


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
    analytic=True,
    vjp=(_factor_vjp, lambda g, out, a, b, *, axis, reverse: recurrence(a, g, axis, not reverse)),
    jvp=(_factor_jvp, lambda t, out, a, b, *, axis, reverse: recurrence(a, t, axis, reverse)),
    kernel=_recurrence_kernel,
    scans=True,
)

cumprod_op = op(
    "cumprod",
    infer=_infer_scan(np.multiply),
    evaluate=lambda x, *, axis: np.multiply.accumulate(x, axis),
    analytic=True,
    vjp=(lambda g, out, x, *, axis: recurrence(x, g, axis, True) * shift(out, axis, 1, fill=1),),
    jvp=(lambda t, out, x, *, axis: recurrence(x, t * shift(out, axis, 1, fill=1), axis),),
    kernel=_accumulate_kernel(np.multiply),
    scans=True,
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
        at(
            [2.0, 0.0, 1e308, 100.0],
            value=[2.0, 0.0, 0.0, 0.0],
            adjoints=([1.0, _INF, 0.0, 0.0],),
            why="0 times an overflow is 0",
        ),
    ),
)
def cumprod(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.cumprod` along `axis`, or of the flattened array. Derivatives are right with zeros, to every order.

    float16 is multiplied in float32.
    """
    node, along = _along(x, axis, dtype, out, "cumprod")
    product = apply(cumprod_op, (widened(node),), (("axis", along),))
    return narrowed(_in_dtype(product, node, dtype), node)


@function(
    numpy=(np.nancumprod,), samples=with_nan(scan_samples()), edges=(at([2.0, _NAN], value=[2.0, 2.0], adjoints=([2.0, 0.0],)),)
)
def nancumprod(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Node:
    """`np.nancumprod`: as `cumprod`, with NaN as 1."""
    return cumprod(without_nan(operand(x, "nancumprod", None, out), 1), axis, dtype)


def _cumulative(name: str, start: int, x: Any, axis: Any, dtype: Any, out: Any, include_initial: bool) -> Node:
    node = operand(x, name, None, out)
    if axis is None and node.ndim != 1:
        raise ArgumentError(f"{name}: say which axis of {show_shape(node.shape)}; only 1-d arrays have a default")
    along = normalize_axis(0 if axis is None else axis, node.ndim, name)
    result = cumprod(node, along, dtype) if start else cumsum(node, along, dtype)
    if not include_initial:
        return result
    edge = (*node.shape[:along], 1, *node.shape[along + 1 :])
    return call("concatenate", (call("broadcast_to", constant(start, result.dtype), edge), result), along)


def _cumulative_samples() -> list[Sample]:
    made = [s for s in scan_samples()() if s.attrs.get("axis") is not None or s.arrays[0].ndim == 1]
    made = [s._replace(attrs={k: v for k, v in s.attrs.items() if v is not None}) for s in made]
    return [*made, *(s._replace(attrs={**s.attrs, "include_initial": True}) for s in made[:8])]


@function(numpy=(np.cumulative_sum,), samples=_cumulative_samples)
def cumulative_sum(x: Any, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False) -> Node:
    """`np.cumulative_sum` along `axis`, with a 0 in front where `include_initial` is True."""
    return _cumulative("cumulative_sum", 0, x, axis, dtype, out, include_initial)


@function(numpy=(np.cumulative_prod,), samples=_cumulative_samples)
def cumulative_prod(x: Any, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False) -> Node:
    """`np.cumulative_prod` along `axis`, with a 1 in front where `include_initial` is True."""
    return _cumulative("cumulative_prod", 1, x, axis, dtype, out, include_initial)
