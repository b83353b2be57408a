"""Stable forms: what overflows, underflows or cancels on the way is computed by a way that does not.

Each rule may only turn a non-finite or less accurate result into a better one: functions that a user wrote out, like
log(sum(exp(x))), log(1 + exp(x)), 1 - tanh(x)**2. Their gradients are derived from the better form: see `rederive`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc import ops
from gradc.ir import CONSTANT, Graph, Node, Op, apply, constant
from gradc.ops.activations import sigmoid_op, sigmoid_slope
from gradc.ops.elementwise import select, tanh_slope, where_op
from gradc.ops.masks import keep_zeros
from gradc.ops.reduction import max_op, reduced_shape, sum_op
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


def _moved(value: Node, node: Node, base: Node) -> Node:
    """`value` reshaped, broadcast or indexed as `node` does it with `base`."""
    moves = []
    while node is not base:
        moves.append(node)
        node = node.inputs[0]
    for move in reversed(moves):
        value = apply(move.op, (value, *move.inputs[1:]), move.attrs)
    return value


def _is_exp(node: Node) -> bool:
    """True for exp(u) of floats: where it casts integers first, what is done to `u` instead could wrap around."""
    return node.op is ops.exp and node.inputs[0].dtype == node.dtype


def _one_plus_exp(node: Node) -> Node | None:
    """`u` where `node` is 1 + exp(u)."""
    if node.op is ops.add:
        for one, e in (node.inputs, node.inputs[::-1]):
            if _is_exp(e) and e.type == node.type and number(one) == 1:
                return e.inputs[0]
    return None


def _negates(a: Node, b: Node) -> bool:
    """True when one is the other, negated."""
    return (a.op is ops.negative and a.inputs[0] is b) or (b.op is ops.negative and b.inputs[0] is a)


def _sum_of_exp(node: Node) -> Node | None:
    """exp(u) where `node`, under its views, sums that and nothing yet keeps it from overflow; `u` has entries."""
    total = _under_views(node)
    if total.op is not sum_op or not _is_exp(total.inputs[0]) or 0 in total.inputs[0].shape:
        return None
    return None if _is_shifted(total.inputs[0].inputs[0]) else total.inputs[0]


def _keeps_axes(node: Node) -> bool:
    """True when `node` is a sum beside what it sums: broadcast along the very axes that are reduced."""
    while node.op is broadcast_op:
        node = node.inputs[0]
    total = _under_views(node)
    if total.op is not sum_op:
        return False
    terms = total.inputs[0]
    missing = (1,) * (len(terms.shape) - len(node.shape))
    return (*missing, *node.shape) == reduced_shape(terms.shape, total.attr("axes"), True)


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
    x = node.inputs[0]
    while x.op.view or x.op.moves:
        x = x.inputs[0]
    result = _log_of(x)
    return None if result is None else _moved(result, node.inputs[0], x)


def _log_of(x: Node) -> Node | None:
    if x.op is ops.sqrt:
        return _half(apply(ops.log, x.inputs))
    if x.op is sigmoid_op:
        return ops.log_sigmoid(x.inputs[0])
    if x.op is ops.add and all(map(_is_exp, x.inputs)):
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
    if _is_exp(e) and u is e.inputs[0]:
        return ops.log_sigmoid(u)
    sum_ = _under_views(total)
    if not _is_exp(e) or sum_.op is not sum_op or sum_.inputs[0] is not e:
        return None
    return e.inputs[0] - _moved(apply(ops.log, (sum_,)), total, sum_)


def _log1p(node: Node) -> Node | None:
    return ops.softplus(node.inputs[0].inputs[0]) if _is_exp(node.inputs[0]) else None


def _subtract(node: Node) -> Node | None:
    """1 - tanh(x)**2, 1 - sigmoid(x) and a - a * sigmoid(x) keep their digits where these functions are near 1."""
    a, b = node.inputs
    if b.op is ops.multiply:
        for x, s in (b.inputs, b.inputs[::-1]):
            u = _sigmoid_argument(s) if x is a and a.type == node.type else None
            if u is not None:
                return a * ops.sigmoid(-u)
    if number(a) != 1:
        return None
    u = _sigmoid_argument(b)
    if u is not None:
        return ops.sigmoid(-u)
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
    if _is_exp(above):
        u = above.inputs[0]
        if _one_plus_exp(below) is u:
            return ops.sigmoid(u)
        if _sum_of_exp(below) is above and _keeps_axes(below):
            return ops.softmax(u, _axes(below))
        if below.op is ops.add and above in below.inputs and all(map(_is_exp, below.inputs)):
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
            balanced = apply(keep_zeros, (apply(ops.multiply, (a, e)), a))  # 0 where both are past the largest number
            return apply(ops.multiply, (balanced, b))
    return None


def _one_over(node: Node) -> Node | None:
    """1 / (1 + exp(u)) is sigmoid(-u): no better by itself, but its derivatives are."""
    u = _sigmoid_argument(node)
    return ops.sigmoid(u) if u is not None else None


def _sigmoid_argument(node: Node) -> Node | None:
    """x where `node` is sigmoid(x), written out or not."""
    if node.op is sigmoid_op:
        return node.inputs[0]
    if node.op is ops.reciprocal:
        u = _one_plus_exp(node.inputs[0])
    elif node.op is ops.divide and number(node.inputs[0]) == 1:
        u = _one_plus_exp(node.inputs[1])
    else:
        return None
    return -u if u is not None else None


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


Rules = dict[Op, tuple[Rule, ...]]

FORMS: Rules = {
    ops.log: (_log,),
    ops.log1p: (_log1p,),
    ops.reciprocal: (_one_over,),
    ops.subtract: (_subtract,),
    ops.divide: (_one_over, _divide),
}
"""What to look at for functions that are written out, each the last op of one."""

SIGNS: frozenset[Op] = frozenset({ops.exp, ops.sqrt, ops.tanh, sigmoid_op})
"""The ops without which there are none of them."""

SUMS: Rules = {
    ops.add: (_placed_terms,),
    add_n: (_placed_terms,),
    sum_op: (_sum,),
    keep_zeros: (_kept_zeros,),
    ops.subtract: (*FORMS[ops.subtract], _placed_terms),
    ops.multiply: (_scalings, _common_scale, _twice_divided),
}
LAST: Rules = {ops.reciprocal: (), ops.divide: (_divide,)}
"""In place of those of `FORMS`: what only derivatives gain from is left as it is shared with others."""


def stabilising(graph: Graph) -> Rewriting:
    """Apply the first rule that fits."""
    return _applying({**FORMS, **SUMS, **LAST}, [])


def recognising(found: list[Node]) -> Rewriting:
    """Put functions that are written out in their stable form; `found` gets every node that this replaced."""
    return _applying(FORMS, found)


def _applying(rules: Rules, replaced: list[Node]) -> Rewriting:
    def step(node: Node) -> Node:
        for rule in rules.get(node.op, ()) if node.dtype.kind == "f" else ():
            better = rule(node)
            if better is not None and better.type == node.type:
                replaced.append(node)
                return better
        return node

    return step
