"""Who differs from whom, and who is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.compare.programs import Answer, Array

RTOL = 1e-9
_FLOOR = 1e-13


class Difference(NamedTuple):
    """A part of an answer (`value`, `value 1`, `d x0`, ...) in which two sides differ, and the entries that do."""

    part: str
    ours: Array
    theirs: Array
    entries: Array


def differences(ours: Answer, theirs: Answer, tame: bool = False) -> Iterator[Difference]:
    """The parts that differ by more than 1e-9 of an entry, or are NaN or infinite on one side only.

    `tame`: no number is meant to be extreme, so what is below the rounding of the largest one is zero.
    """
    noise = 1e-15 * max((_largest(a) for part in ours for a in part), default=0.0) if tame else 0.0
    for kind, mine, other in (("value", ours.values, theirs.values), ("d", ours.gradients, theirs.gradients)):
        for k, (a, b) in enumerate(zip(mine, other, strict=True)):
            part = f"d/dx{k}" if kind == "d" else f"value {k}" if len(mine) > 1 else "value"
            if a.shape != b.shape:
                yield Difference(part, a, b, np.ones(a.shape, bool))
            elif not np.all(same := equal(a, b, noise)):
                yield Difference(part, a, b, ~same)


def _largest(array: Array) -> float:
    finite = np.abs(np.where(np.isfinite(array), array, 0.0))
    return float(np.max(finite, initial=0.0))


def equal(a: Array, b: Array, noise: float = 0.0) -> Array:
    """Entry by entry: the same to `RTOL`, or to rounding in a sum of terms as large as the largest entry."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= RTOL * np.maximum(np.abs(a), np.abs(b)) + _FLOOR * _largest(b) + noise
    near &= np.isfinite(a) & np.isfinite(b)
    return np.asarray(near | (a == b) | (np.isnan(a) & np.isnan(b)))


class Verdict(NamedTuple):
    """What the truth says of the entries that differ: how many each side has right, and where there is no truth."""

    entries: int
    ours: int
    theirs: int
    unknown: int


def verdict(difference: Difference, truth: Array | None) -> Verdict:
    """Judge a difference by the exact answer, NaN where there is none."""
    where = difference.entries
    count = int(where.sum())
    if truth is None or truth.shape != difference.ours.shape or difference.theirs.shape != truth.shape:
        return Verdict(count, 0, 0, count)
    known = where & ~np.isnan(truth)
    ours, theirs = (int((equal(a, truth) & known).sum()) for a in (difference.ours, difference.theirs))
    return Verdict(count, ours, theirs, count - int(known.sum()))
