"""The table of workloads: what is computed, on which data, and the figures to reach.

A workload says nothing about how a side computes it. The mathematics of each family is in the
docstring of its data function; every adapter in `benchmarks.peers` writes that mathematics in its
framework's own idiom, and the runner refuses to time a side whose numbers differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Data = dict[str, Array]

LEARNING_RATE = 0.05
L2 = 1e-3
EPSILON = 1e-5
CLASSES = 10
PIXELS = 784

NUMPY_SIDES = ("gradc", "hand", "hand-blocked")
"""Sides that are no peers: the subject, and what a person would write in its place."""


@dataclass(frozen=True)
class Target:
    """A figure to reach: gradc's time (or bytes) at most `limit` times that of `against`.

    `against` is the name of a side, or "peers" for the fastest of all peers.
    """

    against: str
    limit: float


@dataclass(frozen=True)
class Workload:
    """One row of the tables: a family of computations at one size."""

    name: str
    family: str
    title: str
    params: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.params[key]


def mnist_data(batch: int, hidden: int) -> Data:
    """loss = mean cross entropy of relu(x w1) w2 against y; w -= rate * gradient, in place; float32."""
    return dense_data(batch, (PIXELS, hidden, CLASSES), bias=False)


def mlp_data(batch: int, width: int, layers: int) -> Data:
    """As mnist, with `layers` matrices w1.. and biases b1.., relu between them."""
    return dense_data(batch, (PIXELS, *[width] * (layers - 1), CLASSES), bias=True)


def dense_data(batch: int, widths: tuple[int, ...], bias: bool) -> Data:
    """Images, labels (one-hot `y`, integer `labels`) and weights of a dense network."""
    rng = np.random.default_rng(0)
    data = labelled(rng, rng.random((batch, widths[0]), dtype=np.float32))
    for layer, (rows, columns) in enumerate(itertools.pairwise(widths), 1):
        data[f"w{layer}"] = gaussian(rng, rows, columns)
        if bias:
            data[f"b{layer}"] = np.zeros(columns, np.float32)
    return data


def layernorm_data(batch: int, width: int, layers: int) -> Data:
    """Residual layers h += relu(norm(h w_i) * g_i + b_i), then logits = h w_out; loss and update as in mnist.

    norm(z) = (z - mean z) / sqrt(var z + EPSILON), over the last axis.
    """
    rng = np.random.default_rng(0)
    data = labelled(rng, rng.standard_normal((batch, width), dtype=np.float32))
    for layer in range(1, layers + 1):
        data[f"w{layer}"] = gaussian(rng, width, width)
        data[f"g{layer}"] = np.ones(width, np.float32)
        data[f"b{layer}"] = np.zeros(width, np.float32)
    data["w_out"] = gaussian(rng, width, CLASSES)
    return data


def logistic_data(batch: int, features: int) -> Data:
    """z = x w + b; loss = mean(log(1 + exp z) - y z) + L2/2 * sum(w^2); update as in mnist; float32."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((batch, features), dtype=np.float32),
        "y": rng.integers(0, 2, batch).astype(np.float32),
        "w": gaussian(rng, features, 1)[:, 0].copy(),
        "b": np.zeros(1, np.float32),
    }


def elementwise_data(n: int, dtype: str) -> Data:
    """Value and gradient of sum(tanh(x) exp(-x^2/2) + log(sqrt(x^2 + 1)) / (1 + exp(-x)))."""
    return {"x": np.random.default_rng(0).uniform(-3, 3, n).astype(dtype)}


def rosenbrock_data(n: int) -> Data:
    """Value and gradient of sum(100 (x[1:] - x[:-1]^2)^2 + (1 - x[:-1])^2), float64."""
    return {"x": np.random.default_rng(0).uniform(-1, 1, n)}


def chain_data(ops: int) -> Data:
    """Gradient of sum(y) after ops/3 rounds of y <- sin(y) x + y/2 that start from y = x, float64."""
    return {"x": np.linspace(0.1, 1, 8)}


def labelled(rng: np.random.Generator, x: Array) -> Data:
    """Inputs with random labels, both as integers and one-hot."""
    labels = rng.integers(0, CLASSES, len(x))
    return {"x": x, "y": np.eye(CLASSES, dtype=np.float32)[labels], "labels": labels}


def gaussian(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A float32 weight matrix with entries of variance 1/rows."""
    return (rng.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)


DATA: dict[str, Callable[..., Data]] = {
    "mnist": mnist_data,
    "mlp": mlp_data,
    "layernorm": layernorm_data,
    "logistic": logistic_data,
    "elementwise": elementwise_data,
    "rosenbrock": rosenbrock_data,
    "chain": chain_data,
}


def data_of(workload: Workload) -> Data:
    """Fresh arrays of the workload; the same numbers on every call, so sides may write into them."""
    return DATA[workload.family](**workload.params)


def weight_names(data: Data) -> list[str]:
    """The names of the arrays that a training step updates."""
    return [name for name in data if name not in ("x", "y", "labels")]


PEERS = Target("peers", 1.0)


def mnist(batch: int, hidden: int) -> Workload:
    """One training step of the 784-hidden-10 network."""
    return Workload(
        f"mnist-{batch}-{hidden}",
        "mnist",
        f"MNIST step, batch {batch}, hidden {hidden}",
        {"batch": batch, "hidden": hidden},
        (Target("hand", 1.05), PEERS),
    )


def logistic(batch: int) -> Workload:
    """One training step of logistic regression."""
    params = {"batch": batch, "features": PIXELS}
    return Workload(f"logistic-{batch}", "logistic", f"logistic regression with L2, batch {batch}", params, (PEERS,))


def elementwise(n: int, dtype: str) -> Workload:
    """One value and gradient of the elementwise expression."""
    return Workload(
        f"elementwise-{n:.0e}-{dtype}".replace("e+0", "e"),
        "elementwise",
        f"elementwise expression, n = {n:,}, {dtype}",
        {"n": n, "dtype": dtype},
        (Target("hand", 1.05), Target("jax", 1.0 if dtype == "float64" else 1.3), PEERS),
    )


def chain(ops: int, *targets: Target) -> Workload:
    """The gradient of the chain."""
    return Workload(f"chain-{ops}", "chain", f"chain of {ops:,} ops", {"ops": ops}, targets)


MLP = Workload("mlp-6", "mlp", "6-layer MLP, width 256, batch 128", {"batch": 128, "width": 256, "layers": 6}, (PEERS,))
LAYERNORM = Workload(
    "layernorm-3",
    "layernorm",
    "3 residual layers with layer norm, width 256, batch 128",
    {"batch": 128, "width": 256, "layers": 3},
    (PEERS,),
)

STEADY: tuple[Workload, ...] = (
    mnist(100, 100),
    mnist(100, 512),
    mnist(1000, 512),
    MLP,
    LAYERNORM,
    logistic(32),
    logistic(1024),
    *(elementwise(n, dtype) for n in (10_000, 1_000_000) for dtype in ("float32", "float64")),
    Workload("rosenbrock-10", "rosenbrock", "Rosenbrock function, 10-d", {"n": 10}, (Target("hand", 1.4), PEERS)),
    chain(3000, Target("autograd", 1.0), Target("torch", 1.0), PEERS),
)
"""Timed per call, warm."""

LONG: tuple[Workload, ...] = (chain(10_000), chain(100_000))
"""Timed once, from nothing to the first gradient, against each other."""


def workload_named(name: str) -> Workload:
    """The workload of that name."""
    return next(workload for workload in (*STEADY, *LONG) if workload.name == name)
