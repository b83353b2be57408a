"""Proofs, by sympy, that the rules of the elementwise ops are their derivatives.

A rule builds a little graph. Its nodes are read as sympy expressions of real symbols, and the result less the adjoint
times sympy's derivative of the op's `symbolic` form must be zero. Where either side has a switch (`abs`, `maximum`, a
comparison, `floor`) the proof goes by cases: the switch's argument positive, or negative, and in each case both sides
are smooth. What a proof leaves out, it says: the points at which a switch turns, which are rows of the table of
conventions, and those outside the domain of the form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from gradc.differentiate import differentiate
from gradc.errors import ArgumentError, CheckError, GradcError, UnsupportedError
from gradc.ir import CONSTANT, FUNCTIONS, OPS, PLACEHOLDER, ZERO, Attrs, Function, Graph, Node, Op, Rule, apply, walk

_OPERANDS = "abcdefgh"
_POINTS = 12
_DIGITS = 50


class ProofError(CheckError):
    """A rule is not the derivative of its op, or cannot be compared with it."""


class Proof(NamedTuple):
    """One partial derivative: of `op` with the attributes `attrs`, by operand number `operand`.

    Attributes:
        modes: "vjp and jvp" where one rule serves both, else the one it is of.
        assumptions: what the operands a, b, ... must be for the proof to hold; empty: any real numbers.
        method: "simplified" where sympy reduced the difference to 0; "sampled" where it could not, and the difference is
            0 to 40 digits at random points of every case.
    """

    op: str
    attrs: Attrs
    operand: int
    modes: str
    assumptions: tuple[str, ...]
    method: str

    def __str__(self) -> str:
        attrs = ", ".join(f"{name}={value}" for name, value in self.attrs)
        assumed = f" where {', '.join(self.assumptions)}" if self.assumptions else ""
        return f"{self.op}{f'[{attrs}]' if attrs else ''} by {_OPERANDS[self.operand]}{assumed}"


class RuleProofs(NamedTuple):
    """What `prove_rules` proved, and what it could say nothing of: `unproved` ops, by name, with the reason."""

    proofs: tuple[Proof, ...]
    unproved: tuple[tuple[str, str], ...]

    @property
    def assuming(self) -> tuple[Proof, ...]:
        """The proofs that hold under assumptions only."""
        return tuple(p for p in self.proofs if p.assumptions)

    @property
    def sampled(self) -> tuple[Proof, ...]:
        """The proofs that are none, but equality to 40 digits at random points, where sympy found no simplification."""
        return tuple(p for p in self.proofs if p.method == "sampled")

    @property
    def ops(self) -> tuple[str, ...]:
        """The names of the ops with at least one proof."""
        return tuple(dict.fromkeys(p.op for p in self.proofs))

    def __str__(self) -> str:
        total = len(self.ops) + len(self.unproved)
        lines = [f"{len(self.ops)} of {total} elementwise ops proved, in {len(self.proofs)} partial derivatives"]
        lines += ["", f"{len(self.assuming)} under an assumption:", *(f"  {p}" for p in self.assuming)]
        lines += ["", f"{len(self.sampled)} by sampling only:", *(f"  {p}" for p in self.sampled)]
        lines += ["", f"{len(self.unproved)} ops unproved:", *(f"  {name}: {why}" for name, why in self.unproved)]
        return "\n".join(lines)


def prove_rules(ops: Iterable[str | Op] | None = None) -> RuleProofs:
    """Prove that the rules of elementwise ops are sympy's derivatives of their `symbolic` forms.

    Args:
        ops: elementwise ops or their names; all in the registry when left out, those that users declared too.

    Returns:
        a proof for every op, every operand that carries a gradient, and all attributes with which the op occurs in the
        samples of any function, or in their first two derivatives. `print` shows those that need assumptions.

    Raises:
        ProofError: a rule is wrong; the message names the op, the operand, a point, and both values there.
        ArgumentError: an op of that name is not there, or is not elementwise.
    """
    chosen = [_named(name) for name in ops] if ops is not None else [op for op in OPS.values() if op.elementwise]
    instances = _instances()
    proofs: list[Proof] = []
    unproved: list[tuple[str, str]] = []
    for op in chosen:
        rules = list(_rules(op))
        if rules and op.symbolic is None:
            unproved.append((op.name, "it has no symbolic form; declare symbolic="))
        elif rules and not instances[op]:
            unproved.append((op.name, f"its form {op.symbolic} has attributes, and no sample of a function uses it"))
        else:
            try:
                proofs += [_prove(op, attrs, *rule) for rule in rules for attrs in instances[op]]
            except UnsupportedError as error:
                unproved.append((op.name, str(error)))
    return RuleProofs(tuple(proofs), tuple(unproved))


def _named(asked: str | Op) -> Op:
    op = asked if isinstance(asked, Op) else OPS.get(asked)
    if op is None or not op.elementwise:
        why = f"{op.name!r} is not elementwise" if op else f"{asked!r} is no op"
        raise ArgumentError(f"prove_rules: {why}; only elementwise ops are proved")
    return op


def _rules(op: Op) -> Iterator[tuple[int, str, Rule]]:
    """(operand, modes, rule) for every operand that carries a gradient; once where both modes have the same rule."""
    for k, (back, ahead) in enumerate(zip(_by_operand(op, op.vjp), _by_operand(op, op.jvp), strict=True)):
        same = back is ahead or (callable(op.vjp) and op.vjp is op.jvp)
        if back is not None:
            yield k, "vjp and jvp" if same else "vjp", back
        if ahead is not None and not same:
            yield k, "jvp", ahead


def _by_operand(op: Op, rules: tuple[Rule | None, ...] | Rule | None) -> tuple[Rule | None, ...]:
    """A rule for each operand of the symbolic form, also where one rule serves any number of operands."""
    if isinstance(rules, tuple):
        return rules
    named = {str(s) for s in _parsed(op.symbolic).free_symbols} if op.symbolic else set("a")
    return tuple(partial(rules, k) if rules is not None else None for k in range(len(named)))


# --- attributes, from the samples ------------------------------------------------------------------------


def _instances() -> dict[Op, list[Attrs]]:
    """The attributes to prove each op with: those that occur in samples and their derivatives; else none."""
    found: dict[Op, list[Attrs]] = {op: [] for op in OPS.values()}
    for function in FUNCTIONS.values():
        for node in _sampled_nodes(function):
            if node.op.elementwise and node.attrs and node.attrs not in found[node.op]:
                found[node.op].append(node.attrs)
    for op, attrs in found.items():
        if not attrs and "{" not in (op.symbolic or ""):
            attrs.append(())
    return found


def _sampled_nodes(function: Function) -> Iterator[Node]:
    """The nodes that a function's samples build, and their first two derivatives; one sample for each set of keywords."""
    samples = function.samples() if function.samples is not None else []
    for sample in {repr(sorted(s.attrs.items())): s for s in samples if s.gradient}.values():
        graph = Graph(function.name)
        operands = [a if k in sample.fixed else graph.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(sample.arrays)]
        try:
            result = function.build(*sample.arguments(operands), **sample.attrs)
        except UnsupportedError:
            continue
        variables = [name for name, node in graph.placeholders.items() if node.type.is_float]
        if not isinstance(result, Node) or not variables:
            continue
        graph.output("y", result)
        for _ in range(2 if result.type.is_float else 0):
            graph = differentiate(graph, variables[0], of=list(graph.outputs)[-1], on_disconnected="zeros")
        yield from graph.nodes


