"""Forms settled before adjoints are built: what `differentiate` takes for the functions that a user wrote out.

For every node of a graph that is a form (see `gradc.matching`) the form is built anew, after the graph's own nodes, and so is
what reads it: a twin. Adjoints and tangents run through the twins, and are those of the nodes that these stand for. A node that
is a variable, and what is under a `stop_gradient`, is like any placeholder to a form: nothing looks inside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from gradc.ir import Edge, Graph, Node, apply, rebuilt, set_origin
from gradc.matching import Same, Table, forms_for, recognise
from gradc.ops import pairs
from gradc.ops.elementwise import divide, identity

T = TypeVar("T")


class Settled(NamedTuple):
    """What takes the place of the nodes of a graph.

    Attributes:
        twins: a node of the graph -> what it is differentiated as, where that is another node.
        stands_for: the opposite; and for what a form is made of, the node that is the form.
        forms: the nodes that are forms, and of what.
        slots: the edges by which forms read nodes of the graph -> their numbers, from 0 for each form.
    """

    twins: dict[Node, Node]
    stands_for: dict[Node, Node]
    forms: dict[Node, str]
    slots: dict[Edge, int]

    def twin(self, node: Node) -> Node:
        """What `node` is differentiated as."""
        return self.twins.get(node, node)

    def primal(self, node: Node) -> Node:
        """The node of the graph that `node` stands for."""
        return self.stands_for.get(node, node)

    def edge(self, node: Node, k: int) -> Edge:
        """The use of operand `k` by `node`, as one of the graph's."""
        edge = Edge(node, k)
        return Edge(self.primal(node), self.slots.get(edge, k)) if self.twins else edge

    def form(self, node: Node) -> str:
        """Of what `node` is a part; empty for the graph's own nodes and their twins."""
        primal = self.stands_for.get(node, node)
        return self.forms.get(primal, "") if primal is not node else ""

    def by_node(self, found: Mapping[Node, T], nodes: Iterable[Node]) -> dict[Node, T]:
        """`found` by what twins stand for."""
        return {node: found[self.twin(node)] for node in nodes if self.twin(node) in found}


NOTHING = Settled({}, {}, {}, {})
"""A graph without forms, or differentiated op by op."""


def settle(needed: Sequence[Node], variables: Collection[Node] = (), of_values: bool = False) -> Settled:
    """The forms among `needed`, nodes in order with all that they need; no form looks into one of `variables`.

    `of_values`: those that passes compute.
    """
    present = frozenset([node.op for node in needed])
    table = forms_for(present, of_values)
    with_pairs = pairs.may_cancel(needed, present.union(*[form.makes for known in table.values() for form in known.forms]))
    if not table and not with_pairs:
        return NOTHING
    return _Settling(needed, table, frozenset(variables), with_pairs).run()


class _Settling:
    """One walk over the nodes, operands first."""

    def __init__(self, needed: Sequence[Node], table: Table, variables: frozenset[Node], with_pairs: bool) -> None:
        self._needed, self._table, self._variables = needed, table, variables
        self._opaque: set[Node] = {v for v in variables if not v.inputs}
        self._same = Same(self._opaque)
        self._settled = Settled({}, {}, {}, {})
        self._known = set(needed)
        self._inside: dict[Node, Node] = {}
        self._terms = _terms_of_one_sum(needed, variables) if with_pairs else frozenset()
        self._with_pairs = with_pairs
        self._read: Counter[Node] = Counter()

    def run(self) -> Settled:
        outer = set_origin(None)
        try:
            for node in self._needed:
                if node.inputs:
                    self._visit(node)
        finally:
            set_origin(outer)
        return self._settled if self._settled.forms else NOTHING

    def _visit(self, node: Node) -> None:
        twins = self._settled.twins
        current = node
        if twins and any(i in twins for i in node.inputs):
            current = rebuilt(node, tuple([twins.get(i, i) for i in node.inputs]))
        if current is node and node.op not in self._table and not self._with_pairs and node not in self._variables:
            return
        set_origin(node.origin)
        found = recognise(current, self._table, self._same)
        while found is not None:
            self._settled.forms[node] = found[0]
            current = found[1]
            found = recognise(current, self._table, self._same)
        if self._with_pairs and node not in self._settled.forms and pairs.is_sum(node):
            if node in self._terms:
                self._inside[current] = node
            else:
                current = self._cancelled(node, current)
        if node in self._variables:
            current = apply(identity, (current,))
            self._opaque.add(current)
        self._replace(node, current)

    def _replace(self, node: Node, current: Node) -> None:
        if current is node:
            return
        if current in self._known:
            current = apply(identity, (current,))
        self._settled.twins[node] = current
        self._settled.stands_for[current] = node
        self._enter(node, current)

    def _enter(self, node: Node, top: Node) -> None:
        """Note what `top`, which takes the place of `node`, is made of."""
        stands_for, slots, left = self._settled.stands_for, self._settled.slots, [top]
        is_form = node in self._settled.forms
        self._known.add(top)
        while left:
            current = left.pop()
            for k, operand in enumerate(current.inputs):
                if operand not in self._known:
                    self._known.add(operand)
                    stands_for[operand] = node
                    left.append(operand)
                elif is_form:
                    slots[Edge(current, k)] = self._read[node]
                    self._read[node] += 1

    def _cancelled(self, node: Node, root: Node) -> Node:
        """`root` without the kinks that cancel in it."""
        swaps = pairs.cancel_kinks(root, self._inside, self._same)
        if not swaps:
            return root
        self._settled.forms[node] = "kinks that cancel"
        for value in swaps.values():
            if value is not None and value not in self._known:
                self._settled.stands_for[value] = node
                self._enter(node, value)
        new: dict[Node, Node | None] = {}
        for current in self._tree(root):
            operands = [swaps.get((current, k), new.get(i, i)) for k, i in enumerate(current.inputs)]
            new[current] = pairs.without_terms(current, operands)
            inner = self._inside.get(current)
            if inner is not None and new[current] is not current:
                self._move(inner, new[current])
        found = new[root]
        assert found is not None, "a pair leaves one of its terms"
        return found

    def _tree(self, root: Node) -> list[Node]:
        found, left = [root], [root]
        while left:
            inner = [i for i in left.pop().inputs if i in self._inside]
            found += inner
            left += inner
        return sorted(set(found), key=lambda n: n.serial)

    def _move(self, inner: Node, current: Node | None) -> None:
        """A sum inside of the tree has lost terms, or all of them."""
        old = self._settled.twins.pop(inner, None)
        if old is not None:
            self._settled.stands_for.pop(old, None)
        if current is not None:
            self._replace(inner, current)


def _terms_of_one_sum(needed: Sequence[Node], variables: Collection[Node]) -> frozenset[Node]:
    """The sums that are read once, as a term of another."""
    uses = Counter([i for node in needed for i in node.inputs])
    return frozenset(
        i
        for node in needed
        if pairs.is_sum(node)
        for i in (node.inputs[:1] if node.op is divide or len(node.inputs) == 1 else node.inputs)
        if uses[i] == 1 and pairs.is_sum(i) and i not in variables
    )


def with_forms(graph: Graph) -> Graph:
    """`graph` with its forms in the place of what they are written as: other nodes, the same functions."""
    settled = settle(graph.nodes, of_values=True)
    if settled is NOTHING:
        return graph
    return graph.with_outputs({name: settled.twin(node) for name, node in graph.outputs.items()})
