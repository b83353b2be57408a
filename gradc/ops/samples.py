"""Sample inputs of ops: from them the op-table test makes every test of an op.

`samples=` of a declaration is a function without arguments, so that importing gradc makes no arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Sample(NamedTuple):
    """One call of an op or function: arrays for its operands, keywords for the rest.

    `gradient` is False where derivatives do not exist or cannot be checked by differences (a kink, a tie).
    `via` makes the operands of `arrays`, of nodes as of arrays: matrices that must be symmetric or positive definite.
    `fixed` lists operands that are constants of the call (indices, labels), not placeholders; `packed` operands are passed as
    one list.
    """

    arrays: tuple[Array, ...]
    attrs: dict[str, Any]
    gradient: bool = True
    fixed: tuple[int, ...] = ()
    packed: bool = False
    via: Callable[..., Sequence[Any]] | None = None

    def arguments(self, operands: Sequence[Any]) -> list[Any]:
        """The positional arguments of the call, for `operands` in the place of `arrays`."""
        made = list(operands) if self.via is None else list(self.via(*operands))
        return [made] if self.packed else made


class At(NamedTuple):
    """The convention at a point: `value` and `adjoints` (of the sum) at `inputs`; None: not tabulated.

    `near_jump`: a jump is so near that no difference can tell on which side of it the point is.
    """

    inputs: tuple[Any, ...]
    value: Any
    adjoints: tuple[Any, ...]
    attrs: dict[str, Any]
    why: str
    near_jump: bool = False


Samples = Callable[[], list[Sample]]


def sample(
    *arrays: Any,
    gradient: bool = True,
    fixed: tuple[int, ...] = (),
    packed: bool = False,
    via: Callable[..., Sequence[Any]] | None = None,
    **attrs: Any,
) -> Sample:
    """A sample from array-likes; floats become float64."""
    return Sample(tuple(np.asarray(a) for a in arrays), attrs, gradient, fixed, packed, via)


def at(
    *inputs: Any,
    value: Any,
    adjoints: Sequence[Any] | float | None = None,
    why: str = "",
    near_jump: bool = False,
    **attrs: Any,
) -> At:
    """A row of the table of conventions."""
    given = adjoints if isinstance(adjoints, (tuple, list)) else (adjoints,)
    return At(tuple(inputs), value, tuple(given), attrs, why, near_jump)


def points(*rows: tuple[Any, ...]) -> tuple[At, ...]:
    """Rows of the table for one operand: `(input, value, adjoint)`, and the reason where one is needed."""
    return tuple(at(x, value=value, adjoints=adjoint, why="".join(why)) for x, value, adjoint, *why in rows)


def normal(*shape: int, seed: int = 0) -> Array:
    """Standard normal values, float64, the same at every call."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> Array:
    """Values evenly spread over [low, high), float64, the same at every call."""
    return np.random.default_rng([seed, 1, *shape]).uniform(low, high, shape)


_UNARY: tuple[tuple[int, ...], ...] = ((), (7,), (2, 3), (0, 3), (1, 1), (2, 1, 4))
_BINARY: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()),
    ((5,), (5,)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((), (2, 2)),
    ((2, 2), (1,)),
    ((2, 1, 2), (3, 1)),
    ((0, 3), (1, 3)),
)
_TERNARY: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((), (), ()),
    ((4,), (4,), (4,)),
    ((2, 3), (3,), (2, 1)),
    ((3,), (), ()),
    ((), (2,), (3, 1)),
    ((0,), (1,), ()),
)


def reals(low: float, high: float, operands: int = 1, **attrs: Any) -> Samples:
    """Every operand from [low, high), in the shapes that matter: 0-d, vector, matrix, empty, broadcast."""
    return ranges(*[(low, high)] * operands, **attrs)


def ranges(*bounds: tuple[float, float], **attrs: Any) -> Samples:
    """As `reals`, each operand with its own bounds."""

    def make() -> list[Sample]:
        shapes: Sequence[Sequence[tuple[int, ...]]]
        if len(bounds) == 1:
            shapes = [(s,) for s in _UNARY]
        elif len(bounds) == 2:
            shapes = _BINARY
        else:
            shapes = _TERNARY
        return [
            sample(
                *(uniform(lo, hi, *s, seed=k + 10 * n) for k, ((lo, hi), s) in enumerate(zip(bounds, row, strict=True))), **attrs
            )
            for n, row in enumerate(shapes)
        ]

    return make


def cases(*makers: Callable[[], Sample]) -> Samples:
    """Samples written out one by one, each a function so that none is made at import."""
    return lambda: [make() for make in makers]
