"""JAX: `jit` of the whole step, weights donated; data already on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Builder, Side
from benchmarks.workloads import EPSILON, L2, LEARNING_RATE, Data, Workload, weight_names

jax.config.update("jax_enable_x64", True)

Tree = dict[str, Any]
Loss = Callable[[Tree, Any, Any], Any]


def training(loss_of: Callable[[Workload], Loss]) -> Builder:
    """A builder of a training step: value, gradient and update in one compiled function."""

    def build(workload: Workload, data: Data) -> Side:
        loss = loss_of(workload)
        x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])
        weights = {name: jnp.asarray(data[name]) for name in weight_names(data)}

        def step(weights: Tree, x: Any, y: Any) -> tuple[Any, Tree]:
            value, gradient = jax.value_and_grad(loss)(weights, x, y)
            return value, jax.tree.map(lambda w, g: w - LEARNING_RATE * g, weights, gradient)

        compiled = jax.jit(step, donate_argnums=0)
        state: list[Any] = [None, weights]

        def call() -> None:
            state[:] = jax.block_until_ready(compiled(state[1], x, y))

        return Side(call, lambda: {"loss": np.asarray(state[0]), **jax.tree.map(np.asarray, state[1])})

    return build


def cross_entropy(logits: Any, y: Any) -> Any:
    """Mean cross entropy against one-hot labels."""
    return -(jax.nn.log_softmax(logits) * y).sum() / len(y)


def mnist_loss(workload: Workload) -> Loss:
    """Two matrices, no biases."""
    return lambda w, x, y: cross_entropy(jax.nn.relu(x @ w["w1"]) @ w["w2"], y)


def mlp_loss(workload: Workload) -> Loss:
    """Dense layers with biases."""
    layers: int = workload["layers"]

    def loss(w: Tree, x: Any, y: Any) -> Any:
        for layer in range(1, layers):
            x = jax.nn.relu(x @ w[f"w{layer}"] + w[f"b{layer}"])
        return cross_entropy(x @ w[f"w{layers}"] + w[f"b{layers}"], y)

    return loss


def layernorm_loss(workload: Workload) -> Loss:
    """Residual layers with layer norm."""

    def layer(h: Any, w: Any, g: Any, b: Any) -> Any:
        z = h @ w
        z = z - z.mean(axis=1, keepdims=True)
        z = z * jax.lax.rsqrt((z * z).mean(axis=1, keepdims=True) + EPSILON)
        return h + jax.nn.relu(z * g + b)

    def loss(w: Tree, h: Any, y: Any) -> Any:
        for i in range(1, workload["layers"] + 1):
            h = layer(h, w[f"w{i}"], w[f"g{i}"], w[f"b{i}"])
        return cross_entropy(h @ w["w_out"], y)

    return loss


def logistic_loss(workload: Workload) -> Loss:
    """Binary cross entropy with an L2 penalty."""

    def loss(w: Tree, x: Any, y: Any) -> Any:
        z = x @ w["w"] + w["b"]
        return (jax.nn.softplus(z) - y * z).mean() + L2 / 2 * (w["w"] ** 2).sum()

    return loss


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]]) -> Builder:
    """A builder of value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        x = jnp.asarray(data["x"])
        compiled = jax.jit(jax.value_and_grad(function_of(workload)))
        state: list[Any] = [None, None]

        def call() -> None:
            state[:] = jax.block_until_ready(compiled(x))

        return Side(call, lambda: {"value": np.asarray(state[0]), "gradient": np.asarray(state[1])})

    return build


def elementwise(workload: Workload) -> Callable[[Any], Any]:
    """The elementwise expression."""
    return lambda x: (jnp.tanh(x) * jnp.exp(-(x**2) / 2) + jnp.log(jnp.sqrt(x**2 + 1)) / (1 + jnp.exp(-x))).sum()


def rosenbrock(workload: Workload) -> Callable[[Any], Any]:
    """The Rosenbrock function."""
    return lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def chain(workload: Workload, data: Data) -> Side:
    """The chain, unrolled: it stands for straight-line code."""
    x = jnp.asarray(data["x"])

    def total(x: Any) -> Any:
        y = x
        for _ in range(workload["ops"] // 3):
            y = jnp.sin(y) * x + y * 0.5
        return y.sum()

    compiled = jax.jit(jax.grad(total))
    state: list[Any] = [None]

    def call() -> None:
        state[0] = jax.block_until_ready(compiled(x))

    return Side(call, lambda: {"gradient": np.asarray(state[0])})


BUILDERS: dict[str, dict[str, Builder]] = {
    "jax": {
        "mnist": training(mnist_loss),
        "mlp": training(mlp_loss),
        "layernorm": training(layernorm_loss),
        "logistic": training(logistic_loss),
        "elementwise": value_and_gradient(elementwise),
        "rosenbrock": value_and_gradient(rosenbrock),
        "chain": chain,
    }
}
