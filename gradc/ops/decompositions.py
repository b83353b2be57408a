"""Inverses, determinants, linear systems and decompositions of matrices in the last two axes, batches in those before.

Conventions. A decomposition of a symmetric matrix (`cholesky`, `eigh`, `eigvalsh`) reads one triangle, as NumPy's does, and its
adjoint is that of a function of symmetric matrices: symmetric, half of it in each triangle. Where eigenvalues or singular
values are equal to rounding, their adjoints are shared equally among them, whatever basis was found, and the parts of
eigenvectors' derivatives that are not defined there, those along the other vectors of the same value, are 0, as is the slope of
a singular value that is 0: of all candidates the one of least norm.

What fails for a value (a singular matrix) raises `gradc.errors.EvaluationError` when the graph runs. NumPy keeps no
factorisation, so the adjoint of `solve` factorises a second time.

Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation (2008); Murray,
Differentiation of the Cholesky decomposition (2016); Walter and Lehmann, Algorithmic differentiation of linear algebra
functions (2012); Townsend, Differentiating the singular value decomposition (2016); Seeger et al., Auto-differentiating linear
algebra (2017).
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from gradc.ir import NUMPY, Node, lift, user_origin
from gradc.ops.declare import call, function, op
from gradc.ops.elementwise import safe_divide, select
from gradc.ops.linalg import pick_diagonal, triangle
from gradc.ops.samples import Sample, at, cases, normal, sample
from gradc.types import Size, TensorType, broadcast_shapes, is_static, least_size, show_shape

__all__ = [
    "cholesky",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matrix_rank",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
]

Array = np.ndarray[Any, Any]

# --- what they have in common ----------------------------------------------------------------------------


def _operands(where: str, *values: Any) -> list[Node]:
    """`values` as floats of one dtype, as LAPACK takes them: float32 where all are, else float64."""
    nodes = lift(values, where)
    for node in nodes:
        if node.dtype == np.float16:
            raise DTypeError(f"{where}: LAPACK has no float16; cast with .astype('float32') first")
    narrow = all(node.dtype == np.float32 for node in nodes)
    return [node.astype("float32" if narrow else "float64") for node in nodes]


def _matrices(where: str, x: Any, square: bool = False) -> Node:
    (node,) = _operands(where, x)
    _check_matrices(where, node, square)
    return node


def _check_matrices(where: str, node: Node, square: bool) -> None:
    if node.ndim < 2:
        raise ShapeError(f"{where}: matrices in the last two axes, got shape {show_shape(node.shape)}")
    if square and node.shape[-1] != node.shape[-2]:
        raise ShapeError(f"{where}: square matrices, got shape {show_shape(node.shape)}")


def _symmetric(x: Node) -> Node:
    return 0.5 * (x + x.mT)


def _column(x: Node) -> Node:
    """Vectors along the last axis as columns."""
    return call("expand_dims", x, -1)


def _row(x: Node) -> Node:
    return call("expand_dims", x, -2)


def _scalar(x: Node) -> Node:
    """Numbers, one for each matrix, that broadcast against matrices."""
    return call("expand_dims", x, (-1, -2))


def _rows(x: Node, start: Size, stop: Size) -> Node:
    return call("slice_axis", x, x.ndim - 2, start, stop)


def _stacked(*parts: Node) -> Node:
    return call("concatenate", parts, parts[0].ndim - 2)


def _product_of(x: Node, y: Node) -> Node:
    """The sum of the products of the entries of two matrices."""
    return call("sum", x * y, (-2, -1))


def _safe_inverse(mask: Node, x: Node) -> Node:
    """1 / x where `mask` holds, 0 elsewhere, in derivatives too."""
    return safe_divide(1, select(mask, x))


def symmetrised(*arrays: Any) -> list[Any]:
    """Samples of symmetric matrices, of nodes as of arrays."""
    return [x + x.mT for x in arrays]


def definite(*arrays: Any) -> list[Any]:
    """Samples of positive definite matrices: x x^T + 1, of nodes as of arrays."""
    return [x @ x.mT + np.eye(x.shape[-1], dtype=x.dtype) for x in arrays]


def _far(*shape: int, seed: int = 0) -> Array:
    """Square matrices far from singular."""
    return normal(*shape, seed=seed) + 3 * np.eye(shape[-1])


def _square_samples() -> list[Sample]:
    return [
        sample(_far(1, 1)),
        sample(_far(2, 2)),
        sample(_far(3, 3)),
        sample(_far(4, 4, seed=1)),
        sample(_far(2, 3, 3)),
        sample(_far(2, 1, 2, 2)),
        sample(normal(0, 0)),
        sample(normal(0, 2, 2)),
        sample(np.array([[2, 1], [1, 3]]), gradient=False),
    ]


# --- equal values ----------------------------------------------------------------------------------------


def _clusters(values: Array) -> Array:
    """A number for each of the sorted `values`, the same where neighbours are equal to rounding."""
    sizes = np.abs(values).max(-1, keepdims=True, initial=0)
    tolerance = values.shape[-1] * np.finfo(values.dtype).eps * sizes
    numbers = np.zeros(values.shape, np.intp)
    np.cumsum(np.abs(np.diff(values, axis=-1)) > tolerance, axis=-1, out=numbers[..., 1:])
    return numbers


def _differ(values: Any) -> Any:
    numbers = _clusters(values)
    return numbers[..., None, :] != numbers[..., :, None]


differ = op(
    "differ",
    infer=lambda values: TensorType((*values.shape, values.shape[-1]), np.dtype("bool")),
    evaluate=_differ,
    vjp=(None,),
    jvp=(None,),
)
"""Which pairs of sorted values differ by more than rounding."""


def _share(g: Any, values: Any) -> Any:
    numbers = _clusters(values)
    if not values.size or (np.diff(numbers, axis=-1) > 0).all():
        return np.array(g)
    same = (numbers[..., None, :] == numbers[..., :, None]).astype(g.dtype)
    return (same @ g[..., None])[..., 0] / same.sum(-1)


share = op(
    "share_equal",
    infer=lambda g, values: g,
    evaluate=_share,
    vjp=(lambda g, out, t, values: share(g, values), None),
    jvp=(lambda s, out, t, values: share(s, values), None),
    linear=True,
)
"""`g` in equal parts among sorted values that are equal to rounding: a mean in each group, its own transpose."""


def _present(values: Any) -> Any:
    tolerance = values.shape[-1] * np.finfo(values.dtype).eps
    return values > tolerance * values.max(-1, keepdims=True, initial=0)


present = op(
    "present",
    infer=lambda values: TensorType(values.shape, np.dtype("bool")),
    evaluate=_present,
    vjp=(None,),
    jvp=(None,),
)
"""Which singular values are not 0 to rounding of the largest."""

# --- inv, solve ------------------------------------------------------------------------------------------


inv_op = op(
    "inv",
    infer=lambda a: a,
    evaluate=np.linalg.inv,
    vjp=(lambda g, out, a: -(out.mT @ g @ out.mT),),
    jvp=(lambda t, out, a: -(out @ t @ out),),
    analytic=True,
    flops=lambda shapes, shape: 2 * int(np.prod(shape)) * shape[-1],
)


@function(numpy=(np.linalg.inv,), samples=_square_samples)
def inv(a: Any) -> Node:
    """`np.linalg.inv`: inverses of square matrices (..., n, n). d X = -X dA X (Giles 2008, 2.2.3)."""
    return inv_op(_matrices("inv", a, square=True))


def _infer_solve(a: TensorType, b: TensorType, **attrs: Any) -> TensorType:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"{show_shape(a.shape)} against {show_shape(b.shape)}: {a.shape[-1]} unknowns, {b.shape[-2]} rows")
    return TensorType((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)


def _summed_to(x: Node, like: Node) -> Node:
    return call("sum_to", x, like.shape)


solve_op = op(
    "solve",
    infer=_infer_solve,
    evaluate=np.linalg.solve,
    vjp=(
        lambda g, out, a, b: _summed_to(-(solve_op(a.mT, g) @ out.mT), a),
        lambda g, out, a, b: _summed_to(solve_op(a.mT, g), b),
    ),
    jvp=(lambda t, out, a, b: -solve_op(a, t @ out), lambda t, out, a, b: solve_op(a, t)),
    analytic=True,
    flops=lambda shapes, shape: int(np.prod(shape)) * (2 * shape[-2] + shape[-2] ** 2 // max(1, shape[-1])),
)


def _right_side(where: str, a: Any, b: Any) -> tuple[Node, Node, bool]:
    """The operands of a linear system, and whether the right side is one vector."""
    x, y = _operands(where, a, b)
    _check_matrices(where, x, square=True)
    if not y.ndim:
        raise ShapeError(f"{where}: the right side is a vector or matrices, got a number")
    return x, (_column(y) if y.ndim == 1 else y), y.ndim == 1


def _solve_samples(**options: Any) -> list[Sample]:
    return [
        sample(_far(3, 3), normal(3, seed=1), **options),
        sample(_far(3, 3), normal(3, 2, seed=1), **options),
        sample(_far(1, 1), normal(1, seed=1), **options),
        sample(_far(2, 3, 3), normal(3, seed=1), **options),
        sample(_far(2, 2, 2), normal(2, 3, seed=1), **options),
        sample(_far(2, 2), normal(3, 2, 1, seed=1), **options),
        sample(_far(2, 1, 2, 2), normal(3, 2, 2, seed=1), **options),
        sample(normal(0, 0), normal(0, 2, seed=1), **options),
        sample(_far(2, 2), normal(2, 0, seed=1), **options),
    ]


@function(
    numpy=(np.linalg.solve,),
    samples=lambda: [*_solve_samples(), sample(np.array([[2, 1], [1, 3]]), np.array([1, 2]), gradient=False)],
)
def solve(a: Any, b: Any) -> Node:
    """`np.linalg.solve`: x with a x = b. A 1-d `b` is one vector, otherwise `b` is matrices (..., n, k); batches broadcast.

    The adjoints are those of Giles 2008, 2.3.1: b' = a^-T g, a' = -b' x^T.
    """
    x, y, vector = _right_side("solve", a, b)
    solution = solve_op(x, y)
    return call("squeeze", solution, -1) if vector else solution


_BLOCK = 64


def _solve_triangular(a: Any, b: Any, *, lower: bool, trans: bool, unit: bool) -> Any:
    """Back substitution by blocks. LAPACK pivots no upper triangle, so solving with a block's is substitution."""
    if trans:
        a = a.swapaxes(-1, -2)
    if lower != trans:  # a lower triangle, read backwards, is an upper one
        return _solve_upper(a[..., ::-1, ::-1], b[..., ::-1, :], unit)[..., ::-1, :]
    return _solve_upper(a, b, unit)


