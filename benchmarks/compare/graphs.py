"""Random programs: from the registry, so that a new function takes part as soon as it has samples.

A step is a function and one of its samples: the attributes and the range of operands are the sample's, the operands are earlier
results wherever one has a fitting shape, brought into that range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.compare.gradc_side import call
from benchmarks.compare.programs import Array, Program, Step, differentiable_functions, results_of
from gradc.errors import GradcError
from gradc.ir import FUNCTIONS, Function
from gradc.ops.samples import Sample

_SIZE = 40
_MOST = 3
_LARGEST = 1e6
SHAPES = ((2, 3), ())
"""What elementwise functions are called on in random programs."""
EXTREMES = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 800.0, -800.0, 1e17, 1e200, -1e200, 1e308, -1e308, 1e-200, 5e-324, 1 + 2.0**-52)
NON_FINITE = (np.inf, -np.inf, np.nan)


class Choice(NamedTuple):
    """A function at a sample, and `fits(operand_shape, sample_shape)`: which operands the attributes are right for."""

    function: Function
    sample: Sample
    fits: Callable[[tuple[int, ...], tuple[int, ...]], bool]


def _entrywise_fit(shape: tuple[int, ...], like: tuple[int, ...]) -> bool:
    return shape in SHAPES


def _same(shape: tuple[int, ...], like: tuple[int, ...]) -> bool:
    return shape == like


@lru_cache(maxsize=4)
def choices(names: frozenset[str]) -> list[list[Choice]]:
    """A few choices a function of `names`: JAX compiles each function anew for every shape and attribute, for 0.1 s."""
    found = []
    for function in differentiable_functions():
        if function.name not in names:
            continue
        samples = [s for s in function.samples() if _suits(s)]
        entrywise = bool(samples) and all(_entrywise(function, s) for s in samples[:4])
        listed = [
            Choice(function, s, _entrywise_fit if entrywise else _same) for s in _spread(samples, 1 if entrywise else _MOST)
        ]
        if listed:
            found.append(listed)
    return found


def _suits(sample: Sample) -> bool:
    floats = any(a.dtype.kind == "f" and k not in sample.fixed for k, a in enumerate(sample.arrays))
    return (
        sample.gradient
        and sample.via is None
        and floats
        and all(0 < a.size <= _SIZE and a.dtype.kind != "b" for a in sample.arrays)
    )


def _spread(samples: list[Sample], most: int) -> list[Sample]:
    """At most so many: those on matrices of the common shape first, for they are met by earlier results."""
    ordered = sorted(samples, key=lambda s: not any(a.shape == SHAPES[0] for a in s.arrays))
    return ordered[:most]


def _entrywise(function: Function, sample: Sample) -> bool:
    """True when a function takes no attributes, and its result has the shape that its operands broadcast to."""
    if (
        sample.attrs
        or sample.packed
        or sample.via
        or sample.fixed
        or not _broadcast(sample)
        or any(a.dtype.kind != "f" for a in sample.arrays)
    ):
        return False
    results = results_of(function, sample)
    return len(results) == 1 and results[0].shape == np.broadcast_shapes(*[a.shape for a in sample.arrays])


def _broadcast(sample: Sample) -> bool:
    try:
        np.broadcast_shapes(*[a.shape for a in sample.arrays])
    except ValueError:
        return False
    return True


# --- building --------------------------------------------------------------------------------------------


class Builder:
    """A program in the making: every step is computed by gradc as it is added, so that domains can be kept."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.inputs: list[Array] = []
        self.fixed: set[int] = set()
        self.steps: list[tuple[str, list[int], dict[str, Any], bool, int]] = []
        self.values: list[Array] = []
        self.is_input: list[int] = []

    def input(self, array: Array, fixed: bool = False) -> int:
        """The number of a new input."""
        if fixed:
            self.fixed.add(len(self.values))
        self.values.append(np.asarray(array))
        self.is_input.append(len(self.values) - 1)
        return len(self.values) - 1

    def step(self, function: str, operands: list[int], attrs: dict[str, Any], packed: bool = False) -> int:
        """The number of the first result of a new step."""
        arrays = [self.values[k] for k in operands]
        fixed = [j for j, k in enumerate(operands) if k in self.fixed]
        result = call(function, arrays, attrs, fixed, packed)
        first = len(self.values)
        results = result if isinstance(result, tuple) else (result,)
        if sum(r.size for r in results) > 4 * _SIZE:
            raise GradcError("too large")
        self.values.extend(results)
        self.steps.append((function, operands, attrs, packed, len(results)))
        return first

    def program(self) -> Program:
        """What was built; outputs are the results that no step uses, and floating point."""
        order = [*self.is_input, *[k for k in range(len(self.values)) if k not in set(self.is_input)]]
        number = {old: new for new, old in enumerate(order)}
        used = {k for _, operands, *_ in self.steps for k in operands}
        outputs = [k for k in order if k not in used and k not in self.is_input and self.values[k].dtype.kind == "f"]
        steps = tuple(Step(f, tuple(number[k] for k in ks), attrs, packed, count) for f, ks, attrs, packed, count in self.steps)
        inputs = tuple(self.values[k] for k in self.is_input)
        return Program(self.place, inputs, steps, tuple(number[k] for k in outputs), frozenset(number[k] for k in self.fixed))


