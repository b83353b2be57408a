"""What the ops on matrices have in common: operands as LAPACK takes them, matrices in the last two axes, samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import DTypeError, ShapeError
from gradc.ir import Node, lift
from gradc.ops.declare import call
from gradc.ops.samples import Sample, normal, sample
from gradc.types import Size, show_shape

Array = np.ndarray[Any, Any]


def floats(where: str, *values: Any) -> list[Node]:
    """`values` as floats of one dtype, as LAPACK takes them: float32 where all are, else float64."""
    nodes = lift(values, where)
    for node in nodes:
        if node.dtype == np.float16:
            raise DTypeError(f"{where}: LAPACK has no float16; cast with .astype('float32') first")
    narrow = all(node.dtype == np.float32 for node in nodes)
    return [node.astype("float32" if narrow else "float64") for node in nodes]


def matrices(where: str, x: Any, square: bool = False) -> Node:
    """`x` as floats: matrices in the last two axes, `square` ones where asked for."""
    (node,) = floats(where, x)
    check_matrices(where, node, square)
    return node


def check_matrices(where: str, node: Node, square: bool) -> None:
    """Raise unless the last two axes are matrices, and square where asked for."""
    if node.ndim < 2:
        raise ShapeError(f"{where}: matrices in the last two axes, got shape {show_shape(node.shape)}")
    if square and node.shape[-1] != node.shape[-2]:
        raise ShapeError(f"{where}: square matrices, got shape {show_shape(node.shape)}")


def symmetric(x: Node) -> Node:
    """The symmetric part: the projection under which adjoints of symmetric matrices are symmetric."""
    return 0.5 * (x + x.mT)


def column(x: Node) -> Node:
    """Vectors along the last axis as columns."""
    return call("expand_dims", x, -1)


def row(x: Node) -> Node:
    """Vectors along the last axis as rows."""
    return call("expand_dims", x, -2)


def scalar(x: Node) -> Node:
    """Numbers, one for each matrix, that broadcast against matrices."""
    return call("expand_dims", x, (-1, -2))


def diagonals(x: Node) -> Node:
    """The diagonals of matrices, as a last axis: a view."""
    return call("diagonal", x, 0, -2, -1)


def triangle(x: Node, lower: bool, k: int = 0) -> Node:
    """Matrices on and below diagonal `k`, or on and above it; exact zeros elsewhere."""
    return call("tril" if lower else "triu", x, k)


def rows_of(x: Node, start: Size, stop: Size) -> Node:
    """Rows `start` to `stop` of matrices; the bounds may be symbolic."""
    return call("slice_axis", x, x.ndim - 2, start, stop)


def stacked(*parts: Node) -> Node:
    """Matrices on top of one another: how one node holds several results, each read as a view."""
    return call("concatenate", parts, parts[0].ndim - 2)


def symmetrised(*arrays: Any) -> list[Any]:
    """Samples of symmetric matrices, of nodes as of arrays."""
    return [x + x.mT for x in arrays]


def definite(*arrays: Any) -> list[Any]:
    """Samples of positive definite matrices: x x^T + 1, of nodes as of arrays."""
    return [x @ x.mT + np.eye(x.shape[-1], dtype=x.dtype) for x in arrays]


def far(*shape: int, seed: int = 0) -> Array:
    """Square matrices far from singular."""
    return normal(*shape, seed=seed) + 3 * np.eye(shape[-1])


def square_samples() -> list[Sample]:
    return [
        sample(far(1, 1)),
        sample(far(2, 2)),
        sample(far(3, 3)),
        sample(far(4, 4, seed=1)),
        sample(far(2, 3, 3)),
        sample(far(2, 1, 2, 2)),
        sample(normal(0, 0)),
        sample(normal(0, 2, 2)),
        sample(np.array([[2, 1], [1, 3]]), gradient=False),
    ]


def symmetric_samples(via: Any, **options: Any) -> list[Sample]:
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


def any_samples() -> list[Sample]:
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