def _solve_upper(a: Any, b: Any, unit: bool) -> Any:
    n = a.shape[-1]
    x = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)
    for stop in range(n, 0, -_BLOCK):
        start = max(0, stop - _BLOCK)
        block = np.triu(a[..., start:stop, start:stop], 1 if unit else 0)
        if unit:
            block += np.eye(stop - start, dtype=block.dtype)
        known = a[..., start:stop, stop:] @ x[..., stop:, :]
        x[..., start:stop, :] = np.linalg.solve(block, b[..., start:stop, :] - known)
    return x


def _triangular_adjoint(g: Node, out: Node, a: Node, b: Node, *, lower: bool, trans: bool, unit: bool) -> Node:
    right = _triangular(a, g, lower, not trans, unit)
    outer = -(out @ right.mT) if trans else -(right @ out.mT)
    return _summed_to(triangle(outer, lower, (-1 if lower else 1) if unit else 0), a)


def _triangular_tangent(t: Node, out: Node, a: Node, b: Node, *, lower: bool, trans: bool, unit: bool) -> Node:
    change = triangle(t, lower, (-1 if lower else 1) if unit else 0)
    return -_triangular(a, (change.mT if trans else change) @ out, lower, trans, unit)


def _triangular(a: Node, b: Node, lower: bool, trans: bool = False, unit: bool = False) -> Node:
    return triangular_op(a, b, lower=lower, trans=trans, unit=unit)


