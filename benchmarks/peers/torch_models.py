"""The workloads' functions in PyTorch, shared by the eager and the compiled adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.workloads import EPSILON, L2, Workload

Loss = Callable[[dict[str, Any], Any, Any], Any]


def mnist_loss(workload: Workload) -> Loss:
    """Two matrices, no biases."""
    return lambda w, x, y: functional.cross_entropy(functional.relu(x @ w["w1"]) @ w["w2"], y)


def mlp_loss(workload: Workload) -> Loss:
    """Dense layers with biases; addmm is the fused form."""
    layers: int = workload["layers"]

    def loss(w: dict[str, Any], x: Any, y: Any) -> Any:
        for layer in range(1, layers):
            x = functional.relu(torch.addmm(w[f"b{layer}"], x, w[f"w{layer}"]))
        return functional.cross_entropy(torch.addmm(w[f"b{layers}"], x, w[f"w{layers}"]), y)

    return loss


def layernorm_loss(workload: Workload) -> Loss:
    """Residual layers with the framework's own layer norm."""

    def loss(w: dict[str, Any], h: Any, y: Any) -> Any:
        for i in range(1, workload["layers"] + 1):
            z = h @ w[f"w{i}"]
            h = h + functional.relu(functional.layer_norm(z, z.shape[1:], w[f"g{i}"], w[f"b{i}"], EPSILON))
        return functional.cross_entropy(h @ w["w_out"], y)

    return loss


def logistic_loss(workload: Workload) -> Loss:
    """Binary cross entropy with an L2 penalty."""

    def loss(w: dict[str, Any], x: Any, y: Any) -> Any:
        z = torch.mv(x, w["w"]) + w["b"]
        return functional.binary_cross_entropy_with_logits(z, y) + L2 / 2 * torch.dot(w["w"], w["w"])

    return loss


def elementwise(workload: Workload) -> Callable[[Any], Any]:
    """The elementwise expression."""
    return lambda x: (torch.tanh(x) * torch.exp(-(x**2) / 2) + torch.log(torch.sqrt(x**2 + 1)) / (1 + torch.exp(-x))).sum()


def rosenbrock(workload: Workload) -> Callable[[Any], Any]:
    """The Rosenbrock function."""
    return lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


LOSSES = {"mnist": mnist_loss, "mlp": mlp_loss, "layernorm": layernorm_loss, "logistic": logistic_loss}
FUNCTIONS = {"elementwise": elementwise, "rosenbrock": rosenbrock}
