"""Terms of a sum whose kinks cancel: max(z, 0) + log1p(exp(-|z|)), and the other ways to write softplus, logaddexp, log cosh.

The two terms may stand anywhere among the terms of a sum, with other terms between them and equal coefficients before them, also
in sums over the same axes: sum(max(z, 0)) - sum(z * y) + sum(log1p(exp(-|z|))). What is looked at is a tree of sums that
nothing else reads; in it one term becomes the smooth function and the other goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from gradc.ir import Node, Op, apply, same_nodes
from gradc.matching import Same, is_number, moves_entries, negated, number_of
from gradc.ops.activations import relu, softplus
from gradc.ops.declare import call
from gradc.ops.elementwise import (
    abs_,
    add,
    astype_op,
    clip_min,
    divide,
    fabs,
    fmax,
    greater,
    greater_equal,
    identity,
    less,
    less_equal,
    logaddexp,
    maximum,
    minimum,
    multiply,
    negative,
    select,
    square,
    subtract,
    where_op,
)
from gradc.ops.reduction import sum_op
from gradc.ops.shaping import add_n, broadcast_op
from gradc.ops.smooth import log_cosh, softplus_tail

SUMS: frozenset[Op] = frozenset({add, subtract, add_n, negative, sum_op})
"""What a tree of sums is made of, beside products and quotients with one factor that is no sum, and what moves entries."""

PARTS: frozenset[Op] = frozenset({abs_, fabs, relu, maximum, minimum, where_op, select, clip_min, fmax})


def may_cancel(nodes: Collection[Node], made: frozenset[Op]) -> bool:
    """False where there is no such pair among `nodes`, with the ops `made` that forms bring in."""
    if SUMS.isdisjoint(made) or PARTS.isdisjoint(made):
        return False
    return softplus_tail in made or any(node.op in PARTS and _may_be_opposite(node) for node in nodes)


def _may_be_opposite(node: Node) -> bool:
    return node.op is minimum or any(i.op is negative for i in node.inputs)


Argument = tuple[Any, float]
"""A node up to a factor: what equal ones share, and the factor."""


class _Term(NamedTuple):
    """A term: the operand of a sum that it is, its coefficient, and a number for what else is done to it up to the root."""

    node: Node
    user: Node
    operand: int
    coefficient: float
    path: int


class _Role(NamedTuple):
    """What a term is: f(argument) for one of few f, times `sign`; `make` is what takes its place in a pair, of a scale."""

    kind: str
    key: Any
    scale: float
    sign: float
    operands: tuple[Node, ...]
    inner: Node


def is_sum(node: Node) -> bool:
    """True for an op of a tree of sums."""
    return node.type.dtype.kind == "f" and (
        node.op in SUMS or node.op in (multiply, divide) or (node.op is astype_op) or moves_entries(node)
    )


def cancel_kinks(root: Node, inside: Collection[Node], same: Same) -> dict[tuple[Node, int], Node | None]:
    """What takes the place of operands in the tree of sums below `root`: a smooth term, or None for one that goes.

    `inside` holds the sums that only the tree reads.
    """
    first: dict[Any, list[tuple[_Term, _Role]]] = {}
    tails: list[tuple[_Term, _Role]] = []
    for term in _terms(root, inside, same):
        role = _role(term.node, same)
        if role is None:
            continue
        if role.kind == "tail":
            tails.append((term, role))
        else:
            first.setdefault((role.kind, role.key, term.path), []).append((term, role))
    swaps: dict[tuple[Node, int], Node | None] = {}
    for term, role in tails:
        for kind, joined in _PAIRS.items():
            found = _partner(first.get((kind, role.key, term.path), []), term, role, joined, swaps)
            if found is not None:
                partner, value = found
                swaps[partner.user, partner.operand] = value
                swaps[term.user, term.operand] = None
                break
    for (kind, *_), entries in first.items():
        if kind in _OPPOSITES:
            _cancel_opposites(entries, _OPPOSITES[kind], swaps)
    return swaps


# --- the terms ---------------------------------------------------------------------------------------


def _terms(root: Node, inside: Collection[Node], same: Same) -> Iterator[_Term]:
    left: list[tuple[Node, float, int]] = [(root, 1.0, 0)]
    paths: dict[tuple[int, Any], int] = {}
    while left:
        node, coefficient, path = left.pop()
        for k, factor, step in _operands(node, same):
            operand = node.inputs[k]
            below = path if step is None else paths.setdefault((path, step), len(paths) + 1)
            if operand in inside and operand.type.dtype == root.type.dtype:
                left.append((operand, coefficient * factor, below))
            else:
                yield _Term(operand, node, k, coefficient * factor, below)


def _operands(node: Node, same: Same) -> Iterator[tuple[int, float, Any]]:
    """The operands that are terms: their places, coefficients, and what else is done to them."""
    if node.op in (add, add_n, subtract, negative):
        for k, i in enumerate(node.inputs):
            if i.type.dtype == node.type.dtype:
                sign = -1.0 if node.op is negative or (node.op is subtract and k == 1) else 1.0
                yield k, sign, None if i.shape == node.shape else (broadcast_op, node.shape)
    elif node.op in (multiply, divide):
        for k in (0, 1) if node.op is multiply else (0,):
            other = node.inputs[1 - k]
            value = number_of(other)
            step = None if node.inputs[k].shape == node.shape else (broadcast_op, node.shape)
            if value is None:
                yield k, 1.0, (node.op, same.number(other), step)
            elif value:
                yield k, value if node.op is multiply else 1 / value, step
    else:
        yield 0, 1.0, (node.op, node.attrs, tuple(same.number(i) for i in node.inputs[1:]), node.inputs[0].shape)


# --- what a term is ----------------------------------------------------------------------------------


def _role(node: Node, same: Same) -> _Role | None:
    op = node.op
    if op is softplus_tail:
        return _named("tail", node, node.inputs[0], same)
    if op in (abs_, fabs) and node.inputs[0].dtype == node.dtype:
        return _named("size", node, node.inputs[0], same)
    if op is square:
        inner = _role(node.inputs[0], same) if node.inputs[0].op is not square else None
        return inner._replace(kind="square", sign=1.0, inner=node) if inner is not None and inner.kind == "positive" else None
    positive = _positive_part(node)
    if positive is not None:
        found = _named("positive", node, positive, same)
        return found._replace(sign=-1.0) if op is minimum else found
    return _larger(node, same)


def _named(kind: str, node: Node, x: Node, same: Same) -> _Role:
    key, scale = _up_to_factor(x, same)
    return _Role(kind, key, scale, 1.0, (x,), node)


def _positive_part(node: Node) -> Node | None:
    """x where `node` is max(x, 0), in one of the ways of saying so; for min(-x, 0), which is its opposite, x too."""
    op, inputs = node.op, node.inputs
    if op is relu and inputs[0].dtype == node.dtype:
        return inputs[0]
    if op in (maximum, fmax, clip_min, minimum):
        for x, zero in (inputs, inputs[::-1]):
            if is_number(zero, 0) and x.type == node.type:
                return negated(x) if op is minimum else x
    if op is select and inputs[1].type == node.type:
        return _selected(inputs[0], inputs[1], True)
    if op is where_op and is_number(inputs[2], 0) and inputs[1].type == node.type:
        return _selected(inputs[0], inputs[1], True)
    if op is where_op and is_number(inputs[1], 0) and inputs[2].type == node.type:
        return _selected(inputs[0], inputs[2], False)
    return None


def _selected(condition: Node, x: Node, holds: bool) -> Node | None:
    """`x` where the condition says that it is positive, or that it is not."""
    if condition.op not in _ORDER:
        return None
    a, b = condition.inputs
    above = condition.op in (greater, greater_equal)
    if a is x and is_number(b, 0):
        return x if above is holds else None
    if b is x and is_number(a, 0):
        return x if above is not holds else None
    return None


_ORDER = (greater, greater_equal, less, less_equal)


def _larger(node: Node, same: Same) -> _Role | None:
    """max(a, b), or min(a, b), which is -max(-a, -b)."""
    if node.op not in (maximum, minimum, fmax) or any(i.type != node.type for i in node.inputs):
        if node.op is where_op:
            return _larger_by_where(node, same)
        return None
    a, b = node.inputs
    key, scale = _difference(a, b, same)
    operands = (negated(a), negated(b)) if node.op is minimum else (a, b)
    return _Role("larger", key, scale, -1.0 if node.op is minimum else 1.0, operands, node)


def _larger_by_where(node: Node, same: Same) -> _Role | None:
    condition, a, b = node.inputs
    if condition.op not in _ORDER or a.type != node.type or b.type != node.type:
        return None
    p, q = condition.inputs if condition.op in (greater, greater_equal) else condition.inputs[::-1]
    key, scale = _difference(a, b, same)
    if same(p, a) and same(q, b):
        return _Role("larger", key, scale, 1.0, (a, b), node)
    if same(p, b) and same(q, a):
        return _Role("larger", key, scale, -1.0, (negated(a), negated(b)), node)
    return None


def _up_to_factor(x: Node, same: Same) -> Argument:
    scale = 1.0
    for _ in range(64):
        if x.op is negative:
            scale, x = -scale, x.inputs[0]
            continue
        if x.op in (multiply, divide):
            value = number_of(x.inputs[1])
            if value and x.inputs[0].type == x.type:
                scale, x = scale * value if x.op is multiply else scale / value, x.inputs[0]
                continue
            value = number_of(x.inputs[0]) if x.op is multiply else None
            if value and x.inputs[1].type == x.type:
                scale, x = scale * value, x.inputs[1]
                continue
        break
    if x.op is subtract:
        key, sign = _difference(x.inputs[0], x.inputs[1], same)
        return key, scale * sign
    return same.number(x), scale


def _difference(a: Node, b: Node, same: Same) -> Argument:
    """The key of a - b, and 1 or -1 for which comes first in it."""
    p, q = same.number(a), same.number(b)
    return (("-", p, q), 1.0) if p <= q else (("-", q, p), -1.0)


# --- pairs -------------------------------------------------------------------------------------------

Joined = Callable[[_Term, _Role, _Term, _Role], "Node | None"]


_LOOKED_AT = 64
"""How many terms of one argument, of other coefficients, are looked at for each."""


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)


def _partner(
    entries: list[tuple[_Term, _Role]], term: _Term, role: _Role, joined: Joined, swaps: dict[tuple[Node, int], Node | None]
) -> tuple[_Term, Node] | None:
    for k, (partner, other) in enumerate(entries[:_LOOKED_AT]):
        value = joined(partner, other, term, role) if (partner.user, partner.operand) not in swaps else None
        if value is not None and value.type == partner.node.type:
            del entries[k]
            return partner, value
    return None


def _softplus(term: _Term, role: _Role, tail: _Term, tail_role: _Role) -> Node | None:
    """c max(x, 0) + c log(1 + exp(-|x|)) is c softplus(x)."""
    if not _near(term.coefficient * role.sign, tail.coefficient) or not _near(abs(role.scale), abs(tail_role.scale)):
        return None
    return _signed(softplus(role.operands[0]), role)


def _logaddexp(term: _Term, role: _Role, tail: _Term, tail_role: _Role) -> Node | None:
    """c max(a, b) + c log(1 + exp(-|a - b|)) is c logaddexp(a, b)."""
    if not _near(term.coefficient * role.sign, tail.coefficient) or not _near(abs(tail_role.scale), 1):
        return None
    return _signed(logaddexp(*role.operands), role)


def _log_two_cosh(term: _Term, role: _Role, tail: _Term, tail_role: _Role) -> Node | None:
    """c |x| + c log(1 + exp(-2 |x|)) is c (log cosh x + log 2)."""
    ratio = abs(tail_role.scale) / abs(role.scale) / 2
    if not _near(term.coefficient, tail.coefficient * ratio):
        return None
    x = role.operands[0]
    value: Node = log_cosh(x if _near(ratio, 1) else x * ratio) + _LOG_2
    return value if _near(ratio, 1) else value / ratio


_LOG_2 = 0.6931471805599453
_PAIRS: dict[str, Joined] = {"positive": _softplus, "larger": _logaddexp, "size": _log_two_cosh}


def _signed(value: Node, role: _Role) -> Node:
    return negated(value) if role.sign < 0 else value


def _cancel_opposites(
    entries: list[tuple[_Term, _Role]], rule: tuple[float, Callable[[Node], Node]], swaps: dict[tuple[Node, int], Node | None]
) -> None:
    """max(x, 0) - max(-x, 0) is x; max(x, 0)**2 + max(-x, 0)**2 is x**2."""
    sign, joined = rule
    free: dict[tuple[float, float], _Term] = {}
    for term, role in entries:
        place = term.user, term.operand
        if place in swaps:
            continue
        coefficient = term.coefficient * role.sign
        opposite = free.pop((-role.scale, sign * coefficient), None)
        if opposite is None:
            free[role.scale, coefficient] = term
            continue
        value = joined(role.operands[0])
        if value.type == term.node.type:
            swaps[place] = _signed(value, role)
            swaps[opposite.user, opposite.operand] = None


_OPPOSITES: dict[str, tuple[float, Callable[[Node], Node]]] = {
    "positive": (-1.0, lambda x: apply(identity, (x,))),
    "square": (1.0, lambda x: apply(square, (x,))),
}


# --- the tree anew -----------------------------------------------------------------------------------


def without_terms(node: Node, operands: list[Node | None]) -> Node | None:
    """`node`, one of a tree of sums, on these operands; None where none is left."""
    if all(o is not None for o in operands):
        return node if same_nodes(operands, node.inputs) else Node(node.op, tuple(operands), node.attrs, node.type, node.origin)  # type: ignore[arg-type]
    if node.op not in (add, add_n, subtract) or all(o is None for o in operands):
        return None
    left = [o for o in operands if o is not None]
    first = operands[0]
    rest = left[0] if len(left) == 1 else apply(add_n, tuple(left))
    if node.op is subtract and first is None:
        rest = negated(rest)
    return rest if rest.shape == node.shape else call("broadcast_to", rest, node.shape)
