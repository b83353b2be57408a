"""CasADi: a Function of SX or MX expressions, called through its buffer so that no array is converted.

It computes in float64 only, so the float32 workloads are not its to express.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import casadi as ca
import numpy as np

from benchmarks.peers import Builder, Side
from benchmarks.workloads import Data, Workload


def prepared(function: Any, x: Any, names: tuple[str, ...]) -> Side:
    """A side that evaluates into NumPy arrays through the function's memory buffer."""
    outputs = {name: np.zeros(function.numel_out(i)) for i, name in enumerate(names)}
    buffer, call = function.buffer()
    buffer.set_arg(0, memoryview(x))
    for i, array in enumerate(outputs.values()):
        buffer.set_res(i, memoryview(array))

    def read() -> Data:
        assert buffer and x is not None  # they own what `call` works on, so they must live as long
        return {name: array[0] if name == "value" else array for name, array in outputs.items()}

    return Side(call, read)


def value_and_gradient(kind: Any, expression: Callable[[Any], Any]) -> Builder:
    """A builder of value and gradient of a scalar expression of x."""

    def build(workload: Workload, data: Data) -> Side:
        array = data["x"]
        if array.dtype != np.float64:
            raise NotImplementedError("CasADi has no float32")
        x = kind.sym("x", len(array))
        value = expression(x)
        function = ca.Function("f", [x], [value, ca.densify(ca.gradient(value, x))])
        return prepared(function, array, ("value", "gradient"))

    return build


def elementwise(x: Any) -> Any:
    """The elementwise expression."""
    return ca.sum1(ca.tanh(x) * ca.exp(-(x**2) / 2) + ca.log(ca.sqrt(x**2 + 1)) / (1 + ca.exp(-x)))


def rosenbrock(x: Any) -> Any:
    """The Rosenbrock function."""
    return ca.sum1(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def chain(kind: Any) -> Builder:
    """A builder of the chain."""

    def build(workload: Workload, data: Data) -> Side:
        array = data["x"]
        x = kind.sym("x", len(array))
        y = x
        for _ in range(workload["ops"] // 3):
            y = ca.sin(y) * x + y * 0.5
        function = ca.Function("f", [x], [ca.densify(ca.gradient(ca.sum1(y), x))])
        return prepared(function, array, ("gradient",))

    return build


def table(kind: Any) -> dict[str, Builder]:
    """All families over one kind of symbol."""
    return {
        "elementwise": value_and_gradient(kind, elementwise),
        "rosenbrock": value_and_gradient(kind, rosenbrock),
        "chain": chain(kind),
    }


BUILDERS: dict[str, dict[str, Builder]] = {"casadi-sx": table(ca.SX), "casadi-mx": table(ca.MX)}
