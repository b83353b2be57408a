"""Smooth functions that are written with kinked ops, and functions written out: true derivatives, to the order that exists.

The oracle is mpmath: the Taylor coefficients of the smooth function along a direction, with 40 digits.
"""

import math

import mpmath as mp
import numpy as np
import pytest

import gradc as gc
from gradc import passes

PIPELINES = {"none": passes.NONE, "exact": passes.EXACT, "default": passes.DEFAULT}
MODES = ("reverse", "forward", "mixed", "other")


def directional(fn, point, direction, order, modes, forms=True, kinks="convention"):
    """A graph of the derivative of that order of fn(x), a number, along a direction; its output's name, and the feeds."""
    graph = gc.Graph("smooth")
    x = graph.placeholder("x", point.shape, point.dtype)
    graph.output("s0", fn(x))
    feeds, name = {"x": point}, "s0"
    for k in range(order):
        forward = {"reverse": False, "forward": True, "mixed": k > 0, "other": k == 0}[modes]
        before = set(graph.placeholders)
        graph = gc.differentiate(
            graph, "x", of=name, mode="forward" if forward else "reverse", on_disconnected="zeros", forms=forms, kinks=kinks
        )
        name = list(graph.outputs)[-1]
        if forward:
            (dot,) = set(graph.placeholders) - before
            feeds[dot] = direction.astype(point.dtype)
        else:
            slope = graph.outputs[name]
            name = f"s{k + 1}"
            graph.output(name, (slope * gc.constant(direction.astype(point.dtype))).sum())
    return graph, name, feeds


def values(fn, point, direction, order, modes, **options):
    """That derivative by `evaluate`, and compiled by each pipeline."""
    graph, name, feeds = directional(fn, point, direction, order, modes, **options)
    found = {"evaluate": gc.evaluate(graph, feeds)[graph.outputs[name]]}
    for pipeline, chosen in PIPELINES.items():
        found[pipeline] = graph.compile([name], passes=chosen)(feeds)[name]
    return {key: float(value) for key, value in found.items()}


def exactly(smooth, point, direction, order):
    with mp.workdps(40):
        at = [mp.mpf(float(v)) for v in point.ravel()]
        along = [mp.mpf(float(v)) for v in direction.ravel()]
        return float(mp.diff(lambda t: smooth([a + t * d for a, d in zip(at, along, strict=True)]), 0, order))


def squares(v):
    return sum(x * x for x in v)


def total(f):
    return lambda v: sum(map(f, v))


def mp_softplus(x):
    return mp.log(1 + mp.exp(x))


def sqrt_of_squares(x):
    return np.sqrt((x * x).sum())


def matern_3(r, c=math.sqrt(3)):
    return (1 + c * r) * np.exp(-c * r)


def matern_5(r, c=math.sqrt(5)):
    return (1 + c * r + c * c / 3 * r**2) * np.exp(-c * r)


ORIGIN, BESIDE = np.zeros(3), np.array([0.3, -0.7, 1.1])
HALF = np.array([0.0, -0.4, 0.9])
EQUAL = np.full(3, 1.25)
Y = np.array([0.0, 1.0, 0.25])
W = np.array([0.5, -2.0, 3.0])
LOG2 = math.log(2)