# --- one rule ------------------------------------------------------------------------------------------


def _prove(op: Op, attrs: Attrs, k: int, modes: str, rule: Rule) -> Proof:
    import sympy

    method, assumed = "simplified", _Assumed()
    for operands, symbols in _operands(op, attrs):
        g = Graph(op.name).placeholder("g")
        out = apply(op, operands, attrs)
        built = None if rule is ZERO else rule(g, out, *operands, **dict(attrs))
        bound = dict(zip(operands, symbols, strict=True))
        adjoint = sympy.Symbol("adjoint", real=True)
        claimed = read_symbolic(built, {**bound, g: adjoint}) if built is not None else sympy.Integer(0)
        form = read_symbolic(out, bound)
        start = assumed.domain(form, op.assuming, bound.values())
        _compare_values(op, attrs, operands, bound, form, start)
        for case in _cases(claimed, form, start, assumed):
            difference = _by_positives(case.claimed - adjoint * sympy.diff(case.form, symbols[k]), case.signs)
            if sympy.expand(difference) == 0:
                continue
            compared = _compare_rules(op, k, modes, case, adjoint * sympy.diff(case.form, symbols[k]))
            if _simplifies_to_zero(difference) or (not compared and _is_empty(case)):
                continue
            if not compared:
                raise ProofError(f"{op.name}: the {modes} of operand {_OPERANDS[k]} cannot be compared where {case.signs}")
            method = "sampled"
    return Proof(op.name, attrs, k, modes, assumed.texts, method)


