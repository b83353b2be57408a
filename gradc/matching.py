"""Forms: the ways in which people write a function out, and one small matcher that finds them.

A spelling is a plain function on nodes beside a declaration, such as `lambda x: log(1 + exp(x))` beside `softplus`. It is
traced once, at first use, into a pattern. What a pattern cannot say (axes that must agree, any number of terms) is a
recogniser: a function from a node to its better form, entered into the same table. `differentiate` takes derivatives of the
form, and the passes compute it: both ask this table only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError
from gradc.ir import CONSTANT, FUNCTIONS, OPS, PLACEHOLDER, Graph, Node, Op, apply, registry_version, walk
from gradc.types import DType, key_of

Rewrite = Callable[[Node, "Same"], Node | None]
Ops = frozenset[Op]


class Form(NamedTuple):
    """One entry of the table.

    Attributes:
        name: the function it is.
        roots: the ops that a node of this form may have, or a function that lists them.
        signs: sets of ops; a graph without any op of one of them has no such form.
        makes: the ops that it may bring in.
        rewrite: `rewrite(node, same)` is the form, of the type of `node`, or None.
        operands: ops of which one operand of the root must be; empty: whatever they are.
        values: False where only derivatives gain by it: passes leave what it is written as, which may be shared with others.
    """

    name: str
    roots: Ops
    signs: tuple[Ops, ...]
    makes: Ops
    rewrite: Rewrite
    operands: Ops = frozenset()
    values: bool = True


class Forms(NamedTuple):
    """The forms of one root, and the ops of which an operand must be for any of them; empty: whatever they are."""

    forms: tuple[Form, ...]
    operands: Ops


Table = dict[Op, Forms]


class _Spelled(NamedTuple):
    name: str
    form: Callable[..., Node]
    spellings: tuple[Callable[..., Node], ...]
    values: bool = True
    beside: Op | None = None


_spellings: list[_Spelled] = []
_recognisers: list[tuple[Collection[Op] | Callable[[], Collection[Op]], Form]] = []


def spell(
    name: str, form: Callable[..., Node], *spellings: Callable[..., Node], values: bool = True, beside: Op | None = None
) -> None:
    """Declare that each of `spellings` is `form` of the same operands: better computed, and with better derivatives.

    `values` as in `Form`; `beside`: an op of theirs that needs an extra: they are traced where a graph has it.
    """
    _spellings.append(_Spelled(name, form, spellings, values, beside))


def recognises(
    name: str,
    roots: Collection[Op] | Callable[[], Collection[Op]],
    signs: Sequence[Collection[Op]] = (),
    makes: Collection[Op] = (),
    operands: Collection[Op] = (),
    values: bool = True,
) -> Callable[[Rewrite], Rewrite]:
    """Declare a recogniser of `name`; the arguments are those of `Form`."""

    def enter(rewrite: Rewrite) -> Rewrite:
        signs_of = tuple(map(frozenset, signs))
        form = Form(name, frozenset(), signs_of, frozenset(makes), rewrite, frozenset(operands), values)
        _recognisers.append((roots, form))
        return rewrite

    return enter


@lru_cache(maxsize=16)
def _all_forms(beside: Ops, *registered: int) -> tuple[Form, ...]:
    """The table, of graphs that have the ops `beside` of extras, for so many of everything that declares forms."""
    declared = [_Spelled(f.name, f.build, f.spellings) for f in FUNCTIONS.values() if f.spellings]
    traced = [
        _traced(spelled.name, spelled.form, text)._replace(values=spelled.values)
        for spelled in (*declared, *_spellings)
        for text in spelled.spellings
        if spelled.beside is None or spelled.beside in beside
    ]
    listed = [form._replace(roots=frozenset(roots() if callable(roots) else roots)) for roots, form in _recognisers]
    return (*listed, *traced)


def forms_for(present: Ops, of_values: bool = False) -> Table:
    """The forms that a graph with these ops may have, by the op of their root; empty for most graphs.

    `of_values`: those that a pass computes.
    """
    return _forms_for(present, of_values, registry_version(), len(_spellings), len(_recognisers))


@lru_cache(maxsize=256)
def _forms_for(present: Ops, of_values: bool, *registered: int) -> Table:
    beside = frozenset([s.beside for s in _spellings if s.beside is not None])
    known, found, ops = _all_forms(beside & present, *registered), [], set(present)
    left = list(known)
    while True:
        fits = [f for f in left if not f.roots.isdisjoint(ops) and all(not s.isdisjoint(ops) for s in f.signs)]
        if not fits:
            break
        found += fits
        left = [f for f in left if f not in fits]
        ops.update(op for f in fits for op in f.makes)
    table: dict[Op, list[Form]] = {}
    for form in known:
        for root in form.roots if form in found and (form.values or not of_values) else ():
            table.setdefault(root, []).append(form)
    return {root: Forms(tuple(forms), _operands(forms)) for root, forms in table.items()}


def _operands(forms: Sequence[Form]) -> Ops:
    return frozenset().union(*[f.operands for f in forms]) if all(f.operands for f in forms) else frozenset()


def recognise(node: Node, table: Table, same: Same) -> tuple[str, Node] | None:
    """The name of the form that `node` is, and the form; looked for in front of what only moves entries too."""
    known = table.get(node.op)
    if known is None or node.type.dtype.kind != "f":
        return None
    ops = [i.op for i in node.inputs]
    if not known.operands or not known.operands.isdisjoint(ops):
        for form in known.forms:
            better = form.rewrite(node, same) if not form.operands or not form.operands.isdisjoint(ops) else None
            if better is not None and better.type == node.type:
                return form.name, better
    if node.op.elementwise and len(node.inputs) == 1 and moves_entries(node.inputs[0]):
        base = under_moves(node.inputs[0])
        found = None if moves_entries(base) else recognise(apply(node.op, (base,), node.attrs), table, same)
        return None if found is None else (found[0], moved(found[1], node.inputs[0], base))
    return None


# --- what is what ------------------------------------------------------------------------------------


def moves_entries(node: Node) -> bool:
    """True for what only moves, repeats or picks entries of its first operand; not for what stops a form."""
    return (node.op.view or node.op.moves) and node.op.name not in ("identity", "stop_gradient")


MOST_MOVES = 64
"""How many moves are looked under: a chain of views of which each is read would else be gone down again for each."""


def under_moves(node: Node) -> Node:
    """What `node` reshapes, turns, broadcasts or picks from."""
    for _ in range(MOST_MOVES):
        if not moves_entries(node):
            break
        node = node.inputs[0]
    return node


def moved(value: Node, node: Node, base: Node) -> Node:
    """`value` moved as `node` moves `base`."""
    moves = []
    while node is not base:
        moves.append(node)
        node = node.inputs[0]
    for move in reversed(moves):
        value = apply(move.op, (value, *move.inputs[1:]), move.attrs)
    return value


def number_of(node: Node) -> float | None:
    """The number that a constant, or a view of one, repeats."""
    while node.op.view and len(node.inputs) == 1:
        node = node.inputs[0]
    if node.op is not CONSTANT or not node.attrs[0][1].uniform:
        return None
    return float(node.attrs[0][1].array.reshape(-1)[0])


def is_number(node: Node, value: float) -> bool:
    """True where `node` is `value` throughout, as its dtype rounds it."""
    found = number_of(node)
    return found is not None and (found == value or found == float(np.asarray(value).astype(node.dtype)))


def negated(node: Node) -> Node:
    """-node, without two signs in a row."""
    negative = OPS["negative"]
    return node.inputs[0] if node.op is negative else apply(negative, (node,))


class Same:
    """Tells whether two nodes are the same function of the same nodes, by numbers that equal ones share.

    The nodes of `opaque` are like no other, equal or not. All the comparisons together are linear in the nodes looked at.
    """

    def __init__(self, opaque: Collection[Node] = ()) -> None:
        self._opaque = opaque
        self._numbers: dict[Node, int] = {}
        self._known: dict[Any, int] = {}

    def __call__(self, a: Node, b: Node) -> bool:
        return a is b or (a.op is b.op and a.type == b.type and self.number(a) == self.number(b))

    def is_opaque(self, node: Node) -> bool:
        """True where nothing looks into `node`."""
        return node in self._opaque

    def number(self, node: Node) -> int:
        """The number of `node`."""
        numbers, stack = self._numbers, [node]
        while stack:
            current = stack[-1]
            missing = [] if current in numbers else [i for i in current.inputs if i not in numbers]
            if missing:
                stack += missing
                continue
            stack.pop()
            if current not in numbers:
                numbers[current] = self._known.setdefault(self._key(current), len(self._known))
        return numbers[node]

    def _key(self, node: Node) -> Any:
        if node.op is PLACEHOLDER or node in self._opaque:
            return node
        operands = [self._numbers[i] for i in node.inputs]
        return node.op, tuple(sorted(operands) if node.op.commutative else operands), key_of(node.attrs), node.type


# --- patterns ----------------------------------------------------------------------------------------


class Pattern(NamedTuple):
    """What a node must be: an op on other patterns, a number, or anything, kept under a name."""

    op: Op | None = None
    operands: tuple[Pattern, ...] = ()
    attrs: Any = ()
    number: float | None = None
    name: str = ""


Found = dict[str, Node]


def _traced(name: str, form: Callable[..., Node], spelling: Callable[..., Node]) -> Form:
    """The entry of a spelling: it and its form are run on scalars.

    Raises:
        ArgumentError: the form is spelt like that itself.
    """
    graph = Graph("spelling")
    variables = {p: graph.placeholder(p) for p in inspect.signature(spelling).parameters}
    root, made = spelling(**variables), form(*variables.values())
    pattern = _pattern(root)
    if next(match(pattern, made, {}, Same(), made.type.dtype), None) is not None:
        raise ArgumentError(f"{name}: a spelling is what the function builds itself, and stands for nothing")
    ops = [frozenset((n.op,)) for n in walk([root]) if n.inputs and n is not root and n.op.name != "negative"]

    def rewrite(node: Node, same: Same) -> Node | None:
        found = next(match(pattern, node, {}, same, node.type.dtype), None)
        return None if found is None else form(*[found[p] for p in variables])

    operands = frozenset(p.op for p in pattern.operands if p.op is not None and not _is_sign_of_any(p))
    return Form(name, frozenset((root.op,)), tuple(ops), frozenset(n.op for n in walk([made]) if n.inputs), rewrite, operands)


def _pattern(root: Node) -> Pattern:
    made: dict[Node, Pattern] = {}
    for node in walk([root]):
        if node.op is PLACEHOLDER:
            made[node] = Pattern(name=node.name or "")
        elif node.op is CONSTANT:
            made[node] = Pattern(number=number_of(node))
        else:
            made[node] = Pattern(node.op, tuple(made[i] for i in node.inputs), node.attrs)
    return made[root]


def match(pattern: Pattern, node: Node, found: Found, same: Same, dtype: DType) -> Iterator[Found]:
    """Every way in which `node`, computed in `dtype` throughout, is what the pattern says; as deep as the pattern is."""
    if pattern.name:
        if node.type.dtype == dtype and same(found.setdefault(pattern.name, node), node):
            yield found
    elif pattern.number is not None:
        if is_number(node, pattern.number):
            yield found
    elif node.op is pattern.op:
        if key_of(node.attrs) == key_of(pattern.attrs) and node.type.dtype in (dtype, _BOOL):
            orders = (node.inputs, node.inputs[::-1]) if node.op.commutative else (node.inputs,)
            for operands in orders:
                yield from _match_all(pattern.operands, operands, found, same, dtype)
    elif _is_sign_of_any(pattern):
        yield from match(pattern.operands[0], negated(node), dict(found), same, dtype)


def _is_sign_of_any(pattern: Pattern) -> bool:
    """True for -x, which anything is, of another x."""
    return pattern.op is not None and pattern.op.name == "negative" and bool(pattern.operands[0].name)


_BOOL = np.dtype("bool")


def _match_all(patterns: Sequence[Pattern], nodes: Sequence[Node], found: Found, same: Same, dtype: DType) -> Iterator[Found]:
    if not patterns:
        yield found
        return
    for first in match(patterns[0], nodes[0], dict(found), same, dtype):
        yield from _match_all(patterns[1:], nodes[1:], first, same, dtype)
