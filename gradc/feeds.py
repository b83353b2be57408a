"""Fed values as arrays of a placeholder's dtype: what is lost in no cast is taken, the rest is refused with the cast to write."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

import numpy as np

from gradc.errors import FeedError, show
from gradc.ir import Array, Node, has_masked_entries
from gradc.types import DType, is_supported

_WEAK = (bool, int, float, list, tuple, range)


def as_feed(name: str, node: Node, value: Any, exact: bool = False) -> Array:
    """One feed as a C-contiguous array of the placeholder's dtype.

    Integers and bools are taken where the placeholder's dtype holds each of them exactly, floating point where its dtype is as
    wide. Python numbers and lists are weak, as beside an operand (NEP 50): a float is rounded, unless it is too large.

    Args:
        exact: an array has to have the very dtype, in either byte order: something is written to it.

    Raises:
        FeedError: something would be lost; the message names the cast that loses it.
    """
    dtype = node.dtype
    if value.__class__ is np.ndarray and value.dtype is dtype:
        return np.asarray(value, order="C")
    if isinstance(value, Node):
        raise FeedError(f"feed {name!r} ({node.type}): got a node, expected a value")
    if has_masked_entries(value):
        raise FeedError(f"feed {name!r}: masked entries would count as data; give what stands for them: value.filled(0)")
    array = _as_array(name, node, value)
    if array.dtype != dtype and array.dtype.newbyteorder("=") != dtype:
        if exact and isinstance(value, np.ndarray):
            raise FeedError(f"{_expected(name, node, value, array)}; it is updated in place: give an array of {dtype}")
        lost = _lost(value, array, dtype)
        if lost:
            raise FeedError(f"{_expected(name, node, value, array)}{lost}")
    with np.errstate(all="ignore"):
        return np.asarray(array, dtype, order="C")


def _as_array(name: str, node: Node, value: Any) -> Array:
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # ValueError of NumPy, or whatever the array protocol of a foreign object raises
        raise FeedError(f"feed {name!r}: expected {node.type}, got {show(value)}: {error}") from None


def _expected(name: str, node: Node, value: Any, array: Array) -> str:
    got = show(value) if isinstance(value, _WEAK) or array.dtype.kind == "O" else f"{array.dtype}{list(array.shape)}"
    return f"feed {name!r}: expected {node.type}, got {got}"


def _lost(value: Any, array: Array, dtype: DType) -> str:
    """What a cast of `array` to `dtype` would lose, and how to ask for it; empty where it loses nothing."""
    weak = isinstance(value, _WEAK) and not isinstance(value, np.generic)
    kind = array.dtype.kind
    if (weak and not array.size) or (kind in "bf" and dtype.kind == "f" and array.dtype.itemsize <= dtype.itemsize):
        return ""
    if dtype.kind == "b" and kind in "iuf":
        return f"; {_cast(value, dtype)} if True for what is not 0 is what you mean"
    if kind in "biu" or (kind == "O" and dtype.kind != "b" and all(isinstance(v, (int, np.integer)) for v in array.flat)):
        return _lost_integers(value, array, dtype)
    if not is_supported(array.dtype):
        return _foreign(value, array, dtype)
    if dtype.kind == "f":
        return _lost_floats(value, array, dtype, weak)
    wrong = _first(array, ~np.isfinite(array))
    return f": {wrong} is no integer" if wrong else f"; {_cast(value, dtype)} if cutting off fractions is what you mean"


def _lost_integers(value: Any, array: Array, dtype: DType) -> str:
    wrong = _first(array, ~_is_held(array, dtype))
    if not wrong:
        return ""
    if dtype.kind == "f":
        return f": {wrong} is no {dtype} exactly; {_cast(value, dtype)} if rounding is what you mean"
    info = np.iinfo(dtype)
    return f": {wrong} is out of bounds for {dtype}, {info.min} to {info.max}"


def _lost_floats(value: Any, array: Array, dtype: DType, weak: bool) -> str:
    if not weak:
        return f"; {_cast(value, dtype)} if rounding is what you mean"
    with np.errstate(all="ignore"):
        wrong = _first(array, np.isfinite(array) & ~np.isfinite(array.astype(dtype)))
    return f": {wrong} is beyond the largest {dtype}, {np.finfo(dtype).max}" if wrong else ""


def _foreign(value: Any, array: Array, dtype: DType) -> str:
    """What to do about a dtype that gradc does not compute in."""
    if array.dtype.kind == "c":
        return "; gradc computes in real numbers: take .real"
    if array.dtype.kind in "fmM":
        return f"; {_cast(value, dtype)}"
    if isinstance(value, (Set, Iterator)):
        return ": that has no order, or is read once; write list(value)"
    others = (v for v in np.asarray(value, object).flat if not isinstance(v, (int, float, np.number)))
    return f": {show(next(others, value))} is no number; {_cast(value, dtype)} if it stands for one"


def _cast(value: Any, dtype: DType) -> str:
    if isinstance(value, np.generic) or not np.ndim(value):
        return f"write np.{dtype}(value)"
    return f"write value.astype({str(dtype)!r})" if hasattr(value, "astype") else f"write np.asarray(value, {str(dtype)!r})"


def _is_held(array: Array, dtype: DType) -> Array:
    """Where `dtype` holds an entry of integers exactly."""
    if array.dtype.kind == "O":
        return np.reshape([_holds(dtype, v) for v in array.flat], array.shape).astype(bool)
    if not array.size or array.dtype.kind == "b":
        return np.ones(array.shape, bool)
    least, most = (-(2 ** (np.finfo(dtype).nmant + 1)), 2 ** (np.finfo(dtype).nmant + 1)) if dtype.kind == "f" else _range(dtype)
    if least <= array.min() and array.max() <= most:
        return np.ones(array.shape, bool)
    if dtype.kind != "f":
        return (array >= least) & (array <= most)
    return _is_held_by_float(array, dtype)


def _is_held_by_float(array: Array, dtype: DType) -> Array:
    """Where integers come back from floating point as they were."""
    least, most = _range(array.dtype)
    with np.errstate(all="ignore"):
        rounded = array.astype(dtype).astype(np.float64)
    inside = (rounded >= least) & (rounded < float(most + 1))  # of powers of two, which float64 holds
    back = np.where(inside, rounded, 0.0).astype(array.dtype)
    held: Array = inside & (back == array)
    return held


def _holds(dtype: DType, number: int) -> bool:
    try:
        with np.errstate(all="ignore"):
            return int(dtype.type(number)) == number
    except OverflowError:
        return False


def _range(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _first(array: Array, wrong: Array) -> str:
    """`300 at [2, 0]`: the first entry that is wrong; empty where none is."""
    if not wrong.any():
        return ""
    at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return f"{show(array[at].item() if array.dtype.kind != 'O' else array[at])}" + (f" at {list(map(int, at))}" if at else "")