def _operands(op: Op, attrs: Attrs) -> Iterator[tuple[tuple[Node, ...], tuple[Any, ...]]]:
    """Scalar placeholders of the first types that fit the op, and sympy's symbols for them; True and False for booleans.

    An operand that holds a value the forward pass `saved` is what it was computed as.
    """
    import sympy

    nodes = _placeholders(op, attrs)
    symbols = [
        sympy.Symbol(name, real=True, integer=n.dtype.kind == "i" or None) for name, n in zip(_OPERANDS, nodes, strict=False)
    ]
    if op.saved is not None:
        symbols[-1] = _parse(op.saved, symbols)
    choices = [(sympy.true, sympy.false) if n.dtype.kind == "b" else (s,) for n, s in zip(nodes, symbols, strict=True)]
    for chosen in itertools.product(*choices):
        yield nodes, chosen


def _placeholders(op: Op, attrs: Attrs) -> tuple[Node, ...]:
    vjp = _by_operand(op, op.vjp)
    for dtypes in itertools.product(*[("float64",) if rule else ("float64", "int64", "bool") for rule in vjp]):
        graph = Graph(op.name)
        nodes = tuple(graph.placeholder(name, (), dtype) for name, dtype in zip(_OPERANDS, dtypes, strict=False))
        try:
            apply(op, nodes, attrs)
        except UnsupportedError:
            raise
        except GradcError:
            continue
        return nodes
    raise ProofError(f"{op.name}: no scalar operands of float64, int64 or bool fit it")


# --- graphs as sympy expressions -----------------------------------------------------------------------


def read_symbolic(root: Node, bound: Mapping[Node, Any]) -> Any:
    """The value of a scalar node on sympy expressions, node by node."""
    values = dict(bound)
    for node in walk([root]):
        if node in values:
            continue
        if node.op is CONSTANT:
            values[node] = _exact(node.attr("value").array.item())
        elif node.op is PLACEHOLDER or node.op.symbolic is None:
            raise ProofError(f"op {node.op.name!r} has no symbolic form, and a rule uses it; declare symbolic=")
        else:
            values[node] = _parse(node.op.symbolic.format(**dict(node.attrs)), [values[i] for i in node.inputs])
    return values[root]


def _parse(text: str, operands: Sequence[Any]) -> Any:
    import sympy

    try:
        return sympy.sympify(text, locals={**_words(), **dict(zip(_OPERANDS, operands, strict=False))}, rational=True)
    except (sympy.SympifyError, SyntaxError, TypeError, AttributeError) as error:
        raise ProofError(f"the symbolic form {text!r} is no expression of sympy: {error}") from None


@lru_cache(maxsize=1)
def _words() -> dict[str, Any]:
    """What a symbolic form may say besides sympy's own functions."""
    import sympy

    class Rint(sympy.Function):  # type: ignore[misc]
        """The nearest integer."""

        is_integer = True

        @classmethod
        def eval(cls, x: Any) -> Any:
            return x if x.is_integer else None

        def _eval_evalf(self, prec: int) -> Any:
            return sympy.Integer(round(self.args[0].evalf(_DIGITS)))

    class Held(sympy.Function):  # type: ignore[misc]
        """Its argument, as a constant: what derivatives do not see."""

        def fdiff(self, argindex: int = 1) -> Any:
            return sympy.Integer(0)

    return {"rint": Rint, "held": Held}


@lru_cache(maxsize=1024, typed=True)  # 1 and True are one key otherwise
def _exact(value: Any) -> Any:
    """The number that a constant stands for: a rational, or one times powers of pi, sqrt(2), log(2), log(10).

    Found by its digits: a six-digit number or small fraction times one of 90 forms, equal to the last bit but one.
    """
    from fractions import Fraction

    import sympy

    if isinstance(value, (bool, int)):
        return sympy.sympify(value)
    for form, size in _forms():
        ratio = value / size
        for simple in (Fraction(f"{ratio:.6g}"), Fraction(ratio).limit_denominator(360)):
            if abs(float(simple) - ratio) <= 4e-16 * abs(ratio):
                return sympy.Rational(simple.numerator, simple.denominator) * form
    return sympy.Rational(repr(value))


