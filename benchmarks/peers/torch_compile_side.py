"""PyTorch, compiled: loss, gradient and update in one `torch.compile`d function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers import Builder, Side
from benchmarks.peers.torch_models import FUNCTIONS, LOSSES, Loss
from benchmarks.workloads import LEARNING_RATE, Data, Workload, weight_names


def training(loss_of: Callable[[Workload], Loss]) -> Builder:
    """A builder of a compiled training step that writes the weights in place."""

    def build(workload: Workload, data: Data) -> Side:
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data.get("labels", data["y"]))
        names = weight_names(data)
        weights = {name: torch.from_numpy(data[name]) for name in names}
        differentiated = torch.func.grad_and_value(loss_of(workload))
        state: list[Any] = [None]

        def step(weights: dict[str, Any], x: Any, y: Any) -> Any:
            gradients, value = differentiated(weights, x, y)
            for name, weight in weights.items():
                weight.sub_(gradients[name], alpha=LEARNING_RATE)
            return value

        compiled = torch.compile(step)

        def call() -> None:
            with torch.no_grad():
                state[0] = compiled(weights, x, y)

        return Side(call, lambda: {"loss": state[0].numpy(), **{name: data[name] for name in names}})

    return build


def value_and_gradient(function_of: Callable[[Workload], Callable[[Any], Any]]) -> Builder:
    """A builder of compiled value and gradient of a scalar function of x."""

    def build(workload: Workload, data: Data) -> Side:
        x = torch.from_numpy(data["x"])
        compiled = torch.compile(torch.func.grad_and_value(function_of(workload)))
        state: list[Any] = [None, None]

        def call() -> None:
            with torch.no_grad():
                state[:] = compiled(x)

        return Side(call, lambda: {"value": state[1].numpy(), "gradient": state[0].numpy()})

    return build


BUILDERS: dict[str, dict[str, Builder]] = {
    "torch.compile": {
        **{family: training(loss) for family, loss in LOSSES.items()},
        **{family: value_and_gradient(function) for family, function in FUNCTIONS.items()},
    }
}
