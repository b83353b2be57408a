"""The Kalman filter of the examples, which knows nothing of gradc: traced, differentiated, fitted."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradc as gc
from gradc.testing import check_gradients

FOLDER = Path(__file__).parent.parent / "examples" / "kalman"


@pytest.fixture
def tracker(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return pytest.importorskip("tracker")


POINT = {"parameters_log_drag": -0.8, "parameters_log_kick": -0.3, "parameters_log_blur": -1.1}


@pytest.mark.parametrize("function", ["log_likelihood", "roughness"])
def test_a_program_without_a_thought_of_gradc_is_traced_as_it_is(tracker, function):
    fn = getattr(tracker, function)
    parameters = tracker.Parameters(*POINT.values())
    reports, seen = tracker.simulate(parameters, 6, 0.1, seed=3)
    graph = gc.trace(fn, tracker.Parameters(gc.spec(), gc.spec(), gc.spec()), reports, seen, 0.1)
    assert list(graph.placeholders) == list(POINT)
    np.testing.assert_allclose(graph.compile()(POINT)["out"], fn(parameters, reports, seen, 0.1), rtol=1e-12)
    check_gradients(graph, POINT, order=1)


def test_reports_can_be_fed_too(tracker):
    specs = tracker.Parameters(gc.spec(), gc.spec(), gc.spec())
    graph = gc.trace(tracker.log_likelihood, specs, gc.spec((4, 2)), gc.spec(4, bool), 0.1)
    reports, seen = tracker.simulate(tracker.Parameters(*POINT.values()), 4, 0.1, seed=1)
    run = gc.differentiate(graph, "reports").compile()
    out = run({**POINT, "reports": reports, "seen": seen})
    np.testing.assert_allclose(out["out"], tracker.log_likelihood(tracker.Parameters(*POINT.values()), reports, seen, 0.1))
    assert (out["d_out/d_reports"][~seen] == 0).all() and (out["d_out/d_reports"][seen] != 0).all()


def test_newtons_method_finds_where_the_gradient_vanishes():
    command = [sys.executable, str(FOLDER / "fit.py"), "--time", "24", "--seed", "1"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    gradients = [float(line.split()[-1]) for line in lines[2:-1]]
    likelihoods = [float(line.split()[-2]) for line in lines[2:-1]]
    assert gradients[-1] < 1e-8 and likelihoods == sorted(likelihoods)
