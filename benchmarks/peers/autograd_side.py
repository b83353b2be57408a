"""HIPS autograd: a tape over NumPy, made anew on every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as np
from autograd.scipy.special import logsumexp

from benchmarks.peers import Builder, Side
from benchmarks.workloads import EPSILON, L2, LEARNING_RATE, Data, Workload, weight_names

Tree = dict[str, Any]
Loss = Callable[[Tree, Any, Any], Any]


def training(loss_of: Callable[[Workload], Loss]) -> Builder:
    """A builder of a training step; the weights are written in place."""

    def build(workload: Workload, data: Data) -> Side:
        weights = {name: data[name] for name in weight_names(data)}
        differentiated = autograd.value_and_grad(loss_of(workload))
        state: list[Any] = [None]

        def call() -> None:
            state[0], gradients = differentiated(weights, data["x"], data["y"])
            for name, weight in weights.items():
                weight -= LEARNING_RATE * gradients[name]

        return Side(call, lambda: {"loss": state[0], **weights})

    return build


def cross_entropy(logits: Any, y: Any) -> Any:
    """Mean cross entropy against one-hot labels."""
    return -np.sum((logits - logsumexp(logits, axis=1, keepdims=True)) * y) / len(y)


def mnist_loss(workload: Workload) -> Loss:
    """Two matrices, no biases."""
    return lambda w, x, y: cross_entropy(np.maximum(x @ w["w1"], 0) @ w["w2"], y)


def mlp_loss(workload: Workload) -> Loss:
    """Dense layers with biases."""
    layers: int = workload["layers"]

    def loss(w: Tree, x: Any, y: Any) -> Any:
        for layer in range(1, layers):
            x = np.maximum(x @ w[f"w{layer}"] + w[f"b{layer}"], 0)
        return cross_entropy(x @ w[f"w{layers}"] + w[f"b{layers}"], y)

    return loss


def layernorm_loss(workload: Workload) -> Loss:
    """Residual layers with layer norm."""

    def loss(w: Tree, h: Any, y: Any) -> Any:
        for i in range(1, workload["layers"] + 1):
            z = h @ w[f"w{i}"]
            z = z - np.mean(z, axis=1, keepdims=True)
            z = z / np.sqrt(np.mean(z * z, axis=1, keepdims=True) + EPSILON)
            h = h + np.maximum(z * w[f"g{i}"] + w[f"b{i}"], 0)
        return cross_entropy(h @ w["w_out"], y)

    return loss


def logistic_loss(workload: Workload) -> Loss:
    """Binary cross entropy with an L2 penalty."""

    def loss(w: Tree, x: Any, y: Any) -> Any:
        z = x @ w["w"] + w["b"]
        return np.mean(np.logaddexp(0, z) - y * z) + L2 / 2 * np.sum(w["w"] ** 2)

    return loss


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]]) -> Builder:
    """A builder of value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        x = data["x"]
        differentiated = autograd.value_and_grad(function_of(workload))
        state: list[Any] = [None, None]

        def call() -> None:
            state[:] = differentiated(x)

        return Side(call, lambda: {"value": state[0], "gradient": state[1]})

    return build


def elementwise(workload: Workload) -> Callable[[Any], Any]:
    """The elementwise expression."""
    return lambda x: np.sum(np.tanh(x) * np.exp(-(x**2) / 2) + np.log(np.sqrt(x**2 + 1)) / (1 + np.exp(-x)))


def rosenbrock(workload: Workload) -> Callable[[Any], Any]:
    """The Rosenbrock function."""
    return lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def chain(workload: Workload, data: Data) -> Side:
    """The chain."""
    x = data["x"]

    def total(x: Any) -> Any:
        y = x
        for _ in range(workload["ops"] // 3):
            y = np.sin(y) * x + y * 0.5
        return np.sum(y)

    gradient = autograd.grad(total)
    state: list[Any] = [None]

    def call() -> None:
        state[0] = gradient(x)

    return Side(call, lambda: {"gradient": state[0]})


BUILDERS: dict[str, dict[str, Builder]] = {
    "autograd": {
        "mnist": training(mnist_loss),
        "mlp": training(mlp_loss),
        "layernorm": training(layernorm_loss),
        "logistic": training(logistic_loss),
        "elementwise": value_and_gradient(elementwise),
        "rosenbrock": value_and_gradient(rosenbrock),
        "chain": chain,
    }
}
