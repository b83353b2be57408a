"""The truth, to hundreds of digits: mpmath's functions, and differences whose step is so small that their error does not show.

No rule of differentiation is used. Where the slopes on both sides of a point differ, or do not exist, there is no truth: NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
from mpmath import mp

from benchmarks.compare.programs import Answer, Array, Program, run, weights
from gradc.ir import FUNCTIONS

_STEP = mpmath.mpf(10) ** -40
_SMALLEST = mpmath.mpf(10) ** -400
_NOTHING = mpmath.mpf(10) ** -345
_HUGE = mpmath.mpf(2) ** 60


class NoTruth(Exception):
    """A function that is not here, or a point where it has no real value."""


def _real(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` on entries; NaN where its value is not real."""

    def entry(*xs: Any) -> Any:
        if any(mpmath.isnan(x) for x in xs):
            return mp.nan
        try:
            value = mpmath.mpmathify(function(*xs))
        except (ZeroDivisionError, ValueError):
            return mp.nan
        return value if isinstance(value, mpmath.mpf) else mp.nan

    def apply(*operands: Any) -> Any:
        return np.frompyfunc(entry, len(operands), 1)(*operands)

    return apply


def _exp(x: Any) -> Any:
    if x > _HUGE:
        raise NoTruth("an exponential beyond all bounds")
    return mp.zero if x < -_HUGE else mp.exp(x)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + _exp(-x)) if x > 0 else _exp(x) / (1 + _exp(x))


def _arctan2(y: Any, x: Any) -> Any:
    if x == y == 0:
        raise NoTruth("the signs of zeros decide")
    return mp.atan2(y, x)


def _stepwise(function: Callable[[Any], Any], x: Any) -> Any:
    if abs(x) > 1e20:
        raise NoTruth("steps that are narrower than the differences")
    return function(x)


def _hard_sigmoid(x: Any) -> Any:
    return min(max(x + 3, 0), 6) / 6


def _softplus(x: Any) -> Any:
    return max(x, 0) + mp.log1p(_exp(-abs(x)))


def _power(x: Any, y: Any) -> Any:
    if y and x and abs(y * mp.log(abs(x))) > _HUGE:
        raise NoTruth("a power beyond all bounds")
    return mp.one if y == 0 else mp.power(x, y)


def _log(x: Any) -> Any:
    return -mp.inf if x == 0 else mp.log(x)


