"""Ops of users: the example of a banded solve. (The page about them is run by test_docs.)"""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_testing import declared

import gradc as gc
from gradc import errors, testing

ROOT = Path(__file__).parent.parent


@contextmanager
def example(name):
    """A module of the example, its ops registered in this block only."""
    sys.path.insert(0, str(ROOT / "examples" / "own_op"))
    try:
        with declared(lambda: importlib.import_module(name)) as module:
            yield module
    finally:
        sys.path.pop(0)
        for loaded in ("banded", "heat"):
            sys.modules.pop(loaded, None)


@pytest.fixture(scope="module")
def banded():
    with example("banded") as module:
        yield module


@pytest.mark.parametrize("name", ["solve_banded", "transpose_bands"])
def test_the_ops_of_the_example(banded, name):
    report = testing.check_op(getattr(banded, name))
    assert report.oracles["complex steps"] == report.checks["gradients"]


def test_a_banded_solve_is_a_dense_solve(banded):
    bands, b = banded._dominant(6, 2, 1), np.arange(6.0)
    dense = sum(np.diag(bands[1 + d, max(0, -d) : 6 - max(0, d)], -d) for d in range(-1, 3))
    g = gc.Graph("solve")
    nodes = g.placeholder("bands", bands.shape), g.placeholder("b", b.shape)
    g.output("x", banded.solve_banded(*nodes, lower=2, upper=1))
    dg = gc.differentiate(g, nodes)
    out = gc.compile(dg)(bands=bands, b=b)
    np.testing.assert_allclose(out["x"], np.linalg.solve(dense, b), rtol=1e-12)
    np.testing.assert_allclose(out["d_x/d_b"], np.linalg.solve(dense.T, np.ones(6)), rtol=1e-12)
    unread = [(0, 0), (2, 5), (3, 4), (3, 5)]
    assert all(out["d_x/d_bands"][place] == 0 for place in unread)


def test_wrong_operands_of_a_banded_solve(banded):
    g = gc.Graph("solve")
    bands, b = g.placeholder("bands", (3, 4)), g.placeholder("b", (5,))
    with pytest.raises(errors.ShapeError, match=r"bands \[3, 4\] and b \[5\], expected \[3, n\] and \[n\]"):
        banded.solve_banded(bands, b, lower=1, upper=1)
    with pytest.raises(errors.DTypeError, match="both float64 or both float32"):
        banded.solve_banded(bands, b.astype("float32")[:4], lower=1, upper=1)


def test_the_program_finds_the_conductivities(capsys):
    with example("heat") as heat:
        assert heat.main() < 1e-9
    assert "products with the Hessian" in capsys.readouterr().out
