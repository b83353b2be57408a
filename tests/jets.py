"""Derivatives to the second order in 60 digits: arrays of truncated Taylor series, with NumPy's names; nothing of gradc is in it.

A `Jet` holds a value, its slopes by numbered variables, its slope in one direction, and the slopes of that. The same program
text that builds a graph from nodes runs here on `Array`s of jets, with `NP` for `np` and `GC` for `gradc`.

Kinks have the documented conventions op by op, and are counted; what has no finite derivative is `BAD`, which a mask may drop.
A run with `noise` multiplies every rounded term by 1 + r: what that changes is how far rounding may take the result.
"""

from __future__ import annotations

import math
import random
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, setcontext
from functools import lru_cache

import mpmath
import numpy as np

DIGITS = 60
ZERO, ONE, HALF = Decimal(0), Decimal(1), Decimal("0.5")


class LeftOut(Exception):
    """The point says nothing: a rounded value is at, or next to, a kink, or out of the range of the numbers."""


class Run:
    """What one run of a program shares: its precision, noise, decisions, and what it met.

    Attributes:
        largest: the largest number, which what underflows may have been multiplied by.
        kinks: how many ops were at a kink, and took a convention.
        origins: how many of these were a 0 / 0, whose derivative is NaN.
    """

    def __init__(self, dtype, noise=0, decisions=None):
        self.dtype = np.dtype(dtype)
        self.kinks = self.origins = 0
        self.recorded = []
        self._replayed = None if decisions is None else iter(decisions)
        eps = float(np.finfo(dtype).eps)
        chance = random.Random(noise)
        self._factors = [ONE + Decimal(chance.choice((-1, 1)) * chance.uniform(8, 64) * eps) for _ in range(251)] if noise else ()
        self._next = 0
        top, tiny = (290, -280) if self.dtype.itemsize == 8 else (35, -34)
        self.most, self.least = Decimal(10) ** top, Decimal(10) ** tiny
        self.near = Decimal(10) ** (-6 if self.dtype.itemsize == 8 else -3)
        self.largest = ONE

    def rounded(self, x):
        if not self._factors or not x:
            return x
        self._next = (self._next + 1) % 251
        return x * self._factors[self._next]

    def compare(self, a, b):
        """-1, 0 or 1; the same in the runs with noise as in the exact one."""
        if a is BAD or b is BAD:
            raise LeftOut("a comparison of what is no number")
        found = (a.v > b.v) - (a.v < b.v)
        if self._replayed is not None:
            wanted = next(self._replayed)
            if wanted and wanted != found:
                raise LeftOut("next to a kink")
            return wanted
        if abs(a.v - b.v) < self.near and a is not b and not (a.exact and b.exact):
            raise LeftOut("a tie of rounded values")
        self.recorded.append(found)
        return found

    def fits(self, v):
        return self.dtype.type(float(v)) == v if self.dtype.itemsize == 8 else Decimal(float(np.float32(float(v)))) == v

    def check(self, v):
        if abs(v) > self.largest:
            self.largest = abs(v)
            if self.largest > self.most:
                raise LeftOut("too large")
        return v

    def check_divisor(self, v, exact=False):
        if v and abs(v) < (self.least if exact else self.near**2):
            raise LeftOut("an underflow")


run = Run("float64")


def start(dtype, noise=0, decisions=None):
    """A new run, in precision `DIGITS`."""
    global run
    setcontext(Context(prec=DIGITS, Emin=-999999, Emax=999999, traps=[InvalidOperation, DivisionByZero, Overflow]))
    mpmath.mp.dps = DIGITS
    run = Run(dtype, noise, decisions)
    return run


class Jet:
    """A value, its slopes, its slope in the direction, and the slopes of that; None as value: no number."""

    __slots__ = ("d", "exact", "g", "h", "v")

    def __init__(self, v, d=ZERO, g=None, h=None, exact=True):
        self.v, self.d, self.g, self.h, self.exact = v, d, g or {}, h or {}, exact

    def __add__(self, other):
        return linear([(ONE, self), (ONE, other)])

    def __sub__(self, other):
        return linear([(ONE, self), (-ONE, other)])

    def __mul__(self, other):
        if self is BAD or other is BAD:
            return BAD
        return compose(self.v * other.v, (self, other), (other.v, self.v), {(0, 1): ONE}, self.exact and other.exact)

    def __neg__(self):
        return linear([(-ONE, self)])

    def __truediv__(self, other):
        return self * power(other, -1) if not (self.exact and other.exact) else quotient(self, other)


BAD = Jet(None)


