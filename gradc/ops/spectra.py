"""Eigenvalues of symmetric matrices, singular values, and what is computed from them: pseudo-inverses, least squares, ranks.

Where eigenvalues or singular values are equal to rounding, their adjoints are shared equally among them, whatever basis was
found, and the parts of eigenvectors' derivatives that are not defined there, those along the other vectors of the same value,
are 0, as is the slope of a singular value that is 0: of all candidates the one of least norm.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, ShapeError, UnsupportedError, show
from gradc.ir import Node, Op
from gradc.ops.declare import call, function, op
from gradc.ops.elementwise import safe_divide, select
from gradc.ops.matrices import (
    any_samples,
    column,
    diagonals,
    far,
    floats,
    matrices,
    row,
    rows_of,
    stacked,
    symmetric,
    symmetric_samples,
    symmetrised,
)
from gradc.ops.samples import at, cases, normal, sample
from gradc.types import TensorType, as_number, is_static, least_size, show_shape

__all__ = [
    "eigh",
    "eigvalsh",
    "lstsq",
    "matrix_rank",
    "pinv",
    "svd",
    "svdvals",
]

Array = np.ndarray[Any, Any]


def _safe_inverse(mask: Node, x: Node) -> Node:
    """1 / x where `mask` holds, 0 elsewhere, in derivatives too."""
    return safe_divide(1, select(mask, x))


# --- equal values -------------------------------------------------------------------------------------------


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


share: Op = op(
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

# --- eigh ---------------------------------------------------------------------------------------------------


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Node
    eigenvectors: Node


def _eigh(a: Any, *, uplo: str) -> Any:
    values, vectors = np.linalg.eigh(a, uplo)  # type: ignore[call-overload]
    return np.concatenate((values[..., None, :], vectors), -2)


def _eigh_parts(packed: Node) -> EighResult:
    return EighResult(packed[..., 0, :], packed[..., 1:, :])


def _gaps(values: Node) -> Node:
    """1 / (w_j - w_i), and 0 where they are equal."""
    return _safe_inverse(differ(values), row(values) - column(values))


def _eigh_adjoint(g: Node, out: Node, a: Node, *, uplo: str) -> Node:
    values, vectors = _eigh_parts(out)
    values_bar, vectors_bar = _eigh_parts(g)
    turned = _gaps(values) * (vectors.mT @ vectors_bar)
    inner = turned @ vectors.mT + column(share(values_bar, values)) * vectors.mT
    return symmetric(vectors @ inner)


def _eigh_tangent(t: Node, out: Node, a: Node, *, uplo: str) -> Node:
    values, vectors = _eigh_parts(out)
    turned = vectors.mT @ symmetric(t) @ vectors
    return stacked(row(share(diagonals(turned), values)), vectors @ (_gaps(values) * turned))


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
        raise ArgumentError(f"{where}: UPLO is 'L' or 'U', got {show(uplo)}")
    return str(uplo).upper()


@function(
    numpy=(np.linalg.eigh,),
    samples=lambda: [*symmetric_samples(symmetrised), *symmetric_samples(symmetrised, UPLO="U")[1:3]],
)
def eigh(a: Any, UPLO: str = "L") -> EighResult:  # noqa: N803
    """`np.linalg.eigh` of symmetric (..., n, n): eigenvalues (..., n), ascending, and eigenvectors, the columns of (..., n, n).

    Giles 2008, 3.1. Eigenvalues equal to rounding share their adjoints, and eigenvectors do not turn into one another there.
    """
    node = matrices("eigh", a, square=True)
    return _eigh_parts(eigh_op(node, uplo=_uplo("eigh", UPLO)))


def _eigvalsh_adjoint(g: Node, out: Node, a: Node, *, uplo: str) -> Node:
    vectors = _eigh_parts(eigh_op(a, uplo=uplo)).eigenvectors
    return symmetric((vectors * row(share(g, out))) @ vectors.mT)


def _eigvalsh_tangent(t: Node, out: Node, a: Node, *, uplo: str) -> Node:
    vectors = _eigh_parts(eigh_op(a, uplo=uplo)).eigenvectors
    return share(call("sum", vectors * (symmetric(t) @ vectors), -2), out)


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
    samples=lambda: [*symmetric_samples(symmetrised), *symmetric_samples(symmetrised, UPLO="U")[1:3]],
    edges=(at([[2.0, 0.0], [0.0, 2.0]], value=[2.0, 2.0], adjoints=([[1.0, 0.0], [0.0, 1.0]],), why="equal eigenvalues share"),),
)
def eigvalsh(a: Any, UPLO: str = "L") -> Node:  # noqa: N803
    """`np.linalg.eigvalsh` of symmetric (..., n, n): eigenvalues (..., n), ascending. Equal ones share their adjoints.

    The adjoint is V g V^T (Giles 2008, 3.1): eigenvectors are computed with it only.
    """
    return eigvalsh_op(matrices("eigvalsh", a, square=True), uplo=_uplo("eigvalsh", UPLO))


# --- svd ----------------------------------------------------------------------------------------------------


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
    s = call("squeeze", rows_of(packed, m, m + 1), -2)
    return rows_of(packed, 0, m), s, rows_of(packed, m + 1, m + 1 + n)


def _svd_gaps(s: Node) -> Node:
    """1 / (s_j^2 - s_i^2), and 0 where they are equal."""
    return _safe_inverse(differ(s), (row(s) - column(s)) * (row(s) + column(s)))


def _svd_adjoint(g: Node, out: Node, a: Node) -> Node:
    u, s, v = _svd_parts(out, a)
    u_bar, s_bar, v_bar = _svd_parts(g, a)
    gaps, some = _svd_gaps(s), present(s)
    inverse = row(_safe_inverse(some, s))
    left, right = u.mT @ u_bar, v.mT @ v_bar
    inner = (gaps * (left - left.mT)) * row(s) + column(s) * (gaps * (right - right.mT))
    core = inner @ v.mT + column(select(some, share(s_bar, s))) * v.mT
    if v.shape[-2] != v.shape[-1]:
        core = core + (v_bar * inverse - v @ (right * inverse)).mT
    adjoint = u @ core
    if u.shape[-2] != u.shape[-1]:
        adjoint = adjoint + (u_bar * inverse - u @ (left * inverse)) @ v.mT
    return adjoint


def _svd_tangent(t: Node, out: Node, a: Node) -> Node:
    u, s, v = _svd_parts(out, a)
    gaps, some = _svd_gaps(s), present(s)
    inverse = row(_safe_inverse(some, s))
    tv, tu = t @ v, t.mT @ u
    turned = u.mT @ tv
    du = u @ (gaps * (turned * row(s) + column(s) * turned.mT))
    dv = v @ (gaps * (column(s) * turned + turned.mT * row(s)))
    if u.shape[-2] != u.shape[-1]:
        du = du + (tv - u @ turned) * inverse
    if v.shape[-2] != v.shape[-1]:
        dv = dv + (tu - v @ turned.mT) * inverse
    return stacked(du, row(select(some, share(diagonals(turned), s))), dv)


svd_op = op(
    "svd",
    infer=_infer_svd,
    evaluate=_svd,
    vjp=(_svd_adjoint,),
    jvp=(_svd_tangent,),
    flops=lambda shapes, shape: 14 * int(np.prod(shapes[0])) * shape[-1],
)
"""U, the singular values below it, and V below them."""


@function(
    numpy=(np.linalg.svd,),
    samples=lambda: [s._replace(attrs={"full_matrices": False}) for s in any_samples()],
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
    node = matrices("svd", a)
    if full_matrices and node.shape[-1] != node.shape[-2]:
        raise ArgumentError(
            f"svd: matrices {show_shape(node.shape)} are not square: pass full_matrices=False; the rest of U or Vh "
            "is not determined by the matrix"
        )
    u, s, v = _svd_parts(svd_op(node), node)
    return SVDResult(u, s, v.mT)


def _svdvals_adjoint(g: Node, out: Node, a: Node) -> Node:
    u, _, v = _svd_parts(svd_op(a), a)
    return u @ (column(select(present(out), share(g, out))) * v.mT)


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
    samples=any_samples,
    edges=(
        at([[2.0, 0.0], [0.0, 2.0]], value=[2.0, 2.0], adjoints=([[1.0, 0.0], [0.0, 1.0]],), why="equal singular values share"),
        at([[3.0, 0.0], [0.0, 0.0]], value=[3.0, 0.0], adjoints=([[1.0, 0.0], [0.0, 0.0]],), why="least norm at 0"),
        at([[0.0, 0.0], [0.0, 0.0]], value=[0.0, 0.0], adjoints=([[0.0, 0.0], [0.0, 0.0]],), why="least norm at 0"),
    ),
)
def svdvals(a: Any, /) -> Node:
    """`np.linalg.svdvals` of matrices (..., m, n): singular values, descending. Equal ones share their adjoints, 0 has none."""
    return svdvals_op(matrices("svdvals", a))


# --- pinv, lstsq --------------------------------------------------------------------------------------------


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
    return None if value is None else as_number(value, f"{where}: the cutoff of singular values")


@function(numpy=(np.linalg.pinv,), samples=lambda: [*any_samples(), sample(normal(4, 3), rcond=1e-10)])
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Node:
    """`np.linalg.pinv` of matrices (..., m, n): pseudo-inverses (..., n, m).

    The derivative is that at constant rank (Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least
    squares problems whose variables separate, 1973).
    """
    if hermitian:
        raise UnsupportedError("pinv: hermitian=True is not supported; leave it out, the result is the same to rounding")
    return pinv_op(matrices("pinv", a), rcond=_cutoff("pinv", rcond if rtol is None else rtol))


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
        lambda: sample(far(3, 3), normal(3, seed=1)),
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
    x, y = floats("lstsq", a, b)
    if x.ndim != 2 or y.ndim not in (1, 2):
        raise ShapeError(f"lstsq: a matrix and a vector or matrix, got {show_shape(x.shape)} and {show_shape(y.shape)}")
    right = column(y) if y.ndim == 1 else y
    cutoff = _cutoff("lstsq", rcond)
    solution = lstsq_op(x, right, rcond=cutoff)
    values = svdvals(x)
    rank = rank_op(x, rtol=cutoff, tol=None).astype(np.intc)
    tall = not is_static(x.shape) or x.shape[0] > x.shape[1]
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
    node = matrices("matrix_rank", a)
    return rank_op(node, rtol=_cutoff("matrix_rank", rtol), tol=_cutoff("matrix_rank", tol))
