"""Zeros that a mask (where, relu, max, ...) leaves in an adjoint: they win over the infinite factors that they meet.

`keep_zeros` follows every rule that could lose such a zero. The zeros of masks are told from others: an adjoint that happens to
be 0, as where a model fits exactly, has derivatives all the same; and one that came to be 0 since a factor was, as exp(-inf) is,
meets infinity as the formula says: NaN, and no number that looks right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from gradc.ir import CONSTANT, Kernel, Node, Op, apply
from gradc.ops.declare import call, op
from gradc.ops.elementwise import (
    astype,
    divide,
    equal,
    greater_equal,
    logical_and,
    logical_or,
    multiply,
    not_equal,
    select,
    share,
    where_op,
)
from gradc.ops.recipes import BITS, do
from gradc.types import TensorType, broadcast_shapes

MOST_NODES = 64
"""How many nodes of an adjoint are looked at for masks: each more is a node of the second derivative."""


def _evaluate(x: Any, g: Any) -> Any:
    out = np.empty(np.broadcast_shapes(np.shape(x), np.shape(g)), np.asarray(x).dtype)
    np.copyto(out, x)
    _restore_zeros(g, out)
    return out


def _restore_zeros(g: Any, out: Any) -> None:
    """One maximum tells whether there is a NaN at all: there hardly ever is."""
    top = np.maximum.reduce(out, None, initial=-math.inf)
    if top != top:
        bits = out.view(BITS[out.dtype.itemsize])
        np.multiply(bits, (out == out) | (g != 0), bits)


def _kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((do(np.copyto, "{out}, {0}"), do(_restore_zeros, "{1}, {out}")), inplace=(0,), by_blocks=True)


keep_zeros: Op = op(
    "keep_zeros",  # x, a product with g: where g is 0 and x is NaN, 0 has met infinity, and wins
    infer=lambda x, g: TensorType(broadcast_shapes(x.shape, g.shape), x.dtype),
    evaluate=_evaluate,
    vjp=(lambda h, out, x, g: select(_has_derivatives(x, g), h), None),
    jvp=(lambda t, out, x, g: apply(keep_zeros, (t, g)), None),
    kernel=_kernel,
    elementwise=True,
    linear=True,
    masks=True,
    symbolic="a",
)


def _has_derivatives(x: Node, g: Node) -> Node:
    """Where `keep_zeros(x, g)` is `x`, and not 0 whatever the values: there `x` may be finite and its derivatives not."""
    if g.dtype.kind == "b":
        return g
    same = logical_or(not_equal(g, 0), equal(x, x))
    selected = _Masks().condition(g)
    return same if selected is None else logical_and(selected, same)


def known_zeros(g: Node) -> Node | None:
    """A condition that is False where the adjoint `g` is 0 whatever the values: by a mask, or since nothing reads the entry.

    None where nothing is known. An adjoint that happens to be 0 counts as any other.
    """
    known = _Masks(through_products=True).condition(g)
    return known if known is None or known.shape == g.shape else call("broadcast_to", known, g.shape)


PRODUCTS: set[Op] = set()
"""The ops that multiply two matrices; filled where they are declared, since those files import this one."""


class Zeros:
    """The adjoints of one sweep that have zeros by masks, and where these are.

    A selection by a condition of its own hides what it leaves out, NaN too; one by its own values (relu, max) passes NaN on.
    """

    def __init__(self) -> None:
        self._hides: dict[Node, bool] = {}
        self._sources: dict[Node, Node] = {}
        self._masks = _Masks()

    def __contains__(self, adjoint: Node) -> bool:
        return adjoint in self._hides

    def hides(self, adjoint: Node) -> bool:
        """True where a condition has left out entries of `adjoint`."""
        return self._hides.get(adjoint, False)

    def add(self, adjoint: Node, hides: bool, made_of: Node | None = None) -> None:
        """Note that `adjoint` has zeros by masks; those of `made_of`, entry by entry, where that is given."""
        self._hides[adjoint] = hides
        if made_of is not None and made_of.shape == adjoint.shape:
            self._sources[adjoint] = self._sources.get(made_of, made_of)

    def of(self, adjoint: Node) -> Node:
        """A condition that is False where `adjoint` is 0 by masks; where none is known, an adjoint that is 0 there."""
        known = self._masks.condition(adjoint)
        return self._sources.get(adjoint, adjoint) if known is None else known


class _Masks:
    """Conditions that are False where masks make an adjoint 0 whatever the values; None where nothing is known to."""

    def __init__(self, through_products: bool = False) -> None:
        self._through_products = through_products
        self._left = 0
        self._found: dict[Node, Node | None] = {}

    def condition(self, g: Node) -> Node | None:
        """The condition on the entries of `g`."""
        self._left = MOST_NODES
        return self._of(g)

    def _of(self, g: Node) -> Node | None:
        if g not in self._found:
            self._left -= 1
            if self._left < 0 or not g.inputs:
                return None
            self._found[g] = self._look(g)
        return self._found[g]

    def _look(self, g: Node) -> Node | None:
        op, first = g.op, g.inputs[0]
        if op is select or (op is where_op and _is_zero(g.inputs[2])):
            return _both(first, self._of(g.inputs[1]))
        if op is share:
            return _both(greater_equal(*g.inputs[1:]), self._of(first))
        if op is keep_zeros:
            return g.inputs[1] if g.inputs[1].dtype.kind == "b" else self._of(g.inputs[1])
        if op is multiply:
            return _both(self._of(first), self._of(g.inputs[1]))
        if op is divide:
            return self._of(first)
        if op in PRODUCTS and self._through_products:
            return _of_product(self._of(first), self._of(g.inputs[1]))
        if op.elementwise and op.linear:
            return _any([self._of(i) for i in g.inputs])
        if op.view or op.places or (op.reduces and op.linear):
            return _moved(g, self._of(first))
        return None


def _is_zero(node: Node) -> bool:
    return node.op is CONSTANT and not node.shape and not node.attr("value").array


def _both(a: Node | None, b: Node | None) -> Node | None:
    return a if b is None else b if a is None else logical_and(a, b)


def _of_product(rows: Node | None, columns: Node | None) -> Node | None:
    """The condition on a product of matrices: where a row of the first and a column of the second have entries at all."""
    left = None if rows is None else call("any", rows, -1, keepdims=True)
    right = None if columns is None else call("any", columns, -2, keepdims=True)
    return right if left is None else _both(left, right)


def _any(conditions: list[Node | None]) -> Node | None:
    known = [c for c in conditions if c is not None]
    return reduce(logical_or, known) if len(known) == len(conditions) else None


def _moved(g: Node, selected: Node | None) -> Node | None:
    """The condition on the operand of a view, a sum, or an op that places entries among zeros, as one on the result."""
    x, *others = g.inputs
    if selected is None:
        return not_equal(apply(g.op, (call("ones_like", x), *others), g.attrs), 0) if g.op.places else None
    if selected.shape != x.shape:
        selected = call("broadcast_to", selected, x.shape)
    if g.op.view:
        return apply(g.op, (selected,), g.attrs)
    return not_equal(apply(g.op, (astype(selected, x.dtype), *others), g.attrs), 0)