def compose(v, jets, first, second, exact):
    """The jet of f(jets), from the value and the partial derivatives of f; `second` by pairs of operands."""
    r = run.rounded
    d, g, h = ZERO, {}, {}
    for f, jet in zip(first, jets, strict=True):
        d += r(f * jet.d)
        for i, t in jet.g.items():
            g[i] = g.get(i, ZERO) + r(f * t)
        for i, t in jet.h.items():
            h[i] = h.get(i, ZERO) + r(f * t)
    for (p, q), f in second.items():
        if not f:
            continue
        for a, b in {(p, q), (q, p)}:
            for i, t in jets[a].g.items():
                h[i] = h.get(i, ZERO) + r(f * t * jets[b].d)
    for t in (d, *g.values(), *h.values()):
        run.check(t)
    exact = exact and run.fits(run.check(v))
    return Jet(run.check(v) if exact else r(run.check(v)), d, g, h, exact)


def linear(terms):
    """A sum of jets with constant factors."""
    if any(jet is BAD for _, jet in terms):
        return BAD
    v = sum([c * jet.v for c, jet in terms], ZERO)
    if not all(jet.exact for _, jet in terms):
        v = sum([run.rounded(c * jet.v) for c, jet in terms], ZERO)
    return compose(v, [jet for _, jet in terms], [c for c, _ in terms], {}, all(jet.exact for _, jet in terms))


def quotient(a, b):
    if a is BAD or b is BAD or not b.v:
        return BAD
    run.check_divisor(b.v, b.exact)
    q = a.v / b.v
    return compose(q, (a, b), (1 / b.v, -q / b.v), {(0, 1): -1 / b.v**2, (1, 1): 2 * q / b.v**2}, True)


def constant(c):
    return Jet(Decimal(float(run.dtype.type(c))))


def is_kink(conventional, origin=False):
    """Note that an op took a convention."""
    run.kinks += conventional
    run.origins += origin


# --- functions of one number ---------------------------------------------------------------------------


@lru_cache(maxsize=20000)
def by_mpmath(name, v):
    return Decimal(mpmath.nstr(getattr(mpmath, name)(mpmath.mpf(str(v))), DIGITS))


def _exp(v):
    if v > 5000:
        raise LeftOut("too large")
    e = v.exp()
    return e, e, e


def _log(v):
    return v.ln(), 1 / v, -1 / v**2


def _log1p(v):
    u = 1 + v
    return (by_mpmath("log1p", v) if abs(v) < Decimal("1e-3") else u.ln()), 1 / u, -1 / u**2


def _expm1(v):
    e = _exp(v)[0]
    return (by_mpmath("expm1", v) if abs(v) < Decimal("1e-3") else e - 1), e, e


def _sigmoid(v):
    e = (-abs(v)).exp()
    s = 1 / (1 + e) if v >= 0 else e / (1 + e)
    slope = e / (1 + e) ** 2
    return s, slope, slope * (e - 1) / (1 + e) * (1 if v >= 0 else -1)


def _softplus(v):
    e = (-abs(v)).exp()
    tail = by_mpmath("log1p", e)
    s, slope, _ = _sigmoid(v)
    return max(v, ZERO) + tail, s, slope


def _log_sigmoid(v):
    f, s, slope = _softplus(-v)
    return -f, s, -slope


def _tanh(v):
    s, slope, curvature = _sigmoid(2 * v)
    return (by_mpmath("tanh", v) if abs(v) < 1 else 2 * s - 1), 4 * slope, 8 * curvature


def _log_cosh(v):
    size = abs(v)
    f = size + by_mpmath("log1p", (-2 * size).exp()) - Decimal(2).ln()
    t, slope, _ = _tanh(v)
    return f if size > Decimal("1e-9") else v * v / 2, t, slope


def _sin(v):
    if abs(v) > 10000:
        raise LeftOut("an angle of many turns")
    s, c = by_mpmath("sin", v), by_mpmath("cos", v)
    return s, c, -s


def _cos(v):
    s, c, _ = _sin(v)
    return c, -s, -c


def _sinh(v):
    e, f = _exp(v)[0], _exp(-v)[0]
    return (by_mpmath("sinh", v) if abs(v) < 1 else (e - f) / 2), (e + f) / 2, (e - f) / 2


def _cosh(v):
    f, slope, _ = _sinh(v)
    return slope, f, slope


def _arctan(v):
    u = 1 + v * v
    return by_mpmath("atan", v), 1 / u, -2 * v / u**2


