"""How many wrong passes `compile(..., validate=True)` finds: `python -m benchmarks.mutants --count 10000`.

A mutant is an optimised graph with one fault: another op, operands swapped or taken from elsewhere, a constant or an attribute
changed, a node left out. Faults that no point of 30 can tell from the graph itself are no faults, and do not count. Of the
others the validator has to find at least 99.9 %, at the points that it chooses by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gradc
from benchmarks.compare.gradc_side import joint
from benchmarks.compare.graphs import attack_programs, random_programs
from benchmarks.compare.programs import differentiable_functions
from gradc.errors import GradcError
from gradc.ir import CONSTANT, OPS, PLACEHOLDER, Const, Graph, Node, apply
from gradc.passes.validate import Validator

TELLING = 30
ATTEMPTS = 40
WANTED = 0.999
LARGEST = 80
Fault = Callable[[Node, list[Node], np.random.Generator], "Node | None"]


# --- faults ------------------------------------------------------------------------------------------


def another_op(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """The same operands given to another elementwise op of the same type."""
    if not node.op.elementwise or node.attrs:
        return None
    return _first(rng, [op for op in OPS.values() if op.elementwise and op is not node.op], lambda op: apply(op, node.inputs))


def swapped_operands(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """Two operands change places."""
    if len(node.inputs) < 2 or node.op.commutative:
        return None
    k = int(rng.integers(len(node.inputs) - 1))
    inputs = list(node.inputs)
    inputs[k], inputs[k + 1] = inputs[k + 1], inputs[k]
    return apply(node.op, tuple(inputs), node.attrs)


def another_operand(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """An operand is another node of its type."""
    if not node.inputs:
        return None
    k = int(rng.integers(len(node.inputs)))
    fitting = [n for n in before if n.type == node.inputs[k].type and n is not node.inputs[k]]
    return _first(rng, fitting, lambda n: apply(node.op, (*node.inputs[:k], n, *node.inputs[k + 1 :]), node.attrs))


def another_constant(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """One entry of a constant is moved, by little or much, or negated."""
    if node.op is not CONSTANT or not node.attr("value").array.size:
        return None
    value = node.attr("value").array.copy()
    k = int(rng.integers(value.size))
    if value.dtype.kind == "b":
        value.flat[k] ^= True
    elif value.dtype.kind == "f":
        value.flat[k] = rng.choice([-value.flat[k], value.flat[k] * (1 + 1e-3), value.flat[k] + 1, 0])
    else:
        value.flat[k] = rng.choice([0, 1])
    value.flags.writeable = False
    return Node(CONSTANT, (), (("value", Const(value)),), node.type, node.origin)


def another_attribute(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """An attribute has another value of its kind."""
    if node.op in (CONSTANT, PLACEHOLDER) or not node.attrs:
        return None
    k = int(rng.integers(len(node.attrs)))
    name, value = node.attrs[k]
    return _first(rng, _others(value), lambda v: apply(node.op, node.inputs, (*node.attrs[:k], (name, v), *node.attrs[k + 1 :])))


def _others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, -value, 0]
    if isinstance(value, float):
        return [value + 1, -value, value * 1.001]
    if isinstance(value, tuple) and value and all(isinstance(v, int) for v in value):
        return [value[::-1], value[:-1], (*value[:-1], value[-1] + 1), tuple(v + 1 for v in value), (0,), (1,)]
    return []


def left_out(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """An operand takes the node's place."""
    return _first(rng, [i for i in node.inputs if i.type == node.type], lambda i: i)


