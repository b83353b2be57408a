"""What derivatives are compared with besides differences: sympy's, and complex steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gradc.interpret import evaluate
from gradc.ir import CONSTANT, PLACEHOLDER, Array, Graph, Node, Op
from gradc.ops.elementwise import stop_gradient
from gradc.testing.proofs import ProofError, has_switch, read_symbolic

_STEP = 1e-30
_DIGITS = 30

# --- sympy -----------------------------------------------------------------------------------------------


class Form:
    """A smooth elementwise function of several operands as a sympy expression, and its derivatives in 30 digits."""

    def __init__(self, expression: Any, symbols: Sequence[Any]) -> None:
        self._expression, self._symbols = expression, symbols

    def first(self, k: int, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """The derivative of the sum of all entries by operand `k`, and the sum of the absolute values of its terms."""
        return _summed(self._firsts[k], arrays, arrays[k].shape)

    def second(self, k: int, j: int, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """The derivative by operand `j` of the sum of the entries of the first derivative by operand `k`."""
        return _summed(self._seconds[k][j], arrays, arrays[j].shape)

    @cached_property
    def _firsts(self) -> list[Callable[..., Any]]:
        return [self._derivative(s) for s in self._symbols]

    @cached_property
    def _seconds(self) -> list[list[Callable[..., Any]]]:
        return [[self._derivative(s, t) for t in self._symbols] for s in self._symbols]

    def _derivative(self, *symbols: Any) -> Callable[..., Any]:
        import sympy

        made: Callable[..., Any] = sympy.lambdify(self._symbols, sympy.diff(self._expression, *symbols), "mpmath")
        return made


def _summed(derivative: Callable[..., Any], arrays: Sequence[Array], shape: tuple[int, ...]) -> tuple[Array, Array]:
    import mpmath

    whole = np.broadcast_shapes(*[a.shape for a in arrays])
    entries = np.empty(whole)
    with mpmath.workdps(_DIGITS):
        for place, values in zip(
            np.ndindex(whole), zip(*[np.broadcast_to(a, whole).flat for a in arrays], strict=True), strict=True
        ):
            entries[place] = float(mpmath.re(derivative(*[mpmath.mpf(float(v)) for v in values])))
    axes = tuple(k for k in range(len(whole)) if k < len(whole) - len(shape) or shape[k - len(whole) + len(shape)] == 1)
    return entries.sum(axes).reshape(shape), np.abs(entries).sum(axes).reshape(shape)


def form_of(graph: Graph) -> Form | None:
    """The form of a graph with one output, made of elementwise ops without switches; None where it is not so."""
    import sympy

    if list(graph.outputs) != ["y"] or any(not node.type.is_float for node in graph.placeholders.values()):
        return None
    if any(node.shape if node.op is CONSTANT else node.op.symbolic is None for node in graph.nodes if node.op is not PLACEHOLDER):
        return None
    bound = {node: sympy.Symbol(name, real=True) for name, node in graph.placeholders.items()}
    try:
        expression = read_symbolic(graph.outputs["y"], bound)
    except ProofError:
        return None
    return None if has_switch(expression) else Form(expression, list(bound.values()))


# --- complex steps ---------------------------------------------------------------------------------------


def is_analytic(graph: Graph) -> bool:
    """True when every op between variables and outputs computes, on complex numbers, its analytic continuation."""
    active: set[Node] = {node for node in graph.placeholders.values() if node.type.is_float}
    for node in _differentiated(graph):
        if any(i in active for i in node.inputs):
            if not node.type.is_float or not op_is_analytic(node.op):
                return False
            active.add(node)
    return True


def _differentiated(graph: Graph) -> list[Node]:
    """The nodes that outputs need for more than values held by `stop_gradient`, operands first."""
    needed = set(graph.outputs.values())
    for node in reversed(graph.nodes):
        if node in needed and node.op is not stop_gradient:
            needed.update(node.inputs)
    return [node for node in graph.nodes if node in needed and node.op is not stop_gradient]


def op_is_analytic(op: Op) -> bool:
    """As declared; linear ops are, and ufuncs with a complex loop whose symbolic form has no switch."""
    if op.elementwise:
        return op.ufunc is not None and op.symbolic is not None and _is_complex(op.ufunc) and not has_switch(op.symbolic)
    return op.analytic or op.linear


def _is_complex(ufunc: np.ufunc) -> bool:
    return f"{'D' * ufunc.nin}->D" in ufunc.types


def complex_step(graph: Graph, feeds: Mapping[str, Array], directions: Mapping[str, Array]) -> dict[str, Array] | None:
    """The derivative of every output along `directions`: Im f(x + i h u) / h, exact to rounding, with h = 1e-30.

    What passes through `stop_gradient` is held. None where NumPy has no complex loop for some op.
    Squire and Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40 (1998).
    """
    held = evaluate(graph, feeds)
    values: dict[Node, Any] = {}
    for name, node in graph.placeholders.items():
        values[node] = feeds[name] + 1j * _STEP * directions[name] if name in directions else feeds[name]
    for node in _differentiated(graph):
        if node in values:
            continue
        operands = [values.get(i, held[i]) for i in node.inputs]
        if not any(np.iscomplexobj(a) for a in operands):
            values[node] = held[node]
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                values[node] = node.op.evaluate(*operands, **dict(node.attrs))
        except (TypeError, np.exceptions.ComplexWarning):
            return None
    return {name: np.imag(values[node]) / _STEP for name, node in graph.outputs.items()}