def _density(v):
    if abs(v) > 1500:
        raise LeftOut("too far in a tail")
    return (-v * v / 2).exp() / by_mpmath("sqrt", 2 * Decimal(mpmath.nstr(mpmath.pi, DIGITS)))


def _ndtr(v):
    return by_mpmath("ncdf", v), _density(v), -v * _density(v)


def _log_ndtr(v):
    density = _density(v)
    p = by_mpmath("ncdf", v)
    ratio = density / p
    return p.ln() if v < 0 else by_mpmath("log1p", -by_mpmath("ncdf", -v)), ratio, -ratio * (v + ratio)


_OF_ONE = (_exp, _log, _log1p, _expm1, _sigmoid, _softplus, _log_sigmoid, _tanh, _log_cosh)
_OF_ONE += (_sin, _cos, _sinh, _cosh, _arctan, _ndtr, _log_ndtr)
SMOOTH = {f.__name__[1:]: f for f in _OF_ONE}


def smooth(f, jet):
    """f(jet), where f gives its value and two derivatives; `BAD` outside of its domain."""
    if jet is BAD:
        return BAD
    try:
        if f in (_log, _log1p):
            run.check_divisor(jet.v if f is _log else jet.v + 1, jet.exact)
        v, first, second = f(jet.v)
    except (InvalidOperation, DivisionByZero):
        return BAD
    return compose(v, (jet,), (first,), {(0, 0): second}, jet.exact)


def power(jet, n):
    """jet**n for a number n: a half-integer, or an integer."""
    if jet is not BAD and n < 2 and n not in (0, 1):
        run.check_divisor(jet.v, jet.exact)
    return smooth(lambda v: _power(v, n), jet)


def _power(v, n):
    whole = n == int(n)
    if (not whole and v <= 0) or (n < 0 and not v):
        raise InvalidOperation
    at = lambda k: v ** int(k) if whole else v.sqrt() ** int(2 * k)
    if v == 0 and whole and n >= 0:
        return ZERO if n else ONE, ONE if n == 1 else ZERO, Decimal(2) if n == 2 else ZERO
    n = Decimal(n)
    return at(n), n * at(n - 1), n * (n - 1) * at(n - 2)


def root(s):
    """The root of a sum of squares: 0 / 0 at the origin, which is 0 by convention."""
    if s is BAD:
        return BAD
    if run.compare(s, Jet(ZERO)):
        return power(s, 0.5)
    is_kink(True, origin=True)
    return Jet(ZERO)


def of_distance(f, s):
    """f(s), smooth in the vector whose square is s, though f''(0) may be infinite: its part is 0 there."""
    if s is BAD:
        return BAD
    v, first, second = f(s.v) if s.v else (*f(ZERO)[:2], ZERO)
    return compose(v, (s,), (first,), {(0, 0): second}, s.exact)


def _matern_of(order):
    def f(s):
        c = (Decimal(order)).sqrt()
        t = c * s.sqrt()
        e = (-t).exp()
        if order == 3:
            return (1 + t) * e, -3 * e / 2, 9 * e / (4 * t) if t else None
        return (1 + t + t * t / 3) * e, -Decimal(5) / 6 * (1 + t) * e, Decimal(25) / 12 * e

    return f


def matern(order, s):
    return of_distance(_matern_of(order), s)


def cubed(s):
    """s**1.5."""
    return of_distance(lambda v: (v.sqrt() ** 3, 3 * v.sqrt() / 2, 3 / (4 * v.sqrt()) if v else None), s)


# --- functions with kinks ------------------------------------------------------------------------------


def absolute(jet):
    if jet is BAD:
        return BAD
    c = run.compare(jet, Jet(ZERO))
    is_kink(not c)
    return linear([(ONE, jet)]) if c > 0 else -jet if c else Jet(ZERO)


def relu(jet):
    if jet is BAD:
        return BAD
    c = run.compare(jet, Jet(ZERO))
    is_kink(not c)
    return linear([(ONE, jet)]) if c > 0 else Jet(ZERO)


def largest(jets):
    """The largest; those that tie share."""
    if any(jet is BAD for jet in jets):
        return BAD
    best = [jets[0]]
    for jet in jets[1:]:
        c = run.compare(jet, best[0])
        best = [jet] if c > 0 else best if c else [*best, jet]
    is_kink(len({id(j) for j in best}) > 1)
    exact = best[0].exact
    share = ONE / len(best)
    return compose(best[0].v, best, [share] * len(best), {}, exact)


