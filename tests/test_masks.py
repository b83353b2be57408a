"""Zeros of masks in adjoints: exactly zero, whatever they meet; a zero that a value made is none of these."""

import numpy as np
import pytest

import gradc as gc
from gradc import passes

NAN = np.nan
LEVELS = {"NONE": passes.NONE, "EXACT": passes.EXACT, "DEFAULT": passes.DEFAULT}

# exp(log(x)) is x, and what comes of its derivative at 0 by the rules is 0 * inf
LOST = {
    "an entry": (lambda u: u[0], [NAN, 0.0, 0.0]),
    "another entry": (lambda u: u[1], [0.0, 1.0, 0.0]),
    "a slice": (lambda u: u[:2].sum(), [NAN, 1.0, 0.0]),
    "entries by number": (lambda u: u[[0, 2, 2]].sum(), [NAN, 0.0, 2.0]),
    "backwards": (lambda u: u[::-1][1:].sum(), [NAN, 1.0, 0.0]),
    "where": (lambda u: np.where([True, False, True], u, 0).sum(), [NAN, 0.0, 1.0]),
    "where, then an entry": (lambda u: np.where([True, True, False], u, 0)[:2].sum(), [NAN, 1.0, 0.0]),
    "maximum": (lambda u: np.maximum(u, -1).sum(), [NAN, 1.0, 1.0]),
    "max": (lambda u: (-u).max(), [NAN, 0.0, 0.0]),
    "relu": (lambda u: gc.relu(u + 1).sum(), [NAN, 1.0, 1.0]),
    "clip": (lambda u: np.clip(u, -1, 1.5).sum(), [NAN, 1.0, 0.0]),
    "joined": (lambda u: np.concatenate([u, u[:1]])[1:].sum(), [NAN, 1.0, 1.0]),
    "scaled": (lambda u: (u[0] * 3 - u[1]) / 2, [NAN, -0.5, 0.0]),
}


def gradients(f, x):
    """Of f(x) by `evaluate`, and compiled with each level of passes."""
    g = gc.Graph("masks")
    g.output("y", f(g.placeholder("x", x.shape)))
    d = gc.differentiate(g, "x")
    with np.errstate(all="ignore"):
        yield gc.evaluate(d, {"x": x})[d.grad["x"]]
        for level in LEVELS.values():
            yield gc.compile(d, passes=level)(x=x)["d_y/d_x"]


@pytest.mark.parametrize("reads, right", LOST.values(), ids=LOST)
def test_a_zero_that_a_value_made_is_no_mask(reads, right):
    for found in gradients(lambda x: reads(np.exp(np.log(x))), np.array([0.0, 1.0, 2.0])):
        np.testing.assert_array_equal(found, right)


MASKED = {
    "sqrt": lambda x: np.where(x > 0, np.sqrt(x), 0),
    "roots of roots": lambda x: np.where(x > 0, np.log(np.sqrt(np.sqrt(x))), 0),
    "exp of log": lambda x: np.where(x > 0, np.exp(np.log(x)), 0),
    "two masks": lambda x: np.where(x > 0, np.exp(np.where(x < 9, np.log(x), 0)), 0),
    "an entry of masked ones": lambda x: np.where(x > 0, x**0.5, 0)[::-1][:3],
    "a sum along an axis": lambda x: np.where(x > 0, np.cumsum(np.log(x[::-1])) * 0 + np.log(x), 0)[2:],
}


@pytest.mark.parametrize("f", MASKED.values(), ids=MASKED)
def test_what_a_mask_leaves_out_is_exactly_zero(f):
    for found in gradients(lambda x: f(x).sum(), np.array([0.0, -1.0, 2.0])):
        assert np.isfinite(found[2])
        np.testing.assert_array_equal(found[:2], 0)


@pytest.mark.parametrize("order", [1, 2])
def test_an_adjoint_that_happens_to_be_zero_has_derivatives(order):
    """A model that fits exactly: the residual is 0, and its slope is not."""
    g = gc.Graph("fits")
    x = g.placeholder("x", (2,))
    g.output("y", (np.where(x > 0, np.sqrt(x) - 1, 0) ** 2).sum())
    for _ in range(order):
        name = list(g.outputs)[-1]
        g = gc.differentiate(g, "x", of=name)
    found = gc.evaluate(g, {"x": np.array([1.0, -1.0])})[g.grad["x"]]
    np.testing.assert_allclose(found, [0.0, 0.0] if order == 1 else [0.5, 0.0], atol=1e-15)
