"""Eigenvalues of symmetric matrices, singular values, and what is computed from them: pseudo-inverses, least squares, ranks.

Values are equal where they are no further apart than rounding: of themselves, of the entries of the matrix that they are sums
of, and of the decomposition, whose residuals say how far off each may be. There is no tolerance relative to the largest, so
those of diag(1e-20, 3e-20, 1) are distinct.

Equal values share their adjoints, whatever basis was found: symmetric functions of them, and what is made of other values and
their vectors, have their derivatives. The vectors of equal values are one basis of many: their derivatives are 0/0, and NaN
wherever an adjoint reaches them. No rule can tell a smooth function of the matrix (v f(w) v^T) from one of the basis, and an
adjoint that happens to be 0 (of v in v log(w) v^T where w = 1) says nothing; only zeros that are there whatever the values
(of columns that are not read) are none. At a singular value of exactly 0 its own slope is 0, of all candidates the one of
least norm; where its vectors are read, NaN. What holds these conventions and is differentiated again is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, ShapeError, UnsupportedError, show
from gradc.ir import Node, Op
from gradc.ops.declare import call, function, op
from gradc.ops.elementwise import logical_or
from gradc.ops.linalg import chain
from gradc.ops.masks import known_zeros
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
from gradc.ops.norms import scale_of
from gradc.ops.samples import at, cases, normal, sample
from gradc.types import Size, TensorType, as_number, is_static, least_size, show_shape

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


# --- equal values -------------------------------------------------------------------------------------------

_EQUAL = 2
"""Values no further apart than so many times their rounding are equal: those that should be are at most one apart."""
_LOST = 16
"""The vectors of values no further apart than so many times their rounding have no digits left: of v f(w) v^T, say."""


def _column_norms(x: Array) -> Array:
    norms: Array = np.sqrt(np.add.reduce(x * x, -2))
    return norms


def _mixed_size(a: Array, left: Array, right: Array) -> Array:
    """How large the terms are that left^T a right adds up, for each pair of columns: the root of the sum of their squares."""
    size: Array = np.sqrt(np.add.reduce(left * left * ((a * a) @ (right * right)), -2))
    return size


def _separations(values: Array, rounding: Array) -> Array:
    """For each two values how many times their rounding they are apart; on the diagonal -1, less how far each is from 0."""
    gaps = np.abs(values[..., None, :] - values[..., :, None])
    sums = rounding[..., None, :] + rounding[..., :, None]
    k = np.arange(values.shape[-1])
    gaps[..., k, k], sums[..., k, k] = np.abs(values), -rounding
    found: Array = np.divide(gaps, sums, where=gaps != 0, out=np.zeros_like(gaps))
    found[..., k, k] -= 1
    return found


def _scaled(a: Array) -> tuple[Array, Array]:
    """Matrices with a largest entry near 1, and their scales: nothing overflows on the way."""
    scale = scale_of(a, (-2, -1))
    return a / scale, scale


def _eigen_separations(a: Array, packed: Array, *, uplo: str) -> Array:
    vectors = packed[..., 1:, :]
    triangle = np.tril(a) if uplo == "L" else np.triu(a)
    k = np.arange(a.shape[-1])
    whole = triangle + triangle.swapaxes(-1, -2)
    whole[..., k, k] = a[..., k, k]
    whole, scale = _scaled(whole)
    values = packed[..., 0, :] / scale[..., 0]
    residual = _column_norms(whole @ vectors - vectors * values[..., None, :])
    own = _mixed_size(whole, vectors, vectors) + np.abs(values)
    return _separations(values, residual + np.finfo(a.dtype).eps * own)


eigen_separations = op(
    "eigen_separations",
    infer=lambda a, packed, *, uplo: a,
    evaluate=_eigen_separations,
    vjp=(None, None),
    jvp=(None, None),
)
"""How far apart the eigenvalues of `a` are, by what `eigh` found. Parlett, The symmetric eigenvalue problem, 4.5: a residual
of that norm bounds the error of an eigenvalue."""


def _singular_separations(a: Array, packed: Array) -> Array:
    m = a.shape[-2]
    u, v = packed[..., :m, :], packed[..., m + 1 :, :]
    whole, scale = _scaled(a)
    s = packed[..., m, :] / scale[..., 0]
    residuals = (_column_norms(whole @ v - u * s[..., None, :]), _column_norms(whole.swapaxes(-1, -2) @ u - v * s[..., None, :]))
    own = _mixed_size(whole, u, v) + s
    return _separations(s, np.maximum(*residuals) + np.finfo(a.dtype).eps * own)


singular_separations = op(
    "singular_separations",
    infer=lambda a, packed: TensorType((*a.shape[:-2], packed.shape[-1], packed.shape[-1]), a.dtype),
    evaluate=_singular_separations,
    vjp=(None, None),
    jvp=(None, None),
)
"""How far apart the singular values of `a` are, by what `svd` found."""


def _share(g: Any, apart: Any) -> Any:
    new = np.diagonal(apart, 1, -2, -1) > _EQUAL
    if new.all():
        return np.array(g)
    numbers = np.zeros(g.shape, np.intp)
    np.cumsum(new, axis=-1, out=numbers[..., 1:])
    same = (numbers[..., None, :] == numbers[..., :, None]).astype(g.dtype)
    return (same @ g[..., None])[..., 0] / same.sum(-1)


share: Op = op(
    "share_equal",
    infer=lambda g, apart: g,
    evaluate=_share,
    vjp=(lambda g, out, t, apart: share(g, apart), None),
    jvp=(lambda s, out, t, apart: share(s, apart), None),
    linear=True,
)
"""`g` in equal parts among sorted values that are equal, so far are they `apart`: a mean in each group, its own transpose."""


def _lost(apart: Node, live: Node | None) -> Node:
    """What takes the place of differences that are not known: NaN, and infinity where no adjoint reaches either vector.

    Divided by that, the pair counts nothing. `live` tells the columns that an adjoint may reach; None: all.
    """
    gone = apart < 0
    if live is not None:
        gone = gone | ~(row(live) | column(live))
    return call("where", gone, np.inf, np.nan).astype(apart.dtype)


def _is_noise(numerator: Array, divisor: Array, quotients: Array, left: Array, right: Array, values: Array, slopes: Array) -> Any:
    eps = np.finfo(values.dtype).eps
    sizes = np.abs(left).sum(-2) + np.abs(right).sum(-2)
    noise = eps * (sizes[..., None, :] + sizes[..., :, None])
    largest, steepest = (np.abs(v).max(-1, initial=0)[..., None, None] for v in (values, slopes))
    near = np.abs(divisor) <= _LOST * eps * largest
    seen = (steepest > 0) & (noise > 1e-3 * steepest * np.abs(divisor))
    most = np.abs(quotients).max((-2, -1), keepdims=True, initial=0, where=np.isfinite(quotients))
    small = noise <= np.sqrt(eps) * most * np.abs(divisor)
    return (np.abs(numerator) <= noise) & (near | seen) & ~small


is_noise = op(
    "is_noise",
    infer=lambda numerator, *others: TensorType(numerator.shape, np.dtype("bool")),
    evaluate=_is_noise,
    vjp=(None,) * 7,
    jvp=(None,) * 7,
)
"""Which quotients of adjoints by differences of values are rounding over rounding, though the values differ.

