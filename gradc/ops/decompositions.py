"""Inverses, determinants, linear systems and decompositions of matrices in the last two axes, batches in those before.

Conventions. A decomposition of a symmetric matrix (`cholesky`, `eigh`, `eigvalsh`) reads one triangle, as NumPy's does, and its
adjoint is that of a function of symmetric matrices: symmetric, half of it in each triangle. `gradc.ops.spectra` says what holds
where eigenvalues or singular values are equal or 0.

What fails for a value (a singular matrix) raises `gradc.errors.EvaluationError` when the graph runs. NumPy keeps no
factorisation, so the adjoint of `solve` factorises a second time.

Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation (2008); Murray,
Differentiation of the Cholesky decomposition (2016); Walter and Lehmann, Algorithmic differentiation of linear algebra
functions (2012); Townsend, Differentiating the singular value decomposition (2016); Seeger et al., Auto-differentiating linear
algebra (2017).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import Node, Op
from gradc.ops.declare import call, function, op
from gradc.ops.linalg import product_to
from gradc.ops.matrices import (
    check_matrices,
    column,
    definite,
    far,
    floats,
    matrices,
    rows_of,
    square_samples,
    stacked,
    symmetric,
    symmetric_samples,
    triangle,
)
from gradc.ops.samples import Sample, normal, sample
from gradc.types import TensorType, broadcast_shapes, is_static, least_size, show_shape

__all__ = [
    "cholesky",
    "inv",
    "qr",
    "solve",
    "solve_triangular",
]

# --- inv, solve ---------------------------------------------------------------------------------------------


inv_op = op(
    "inv",
    infer=lambda a: a,
    evaluate=np.linalg.inv,
    vjp=(lambda g, out, a: -(out.mT @ g @ out.mT),),
    jvp=(lambda t, out, a: -(out @ t @ out),),
    analytic=True,
    flops=lambda shapes, shape: 2 * int(np.prod(shape)) * shape[-1],
)


@function(numpy=(np.linalg.inv,), samples=square_samples)
def inv(a: Any) -> Node:
    """`np.linalg.inv`: inverses of square matrices (..., n, n). d X = -X dA X (Giles 2008, 2.2.3)."""
    return inv_op(matrices("inv", a, square=True))


def _infer_solve(a: TensorType, b: TensorType, **attrs: Any) -> TensorType:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"{show_shape(a.shape)} against {show_shape(b.shape)}: {a.shape[-1]} unknowns, {b.shape[-2]} rows")
    return TensorType((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)


def summed_to(x: Node, like: Node) -> Node:
    return call("sum_to", x, like.shape)


solve_op: Op = op(
    "solve",
    infer=_infer_solve,
    evaluate=np.linalg.solve,
    vjp=(
        lambda g, out, a, b: -product_to(solve_op(a.mT, g), out.mT, a.shape),
        lambda g, out, a, b: summed_to(solve_op(a.mT, g), b),
    ),
    jvp=(lambda t, out, a, b: -solve_op(a, t @ out), lambda t, out, a, b: solve_op(a, t)),
    analytic=True,
    flops=lambda shapes, shape: int(np.prod(shape)) * (2 * shape[-2] + shape[-2] ** 2 // max(1, shape[-1])),
)


def _right_side(where: str, a: Any, b: Any) -> tuple[Node, Node, bool]:
    """The operands of a linear system, and whether the right side is one vector."""
    x, y = floats(where, a, b)
    check_matrices(where, x, square=True)
    if not y.ndim:
        raise ShapeError(f"{where}: the right side is a vector or matrices, got a number")
    return x, (column(y) if y.ndim == 1 else y), y.ndim == 1


def _solve_samples(**options: Any) -> list[Sample]:
    return [
        sample(far(3, 3), normal(3, seed=1), **options),
        sample(far(3, 3), normal(3, 2, seed=1), **options),
        sample(far(1, 1), normal(1, seed=1), **options),
        sample(far(2, 3, 3), normal(3, seed=1), **options),
        sample(far(2, 2, 2), normal(2, 3, seed=1), **options),
        sample(far(2, 2), normal(3, 2, 1, seed=1), **options),
        sample(far(2, 1, 2, 2), normal(3, 2, 2, seed=1), **options),
        sample(normal(0, 0), normal(0, 2, seed=1), **options),
        sample(far(2, 2), normal(2, 0, seed=1), **options),
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
    right = triangular(a, g, lower, not trans, unit)
    outer = product_to(out, right.mT, a.shape) if trans else product_to(right, out.mT, a.shape)
    return triangle(-outer, lower, (-1 if lower else 1) if unit else 0)


def _triangular_tangent(t: Node, out: Node, a: Node, b: Node, *, lower: bool, trans: bool, unit: bool) -> Node:
    change = triangle(t, lower, (-1 if lower else 1) if unit else 0)
    return -triangular(a, (change.mT if trans else change) @ out, lower, trans, unit)


def triangular(a: Node, b: Node, lower: bool, trans: bool = False, unit: bool = False) -> Node:
    return triangular_op(a, b, lower=lower, trans=trans, unit=unit)


triangular_op = op(
    "solve_triangular",
    infer=_infer_solve,
    evaluate=_solve_triangular,
    vjp=(
        _triangular_adjoint,
        lambda g, out, a, b, *, lower, trans, unit: summed_to(triangular(a, g, lower, not trans, unit), b),
    ),
    jvp=(
        _triangular_tangent,
        lambda t, out, a, b, *, lower, trans, unit: triangular(a, t, lower, trans, unit),
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
        sample(far(70, 70) / 8, normal(70, seed=1), lower=True),
    ]
)
def solve_triangular(a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False) -> Node:
    """x with a x = b, or a^T x = b for `trans` 1, where `a` is the upper triangle of a matrix, or its `lower` one.

    `a` is (..., n, n), `b` as in `solve`. The other triangle is not read, nor is the diagonal where it counts as ones
    (`unit_diagonal`); their adjoints are exactly zero. By substitution in blocks, in NumPy alone.
    """
    if isinstance(trans, (bool, list)) or trans not in _TRANS:
        raise ArgumentError(f"solve_triangular: trans is 0, 1, 'N' or 'T', got {show(trans)}")
    x, y, vector = _right_side("solve_triangular", a, b)
    solution = triangular(x, y, bool(lower), _TRANS[trans], bool(unit_diagonal))
    return call("squeeze", solution, -1) if vector else solution


# --- cholesky -----------------------------------------------------------------------------------------------


def _halved(x: Node) -> Node:
    """The lower triangle, half of the diagonal."""
    return 0.5 * (triangle(x, True) + triangle(x, True, -1))


def _cholesky_adjoint(g: Node, out: Node, a: Node, *, upper: bool) -> Node:
    factor, bar = (out.mT, g.mT) if upper else (out, g)
    left = triangular(factor, _halved(factor.mT @ bar), True, True)
    return symmetric(triangular(factor, left.mT, True, True))


def _cholesky_tangent(t: Node, out: Node, a: Node, *, upper: bool) -> Node:
    factor = out.mT if upper else out
    left = triangular(factor, symmetric(t), True)
    change = factor @ _halved(triangular(factor, left.mT, True))
    return change.mT if upper else change


cholesky_op = op(
    "cholesky",
    infer=lambda a, *, upper: a,
    evaluate=lambda a, *, upper: np.linalg.cholesky(a, upper=upper),
    vjp=(_cholesky_adjoint,),
    jvp=(_cholesky_tangent,),
    flops=lambda shapes, shape: int(np.prod(shape)) * shape[-1] // 3,
)


@function(
    numpy=(np.linalg.cholesky,),
    samples=lambda: [
        *symmetric_samples(definite),
        *symmetric_samples(definite, upper=True)[1:4],
        sample(np.array([[2, 1], [1, 3]]), gradient=False),
    ],
)
def cholesky(a: Any, /, *, upper: bool = False) -> Node:
    """`np.linalg.cholesky` of positive definite (..., n, n): L with a = L L^T, or its transpose where `upper`.

    One triangle is read; the adjoint is that of a symmetric matrix (Murray 2016, (10)).
    """
    return cholesky_op(matrices("cholesky", a, square=True), upper=bool(upper))


# --- qr -----------------------------------------------------------------------------------------------------


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
    return rows_of(packed, 0, m), rows_of(packed, m, m + n).mT


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
    adjoint = triangular(r, total.mT, False).mT
    return adjoint if beyond is None else call("concatenate", (adjoint, beyond), a.ndim - 1)


def _qr_tangent(t: Node, out: Node, a: Node) -> Node:
    q, r = _qr_parts(out, a)
    m = out.shape[-1]
    wide = m != a.shape[-1]
    square, change = (r[..., :m], t[..., :m]) if wide else (r, t)
    turned = triangular(square, change.mT, False, True).mT
    inner = q.mT @ turned
    below = triangle(inner, True, -1)
    upper = inner - below + below.mT
    dq = turned - q @ upper
    dr = (upper @ square).mT
    if not wide:
        return stacked(dq, dr)
    return stacked(dq, dr, (dq.mT @ a[..., m:] + q.mT @ t[..., m:]).mT)


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
        *[sample(far(n, n)) for n in (1, 2, 3)],
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
        raise ArgumentError(f"qr: mode is 'reduced' or 'r', got {show(mode)}")
    node = matrices("qr", a)
    result = QRResult(*_qr_parts(qr_op(node), node))
    return result if mode == "reduced" else result.R
