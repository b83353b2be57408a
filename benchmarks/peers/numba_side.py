"""Numba: it does not differentiate, so the gradients derived by hand, as one compiled loop."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from benchmarks.peers import Builder, Side
from benchmarks.workloads import Data, Workload


@numba.njit(fastmath=True)
def elementwise_loop(x: Any, gradient: Any) -> Any:
    """Value and gradient in one pass."""
    total = x.dtype.type(0)
    for i in range(len(x)):
        v = x[i]
        t, q = np.tanh(v), v * v + x.dtype.type(1)
        e, s = np.exp(x.dtype.type(-0.5) * v * v), x.dtype.type(1) / (x.dtype.type(1) + np.exp(-v))
        w = x.dtype.type(0.5) * np.log(q)
        total += t * e + w * s
        gradient[i] = e * (x.dtype.type(1) - t * (t + v)) + s * (v / q + w * (x.dtype.type(1) - s))
    return total


@numba.njit
def rosenbrock_loop(x: Any, gradient: Any) -> Any:
    """Value and gradient in one pass."""
    total = 0.0
    gradient[0] = 0.0
    for i in range(len(x) - 1):
        d, u = x[i + 1] - x[i] * x[i], 1 - x[i]
        total += 100 * d * d + u * u
        gradient[i] -= 400 * d * x[i] + 2 * u
        gradient[i + 1] = 200 * d
    return total


def looped(loop: Any) -> Builder:
    """A builder of value and gradient by a compiled loop."""

    def build(workload: Workload, data: Data) -> Side:
        x = data["x"]
        gradient = np.empty_like(x)
        state: list[Any] = [None]

        def call() -> None:
            state[0] = loop(x, gradient)

        return Side(call, lambda: {"value": np.asarray(state[0]), "gradient": gradient})

    return build


BUILDERS: dict[str, dict[str, Builder]] = {
    "numba": {"elementwise": looped(elementwise_loop), "rosenbrock": looped(rosenbrock_loop)}
}
