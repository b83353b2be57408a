"""TensorFlow: `tf.function`, with and without XLA; the weights are variables."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.peers import Builder, Side
from benchmarks.workloads import EPSILON, L2, LEARNING_RATE, Data, Workload, weight_names

Tree = dict[str, Any]
Loss = Callable[[Tree, Any, Any], Any]


def cross_entropy(logits: Any, y: Any) -> Any:
    """Mean cross entropy against one-hot labels."""
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits))


def mnist_loss(workload: Workload) -> Loss:
    """Two matrices, no biases."""
    return lambda w, x, y: cross_entropy(tf.nn.relu(x @ w["w1"]) @ w["w2"], y)


def mlp_loss(workload: Workload) -> Loss:
    """Dense layers with biases."""
    layers: int = workload["layers"]

    def loss(w: Tree, x: Any, y: Any) -> Any:
        for layer in range(1, layers):
            x = tf.nn.relu(tf.nn.bias_add(x @ w[f"w{layer}"], w[f"b{layer}"]))
        return cross_entropy(tf.nn.bias_add(x @ w[f"w{layers}"], w[f"b{layers}"]), y)

    return loss


def layernorm_loss(workload: Workload) -> Loss:
    """Residual layers with layer norm."""

    def loss(w: Tree, h: Any, y: Any) -> Any:
        for i in range(1, workload["layers"] + 1):
            z = h @ w[f"w{i}"]
            z = z - tf.reduce_mean(z, axis=1, keepdims=True)
            z = z * tf.math.rsqrt(tf.reduce_mean(z * z, axis=1, keepdims=True) + EPSILON)
            h = h + tf.nn.relu(z * w[f"g{i}"] + w[f"b{i}"])
        return cross_entropy(h @ w["w_out"], y)

    return loss


def logistic_loss(workload: Workload) -> Loss:
    """Binary cross entropy with an L2 penalty."""

    def loss(w: Tree, x: Any, y: Any) -> Any:
        z = tf.linalg.matvec(x, w["w"]) + w["b"]
        penalty = L2 / 2 * tf.reduce_sum(w["w"] ** 2)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, z)) + penalty

    return loss


def training(loss_of: Callable[[Workload], Loss], xla: bool) -> Builder:
    """A builder of a training step that assigns the variables."""

    def build(workload: Workload, data: Data) -> Side:
        loss = loss_of(workload)
        x, y = tf.constant(data["x"]), tf.constant(data["y"])
        weights = {name: tf.Variable(data[name]) for name in weight_names(data)}
        state: list[Any] = [None]

        @tf.function(jit_compile=xla)
        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                value = loss(weights, x, y)
            for variable, gradient in zip(weights.values(), tape.gradient(value, list(weights.values())), strict=True):
                variable.assign_sub(LEARNING_RATE * gradient)
            return value

        def call() -> None:
            state[0] = step(x, y)

        return Side(call, lambda: {"loss": state[0].numpy(), **{k: v.numpy() for k, v in weights.items()}})

    return build


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]], xla: bool) -> Builder:
    """A builder of value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        x = tf.constant(data["x"])
        function = function_of(workload)
        state: list[Any] = [None, None]

        @tf.function(jit_compile=xla)
        def step(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x)
            return value, tape.gradient(value, x)

        def call() -> None:
            state[:] = step(x)

        return Side(call, lambda: {"value": state[0].numpy(), "gradient": state[1].numpy()})

    return build


def elementwise(workload: Workload) -> Callable[[Any], Any]:
    """The elementwise expression."""
    return lambda x: tf.reduce_sum(tf.tanh(x) * tf.exp(-(x**2) / 2) + tf.math.log(tf.sqrt(x**2 + 1)) / (1 + tf.exp(-x)))


def rosenbrock(workload: Workload) -> Callable[[Any], Any]:
    """The Rosenbrock function."""
    return lambda x: tf.reduce_sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


LOSSES = {"mnist": mnist_loss, "mlp": mlp_loss, "layernorm": layernorm_loss, "logistic": logistic_loss}
FUNCTIONS = {"elementwise": elementwise, "rosenbrock": rosenbrock}


def table(xla: bool) -> dict[str, Builder]:
    """All families, with or without XLA."""
    return {
        **{family: training(loss, xla) for family, loss in LOSSES.items()},
        **{family: value_and_gradient(function, xla) for family, function in FUNCTIONS.items()},
    }


BUILDERS: dict[str, dict[str, Builder]] = {"tensorflow": table(False), "tensorflow-xla": table(True)}
