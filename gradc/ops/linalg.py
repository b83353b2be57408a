"""Linear algebra: matmul with NumPy's batch broadcasting and 1-d rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import Call, Kernel, Node, apply, lift
from gradc.ops.declare import call, function, op, ufunc_dtype
from gradc.ops.samples import cases, normal, sample
from gradc.types import TensorType, broadcast_shapes, show_shape

__all__ = [
    "matmul",
]


def _infer_matmul(a: TensorType, b: TensorType) -> TensorType:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {show_shape(a.shape)} @ {show_shape(b.shape)}: {a.shape[-1]} columns against {b.shape[-2]} rows"
        )
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return TensorType((*batch, a.shape[-2], b.shape[-1]), ufunc_dtype(np.matmul, (a.dtype, b.dtype)))


def _da(g: Node, out: Node, a: Node, b: Node) -> Node:
    return call("sum_to", matmul(g, b.mT), a.shape)


def _db(g: Node, out: Node, a: Node, b: Node) -> Node:
    if b.ndim == 2 and a.ndim > 2:
        rows, columns = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
        return matmul(rows.T, columns)
    return call("sum_to", matmul(a.mT, g), b.shape)


def _kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.matmul, "matmul", "{0}, {1}, {out}"),))


matmul_op = op(
    "matmul",
    infer=_infer_matmul,
    evaluate=np.matmul,
    analytic=True,
    vjp=(_da, _db),
    jvp=(lambda t, out, a, b: t @ b, lambda t, out, a, b: a @ t),
    kernel=_kernel,
    flops=lambda shapes, shape: 2 * int(np.prod(shape)) * shapes[0][-1],
)


@function(
    numpy=(np.matmul, np.dot),
    samples=cases(
        lambda: sample(normal(2, 3), normal(3, 4, seed=1)),
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 3), normal(3, seed=1)),
        lambda: sample(normal(4, 2, 3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 3), normal(4, 3, 2, seed=1)),
        lambda: sample(normal(2, 1, 2, 3), normal(4, 3, 2, seed=1)),
        lambda: sample(normal(0, 3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 0), normal(0, 2, seed=1)),
    ),
)
def matmul(a: Any, b: Any) -> Node:
    """`np.matmul`: batches broadcast; a 1-d operand is a row on the left, a column on the right."""
    x, y = lift((a, b), "matmul")
    if not x.ndim or not y.ndim:
        raise ShapeError("matmul: a 0-d operand; multiply by a scalar with *")
    left = call("expand_dims", x, 0) if x.ndim == 1 else x
    right = call("expand_dims", y, 1) if y.ndim == 1 else y
    product = apply(matmul_op, (left, right))
    drop = ((-2,) if x.ndim == 1 else ()) + ((-1,) if y.ndim == 1 else ())
    return call("squeeze", product, drop) if drop else product
