"""gradc's answers: the graph of a program, differentiated and compiled with the default passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import gradc as gc
from benchmarks.compare.programs import Answer, Array, Program, Via, run, weights
from gradc.ir import FUNCTIONS


def build(name: str, operands: list[Any], attrs: dict[str, Any]) -> Any:
    """The nodes of one step."""
    return FUNCTIONS[name].build(*operands, **attrs)


def call(
    name: str, arrays: Sequence[Array], attrs: dict[str, Any], fixed: Sequence[int], packed: bool = False, via: Via | None = None
) -> Any:
    """The value of one step, computed now."""
    graph = gc.Graph(name)
    nodes = [a if k in fixed else graph.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    operands = nodes if via is None else list(via(*nodes))
    result = build(name, [operands] if packed else operands, attrs)
    trace = gc.evaluate(graph, {f"x{k}": a for k, a in enumerate(arrays) if k not in fixed})
    return tuple(trace[r] for r in result) if isinstance(result, (tuple, list)) else trace[result]


def joint(program: Program) -> gc.Graph:
    """The graph of a program: outputs y0, y1, ... and the gradients g0, g1, ... of its order."""
    graph = gc.Graph("program")
    nodes = [a if k in program.fixed else graph.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(program.inputs)]
    outputs = run(program, build, nodes)
    for k, node in enumerate(outputs):
        graph.output(f"y{k}", node)
    wrt = [f"x{k}" for k in program.variables]
    loss = total([y for y in outputs if y.dtype.kind == "f"], program.plain)
    for order in range(program.order if wrt and loss is not None else 0):
        graph.output(f"loss{order}", loss)
        graph = gc.differentiate(graph, wrt, of=f"loss{order}", on_disconnected="zeros")
        gradients = [graph.grad[name] for name in wrt]
        loss = total(gradients, program.plain)
    if wrt and loss is not None:
        for k, node in enumerate(gradients):
            graph.output(f"g{k}", node)
    return graph


def total(nodes: Sequence[Any], plain: bool) -> Any:
    """The sum of all entries of all nodes, times their weights."""
    terms = [(node if plain else node * weights(node.shape, plain)).sum() for node in nodes]
    return sum(terms[1:], terms[0]) if terms else None


def pull(program: Program) -> Answer:
    """Values and gradients of a program."""
    graph = joint(program)
    names = [name for name in graph.outputs if name[0] in "yg"]
    feeds = {f"x{k}": a for k, a in enumerate(program.inputs) if k not in program.fixed}
    found = gc.compile(graph, names)(feeds)
    values: list[Array] = [found[name] for name in names if name[0] == "y"]
    gradients = [found[name] for name in names if name[0] == "g"]
    return Answer(values, gradients or [np.zeros_like(program.inputs[k]) for k in program.variables])
