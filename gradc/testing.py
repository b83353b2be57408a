"""Proving gradients against numeric differentiation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.differentiate import differentiate
from gradc.errors import GradcError
from gradc.interpret import Trace, evaluate
from gradc.ir import PLACEHOLDER, Array, Graph, Node, describe
from gradc.passes.rewrite import rebuilt
from gradc.types import TensorType

_STEP = 1e-5


class GradientError(GradcError, AssertionError):
    """A derivative disagrees with numeric differentiation."""


def check_gradients(
    graph: Graph,
    feeds: Mapping[str, Any],
    wrt: Sequence[Any] | None = None,
    order: int = 2,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Compare every entry of every gradient with central differences, in float64, up to `order`.

    Args:
        graph: float32 and float16 placeholders are checked at float64.
        feeds: the point; away from kinks, where differences are no derivative.
        wrt: variables; all floating point placeholders when left out.
        order: 1, or 2 to check the derivative of each gradient along a fixed direction too.
        rtol: relative tolerance, 1e-5 when left out.
        atol: absolute tolerance, 1e-7 when left out.

    Raises:
        GradientError: naming the output, the variable, the entry, both values, and the op whose rule is wrong.
        GradcError: the graph or the feeds are malformed.
    """
    wide = at_float64(graph)
    point = {name: _widened(wide.placeholders[name], value) for name, value in feeds.items()}
    names = _variables(wide, wrt)
    tolerance = (1e-5 if rtol is None else rtol, 1e-7 if atol is None else atol)
    for output, node in wide.outputs.items():
        if node.type.is_float:
            _check_output(wide, output, point, names, order, tolerance)


def at_float64(graph: Graph) -> Graph:
    """The same graph with every narrower floating point type, casts included, widened to float64."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        attrs = tuple((k, np.dtype("float64") if k == "dtype" and node.type.is_float else v) for k, v in node.attrs)
        inputs = tuple(new[i] for i in node.inputs)
        wide = np.dtype("float64") if node.type.is_float else node.dtype
        node_type = TensorType(node.shape, wide)
        if node_type == node.type and attrs == node.attrs:
            new[node] = rebuilt(node, inputs)
        elif node.op.name == "constant":
            from gradc.ir import constant

            new[node] = constant(node.attr("value").array, wide)
        else:
            new[node] = Node(node.op, inputs, attrs, node_type, node.origin)
    placeholders = {name: new[n] for name, n in graph.placeholders.items()}
    return Graph.of(graph.name, placeholders, {name: new[n] for name, n in graph.outputs.items()})


def _widened(node: Node, value: Any) -> Array:
    return np.array(value, node.dtype)


def _variables(graph: Graph, wrt: Sequence[Any] | None) -> list[str]:
    if wrt is None:
        return [name for name, node in graph.placeholders.items() if node.type.is_float]
    return [w if isinstance(w, str) else w.name for w in wrt]


def _check_output(
    graph: Graph, output: str, point: Mapping[str, Array], names: list[str], order: int, tolerance: tuple[float, float]
) -> None:
    extended = differentiate(graph, names, of=output, on_disconnected="zeros")
    trace = evaluate(extended, point)
    for name in names:
        exact = trace[extended.grad[name]]
        numeric = numeric_gradient(graph, output, point, name)
        _compare(exact, numeric, output, name, tolerance, extended, point)
    if order > 1:
        for name in names:
            _check_second(graph, extended, output, name, point, names, tolerance)


def _check_second(
    graph: Graph,
    extended: Graph,
    output: str,
    name: str,
    point: Mapping[str, Array],
    names: list[str],
    tolerance: tuple[float, float],
) -> None:
    """The derivative of <direction, gradient>, against differences of the gradient itself."""
    gradient = extended.grad[name]
    direction = np.random.default_rng(0).standard_normal(point[name].shape)
    projected = Graph.of(graph.name, graph.placeholders, {})
    along = projected.output(f"d_{output}/d_{name}", (gradient * direction).sum())
    if along.type.is_float:
        _check_output(projected, f"d_{output}/d_{name}", point, names, 1, (tolerance[0] * 10, tolerance[1] * 10))


def numeric_gradient(graph: Graph, output: str, point: Mapping[str, Array], name: str) -> Array:
    """Central differences of the sum of `output`, entry by entry of `name`."""
    base = point[name]
    result = np.zeros_like(base)
    for index in np.ndindex(base.shape):
        step = _STEP * max(1.0, abs(float(base[index])))
        values = []
        for sign in (1, -1):
            moved = base.copy()
            moved[index] += sign * step
            values.append(float(evaluate(graph, {**point, name: moved})[graph.outputs[output]].sum()))
        result[index] = (values[0] - values[1]) / (2 * step)
    return result


def _compare(
    exact: Array,
    numeric: Array,
    output: str,
    name: str,
    tolerance: tuple[float, float],
    extended: Graph,
    point: Mapping[str, Array],
) -> None:
    rtol, atol = tolerance
    close = np.isclose(exact, numeric, rtol, atol)
    if close.all():
        return
    index = tuple(int(i) for i in np.argwhere(~close)[0]) if close.ndim else ()
    raise GradientError(
        f"d {output} / d {name}{list(index) if index else ''}: gradc gives {exact[index]:.12g}, "
        f"differences give {numeric[index]:.12g}{_culprit(extended, evaluate(extended, point))}"
    )


def _culprit(extended: Graph, trace: Trace) -> str:
    """The first op whose vjp, checked by itself at the values it had, disagrees with differences."""
    for node in extended.derivative.adjoints:
        if node.op is not PLACEHOLDER and node.inputs and not _rule_holds(node, trace):
            return f"\n  the rule of op {node.op.name!r} is wrong at {describe(node)}"
    return ""


def _rule_holds(node: Node, trace: Trace) -> bool:
    alone = Graph("one node")
    operands = []
    for k, i in enumerate(node.inputs):
        operands.append(alone.placeholder(f"x{k}", trace[i].shape, i.dtype))
    alone.output("y", Node(node.op, tuple(operands), node.attrs, TensorType(trace[node].shape, node.dtype), node.origin))
    point = {f"x{k}": trace[i] for k, i in enumerate(node.inputs)}
    floats = [n for n, p in alone.placeholders.items() if p.type.is_float]
    extended = differentiate(alone, floats, on_disconnected="zeros")
    values = evaluate(extended, point)
    return all(
        np.allclose(values[extended.grad[n]], numeric_gradient(alone, "y", point, n), rtol=1e-4, atol=1e-6) for n in floats
    )
