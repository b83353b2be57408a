"""Determinants, whose derivatives are right where the matrix is singular."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc.ir import Node, Op
from gradc.ops.declare import call, function, op
from gradc.ops.decompositions import inv_op
from gradc.ops.matrices import (
    column,
    diagonals,
    matrices,
    scalar,
    square_samples,
)
from gradc.ops.products import mixed_products
from gradc.ops.samples import at, sample
from gradc.types import TensorType

__all__ = [
    "det",
    "slogdet",
]

Array = np.ndarray[Any, Any]


def _product_of(x: Node, y: Node) -> Node:
    """The sum of the products of the entries of two matrices."""
    return call("sum", x * y, (-2, -1))


# --- det, slogdet -------------------------------------------------------------------------------------------

_WELL = 1e4


def _inverse_if_well(a: Array) -> tuple[Array, Array] | None:
    """Determinants and inverses, where every matrix is so far from singular that they give all digits."""
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return None
    size = np.linalg.det(a)
    condition = np.linalg.norm(a, axis=(-2, -1)) * np.linalg.norm(inverse, axis=(-2, -1))
    normal_size = (np.abs(size) >= np.finfo(a.dtype).tiny) & np.isfinite(size)
    return (size, inverse) if (normal_size & (condition < _WELL)).all() else None


class _Products(NamedTuple):
    """a = U s Vh; the products of all singular values but one, and but two."""

    u: Array
    vh: Array
    sign: Array
    but_one: Array
    but_two: Array


def _products(a: Array) -> _Products:
    """No product holds a value that it should leave out, so they are right where singular values are 0.

    All but the two least are divided out of their product; where one of those is 0, so are all products.
    """
    u, s, vh = np.linalg.svd(a)
    sign = np.rint(np.linalg.det(u) * np.linalg.det(vh))
    n = s.shape[-1]
    if n == 1:
        return _Products(u, vh, sign, np.ones_like(s), np.zeros_like(a))
    head = s[..., :-2]
    whole = head.prod(-1)[..., None]
    without = np.concatenate((np.divide(1, head, where=head > 0, out=np.zeros_like(head)), np.ones_like(s[..., :2])), -1)
    last, other = s[..., -1:], s[..., -2:-1]
    but_one = np.empty_like(s)
    mixed_products(but_one, s)
    rest = np.ones((*s.shape, n), s.dtype)
    rest[..., :-2, :-2] = (last * other)[..., None]
    rest[..., :-2, -2] = rest[..., -2, :-2] = last
    rest[..., :-2, -1] = rest[..., -1, :-2] = other
    but_two = whole[..., None] * without[..., None, :] * without[..., :, None] * rest
    but_two[..., np.arange(n), np.arange(n)] = 0
    return _Products(u, vh, sign, but_one, but_two)


def _finite(evaluate: Any, a: Array, *others: Array) -> Array:
    """`evaluate`, NaN for matrices that are not finite: LAPACK's iterations do not end on them."""
    if not a.size:
        return np.empty(a.shape, a.dtype)
    good = np.isfinite(a).all((-2, -1), keepdims=True)
    if good.all():
        whole: Array = evaluate(a, *others)
        return whole
    found = evaluate(np.where(good, a, np.eye(a.shape[-1], dtype=a.dtype)), *others)
    masked: Array = np.where(good, found, a.dtype.type(np.nan))
    return masked


def _cofactors_of(a: Array) -> Array:
    well = _inverse_if_well(a)
    if well is not None:
        size, inverse = well
        return size[..., None, None] * inverse.swapaxes(-1, -2)
    p = _products(a)
    return (p.sign[..., None, None] * p.u * p.but_one[..., None, :]) @ p.vh


def _slope_of(a: Array, h: Array) -> Array:
    well = _inverse_if_well(a)
    if well is not None:
        size, x = well
        xh = x @ h
        traces = np.trace(xh, axis1=-2, axis2=-1)[..., None, None]
        return size[..., None, None] * (traces * x - xh @ x).swapaxes(-1, -2)  # type: ignore[no-any-return]
    p = _products(a)
    turned = p.u.swapaxes(-1, -2) @ h @ p.vh.swapaxes(-1, -2)
    inner = -p.but_two * turned.swapaxes(-1, -2)
    n = a.shape[-1]
    diagonal = turned[..., np.arange(n), np.arange(n)]
    inner[..., np.arange(n), np.arange(n)] = (p.but_two @ diagonal[..., None])[..., 0]
    return (p.sign[..., None, None] * p.u) @ inner @ p.vh  # type: ignore[no-any-return]


