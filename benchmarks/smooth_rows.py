"""Smooth functions that are written with kinked or degenerate ops: how they are written, and what they are, in mpmath.

`written(m, x)` takes its functions from a namespace `m` (NumPy's names, and those of gradc), so that each library builds it from
its own. Used by `benchmarks.smooth`, and by the tests of forms.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np


def squares(v):
    return sum(x * x for x in v)


def total(f):
    return lambda v: sum(map(f, v))


def mp_softplus(x):
    return mp.log(1 + mp.exp(x))


def sqrt_of_squares(m, x):
    return m.sqrt((x * x).sum())


def matern_3(m, r, c=3**0.5):
    return (1 + c * r) * m.exp(-c * r)


def matern_5(m, r, c=5**0.5):
    return (1 + c * r + c * c / 3 * r**2) * m.exp(-c * r)


BESIDE = np.array([0.3, -0.7, 1.1])
Y = np.array([0.0, 1.0, 0.25])
W = np.array([0.5, -2.0, 3.0])
LOG2 = math.log(2)
DIRECTION = np.array([0.6, -1.3, 0.45])

# name -> written, smooth in mpmath
SMOOTH = {
    "norm**2": (lambda m, x: m.norm(x) ** 2, squares),
    "norm*norm": (lambda m, x: m.norm(x) * m.norm(x), squares),
    "0.5*n*n": (lambda m, x: 0.5 * m.norm(x) * m.norm(x), lambda v: squares(v) / 2),
    "square(norm)": (lambda m, x: m.square(m.norm(x)), squares),
    "multiply(n, n)": (lambda m, x: (lambda n: m.multiply(n, n))(m.norm(x)), squares),
    "norm**4": (lambda m, x: m.norm(x) ** 4, lambda v: squares(v) ** 2),
    "norm**6": (lambda m, x: m.power(m.norm(x), 6.0), lambda v: squares(v) ** 3),
    "norm of a difference": (lambda m, x: m.norm(x - m.array(BESIDE) + m.array(BESIDE)) ** 2, squares),
    "norm scaled": (lambda m, x: (m.norm(x) / 0.5) ** 2, lambda v: 4 * squares(v)),
    "norm negated": (lambda m, x: (-m.norm(x)) ** 2, squares),
    "norm along an axis": (lambda m, x: (m.norm(x.reshape(3, 1), axis=1) ** 2).sum(), squares),
    "norm, keepdims": (lambda m, x: (m.norm(x.reshape(1, 3), axis=1, keepdims=True) ** 2).sum(), squares),
    "norm, moved": (lambda m, x: (m.norm(x.reshape(1, 3), axis=1)[:, None] ** 2).sum(), squares),
    "norm, picked": (lambda m, x: m.square(m.norm(x.reshape(3, 1), axis=1)[m.array([0, 1, 2])]).sum(), squares),
    "gaussian": (lambda m, x: m.exp(-(m.norm(x) ** 2)), lambda v: mp.exp(-squares(v))),
    "gaussian, a length": (
        lambda m, x: m.exp(-0.5 * (m.norm(x) / 0.7) ** 2),
        lambda v: mp.exp(-squares(v) / (2 * mp.mpf(0.7) ** 2)),
    ),
    "sqrt(sum)**2": (lambda m, x: sqrt_of_squares(m, x) ** 2, squares),
    "sqrt(x @ x)**2": (lambda m, x: m.sqrt(x @ x) ** 2, squares),
    "sqrt(sum)**4": (lambda m, x: sqrt_of_squares(m, x) ** 4, lambda v: squares(v) ** 2),
    "abs**2": (lambda m, x: (m.abs(x) ** 2).sum(), squares),
    "abs*abs": (lambda m, x: (m.abs(x) * m.abs(x)).sum(), squares),
    "fabs**2": (lambda m, x: (m.fabs(x) ** 2).sum(), squares),
    "abs**4": (lambda m, x: (m.abs(x) ** 4).sum(), total(lambda t: t**4)),
    "(2 abs)**2": (lambda m, x: ((2 * m.abs(x)) ** 2).sum(), lambda v: 4 * squares(v)),
    "sqrt(x**2)**2": (lambda m, x: (m.sqrt(x**2) ** 2).sum(), squares),
    "max(x, -x)**2": (lambda m, x: (m.maximum(x, -x) ** 2).sum(), squares),
    "abs(x**2)": (lambda m, x: m.abs(x**2).sum(), squares),
    "relu(x**2)": (lambda m, x: m.relu(x**2).sum(), squares),
    "max(x**2, 0)": (lambda m, x: m.maximum(x * x, 0).sum(), squares),
    "hypot**2": (lambda m, x: (m.hypot(x, 2 * x) ** 2).sum(), lambda v: 5 * squares(v)),
    "hypot**4": (lambda m, x: (m.hypot(x, 2 * x) ** 4).sum(), total(lambda t: 25 * t**4)),
    "cos(abs)": (lambda m, x: m.cos(m.abs(x)).sum(), total(mp.cos)),
    "cos(2 abs)": (lambda m, x: m.cos(2 * m.abs(x)).sum(), total(lambda t: mp.cos(2 * t))),
    "cosh(abs)": (lambda m, x: m.cosh(m.abs(x)).sum(), total(mp.cosh)),
    "sign(x) abs(x)": (lambda m, x: (m.sign(x) * m.abs(x)).sum(), total(lambda t: t)),
    "sign(x) tanh(abs)": (lambda m, x: (m.sign(x) * m.tanh(m.abs(x))).sum(), total(mp.tanh)),
    "copysign(sin(abs), x)": (lambda m, x: m.copysign(m.sin(m.abs(x)), x).sum(), total(mp.sin)),
    "pseudo-Huber": (lambda m, x: m.sqrt(1 + (m.abs(x) / 0.5) ** 2).sum(), total(lambda t: mp.sqrt(1 + 4 * t * t))),
    "pseudo-Huber of a norm": (lambda m, x: m.sqrt(1 + m.norm(x) ** 2), lambda v: mp.sqrt(1 + squares(v))),
    "Huber's parabola": (
        lambda m, x: m.where(m.abs(x) <= 2, 0.5 * m.abs(x) ** 2, 2 * m.abs(x) - 2).sum(),
        lambda v: squares(v) / 2,
    ),
    "relu + log1p": (lambda m, x: (m.relu(x) + m.log1p(m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "max + log1p": (lambda m, x: (m.maximum(x, 0) + m.log1p(m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "max + log(1 + exp)": (lambda m, x: (m.maximum(0, x) + m.log(1 + m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "where + log1p": (lambda m, x: (m.where(x > 0, x, 0) + m.log1p(m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "where >= + log1p": (lambda m, x: (m.where(x >= 0, x, 0) + m.log1p(m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "where < + log1p": (lambda m, x: (m.where(x < 0, 0, x) + m.log1p(m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "clip + log1p": (lambda m, x: (m.clip(x, 0, None) + m.log1p(m.exp(-m.abs(x)))).sum(), total(mp_softplus)),
    "log1p + softplus of abs": (lambda m, x: (m.softplus(-m.abs(x)) + m.relu(x)).sum(), total(mp_softplus)),
    "relu(-x)": (lambda m, x: (m.relu(-x) + m.log1p(m.exp(-m.abs(x)))).sum(), total(lambda t: mp_softplus(-t))),
    "min - log1p": (lambda m, x: (m.minimum(x, 0) - m.log1p(m.exp(-m.abs(x)))).sum(), total(lambda t: -mp_softplus(-t))),
    "scaled": (lambda m, x: (m.relu(3 * x) + m.log1p(m.exp(-3 * m.abs(x)))).sum(), total(lambda t: mp_softplus(3 * t))),
    "coefficients": (
        lambda m, x: (2.5 * m.relu(x) + 2.5 * m.log1p(m.exp(-m.abs(x)))).sum(),
        total(lambda t: 2.5 * mp_softplus(t)),
    ),
    "weights": (
        lambda m, x: (m.array(W) * m.relu(x) + m.array(W) * m.log1p(m.exp(-m.abs(x)))).sum(),
        lambda v: sum(w * mp_softplus(t) for w, t in zip(W, v, strict=True)),
    ),
    "weights outside": (
        lambda m, x: (m.array(W) * (m.relu(x) + m.log1p(m.exp(-m.abs(x))))).sum(),
        lambda v: sum(w * mp_softplus(t) for w, t in zip(W, v, strict=True)),
    ),
    "across sums": (lambda m, x: m.relu(x).sum() + m.log1p(m.exp(-m.abs(x))).sum(), total(mp_softplus)),
    "across means": (
        lambda m, x: m.relu(x).mean() + 2.0 - (x * m.array(Y)).mean() + m.log1p(m.exp(-m.abs(x))).mean(),
        lambda v: 2 + sum(mp_softplus(t) - t * y for t, y in zip(v, Y, strict=True)) / 3,
    ),
    "cross entropy": (
        lambda m, x: m.mean(m.maximum(x, 0) - x * m.array(Y) + m.log1p(m.exp(-m.abs(x)))),
        lambda v: sum(mp_softplus(t) - t * y for t, y in zip(v, Y, strict=True)) / 3,
    ),
    "cross entropy, relu": (
        lambda m, x: -m.mean(x * m.array(Y) - m.relu(x) - m.log(1 + m.exp(-m.abs(x)))),
        lambda v: sum(mp_softplus(t) - t * y for t, y in zip(v, Y, strict=True)) / 3,
    ),
    "relu - relu": (lambda m, x: (m.relu(x) - m.relu(-x)).sum(), total(lambda t: t)),
    "relu**2 + relu**2": (lambda m, x: (m.relu(x) ** 2 + m.relu(-x) ** 2).sum(), squares),
    "log cosh": (lambda m, x: (m.abs(x) + m.log1p(m.exp(-2 * m.abs(x))) - LOG2).sum(), total(lambda t: mp.log(mp.cosh(t)))),
    "log cosh, softplus": (lambda m, x: (m.abs(x) + m.softplus(-2 * m.abs(x)) - LOG2).sum(), total(lambda t: mp.log(mp.cosh(t)))),
    "log cosh of 3x": (
        lambda m, x: (3 * m.abs(x) + m.log1p(m.exp(-6 * m.abs(x))) - LOG2).sum(),
        total(lambda t: mp.log(mp.cosh(3 * t))),
    ),
    "log(cosh)": (lambda m, x: m.log(m.cosh(x)).sum(), total(lambda t: mp.log(mp.cosh(t)))),
    "logaddexp by max": (
        lambda m, x: (m.maximum(x, 2 * x) + m.log1p(m.exp(-m.abs(x - 2 * x)))).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
    "logaddexp by max, turned": (
        lambda m, x: (m.maximum(x, 2 * x) + m.log1p(m.exp(-m.abs(2 * x - x)))).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
    "logaddexp by where": (
        lambda m, x: (m.where(x > 2 * x, x, 2 * x) + m.log1p(m.exp(-m.abs(x - 2 * x)))).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
    "logaddexp by shift": (
        lambda m, x: (lambda top: top + m.log(m.exp(x - top) + m.exp(2 * x - top)))(m.maximum(x, 2 * x)).sum(),
        total(lambda t: mp.log(mp.exp(t) + mp.exp(2 * t))),
    ),
}

# name -> written, of which order the derivative at the origin still exists, smooth away from it
ROUGH = {
    "Matérn 3/2": (lambda m, x: matern_3(m, m.norm(x)), 2, lambda v: (lambda t: (1 + t) * mp.exp(-t))(mp.sqrt(3 * squares(v)))),
    "Matérn 3/2, abs": (
        lambda m, x: matern_3(m, m.abs(x)).sum(),
        2,
        total(lambda u: (lambda t: (1 + t) * mp.exp(-t))(mp.sqrt(3) * abs(u))),
    ),
    "Matérn 3/2, a variance": (
        lambda m, x: 2.0 * (1 + math.sqrt(3) * m.norm(x) / 0.5) * m.exp(-math.sqrt(3) * m.norm(x) / 0.5),
        2,
        lambda v: (lambda t: 2 * (1 + t) * mp.exp(-t))(mp.sqrt(12 * squares(v))),
    ),
    "Matérn 3/2, sqrt": (
        lambda m, x: matern_3(m, m.sqrt(m.sum(x**2)), 1.5),
        2,
        lambda v: (lambda t: (1 + t) * mp.exp(-t))(mp.sqrt(squares(v)) * 1.5),
    ),
    "Matérn 5/2": (
        lambda m, x: matern_5(m, m.norm(x)),
        4,
        lambda v: (lambda t: (1 + t + t * t / 3) * mp.exp(-t))(mp.sqrt(5 * squares(v))),
    ),
    "Matérn 5/2, squares": (
        lambda m, x: (lambda s: (1 + m.sqrt(5 * s) + 5 / 3 * s) * m.exp(-m.sqrt(5 * s)))(m.sum(x * x)),
        4,
        lambda v: (lambda t: (1 + t + t * t / 3) * mp.exp(-t))(mp.sqrt(5 * squares(v))),
    ),
    "Matérn 5/2, abs": (
        lambda m, x: (lambda t: (1 + t + t**2 / 3) * m.exp(-t))(math.sqrt(5) * m.abs(x) / 2).sum(),
        4,
        total(lambda u: (lambda t: (1 + t + t * t / 3) * mp.exp(-t))(mp.sqrt(5) * abs(u) / 2)),
    ),
    "norm**3": (lambda m, x: m.norm(x) ** 3, 2, lambda v: mp.sqrt(squares(v)) ** 3),
    "norm**5": (lambda m, x: m.norm(x) ** 5, 4, lambda v: mp.sqrt(squares(v)) ** 5),
    "hypot**3": (lambda m, x: (m.hypot(x, x) ** 3).sum(), 2, total(lambda t: mp.sqrt(2 * t * t) ** 3)),
    "symlog": (lambda m, x: (m.sign(x) * m.log1p(m.abs(x))).sum(), 1, total(lambda t: mp.sign(t) * mp.log(1 + abs(t)))),
    "symexp": (lambda m, x: m.copysign(m.expm1(m.abs(x)), x).sum(), 1, total(lambda t: mp.sign(t) * (mp.exp(abs(t)) - 1))),
    "norm**2.5": (lambda m, x: m.norm(x) ** 2.5, 2, lambda v: mp.sqrt(squares(v)) ** 2.5),
}


class Row(NamedTuple):
    """A function at its special point.

    Attributes:
        name: as the page calls it.
        written: builds it from the functions of a namespace.
        smooth: the same in mpmath, of a list of numbers.
        point: where.
        last: up to which order derivatives exist there.
        gives: what gradc is to give at orders 1, 2, 3: "right", "NaN" or "convention" (another number).
        why: what is special, or why gradc has no form for it.
        beside: `smooth` is singular at the point: its limit is taken.
    """

    name: str
    written: Callable[[Any, Any], Any]
    smooth: Callable[[Any], Any]
    point: np.ndarray
    last: int = 9
    gives: tuple[str, str, str] = ("right", "right", "right")
    why: str = ""
    beside: bool = False


ORIGIN, EQUAL = np.zeros(3), np.full(3, 1.25)
LEVEL = np.array([1.25, 0.0, 1.25])
RIGHT, NAN, CONVENTION = "right", "NaN", "convention"
FIRST_ONLY, CONVENED, CONVENED_ONCE = (RIGHT, NAN, NAN), (RIGHT, CONVENTION, CONVENTION), (RIGHT, CONVENTION, RIGHT)
SPECTRAL = "equal eigenvalues: their vectors are not unique"


def variance(v):
    mean = sum(v) / len(v)
    return sum((t - mean) ** 2 for t in v) / len(v)


def product(v):
    return v[0] * v[1] * v[2]


def sinc(t):
    return mp.mpf(1) if t == 0 else mp.sin(t) / t


def symmetric(m, x):
    """[[a, b], [b, c]], of the numbers a, b, c."""
    units = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    return x[0] * m.array(units[0]) + x[1] * m.array(units[1]) + x[2] * m.array(units[2])


def mp_symmetric(v):
    return mp.matrix([[v[0], v[1]], [v[1], v[2]]])


def of_matrix(m, x, f):
    """An entry of f(A), and another, by the eigenvalues and vectors of A."""
    w, v = m.eigh(symmetric(m, x))
    return ((v * f(w)) @ v.mT * m.array(np.array([[1.0, 0.5], [0.5, -2.0]]))).sum()


def weighed(a):
    return a[0, 0] + (a[0, 1] + a[1, 0]) / 2 - 2 * a[1, 1]


def by_svd(m, x):
    u, s, vh = m.svd(symmetric(m, x))
    return ((u * s) @ vh * m.array(np.array([[1.0, 0.5], [0.5, -2.0]]))).sum()


def by_selection(m, x):
    top = m.maximum(x[0], x[1])
    low = m.minimum(x[0], x[1])
    return top, low


OTHERS = (
    # degenerate, and right without a form
    Row("prod at (0, 0, 0)", lambda m, x: m.prod(x), product, ORIGIN, why="quotients of the product would be 0 / 0"),
    Row("prod, one zero", lambda m, x: m.prod(x), product, np.array([0.0, 2.0, -3.0])),
    Row(
        "cumprod, two zeros",
        lambda m, x: m.cumprod(x).sum(),
        lambda v: v[0] + v[0] * v[1] + product(v),
        np.array([0.0, 0.0, 2.0]),
    ),
    Row("x**2", lambda m, x: (x**2).sum(), squares, ORIGIN),
    Row("x**3.0", lambda m, x: m.power(x, 3.0).sum(), total(lambda t: t**3), ORIGIN),
    Row("x**1 * x**0", lambda m, x: (x**1 * x**0).sum(), total(lambda t: t), ORIGIN),
    Row("sinc", lambda m, x: m.sinc(x).sum(), total(lambda t: sinc(mp.pi * t)), ORIGIN, why="0 / 0 in the formula"),
    Row(
        "det of a singular matrix",
        lambda m, x: m.det(symmetric(m, x)),
        lambda v: v[0] * v[2] - v[1] ** 2,
        ORIGIN,
        gives=(RIGHT, RIGHT, NAN),
        why="the adjugate; its own derivative needs an inverse: an error at order 3",
    ),
    Row(
        "logaddexp of equals",
        lambda m, x: m.logaddexp(x, m.flip(x)).sum(),
        lambda v: sum(mp.log(mp.exp(a) + mp.exp(b)) for a, b in zip(v, v[::-1], strict=True)),
        ORIGIN,
    ),
    Row(
        "where(x > 0, x**4, 0) + where(x > 0, 0, x**4)",
        lambda m, x: (m.where(x > 0, x**4, 0.0) + m.where(x > 0, 0.0, x**4)).sum(),
        total(lambda t: t**4),
        ORIGIN,
    ),
    Row(
        "flat: where(x > 0, exp(-1 / x), 0)",
        lambda m, x: m.where(x > 0, m.exp(-1 / m.where(x > 0, x, 1.0)), 0.0).sum(),
        lambda v: mp.mpf(0),
        ORIGIN,
        why="all derivatives vanish",
    ),
    Row(
        "max + min",
        lambda m, x: sum(by_selection(m, x)) * x[2],
        lambda v: (v[0] + v[1]) * v[2],
        EQUAL,
        why="both share a tie, and the halves add up",
    ),
    Row(
        "sum(sort(x)**2)",
        lambda m, x: (m.sort(x) ** 2).sum(),
        squares,
        EQUAL,
        gives=CONVENED_ONCE,
        why="equal entries share their adjoints, which is right once only; write sum(x**2)",
    ),
    Row(
        "mean of the median of pairs",
        lambda m, x: m.maximum(x, m.flip(x)).sum() + m.minimum(x, m.flip(x)).sum(),
        lambda v: 2 * sum(v),
        EQUAL,
    ),
    Row("std**2", lambda m, x: m.std(x) ** 2, variance, EQUAL),
    Row("exp(-std**2)", lambda m, x: m.exp(-(m.std(x) ** 2)), lambda v: mp.exp(-variance(v)), EQUAL),
    # smooth, and covered by no form
    Row(
        "cos(norm)",
        lambda m, x: m.cos(m.norm(x)),
        lambda v: mp.cos(mp.sqrt(squares(v))),
        ORIGIN,
        gives=FIRST_ONLY,
        why="an even function of a norm other than powers, Gaussians and Matern kernels",
        beside=True,
    ),
    Row(
        "cosh(norm)",
        lambda m, x: m.cosh(m.norm(x)),
        lambda v: mp.cosh(mp.sqrt(squares(v))),
        ORIGIN,
        gives=FIRST_ONLY,
        why="the same",
        beside=True,
    ),
    Row(
        "norm * sin(norm)",
        lambda m, x: m.norm(x) * m.sin(m.norm(x)),
        lambda v: mp.sqrt(squares(v)) * mp.sin(mp.sqrt(squares(v))),
        ORIGIN,
        gives=FIRST_ONLY,
        why="a product of odd functions",
        beside=True,
    ),
    Row(
        "1 / cosh(norm)",
        lambda m, x: 1 / m.cosh(m.norm(x)),
        lambda v: 1 / mp.cosh(mp.sqrt(squares(v))),
        ORIGIN,
        gives=FIRST_ONLY,
        why="an even function of a norm",
        beside=True,
    ),
    Row(
        "abs * sin(abs)",
        lambda m, x: (m.abs(x) * m.sin(m.abs(x))).sum(),
        total(lambda t: t * mp.sin(t)),
        ORIGIN,
        gives=(RIGHT, CONVENTION, RIGHT),
        why="a product of odd functions of abs",
    ),
    Row(
        "exp(abs) + exp(-abs)",
        lambda m, x: (m.exp(m.abs(x)) + m.exp(-m.abs(x))).sum(),
        total(lambda t: 2 * mp.cosh(t)),
        ORIGIN,
        gives=(RIGHT, CONVENTION, RIGHT),
        why="an even sum, in several ops",
    ),
    Row(
        "relu * relu - relu * x",
        lambda m, x: (m.relu(x) * m.relu(x) - m.relu(x) * x).sum(),
        lambda v: mp.mpf(0),
        ORIGIN,
        why="kinks that cancel in products",
    ),
    Row(
        "max * min",
        lambda m, x: by_selection(m, x)[0] * by_selection(m, x)[1] * x[2],
        lambda v: product(v),
        EQUAL,
        gives=CONVENED,
        why="kinks that cancel in a product",
    ),
    Row(
        "0.75 abs + 0.5 relu(-x) - relu(x) / 2 + x",
        lambda m, x: (0.25 * m.abs(x) + 0.5 * m.relu(-x) - 0.5 * m.relu(x) + x).sum() + m.abs(x).sum() * -0.25,
        total(lambda t: t / 2),
        ORIGIN,
        why="terms of one sum",
    ),
    Row(
        "relu - abs / 2",
        lambda m, x: (m.relu(x) - 0.5 * m.abs(x)).sum(),
        total(lambda t: t / 2),
        ORIGIN,
        gives=(CONVENTION, RIGHT, RIGHT),
        why="kinks that cancel, in other terms than a pair of one form",
    ),
    Row(
        "softplus over other axes",
        lambda m, x: m.relu(x.reshape(3, 1)).sum(0).sum() + m.log1p(m.exp(-m.abs(x))).sum(),
        total(mp_softplus),
        ORIGIN,
        why="a pair whose terms are summed over different axes",
        gives=(CONVENTION, RIGHT, RIGHT),
    ),
    Row(
        "sin(x) / x by where",
        lambda m, x: m.where(x == 0, 1.0, m.sin(x) / m.where(x == 0, 1.0, x)).sum(),
        total(sinc),
        ORIGIN,
        gives=(RIGHT, CONVENTION, RIGHT),
        why="the branch that `where` selects is a constant; write sinc",
    ),
    Row(
        "expm1(x) / x by where",
        lambda m, x: m.where(x == 0, 1.0, m.expm1(x) / m.where(x == 0, 1.0, x)).sum(),
        total(lambda t: mp.mpf(1) if t == 0 else mp.expm1(t) / t),
        ORIGIN,
        gives=(CONVENTION,) * 3,
        why="the branch that `where` selects is a constant",
        beside=True,
    ),
    Row(
        "x / norm * norm",
        lambda m, x: (x / m.norm(x) * m.norm(x)).sum(),
        lambda v: sum(v),
        ORIGIN,
        gives=(NAN, NAN, NAN),
        why="the value is NaN already",
    ),
    Row(
        "cbrt**3",
        lambda m, x: (m.cbrt(x) ** 3).sum(),
        total(lambda t: t),
        ORIGIN,
        gives=(NAN, NAN, NAN),
        why="0 times an infinite slope",
        beside=True,
    ),
    Row("sqrt(x**4)", lambda m, x: m.sqrt(x**4).sum(), squares, ORIGIN, gives=(NAN, NAN, NAN), why="0 times an infinite slope"),
    Row(
        "exp(log(x**2))",
        lambda m, x: m.exp(m.log(x**2)).sum(),
        squares,
        ORIGIN,
        gives=(NAN, NAN, NAN),
        why="0 times an infinite slope",
    ),
    # spectral
    Row(
        "sum(eigvalsh)",
        lambda m, x: m.eigvalsh(symmetric(m, x)).sum(),
        lambda v: v[0] + v[2],
        LEVEL,
        why="the trace: equal eigenvalues share",
        gives=FIRST_ONLY,
    ),
    Row(
        "sum(log(eigvalsh))",
        lambda m, x: m.log(m.eigvalsh(symmetric(m, x))).sum(),
        lambda v: mp.log(v[0] * v[2] - v[1] ** 2),
        LEVEL,
        gives=FIRST_ONLY,
        why=SPECTRAL,
    ),
    Row(
        "sum(exp(eigvalsh))",
        lambda m, x: m.exp(m.eigvalsh(symmetric(m, x))).sum(),
        lambda v: (lambda h, r: 2 * mp.exp(h) * mp.cosh(r))((v[0] + v[2]) / 2, mp.sqrt((v[0] - v[2]) ** 2 / 4 + v[1] ** 2)),
        LEVEL,
        gives=FIRST_ONLY,
        why=SPECTRAL,
    ),
    Row(
        "V exp(w) V^T",
        lambda m, x: of_matrix(m, x, m.exp),
        lambda v: weighed(mp.expm(mp_symmetric(v))),
        LEVEL,
        gives=(NAN, NAN, NAN),
        why=SPECTRAL,
    ),
    Row(
        "V sqrt(w) V^T",
        lambda m, x: of_matrix(m, x, m.sqrt),
        lambda v: weighed(mp.sqrtm(mp_symmetric(v))),
        LEVEL,
        gives=(NAN, NAN, NAN),
        why=SPECTRAL,
    ),
    Row(
        "V w V^T",
        lambda m, x: of_matrix(m, x, lambda w: w),
        lambda v: weighed(mp_symmetric(v)),
        LEVEL,
        gives=(NAN, NAN, NAN),
        why=SPECTRAL,
    ),
    Row(
        "sum(svdvals**2)",
        lambda m, x: (m.svdvals(symmetric(m, x)) ** 2).sum(),
        lambda v: v[0] ** 2 + 2 * v[1] ** 2 + v[2] ** 2,
        ORIGIN,
        gives=FIRST_ONLY,
        why="singular values 0, and equal",
    ),
    Row(
        "U s V^T at 0",
        by_svd,
        lambda v: weighed(mp_symmetric(v)),
        ORIGIN,
        gives=(NAN, NAN, NAN),
        why="singular values 0, and equal",
    ),
    Row(
        "U s V^T of equal values",
        by_svd,
        lambda v: weighed(mp_symmetric(v)),
        LEVEL,
        gives=(NAN, NAN, NAN),
        why=SPECTRAL.replace("eigen", "singular "),
    ),
)


def rows() -> Iterator[Row]:
    """All rows: forms, what is smooth to some order, and the others."""
    for name, (written, smooth) in SMOOTH.items():
        yield Row(name, written, smooth, ORIGIN)
    for name, (written, last, smooth) in ROUGH.items():
        yield Row(name, written, smooth, ORIGIN, last, why=f"derivatives exist to order {last}", beside=True)
    yield from OTHERS
