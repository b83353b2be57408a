"""Functions that people write out and that gradc has as ops: spellings across declarations, and what no pattern says.

Each is right, and better, wherever the written form is: it overflows, underflows or cancels nowhere that the result does not, and
its derivatives are the true ones where a rule of the written form would give a convention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from gradc.ir import CONSTANT, OPS, Node, Op, apply, constant
from gradc.matching import Same, is_number, moved, moves_entries, negated, number_of, recognises, spell, under_moves
from gradc.ops.activations import log_sigmoid, relu, sigmoid, sigmoid_slope, softplus, softplus_op
from gradc.ops.declare import call
from gradc.ops.elementwise import (
    abs_,
    add,
    astype,
    astype_op,
    copysign,
    cosh,
    divide,
    exp,
    expm1,
    fabs,
    float_power,
    hypot,
    identity,
    log,
    log1p,
    maximum,
    multiply,
    negative,
    power_op,
    reciprocal,
    select,
    sign,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tanh,
    tanh_slope,
    where_op,
)
from gradc.ops.linalg import matmul_op, vecdot_op
from gradc.ops.nn import log_softmax, softmax
from gradc.ops.norms import norm_2
from gradc.ops.reduction import logsumexp, max_op, over_count, per_count, reduced_shape, sum_op
from gradc.ops.shaping import add_n, broadcast_op, reshape_op
from gradc.ops.smooth import defined, log_cosh, matern_3, matern_5, root_power, signed_expm1, signed_log1p, softplus_tail
from gradc.ops.statistics import squares_about_mean, standard_deviation


def _signed(f: Callable[[Node], Node]) -> tuple[Callable[..., Node], ...]:
    """The ways to write the sign of x on f(|x|)."""
    return (lambda x: sign(x) * f(abs_(x)), lambda x: copysign(f(abs_(x)), x))


# --- the logistic function ---------------------------------------------------------------------------

spell("sigmoid", lambda x: sigmoid(-x), lambda x: reciprocal(1 + exp(x)), lambda x: 1 / (1 + exp(x)), values=False)
spell("sigmoid", sigmoid, lambda x: exp(x) / (1 + exp(x)))
spell("sigmoid", lambda x, y: sigmoid(x - y), lambda x, y: exp(x) / (exp(x) + exp(y)))
spell("sigmoid", lambda x: sigmoid(negated(x)), lambda x: 1 - sigmoid(x))
spell("sigmoid", sigmoid, lambda x: 1 - 1 / (1 + exp(x)), lambda x: 1 - reciprocal(1 + exp(x)))
spell("sigmoid", lambda a, x: a * sigmoid(negated(x)), lambda a, x: a - a * sigmoid(x))
spell("log_sigmoid", lambda x: -softplus(x), lambda x: log(1 / (1 + exp(x))), lambda x: log(reciprocal(1 + exp(x))))
spell("sigmoid", lambda x: sigmoid(negated(x)), lambda x: sigmoid_slope(x, sigmoid(x)) / sigmoid(x))
spell("sigmoid", sigmoid, lambda x: sigmoid_slope(x, sigmoid(x)) / sigmoid(-x))
spell("sigmoid_slope", lambda x: tanh_slope(x, tanh(x)), lambda x: 1 - square(tanh(x)), lambda x: 1 - tanh(x) * tanh(x))
spell("log_sigmoid", log_sigmoid, lambda x: log(exp(x) / (1 + exp(x))))
spell("log", lambda x: log(x) * 0.5, lambda x: log(sqrt(x)))
spell("divide", lambda x, y: x * y, lambda x, y: x / (1 / y))
spell("log_cosh", log_cosh, lambda x: log(cosh(x)))
spell("identity", lambda x: x, lambda x: sign(x) * abs_(x), lambda x: copysign(abs_(x), x))
spell("signed_log1p", signed_log1p, *_signed(lambda size: log1p(size)), *_signed(lambda size: log(1 + size)))
spell("signed_expm1", signed_expm1, *_signed(lambda size: expm1(size)), *_signed(lambda size: exp(size) - 1))

# --- sums of exponentials ----------------------------------------------------------------------------


def is_exp(node: Node) -> bool:
    """True for exp(u) of floats: where it casts integers first, what is done to `u` instead could wrap around."""
    return node.op is exp and node.inputs[0].dtype == node.dtype


def _under_shapes(node: Node) -> Node:
    """What `node` reshapes or broadcasts."""
    while node.op is reshape_op or node.op is broadcast_op:
        node = node.inputs[0]
    return node


def _sum_of_exp(node: Node) -> Node | None:
    """exp(u) where `node`, under its shapes, sums that and nothing yet keeps it from overflow; `u` has entries."""
    total = _under_shapes(node)
    if total.op is not sum_op or not is_exp(total.inputs[0]) or 0 in total.inputs[0].shape:
        return None
    return None if _is_shifted(total.inputs[0].inputs[0]) else total.inputs[0]


def _is_shifted(u: Node) -> bool:
    """True for x - max(x): its exponentials are at most 1."""
    if not u.op.elementwise or len(u.inputs) != 2:
        return False
    top = _under_shapes(_held(u.inputs[1]))
    candidates = top.inputs if top.op is select or top.op is where_op else (top,)
    return any(c.op is max_op and c.inputs[0] is u.inputs[0] for c in map(_under_shapes, candidates))


def _held(node: Node) -> Node:
    return node.inputs[0] if node.op is stop_gradient else node


def _keeps_axes(node: Node) -> bool:
    """True when `node` is a sum beside what it sums: broadcast along the very axes that are reduced."""
    while node.op is broadcast_op:
        node = node.inputs[0]
    total = _under_shapes(node)
    if total.op is not sum_op:
        return False
    terms = total.inputs[0]
    missing = (1,) * (len(terms.shape) - len(node.shape))
    return (*missing, *node.shape) == reduced_shape(terms.shape, total.attr("axes"), True)


_SUM_OF_EXP: Sequence[Sequence[Op]] = ((exp,), (sum_op,))


@recognises("logsumexp", (log,), _SUM_OF_EXP, (log, exp, sum_op), (sum_op,))
def _logsumexp(node: Node, same: Same) -> Node | None:
    x = node.inputs[0]
    e = _sum_of_exp(x) if x.op is sum_op else None
    return None if e is None else logsumexp(e.inputs[0], x.attr("axes"), x.attr("keepdims"))


@recognises("softmax", (divide,), _SUM_OF_EXP, (divide, exp, sum_op), (exp,))
def _softmax(node: Node, same: Same) -> Node | None:
    above, below = node.inputs
    e = _sum_of_exp(below) if is_exp(above) else None
    if e is None or not same(e, above) or not _keeps_axes(below):
        return None
    return softmax(above.inputs[0], _under_shapes(below).attr("axes"))


@recognises("log_softmax", (log,), _SUM_OF_EXP, (log, exp, sum_op, subtract), (divide,))
def _log_softmax(node: Node, same: Same) -> Node | None:
    """log(exp(u) / sum(exp(u))) is u - log(sum(exp(u))): where that sum is of shifted terms already, too."""
    x = node.inputs[0]
    if x.op is not divide or not is_exp(x.inputs[0]):
        return None
    e, below = x.inputs
    total = _under_shapes(below)
    if total.op is not sum_op or not same(total.inputs[0], e):
        return None
    if _sum_of_exp(total) is not None and _keeps_axes(below):
        return log_softmax(e.inputs[0], total.attr("axes"))
    return e.inputs[0] - moved(apply(log, (total,)), below, total)


# --- squares of distances ----------------------------------------------------------------------------

_DEPTH = 8
"""How many ops a product, or what shows a sign, is looked at."""

_LOOKED_AT = 64
"""How many nodes of what is under a root are looked at for kinks."""

_SIZES = (abs_, fabs)
_RADII: tuple[Op, ...] = (*_SIZES, hypot, norm_2, standard_deviation, sqrt, power_op, maximum)
Factors = tuple[tuple[Op, Node], ...]
"""Products and quotients with another node, in order."""


def squared(r: Node, same: Same, depth: int = _DEPTH, factors: Factors = ()) -> Node | None:
    """r**2 without the kink of r, where r is |x|, a norm, a root, ..., or such a one scaled and moved; else None.

    `factors` are yet to be applied to `r`. They go to its operands, for the square of a tiny distance may be 0.
    """
    if depth == 0 or r.type.dtype.kind != "f":
        return None
    if r.op in _RADII:
        return _squared_radius(r, same, factors)
    if r.op is negative:
        return squared(r.inputs[0], same, depth - 1, factors)
    if r.op is multiply or r.op is divide:
        return _squared_product(r, same, depth, factors)
    if r.op is astype_op and r.inputs[0].dtype.kind == "f":
        inner = squared(r.inputs[0], same, depth - 1)
        return None if inner is None else _twice(astype(inner, r.dtype), factors)
    if moves_entries(r):
        base = under_moves(r)
        inner = squared(base, same, depth - 1)
        return None if inner is None else _twice(moved(inner, r, base), factors)
    return None


def _squared_radius(r: Node, same: Same, factors: Factors) -> Node | None:
    x = r.inputs[0]
    if x.dtype != r.dtype:
        return None
    if r.op in _SIZES or (r.op is maximum and _are_opposite(x, r.inputs[1], same)):
        return square(_scaled(x, factors))
    if r.op is hypot:
        return square(_scaled(x, factors)) + square(_scaled(r.inputs[1], factors))
    if r.op is norm_2:
        inner, outer = (factors, ()) if all(not other.shape for _, other in factors) else ((), factors)
        attrs = (("axes", r.attr("axes")), ("keepdims", r.attr("keepdims")))
        return _twice(apply(sum_op, (square(_scaled(x, inner)),), attrs), outer)
    if r.op is standard_deviation:
        x, d, divisor, count = r.inputs
        return _twice(per_count(apply(squares_about_mean, (x, d), r.attrs), divisor, count), factors)
    if r.op is sqrt or (r.op is power_op and is_number(r.inputs[1], 0.5)):
        return _twice(x if is_nonnegative(x, same) else defined(x), factors)
    return None


def _are_opposite(a: Node, b: Node, same: Same) -> bool:
    return same(a, negated(b)) or same(b, negated(a))


def _squared_product(r: Node, same: Same, depth: int, factors: Factors) -> Node | None:
    """(a b)**2 where a factor is a distance, or both are, and (a / b)**2 where `a` is one.

    What it is divided by stays as it is: where that has a kink, the quotient has a pole, and a**2 / b**2 would overflow first.
    """
    a, b = r.inputs
    if a.dtype != b.dtype:
        return None
    if r.op is divide:
        return squared(a, same, depth - 1, ((divide, _without_minus(b)), *factors))
    for size, factor in ((a, b), (b, a)):
        if size.op in _SIZES and size.inputs[0].dtype == r.dtype:
            plain = apply(multiply, (size.inputs[0], factor))  # of the same square, which may be that of a distance still
            found = squared(plain, same, depth - 1, factors)
            return square(_scaled(plain, factors)) if found is None else found
    one, two = (squared(i, same, depth - 1) for i in r.inputs)
    if one is not None and two is not None:
        return _twice(apply(multiply, (one, two)), factors)
    if one is None and two is None:
        return None
    distance, factor = (a, b) if two is None else (b, a)
    return squared(distance, same, depth - 1, ((multiply, _without_minus(factor)), *factors))


def _without_minus(factor: Node) -> Node:
    """The size of a constant: a square does not see its sign, and what is scaled by c and by -c is then the same."""
    value = number_of(factor)
    return constant(-value, factor.dtype) if value is not None and value < 0 and not factor.shape else factor


def _scaled(x: Node, factors: Factors) -> Node:
    for scale, other in factors:
        x = apply(scale, (x, other))
    return x


def _twice(x: Node, factors: Factors) -> Node:
    return _scaled(_scaled(x, factors), factors)


def is_nonnegative(node: Node, same: Same, depth: int = _DEPTH) -> bool:
    """True where no value of `node` can be below 0, for what its ops are."""
    if node.op.nonnegative:
        return True
    if node.op is CONSTANT:
        return bool((node.attr("value").array >= 0).all())
    if depth == 0 or not node.inputs:
        return False
    if node.op in (multiply, vecdot_op) and same(*node.inputs):
        return True
    if node.op is matmul_op and node.shape == (1, 1) and same(*map(under_moves, node.inputs)):
        return True
    if node.op is power_op:
        exponent = number_of(node.inputs[1])
        return exponent is not None and exponent % 2 == 0
    if node.op is max_op and dict(node.attrs).get("nothing", 0) < 0:
        return False  # of nothing it is -inf
    if node.op in _KEEPING or moves_entries(node):
        return all(is_nonnegative(i, same, depth - 1) for i in (node.inputs[:1] if moves_entries(node) else node.inputs))
    return node.op is maximum and any(is_nonnegative(i, same, depth - 1) for i in node.inputs)


_KEEPING = (add, add_n, multiply, divide, sum_op, astype_op, max_op)

_KINK: tuple[tuple[Op, ...], ...] = (_RADII[:-1],)
_OPPOSITES = ((maximum,), (negative,))
_SQUARES = (square, sum_op, add, squares_about_mean, over_count, divide, where_op, multiply)


@recognises("square", (square,), _OPPOSITES, (square,))
@recognises("square", (square,), _KINK, _SQUARES)
def _square(node: Node, same: Same) -> Node | None:
    return squared(node.inputs[0], same)


@recognises("square", (multiply,), _OPPOSITES, (square,), values=False)
@recognises("square", (multiply,), _KINK, _SQUARES, values=False)
def _product_of_distances(node: Node, same: Same) -> Node | None:
    """r * r, and with other factors between them, as in 0.5 * r * r."""
    factors = _factors(node)
    for k, f in enumerate(factors):
        if f.op is CONSTANT or not any(same(f, other) for other in factors[k + 1 :]):
            continue
        s = squared(f, same)
        if s is not None:
            twin = next(j for j in range(k + 1, len(factors)) if same(f, factors[j]))
            if f.op in _SIZES:  # in the order in which it is written: x**2 may overflow where x * y * x does not
                return reduce(multiply, [f.inputs[0] if j in (k, twin) else other for j, other in enumerate(factors)])
            return reduce(multiply, [other for j, other in enumerate(factors) if j not in (k, twin)], s)
    return None


def _factors(node: Node) -> list[Node]:
    """The factors of a product, as many as are looked at, in order."""
    found: list[Node] = []
    left = [node]
    while left:
        current = left.pop()
        if current.op is multiply and current.type.dtype == node.type.dtype and len(found) + len(left) < _DEPTH:
            left += current.inputs[::-1]
        else:
            found.append(current)
    return found


@recognises("power", (power_op, float_power), _OPPOSITES, (square,))
@recognises("power", (power_op, float_power), _KINK, (*_SQUARES, power_op, root_power))
def _power(node: Node, same: Same) -> Node | None:
    r, exponent = node.inputs[0], number_of(node.inputs[1])
    if exponent is None or exponent < 2 or node.inputs[1].shape:
        return None
    s = squared(r, same)
    if s is None or exponent == 2:
        return s
    if exponent % 2 == 0:
        return call("power", s, exponent / 2)
    return _odd_power(r, s, exponent, same)


def _odd_power(r: Node, s: Node, exponent: float, same: Same) -> Node | None:
    """r**3 and its like. Those of |x| are right as they are: there is no 0 / 0 in them."""
    if r.op in (norm_2, hypot, standard_deviation):
        return apply(root_power, (s, constant(exponent, s.dtype)))
    if r.op is sqrt and is_nonnegative(r.inputs[0], same):
        return call("power", s, exponent / 2) if _may_be_kinked(s, same) else apply(root_power, (s, constant(exponent, s.dtype)))
    return None


def _may_be_kinked(node: Node, same: Same) -> bool:
    """True unless `node`, which is nowhere below 0, is flat where it is 0, as a smooth function is: |x| is not.

    A variable is as smooth as any, and what is stopped does not change.
    """
    found, left = {node}, [node]
    while left and len(found) <= _LOOKED_AT:
        current = left.pop()
        if current.op is stop_gradient or same.is_opaque(current):
            continue
        if current.op.kinks is not None:
            return True
        left += [i for i in current.inputs if i not in found]
        found.update(current.inputs)
    return bool(left)


# --- even functions, and what has no sign -------------------------------------------------------------


def _even_ops() -> list[Op]:
    return [op for op in OPS.values() if op.even and op not in (*_SIZES, square)]


@recognises("even function", _even_ops, (_SIZES,))
def _even(node: Node, same: Same) -> Node | None:
    """f(c |u|) is f(c u)."""
    inner = _without_size(node.inputs[0]) if len(node.inputs) == 1 else None
    return None if inner is None else apply(node.op, (inner,), node.attrs)


@recognises("odd function", (multiply,), (_SIZES, (sign,)))
def _odd(node: Node, same: Same) -> Node | None:
    """sign(x) f(|x|) is f(x) where f(-x) is -f(x)."""
    for f, s in (node.inputs, node.inputs[::-1]):
        if s.op is sign and f.op.odd:
            return _with_sign(f, s.inputs[0], same)
    return None


@recognises("odd function", (copysign,), (_SIZES,))
def _odd_by_copysign(node: Node, same: Same) -> Node | None:
    """copysign(f(|x|), x) is f(x), with another sign where f(|x|) is negative, as sin(4) is."""
    f, x = node.inputs
    smooth = _with_sign(f, x, same) if f.op.odd else None
    return smooth if smooth is None or f.op.keeps_sign else smooth * copysign(1.0, f)


def _with_sign(f: Node, x: Node, same: Same) -> Node | None:
    """f(x) where `f` is f(|x|)."""
    size = f.inputs[0]
    return apply(f.op, (size.inputs[0],), f.attrs) if size.op in _SIZES and same(size.inputs[0], x) else None


def _without_size(x: Node, depth: int = _DEPTH) -> Node | None:
    """`x` with a factor |u| of it replaced by u; None where there is none."""
    if x.op in _SIZES and x.inputs[0].dtype == x.dtype:
        return x.inputs[0]
    if depth == 0 or x.op not in (multiply, divide, negative):
        return None
    for k, i in enumerate(x.inputs):
        inner = _without_size(i, depth - 1)
        if inner is not None:
            return apply(x.op, (*x.inputs[:k], inner, *x.inputs[k + 1 :]))
    return None


@recognises("abs", (*_SIZES, relu, maximum), makes=())
def _without_sign(node: Node, same: Same) -> Node | None:
    """|u| and max(u, 0) are u where that is a square, or another function that has no sign."""
    x = node.inputs[0]
    if node.op is maximum:
        zero = next((k for k in (0, 1) if is_number(node.inputs[k], 0)), None)
        if zero is None:
            return None
        x = node.inputs[1 - zero]
    return x if x.type == node.type and x.op is not CONSTANT and is_nonnegative(x, same) else None


# --- Matérn kernels ----------------------------------------------------------------------------------

Monomial = tuple[float, dict[int, int], dict[int, Node]]
"""A coefficient, and its factors: their numbers with exponents, and the nodes of these numbers."""


def _monomial(node: Node, same: Same) -> Monomial:
    """`node` as a product of numbers and powers of other nodes; as deep as `_DEPTH` factors."""
    coefficient = 1.0
    exponents: dict[int, int] = {}
    nodes: dict[int, Node] = {}
    left = [(node, 1)]
    while left:
        current, exponent = left.pop()
        while current.op is identity and not same.is_opaque(current):
            current = current.inputs[0]
        value = number_of(current)
        if value is not None:
            coefficient *= value**exponent if value else 0.0
        elif len(exponents) + len(left) < _DEPTH and current.op in (multiply, divide, negative, square, reciprocal):
            coefficient *= -1 if current.op is negative else 1
            signs = {divide: (1, -1), square: (2,), reciprocal: (-1,)}.get(current.op, (1, 1))
            left += [(i, exponent * s) for i, s in zip(current.inputs, signs, strict=False)]
        else:
            key = same.number(current)
            nodes[key] = current
            exponents[key] = exponents.get(key, 0) + exponent
    return coefficient, {k: e for k, e in exponents.items() if e}, nodes


@recognises("Matérn kernel", (multiply,), ((exp,), _RADII[:-1]), (matern_3, matern_5, multiply))
def _matern(node: Node, same: Same) -> Node | None:
    """(1 + t) exp(-t) and (1 + t + t**2 / 3) exp(-t), times other factors, where t is a multiple of a distance."""
    factors = _factors(node)
    for e in factors:
        if not is_exp(e):
            continue
        others = [f for f in factors if f is not e]
        for f in others:
            kernel = _kernel(e.inputs[0], f, same) if f.op in (add, add_n) else None
            if kernel is not None:
                return reduce(multiply, [o for o in others if o is not f], kernel)
    return None


def _kernel(argument: Node, polynomial: Node, same: Same) -> Node | None:
    coefficient, exponents, nodes = _monomial(argument, same)
    for key, exponent in exponents.items():
        s = squared(nodes[key], same) if exponent == 1 and nodes[key].op in _RADII else None
        if s is not None and nodes[key].op is not maximum:
            rest = {k: e for k, e in exponents.items() if k != key}
            scaled = squared(argument, same)
            order = None if scaled is None else _order(polynomial, (-coefficient, rest, key), (s, scaled), same)
            if order and scaled is not None:
                return apply(order, (scaled, _sign_of(-coefficient, rest, nodes, s)))
    return None


def _order(polynomial: Node, t: tuple[float, dict[int, int], int], squares: tuple[Node, Node], same: Same) -> Op | None:
    """Which kernel has this polynomial of t = c rest r: 1 + t, or with t**2 / 3; r**2 and t**2 may be written as `squares`."""
    c, rest, r = t
    (scale, of_square, _), (of_t, powers, _) = (_monomial(s, same) for s in squares)
    twice = {k: 2 * e for k, e in rest.items()}
    by_square = {k: n for k, n in _added(twice, of_square).items() if n}
    wanted: dict[int, list[tuple[float, dict[int, int]]]] = {
        0: [(1.0, {})],
        1: [(c, {**rest, r: 1})],
        2: [(c * c / 3, {**twice, r: 2}), (c * c / 3 * scale, by_square), (of_t / 3, powers)],
    }
    near = 1e-6 if polynomial.dtype.itemsize < 8 else 1e-12
    seen = set()
    for term in _terms(polynomial):
        coefficient, exponents, _ = _monomial(term, same)
        fits = [n for n, ways in wanted.items() for v, e in ways if e == exponents and abs(coefficient - v) <= near * abs(v)]
        if not fits or fits[0] in seen:
            return None
        seen.add(fits[0])
    return {frozenset((0, 1)): matern_3, frozenset((0, 1, 2)): matern_5}.get(frozenset(seen))


def _added(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
    return {k: a.get(k, 0) + b.get(k, 0) for k in {**a, **b}}


def _terms(node: Node) -> list[Node]:
    found: list[Node] = []
    left = [node]
    while left:
        current = left.pop()
        if current.op in (add, add_n) and len(found) + len(left) < _DEPTH:
            left += current.inputs
        else:
            found.append(current)
    return found


def _sign_of(coefficient: float, exponents: dict[int, int], nodes: dict[int, Node], like: Node) -> Node:
    """The sign of the product of a number and powers of nodes: the scale itself is in the squares, where none is lost."""
    result: Node = constant(1.0 if coefficient > 0 else -1.0, like.dtype)
    for key, exponent in exponents.items():
        if exponent % 2:
            result = result * sign(nodes[key])
    return result


# --- what is left of softplus beside the positive part -------------------------------------------------


@recognises("softplus", (softplus_op,), (_SIZES,), (softplus_tail,))
def _tail(node: Node, same: Same) -> Node | None:
    """softplus(-c |u|), which is how log1p(exp(-|u|)) is known, has the same second derivative on both sides of 0."""
    x = node.inputs[0]
    coefficient, exponents, nodes = _monomial(x, same)
    sizes = [k for k, e in exponents.items() if e == 1 and nodes[k].op in _SIZES]
    if coefficient >= 0 or len(exponents) != 1 or not sizes:
        return None
    u = nodes[sizes[0]].inputs[0]
    return softplus_tail(u if coefficient == -1 else u * constant(-coefficient, u.dtype))
