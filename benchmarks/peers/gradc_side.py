"""gradc: the model as plain NumPy on nodes, differentiated, its update in the same graph, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradc as gc
from benchmarks.peers import Builder, Side
from benchmarks.workloads import EPSILON, L2, LEARNING_RATE, Data, Workload, weight_names

Tree = dict[str, Any]
Loss = Callable[[Tree, Any, Any], Any]


def training(loss_of: Callable[[Workload], Loss]) -> Builder:
    """A builder of a training step; the weights are written in place."""

    def build(workload: Workload, data: Data) -> Side:
        names = weight_names(data)
        feeds = {name: data[name] for name in ("x", "y", *names)}
        step = compiled_step(loss_of(workload), feeds, names)
        state: list[Any] = [None]

        def call() -> None:
            state[0] = step(feeds)["loss"]

        return Side(call, lambda: {"loss": state[0], **{name: data[name] for name in names}}, step, feeds)

    return build


def compiled_step(loss_of: Loss, feeds: Tree, names: list[str]) -> gc.Executable:
    """From arrays to the executable: build, differentiate, add the updates, compile."""
    graph = gc.Graph("step")
    nodes = {name: graph.placeholder(name, array.shape, str(array.dtype)) for name, array in feeds.items()}
    graph.output("loss", loss_of(nodes, nodes["x"], nodes["y"]))
    joint = gc.differentiate(graph, wrt=names)
    for name in names:
        joint.output(f"next_{name}", nodes[name] - LEARNING_RATE * joint.grad[name])
    return gc.compile(joint, outputs="loss", updates={name: f"next_{name}" for name in names})


def cross_entropy(logits: Any, y: Any) -> Any:
    """Mean cross entropy against one-hot labels."""
    return -(gc.log_softmax(logits, axis=1) * y).sum() / len(y)


def mnist_loss(workload: Workload) -> Loss:
    """Two matrices, no biases."""
    return lambda w, x, y: cross_entropy(gc.relu(x @ w["w1"]) @ w["w2"], y)


def mlp_loss(workload: Workload) -> Loss:
    """Dense layers with biases."""
    layers: int = workload["layers"]

    def loss(w: Tree, x: Any, y: Any) -> Any:
        for layer in range(1, layers):
            x = gc.relu(x @ w[f"w{layer}"] + w[f"b{layer}"])
        return cross_entropy(x @ w[f"w{layers}"] + w[f"b{layers}"], y)

    return loss


def layernorm_loss(workload: Workload) -> Loss:
    """Residual layers with layer norm."""

    def loss(w: Tree, h: Any, y: Any) -> Any:
        for i in range(1, workload["layers"] + 1):
            z = h @ w[f"w{i}"]
            z = z - z.mean(axis=1, keepdims=True)
            z = z / np.sqrt((z * z).mean(axis=1, keepdims=True) + EPSILON)
            h = h + gc.relu(z * w[f"g{i}"] + w[f"b{i}"])
        return cross_entropy(h @ w["w_out"], y)

    return loss


def logistic_loss(workload: Workload) -> Loss:
    """Binary cross entropy with an L2 penalty."""

    def loss(w: Tree, x: Any, y: Any) -> Any:
        z = x @ w["w"] + w["b"]
        return (gc.softplus(z) - y * z).mean() + L2 / 2 * (w["w"] ** 2).sum()

    return loss


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]]) -> Builder:
    """A builder of value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        run = compiled_gradient(function_of(workload), data["x"], ("value", "gradient"))
        state: list[Any] = [None]

        def call() -> None:
            state[0] = run(data)

        return Side(call, lambda: state[0], run, data)

    return build


def compiled_gradient(function: Callable[[Any], Any], x: Any, outputs: tuple[str, ...]) -> gc.Executable:
    """The executable of a scalar function of `x`: of "value", "gradient", what is asked for."""
    graph = gc.Graph("function")
    node = graph.placeholder("x", x.shape, str(x.dtype))
    graph.output("value", function(node))
    joint = gc.differentiate(graph, wrt=[node])
    joint.output("gradient", joint.grad[node])
    return gc.compile(joint, outputs=outputs)


def elementwise(workload: Workload) -> Callable[[Any], Any]:
    """The elementwise expression."""
    return lambda x: np.sum(np.tanh(x) * np.exp(-(x**2) / 2) + np.log(np.sqrt(x**2 + 1)) / (1 + np.exp(-x)))


def rosenbrock(workload: Workload) -> Callable[[Any], Any]:
    """The Rosenbrock function."""
    return lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def chain(workload: Workload, data: Data) -> Side:
    """The chain."""

    def total(x: Any) -> Any:
        y = x
        for _ in range(workload["ops"] // 3):
            y = np.sin(y) * x + y * 0.5
        return y.sum()

    run = compiled_gradient(total, data["x"], ("gradient",))
    state: list[Any] = [None]

    def call() -> None:
        state[0] = run(data)

    return Side(call, lambda: state[0], run, data)


BUILDERS: dict[str, dict[str, Builder]] = {
    "gradc": {
        "mnist": training(mnist_loss),
        "mlp": training(mlp_loss),
        "layernorm": training(layernorm_loss),
        "logistic": training(logistic_loss),
        "elementwise": value_and_gradient(elementwise),
        "rosenbrock": value_and_gradient(rosenbrock),
        "chain": chain,
    }
}