def clip(jet, low, high):
    if jet is BAD:
        return BAD
    below, above = run.compare(jet, constant(low)), run.compare(jet, constant(high))
    is_kink(not below or not above)
    return constant(low) if below < 0 else constant(high) if above > 0 else linear([(ONE, jet)])


def stopped(jet):
    return BAD if jet is BAD else Jet(jet.v, exact=jet.exact)


def step(jet, f):
    """The sign, or the floor."""
    if jet is BAD:
        return BAD
    if f == "sign":
        return Jet(Decimal(run.compare(jet, Jet(ZERO))))
    near = jet.v.to_integral_value(rounding="ROUND_FLOOR")
    run.compare(jet, Jet(near)), run.compare(jet, Jet(near + 1))
    return Jet(near)


# --- arrays --------------------------------------------------------------------------------------------


def objects(values, shape):
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(shape)


class Array:
    """An array of jets with NumPy's operators and methods."""

    __array_ufunc__ = None

    def __init__(self, jets):
        self.jets = jets if isinstance(jets, np.ndarray) else objects([jets], ())

    shape = property(lambda self: self.jets.shape)
    ndim = property(lambda self: self.jets.ndim)
    T = property(lambda self: Array(self.jets.T))

    def __getitem__(self, index):
        return Array(self.jets[index])

    def __add__(self, other):
        return mapped(Jet.__add__, self, other)

    __radd__ = __add__

    def __sub__(self, other):
        return mapped(Jet.__sub__, self, other)

    def __rsub__(self, other):
        return mapped(Jet.__sub__, other, self)

    def __mul__(self, other):
        return mapped(Jet.__mul__, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return mapped(quotient, self, other)

    def __rtruediv__(self, other):
        return mapped(quotient, other, self)

    def __pow__(self, n):
        return mapped(lambda x: power(x, n), self)

    def __neg__(self):
        return mapped(Jet.__neg__, self)

    def __matmul__(self, other):
        return Array(np.matmul(self.jets, other.jets))

    def __gt__(self, other):
        return self._compared(other, lambda c: c > 0)

    def __ge__(self, other):
        return self._compared(other, lambda c: c >= 0)

    def __lt__(self, other):
        return self._compared(other, lambda c: c < 0)

    def _compared(self, other, holds):
        a, b = np.broadcast_arrays(self.jets, array(other).jets)
        found = [holds(run.compare(x, y)) for x, y in zip(a.flat, b.flat, strict=True)]
        return np.array(found, bool).reshape(a.shape)

    def reshape(self, *shape):
        return Array(self.jets.reshape(*shape))

    def reduced(self, f, axis=None, keepdims=False):
        jets = self.jets.reshape(-1) if axis is None else np.moveaxis(self.jets, axis, -1)
        flat = jets.reshape(-1, jets.shape[-1])
        shape = jets.shape[:-1] if axis is not None else ()
        result = objects([f(list(row)) for row in flat], shape)
        if keepdims:
            result = result.reshape((1,) * self.ndim) if axis is None else np.expand_dims(result, axis)
        return Array(result)

    def sum(self, axis=None, keepdims=False):
        return self.reduced(total, axis, keepdims)

    def mean(self, axis=None, keepdims=False):
        return self.reduced(mean, axis, keepdims)

    def max(self, axis=None, keepdims=False):
        return self.reduced(largest, axis, keepdims)

    def min(self, axis=None, keepdims=False):
        return self.reduced(smallest, axis, keepdims)

    def std(self, axis=None, keepdims=False):
        return self.reduced(lambda jets: root(variance(jets)), axis, keepdims)

    def var(self, axis=None, keepdims=False):
        return self.reduced(variance, axis, keepdims)

    def prod(self, axis=None, keepdims=False):
        return self.reduced(product, axis, keepdims)


def array(x):
    if isinstance(x, Array):
        return x
    return Array(objects([constant(c) for c in np.asarray(x).flat], np.shape(x)))


def mapped(f, *operands):
    arrays = np.broadcast_arrays(*[array(x).jets for x in operands])
    return Array(objects([f(*jets) for jets in zip(*[a.flat for a in arrays], strict=True)], arrays[0].shape))


def total(jets):
    return linear([(ONE, jet) for jet in jets])


def mean(jets):
    return quotient(total(jets), constant(len(jets)))


def squares(jets):
    return total([power(jet, 2) for jet in jets])


def variance(jets):
    """The mean square of the distances to the mean; of equal numbers none."""
    if BAD in jets:
        return BAD
    if all(abs(jet.v - jets[0].v) < run.near * max(1, abs(jet.v)) for jet in jets):
        if not all(jet.exact and jet.v == jets[0].v for jet in jets):
            raise LeftOut("a tie of rounded values")
        jets = [Jet(ZERO, j.d, j.g, j.h) for j in jets]
    m = mean(jets)
    return mean([power(jet - m, 2) for jet in jets])


def smallest(jets):
    return -largest([-jet for jet in jets])


def product(jets):
    result = jets[0]
    for jet in jets[1:]:
        result = result * jet
    return result


def exponentials(jets):
    """exp(x - m), and m, where m is the largest as a plain number."""
    top = max(jet.v for jet in jets)
    return [smooth(_exp, Jet(jet.v - top, jet.d, jet.g, jet.h, jet.exact)) for jet in jets], top


def log_sum_exp(jets):
    if BAD in jets:
        return BAD
    if len(jets) == 1:
        return jets[0]
    found, top = exponentials(jets)
    return smooth(_log, total(found)) + Jet(top, exact=False)


def softmax(jets):
    """exp(x - logsumexp(x))."""
    if BAD in jets:
        return jets
    whole = log_sum_exp(jets)
    return [smooth(_exp, jet - whole) for jet in jets]


def log_softmax(jets):
    whole = log_sum_exp(jets)
    return [jet - whole for jet in jets]


def along(f, x, axis=-1):
    """f, from a list to a list, along an axis."""
    jets = np.moveaxis(x.jets, axis, -1)
    rows = [f(list(row)) for row in jets.reshape(-1, jets.shape[-1])]
    return Array(np.moveaxis(objects([jet for row in rows for jet in row], jets.shape), -1, axis))


def cumulated(jets):
    return [total(jets[: k + 1]) for k in range(len(jets))]


class Names:
    """Functions by name."""

    def __init__(self, **functions):
        self.__dict__.update(functions)


def entrywise(f):
    return lambda x: mapped(lambda jet: smooth(f, jet), x)


UNARY = {name: entrywise(f) for name, f in SMOOTH.items()}


def where(condition, a, b):
    condition, x, y = np.broadcast_arrays(condition, array(a).jets, array(b).jets)
    chosen = zip(condition.flat, x.flat, y.flat, strict=True)
    return Array(objects([p if c else q for c, p, q in chosen], condition.shape))


class Linalg:
    @staticmethod
    def norm(x, axis=None, keepdims=False):
        return x.reduced(lambda jets: root(squares(jets)), axis, keepdims)


NP = Names(
    **UNARY,
    linalg=Linalg,
    abs=lambda x: mapped(absolute, x),
    sqrt=lambda x: mapped(lambda jet: power(jet, 0.5), x),
    square=lambda x: x**2,
    maximum=lambda a, b: mapped(lambda x, y: largest([x, y]), a, b),
    minimum=lambda a, b: mapped(lambda x, y: smallest([x, y]), a, b),
    hypot=lambda a, b: mapped(lambda x, y: root(squares([x, y])), a, b),
    logaddexp=lambda a, b: mapped(lambda x, y: log_sum_exp([x, y]), a, b),
    where=where,
    clip=lambda x, low, high: mapped(lambda jet: clip(jet, low, high), x),
    sign=lambda x: mapped(lambda jet: step(jet, "sign"), x),
    floor=lambda x: mapped(lambda jet: step(jet, "floor"), x),
    concatenate=lambda xs: Array(np.concatenate([x.jets for x in xs])),
    stack=lambda xs: Array(np.stack(np.broadcast_arrays(*[x.jets for x in xs]))),
    cumsum=lambda x, axis: along(cumulated, x, axis),
)
GC = Names(
    **UNARY,
    relu=lambda x: mapped(relu, x),
    stop_gradient=lambda x: mapped(stopped, x),
    logsumexp=lambda x, axis=None, keepdims=False: x.reduced(log_sum_exp, axis, keepdims),
    softmax=lambda x, axis=-1: along(softmax, x, axis),
    log_softmax=lambda x, axis=-1: along(log_softmax, x, axis),
)
FN = Names(
    sumsq=lambda x, axis=None, keepdims=False: x.reduced(squares, axis, keepdims),
    matern=lambda order, s: mapped(lambda jet: matern(order, jet), s),
    cubed=lambda s: mapped(cubed, s),
    gaussian=lambda s, c: mapped(lambda jet: smooth(_exp, jet * constant(c)), s),
    log_cosh=UNARY["log_cosh"],
    bce=lambda z, y: UNARY["softplus"](z) - z * y,
)
NAMES = {"np": NP, "gc": GC, "fn": FN, "math": math}