v f(w) v^T with f(w) the same number for both has the adjoints 0, and a derivative that is not 0. It matters where the values
are near for the matrix as a whole, or the noise would be seen beside the adjoints of the values, the `slopes`; and not where it
is lost beside other quotients.
"""


def _quotients(fractions: Sequence[tuple[Node, Node]], lost: Node, parts: tuple[Node, Node], values: Node, slopes: Node) -> Node:
    """The sum of `fractions`, adjoints by differences or sums of values; by `lost` where they are noise."""
    raw = reduce(add, [call("abs", numerator / divisor) for numerator, divisor in fractions])
    noise = [is_noise(numerator, divisor, raw, *parts, values, slopes) for numerator, divisor in fractions]
    return reduce(add, [n / call("where", lose, lost, d) for (n, d), lose in zip(fractions, noise, strict=True)])


def _gaps(values: Node, apart: Node, lost: Node) -> Node:
    """w_j - w_i, and `lost` where they are equal."""
    return call("where", apart > _LOST, row(values) - column(values), lost)


def _live_columns(selected: Node | None, *bounds: tuple[Size, Size]) -> Node | None:
    """The columns that hold a True of `selected` between rows; None where nothing is known."""
    if selected is None:
        return None
    return reduce(logical_or, [call("any", rows_of(selected, *b), -2) for b in bounds])


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


def _eigh_adjoint(g: Node, out: Node, a: Node, *, uplo: str) -> Node:
    values, vectors = _eigh_parts(out)
    values_bar, vectors_bar = _eigh_parts(g)
    apart = eigen_separations(a, out, uplo=uplo)
    lost = _lost(apart, _live_columns(known_zeros(g), (1, out.shape[-2])))
    turned = vectors.mT @ vectors_bar
    fraction = 0.5 * (turned - turned.mT), _gaps(values, apart, lost)
    inner = _quotients([fraction], lost, (turned, turned), values, values_bar)
    return symmetric(vectors @ (inner @ vectors.mT + column(share(values_bar, apart)) * vectors.mT))


def _eigh_tangent(t: Node, out: Node, a: Node, *, uplo: str) -> Node:
    values, vectors = _eigh_parts(out)
    apart = eigen_separations(a, out, uplo=uplo)
    turned = vectors.mT @ symmetric(t) @ vectors
    change = vectors @ (turned / _gaps(values, apart, _lost(apart, None)))
    return stacked(row(share(diagonals(turned), apart)), change)


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

    Giles 2008, 3.1. Equal eigenvalues share their adjoints. Their eigenvectors have NaN for a derivative, where one is read: the
    matrix does not determine them. Functions of the eigenvalues alone, and of other eigenvalues' vectors, are right there.
    """
    node = matrices("eigh", a, square=True)
    return _eigh_parts(eigh_op(node, uplo=_uplo("eigh", UPLO)))


