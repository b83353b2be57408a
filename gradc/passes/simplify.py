"""Exact simplifications: what goes in comes out, bit for bit.

But for NaNs: which sign and payload one has, IEEE 754 leaves open (section 6.3), and NumPy's loops differ in. Rules that move
signs stand in a table of their own, and rest where the graph reads the sign of a NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from gradc import ops
from gradc.ir import CONSTANT, CORRECTLY_ROUNDED, Graph, Node, Op, apply, constant, infer_type, same_nodes
from gradc.ops.elementwise import astype_op, identity, select, where_op
from gradc.ops.shaping import add_n, broadcast_op, reshape_op, transpose_op
from gradc.passes.rewrite import Numerics, Rewriting, reads_signs, rewriting_pass

Simplification = Callable[[Node], "Node | None"]


def roots(follows: Callable[[Node], bool]) -> Callable[[Node], Node]:
    """A function to what a node hangs on by first operands, over nodes that `follows` accepts; it looks at each but once."""
    found: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        path = []
        while node not in found and follows(node):
            path.append(node)
            node = node.inputs[0]
        node = found.get(node, node)
        found.update(dict.fromkeys(path, node))
        return node

    return root


def entry(node: Node) -> Node | None:
    """The one number that a constant repeats: a 0-d constant."""
    if node.op is not CONSTANT or not node.attrs[0][1].uniform:
        return None
    return constant(node.attrs[0][1].array.reshape(-1)[0]) if node.type.shape else node


def number(node: Node) -> float | None:
    """The value of a 0-d constant."""
    if node.op is CONSTANT and not node.type.shape:
        return node.attrs[0][1].array.item()  # type: ignore[no-any-return]
    return None


def negates(node: Node) -> bool:
    """True for -x of floats: integers wrap around, and their signs move nowhere."""
    return node.op is ops.negative and node.dtype.kind == "f"


def _is_signed(node: Node) -> bool:
    """True for a constant of floats."""
    return node.op is CONSTANT and node.dtype.kind == "f"


def _is_zero(node: Node) -> bool:
    """True for the constant 0, not for -0."""
    value = number(node)
    return value == 0 and not np.signbit(float(value))


def _same_type(node: Node) -> Node | None:
    """An op that leaves shape and dtype as they are, and moves nothing."""
    return node.inputs[0] if node.inputs[0].type == node.type else None


def _reshape(node: Node) -> Node | None:
    inner = node.inputs[0]
    if inner.op is reshape_op:
        return apply(reshape_op, inner.inputs, node.attrs)
    return _same_type(node)


def _transpose(node: Node) -> Node | None:
    axes, inner = node.attr("axes"), node.inputs[0]
    if inner.op is transpose_op:
        inner_axes = inner.attr("axes")
        axes, inner = tuple(inner_axes[a] for a in axes), inner.inputs[0]
        return ops.transpose(inner, axes)
    return inner if axes == tuple(range(len(axes))) else None


def _negative(node: Node) -> Node | None:
    """Signs cancel."""
    inner = node.inputs[0]
    return inner.inputs[0] if inner.op is ops.negative else None


def _sign_into_factor(node: Node) -> Node | None:
    """A sign goes into a constant factor."""
    inner = node.inputs[0]
    if inner.op is ops.multiply or inner.op is ops.divide:
        a, b = inner.inputs
        if _is_signed(b):
            return apply(inner.op, (a, negate_constant(b)))
        if _is_signed(a) and not (inner.op is ops.divide and number(a) == 1):
            return apply(inner.op, (negate_constant(a), b))
    return None


def _multiply(node: Node) -> Node | None:
    a, b = node.inputs
    if number(b) == 1 and a.type == node.type:
        return a
    if number(a) == 1 and b.type == node.type:
        return b
    return None


def _signs_of_product(node: Node) -> Node | None:
    """-1 times x is -x; and signs move out of products."""
    a, b = node.inputs
    if number(b) == -1 and a.type == node.type and node.dtype.kind == "f":
        return apply(ops.negative, (a,))
    if number(a) == -1 and b.type == node.type and node.dtype.kind == "f":
        return apply(ops.negative, (b,))
    return _sign_of_product(node)


def _divide(node: Node) -> Node | None:
    a, b = node.inputs
    if number(b) == 1 and a.type == node.type:
        return a
    if b.op is CONSTANT and not b.type.shape and a.dtype == b.dtype == node.dtype:
        inverse = _exact_inverse(b)
        if inverse is not None:
            return apply(ops.multiply, (a, inverse))
    return None


def _signs_of_quotient(node: Node) -> Node | None:
    """-1 / x is -(1 / x); and signs move out of quotients."""
    a, b = node.inputs
    if number(a) == -1 and node.dtype.kind == "f" and b.type == node.type:
        return apply(ops.negative, (apply(ops.divide, (negate_constant(a), b)),))  # 1 / b may be there already
    return _sign_of_product(node)


def _sign_of_product(node: Node) -> Node | None:
    """Signs move out of products and quotients, where sums and other signs take them up."""
    a, b = node.inputs
    if negates(a) and negates(b):
        return apply(node.op, (a.inputs[0], b.inputs[0]))
    if negates(a) and _is_signed(b):
        return apply(node.op, (a.inputs[0], negate_constant(b)))
    if negates(b) and _is_signed(a):
        return apply(node.op, (negate_constant(a), b.inputs[0]))
    if negates(a) and a.type == node.type:
        return apply(ops.negative, (apply(node.op, (a.inputs[0], b)),))
    if negates(b) and b.type == node.type:
        return apply(ops.negative, (apply(node.op, (a, b.inputs[0])),))
    return None


def negate_constant(value: Node) -> Node:
    """The constant of the other sign."""
    return constant(-value.attr("value").array)


def _exact_inverse(value: Node) -> Node | None:
    """1 / value as a constant, where that is a power of two: to divide is then to multiply, bit for bit."""
    array = value.attr("value").array
    if array.dtype.kind != "f" or not np.isfinite(array) or abs(np.frexp(array)[0]) != 0.5:
        return None
    with np.errstate(all="ignore"):
        inverse = 1 / array
    return constant(inverse) if np.isfinite(inverse) and abs(inverse) >= np.finfo(array.dtype).tiny else None


def _broadcast_operands(node: Node) -> Node | None:
    """Broadcasts that the elementwise op does by itself are dropped."""
    if node.op.ufunc is None and node.op is not select:
        return None
    inputs = list(node.inputs)
    for k, i in enumerate(inputs):
        if i.op is broadcast_op:
            inputs[k] = i.inputs[0]
            if infer_type(node.op, tuple([n.type for n in inputs]), node.attrs) != node.type:
                inputs[k] = i
    return None if same_nodes(inputs, node.inputs) else apply(node.op, tuple(inputs), node.attrs)


def _scalar_operand(node: Node, viewed: Callable[[Node], Node]) -> Node | None:
    """A constant of equal entries, or a view of one, is one number: NumPy reads no memory for it."""
    for k, i in enumerate(node.inputs):
        if i.type.shape and (i.op is CONSTANT or i.op.view) and node.inputs[1 - k].type == node.type:
            scalar = entry(viewed(i))
            if scalar is not None:
                return apply(node.op, (scalar, node.inputs[1]) if k == 0 else (node.inputs[0], scalar))
    return None


def _where(node: Node) -> Node | None:
    condition, x, y = node.inputs
    if x.type == node.type and _is_zero(y):
        return apply(select, (condition, x))
    if y.type == node.type and _is_zero(x):
        return apply(select, (apply(ops.logical_not, (condition,)), y))
    return None


def _add(node: Node) -> Node | None:
    """a + (-b) is a - b, bit for bit, and so is a + c b for a negative number c: c b and -c b are one product."""
    for a, b in (node.inputs, node.inputs[::-1]):
        opposite = _opposite(b)
        if opposite is not None:
            return apply(ops.subtract, (a, opposite))
    return None


def _subtract(node: Node) -> Node | None:
    a, b = node.inputs
    opposite = _opposite(b)
    return apply(ops.add, (a, opposite)) if opposite is not None else None


def _opposite(node: Node) -> Node | None:
    """x for -x, and -c x for c x where c is a negative number."""
    if negates(node):
        return node.inputs[0]
    if node.op is ops.multiply:
        for c, x in (node.inputs, node.inputs[::-1]):
            if _is_signed(c) and not c.type.shape and (number(c) or 0) < 0:
                return apply(ops.multiply, (negate_constant(c), x))
    return None


def _add_n(node: Node) -> Node | None:
    """Two terms are a sum."""
    return apply(ops.add, node.inputs) if len(node.inputs) == 2 else None


def _signs_of_terms(node: Node) -> Node | None:
    """Where a term is negated, the sum is added up term by term."""
    if not any(map(negates, node.inputs)):
        return None
    return reduce(lambda total, term: apply(ops.add, (total, term)), node.inputs)


RULES: dict[Op, Simplification] = {
    identity: lambda node: node.inputs[0],
    reshape_op: _reshape,
    transpose_op: _transpose,
    broadcast_op: _same_type,
    astype_op: _same_type,
    ops.negative: _negative,
    add_n: _add_n,
    where_op: _where,
    ops.multiply: _multiply,
    ops.divide: _divide,
}

SIGN_RULES: dict[Op, Simplification] = {
    ops.negative: _sign_into_factor,
    ops.add: _add,
    ops.subtract: _subtract,
    add_n: _signs_of_terms,
    ops.multiply: _signs_of_product,
    ops.divide: _signs_of_quotient,
}
"""Bit for bit too, but for the sign of a NaN."""


def simplifying(graph: Graph) -> Rewriting:
    """Apply the rules to a node until none fits; each value stays laid out as it was."""
    return _until_none_fits(_rules_for(graph), _layout_keeper())


def shortening(graph: Graph) -> Rewriting:
    """As `simplifying`; a view may take the place of a copy, of which products and sums may be rounded otherwise."""
    return _until_none_fits(_rules_for(graph), lambda node, simpler: True)


def _rules_for(graph: Graph) -> dict[Op, tuple[Simplification, ...]]:
    tables = [RULES] if reads_signs(graph) else [RULES, SIGN_RULES]
    return {op: tuple([table[op] for table in tables if op in table]) for table in tables for op in table}


def _layout_keeper() -> Callable[[Node, Node], bool]:
    """True where what reads `simpler` reads memory in the same order: products and sums then have the same bits."""
    reshaped = roots(lambda node: node.op is reshape_op)

    def keeps(node: Node, simpler: Node) -> bool:
        return not reshaped(simpler).op.view or (node.op.view and (node.op is not reshape_op or simpler is node.inputs[0]))

    return keeps


def _until_none_fits(rules: dict[Op, tuple[Simplification, ...]], fits: Callable[[Node, Node], bool]) -> Rewriting:
    viewed = roots(lambda node: node.op.view and len(node.inputs) == 1)

    def step(node: Node) -> Node:
        while True:
            simpler = None
            for rule in rules.get(node.op, ()):
                simpler = rule(node)
                if simpler is not None and fits(node, simpler):
                    break
                simpler = None
            if simpler is None and node.op.ufunc in CORRECTLY_ROUNDED:
                simpler = _scalar_operand(node, viewed)
            if simpler is None and node.op.elementwise:
                for i in node.inputs:
                    if i.op is broadcast_op:
                        simpler = _broadcast_operands(node)
                        break
            if simpler is None:
                return node
            node = simpler

    return step


simplify = rewriting_pass("simplify", Numerics.EXACT, simplifying)
