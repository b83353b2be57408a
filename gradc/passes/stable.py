"""Stable forms: what overflows, underflows or cancels on the way is computed by a way that does not.

Each rule may only turn a non-finite or less accurate result into a better one: functions that a user wrote out, like
log(sum(exp(x))), log(1 + exp(x)), 1 - tanh(x)**2. Their gradients are derived from the better form: see `rederive`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc import ops
from gradc.ir import CONSTANT, Node, Op, apply, constant
from gradc.ops.activations import sigmoid_op, sigmoid_slope
from gradc.ops.elementwise import select, tanh_slope, where_op
from gradc.ops.reduction import max_op, sum_op
from gradc.ops.shaping import add_n, broadcast_op, reshape_op
from gradc.ops.slices import place_op, placed_sum
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
    """The logarithm of what only moves entries moves the entries of the logarithm."""
    moves = []
    x = node.inputs[0]
    while x.op.view or x.op.moves:
        moves.append(x)
        x = x.inputs[0]
    result = _log_of(x)
    if result is None:
        return None
    for move in reversed(moves):
        result = apply(move.op, (result, *move.inputs[1:]), move.attrs)
    return result


def _log_of(x: Node) -> Node | None:
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
        return ops.logsumexp(e.inputs[0], x.attr("axes"), x.attr("keepdims"))
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
    if e.op is ops.exp and u is e.inputs[0]:
        return ops.log_sigmoid(u)
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


def _divide(node: Node) -> Node | None:
    """exp(x) / (1 + exp(x)) is sigmoid(x), exp(x) / sum(exp(x)) is softmax(x), x / (1 / y) is x * y."""
    above, below = node.inputs
    if below.op is ops.divide and number(below.inputs[0]) == 1:
        return above * below.inputs[1]
    u = _one_plus_exp(below)
    if u is not None and number(above) == 1:
        return ops.sigmoid(-u)
    if above.op is ops.exp:
        u = above.inputs[0]
        if _one_plus_exp(below) is u:
            return ops.sigmoid(u)
        if _sum_of_exp(below) is above:
            return ops.softmax(u, _axes(below))
        if below.op is ops.add and above in below.inputs and below.inputs[0].op is below.inputs[1].op is ops.exp:
            other = below.inputs[1] if below.inputs[0] is above else below.inputs[0]
            return ops.sigmoid(u - other.inputs[0])
    if above.op is sigmoid_slope:
        x, s = above.inputs
        if below is s:
            return ops.sigmoid(-x)
        if below.op is sigmoid_op and _negates(below.inputs[0], x):
            return s
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


def _reciprocal(node: Node) -> Node | None:
    u = _one_plus_exp(node.inputs[0])
    return ops.sigmoid(-u) if u is not None else None


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


def _sum(node: Node) -> Node | None:
    """The sum of negated terms is the sum, negated: one number a slice; only the sign of a zero may change."""
    terms = node.inputs[0]
    return apply(ops.negative, (apply(sum_op, terms.inputs, node.attrs),)) if terms.op is ops.negative else None


def _placed_terms(node: Node) -> Node | None:
    """Adjoints of slices are added where they are; only the sign of a zero may change."""
    if node.op is ops.subtract:
        a, b = node.inputs
        if b.op is not place_op:
            return None
        terms: tuple[Node, ...] = (a, apply(place_op, (apply(ops.negative, b.inputs),), b.attrs))
    else:
        terms = node.inputs
    if any(t.op is place_op for t in terms) and all(t.type == node.type for t in terms):
        return placed_sum(terms)
    return None


Rules = dict[Op, tuple[Rule, ...]]

FORMS: Rules = {
    ops.log: (_log,),
    ops.log1p: (_log1p,),
    ops.reciprocal: (_reciprocal,),
    ops.subtract: (_subtract,),
    ops.divide: (_divide,),
}
"""What to look at for functions that are written out, each the last op of one."""

SIGNS: frozenset[Op] = frozenset({ops.exp, ops.sqrt, ops.tanh, sigmoid_op})
"""The ops without which there are none of them."""

SUMS: Rules = {
    ops.add: (_placed_terms,),
    add_n: (_placed_terms,),
    sum_op: (_sum,),
    ops.subtract: (*FORMS[ops.subtract], _placed_terms),
    ops.multiply: (_scalings, _twice_divided),
}


def stabilising() -> Rewriting:
    """Apply the first rule that fits."""
    return _applying({**FORMS, **SUMS}, [])


def recognising(found: list[Node]) -> Rewriting:
    """Put functions that are written out in their stable form; `found` gets every node that this replaced."""
    return _applying(FORMS, found)


def _applying(rules: Rules, replaced: list[Node]) -> Rewriting:
    def step(node: Node) -> Node:
        for rule in rules.get(node.op, ()):
            better = rule(node) if node.dtype.kind == "f" else None
            if better is not None and better.type == node.type:
                replaced.append(node)
                return better
        return node

    return step
