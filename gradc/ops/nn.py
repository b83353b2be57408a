"""Networks: softmax, log_softmax, cross entropy, composed so that the adjoint reuses the exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import Node, apply, lift
from gradc.ops.declare import call, function
from gradc.ops.elementwise import exp, log, stop_gradient
from gradc.ops.indexing import pick_op
from gradc.ops.reduction import max_, reduced_shape, sum_
from gradc.ops.samples import cases, normal, sample
from gradc.types import normalize_axes, show_shape

__all__ = [
    "log_softmax",
    "softmax",
    "softmax_cross_entropy",
]

_SAMPLES = cases(lambda: sample(normal(3)), lambda: sample(normal(2, 3)), lambda: sample(normal(2, 3), axis=0))


def _shifted(x: Any, axis: Any, where: str) -> tuple[Node, Node, tuple[int, ...]]:
    """`x` less its maximum, and the sum of its exponentials: the maximum cancels, so it carries no gradient."""
    (node,) = lift((x,), where)
    axes = normalize_axes(axis, node.ndim, where)
    shifted = node - stop_gradient(max_(node, axes, keepdims=True))
    return shifted, sum_(exp(shifted), axes, keepdims=True), axes


@function(samples=_SAMPLES)
def softmax(x: Any, axis: Any = -1) -> Node:
    """exp(x) / sum(exp(x)) over `axis`, without overflow."""
    shifted, total, _ = _shifted(x, axis, "softmax")
    return exp(shifted) / total


@function(samples=_SAMPLES)
def log_softmax(x: Any, axis: Any = -1) -> Node:
    """log(softmax(x)) over `axis`, accurate in the tails."""
    shifted, total, _ = _shifted(x, axis, "log_softmax")
    return shifted - log(total)


@function(
    samples=cases(
        lambda: sample(normal(4, 3), np.array([0, 2, 1, 1]), fixed=(1,)),
        lambda: sample(normal(4, 3), np.eye(3)[[0, 2, 1, 1]], fixed=(1,)),
        lambda: sample(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 1]), fixed=(1,)),
    )
)
def softmax_cross_entropy(logits: Any, labels: Any) -> Node:
    """-log_softmax(logits) at the labels, along the last axis: one loss a row, shape `logits.shape[:-1]`.

    Args:
        logits: floats, shape (..., classes).
        labels: integers, shape (...), or rows of probabilities (one-hot rows), shape (..., classes).
    """
    x, y = lift((logits, labels), "softmax_cross_entropy")
    if not x.ndim or y.shape not in (x.shape, x.shape[:-1]):
        raise ShapeError(
            f"softmax_cross_entropy: labels {show_shape(y.shape)} fit logits {show_shape(x.shape)} neither as integers "
            f"{show_shape(x.shape[:-1])} nor as rows {show_shape(x.shape)}"
        )
    if y.shape == x.shape and y.dtype.kind == "f":
        return -sum_(log_softmax(x) * y, -1)
    shifted, total, axes = _shifted(x, -1, "softmax_cross_entropy")
    log_total = call("reshape", log(total), reduced_shape(total.shape, axes, False))
    return log_total - apply(pick_op, (shifted, y))