def _tanh(x: Any) -> Any:
    return mp.sign(x) if abs(x) > 10**6 else mp.tanh(x)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "positive": lambda x: x,
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
    "rad2deg": lambda x: x * 180 / mp.pi,
    "deg2rad": lambda x: x * mp.pi / 180,
    "ldexp": lambda x, n: x * mpmath.mpf(2) ** int(n),
    "power": _power,
    "float_power": _power,
    "sqrt": mp.sqrt,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "exp": _exp,
    "exp2": lambda x: _exp(x * mp.ln2),
    "expm1": lambda x: _exp(x) - 1 if abs(x) > 1 else mp.expm1(x),
    "log": _log,
    "log2": lambda x: _log(x) / mp.ln2,
    "log10": lambda x: _log(x) / mp.ln10,
    "log1p": lambda x: mp.log1p(x) if x > -1 else _log(1 + x),
    "logaddexp": lambda x, y: max(x, y) + mp.log1p(_exp(-abs(x - y))),
    "logaddexp2": lambda x, y: max(x, y) + mp.log1p(_exp(-abs(x - y) * mp.ln2)) / mp.ln2,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "sinh": lambda x: (_exp(x) - _exp(-x)) / 2,
    "cosh": lambda x: (_exp(x) + _exp(-x)) / 2,
    "tanh": _tanh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "hypot": mp.hypot,
    "arctan2": _arctan2,
    "abs": abs,
    "fabs": abs,
    "sign": mp.sign,
    "floor": lambda x: _stepwise(mp.floor, x),
    "ceil": lambda x: _stepwise(mp.ceil, x),
    "trunc": lambda x: _stepwise(mp.floor if x > 0 else mp.ceil, x),
    "rint": lambda x: _stepwise(mp.nint, x),
    "maximum": max,
    "minimum": min,
    "fmax": max,
    "fmin": min,
    "remainder": lambda x, y: x - y * _stepwise(mp.floor, x / y),
    "fmod": lambda x, y: x - y * _stepwise(mp.floor if x / y > 0 else mp.ceil, x / y),
    "floor_divide": lambda x, y: _stepwise(mp.floor, x / y),
    "sinc": lambda x: mp.sinc(mp.pi * x),
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky_relu": lambda x: x if x > 0 else x / 100,
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "celu": lambda x: x if x > 0 else mp.expm1(x),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x),
    "logit": lambda x: mp.log(x / (1 - x)),
    "silu": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * _tanh(_softplus(x)),
    "gelu": lambda x: x * mp.ncdf(x) if abs(x) < 10**4 else max(x, 0),
    "xlogy": lambda x, y: mp.zero if x == 0 else x * mp.log(y),
    "xlog1py": lambda x, y: mp.zero if x == 0 else x * mp.log1p(y),
    "erf": lambda x: mp.erf(x) if abs(x) < 10**4 else mp.sign(x),
    "erfc": lambda x: mp.erfc(x) if abs(x) < 10**4 else 1 - mp.sign(x),
    "ndtr": lambda x: mp.ncdf(x) if abs(x) < 10**4 else (1 + mp.sign(x)) / 2,
    "lgamma": lambda x: mp.log(abs(mp.gamma(x))) if abs(x) < 10**4 else mp.loggamma(x),
    "digamma": mp.digamma,
}


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction over `axis`, from a function of a list of numbers."""

    def reduce(x: Any, axis: Any = None, keepdims: bool = False, **more: Any) -> Any:
        axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(a % x.ndim for a in axes)
        kept = [k for k in range(x.ndim) if k not in axes]
        rows = np.transpose(x, [*kept, *axes]).reshape(*(x.shape[k] for k in kept), -1)
        result = np.empty(rows.shape[:-1], object)
        for place in np.ndindex(result.shape):
            result[place] = function(list(rows[place]), **more)
        return np.expand_dims(result, axes) if keepdims else result

    return reduce


def _variance(xs: list[Any], ddof: int = 0) -> Any:
    mean = mp.fsum(xs) / len(xs)
    return mp.fsum((x - mean) ** 2 for x in xs) / (len(xs) - ddof)


def _logsumexp(xs: list[Any]) -> Any:
    largest = max(xs)
    return largest + mp.log(mp.fsum(_exp(x - largest) for x in xs))


def _norm(xs: list[Any], ord: Any = 2) -> Any:
    if ord in (None, 2):
        return mp.sqrt(mp.fsum(x * x for x in xs))
    if ord == 1:
        return mp.fsum(abs(x) for x in xs)
    if ord == np.inf:
        return max(abs(x) for x in xs)
    raise NoTruth(f"no norm of order {ord}")


def _log_softmax(x: Any, axis: int = -1) -> Any:
    return x - _reduced(_logsumexp)(x, axis, True)


def _cross_entropy(x: Any, labels: Any) -> Any:
    return -np.take_along_axis(_log_softmax(x), np.asarray(labels)[..., None], -1)[..., 0]


OTHER: dict[str, Callable[..., Any]] = {
    "mean": _reduced(lambda xs: mp.fsum(xs) / len(xs)),
    "nanmean": _reduced(lambda xs: mp.fsum(xs) / len(xs)),
    "nansum": lambda x, axis=None, keepdims=False: np.sum(x, axis=axis, keepdims=keepdims),
    "max": _reduced(max),
    "min": _reduced(min),
    "ptp": _reduced(lambda xs: max(xs) - min(xs)),
    "var": _reduced(_variance),
    "std": _reduced(lambda xs, ddof=0: mp.sqrt(_variance(xs, ddof))),
    "logsumexp": _reduced(_logsumexp),
    "norm": _reduced(_norm),
    "vector_norm": _reduced(_norm),
    "log_softmax": _log_softmax,
    "softmax": lambda x, axis=-1: _real(_exp)(_log_softmax(x, axis)),
    "softmax_cross_entropy": _cross_entropy,
    "matmul": np.matmul,
    "where": lambda condition, x, y: np.where(np.asarray(condition).astype(bool), x, y),
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "getitem": lambda x, index: x[index],
    "median": _reduced(lambda xs: (sorted(xs)[(len(xs) - 1) // 2] + sorted(xs)[len(xs) // 2]) / 2),
    **{name: getattr(np, name) for name in ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]},
}


def call(name: str, operands: list[Any], attrs: dict[str, Any]) -> Any:
    """One step, on arrays of mpmath's numbers; NumPy's own function where it keeps them."""
    if name in ELEMENTWISE and not attrs:
        return np.asarray(_real(ELEMENTWISE[name])(*operands), object)
    known = OTHER.get(name) or _moving(name)
    result = known(*operands, **attrs)
    if isinstance(result, (tuple, list)):
        return [_kept(r) for r in result]
    return result if isinstance(result, np.ndarray) and result.dtype == bool else _kept(result)


def _moving(name: str) -> Callable[..., Any]:
    """NumPy's function of that name: it is exact where it only moves, adds and multiplies entries."""
    target = next(iter(FUNCTIONS[name].numpy), None)
    if target in (None, np.quantile, np.percentile) or isinstance(target, np.ufunc):
        raise NoTruth(name)
    found: Callable[..., Any] = target
    return found


