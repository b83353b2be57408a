"""An op of one's own: the solution of a banded system of equations, through scipy, differentiable to any order.

A banded matrix A with `lower` diagonals below the main one and `upper` above is stored by its diagonals, as scipy does:
`bands[upper + i - j, j] = A[i, j]`, shape (lower + upper + 1, n). Entries of `bands` outside A are never read, and their
gradient is zero. A solve takes O(n) operations, where a dense one takes O(n**3).

With x = A^-1 b, a change of b changes x by A^-1 db, and a change of A by -A^-1 dA x. The adjoints are the transposes:
b_bar = A^-T x_bar, and A_bar = -b_bar x^T, of which the band is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_banded as scipy_solve_banded

import gradc as gc
from gradc.errors import DTypeError, ShapeError
from gradc.ir import Node
from gradc.ops.declare import linear, op
from gradc.ops.samples import cases, normal, sample

# --- the diagonals of A^T from those of A: linear, and its own inverse ------------------------------------


def _transposed(bands: Any, *, lower: int, upper: int) -> Any:
    """Each diagonal moves to the mirrored row, shifted so that its entries meet their new columns."""
    out = np.zeros_like(bands)
    n = bands.shape[1]
    for d in range(max(-upper, 1 - n), min(lower, n - 1) + 1):  # A[j + d, j] becomes A^T[j, j + d]
        entries = slice(max(0, -d), n - max(0, d))
        out[lower - d, max(0, d) : n - max(0, -d)] = bands[upper + d, entries]
    return out


transpose_bands = linear(
    "transpose_bands",
    infer=lambda bands, *, lower, upper: bands,
    evaluate=_transposed,
    transpose=lambda g, out, bands, *, lower, upper: transpose_bands(g, lower=upper, upper=lower),
    samples=cases(
        lambda: sample(normal(4, 5), lower=1, upper=2),
        lambda: sample(normal(3, 2), lower=2, upper=0),
        lambda: sample(normal(1, 4), lower=0, upper=0),
    ),
)

# --- products of a matrix, or of two vectors, on the band: compositions of gradc's own ops ----------------


def _shifted(rows: Node, d: int) -> Node:
    """The vector whose entry i + d is entry i of `rows`, and zeros."""
    n = rows.shape[0]
    if abs(d) >= n:
        return 0 * rows
    kept = rows[: n - d] if d >= 0 else rows[-d:]
    parts = [np.zeros(abs(d), rows.dtype), kept]
    return gc.concatenate(parts if d > 0 else parts[::-1]) if d else rows


def band_product(bands: Node, x: Node, lower: int, upper: int) -> Node:
    """A x, from the diagonals of A."""
    total = bands[upper] * x
    for d in range(-upper, lower + 1):
        if d:
            total = total + _shifted(bands[upper + d] * x, d)
    return total


def band_outer(v: Node, x: Node, lower: int, upper: int) -> Node:
    """The diagonals of v x^T that lie on the band."""
    return gc.concatenate([(_shifted(v, -d) * x)[None] for d in range(-upper, lower + 1)])


# --- the solve -------------------------------------------------------------------------------------------


def _infer(bands: gc.TensorType, b: gc.TensorType, *, lower: int, upper: int) -> gc.TensorType:
    if len(bands.shape) != 2 or len(b.shape) != 1 or bands.shape != (lower + upper + 1, b.shape[0]):
        raise ShapeError(
            f"solve_banded: bands {list(bands.shape)} and b {list(b.shape)}, expected [{lower + upper + 1}, n] and [n] "
            f"for {lower} diagonals below and {upper} above the main one"
        )
    if {bands.dtype, b.dtype} not in ({np.dtype("float64")}, {np.dtype("float32")}):
        raise DTypeError(f"solve_banded: bands {bands.dtype} and b {b.dtype}, expected both float64 or both float32")
    return b


def _bands_vjp(g: Node, x: Node, bands: Node, b: Node, *, lower: int, upper: int) -> Node:
    return -band_outer(_b_vjp(g, x, bands, b, lower=lower, upper=upper), x, lower, upper)


def _b_vjp(g: Node, x: Node, bands: Node, b: Node, *, lower: int, upper: int) -> Node:
    return solve_banded(transpose_bands(bands, lower=lower, upper=upper), g, lower=upper, upper=lower)


def _bands_jvp(t: Node, x: Node, bands: Node, b: Node, *, lower: int, upper: int) -> Node:
    return -solve_banded(bands, band_product(t, x, lower, upper), lower=lower, upper=upper)


def _b_jvp(t: Node, x: Node, bands: Node, b: Node, *, lower: int, upper: int) -> Node:
    return solve_banded(bands, t, lower=lower, upper=upper)


def _solved(bands: Any, b: Any, *, lower: int, upper: int) -> Any:
    """SciPy's solution; a matrix of one entry, which some versions of it trip over, needs none."""
    return b / bands[upper] if len(b) == 1 else scipy_solve_banded((lower, upper), bands, b)


def _dominant(n: int, lower: int, upper: int) -> Any:
    """Diagonals of a matrix that is well away from singular."""
    bands = normal(lower + upper + 1, n)
    bands[upper] = np.sign(bands[upper]) * (np.abs(bands).sum(0) + 1)
    return bands


solve_banded = op(
    "solve_banded",
    infer=_infer,
    evaluate=_solved,
    vjp=(_bands_vjp, _b_vjp),
    jvp=(_bands_jvp, _b_jvp),
    analytic=True,  # scipy solves complex systems too, so complex steps can check it
    flops=lambda shapes, shape: 2 * shape[0] * shapes[0][0] ** 2,
    samples=cases(
        lambda: sample(_dominant(6, 1, 1), normal(6), lower=1, upper=1),
        lambda: sample(_dominant(5, 2, 1), normal(5), lower=2, upper=1),
        lambda: sample(_dominant(4, 0, 2), normal(4), lower=0, upper=2),
        lambda: sample(_dominant(3, 0, 0), normal(3), lower=0, upper=0),
        lambda: sample(_dominant(2, 1, 1), normal(2), lower=1, upper=1),
        lambda: sample(_dominant(1, 0, 0), normal(1), lower=0, upper=0),
    ),
    requires="scipy",
)
