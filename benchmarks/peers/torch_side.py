"""PyTorch, eager: `autograd.grad`, then the weights in place under `no_grad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers import Builder, Side
from benchmarks.peers.torch_models import FUNCTIONS, LOSSES, Loss
from benchmarks.workloads import LEARNING_RATE, Data, Workload, weight_names


def training(loss_of: Callable[[Workload], Loss]) -> Builder:
    """A builder of an eager training step; integer labels, which cross_entropy likes best."""

    def build(workload: Workload, data: Data) -> Side:
        loss = loss_of(workload)
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data.get("labels", data["y"]))
        names = weight_names(data)
        weights = {name: torch.from_numpy(data[name]).requires_grad_() for name in names}
        values = list(weights.values())
        state: list[Any] = [None]

        def call() -> None:
            state[0] = loss(weights, x, y)
            gradients = torch.autograd.grad(state[0], values)
            with torch.no_grad():
                for value, gradient in zip(values, gradients, strict=True):
                    value.sub_(gradient, alpha=LEARNING_RATE)

        return Side(call, lambda: {"loss": state[0].detach().numpy(), **{name: data[name] for name in names}})

    return build


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]]) -> Builder:
    """A builder of value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        x = torch.from_numpy(data["x"]).requires_grad_()
        function = function_of(workload)
        state: list[Any] = [None, None]

        def call() -> None:
            state[0] = function(x)
            (state[1],) = torch.autograd.grad(state[0], x)

        return Side(call, lambda: {"value": state[0].detach().numpy(), "gradient": state[1].numpy()})

    return build


def chain(workload: Workload, data: Data) -> Side:
    """The chain, taped anew on every call."""
    x = torch.from_numpy(data["x"]).requires_grad_()
    state: list[Any] = [None]

    def call() -> None:
        y = x
        for _ in range(workload["ops"] // 3):
            y = torch.sin(y) * x + y * 0.5
        (state[0],) = torch.autograd.grad(y.sum(), x)

    return Side(call, lambda: {"gradient": state[0].numpy()})


BUILDERS: dict[str, dict[str, Builder]] = {
    "torch": {
        **{family: training(loss) for family, loss in LOSSES.items()},
        **{family: value_and_gradient(function) for family, function in FUNCTIONS.items()},
        "chain": chain,
    }
}