def _kept(result: Any) -> Array:
    array = np.asarray(result)
    if array.dtype != object:
        raise NoTruth("digits were lost")
    return array


def truth(program: Program) -> Answer | None:
    """Values and gradients to the last bit of float64; None where they cannot be had."""
    if not all(np.all(np.isfinite(a)) for a in program.inputs if a.dtype.kind == "f"):
        return None
    extreme = any(np.any((abs(a) < 1e-30) | (abs(a) > 1e30)) for a in program.inputs if a.dtype.kind == "f")
    with mpmath.workdps((900 if program.order == 1 else 1600) if extreme else 250):
        try:
            inputs = [_lifted(a) for a in program.inputs]
            values = [_rounded(np.asarray(y)) for y in run(program, call, inputs)]
            gradients = [_gradient(program, inputs, k, program.order) for k in program.variables]
            if not _is_linear(program, inputs, gradients):
                gradients = [np.full(g.shape, mp.nan) for g in gradients]
            return Answer(values, [_rounded(g) for g in gradients])
        except (NoTruth, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError, MemoryError):
            return None


def _lifted(array: Array) -> Any:
    if array.dtype.kind != "f":
        return array
    lifted = np.empty(array.shape, object)
    for place in np.ndindex(array.shape):
        lifted[place] = mpmath.mpf(float(array[place]))
    return lifted


def _rounded(entries: Any) -> Array:
    if entries.dtype == bool:
        return np.asarray(entries)
    rounded = np.empty(entries.shape)
    for place in np.ndindex(entries.shape):
        rounded[place] = float(entries[place])
    return rounded


def _gradient(program: Program, inputs: Sequence[Any], k: int, order: int) -> Any:
    """The slope along each entry of input `k`, NaN at a kink."""
    gradient = np.empty(inputs[k].shape, object)
    middle = _parts(program, inputs, order)
    for place in np.ndindex(inputs[k].shape):
        x = inputs[k][place]
        step = _step(x)
        low, high = (_parts(program, _moved(inputs, k, place, x + d), order) for d in (-step, step))
        left, right = _rise(program, low, middle) / step, _rise(program, middle, high) / step
        close = abs(left - right) <= 1e-12 * max(abs(left), abs(right)) + _NOTHING
        gradient[place] = (left + right) / 2 if close else mp.nan
    return gradient


def _is_linear(program: Program, inputs: Sequence[Any], gradients: Sequence[Any]) -> bool:
    """True where the slope in a direction between the axes, forwards and backwards, is what the gradient says."""
    known = [(k, g) for k, g in zip(program.variables, gradients, strict=True) if not any(map(mpmath.isnan, g.flat))]
    directions = {k: _direction(inputs[k]) for k, _ in known if inputs[k].size}
    if not directions:
        return True
    terms = [s * d for k, g in known if g.size for s, d in zip(g.flat, directions[k].flat, strict=True)]
    expected, bound = mp.fsum(terms), 1e-12 * mp.fsum(map(abs, terms)) + _NOTHING * _SMALLEST
    low, middle, high = (
        _parts(
            program,
            [np.asarray(a + sign * directions[k], object) if k in directions else a for k, a in enumerate(inputs)],
            program.order,
        )
        for sign in (-1, 0, 1)
    )
    return all(abs(_rise(program, a, b) - expected) <= bound for a, b in ((low, middle), (middle, high)))


def _direction(entries: Any) -> Any:
    steps = np.frompyfunc(_step, 1, 1)(entries)
    return np.asarray(_lifted(1.25 + 0.5 * weights(entries.shape, False) ** 2) * steps, object)


def _step(x: Any) -> Any:
    return min(abs(x), 1) * _STEP if x else _SMALLEST


def _moved(inputs: Sequence[Any], k: int, place: tuple[int, ...], x: Any) -> list[Any]:
    moved = inputs[k].copy()
    moved[place] = x
    return [*inputs[:k], moved, *inputs[k + 1 :]]


def _parts(program: Program, inputs: Sequence[Any], order: int) -> list[Any]:
    """What is summed to be differentiated: the outputs, or the gradient of the order before."""
    if order > 1:
        return [_gradient(program, inputs, k, order - 1) for k in program.variables]
    return [y for y in map(np.asarray, run(program, call, inputs)) if y.dtype != bool]


def _rise(program: Program, before: Sequence[Any], after: Sequence[Any]) -> Any:
    """By how much the weighted sum grows: entry by entry, so that a large one does not hide a small one."""
    terms = []
    for a, b in zip(before, after, strict=True):
        terms += [mpmath.mpf(w) * (y - x) for w, x, y in zip(weights(a.shape, program.plain).flat, a.flat, b.flat, strict=True)]
    return mp.fsum(terms)
