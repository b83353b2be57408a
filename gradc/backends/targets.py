"""The arrays that a call writes to: what is asked of them, which share memory, and what stands in for those of other layouts.

Programs write where values lie as planned: in C order and the machine's byte order. An array that lies otherwise is written to
at the end, from one that does not.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.backends.guards import apart
from gradc.errors import FeedError, candidates, show
from gradc.ir import Array, Node
from gradc.types import TensorType

_FEW_PAIRS = 64
_PAIRS_PER_ARRAY = 64
_LEAST_PAIRS = 4096
_MOST_WORK = 10_000
_PAINTED_BYTES = 1 << 24


class Targets(NamedTuple):
    """What updates write to.

    Attributes:
        arrays: for the program, one an update.
        late: pairs (fed array, its stand-in) of those to be copied when all else is done.
    """

    arrays: list[Array]
    late: list[tuple[Array, Array]]

    def finish(self) -> None:
        """Write what the program wrote to stand-ins."""
        for array, stand_in in self.late:
            np.copyto(array, stand_in)


def update_targets(
    names: Iterable[str], placeholders: Mapping[str, Node], given: Mapping[str, Any], arrays: Mapping[str, Array]
) -> Targets:
    """The arrays that updates write to, checked.

    Args:
        names: the placeholders that are updated.
        given: the feeds, as they came.
        arrays: the feeds, as the program reads them: in C order and the machine's byte order.

    Raises:
        FeedError: one is no array, not writable, or shares memory with another feed or, entry by entry, with itself.
    """
    written: dict[str, Array] = {}
    for name in names:
        written[name] = _writable(f"feed {name!r} is updated in place", given[name], placeholders[name].type)
    if not written:
        return Targets([], [])
    others = {name: _memory_of(given[name], read) for name, read in arrays.items() if name not in written}
    _check_apart("feed", written, others, "is updated in place, but")
    targets = Targets([], [])
    for name, array in written.items():
        if array.flags.carray and array.dtype.isnative:
            targets.arrays.append(array)
            continue
        read = arrays[name]
        stand_in = read.copy() if np.may_share_memory(read, array) else read
        targets.arrays.append(stand_in)
        targets.late.append((array, stand_in))
    return targets


def out_arrays(
    out: object, types: Mapping[str, TensorType], given: Mapping[str, Any], arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """The arrays to write outputs into, by name, checked.

    Args:
        types: the outputs that a call returns, with concrete types.
        given, arrays: the feeds, as they came and as the program reads them.

    Raises:
        FeedError: it is no mapping, an output is unknown, or an array does not fit or shares memory with a feed or another.
    """
    if not isinstance(out, Mapping):
        raise FeedError(f"out: expected a mapping from names of outputs to arrays, got {type(out).__name__}")
    into: dict[str, Array] = {}
    for name, array in out.items():
        if name not in types:
            raise FeedError(f"out: {show(name)} is no output that the call returns; {candidates(name, types)}")
        into[name] = _fitting(name, array, types[name])
    others = {name: _memory_of(given[name], read) for name, read in arrays.items()}
    _check_apart("out", into, others, "is written to, but")
    return into


def _writable(what: str, array: object, expected: TensorType) -> Array:
    if not isinstance(array, np.ndarray):
        raise FeedError(f"{what}: expected an array ({expected}), got {type(array).__name__}")
    if not array.flags.writeable:
        raise FeedError(f"{what}, but the array is not writable: pass a copy")
    if repeats_entries(array):
        raise FeedError(f"{what}, but its entries share memory: pass a copy")
    return np.asarray(array)


def _fitting(name: str, array: object, expected: TensorType) -> Array:
    if not isinstance(array, np.ndarray) or array.dtype != expected.dtype or array.shape != expected.shape:
        got = str(TensorType(array.shape, array.dtype)) if isinstance(array, np.ndarray) else type(array).__name__
        raise FeedError(f"out {name!r}: expected an array {expected}, got {got}")
    if not array.flags.writeable:
        raise FeedError(f"out {name!r}: the array is not writable")
    if not array.flags.c_contiguous:
        raise FeedError(f"out {name!r}: the array is not C-contiguous")
    return np.asarray(array)


def _memory_of(given: Any, read: Array) -> Array:
    """What a feed is in memory: the array that came, if it was one, and else that which it was read as."""
    return given if isinstance(given, np.ndarray) else read


# --- overlaps ----------------------------------------------------------------------------------------


Key = tuple[str, str]
"""What an array is for, "feed" or "out", and its name."""


class Overlap(NamedTuple):
    """Two arrays that share memory; not `certain`: to find that out would take too long."""

    written: Key
    other: Key
    certain: bool


def _check_apart(kind: str, written: Mapping[str, Array], others: Mapping[str, Array], why: str) -> None:
    """Raise where an array that is written to shares memory with another, or with a feed of `others`."""
    if apart(tuple(written.values()), tuple(others.values())):
        return
    found = find_overlap(
        {(kind, name): array for name, array in written.items()}, {("feed", name): array for name, array in others.items()}
    )
    if found is not None:
        shares = "shares memory" if found.certain else "lies so that it may share memory"
        (_, name), (other_kind, other) = found.written, found.other
        raise FeedError(f"{kind} {name!r} {why} {shares} with {other_kind} {other!r}: pass a copy of one")


def find_overlap(written: Mapping[Key, Array], others: Mapping[Key, Array]) -> Overlap | None:
    """An array of `written` that shares memory with another of them, or with one of `others`.

    Those whose spans meet are compared entry by entry; where that would take long, for many that interleave or for strides of
    many axes, they count as sharing.
    """
    keys, arrays = [*written, *others], [*written.values(), *others.values()]
    few = len(written) * len(arrays) <= _FEW_PAIRS
    left = _PAIRS_PER_ARRAY * len(arrays) + _LEAST_PAIRS
    for k, other in (_meeting_few if few else _meeting)(arrays, len(written)):
        left -= 1
        shares = _share(arrays[k], arrays[other]) if left >= 0 else None
        if shares is not False:
            return Overlap(keys[k], keys[other], bool(shares))
    return None


def _meeting_few(arrays: Sequence[Array], written: int) -> Iterator[tuple[int, int]]:
    """The pairs of arrays whose spans meet, by their numbers; the first is among the first so many, which are `written` to."""
    for k in range(written):
        for other in range(k + 1, len(arrays)):
            if np.may_share_memory(arrays[k], arrays[other]):
                yield k, other


def _meeting(arrays: Sequence[Array], written: int) -> Iterator[tuple[int, int]]:
    """The same in one sweep over the arrays in the order of their addresses."""
    spans = sorted((*_span(array), k) for k, array in enumerate(arrays) if array.size)
    reaching: list[list[tuple[int, int]]] = [[], []]  # ends and numbers of arrays not yet passed: of others, of written ones
    for start, stop, k in spans:
        is_written = k < written
        for heap in reaching:
            while heap and heap[0][0] <= start:
                heapq.heappop(heap)
        for _, other in reaching[1]:
            yield other, k
        for _, other in reaching[0] if is_written else ():
            yield k, other
        heapq.heappush(reaching[is_written], (stop, k))


def _span(array: Array) -> tuple[int, int]:
    """The addresses of the first byte of an array, and after its last."""
    start = stop = array.ctypes.data
    for size, stride in zip(array.shape, array.strides, strict=True):
        start, stop = start + min((size - 1) * stride, 0), stop + max((size - 1) * stride, 0)
    return start, stop + array.itemsize


def _share(a: Array, b: Array) -> bool | None:
    """Whether two arrays share memory; None where only very much work could tell."""
    try:
        return np.shares_memory(a, b, max_work=_MOST_WORK)  # type: ignore[arg-type]  # any integer
    except np.exceptions.TooHardError:
        return None


def repeats_entries(array: Array) -> bool:
    """True when two entries of an array share memory, or may where only very much work could tell."""
    if array.flags.c_contiguous or not array.size:
        return False
    axes = sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1)
    if _nested(axes, array.itemsize):
        return False
    start, stop = _span(array)
    if stop - start > _PAINTED_BYTES:
        return True
    return _painted(axes, array.itemsize, stop - start) < array.nbytes


def _nested(axes: Sequence[tuple[int, int]], itemsize: int) -> bool:
    """True when each axis steps over all that the axes of shorter strides span, as in nearly every array."""
    span = itemsize
    for stride, size in axes:
        if stride < span:
            return False
        span += (size - 1) * stride
    return True


def _painted(axes: Sequence[tuple[int, int]], itemsize: int, span: int) -> int:
    """How many bytes of its span an array covers."""
    canvas = np.zeros(span, bool)
    shape, strides = [size for _, size in axes], [stride for stride, _ in axes]
    np.lib.stride_tricks.as_strided(canvas, (*shape, itemsize), (*strides, 1))[...] = True
    return int(np.count_nonzero(canvas))