def _eigvalsh_adjoint(g: Node, out: Node, a: Node, *, uplo: str) -> Node:
    packed = eigh_op(a, uplo=uplo)
    vectors = _eigh_parts(packed).eigenvectors
    return symmetric((vectors * row(share(g, eigen_separations(a, packed, uplo=uplo)))) @ vectors.mT)


def _eigvalsh_tangent(t: Node, out: Node, a: Node, *, uplo: str) -> Node:
    packed = eigh_op(a, uplo=uplo)
    vectors = _eigh_parts(packed).eigenvectors
    change = call("sum", vectors * (symmetric(t) @ vectors), -2)
    return share(change, eigen_separations(a, packed, uplo=uplo))


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


def _sums(s: Node, lost: Node) -> Node:
    """s_j + s_i, and `lost` where both are 0."""
    total = row(s) + column(s)
    return call("where", total > 0, total, lost)


def _is_known(apart: Node) -> Node:
    """Which singular values are not 0 to rounding."""
    return diagonals(apart) < -1 - _EQUAL


def _divisor(s: Node, apart: Node, live: Node | None) -> Node:
    """`s`; where it is 0 NaN, or infinity for a vector that no adjoint reaches."""
    lost = call("where", live, np.nan, np.inf).astype(s.dtype) if live is not None else np.nan
    return call("where", _is_known(apart), s, lost)


def _slopes(g: Node, apart: Node, counted: Node) -> Node:
    """Adjoints, or tangents, of singular values: equal ones share them, and those not `counted` are 0.

    By a factor: a selection would say that nothing reads these values, and hide that this is a convention.
    """
    return share(g, apart) * counted.astype(g.dtype)


def _counts(g: Array, s: Array, apart: Array) -> Any:
    known = np.diagonal(apart, 0, -2, -1) < -1 - _EQUAL
    size = np.abs(g)
    most = size.max(-1, keepdims=True, initial=0, where=known)
    return known | ~np.isfinite(g) | ((s > 0) & (size > most))