def negated(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """The sign is wrong."""
    return -node if node.dtype.kind == "f" and node.op is not PLACEHOLDER else None


def no_zeros(node: Node, before: list[Node], rng: np.random.Generator) -> Node | None:
    """The zeros of a mask are lost: a selection lets everything through."""
    return _first(rng, [i for i in node.inputs if i.type == node.type], lambda i: i) if node.op.masks else None


FAULTS: tuple[Fault, ...] = (
    another_op,
    swapped_operands,
    another_operand,
    another_constant,
    another_attribute,
    left_out,
    negated,
    no_zeros,
)


def _first(rng: np.random.Generator, candidates: list[Any], build: Callable[[Any], Node]) -> Node | None:
    """The first of the candidates, in random order, of which a node can be built."""
    for k in rng.permutation(len(candidates))[:6]:
        try:
            return build(candidates[int(k)])
        except Exception:  # faults are blind: what does not fit fails in any way
            continue
    return None


# --- mutants -----------------------------------------------------------------------------------------


def optimised_graphs(seed: int) -> Iterator[Graph]:
    """Gradient graphs of random programs, well-behaved ones and extreme ones, after the default passes; without end."""
    names = frozenset(function.name for function in differentiable_functions())
    while True:
        programs = attack_programs if seed % 4 == 3 else random_programs
        for program in programs(range(seed, seed + 1), names):
            try:
                graph = gradc.passes.optimise(joint(program))
            except GradcError:
                continue
            if 1 < len(graph.nodes) <= LARGEST:
                yield graph
        seed += 1


def mutant_of(graph: Graph, rng: np.random.Generator) -> tuple[str, Graph] | None:
    """`graph` with one fault, and the fault's name; None where the one that was tried does not fit."""
    nodes = list(graph.nodes)
    k = int(rng.integers(len(nodes)))
    fault = FAULTS[int(rng.integers(len(FAULTS)))]
    try:
        wrong = fault(nodes[k], nodes[:k], rng)
    except Exception:  # as above
        return None
    if wrong is None or wrong.type != nodes[k].type:
        return None
    return fault.__name__, _with(graph, nodes[k], wrong)


def _with(graph: Graph, node: Node, wrong: Node) -> Graph:
    """`graph` with `wrong` in the place of `node`."""
    new = {n: n for n in graph.nodes if n.serial <= node.serial}
    new[node] = wrong
    for user in graph.nodes:
        if user not in new:
            inputs = tuple([new[i] for i in user.inputs])
            same = all(a is b for a, b in zip(inputs, user.inputs, strict=True))
            new[user] = user if same else Node(user.op, inputs, user.attrs, user.type, user.origin)
    return Graph.of(graph.name, graph.placeholders, {name: new[n] for name, n in graph.outputs.items()})


def measure(count: int, seed: int = 0) -> tuple[Counter[str], list[tuple[str, Graph, Graph]]]:
    """How many faults of each kind could be told, of `count` in all, and those of them that validation missed."""
    told: Counter[str] = Counter()
    missed = []
    for k, graph in enumerate(optimised_graphs(seed)):
        rng = np.random.default_rng([seed, k])
        validator, judge = Validator(graph), Validator(graph, TELLING, seed=1)
        for _ in range(ATTEMPTS):
            made = mutant_of(graph, rng)
            if made is None:
                continue
            name, mutant = made
            if validator.tells(mutant):
                told[name] += 1
            elif judge.tells(mutant):
                told[name] += 1
                missed.append((name, graph, mutant))
            if told.total() == count:
                return told, missed
    raise AssertionError("there is no end of random graphs")


def main() -> None:
    """Measure, print, and exit with 1 where too few are found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many faults that can be told (10,000)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.monotonic()
    told, missed = measure(given.count, given.seed)
    lost = Counter(name for name, _, _ in missed)
    for name, number in sorted(told.items()):
        print(f"{name.replace('_', ' '):20} {number:6} told, {number - lost[name]:6} found")
    found = 1 - len(missed) / told.total()
    print(f"{told.total()} faults, {told.total() - len(missed)} found: {found:.2%} ({time.monotonic() - start:.0f} s)")
    sys.exit(found < WANTED)


if __name__ == "__main__":
    main()
