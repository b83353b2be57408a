"""Sizes as sympy's expressions, kept short however long the chain of parts that made them.

What the parts of an axis add up to is the whole: Max(0, n - 1) + Min(1, n) is n. What stays longer than 150 characters gets a
name: a symbol that stands for it, and that is looked up when the names that users gave have values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sympy

LONGEST = 150
_VALUES_KEPT = 64

Values = tuple[tuple[str, int], ...]


class _Long(NamedTuple):
    """A long expression, the symbols in it, the names of users that it depends on, and its values by the values of these."""

    expr: sympy.Expr
    symbols: tuple[str, ...]
    names: frozenset[str]
    values: dict[Values, int]


_named: dict[str, _Long] = {}
"""The long expressions, by names that no user can choose; each of names that were there before."""


@lru_cache(maxsize=1024)
def symbol(name: str) -> sympy.Symbol:
    """The symbol of a size called `name`."""
    import sympy

    return sympy.Symbol(name, integer=True, nonnegative=True)


@lru_cache(maxsize=4096)
def shortened(expr: sympy.Expr) -> sympy.Expr:
    """`expr` in the form in which it is kept: expanded, parts of an axis put together; a symbol where it is long.

    Equal expressions have the same symbol, in every process.
    """
    expr = joined(expr.expand())
    text = str(expr)
    if len(text) <= LONGEST:
        return expr
    name = f"<{sha256(text.encode()).hexdigest()[:12]}>"
    define(name, expr)
    return symbol(name)


@lru_cache(maxsize=4096)
def difference(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """a - b. Where `a` stands for a long sum with `b` in it, that is the rest: the end of a part less its start is its length."""
    if a.is_Symbol and is_defined(str(a)):
        rest = joined((_named[str(a)].expr - b).expand())
        if len(str(rest)) <= LONGEST:
            return rest
    return a - b


def define(name: str, expr: sympy.Expr) -> None:
    """Let `name` stand for `expr`, whose own symbols are known."""
    symbols = symbols_of(expr)
    _named.setdefault(name, _Long(expr, symbols, given_names(symbols), {}))


def is_defined(name: str) -> bool:
    """True for a name that stands for a long expression."""
    return name in _named


def symbols_of(expr: sympy.Expr) -> tuple[str, ...]:
    """The names of the symbols in `expr`."""
    return tuple(sorted(str(s) for s in expr.free_symbols))


def given_names(symbols: Iterable[str]) -> frozenset[str]:
    """The names that users gave, on which `symbols` depend."""
    return frozenset[str]().union(*[_named[s].names if s in _named else (s,) for s in symbols])


def definitions(expr: sympy.Expr) -> list[tuple[str, sympy.Expr]]:
    """The long expressions that `expr` stands on, each after those that it stands on itself: what `define` takes."""
    found: dict[str, sympy.Expr] = {}
    stack = [(s, False) for s in symbols_of(expr)]
    while stack:
        name, done = stack.pop()
        if done:
            found[name] = _named[name].expr
        elif name in _named and name not in found:
            stack += [(name, True), *((s, False) for s in _named[name].symbols)]
    return list(found.items())


def value_of(expr: sympy.Expr, sizes: Mapping[str, int]) -> int:
    """The value of `expr`; that of a long expression in it is computed once for the same sizes."""
    symbols = symbols_of(expr)
    stack = [s for s in symbols if s in _named]
    known = dict(sizes)
    while stack:
        name = stack[-1]
        waiting = [] if name in known or _remembered(name, sizes, known) else _unknown(name, known)
        if waiting:
            stack += waiting
            continue
        stack.pop()
        if name not in known:
            known[name] = _remember(name, sizes, known)
    return int(expr.subs({symbol(s): known[s] for s in symbols}))


def _unknown(name: str, known: Mapping[str, int]) -> list[str]:
    return [s for s in _named[name].symbols if s not in known]


def _key(name: str, sizes: Mapping[str, int]) -> Values:
    return tuple([(n, sizes[n]) for n in sorted(_named[name].names)])


def _remembered(name: str, sizes: Mapping[str, int], known: dict[str, int]) -> bool:
    found = _named[name].values.get(_key(name, sizes))
    if found is not None:
        known[name] = found
    return found is not None


def _remember(name: str, sizes: Mapping[str, int], known: Mapping[str, int]) -> int:
    long = _named[name]
    if len(long.values) >= _VALUES_KEPT:
        long.values.clear()
    found = int(long.expr.subs({symbol(s): known[s] for s in long.symbols}))
    long.values[_key(name, sizes)] = found
    return found


# --- the parts of a whole ----------------------------------------------------------------------------


def joined(expr: sympy.Expr) -> sympy.Expr:
    """A sum of maxima and minima by as few of them as there are, where these are the lengths of parts of an axis.

    All are written by excesses max(0, e), of which equal ones add up: min(a, b) = b - max(0, b - a), max(0, -e) = max(0, e) - e,
    and what lies between 0 and m is max(0, min(m, e)) = max(0, e) - max(0, e - m).
    """
    from sympy import Add, Integer, Max, Min

    if not expr.has(Max, Min):
        return expr
    rest: list[sympy.Expr] = []
    counts: dict[sympy.Expr, sympy.Expr] = {}
    terms = list(Add.make_args(expr))
    while terms:
        term = terms.pop()
        count, bound = term.as_coeff_Mul()
        base, excesses = _by_excesses(bound)
        if not excesses:
            rest.append(term)
            continue
        more = count * base
        for times, e in excesses:
            if e.could_extract_minus_sign():
                more, e = more + count * times * e, -e
            counts[e] = counts.get(e, Integer(0)) + count * times
        terms += Add.make_args(more.expand())
    return _from_excesses(Add(*rest), {e: count for e, count in counts.items() if count != 0})


def _from_excesses(rest: sympy.Expr, counts: dict[sympy.Expr, sympy.Expr]) -> sympy.Expr:
    """`rest` and the sum of count max(0, e): one maximum or minimum where it can be."""
    from sympy import Add, Max, Min

    if len(counts) == 1:
        [(e, count)] = counts.items()
        if abs(count) == 1:
            return _from_excess(rest, count, e)
    if len(counts) == 2 and rest == 0:
        (e, count), (f, other) = sorted(counts.items(), key=lambda pair: -pair[1])
        most = e - f
        if (count, other) == (1, -1) and most.is_Number and most.is_positive:
            return Max(0, Min(most, e))
    return Add(rest, *[count * Max(0, e) for e, count in counts.items()])


def _from_excess(rest: sympy.Expr, count: sympy.Expr, e: sympy.Expr) -> sympy.Expr:
    """rest + max(0, e), or rest - max(0, e), as people write it: Min(1, n) for n - max(0, n - 1), m + Min(1, n) beside an m."""
    from sympy import Max, Min

    number, size = e.as_coeff_Add()
    if number == 0 or (count == 1 and rest.is_Number):
        return (Max if count == 1 else Min)(rest, (rest + count * e).expand())
    return rest + Max(0, e) if count == 1 else rest - size + Min(-number, size)


def _by_excesses(bound: sympy.Expr) -> tuple[sympy.Expr, list[tuple[int, sympy.Expr]]]:
    """(b, [(c, e), ...]) where `bound` is b + the sum of c max(0, e)."""
    from sympy import Max, Min

    if not isinstance(bound, (Max, Min)) or len(bound.args) != 2:
        return bound, []
    a, b = bound.args if bound.args[0].is_Number else bound.args[::-1]
    inner = b.args if isinstance(b, (Max, Min)) and b.func != bound.func and len(b.args) == 2 else ()
    if inner and a.is_Number:
        c, e = inner if inner[0].is_Number else inner[::-1]
        least, most = (a, c) if isinstance(bound, Max) else (c, a)
        if least == 0 and most.is_Number and most.is_positive:
            return least, [(1, e), (-1, (e - most).expand())]
    if isinstance(bound, Min):
        return b, [(-1, (b - a).expand())]
    return a, [(1, (b - a).expand())]
