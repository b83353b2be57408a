"""Programs: what all sides compute, as plain data: calls of registered functions on inputs and earlier results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gradc.ir import FUNCTIONS, Function
from gradc.ops.samples import At, Sample

Array = np.ndarray[Any, Any]
Via = Callable[..., Sequence[Any]]
Call = Callable[[str, list[Any], dict[str, Any]], Any]


class Step(NamedTuple):
    """`function(*operands, **attrs)`; operands are numbers of values: the inputs first, then every result so far.

    `packed` operands are passed as one list; `via` makes the arguments of the call from the operands.
    """

    function: str
    operands: tuple[int, ...]
    attrs: dict[str, Any]
    packed: bool = False
    results: int = 1
    via: Via | None = None


@dataclass(frozen=True)
class Program:
    """Inputs, steps, and the values that are asked for.

    What is differentiated is the sum of the `outputs`, each times its weights (ones where `plain`). Of order n: the gradient of
    the sum of the gradient of order n - 1, times weights again.
    """

    place: str
    inputs: tuple[Array, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    fixed: frozenset[int] = frozenset()
    plain: bool = False
    order: int = 1
    differentiable: bool = True
    why: str = field(default="", compare=False)

    @property
    def variables(self) -> list[int]:
        """The inputs to differentiate by."""
        if not self.differentiable:
            return []
        return [k for k, a in enumerate(self.inputs) if a.dtype.kind == "f" and k not in self.fixed]

    def __str__(self) -> str:
        names = [f"x{k}" for k in range(len(self.inputs))]
        lines = []
        for step in self.steps:
            operands = ", ".join(names[k] for k in step.operands)
            keywords = "".join(f", {k}={v!r}" for k, v in step.attrs.items())
            results = [f"v{len(names) + k}" for k in range(step.results)]
            names.extend(results)
            lines.append(f"{', '.join(results)} = {step.function}({operands}{keywords})")
        return "; ".join(lines)


class Answer(NamedTuple):
    """Values of the outputs, and a gradient for each variable; zeros where nothing depends on it."""

    values: list[Array]
    gradients: list[Array]


def run(program: Program, call: Call, inputs: Sequence[Any], adapt: Callable[[Via], Via] = lambda via: via) -> list[Any]:
    """The outputs of `program`, every step done by `call(function, operands, attrs)`; `adapt` makes a `via` a side's own."""
    values = list(inputs)
    for step in program.steps:
        operands = [values[k] for k in step.operands]
        operands = operands if step.via is None else list(adapt(step.via)(*operands))
        result = call(step.function, [operands] if step.packed else operands, step.attrs)
        values.extend(result if isinstance(result, (tuple, list)) else (result,))
    return [values[k] for k in program.outputs]


def weights(shape: tuple[int, ...], plain: bool) -> Array:
    """What an output is multiplied by before it is summed: no two entries alike, so that no error cancels."""
    if plain:
        return np.ones(shape)
    made: Array = np.cos(1.0 + np.arange(int(np.prod(shape)))).reshape(shape)
    return made


# --- from the registry -----------------------------------------------------------------------------------


def sample_programs(function: Function) -> list[Program]:
    """One program a sample; two for one with a gradient: of first and of second order."""
    samples = function.samples() if function.samples is not None else ()
    return [of_sample(function, sample, f"{function.name}, sample {number}") for number, sample in enumerate(samples)]


def of_sample(function: Function, sample: Sample, place: str) -> Program:
    """The program that calls `function` at `sample`."""
    count = len(sample.arrays)
    results = results_of(function, sample)
    step = Step(function.name, tuple(range(count)), sample.attrs, sample.packed, len(results), sample.via)
    outputs = tuple(count + k for k in range(len(results)))
    return Program(place, sample.arrays, (step,), outputs, frozenset(sample.fixed), differentiable=function.differentiable)


def results_of(function: Function, sample: Sample) -> tuple[Array, ...]:
    """What gradc gives for `sample`, as a tuple."""
    from benchmarks.compare.gradc_side import call

    result = call(function.name, sample.arrays, sample.attrs, sample.fixed, sample.packed, sample.via)
    return result if isinstance(result, tuple) else (result,)


def edge_programs(function: Function) -> list[Program]:
    """One program a row of the table of conventions."""
    return [_of_edge(function, row) for row in function.edges]


def _of_edge(function: Function, row: At) -> Program:
    inputs = tuple(np.asarray(v, "float64") for v in row.inputs)
    step = Step(function.name, tuple(range(len(inputs))), row.attrs)
    return Program(_shown(function.name, inputs, row.attrs), inputs, (step,), (len(inputs),), plain=True, why=row.why)


def _shown(name: str, inputs: Sequence[Array], attrs: dict[str, Any]) -> str:
    return f"{name}({', '.join([*(show(a) for a in inputs), *(f'{k}={v!r}' for k, v in attrs.items())])})"


def show(value: Any, digits: int = 6) -> str:
    """A number or a nested list of numbers, short."""
    array = np.asarray(value)
    if array.ndim:
        return "[" + ", ".join(show(a, digits) for a in array) + "]"
    if array.dtype.kind != "f":
        return str(array.item())
    return f"{float(array):.{digits}g}".replace("nan", "NaN").replace("inf", "∞")


def differentiable_functions() -> list[Function]:
    """The registered functions that have gradients and samples."""
    return [f for f in FUNCTIONS.values() if f.differentiable and f.samples is not None]