triangular_op = op(
    "solve_triangular",
    infer=_infer_solve,
    evaluate=_solve_triangular,
    vjp=(
        _triangular_adjoint,
        lambda g, out, a, b, *, lower, trans, unit: _summed_to(_triangular(a, g, lower, not trans, unit), b),
    ),
    jvp=(
        _triangular_tangent,
        lambda t, out, a, b, *, lower, trans, unit: _triangular(a, t, lower, trans, unit),
    ),
    analytic=True,
    flops=lambda shapes, shape: int(np.prod(shape)) * shape[-2],
)
_TRANS = {0: False, "N": False, 1: True, "T": True, 2: True, "C": True}


@function(
    samples=lambda: [
        *_solve_samples(),
        *_solve_samples(lower=True)[:5],
        *_solve_samples(lower=True, trans=1)[:3],
        *_solve_samples(trans="T", unit_diagonal=True)[:3],
        sample(_far(70, 70) / 8, normal(70, seed=1), lower=True),
    ]
)
def solve_triangular(a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False) -> Node:
    """x with a x = b, or a^T x = b for `trans` 1, where `a` is the upper triangle of a matrix, or its `lower` one.

    `a` is (..., n, n), `b` as in `solve`. The other triangle is not read, nor is the diagonal where it counts as ones
    (`unit_diagonal`); their adjoints are exactly zero. By substitution in blocks, in NumPy alone.
    """
    if isinstance(trans, bool) or trans not in _TRANS:
        raise ArgumentError(f"solve_triangular: trans is 0, 1, 'N' or 'T', got {trans!r}")
    x, y, vector = _right_side("solve_triangular", a, b)
    solution = _triangular(x, y, bool(lower), _TRANS[trans], bool(unit_diagonal))
    return call("squeeze", solution, -1) if vector else solution


# --- det, slogdet ----------------------------------------------------------------------------------------

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
    ends = np.concatenate((np.broadcast_to(last * other, head.shape), last, other), -1)
    but_one = whole * without * ends
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
        return evaluate(a, *others)  # type: ignore[no-any-return]
    return np.where(good, evaluate(np.where(good, a, np.eye(a.shape[-1], dtype=a.dtype)), *others), a.dtype.type(np.nan))


def _cofactors_of(a: Array) -> Array:
    well = _inverse_if_well(a)
    if well is not None:
        size, inverse = well
        return size[..., None, None] * inverse.swapaxes(-1, -2)  # type: ignore[no-any-return]
    p = _products(a)
    return (p.sign[..., None, None] * p.u * p.but_one[..., None, :]) @ p.vh  # type: ignore[no-any-return]


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
    th, tk = (_scalar(call("sum", pick_diagonal(v), -1)) for v in (xh, xk))
    both = _scalar(_product_of(xh, xk.mT))
    inner = (th * tk - both) * x - th * (xk @ x) - tk * (xh @ x) + (xh @ xk + xk @ xh) @ x
    return _scalar(det_op(a)) * inner.mT


cofactor_slope = op(
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
    vjp=(lambda g, out, a: _scalar(g) * cofactors(a),),
    jvp=(lambda t, out, a: _product_of(cofactors(a), t),),
    analytic=True,
    flops=lambda shapes, shape: int(np.prod(shapes[0])) * shapes[0][-1],
)