counts = op(
    "slopes_count",
    infer=lambda g, s, apart: TensorType(g.shape, np.dtype("bool")),
    evaluate=_counts,
    vjp=(None, None, None),
    jvp=(None, None, None),
)
"""Which adjoints of singular values count: not of one that is 0, where a norm has a kink.

One that is 0 to rounding only, and has a larger adjoint than all others, belongs to a function that grows there (log).
"""


def _svd_adjoint(g: Node, out: Node, a: Node) -> Node:
    """Inside, by partial fractions: (x s_j + y s_i) / (s_j^2 - s_i^2) is half of (x + y) / (s_j - s_i) + (x - y) / (s_j + s_i).

    So no square overflows or underflows, and what is lost at equal values and what at 0 are terms of their own.
    """
    u, s, v = _svd_parts(out, a)
    u_bar, s_bar, v_bar = _svd_parts(g, a)
    m, n = a.shape[-2:]
    known = known_zeros(g)
    u_live, v_live = (_live_columns(known, bounds) for bounds in ((0, m), (m + 1, m + 1 + n)))
    apart = singular_separations(a, out)
    lost = _lost(apart, None if u_live is None or v_live is None else u_live | v_live)
    left, right = u.mT @ u_bar, v.mT @ v_bar
    one, other = 0.5 * (left - left.mT), 0.5 * (right - right.mT)
    fractions = [(one + other, _gaps(s, apart, lost)), (one - other, _sums(s, lost))]
    inner = _quotients(fractions, lost, (left, right), s, s_bar)
    slopes = _slopes(s_bar, apart, counts(s_bar, s, apart))
    if m == n:
        slopes = slopes + 0 / _divisor(s, apart, u_live)
    core = inner @ v.mT + column(slopes) * v.mT
    if v.shape[-2] != v.shape[-1]:
        core = core + ((v_bar - v @ right) / row(_divisor(s, apart, v_live))).mT
    adjoint = u @ core
    if u.shape[-2] != u.shape[-1]:
        adjoint = adjoint + ((u_bar - u @ left) / row(_divisor(s, apart, u_live))) @ v.mT
    return adjoint


def _svd_tangent(t: Node, out: Node, a: Node) -> Node:
    u, s, v = _svd_parts(out, a)
    apart = singular_separations(a, out)
    lost = _lost(apart, None)
    tv, tu = t @ v, t.mT @ u
    turned = u.mT @ tv
    one = 0.5 * (turned + turned.mT) / _gaps(s, apart, lost)
    other = 0.5 * (turned - turned.mT) / _sums(s, lost)
    du, dv = u @ (one + other), v @ (one - other)
    inverse = row(_divisor(s, apart, None))
    if u.shape[-2] != u.shape[-1]:
        du = du + (tv - u @ turned) / inverse
    elif v.shape[-2] == v.shape[-1]:
        du = du + 0 / inverse
    if v.shape[-2] != v.shape[-1]:
        dv = dv + (tu - v @ turned.mT) / inverse
    return stacked(du, row(_slopes(diagonals(turned), apart, _is_known(apart))), dv)


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

    Townsend 2016. Where singular values are equal or 0, the vectors have NaN for a derivative (a vector of V that belongs to one
    value of 0 is determined if m >= n). With `compute_uv=False` the values alone. What completes U or Vh to a square is not
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
    packed = svd_op(a)
    u, _, v = _svd_parts(packed, a)
    apart = singular_separations(a, packed)
    return u @ (column(_slopes(g, apart, counts(g, out, apart))) * v.mT)


def _svdvals_tangent(t: Node, out: Node, a: Node) -> Node:
    packed = svd_op(a)
    u, _, v = _svd_parts(packed, a)
    apart = singular_separations(a, packed)
    return _slopes(call("sum", u * (t @ v), -2), apart, _is_known(apart))


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
    outside, beside = gt - chain(a, out, gt), gt - chain(gt, out, a)
    return chain(outside, out, pt) + chain(pt, out, beside) - chain(pt, g, pt)


def _pinv_tangent(t: Node, out: Node, a: Node, *, rcond: float | None) -> Node:
    tt, pt = t.mT, out.mT
    outside, beside = tt - chain(tt, a, out), tt - chain(out, a, tt)
    return chain(out, pt, outside) + chain(beside, pt, out) - chain(out, t, out)


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