@lru_cache(maxsize=1)
def _forms() -> list[tuple[Any, float]]:
    import sympy

    half = sympy.Rational(1, 2)
    powers = [
        [sympy.pi ** (n * half) for n in (0, 1, -1, 2, -2)],
        [sympy.Integer(2) ** (n * half) for n in (0, 1)],
        [sympy.log(2) ** n for n in (0, 1, -1)],
        [sympy.log(10) ** n for n in (0, 1, -1)],
    ]
    forms = [sympy.prod(factors) for factors in itertools.product(*powers)]
    return sorted(((form, float(form)) for form in forms), key=lambda pair: sympy.count_ops(pair[0]))


# --- what a proof assumes --------------------------------------------------------------------------------

Sign = tuple[Any, int]
"""An expression and its sign, 1 or -1."""


class _Assumed:
    """What the proof of one partial leaves out, in words."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()

    def add(self, text: str) -> None:
        if text not in self.texts:
            self.texts = (*self.texts, text)

    def domain(self, form: Any, declared: str | None, symbols: Iterable[Any]) -> tuple[Sign, ...]:
        """The signs that hold where `form` is a smooth function of real numbers, and those the declaration asks for."""
        import sympy

        signs: list[Sign] = []
        if declared is not None:
            self.add(declared)
            relations = sympy.And.make_args(_parse(declared, list(symbols)))
            signs += [(r.gts - r.lts, 1) for r in relations]
        for part in sympy.preorder_traversal(form):
            for argument, needed in _needs(part):
                if needed == "> 0" and not argument.is_positive:
                    signs.append((argument, 1))
                    self.add(_compared(argument, ">"))
                elif needed == "!= 0" and not argument.is_nonzero:
                    self.add(_compared(argument, "!="))
                elif needed.startswith("is"):
                    self.add(f"{argument} {needed}")
        return tuple(signs)


def _needs(part: Any) -> Iterator[tuple[Any, str]]:
    """What the arguments of one sympy function must be for it to be real and smooth there."""
    import sympy

    first: Any = part.args[0] if part.args else None
    if isinstance(part, sympy.Pow):
        yield from _power_needs(*part.args)
    elif isinstance(part, sympy.log):
        yield first, "> 0"
    elif isinstance(part, (sympy.asin, sympy.acos, sympy.atanh)):
        yield from ((1 - first, "> 0"), (1 + first, "> 0"))
    elif isinstance(part, sympy.acosh):
        yield first - 1, "> 0"
    elif isinstance(part, sympy.atan2):
        yield part.args[0] ** 2 + part.args[1] ** 2, "!= 0"
    elif isinstance(part, sympy.tan):
        yield sympy.cos(first), "!= 0"
    elif isinstance(part, (sympy.loggamma, sympy.polygamma)):
        yield part.args[-1], "is not 0, -1, -2, ..."


def _power_needs(base: Any, exponent: Any) -> Iterator[tuple[Any, str]]:
    if exponent.is_integer:
        if exponent.is_negative:
            yield base, "!= 0"
    elif exponent.is_number and not base.is_nonnegative:
        yield base, "> 0"
    elif not base.is_positive:
        yield base, "!= 0"


def _compared(gap: Any, relation: str) -> str:
    """`gap > 0` or `gap != 0` as a person would write it: what varies on the left, what is subtracted on the right."""
    import sympy

    gap = gap.args[0] if isinstance(gap, sympy.Abs) else gap
    level, varying = sympy.expand(gap).as_coeff_add() if gap.is_Add else (sympy.Integer(0), (gap,))
    if all(t.could_extract_minus_sign() for t in varying):
        level, varying, relation = -level, tuple(-t for t in varying), {">": "<"}.get(relation, relation)
    left = [t for t in varying if not t.could_extract_minus_sign()]
    return f"{sympy.Add(*left)} {relation} {sympy.Add(*left) - sympy.Add(*varying) - level}"


# --- cases -------------------------------------------------------------------------------------------------


class _Case(NamedTuple):
    """Both sides where the arguments of all switches so far have the given `signs`, and rounded ones lie between `steps`."""

    claimed: Any
    form: Any
    signs: tuple[Sign, ...]
    steps: tuple[tuple[Any, Any], ...] = ()


def _cases(claimed: Any, form: Any, start: tuple[Sign, ...], assumed: _Assumed) -> Iterator[_Case]:
    """Both sides without switches, for all signs that the arguments of the switches can have."""
    pending = [_Case(claimed, form, start)]
    while pending:
        case = pending.pop()
        switch = _innermost_switch(case)
        if switch is None:
            yield case
            continue
        settled = _settle(case, switch, assumed)
        if settled is not None:
            pending.append(settled)
            continue
        gap = _gap(switch)
        assumed.add(_compared(gap, "!="))
        pending += [case._replace(signs=(*case.signs, (gap, sign))) for sign in (-1, 1)]


def _innermost_switch(case: _Case) -> Any:
    import sympy

    parts = itertools.chain(*map(sympy.postorder_traversal, (case.claimed, case.form)))
    return next((part for part in parts if isinstance(part, _switches())), None)


@lru_cache(maxsize=1)
def _switches() -> tuple[Any, ...]:
    """The sympy functions that turn at a point."""
    import sympy
    from sympy.core.relational import Relational

    words = _words()
    return (sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Max, sympy.Min, sympy.floor, sympy.ceiling, words["rint"], Relational)


def has_switch(form: Any) -> bool:
    """True when a sympy expression, or the text of one, is not smooth, or holds something fixed."""
    parsed = _parsed(form) if isinstance(form, str) else form
    return bool(parsed.has(*_switches(), _words()["held"]))


@lru_cache(maxsize=1024)
def _parsed(form: str) -> Any:
    import sympy

    return _parse(form, [sympy.Symbol(name, real=True) for name in _OPERANDS])


def _settle(case: _Case, switch: Any, assumed: _Assumed) -> _Case | None:
    """The case without this switch, where it can be told which way it turns."""
    import sympy

    if isinstance(switch, (sympy.floor, sympy.ceiling, _words()["rint"])):
        argument = switch.args[0]
        assumed.add(f"{argument} is no {'half-integer' if isinstance(switch, _words()['rint']) else 'integer'}")
        level = sympy.Symbol(f"n{len(case.steps)}", integer=True)
        return _replaced(case, switch, level)._replace(steps=(*case.steps, (level, switch)))
    if isinstance(switch, (sympy.Eq, sympy.Ne)):
        assumed.add(_compared(_gap(switch), "!="))
        return _replaced(case, switch, sympy.S(isinstance(switch, sympy.Ne)))
    sign = _sign(_gap(switch), case.signs)
    return None if sign is None else _replaced(case, switch, _turned(switch, sign))


def _replaced(case: _Case, part: Any, value: Any) -> _Case:
    swap = {part: value}
    return case._replace(claimed=case.claimed.xreplace(swap), form=case.form.xreplace(swap))


def _gap(switch: Any) -> Any:
    """What is positive on one side of the switch and negative on the other."""
    import sympy
    from sympy.core.relational import Relational

    if isinstance(switch, Relational):
        return switch.lhs - switch.rhs
    return switch.args[0] - switch.args[1] if isinstance(switch, (sympy.Max, sympy.Min)) else switch.args[0]


def _turned(switch: Any, sign: int) -> Any:
    import sympy

    if isinstance(switch, sympy.Abs):
        return sign * switch.args[0]
    if isinstance(switch, sympy.sign):
        return sympy.Integer(sign)
    if isinstance(switch, sympy.Heaviside):
        return sympy.Integer(sign > 0)
    if isinstance(switch, (sympy.Max, sympy.Min)):
        first, second, *others = switch.args
        wins = (sign > 0) is isinstance(switch, sympy.Max)
        return switch.func(first if wins else second, *others)
    return sympy.S(isinstance(switch, (sympy.StrictGreaterThan, sympy.GreaterThan)) is (sign > 0))


@lru_cache(maxsize=4096)
def _sign(gap: Any, signs: tuple[Sign, ...]) -> int | None:
    """The sign of `gap` where others are known; None where it may have either."""
    import sympy

    written = sympy.expand(_by_positives(gap, signs))
    if written.is_positive or written.is_negative:
        return 1 if written.is_positive else -1
    for known, sign in signs:
        ratio = sympy.simplify(_by_positives(gap / known, signs))
        if ratio.is_positive or ratio.is_negative:
            return sign if ratio.is_positive else -sign
    return None


def _by_positives(expression: Any, signs: tuple[Sign, ...]) -> Any:
    """`expression` with operands written as sums of positive symbols, which sympy knows how to simplify."""
    for symbol, value in _substitution(signs):
        expression = expression.subs(symbol, value)
    return expression


@lru_cache(maxsize=4096)
def _substitution(signs: tuple[Sign, ...]) -> tuple[tuple[Any, Any], ...]:
    """For each sign, one operand that it depends on with slope 1 or -1, solved for."""
    import sympy

    made: list[tuple[Any, Any]] = []
    for known, sign in signs:
        for symbol, value in made:
            known = known.subs(symbol, value)
        for symbol in sorted(known.free_symbols, key=str):
            slope = sympy.diff(known, symbol)
            if slope in (1, -1) and not symbol.is_positive:
                positive = sympy.Symbol(f"p{len(made)}", positive=True)
                made.append((symbol, slope * (sign * positive - (known - slope * symbol))))
                break
    return tuple(made)


# --- is it zero? -----------------------------------------------------------------------------------------


def _simplifies_to_zero(difference: Any) -> bool:
    import sympy

    tries = (sympy.simplify, lambda e: sympy.simplify(sympy.expand(e.rewrite(sympy.exp), func=True)))
    return any(attempt(difference) == 0 for attempt in tries)


def _compare_rules(op: Op, k: int, modes: str, case: _Case, derivative: Any) -> int:
    """At how many points of the case the rule gives the derivative, to 40 digits; raises where it does not."""
    import sympy

    number = 0
    for point in _points((case.claimed, derivative), case):
        ours, theirs = (sympy.N(e.subs(point), _DIGITS) for e in (case.claimed, derivative))
        if not all(value.is_number and value.is_finite for value in (ours, theirs)):
            continue
        number += 1
        if abs(ours - theirs) > sympy.Float("1e-40") * (1 + abs(ours)):
            raise ProofError(
                f"{op.name}: the {modes} of operand {_OPERANDS[k]} is not the derivative of {op.symbolic}: "
                f"where {_where(point)}, the rule gives {sympy.N(ours, 12)}, the derivative is {sympy.N(theirs, 12)}"
            )
    return number


def _where(point: Mapping[Any, Any]) -> str:
    return ", ".join(f"{symbol} = {value}" for symbol, value in sorted(point.items(), key=str))


def _compare_values(op: Op, attrs: Attrs, operands: Any, bound: Mapping[Node, Any], form: Any, signs: tuple[Sign, ...]) -> None:
    """Raise where the op's `symbolic` form has another value than the op."""
    import sympy

    for point in _points((form, *bound.values()), _Case(form, form, signs)):
        theirs = sympy.N(form.subs(point), 20)
        values = [_number(bound[n].subs(point), n) for n in operands]
        with np.errstate(all="ignore"):
            ours = float(op.evaluate(*values, **dict(attrs)))
        if theirs.is_real and math.isfinite(ours) and abs(ours - float(theirs)) > 1e-9 * (1 + abs(ours)):
            raise ProofError(f"{op.name}: where {_where(point)}, it is {ours}, and its form {op.symbolic} is {theirs}")


