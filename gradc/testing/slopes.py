"""The limit oracle: slopes of a function on both sides of a point, by differences at the point itself, without any rule.

Where both sides have the same slope, that is the derivative, whatever a convention says. Where they differ there is none, and
a convention lies between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.ir import Array

_EPSILON = float(np.finfo("float64").eps)
_QUARTERINGS = 23
_COLUMNS = 6
_WINDOW = 6
_COARSE = 9  # steps from 1.6 to 2e-5, whose quotients hardly suffer from values that cancel within the function
_SHARP = 1e-6  # a jump, or a pair of kinks, that is smaller than that beside those steps is taken for noise


class Slopes(NamedTuple):
    """The slopes along a direction of every entry of a function's value.

    Attributes:
        left, right: towards smaller and larger steps: NaN where the function is not finite on that side, infinite where
            quotients grow without bound (a jump, a vertical tangent).
        left_error, right_error: how far they may be off.
        both, both_error: the derivative from both sides at once, more exact where it exists.
        jumps: where the value at the point is not the limit from a side.
    """

    left: Array
    right: Array
    left_error: Array
    right_error: Array
    both: Array
    both_error: Array
    jumps: Array

    @property
    def agree(self) -> Array:
        """Where there is one finite slope: the same on both sides, or that of the only side there is."""
        near = 4 * (self.left_error + self.right_error) + 1e-7 * np.maximum(np.abs(self.left), np.abs(self.right)) + 1e-9
        same = np.isfinite(self.left) & np.isfinite(self.right) & (np.abs(self.left - self.right) <= near)
        return np.asarray((same | (np.isnan(self.left) ^ np.isnan(self.right))) & np.isfinite(self._one()))

    def _one(self) -> Array:
        """The derivative where the sides agree: from both, or from the only one."""
        return np.where(np.isnan(self.left), self.right, np.where(np.isnan(self.right), self.left, self.both))

    def bounds(self) -> tuple[Array, Array, Array]:
        """Between what a derivative, or a convention, lies, and how far the bounds may be off.

        NaN where no side is finite; infinite both ways at a jump that goes the same way on both sides.
        """
        one, agree = self._one(), self.agree
        low = np.where(agree, one, np.fmin(self.left, self.right))
        high = np.where(agree, one, np.fmax(self.left, self.right))
        step = self.jumps & (low == high)
        alone = np.isnan(self.left) | np.isnan(self.right)
        widest = np.fmax(np.where(np.isnan(self.left), 0, self.left_error), np.where(np.isnan(self.right), 0, self.right_error))
        error = np.where(agree & ~alone, self.both_error, widest)
        return np.where(step, -np.inf, low), np.where(step, np.inf, high), error


def slopes(value: Callable[[float], Array], scales: Sequence[float]) -> Slopes:
    """The slopes at t = 0 of `value(t)`, by steps of 1.6 to 1e-13 times each of `scales`.

    Quotients of differences are extrapolated from each side by itself, and from both; of all orders and steps the one of least
    error is taken, entry by entry. The error is how far extrapolations lie apart, and what rounding may add. What rounding does
    inside of the function does not show in its values: cos(x)/x - sin(x)/x**2 is exactly 0 at 1e-9, and 1/x a part of others.
    So where the larger steps agree among themselves to 6 digits, and on both sides, smaller ones do not overrule them.
    Ridders, Accurate computation of F'(x) and F'(x) F''(x), Advances in Engineering Software 4 (1982).

    Args:
        value: the function along a direction, float64.
        scales: sizes on which it may vary; the smallest last, which decides where quotients grow without bound.
    """
    base = np.asarray(value(0.0))
    found = [_slopes_at(value, base, scale) for scale in scales]
    best = found[0]
    for other in found[1:]:
        left, left_error = _better(best.left, best.left_error, other.left, other.left_error)
        right, right_error = _better(best.right, best.right_error, other.right, other.right_error)
        both, both_error = _better(best.both, best.both_error, other.both, other.both_error)
        best = Slopes(left, right, left_error, right_error, both, both_error, other.jumps)
    return best


def _better(a: Array, a_error: Array, b: Array, b_error: Array) -> tuple[Array, Array]:
    """`b`, of the smaller scale, where it knows better or has no bound."""
    takes_b = ~(a_error < b_error) | np.isinf(b)
    return np.where(takes_b, b, a), np.where(takes_b, b_error, a_error)


def _slopes_at(value: Callable[[float], Array], base: Array, scale: float) -> Slopes:
    steps = 1.6 * scale / 4.0 ** np.arange(_QUARTERINGS)
    ahead = np.array([value(float(h)) for h in steps])
    behind = np.array([value(-float(h)) for h in steps])
    by_step = steps.reshape(-1, *(1,) * base.ndim)
    rounding = 8 * _EPSILON * np.maximum(_largest(base[None]), np.maximum(_largest(ahead), _largest(behind)))
    both, both_error = _extrapolated((ahead - behind) / (2 * by_step), by_step, rounding, 16, scale)
    bends = (ahead - base) - (base - behind)
    sure, sure_error, smooth = _find_smooth(ahead - behind, bends, by_step, rounding, scale)
    takes_sure = smooth & ~(np.abs(both - sure) <= 4 * (both_error + sure_error))
    both, both_error = np.where(takes_sure, sure, both), np.where(takes_sure, sure_error, both_error)
    sides = []
    for change in (base - behind, ahead - base):
        quotients = change / by_step
        slope, error = _extrapolated(quotients, by_step, rounding, 4, scale)
        grows = _grows(quotients, np.abs(change) > 1e3 * rounding) & ~smooth
        slope, error = np.where(smooth, both, slope), np.where(smooth, both_error, error)
        slope = np.where(grows, np.copysign(np.inf, quotients[-1]), slope)
        missing = ~np.isfinite(change[-_WINDOW:]).all(axis=0)
        sides.append((np.where(missing, np.nan, slope), np.where(grows, 0.0, error), grows & _stays(change)))
    (left, left_error, left_jump), (right, right_error, right_jump) = sides
    return Slopes(left, right, left_error, right_error, both, both_error, left_jump | right_jump)


def _find_smooth(differences: Array, bends: Array, steps: Array, rounding: Array, scale: float) -> tuple[Array, Array, Array]:
    """The slope by the larger steps, its error, and where they are sure of it: they agree, and the two sides do not differ."""
    steps, rounding = steps[:_COARSE], rounding[:_COARSE]
    slope, error = _best_of_table(differences[:_COARSE] / (2 * steps), steps, rounding, 16, scale)
    bend, off = _best_of_table(bends[:_COARSE] / steps, steps, rounding, 4, scale)
    most = _SHARP * np.abs(slope)
    return slope, error, (error <= most) & (np.abs(bend) + off <= most)


def _largest(values: Array) -> Array:
    """The largest finite entry for each step: entries may be sums of one another's terms."""
    sizes = np.where(np.isfinite(values), np.abs(values), 0.0)
    return np.asarray(np.max(sizes, axis=tuple(range(1, sizes.ndim)), initial=0.0, keepdims=True))