def _third(a: Node, h: Node, k: Node) -> Node:
    """The third derivative of det along `h` and `k`, by the inverse: the last that is written out, for regular matrices."""
    x = inv_op(a)
    xh, xk = x @ h, x @ k
    th, tk = (scalar(call("sum", diagonals(v), -1)) for v in (xh, xk))
    both = scalar(_product_of(xh, xk.mT))
    inner = (th * tk - both) * x - th * (xk @ x) - tk * (xh @ x) + (xh @ xk + xk @ xh) @ x
    return scalar(det_op(a)) * inner.mT


cofactor_slope: Op = op(
    "cofactor_slope",
    infer=lambda a, h: a,
    evaluate=lambda a, h: _finite(_slope_of, a, h),
    vjp=(lambda g, out, a, h: _third(a, h, g), lambda g, out, a, h: cofactor_slope(a, g)),
    jvp=(lambda t, out, a, h: _third(a, h, t), lambda t, out, a, h: cofactor_slope(a, t)),
)
"""The derivative of the cofactors along `h`: the second derivative of det, a symmetric form."""
cofactors = op(
    "cofactors",
    infer=lambda a: a,
    evaluate=lambda a: _finite(_cofactors_of, a),
    vjp=(lambda g, out, a: cofactor_slope(a, g),),
    jvp=(lambda t, out, a: cofactor_slope(a, t),),
)
"""The derivative of det, det(a) a^-T, right where `a` is singular: rank n - 1 has cofactors, lower ranks have none."""
det_op = op(
    "det",
    infer=lambda a: TensorType(a.shape[:-2], a.dtype),
    evaluate=np.linalg.det,
    vjp=(lambda g, out, a: scalar(g) * cofactors(a),),
    jvp=(lambda t, out, a: _product_of(cofactors(a), t),),
    analytic=True,
    flops=lambda shapes, shape: int(np.prod(shapes[0])) * shapes[0][-1],
)


@function(
    numpy=(np.linalg.det,),
    samples=lambda: [
        *square_samples(),
        sample(np.diag([2.0, 1.0, 0.0]) + np.diag([1.0, 1.0], 1)),
        sample(np.diag([0.0, 3.0, 0.0])),
        sample(np.zeros((2, 2))),
    ],
    edges=(
        at([[0.0, 0.0], [0.0, 2.0]], value=0.0, adjoints=([[2.0, 0.0], [0.0, 0.0]],), why="rank n - 1: the cofactors"),
        at(np.diag([3.0, 0.0, 0.0]).tolist(), value=0.0, adjoints=(np.zeros((3, 3)).tolist(),), why="rank n - 2: zero"),
        at([[2.0]], value=2.0, adjoints=([[1.0]],)),
    ),
)
def det(a: Any) -> Node:
    """`np.linalg.det` of square matrices (..., n, n).

    The adjoint is g times the cofactors, without a division, so that it is right where the matrix is singular, at second order
    too; third and higher derivatives are by the inverse, and need a regular matrix.
    """
    return det_op(matrices("det", a, square=True))


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Node
    logabsdet: Node


def _slogdet_tangent(t: Node, out: Node, a: Node) -> Node:
    change = column(_product_of(inv_op(a).mT, t))
    return call("place_axis", change, out.ndim - 1, 1, out.shape)


slogdet_op = op(
    "slogdet",
    infer=lambda a: TensorType((*a.shape[:-2], 2), a.dtype),
    evaluate=lambda a: np.stack(np.linalg.slogdet(a), -1),
    vjp=(lambda g, out, a: scalar(g[..., 1]) * inv_op(a).mT,),
    jvp=(_slogdet_tangent,),
    flops=lambda shapes, shape: int(np.prod(shapes[0])) * shapes[0][-1],
)
"""Sign and logarithm of the determinant, side by side."""


@function(numpy=(np.linalg.slogdet,), samples=square_samples)
def slogdet(a: Any) -> SlogdetResult:
    """`np.linalg.slogdet` of square matrices (..., n, n): the sign, whose derivative is 0, and log |det|, that has a^-T."""
    packed = slogdet_op(matrices("slogdet", a, square=True))
    return SlogdetResult(packed[..., 0], packed[..., 1])