def random_programs(seeds: range, names: frozenset[str]) -> Iterator[Program]:
    """Well-behaved programs of 2 to 6 of the functions, and what brings their operands into range, one a seed."""
    for seed in seeds:
        rng = np.random.default_rng([7, seed])
        builder = Builder(f"random graph {seed}")
        for _ in range(int(rng.integers(2, 7))):
            _add(builder, _chosen(choices(names), rng), rng)
        if builder.steps:
            yield builder.program()


def _chosen(listed: list[list[Choice]], rng: np.random.Generator) -> Choice:
    of_one = listed[int(rng.integers(len(listed)))]
    return of_one[int(rng.integers(len(of_one)))]


def _add(builder: Builder, choice: Choice, rng: np.random.Generator) -> None:
    """One more step, its operands earlier results; on the sample's own arrays where that cannot be; or none."""
    for connect in (True, False):
        mark = _mark(builder)
        try:
            _try(builder, choice, rng, connect)
        except (GradcError, np.linalg.LinAlgError, ValueError):
            _reset(builder, mark)
            continue
        if all(_tame(a) for a in builder.values[mark[0] :]):
            return
        _reset(builder, mark)


def _tame(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.all(np.abs(array) < _LARGEST))


def _mark(builder: Builder) -> tuple[int, int, int]:
    return len(builder.values), len(builder.steps), len(builder.is_input)


def _reset(builder: Builder, mark: tuple[int, int, int]) -> None:
    del builder.values[mark[0] :], builder.steps[mark[1] :], builder.is_input[mark[2] :]
    builder.fixed = {k for k in builder.fixed if k < mark[0]}


def _try(builder: Builder, choice: Choice, rng: np.random.Generator, connect: bool) -> None:
    operands = []
    for k, like in enumerate(choice.sample.arrays):
        if k in choice.sample.fixed or like.dtype.kind != "f":
            operands.append(builder.input(like, fixed=k in choice.sample.fixed))
            continue
        fitting = [
            j
            for j, a in enumerate(builder.values)
            if a.dtype.kind == "f" and j not in builder.fixed and choice.fits(a.shape, like.shape)
        ]
        if connect and fitting and rng.random() < 0.9:
            recent = fitting[-4:]
            operands.append(_into_range(builder, recent[int(rng.integers(len(recent)))], like))
        elif connect and like.shape == SHAPES[0] and (narrow := [j for j, a in enumerate(builder.values) if _widens(a)]):
            operands.append(_wave(builder, narrow[-1], like, like.shape))
        else:
            operands.append(builder.input(like))
    builder.step(choice.function.name, operands, choice.sample.attrs, choice.sample.packed)


def _widens(array: Array) -> bool:
    """True of a row, a column, and a vector that broadcast to the common shape."""
    return array.dtype.kind == "f" and array.shape in ((3,), (1, 3), (2, 1))


def _into_range(builder: Builder, k: int, like: Array) -> int:
    """`k`, or where its values leave the range of `like`, a sine of it that does not."""
    value = builder.values[k]
    if value.min() >= like.min() and value.max() <= like.max():
        return k
    return _wave(builder, k, like, value.shape)


def _wave(builder: Builder, k: int, like: Array, shape: tuple[int, ...]) -> int:
    half, middle = (like.max() - like.min()) / 2, (like.max() + like.min()) / 2
    wave = builder.step("sin", [k], {})
    scaled = builder.step("multiply", [wave, builder.input(np.full(shape, half), fixed=True)], {})
    return builder.step("add", [scaled, builder.input(np.full(shape, middle), fixed=True)], {})


def attack_programs(seeds: range, names: frozenset[str]) -> Iterator[Program]:
    """Programs of 1 to 4 functions on extreme values, ties among them; no domain is kept.

    Without decompositions: LAPACK's iterations may not end on such numbers.
    """
    direct = frozenset(name for name in names if not _decomposes(name))
    for seed in seeds:
        rng = np.random.default_rng([8, seed])
        builder = Builder(f"extreme graph {seed}")
        pool = EXTREMES + NON_FINITE if seed % 4 == 0 else EXTREMES
        for _ in range(int(rng.integers(1, 5))):
            _attack(builder, _chosen(choices(direct), rng), rng, pool)
        if builder.steps:
            yield builder.program()


def _decomposes(name: str) -> bool:
    linalg = any(getattr(target, "__module__", "") == "numpy.linalg" for target in FUNCTIONS[name].numpy)
    return linalg and name not in ("norm", "vector_norm")


def _attack(builder: Builder, choice: Choice, rng: np.random.Generator, pool: tuple[float, ...]) -> None:
    mark = _mark(builder)
    operands = []
    for k, like in enumerate(choice.sample.arrays):
        fitting = [
            j
            for j, a in enumerate(builder.values)
            if a.dtype.kind == "f" and j not in builder.fixed and choice.fits(a.shape, like.shape)
        ]
        if k in choice.sample.fixed or like.dtype.kind != "f":
            operands.append(builder.input(like, fixed=k in choice.sample.fixed))
        elif fitting and rng.random() < 0.7:
            operands.append(fitting[int(rng.integers(len(fitting)))])
        else:
            operands.append(builder.input(rng.choice(pool, size=() if choice.fits is _entrywise_fit else like.shape)))
    try:
        builder.step(choice.function.name, operands, choice.sample.attrs, choice.sample.packed)
    except (GradcError, np.linalg.LinAlgError, ValueError):
        _reset(builder, mark)
