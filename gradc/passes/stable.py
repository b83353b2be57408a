"""Stable forms: what overflows, underflows or cancels on the way is computed by a way that does not.

Each rule may only turn a non-finite or less accurate result into a better one. Two families:

- functions that a user wrote out, like log(sum(exp(x))), log(1 + exp(x)), 1 - tanh(x)**2;
- factors that the chain rule divides and multiplies by in turn, which is where the gradients of those overflow:
  (g / f) * f is g, and exp(x) / (1 + exp(x)) is sigmoid(x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from gradc import ops
from gradc.ir import CONSTANT, Node, Op, apply, constant
from gradc.ops.activations import sigmoid_op, sigmoid_slope
from gradc.ops.elementwise import select, tanh_slope, where_op
from gradc.ops.indexing import place_op, placed_sum
from gradc.ops.reduction import max_op, sum_op
from gradc.ops.shaping import add_n, broadcast_op, reshape_op
from gradc.passes.rewrite import Rewriting
from gradc.passes.simplify import number

Rule = Callable[[Node], "Node | None"]


# --- what is what ------------------------------------------------------------------------------------


def _under_views(node: Node) -> Node:
    """What `node` reshapes or broadcasts."""
    while node.op is reshape_op or node.op is broadcast_op:
        node = node.inputs[0]
    return node


def _with_views_of(node: Node, value: Node) -> Node:
    """`value` reshaped and broadcast as `node` does it with what is under its views."""
    views = []
    while node.op is reshape_op or node.op is broadcast_op:
        views.append(node)
        node = node.inputs[0]
    for view in reversed(views):
        value = apply(view.op, (value,), view.attrs)
    return value


def _one_plus_exp(node: Node) -> Node | None:
    """`u` where `node` is 1 + exp(u)."""
    if node.op is ops.add:
        for one, e in (node.inputs, node.inputs[::-1]):
            if e.op is ops.exp and e.type == node.type and number(one) == 1:
                return e.inputs[0]
    return None


def _negates(a: Node, b: Node) -> bool:
    """True when one is the other, negated."""
    return (a.op is ops.negative and a.inputs[0] is b) or (b.op is ops.negative and b.inputs[0] is a)


def _sum_of_exp(node: Node) -> Node | None:
    """exp(u) where `node`, under its views, sums that and nothing yet keeps it from overflow."""
    total = _under_views(node)
    if total.op is not sum_op or total.inputs[0].op is not ops.exp:
        return None
    return None if _is_shifted(total.inputs[0].inputs[0]) else total.inputs[0]


def _is_shifted(u: Node) -> bool:
    """True for x - max(x): its exponentials are at most 1."""
    if not u.op.elementwise or len(u.inputs) != 2:
        return False
    top = _under_views(u.inputs[1])
    candidates = top.inputs if top.op is select or top.op is where_op else (top,)
    return any(c.op is max_op and c.inputs[0] is u.inputs[0] for c in map(_under_views, candidates))


def _axes(node: Node) -> tuple[int, ...]:
    return _under_views(node).attr("axes")  # type: ignore[no-any-return]


# --- functions written out ---------------------------------------------------------------------------


def _log(node: Node) -> Node | None:
    x = node.inputs[0]
    if x.op is ops.sqrt:
        return _half(apply(ops.log, x.inputs))
    if x.op is sigmoid_op:
        return ops.log_sigmoid(x.inputs[0])
    if x.op is ops.add and x.inputs[0].op is x.inputs[1].op is ops.exp:
        return ops.logaddexp(x.inputs[0].inputs[0], x.inputs[1].inputs[0])
    u = _one_plus_exp(x)
    if u is not None:
        return ops.softplus(u)
    e = _sum_of_exp(x)
    if e is not None:
        total = _under_views(x)
        return _with_views_of(x, ops.logsumexp(e.inputs[0], total.attr("axes"), total.attr("keepdims")))
    return _log_of_quotient(x)


def _half(x: Node) -> Node:
    return x * 0.5


def _log_of_quotient(x: Node) -> Node | None:
    """log(1 / (1 + exp(u))) is -softplus(u); log(exp(u) / sum(exp(u))) is u - log(sum(exp(u)))."""
    if x.op is ops.reciprocal:
        u = _one_plus_exp(x.inputs[0])
        return -ops.softplus(u) if u is not None else None
    if x.op is not ops.divide:
        return None
    e, total = x.inputs
    u = _one_plus_exp(total)
    if u is not None and number(e) == 1:
        return -ops.softplus(u)
    sum_ = _under_views(total)
    if e.op is not ops.exp or sum_.op is not sum_op or sum_.inputs[0] is not e:
        return None
    return e.inputs[0] - _with_views_of(total, apply(ops.log, (sum_,)))


def _log1p(node: Node) -> Node | None:
    return ops.softplus(node.inputs[0].inputs[0]) if node.inputs[0].op is ops.exp else None


def _subtract(node: Node) -> Node | None:
    """1 - tanh(x)**2, 1 - sigmoid(x) and a - a * sigmoid(x) keep their digits where these functions are near 1."""
    a, b = node.inputs
    if b.op is ops.multiply:
        for x, s in (b.inputs, b.inputs[::-1]):
            if x is a and s.op is sigmoid_op and a.type == node.type:
                return a * ops.sigmoid(-s.inputs[0])
    if number(a) != 1:
        return None
    if b.op is sigmoid_op:
        return ops.sigmoid(-b.inputs[0])
    if b.op is ops.square or (b.op is ops.multiply and b.inputs[0] is b.inputs[1]):
        t = b.inputs[0]
        return apply(tanh_slope, (t.inputs[0], t)) if t.op is ops.tanh else None
    return None


# --- products ----------------------------------------------------------------------------------------


class Factor(NamedTuple):
    """A node that a product multiplies by, or divides by."""

    node: Node
    inverse: bool = False


GONE = Factor(constant(1.0))


def _last_factors(product: Node) -> Iterator[tuple[Node, Factor]]:
    """`product` as something times, or divided by, a factor: each way to see it so."""
    if product.op is ops.multiply:
        a, b = product.inputs
        yield a, Factor(b)
        yield b, Factor(a)
    elif product.op is ops.divide:
        yield product.inputs[0], Factor(product.inputs[1], True)
    elif product.op is reshape_op or product.op is broadcast_op:
        inner = _under_views(product)
        if inner.op is ops.divide and inner.inputs[0].type == inner.inputs[1].type == inner.type:
            above, below = inner.inputs
            yield _with_views_of(product, above), Factor(_with_views_of(product, below), True)


def _joined(rest: Node, factor: Factor) -> Node:
    if factor is GONE:
        return rest
    return apply(ops.divide if factor.inverse else ops.multiply, (rest, factor.node))


def _without_scale(node: Node) -> tuple[Node, Callable[[Node], Node]]:
    """What `node` negates or multiplies by a number, and the function that does that to another node."""
    if node.op is ops.negative:
        return node.inputs[0], lambda x: apply(ops.negative, (x,))
    if node.op is ops.multiply:
        for c, x in (node.inputs, node.inputs[::-1]):
            if c.op is CONSTANT and not c.type.shape:
                return x, partial(_scaled, c)
    return node, lambda x: x


def _scaled(factor: Node, x: Node) -> Node:
    return apply(ops.multiply, (x, factor))


def _product(node: Node) -> Node | None:
    """The last two factors of a product as one, or none; else what `f` does to the terms of a sum."""
    for rest, factor in _last_factors(node):
        core, scaled = _without_scale(rest)
        for before, last in _last_factors(core):
            merged = _merged(last, factor) or _merged(factor, last)
            if merged is not None:
                return _shaped(scaled(_joined(before, merged)), node)
        found = _recognised(core, factor.node) if factor.inverse else None
        if found is not None:
            return _shaped(scaled(found.node), node)
    return None


def _shaped(value: Node, like: Node) -> Node:
    """`value`, which may have lost factors that broadcast it, in the shape that it had."""
    return value if value.shape == like.shape else ops.broadcast_to(value, like.shape)


def _merged(a: Factor, b: Factor) -> Factor | None:
    """`a` times `b` as one factor, where that avoids what might overflow."""
    if a.node is b.node:
        if a.inverse != b.inverse:
            return GONE
        return Factor(a.node.inputs[0], a.inverse) if a.node.op is ops.sqrt else None
    if a.node.op is ops.divide:
        above, below = a.node.inputs
        if b.node is below and b.inverse == a.inverse:
            return Factor(above, a.inverse)
        if b.node is above and b.inverse != a.inverse:
            return Factor(below, not a.inverse)
        found = None if a.inverse or b.inverse else _recognised(b.node, below)
        if found is not None:
            return found if number(above) == 1 else Factor(apply(ops.multiply, (above, found.node)))
    if a.node.op is ops.multiply and b.inverse != a.inverse and b.node in a.node.inputs:
        x, y = a.node.inputs
        return Factor(y if b.node is x else x, a.inverse)
    if b.inverse and not a.inverse:
        return _recognised(a.node, b.node) or _sum_below(a.node, b.node)
    if a.inverse and b.inverse and a.node.op is ops.divide:
        e = _sum_of_exp(b.node)
        return Factor(e, True) if e is not None and _is_softmax(a.node, e) else None
    return None


def _sum_below(above: Node, e: Node) -> Factor | None:
    """softmax(u) / exp(u) is 1 / sum(exp(u))."""
    if e.op is not ops.exp or not _is_softmax(above, e):
        return None
    return Factor(ops.sum(e, _axes(above.inputs[1]), keepdims=True), True)


def _is_softmax(node: Node, e: Node) -> bool:
    """True when `node` is the quotient of x - max(x) that `softmax` builds, x the exponent of `e`."""
    if node.op is not ops.divide:
        return False
    above, total = node.inputs[0], _under_views(node.inputs[1])
    shifted = total.op is sum_op and total.inputs[0] is above and above.op is ops.exp and _is_shifted(above.inputs[0])
    return shifted and above.inputs[0].inputs[0] is e.inputs[0]


def _recognised(above: Node, below: Node) -> Factor | None:
    """above / below as a function that neither overflows nor cancels."""
    if above.op is ops.exp:
        u = above.inputs[0]
        if _one_plus_exp(below) is u:
            return Factor(ops.sigmoid(u))
        if _sum_of_exp(below) is above:
            return Factor(ops.softmax(u, _axes(below)))
        if below.op is ops.add and above in below.inputs and below.inputs[0].op is below.inputs[1].op is ops.exp:
            other = below.inputs[1] if below.inputs[0] is above else below.inputs[0]
            return Factor(ops.sigmoid(u - other.inputs[0]))
    if above.op is sigmoid_slope:
        x, s = above.inputs
        if below is s:
            return Factor(ops.sigmoid(-x))
        if below.op is sigmoid_op and _negates(below.inputs[0], x):
            return Factor(s)
    return None


def _quotient(node: Node) -> Node | None:
    above, below = node.inputs
    if below.op is ops.divide and number(below.inputs[0]) == 1:
        return above * below.inputs[1]
    return None


def _distributed(node: Node) -> Node | None:
    """(g / f + h) * f is g + h * f."""
    for total, factor in _last_factors(node):
        if total.op in (ops.add, ops.subtract, add_n) and any(_meets(term, factor) for term in total.inputs):
            terms = tuple(_joined(term, factor) for term in total.inputs)
            if all(t.type == node.type for t in terms):
                return apply(total.op, terms)
    return None


def _meets(term: Node, factor: Factor) -> bool:
    """True when `factor` merges with the last factor of `term`."""
    core, _ = _without_scale(term)
    if factor.inverse and _recognised(core, factor.node):
        return True
    return any(_merged(last, factor) or _merged(factor, last) for _, last in _last_factors(core))


def _softmax_part(node: Node) -> Node | None:
    """sum(g / S) * exp(u), where S = sum(exp(u)), is sum(g) * softmax(u)."""
    for part, e in (node.inputs, node.inputs[::-1]):
        if e.op is not ops.exp:
            continue
        outer, scaled = _without_scale(part)
        total = _under_views(outer)
        if total.op is not sum_op:
            continue
        found = _undivided(total.inputs[0], e)
        if found is not None:
            terms, below = found
            whole = _with_views_of(outer, apply(sum_op, (terms,), total.attrs))
            return _shaped(scaled(whole) * ops.softmax(e.inputs[0], _axes(below)), node)
    return None


def _undivided(terms: Node, e: Node) -> tuple[Node, Node] | None:
    """(g, S) where `terms` is g / S, or has that as a factor, and S sums `e`."""
    core, scaled = _without_scale(terms)
    if core.op is ops.divide and core.inputs[0].type == core.type and _sum_of_exp(core.inputs[1]) is e:
        return scaled(core.inputs[0]), core.inputs[1]
    if core.op is ops.multiply:
        for x, y in (core.inputs, core.inputs[::-1]):
            found = _undivided(x, e) if x.op is ops.divide and x.type == core.type else None
            if found is not None:
                return scaled(apply(ops.multiply, (found[0], y))), found[1]
    return None


def _twice_divided(node: Node) -> Node | None:
    """(g / q) * (h / q) * exp(u), where q = 1 + exp(u): the exponential meets the quotients while they balance it."""
    for product, e in (node.inputs, node.inputs[::-1]):
        if e.op is not ops.exp or product.op is not ops.multiply:
            continue
        a, b = product.inputs
        if a.op is b.op is ops.divide and a.inputs[1] is b.inputs[1] and _one_plus_exp(a.inputs[1]) is e.inputs[0]:
            largest = constant(np.finfo(e.dtype).max / 8, e.dtype)
            return apply(ops.multiply, (apply(ops.multiply, (a, apply(ops.minimum, (e, largest)))), b))
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


def _is_scalar(node: Node) -> bool:
    return node.op is CONSTANT and not node.type.shape and node.dtype.kind == "f"


def _placed_terms(node: Node) -> Node | None:
    """Adjoints of slices are added where they are; only the sign of a zero may change."""
    if node.op is ops.subtract and node.inputs[1].op is place_op:
        a, b = node.inputs
        terms: tuple[Node, ...] = (a, apply(place_op, (apply(ops.negative, b.inputs),), b.attrs))
    else:
        terms = node.inputs
    if any(t.op is place_op for t in terms) and all(t.type == node.type for t in terms):
        return placed_sum(terms)
    return None


RULES: dict[Op, tuple[Rule, ...]] = {
    ops.add: (_placed_terms,),
    add_n: (_placed_terms,),
    ops.log: (_log,),
    ops.log1p: (_log1p,),
    ops.subtract: (_subtract, _placed_terms),
    ops.divide: (_quotient, _product, _distributed),
    ops.multiply: (_scalings, _twice_divided, _product, _distributed, _softmax_part),
}


def stabilising() -> Rewriting:
    """Apply the first rule that fits."""

    def step(node: Node) -> Node:
        for rule in RULES.get(node.op, ()):
            better = rule(node) if node.dtype.kind == "f" else None
            if better is not None and better.type == node.type:
                return better
        return node

    return step