def _number(value: Any, node: Node) -> Any:
    import sympy

    return node.dtype.type(bool(value) if node.dtype.kind == "b" else sympy.N(value, 20))


def _points(expressions: tuple[Any, ...], case: _Case) -> Iterator[dict[Any, Any]]:
    """Random rational points of the case, on several scales."""
    import sympy

    rng = np.random.default_rng(0)
    parts = (*expressions, *[u for u, _ in case.signs], *[e for _, e in case.steps])
    symbols = sorted(set().union(*(p.free_symbols for p in parts)) - {n for n, _ in case.steps}, key=str)
    found = 0
    for _ in range(40 * _POINTS):
        point = {s: _random_value(rng, s) for s in symbols}
        if all(bool(sympy.N(u.subs(point)) * sign > 0) for u, sign in case.signs):
            for level, step in case.steps:
                point[level] = sympy.Integer(int(sympy.N(step.subs(point), _DIGITS)))
            yield point
            found += 1
        if found == _POINTS:
            return


def _random_value(rng: np.random.Generator, symbol: Any) -> Any:
    import sympy

    if symbol.is_integer:
        return sympy.Integer(int(rng.integers(-4, 5)))
    return sympy.Rational(int(rng.integers(-1000, 1001)), int(rng.choice((101, 499, 1009, 10007))))


def _is_empty(case: _Case) -> bool:
    """True where no real number has the signs of the case; decided for one operand only."""
    import sympy

    symbols = set().union(*(u.free_symbols for u, _ in case.signs))
    if len(symbols) != 1:
        return False
    return bool(sympy.reduce_inequalities([u * sign > 0 for u, sign in case.signs], symbols.pop()) == sympy.false)
