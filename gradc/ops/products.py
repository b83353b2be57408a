"""prod, and the products of all entries but one: derivatives of every order without a division, so zeros are no matter.

The derivative of P(x) = x_1 ... x_n along directions g, h, ... is a coefficient of the product of x_k + g_k e + h_k f + ...
with e e = f f = ... = 0. Products of all such factors but one come from a tree: pairs upwards, then each factor's
outside downwards. Differentiating again adds one more direction, so one op serves all orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import Call, Kernel, Node, apply
from gradc.ops.declare import function, op
from gradc.ops.reduction import (
    infer_as,
    initial_of,
    is_half,
    joined_last,
    kept,
    masked,
    operand,
    reduce_kernel,
    reduce_node,
    reduction_samples,
    split_last,
    sum_,
    widened,
    with_nan,
    without_nan,
)
from gradc.ops.samples import Sample, at, sample
from gradc.types import TensorType

__all__ = [
    "nanprod",
    "prod",
]

Array = np.ndarray[Any, Any]
_INF, _NAN, _BIG = math.inf, math.nan, 2.0**700

# --- numbers whose exponent has no bounds ----------------------------------------------------------------

_ZERO_EXPONENT = -(2**40)


class Wide(NamedTuple):
    """mantissa * 2**exponent, entry by entry: products of any length neither overflow nor underflow."""

    mantissa: Array
    exponent: Array

    @classmethod
    def of(cls, mantissa: Array, exponent: Array | int = 0) -> Wide:
        """The same number with its mantissa in [0.5, 1); zero counts as smaller than all others."""
        part, power = np.frexp(mantissa)
        return cls(part, np.where(part == 0, _ZERO_EXPONENT, exponent + power.astype(np.int64)))

    def __mul__(self, other: Any) -> Wide:
        return Wide.of(self.mantissa * other.mantissa, self.exponent + other.exponent)

    def __add__(self, other: Any) -> Wide:
        top = np.maximum(self.exponent, other.exponent)
        a, b = (np.ldexp(v.mantissa, np.maximum(v.exponent - top, -2000).astype(np.int32)) for v in (self, other))
        return Wide.of(a + b, top)

    def __getitem__(self, index: Any) -> Wide:  # type: ignore[override]
        return Wide(self.mantissa[index], self.exponent[index])

    def value(self) -> Array:
        """As floats: infinite or zero only where the number itself is beyond them."""
        return np.ldexp(self.mantissa, np.clip(self.exponent, -5000, 5000).astype(np.int32))


# --- the tree ----------------------------------------------------------------------------------------

Poly = list[Any]
"""Coefficients by the set of directions they belong to, as bits; None for a coefficient that is zero throughout."""


def _times(a: Poly, b: Poly) -> Poly:
    def coefficient(directions: int) -> Any:
        total = None
        for part in range(directions + 1):
            if part & directions == part and a[part] is not None and b[directions ^ part] is not None:
                term = a[part] * b[directions ^ part]
                total = term if total is None else total + term
        return total

    return [coefficient(k) for k in range(len(a))]


def _every_second(level: Poly, first: int) -> Poly:
    return [None if c is None else c[..., first::2] for c in level]


def _interleaved(left: Any, right: Any) -> Any:
    if left is None:
        return None
    if isinstance(left, Wide):
        return Wide(*(_interleaved(a, b) for a, b in zip(left, right, strict=True)))
    return np.stack((left, right), -1).reshape(*left.shape[:-1], -1)


def _length(numbers: Any) -> int:
    return int((numbers.mantissa if isinstance(numbers, Wide) else numbers).shape[-1])


def _outsides(leaves: Poly, one: Any) -> Poly:
    """For every factor along the last axis, a power of two of them, the product of all others."""
    levels = [leaves]
    while _length(levels[-1][0]) > 1:
        levels.append(_times(_every_second(levels[-1], 0), _every_second(levels[-1], 1)))
    outside: Poly = [one, *[None] * (len(leaves) - 1)]
    for level in reversed(levels[:-1]):
        left = _times(outside, _every_second(level, 1))
        right = _times(outside, _every_second(level, 0))
        outside = [_interleaved(a, b) for a, b in zip(left, right, strict=True)]
    return outside


def _padded(x: Any, fill: float) -> Array:
    n = x.shape[-1]
    size = 1 << max(n - 1, 0).bit_length()
    padded = np.full((*x.shape[:-1], size), fill, np.float64)
    padded[..., :n] = x
    return padded


def _fits(vectors: Sequence[Array]) -> bool:
    """True when no product of one entry of each factor can leave the range of a float."""
    exponents = [np.abs(np.frexp(v)[1]) for v in vectors]
    largest = np.maximum.reduce(exponents).sum(-1)
    return bool((largest < 900).all())


def mixed_products(out: Array, x: Array, *directions: Array) -> None:
    """Into `out`: the derivative of the product of `x` along the last axis, by every direction and by each entry."""
    n = x.shape[-1]
    if not out.size:
        return
    vectors = [_padded(x, 1.0), *(_padded(g, 0.0) for g in directions)]
    numbers: list[Any] = vectors if _fits(vectors) else [Wide.of(v) for v in vectors]
    leaves: Poly = [None] * 2 ** len(directions)
    leaves[0] = numbers[0]
    for k, g in enumerate(numbers[1:]):
        leaves[1 << k] = g
    one = np.ones((*x.shape[:-1], 1))
    found = _outsides(leaves, one if numbers is vectors else Wide.of(one))[-1]
    if found is None:
        out[...] = 0
        return
    np.copyto(out, (found.value() if isinstance(found, Wide) else found)[..., :n], "same_kind")


def other_products(x: Array, out: Array, right: Array, size: Array) -> None:
    """Into `out`: the products of the others along the last axis, from the left times from the right.

    `right` and `size` are scratch. Where one of the two is zero or leaves the range of normal numbers, by the tree.
    """
    out[..., :1] = 1
    right[..., -1:] = 1
    np.multiply.accumulate(x[..., :-1], -1, None, out[..., 1:])
    np.multiply.accumulate(x[..., :0:-1], -1, None, right[..., -2::-1])
    if _normal(out, size) and _normal(right, size):
        np.multiply(out, right, out)
    else:
        mixed_products(out, x)


def _normal(values: Array, size: Array) -> bool:
    np.absolute(values, size)
    limits = np.finfo(values.dtype)
    return not size.size or bool(size.min() >= limits.tiny and size.max() <= limits.max)


def _others(x: Any, *directions: Any) -> Any:
    out = np.empty(x.shape, x.dtype)
    if directions:
        mixed_products(out, x, *directions)
    else:
        other_products(x, out, np.empty_like(out), np.empty_like(out))
    return out


def _infer_others(x: TensorType, *directions: TensorType) -> TensorType:
    if any(g.shape != x.shape for g in directions):
        raise ShapeError(f"other_products: the directions have the shape of {x}, got {', '.join(map(str, directions))}")
    return x


def _others_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    if len(inputs) == 1:
        return Kernel((Call(other_products, "other_products", "{0}, {out}, {s0}, {s1}"),), scratch=(out, out))
    operands = ", ".join(f"{{{k}}}" for k in range(len(inputs)))
    return Kernel((Call(mixed_products, "mixed_products", f"{{out}}, {operands}"),))


def _others_rule(k: int, g: Node, out: Node, x: Node, *directions: Node) -> Node:
    """P's derivative of one order more is symmetric: a cotangent, or a tangent, takes a direction's place, or joins them."""
    if k == 0:
        return apply(others_op, (x, *directions, g))
    return apply(others_op, (x, *directions[: k - 1], g, *directions[k:]))


others_op = op(
    "other_products", infer=_infer_others, evaluate=_others, vjp=_others_rule, jvp=_others_rule, kernel=_others_kernel, scans=True
)


def products_of_others(x: Node, axes: tuple[int, ...]) -> Node:
    """The shape of `x`: at each entry the product of the other entries of its slice over `axes`."""
    return split_last(apply(others_op, (joined_last(x, axes),)), x, axes)


# --- prod ----------------------------------------------------------------------------------------------


def _prod_vjp(g: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool) -> Node:
    return kept(g, x, axes, keepdims) * products_of_others(x, axes)


def _prod_jvp(t: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool) -> Node:
    return sum_(t * products_of_others(x, axes), axes, keepdims=keepdims)


prod_op = op(
    "prod",
    infer=infer_as(np.multiply),
    evaluate=lambda x, *, axes, keepdims: np.multiply.reduce(x, axis=axes, keepdims=keepdims),
    analytic=True,
    vjp=(_prod_vjp,),
    jvp=(_prod_jvp,),
    kernel=reduce_kernel(np.multiply),
    reduces=True,
)

_ZEROS: tuple[Callable[[], Sample], ...] = (
    lambda: sample([2.0, 0.0, 3.0]),
    lambda: sample([0.0, 2.0, 0.0, 3.0]),
    lambda: sample([0.0, 0.0, 0.0]),
    lambda: sample([[0.0, 2.0], [3.0, 0.0]], axis=1),
    lambda: sample([[0.0, 2.0], [0.0, 4.0]], axis=0),
)
_PROD_EDGES = (
    at([2.0, 0.0, 3.0], value=0.0, adjoints=([0.0, 6.0, 0.0],), why="nothing is divided by the zero"),
    at([0.0, 2.0, 0.0], value=0.0, adjoints=([0.0, 0.0, 0.0],), why="each product of the others has a zero"),
    at([_BIG, _BIG, 1 / _BIG], value=_INF, adjoints=([1.0, 1.0, _INF],), why="the value is NumPy's, which overflows on the way"),
    at([1 / _BIG, 1 / _BIG, _BIG, _BIG], value=0.0, adjoints=([_BIG, _BIG, 1 / _BIG, 1 / _BIG],), why="no underflow on the way"),
)


@function("prod", numpy=(np.prod,), samples=lambda: [*reduction_samples()(), *(z() for z in _ZEROS)], edges=_PROD_EDGES)
def prod(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None
) -> Node:
    """`np.prod` over `axis`. Derivatives are right with zeros and where partial products overflow, to every order."""
    node = operand(x, "prod", dtype, out)
    product = reduce_node(prod_op, widened(masked(node, where, 1)), axis, keepdims)
    if dtype is not None or is_half(node.dtype):
        product = product.astype(node.dtype)  # small integers are multiplied as int64, and wrap the same
    return product if initial is None else product * initial_of(initial, product)


@function(
    numpy=(np.nanprod,),
    samples=with_nan(reduction_samples()),
    edges=(at([_NAN, 2.0, 3.0], value=6.0, adjoints=([0.0, 3.0, 2.0],)),),
)
def nanprod(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None
) -> Node:
    """`np.nanprod`: the product over `axis` with NaN as 1."""
    return prod(without_nan(operand(x, "nanprod", None, out), 1), axis, dtype, None, keepdims, initial, where)