@function(
    numpy=(np.linalg.det,),
    samples=lambda: [
        *_square_samples(),
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
    return det_op(_matrices("det", a, square=True))


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Node
    logabsdet: Node


def _slogdet_tangent(t: Node, out: Node, a: Node) -> Node:
    change = _column(_product_of(inv_op(a).mT, t))
    return call("place_axis", change, out.ndim - 1, 1, out.shape)


slogdet_op = op(
    "slogdet",
    infer=lambda a: TensorType((*a.shape[:-2], 2), a.dtype),
    evaluate=lambda a: np.stack(np.linalg.slogdet(a), -1),
    vjp=(lambda g, out, a: _scalar(g[..., 1]) * inv_op(a).mT,),
    jvp=(_slogdet_tangent,),
    flops=lambda shapes, shape: int(np.prod(shapes[0])) * shapes[0][-1],
)
"""Sign and logarithm of the determinant, side by side."""


@function(numpy=(np.linalg.slogdet,), samples=_square_samples)
def slogdet(a: Any) -> SlogdetResult:
    """`np.linalg.slogdet` of square matrices (..., n, n): the sign, whose derivative is 0, and log |det|, that has a^-T."""
    packed = slogdet_op(_matrices("slogdet", a, square=True))
    return SlogdetResult(packed[..., 0], packed[..., 1])


# --- cholesky --------------------------------------------------------------------------------------------


def _halved(x: Node) -> Node:
    """The lower triangle, half of the diagonal."""
    return 0.5 * (triangle(x, True) + triangle(x, True, -1))


def _cholesky_adjoint(g: Node, out: Node, a: Node, *, upper: bool) -> Node:
    factor, bar = (out.mT, g.mT) if upper else (out, g)
    left = _triangular(factor, _halved(factor.mT @ bar), True, True)
    return _symmetric(_triangular(factor, left.mT, True, True))


def _cholesky_tangent(t: Node, out: Node, a: Node, *, upper: bool) -> Node:
    factor = out.mT if upper else out
    left = _triangular(factor, _symmetric(t), True)
    change = factor @ _halved(_triangular(factor, left.mT, True))
    return change.mT if upper else change


cholesky_op = op(
    "cholesky",
    infer=lambda a, *, upper: a,
    evaluate=lambda a, *, upper: np.linalg.cholesky(a, upper=upper),
    vjp=(_cholesky_adjoint,),
    jvp=(_cholesky_tangent,),
    flops=lambda shapes, shape: int(np.prod(shape)) * shape[-1] // 3,
)


def _symmetric_samples(via: Any, **options: Any) -> list[Sample]:
    return [
        sample(normal(1, 1), via=via, **options),
        sample(normal(2, 2), via=via, **options),
        sample(normal(3, 3), via=via, **options),
        sample(normal(4, 4, seed=3), via=via, **options),
        sample(normal(2, 3, 3, seed=2), via=via, **options),
        sample(normal(2, 1, 2, 2), via=via, **options),
        sample(normal(0, 0), via=via, **options),
        sample(normal(0, 2, 2), via=via, **options),
    ]


@function(
    numpy=(np.linalg.cholesky,),
    samples=lambda: [
        *_symmetric_samples(definite),
        *_symmetric_samples(definite, upper=True)[1:4],
        sample(np.array([[2, 1], [1, 3]]), gradient=False),
    ],
)
def cholesky(a: Any, /, *, upper: bool = False) -> Node:
    """`np.linalg.cholesky` of positive definite (..., n, n): L with a = L L^T, or its transpose where `upper`.

    One triangle is read; the adjoint is that of a symmetric matrix (Murray 2016, (10)).
    """
    return cholesky_op(_matrices("cholesky", a, square=True), upper=bool(upper))


# --- qr --------------------------------------------------------------------------------------------------


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Node
    R: Node


def _qr(a: Any) -> Any:
    q, r = np.linalg.qr(a)
    return np.concatenate((q, r.swapaxes(-1, -2)), -2)


def _infer_qr(a: TensorType) -> TensorType:
    m, n = a.shape[-2:]
    if m != n and not is_static((m, n)):
        raise ShapeError(
            f"qr: which of {m} and {n} is less is not known while the graph is built; give them numbers, or one name"
        )
    return TensorType((*a.shape[:-2], m + n, least_size(m, n)), a.dtype)


def _qr_parts(packed: Node, a: Node) -> tuple[Node, Node]:
    m, n = a.shape[-2:]
    return _rows(packed, 0, m), _rows(packed, m, m + n).mT


def _qr_adjoint(g: Node, out: Node, a: Node) -> Node:
    """Walter and Lehmann 2012, section 2: for m >= n; the columns beyond a square are Q times theirs of R."""
    q, r = _qr_parts(out, a)
    q_bar, r_bar = _qr_parts(g, a)
    m = out.shape[-1]
    beyond = None
    if m != a.shape[-1]:
        beyond = q @ r_bar[..., m:]
        q_bar = q_bar + a[..., m:] @ r_bar[..., m:].mT
        r, r_bar = r[..., :m], r_bar[..., :m]
    mixed = r @ r_bar.mT - q_bar.mT @ q
    lower = triangle(mixed, True)
    total = q_bar + q @ (lower + triangle(mixed, True, -1).mT)
    adjoint = _triangular(r, total.mT, False).mT
    return adjoint if beyond is None else call("concatenate", (adjoint, beyond), a.ndim - 1)


def _qr_tangent(t: Node, out: Node, a: Node) -> Node:
    q, r = _qr_parts(out, a)
    m = out.shape[-1]
    wide = m != a.shape[-1]
    square, change = (r[..., :m], t[..., :m]) if wide else (r, t)
    turned = _triangular(square, change.mT, False, True).mT
    inner = q.mT @ turned
    below = triangle(inner, True, -1)
    upper = inner - below + below.mT
    dq = turned - q @ upper
    dr = (upper @ square).mT
    if not wide:
        return _stacked(dq, dr)
    return _stacked(dq, dr, (dq.mT @ a[..., m:] + q.mT @ t[..., m:]).mT)


qr_op = op(
    "qr",
    infer=_infer_qr,
    evaluate=_qr,
    vjp=(_qr_adjoint,),
    jvp=(_qr_tangent,),
    flops=lambda shapes, shape: 4 * int(np.prod(shapes[0])) * shape[-1],
)
"""Q, and the transpose of R below it."""


@function(
    numpy=(np.linalg.qr,),
    samples=lambda: [
        *[sample(_far(n, n)) for n in (1, 2, 3)],
        sample(normal(4, 2)),
        sample(normal(2, 4)),
        sample(normal(3, 1)),
        sample(normal(2, 3, 2)),
        sample(normal(2, 2, 3)),
        sample(normal(3, 2), mode="r"),
        sample(normal(0, 0)),
        sample(normal(0, 3, 2)),
    ],
)
def qr(a: Any, mode: str = "reduced") -> Any:
    """`np.linalg.qr` of matrices (..., m, n): Q (..., m, k) and R (..., k, n), k the less of both; or R alone for mode "r".

    The derivative needs independent columns (the first m of them, where there are more).

    Raises:
        ArgumentError: another mode.
        ShapeError: a size is symbolic and it is not known which one is less.
    """
    if mode not in ("reduced", "r"):
        raise ArgumentError(f"qr: mode is 'reduced' or 'r', got {mode!r}")
    node = _matrices("qr", a)
    result = QRResult(*_qr_parts(qr_op(node), node))
    return result if mode == "reduced" else result.R


# --- eigh ------------------------------------------------------------------------------------------------


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Node
    eigenvectors: Node


def _eigh(a: Any, *, uplo: str) -> Any:
    values, vectors = np.linalg.eigh(a, uplo)
    return np.concatenate((values[..., None, :], vectors), -2)


def _eigh_parts(packed: Node) -> EighResult:
    return EighResult(packed[..., 0, :], packed[..., 1:, :])


def _gaps(values: Node) -> Node:
    """1 / (w_j - w_i), and 0 where they are equal."""
    return _safe_inverse(differ(values), _row(values) - _column(values))


def _eigh_adjoint(g: Node, out: Node, a: Node, *, uplo: str) -> Node:
    values, vectors = _eigh_parts(out)
    values_bar, vectors_bar = _eigh_parts(g)
    turned = _gaps(values) * (vectors.mT @ vectors_bar)
    inner = turned @ vectors.mT + _column(share(values_bar, values)) * vectors.mT
    return _symmetric(vectors @ inner)


def _eigh_tangent(t: Node, out: Node, a: Node, *, uplo: str) -> Node:
    values, vectors = _eigh_parts(out)
    turned = vectors.mT @ _symmetric(t) @ vectors
    return _stacked(_row(share(pick_diagonal(turned), values)), vectors @ (_gaps(values) * turned))


eigh_op = op(
    "eigh",
    infer=lambda a, *, uplo: TensorType((*a.shape[:-2], a.shape[-2] + 1, a.shape[-1]), a.dtype),
    evaluate=_eigh,
    vjp=(_eigh_adjoint,),
    jvp=(_eigh_tangent,),
    flops=lambda shapes, shape: 9 * int(np.prod(shape)) * shape[-1],
)
"""The eigenvalues, and the eigenvectors below them."""


def _uplo(where: str, uplo: Any) -> str:
    if uplo not in ("L", "U", "l", "u"):
        raise ArgumentError(f"{where}: UPLO is 'L' or 'U', got {uplo!r}")
    return str(uplo).upper()


@function(
    numpy=(np.linalg.eigh,),
    samples=lambda: [*_symmetric_samples(symmetrised), *_symmetric_samples(symmetrised, UPLO="U")[1:3]],
)
def eigh(a: Any, UPLO: str = "L") -> EighResult:  # noqa: N803
    """`np.linalg.eigh` of symmetric (..., n, n): eigenvalues (..., n), ascending, and eigenvectors, the columns of (..., n, n).

    Giles 2008, 3.1. Eigenvalues equal to rounding share their adjoints, and eigenvectors do not turn into one another there.
    """
    node = _matrices("eigh", a, square=True)
    return _eigh_parts(eigh_op(node, uplo=_uplo("eigh", UPLO)))


def _eigvalsh_adjoint(g: Node, out: Node, a: Node, *, uplo: str) -> Node:
    vectors = _eigh_parts(eigh_op(a, uplo=uplo)).eigenvectors
    return _symmetric((vectors * _row(share(g, out))) @ vectors.mT)


def _eigvalsh_tangent(t: Node, out: Node, a: Node, *, uplo: str) -> Node:
    vectors = _eigh_parts(eigh_op(a, uplo=uplo)).eigenvectors
    return share(call("sum", vectors * (_symmetric(t) @ vectors), -2), out)


eigvalsh_op = op(
    "eigvalsh",
    infer=lambda a, *, uplo: TensorType(a.shape[:-1], a.dtype),
    evaluate=lambda a, *, uplo: np.linalg.eigvalsh(a, uplo),
    vjp=(_eigvalsh_adjoint,),
    jvp=(_eigvalsh_tangent,),
    flops=lambda shapes, shape: 2 * int(np.prod(shapes[0])) * shape[-1],
)
_HALF = [[0.5, 0.0], [0.0, 0.5]]


@function(
    numpy=(np.linalg.eigvalsh,),
    samples=lambda: [*_symmetric_samples(symmetrised), *_symmetric_samples(symmetrised, UPLO="U")[1:3]],
    edges=(at([[2.0, 0.0], [0.0, 2.0]], value=[2.0, 2.0], adjoints=([[1.0, 0.0], [0.0, 1.0]],), why="equal eigenvalues share"),),
)
def eigvalsh(a: Any, UPLO: str = "L") -> Node:  # noqa: N803
    """`np.linalg.eigvalsh` of symmetric (..., n, n): eigenvalues (..., n), ascending. Equal ones share their adjoints.

    The adjoint is V g V^T (Giles 2008, 3.1): eigenvectors are computed with it only.
    """
    return eigvalsh_op(_matrices("eigvalsh", a, square=True), uplo=_uplo("eigvalsh", UPLO))


# --- svd -------------------------------------------------------------------------------------------------


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Node
    S: Node
    Vh: Node


def _svd(a: Any) -> Any:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate((u, s[..., None, :], vh.swapaxes(-1, -2)), -2)


def _infer_svd(a: TensorType) -> TensorType:
    m, n = a.shape[-2:]
    return TensorType((*a.shape[:-2], m + 1 + n, least_size(m, n)), a.dtype)


def _svd_parts(packed: Node, a: Node) -> tuple[Node, Node, Node]:
    """U, the singular values, V."""
    m, n = a.shape[-2:]
    s = call("squeeze", _rows(packed, m, m + 1), -2)
    return _rows(packed, 0, m), s, _rows(packed, m + 1, m + 1 + n)


def _svd_gaps(s: Node) -> Node:
    """1 / (s_j^2 - s_i^2), and 0 where they are equal."""
    return _safe_inverse(differ(s), (_row(s) - _column(s)) * (_row(s) + _column(s)))


def _svd_adjoint(g: Node, out: Node, a: Node) -> Node:
    u, s, v = _svd_parts(out, a)
    u_bar, s_bar, v_bar = _svd_parts(g, a)
    gaps, some = _svd_gaps(s), present(s)
    inverse = _row(_safe_inverse(some, s))
    left, right = u.mT @ u_bar, v.mT @ v_bar
    inner = (gaps * (left - left.mT)) * _row(s) + _column(s) * (gaps * (right - right.mT))
    core = inner @ v.mT + _column(select(some, share(s_bar, s))) * v.mT
    if v.shape[-2] != v.shape[-1]:
        core = core + (v_bar * inverse - v @ (right * inverse)).mT
    adjoint = u @ core
    if u.shape[-2] != u.shape[-1]:
        adjoint = adjoint + (u_bar * inverse - u @ (left * inverse)) @ v.mT
    return adjoint


def _svd_tangent(t: Node, out: Node, a: Node) -> Node:
    u, s, v = _svd_parts(out, a)
    gaps, some = _svd_gaps(s), present(s)
    inverse = _row(_safe_inverse(some, s))
    tv, tu = t @ v, t.mT @ u
    turned = u.mT @ tv
    du = u @ (gaps * (turned * _row(s) + _column(s) * turned.mT))
    dv = v @ (gaps * (_column(s) * turned + turned.mT * _row(s)))
    if u.shape[-2] != u.shape[-1]:
        du = du + (tv - u @ turned) * inverse
    if v.shape[-2] != v.shape[-1]:
        dv = dv + (tu - v @ turned.mT) * inverse
    return _stacked(du, _row(select(some, share(pick_diagonal(turned), s))), dv)


svd_op = op(
    "svd",
    infer=_infer_svd,
    evaluate=_svd,
    vjp=(_svd_adjoint,),
    jvp=(_svd_tangent,),
    flops=lambda shapes, shape: 14 * int(np.prod(shapes[0])) * shape[-1],
)
"""U, the singular values below it, and V below them."""


def _any_samples() -> list[Sample]:
    return [
        sample(normal(1, 1)),
        sample(normal(2, 2)),
        sample(normal(3, 3, seed=1)),
        sample(normal(4, 2)),
        sample(normal(2, 4)),
        sample(normal(2, 3, 2)),
        sample(normal(2, 2, 3)),
        sample(normal(0, 0)),
        sample(normal(0, 3, 2)),
    ]


@function(
    numpy=(np.linalg.svd,),
    samples=lambda: [s._replace(attrs={"full_matrices": False}) for s in _any_samples()],
)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """`np.linalg.svd` of matrices (..., m, n): U (..., m, k), S (..., k), descending, Vh (..., k, n), k the less of both.

    Townsend 2016. With `compute_uv=False` the singular values alone. What completes U or Vh to a square is not
    determined by the matrix, and has no derivative: pass `full_matrices=False` unless the matrices are square.
    """
    if hermitian:
        raise UnsupportedError("svd: hermitian=True: use eigh, the singular values are the absolute eigenvalues")
    if not compute_uv:
        return svdvals(a)
    node = _matrices("svd", a)
    if full_matrices and node.shape[-1] != node.shape[-2]:
        raise ArgumentError(
            f"svd: matrices {show_shape(node.shape)} are not square: pass full_matrices=False; the rest of U or Vh "
            "is not determined by the matrix"
        )
    u, s, v = _svd_parts(svd_op(node), node)
    return SVDResult(u, s, v.mT)


def _svdvals_adjoint(g: Node, out: Node, a: Node) -> Node:
    u, _, v = _svd_parts(svd_op(a), a)
    return u @ (_column(select(present(out), share(g, out))) * v.mT)


def _svdvals_tangent(t: Node, out: Node, a: Node) -> Node:
    u, _, v = _svd_parts(svd_op(a), a)
    return select(present(out), share(call("sum", u * (t @ v), -2), out))


svdvals_op = op(
    "svdvals",
    infer=lambda a: TensorType((*a.shape[:-2], least_size(*a.shape[-2:])), a.dtype),
    evaluate=np.linalg.svdvals,
    vjp=(_svdvals_adjoint,),
    jvp=(_svdvals_tangent,),
    flops=lambda shapes, shape: 4 * int(np.prod(shapes[0])) * shape[-1],
)


@function(
    numpy=(np.linalg.svdvals,),
    samples=_any_samples,
    edges=(
        at([[2.0, 0.0], [0.0, 2.0]], value=[2.0, 2.0], adjoints=([[1.0, 0.0], [0.0, 1.0]],), why="equal singular values share"),
        at([[3.0, 0.0], [0.0, 0.0]], value=[3.0, 0.0], adjoints=([[1.0, 0.0], [0.0, 0.0]],), why="least norm at 0"),
        at([[0.0, 0.0], [0.0, 0.0]], value=[0.0, 0.0], adjoints=([[0.0, 0.0], [0.0, 0.0]],), why="least norm at 0"),
    ),
)
def svdvals(a: Any, /) -> Node:
    """`np.linalg.svdvals` of matrices (..., m, n): singular values, descending. Equal ones share their adjoints, 0 has none."""
    return svdvals_op(_matrices("svdvals", a))


# --- pinv, lstsq -----------------------------------------------------------------------------------------


def _pinv(a: Any, *, rcond: float | None) -> Any:
    return np.linalg.pinv(a) if rcond is None else np.linalg.pinv(a, rcond)


def _pinv_adjoint(g: Node, out: Node, a: Node, *, rcond: float | None) -> Node:
    gt, pt = g.mT, out.mT
    outside = gt - a @ (out @ gt)
    beside = gt - (gt @ out) @ a
    return outside @ (out @ pt) + (pt @ out) @ beside - pt @ g @ pt


def _pinv_tangent(t: Node, out: Node, a: Node, *, rcond: float | None) -> Node:
    tt, pt = t.mT, out.mT
    outside = tt - (tt @ a) @ out
    beside = tt - out @ (a @ tt)
    return out @ pt @ outside + beside @ pt @ out - out @ t @ out


pinv_op = op(
    "pinv",
    infer=lambda a, *, rcond: TensorType((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),
    evaluate=_pinv,
    vjp=(_pinv_adjoint,),
    jvp=(_pinv_tangent,),
    flops=lambda shapes, shape: 14 * int(np.prod(shape)) * min(shape[-2:], default=1),
)


def _cutoff(where: str, value: Any) -> float | None:
    if isinstance(value, Node) or np.ndim(value):
        raise ArgumentError(f"{where}: the cutoff of singular values is a number, got {value!r}")
    return None if value is None else float(value)


@function(numpy=(np.linalg.pinv,), samples=lambda: [*_any_samples(), sample(normal(4, 3), rcond=1e-10)])
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Node:
    """`np.linalg.pinv` of matrices (..., m, n): pseudo-inverses (..., n, m).

    The derivative is that at constant rank (Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least
    squares problems whose variables separate, 1973).
    """
    if hermitian:
        raise UnsupportedError("pinv: hermitian=True is not supported; leave it out, the result is the same to rounding")
    return pinv_op(_matrices("pinv", a), rcond=_cutoff("pinv", rcond if rtol is None else rtol))


def _lstsq_matrix_adjoint(g: Node, out: Node, a: Node, b: Node, *, rcond: float | None) -> Node:
    p = pinv_op(a, rcond=rcond)
    right = p.mT @ g
    outside = g - a.mT @ right
    return (b - a @ out) @ (p @ right).mT + (p.mT @ out) @ outside.mT - right @ out.mT


def _lstsq_matrix_tangent(t: Node, out: Node, a: Node, b: Node, *, rcond: float | None) -> Node:
    p = pinv_op(a, rcond=rcond)
    moved = t.mT @ (p.mT @ out)
    return p @ (p.mT @ (t.mT @ (b - a @ out)) - t @ out) + moved - p @ (a @ moved)


def _infer_lstsq(a: TensorType, b: TensorType, *, rcond: float | None) -> TensorType:
    if a.shape[0] != b.shape[0]:
        raise ShapeError(f"lstsq: {show_shape(a.shape)} against {show_shape(b.shape)}: the numbers of rows differ")
    return TensorType((a.shape[1], b.shape[1]), b.dtype)


lstsq_op = op(
    "lstsq",
    infer=_infer_lstsq,
    evaluate=lambda a, b, *, rcond: np.linalg.lstsq(a, b, rcond)[0],
    vjp=(_lstsq_matrix_adjoint, lambda g, out, a, b, *, rcond: pinv_op(a, rcond=rcond).mT @ g),
    jvp=(_lstsq_matrix_tangent, lambda t, out, a, b, *, rcond: pinv_op(a, rcond=rcond) @ t),
    flops=lambda shapes, shape: 4 * int(np.prod(shapes[0])) * min(shapes[0]),
)


@function(
    numpy=(np.linalg.lstsq,),
    samples=cases(
        lambda: sample(normal(4, 2), normal(4, seed=1)),
        lambda: sample(normal(4, 2), normal(4, 3, seed=1)),
        lambda: sample(normal(2, 4), normal(2, seed=1)),
        lambda: sample(normal(2, 4), normal(2, 2, seed=1)),
        lambda: sample(_far(3, 3), normal(3, seed=1)),
        lambda: sample(normal(3, 1), normal(3, seed=1)),
        lambda: sample(np.array([[1, 0], [1, 1], [1, 2]]), np.array([1, 2, 2]), gradient=False),
    ),
    reorders=True,
)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Node, Node, Node, Node]:
    """`np.linalg.lstsq` of `a` (m, n), of full rank, and `b` (m,) or (m, k): solution, residuals, rank, singular values.

    The residuals, sums of squares, are there where m > n (or one is symbolic), and empty else, which NumPy returns for a lower
    rank too: sizes cannot depend on values. The derivative of the solution is that at constant rank (Golub and Pereyra 1973).
    """
    x, y = _operands("lstsq", a, b)
    if x.ndim != 2 or y.ndim not in (1, 2):
        raise ShapeError(f"lstsq: a matrix and a vector or matrix, got {show_shape(x.shape)} and {show_shape(y.shape)}")
    right = _column(y) if y.ndim == 1 else y
    cutoff = _cutoff("lstsq", rcond)
    solution = lstsq_op(x, right, rcond=cutoff)
    values = svdvals(x)
    rank = rank_op(x, rtol=cutoff, tol=None).astype(np.intc)
    tall = not is_static(x.shape) or x.shape[0] > x.shape[1]  # type: ignore[operator]
    left_over = call("sum", call("square", right - x @ solution), 0) if tall else call("zeros_like", right[:0].sum(1))
    return call("squeeze", solution, -1) if y.ndim == 1 else solution, left_over, rank, values


def _rank(a: Any, *, rtol: float | None, tol: float | None) -> Any:
    return np.asarray(np.linalg.matrix_rank(a, tol=tol) if rtol is None else np.linalg.matrix_rank(a, rtol=rtol))


rank_op = op(
    "matrix_rank",
    infer=lambda a, *, rtol, tol: TensorType(a.shape[:-2], np.dtype(np.intp)),
    evaluate=_rank,
    vjp=(None,),
    jvp=(None,),
)


@function(
    numpy=(np.linalg.matrix_rank,),
    samples=cases(
        lambda: sample(normal(3, 2), gradient=False),
        lambda: sample(np.outer([1.0, 2.0], [1.0, 3.0]), gradient=False),
        lambda: sample(normal(2, 2, 2), tol=0.5, gradient=False),
    ),
    differentiable=False,
)
def matrix_rank(a: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Node:
    """`np.linalg.matrix_rank` of matrices (..., m, n); int64, without a derivative."""
    if hermitian:
        raise UnsupportedError("matrix_rank: hermitian=True is not supported; leave it out")
    node = _matrices("matrix_rank", a)
    return rank_op(node, rtol=_cutoff("matrix_rank", rtol), tol=_cutoff("matrix_rank", tol))


# --- what there is not -----------------------------------------------------------------------------------


def _refused(name: str, instead: str) -> None:
    """Bind a function of NumPy that gradc has not got to an error that says what to do."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedError(f"np.linalg.{name} on a node: {instead}\n  at {user_origin().location}")

    NUMPY[getattr(np.linalg, name)] = refuse


_COMPLEX = "eigenvalues of a general matrix are complex, and gradc computes in real numbers; of a symmetric one use np.linalg."
_refused("eig", _COMPLEX + "eigh")
_refused("eigvals", _COMPLEX + "eigvalsh")
_refused("cond", "write it out: s = np.linalg.svdvals(a); s[..., 0] / s[..., -1]")