def _extrapolated(quotients: Array, steps: Array, rounding: Array, factor: float, scale: float) -> tuple[Array, Array]:
    best, least = _best_of_table(quotients, steps, rounding, factor, scale)
    return best, np.minimum(least, 1e-3 * np.abs(best) + 1e-6)


def _best_of_table(quotients: Array, steps: Array, rounding: Array, factor: float, scale: float) -> tuple[Array, Array]:
    """Richardson's table of quotients whose error falls by `factor`, its square, ... a step; its best entry, with its error."""
    best = np.full(quotients.shape[1:], np.nan)
    least = np.full(quotients.shape[1:], np.inf)
    column = quotients
    for j in range(1, _COLUMNS):
        coarser, weight = column, factor**j
        column = (weight * coarser[1:] - coarser[:-1]) / (weight - 1)
        error = np.abs(np.diff(column, axis=0)) + np.abs(column[1:] - coarser[2:])
        error = error + (rounding[j + 1 :] + 4 * _EPSILON * scale * np.abs(column[1:])) / steps[j + 1 :]
        error = np.where(np.isfinite(error), error, np.inf)
        at = np.argmin(error, axis=0)[None]
        value, off = np.take_along_axis(column[1:], at, 0)[0], np.take_along_axis(error, at, 0)[0]
        best, least = np.where(off < least, value, best), np.minimum(off, least)
    return best, least


def _grows(quotients: Array, clear: Array) -> Array:
    """Where quotients grow without bound: each change as large as the one before, over the last steps clear of rounding."""
    grows = np.zeros(quotients.shape[1:], bool)
    decided = np.zeros(quotients.shape[1:], bool)
    changes = np.diff(quotients, axis=0)
    for last in range(len(quotients) - 1, _WINDOW, -1):
        window = changes[last - _WINDOW : last]
        steady = np.all(np.abs(window[1:]) >= 0.9 * np.abs(window[:-1]), axis=0) & np.all(window * np.sign(window[0]) > 0, axis=0)
        steady &= np.abs(window.sum(axis=0)) > 0.05 * np.abs(quotients[last])  # what rounding leaves is not that much
        usable = clear[last - _WINDOW : last + 1].all(axis=0) & np.isfinite(window).all(axis=0)
        grows |= usable & ~decided & steady
        decided |= usable
    return grows


def _stays(change: Array) -> Array:
    """Where the value does not come near that at the point."""
    return np.asarray(np.abs(change[-1]) > 0.5 * np.abs(change[-_WINDOW]))


def join(v: Any, low: Array, high: Array) -> tuple[float, float]:
    """The bounds of sum(v * slope), for slopes between `low` and `high`."""
    weights = np.asarray(v)
    ends = np.where(weights == 0, 0.0, weights * low), np.where(weights == 0, 0.0, weights * high)
    return float(np.minimum(*ends).sum()), float(np.maximum(*ends).sum())
