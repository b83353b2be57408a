"""Recipes: an op written as ufunc calls, once; its evaluation and its kernel are made from the same calls.

So the two agree bit for bit, and the executor runs the op into a buffer without allocating.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any, NamedTuple

import numpy as np

from gradc.ir import Call, Kernel, KernelRule
from gradc.types import TensorType, broadcast_shapes

BITS = {1: np.dtype("int8"), 2: np.dtype("int16"), 4: np.dtype("int32"), 8: np.dtype("int64")}
Calls = tuple[Call, ...]


class Recipe(NamedTuple):
    """The three fields of an elementwise op that follow from its calls."""

    infer: Callable[..., TensorType]
    evaluate: Callable[..., Any]
    kernel: KernelRule


def do(function: Callable[..., Any], arguments: str) -> Call:
    """One call of a recipe; in `arguments`, `{0}` is an operand, `{out}` the result, `{s0}` a scratch buffer."""
    return Call(function, function.__name__.lstrip("_"), arguments)


def recipe(
    *calls: Call,
    inplace: tuple[int, ...] = (),
    scratch: tuple[str, ...] = (),
    dtype_of: tuple[int, ...] = (),
    varying: Callable[..., Sequence[Call]] | None = None,
) -> Recipe:
    """An elementwise op made of `calls`.

    Args:
        inplace: operands whose memory may be the result's: those that no call reads after the first write.
        scratch: a buffer each, of the result's shape: "bool", or "out" for the result's dtype.
        dtype_of: the operands that the result's dtype follows; all when left out.
        varying: instead of `calls`, a function of the attributes that returns them.
    """

    def infer(*types: TensorType, **attrs: Any) -> TensorType:
        given = [types[k].dtype for k in dtype_of] or [t.dtype for t in types]
        return TensorType(broadcast_shapes(*[t.shape for t in types]), np.result_type(*given))

    def steps(attrs: dict[str, Any]) -> Calls:
        return tuple(varying(**attrs)) if varying is not None else calls

    def buffer(kind: str, out: TensorType) -> TensorType:
        return TensorType(out.shape, np.dtype("bool") if kind == "bool" else out.dtype)

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        return Kernel(steps(attrs), inplace, tuple(buffer(kind, out) for kind in scratch))

    def evaluate(*operands: Any, **attrs: Any) -> Any:
        arrays = [np.asarray(x) for x in operands]
        dtype = infer(*[TensorType((), a.dtype) for a in arrays]).dtype
        out = np.empty(np.broadcast_shapes(*[a.shape for a in arrays]), dtype)
        helpers = [np.empty(out.shape, bool if kind == "bool" else dtype) for kind in scratch]
        for call in steps(attrs):
            _bound(call.arguments)(call.function, arrays, out, helpers)
        return out

    return Recipe(infer, evaluate, kernel)


@lru_cache(maxsize=1024)
def _bound(template: str) -> Callable[..., Any]:
    """The function `(f, operands, out, scratch)` that calls `f` with the arguments of a `Call`."""

    parts = Formatter().parse(template)
    arguments = "".join(text + (operand_text(field, spec) if field else "") for text, field, spec, _ in parts)
    made: Callable[..., Any] = eval(f"lambda f, x, out, s: f({arguments})", {"bits": as_bits})
    return made


def operand_text(field: str, spec: str | None = None) -> str:
    """What a field of a `Call` stands for, as Python over the operands `x`, the result `out`, the scratch `s`, and `bits`."""
    place = "out" if field == "out" else f"s[{field[1:]}]" if field.startswith("s") else f"x[{field}]"
    return f"bits({place})" if spec == "bits" else place


def as_bits(array: Any) -> Any:
    """The memory of `array` as integers of the same width."""
    return array.view(BITS[array.dtype.itemsize])


def entries(operand: Any, mask: Any) -> Any:
    """The entries of `operand`, broadcast to the shape of `mask`, where `mask` holds."""
    return (operand if operand.shape == mask.shape else np.broadcast_to(operand, mask.shape))[mask]
