"""Stable forms: what overflows, underflows or cancels on the way is computed by a way that does not.

Each rule may only turn a non-finite or less accurate result into a better one. Functions that are written out are computed as
what they are: the forms of `gradc.matching`, which `differentiate` has taken for their derivatives already.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc import ops
from gradc.ir import CONSTANT, Graph, Node, Op, apply, constant
from gradc.matching import Same, forms_for, recognise
from gradc.ops.elementwise import select
from gradc.ops.masks import keep_zeros
from gradc.ops.reduction import sum_op
from gradc.ops.shaping import add_n
from gradc.ops.slices import place_op, placed_sum
from gradc.ops.written import is_exp
from gradc.passes.rewrite import Rewriting
from gradc.passes.simplify import number

Rule = Callable[[Node], "Node | None"]

# --- products ----------------------------------------------------------------------------------------


def _one_plus_exp(node: Node) -> Node | None:
    """`u` where `node` is 1 + exp(u)."""
    if node.op is ops.add:
        for one, e in (node.inputs, node.inputs[::-1]):
            if is_exp(e) and e.type == node.type and number(one) == 1:
                return e.inputs[0]
    return None


def _twice_divided(node: Node) -> Node | None:
    """(g / q) * (h / q) * exp(u), where q = 1 + exp(u): the exponential meets the quotients while they balance it."""
    for product, e in (node.inputs, node.inputs[::-1]):
        if e.op is not ops.exp or product.op is not ops.multiply:
            continue
        a, b = product.inputs
        if a.op is b.op is ops.divide and a.inputs[1] is b.inputs[1] and _one_plus_exp(a.inputs[1]) is e.inputs[0]:
            balanced = apply(keep_zeros, (apply(ops.multiply, (a, e)), a))  # 0 where both are past the largest number
            return apply(ops.multiply, (balanced, b))
    return None


def _scalings(node: Node) -> Node | None:
    """Two constant factors are one: a rounding less, and no overflow between them."""
    for x, c in (node.inputs, node.inputs[::-1]):
        if not _is_scalar(c) or x.op is not ops.multiply:
            continue
        for y, d in (x.inputs, x.inputs[::-1]):
            if _is_scalar(d) and y.type == node.type:
                with np.errstate(all="ignore"):
                    factor = np.multiply(c.attr("value").array, d.attr("value").array)
                if np.isfinite(factor) and abs(factor) >= np.finfo(factor.dtype).tiny and factor.dtype == node.dtype:
                    return apply(ops.multiply, (y, constant(factor)))
    return None


def _common_scale(node: Node) -> Node | None:
    """(c a + c b) d is (a + b) (c d) where c is a power of two, and |c d| at least 1: no digit changes, and less overflows."""
    for total, d in (node.inputs, node.inputs[::-1]):
        if not _is_scalar(d) or total.op not in (ops.add, ops.subtract):
            continue
        (c, a), (other, b) = map(_unscaled, total.inputs)
        scale = c * float(number(d) or 0)
        if c == other != 1 and 1 <= abs(scale) <= np.finfo(node.dtype).max and a.type == b.type == total.type:
            unscaled = apply(total.op, (a, b))
            return unscaled if scale == 1 else apply(ops.multiply, (unscaled, constant(scale, node.dtype)))
    return None


def _unscaled(node: Node) -> tuple[float, Node]:
    """(c, x) where `node` is c x, or c x / y, and c a power of two; 1 and itself where there is none."""
    if node.op is ops.divide:
        c, x = _factored(node.inputs[0])
        return (c, apply(ops.divide, (x, node.inputs[1]))) if c != 1 else (1.0, node)
    return _factored(node)


def _factored(node: Node) -> tuple[float, Node]:
    """(c, x) where `node` is c x, and c a power of two."""
    if node.op is ops.multiply:
        for factor, x in (node.inputs, node.inputs[::-1]):
            if _is_scalar(factor) and abs(np.frexp(factor.attr("value").array)[0]) == 0.5:
                return float(number(factor) or 0), x
    return 1.0, node


def _is_scalar(node: Node) -> bool:
    return node.op is CONSTANT and not node.type.shape and node.dtype.kind == "f"


def _sum(node: Node) -> Node | None:
    """The sum of negated terms is the sum, negated: one number a slice; only the sign of a zero may change."""
    terms = node.inputs[0]
    return apply(ops.negative, (apply(sum_op, terms.inputs, node.attrs),)) if terms.op is ops.negative else None


def _kept_zeros(node: Node) -> Node | None:
    """A sign moves out, to where a sum or a product may take it up; only the sign of a zero may change."""
    x, g = node.inputs
    return apply(ops.negative, (apply(keep_zeros, (x.inputs[0], g)),)) if x.op is ops.negative and x.type == node.type else None


def _placed_terms(node: Node) -> Node | None:
    """Adjoints of slices are added where they are; only the sign of a zero may change."""
    terms = node.inputs
    if not any(t.op is place_op for t in terms):
        return None
    if node.op is ops.subtract:
        terms = (terms[0], _opposite(terms[1]))
    return placed_sum(terms) if all(t.type == node.type for t in terms) else None


def _opposite(term: Node) -> Node:
    if term.op is place_op:
        return apply(place_op, (apply(ops.negative, term.inputs),), term.attrs)
    return apply(ops.negative, (term,))


RULES: dict[Op, tuple[Rule, ...]] = {
    ops.add: (_placed_terms,),
    add_n: (_placed_terms,),
    sum_op: (_sum,),
    keep_zeros: (_kept_zeros,),
    ops.subtract: (_placed_terms,),
    ops.multiply: (_scalings, _common_scale, _twice_divided),
}

MADE = frozenset({ops.add, ops.subtract, ops.multiply, ops.negative, ops.reciprocal, select})
"""Ops that simplifying may bring in."""


def stabilising(graph: Graph) -> Rewriting:
    """Put functions that are written out in their form, of those that this graph may have; then the first rule."""
    present = frozenset([node.op for node in graph.nodes])
    table, same = forms_for(present | MADE, True), Same()

    def step(node: Node) -> Node:
        if node.dtype.kind != "f":
            return node
        form = recognise(node, table, same)
        if form is not None:
            return form[1]
        for rule in RULES.get(node.op, ()):
            better = rule(node)
            if better is not None and better.type == node.type:
                return better
        return node

    return step