# name -> written, smooth in mpmath
SMOOTH = {
    "norm**2": (lambda x: np.linalg.norm(x) ** 2, squares),
    "norm*norm": (lambda x: np.linalg.norm(x) * np.linalg.norm(x), squares),
    "0.5*n*n": (lambda x: 0.5 * np.linalg.norm(x) * np.linalg.norm(x), lambda v: squares(v) / 2),
    "square(norm)": (lambda x: np.square(np.linalg.norm(x)), squares),
    "multiply(n, n)": (lambda x: (lambda n: np.multiply(n, n))(np.linalg.norm(x)), squares),
    "norm**4": (lambda x: np.linalg.norm(x) ** 4, lambda v: squares(v) ** 2),
    "norm**6": (lambda x: np.power(np.linalg.norm(x), 6.0), lambda v: squares(v) ** 3),
    "norm of a difference": (lambda x: np.linalg.norm(x - BESIDE + BESIDE) ** 2, squares),
    "norm scaled": (lambda x: (np.linalg.norm(x) / 0.5) ** 2, lambda v: 4 * squares(v)),
    "norm negated": (lambda x: (-np.linalg.norm(x)) ** 2, squares),
    "norm along an axis": (lambda x: (np.linalg.norm(x.reshape(3, 1), axis=1) ** 2).sum(), squares),
    "norm, keepdims": (lambda x: (np.linalg.norm(x.reshape(1, 3), axis=1, keepdims=True) ** 2).sum(), squares),
    "norm, moved": (lambda x: (np.linalg.norm(x.reshape(1, 3), axis=1)[:, None] ** 2).sum(), squares),
    "norm, picked": (lambda x: np.square(np.linalg.norm(x.reshape(3, 1), axis=1)[np.array([0, 1, 2])]).sum(), squares),
    "gaussian": (lambda x: np.exp(-(np.linalg.norm(x) ** 2)), lambda v: mp.exp(-squares(v))),
    "gaussian, a length": (lambda x: np.exp(-0.5 * (np.linalg.norm(x) / 0.7) ** 2), lambda v: mp.exp(-squares(v) / (2 * mp.mpf(0.7) ** 2))),
    "sqrt(sum)**2": (lambda x: sqrt_of_squares(x) ** 2, squares),
    "sqrt(x @ x)**2": (lambda x: np.sqrt(x @ x) ** 2, squares),
    "sqrt(sum)**4": (lambda x: sqrt_of_squares(x) ** 4, lambda v: squares(v) ** 2),
    "abs**2": (lambda x: (np.abs(x) ** 2).sum(), squares),
    "abs*abs": (lambda x: (np.abs(x) * np.abs(x)).sum(), squares),
    "fabs**2": (lambda x: (np.fabs(x) ** 2).sum(), squares),
    "abs**4": (lambda x: (np.abs(x) ** 4).sum(), total(lambda t: t**4)),
    "(2 abs)**2": (lambda x: ((2 * np.abs(x)) ** 2).sum(), lambda v: 4 * squares(v)),
    "sqrt(x**2)**2": (lambda x: (np.sqrt(x**2) ** 2).sum(), squares),
    "max(x, -x)**2": (lambda x: (np.maximum(x, -x) ** 2).sum(), squares),
    "abs(x**2)": (lambda x: np.abs(x**2).sum(), squares),
    "relu(x**2)": (lambda x: gc.relu(x**2).sum(), squares),
    "max(x**2, 0)": (lambda x: np.maximum(x * x, 0).sum(), squares),
    "hypot**2": (lambda x: (np.hypot(x, 2 * x) ** 2).sum(), lambda v: 5 * squares(v)),
    "hypot**4": (lambda x: (np.hypot(x, 2 * x) ** 4).sum(), total(lambda t: 25 * t**4)),
    "cos(abs)": (lambda x: np.cos(np.abs(x)).sum(), total(mp.cos)),
    "cos(2 abs)": (lambda x: np.cos(2 * np.abs(x)).sum(), total(lambda t: mp.cos(2 * t))),
    "cosh(abs)": (lambda x: np.cosh(np.abs(x)).sum(), total(mp.cosh)),
    "sign(x) abs(x)": (lambda x: (np.sign(x) * np.abs(x)).sum(), total(lambda t: t)),
    "pseudo-Huber": (lambda x: np.sqrt(1 + (np.abs(x) / 0.5) ** 2).sum(), total(lambda t: mp.sqrt(1 + 4 * t * t))),
    "pseudo-Huber of a norm": (lambda x: np.sqrt(1 + np.linalg.norm(x) ** 2), lambda v: mp.sqrt(1 + squares(v))),
    "Huber's parabola": (lambda x: np.where(np.abs(x) <= 2, 0.5 * np.abs(x) ** 2, 2 * np.abs(x) - 2).sum(), lambda v: squares(v) / 2),
    "relu + log1p": (lambda x: (gc.relu(x) + np.log1p(np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "max + log1p": (lambda x: (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "max + log(1 + exp)": (lambda x: (np.maximum(0, x) + np.log(1 + np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "where + log1p": (lambda x: (np.where(x > 0, x, 0) + np.log1p(np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "where >= + log1p": (lambda x: (np.where(x >= 0, x, 0) + np.log1p(np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "where < + log1p": (lambda x: (np.where(x < 0, 0, x) + np.log1p(np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "clip + log1p": (lambda x: (np.clip(x, 0, None) + np.log1p(np.exp(-np.abs(x)))).sum(), total(mp_softplus)),
    "log1p + softplus of abs": (lambda x: (gc.softplus(-np.abs(x)) + gc.relu(x)).sum(), total(mp_softplus)),
    "relu(-x)": (lambda x: (gc.relu(-x) + np.log1p(np.exp(-np.abs(x)))).sum(), total(lambda t: mp_softplus(-t))),
    "min - log1p": (lambda x: (np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))).sum(), total(lambda t: -mp_softplus(-t))),
    "scaled": (lambda x: (gc.relu(3 * x) + np.log1p(np.exp(-3 * np.abs(x)))).sum(), total(lambda t: mp_softplus(3 * t))),
    "coefficients": (lambda x: (2.5 * gc.relu(x) + 2.5 * np.log1p(np.exp(-np.abs(x)))).sum(), total(lambda t: 2.5 * mp_softplus(t))),
    "weights": (
        lambda x: (W * gc.relu(x) + W * np.log1p(np.exp(-np.abs(x)))).sum(),
        lambda v: sum(w * mp_softplus(t) for w, t in zip(W, v, strict=True)),
    ),
    "weights outside": (
        lambda x: (W * (gc.relu(x) + np.log1p(np.exp(-np.abs(x))))).sum(),
        lambda v: sum(w * mp_softplus(t) for w, t in zip(W, v, strict=True)),
    ),
    "across sums": (lambda x: gc.relu(x).sum() + np.log1p(np.exp(-np.abs(x))).sum(), total(mp_softplus)),
    "across means": (
        lambda x: gc.relu(x).mean() + 2.0 - (x * Y).mean() + np.log1p(np.exp(-np.abs(x))).mean(),
        lambda v: 2 + sum(mp_softplus(t) - t * y for t, y in zip(v, Y, strict=True)) / 3,
    ),
    "cross entropy": (
        lambda x: np.mean(np.maximum(x, 0) - x * Y + np.log1p(np.exp(-np.abs(x)))),
        lambda v: sum(mp_softplus(t) - t * y for t, y in zip(v, Y, strict=True)) / 3,
    ),
    "cross entropy, relu": (
        lambda x: -np.mean(x * Y - gc.relu(x) - np.log(1 + np.exp(-np.abs(x)))),
        lambda v: sum(mp_softplus(t) - t * y for t, y in zip(v, Y, strict=True)) / 3,
    ),
    "relu - relu": (lambda x: (gc.relu(x) - gc.relu(-x)).sum(), total(lambda t: t)),
    "relu**2 + relu**2": (lambda x: (gc.relu(x) ** 2 + gc.relu(-x) ** 2).sum(), squares),
    "log cosh": (lambda x: (np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - LOG2).sum(), total(lambda t: mp.log(mp.cosh(t)))),
    "log cosh, softplus": (lambda x: (np.abs(x) + gc.softplus(-2 * np.abs(x)) - LOG2).sum(), total(lambda t: mp.log(mp.cosh(t)))),
    "log cosh of 3x": (
        lambda x: (3 * np.abs(x) + np.log1p(np.exp(-6 * np.abs(x))) - LOG2).sum(),
        total(lambda t: mp.log(mp.cosh(3 * t))),
    ),
    "log(cosh)": (lambda x: np.log(np.cosh(x)).sum(), total(lambda t: mp.log(mp.cosh(t)))),
    "logaddexp by max": (
        lambda x: (np.maximum(x, 2 * x) + np.log1p(np.exp(-np.abs(x - 2 * x)))).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
    "logaddexp by max, turned": (
        lambda x: (np.maximum(x, 2 * x) + np.log1p(np.exp(-np.abs(2 * x - x)))).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
    "logaddexp by where": (
        lambda x: (np.where(x > 2 * x, x, 2 * x) + np.log1p(np.exp(-np.abs(x - 2 * x)))).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
    "logaddexp by shift": (
        lambda x: (lambda m: m + np.log(np.exp(x - m) + np.exp(2 * x - m)))(np.maximum(x, 2 * x)).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
}

# name -> written, of which order the derivative at the origin still exists, smooth away from it
ROUGH = {
    "Matérn 3/2": (lambda x: matern_3(np.linalg.norm(x)), 2, lambda v: (lambda t: (1 + t) * mp.exp(-t))(mp.sqrt(3 * squares(v)))),
    "Matérn 3/2, abs": (
        lambda x: matern_3(np.abs(x)).sum(),
        2,
        total(lambda u: (lambda t: (1 + t) * mp.exp(-t))(mp.sqrt(3) * abs(u))),
    ),
    "Matérn 3/2, a variance": (
        lambda x: 2.0 * (1 + math.sqrt(3) * np.linalg.norm(x) / 0.5) * np.exp(-math.sqrt(3) * np.linalg.norm(x) / 0.5),
        2,
        lambda v: (lambda t: 2 * (1 + t) * mp.exp(-t))(mp.sqrt(12 * squares(v))),
    ),
    "Matérn 3/2, sqrt": (
        lambda x: matern_3(np.sqrt(np.sum(x**2)), 1.5),
        2,
        lambda v: (lambda t: (1 + t) * mp.exp(-t))(mp.sqrt(squares(v)) * 1.5),
    ),
    "Matérn 5/2": (
        lambda x: matern_5(np.linalg.norm(x)),
        4,
        lambda v: (lambda t: (1 + t + t * t / 3) * mp.exp(-t))(mp.sqrt(5 * squares(v))),
    ),
    "Matérn 5/2, squares": (
        lambda x: (lambda s: (1 + np.sqrt(5 * s) + 5 / 3 * s) * np.exp(-np.sqrt(5 * s)))(np.sum(x * x)),
        4,
        lambda v: (lambda t: (1 + t + t * t / 3) * mp.exp(-t))(mp.sqrt(5 * squares(v))),
    ),
    "Matérn 5/2, abs": (
        lambda x: (lambda t: (1 + t + t**2 / 3) * np.exp(-t))(math.sqrt(5) * np.abs(x) / 2).sum(),
        4,
        total(lambda u: (lambda t: (1 + t + t * t / 3) * mp.exp(-t))(mp.sqrt(5) * abs(u) / 2)),
    ),
    "norm**3": (lambda x: np.linalg.norm(x) ** 3, 2, lambda v: mp.sqrt(squares(v)) ** 3),
    "norm**5": (lambda x: np.linalg.norm(x) ** 5, 4, lambda v: mp.sqrt(squares(v)) ** 5),
    "hypot**3": (lambda x: (np.hypot(x, x) ** 3).sum(), 2, total(lambda t: mp.sqrt(2 * t * t) ** 3)),
    "norm**2.5": (lambda x: np.linalg.norm(x) ** 2.5, 2, lambda v: mp.sqrt(squares(v)) ** 2.5),
}
DIRECTION = np.array([0.6, -1.3, 0.45])


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("point", [ORIGIN, BESIDE, HALF], ids=["origin", "beside", "half"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_their_true_derivatives(name, point, modes):
    written, smooth = SMOOTH[name]
    for order in (1, 2, 3):
        wanted = exactly(smooth, point, DIRECTION, order)
        for where, got in values(written, point, DIRECTION, order, modes).items():
            assert got == pytest.approx(wanted, rel=1e-10, abs=1e-10), (order, where)


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("name", ROUGH)
def test_what_is_smooth_to_some_order_is_right_to_that_order(name, modes):
    written, last, smooth = ROUGH[name]
    for order in range(1, 4):
        wanted = exactly(smooth, BESIDE, DIRECTION, order)
        for where, got in values(written, BESIDE, DIRECTION, order, modes).items():
            assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9), (order, where)
        if order <= last:
            wanted = 0.0 if order % 2 or not name.startswith("Mat") else limit(smooth, order)
            for where, got in values(written, ORIGIN, DIRECTION, order, modes).items():
                assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9), (order, where)


def limit(smooth, order):
    """The derivative of an even function at 0, from one side."""
    with mp.workdps(40):
        along = [mp.mpf(float(v)) for v in DIRECTION]
        return float(mp.taylor(lambda t: smooth([t * d for d in along]), mp.mpf("1e-12"), order)[order] * math.factorial(order))
