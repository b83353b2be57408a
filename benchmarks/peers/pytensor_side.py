"""PyTensor: one compiled function; data and weights are shared variables, the weights its updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from benchmarks.peers import Builder, Side
from benchmarks.workloads import EPSILON, L2, LEARNING_RATE, Data, Workload, weight_names

Tree = dict[str, Any]
Loss = Callable[[Tree, Any, Any], Any]


def training(loss_of: Callable[[Workload], Loss]) -> Builder:
    """A builder of a training step over shared variables."""

    def build(workload: Workload, data: Data) -> Side:
        x, y = (pytensor.shared(data[name], borrow=True) for name in "xy")
        weights = {name: pytensor.shared(data[name], name=name) for name in weight_names(data)}
        loss = loss_of(workload)(weights, x, y)
        gradients = pt.grad(loss, list(weights.values()))
        rate = np.float32(LEARNING_RATE)
        updates = [(w, w - rate * g) for w, g in zip(weights.values(), gradients, strict=True)]
        function = pytensor.function([], loss, updates=updates)
        function.trust_input = True
        state: list[Any] = [None]

        def call() -> None:
            state[0] = function()

        return Side(call, lambda: {"loss": state[0], **{k: v.get_value() for k, v in weights.items()}})

    return build


def cross_entropy(logits: Any, y: Any) -> Any:
    """Mean cross entropy against one-hot labels."""
    return -(pt.special.log_softmax(logits, axis=1) * y).sum(axis=1).mean()


def mnist_loss(workload: Workload) -> Loss:
    """Two matrices, no biases."""
    return lambda w, x, y: cross_entropy(pt.maximum(x @ w["w1"], 0) @ w["w2"], y)


def mlp_loss(workload: Workload) -> Loss:
    """Dense layers with biases."""
    layers: int = workload["layers"]

    def loss(w: Tree, x: Any, y: Any) -> Any:
        for layer in range(1, layers):
            x = pt.maximum(x @ w[f"w{layer}"] + w[f"b{layer}"], 0)
        return cross_entropy(x @ w[f"w{layers}"] + w[f"b{layers}"], y)

    return loss


def layernorm_loss(workload: Workload) -> Loss:
    """Residual layers with layer norm."""
    epsilon = np.float32(EPSILON)

    def loss(w: Tree, h: Any, y: Any) -> Any:
        for i in range(1, workload["layers"] + 1):
            z = h @ w[f"w{i}"]
            z = z - z.mean(axis=1, keepdims=True)
            z = z / pt.sqrt((z * z).mean(axis=1, keepdims=True) + epsilon)
            h = h + pt.maximum(z * w[f"g{i}"] + w[f"b{i}"], 0)
        return cross_entropy(h @ w["w_out"], y)

    return loss


def logistic_loss(workload: Workload) -> Loss:
    """Binary cross entropy with an L2 penalty."""

    def loss(w: Tree, x: Any, y: Any) -> Any:
        z = x @ w["w"] + w["b"][0]
        return (pt.softplus(z) - y * z).mean() + np.float32(L2 / 2) * (w["w"] ** 2).sum()

    return loss


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]]) -> Builder:
    """A builder of value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        array = data["x"]
        x = pt.vector("x", dtype=array.dtype, shape=array.shape)
        value = function_of(workload)(x)
        function = pytensor.function([x], [value, pt.grad(value, x)])
        function.trust_input = True
        state: list[Any] = [None, None]

        def call() -> None:
            state[:] = function(array)

        return Side(call, lambda: {"value": state[0], "gradient": state[1]})

    return build


def elementwise(workload: Workload) -> Callable[[Any], Any]:
    """The elementwise expression."""
    return lambda x: (pt.tanh(x) * pt.exp(-(x**2) / 2) + pt.log(pt.sqrt(x**2 + 1)) / (1 + pt.exp(-x))).sum()


def rosenbrock(workload: Workload) -> Callable[[Any], Any]:
    """The Rosenbrock function."""
    return lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


BUILDERS: dict[str, dict[str, Builder]] = {
    "pytensor": {
        "mnist": training(mnist_loss),
        "mlp": training(mlp_loss),
        "layernorm": training(layernorm_loss),
        "logistic": training(logistic_loss),
        "elementwise": value_and_gradient(elementwise),
        "rosenbrock": value_and_gradient(rosenbrock),
    }
}
