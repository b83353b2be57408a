"""Ops that others wrote. gradc's own are known; what the `evaluate` of another touches and returns is seen to at every call.

It may return its operand, a view of it, or an array that is kept elsewhere and changes: what is returned is copied unless nobody
else holds it. It may write into its operands: they come read-only, and as copies to what will not have them so. It may return
another type than it declared: an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from sys import getrefcount
from typing import Any
from weakref import WeakSet

import numpy as np

from gradc.errors import DeclarationError
from gradc.ir import OPS, Array, Node, Op, describe, has_masked_entries
from gradc.types import TensorType

_OWN: set[Op] = set()
_WRITERS: WeakSet[Op] = WeakSet()
"""Those that wanted to write into an operand once."""


def know_own_ops() -> None:
    """All ops registered so far are gradc's own."""
    _OWN.update(OPS.values())


def is_own(op: Op) -> bool:
    """True for gradc's own ops: they return arrays of the declared type that nobody else holds, and leave operands alone."""
    return op in _OWN


def result_of(node: Node, expected: TensorType, operands: Sequence[Array], attrs: Mapping[str, Any]) -> Array:
    """The value of `node`, whose op others wrote: in C order, in memory that nothing else refers to.

    Raises:
        DeclarationError: it is not of the `expected` type.
    """
    value, holders = _evaluated(node.op, operands, attrs)
    if has_masked_entries(value):
        raise DeclarationError(f"{describe(node)} evaluated to masked entries, which would count as data: return value.filled(0)")
    fresh = value.__class__ is np.ndarray and value.base is None and value.flags.owndata and holders <= _UNSHARED
    result: Array = np.asarray(value, order="C") if fresh else np.array(value, order="C", subok=False)
    if result.dtype != expected.dtype or result.shape != expected.shape:
        got = TensorType(result.shape, result.dtype)
        raise DeclarationError(f"{describe(node)} evaluated to {got}: its type rule says {expected}, so one of the two is wrong")
    return result


def _evaluated(op: Op, operands: Sequence[Array], attrs: Mapping[str, Any]) -> tuple[Any, int]:
    """What `_called` returns, for operands that stay as they are."""
    if op not in _WRITERS:
        try:
            return _called(op.evaluate, [_read_only(x) for x in operands], attrs)
        except Exception as error:
            if not any(said in str(error) for said in ("read-only", "readonly")):
                raise
            _WRITERS.add(op)
    return _called(op.evaluate, [x.copy() for x in operands], attrs)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view


def _called(evaluate: Callable[..., Any], operands: Sequence[Array], attrs: Mapping[str, Any]) -> tuple[Any, int]:
    """The result, and how many hold it."""
    value = evaluate(*operands, **attrs)
    return value, getrefcount(value)


_UNSHARED = _called(lambda: np.empty(1), (), {})[1]
"""The count of an array that only `_called` holds."""
