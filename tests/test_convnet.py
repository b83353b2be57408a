"""The convolutional example: it learns, and its step is that of gradients taken by differences."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import gradc as gc

FILE = Path(__file__).resolve().parent.parent / "examples" / "convnet" / "train.py"


@pytest.fixture(scope="module")
def convnet():
    """The example as a module of its own name: there is another train.py."""
    spec = importlib.util.spec_from_file_location("convnet_train", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_short_run_reads_most_digits(convnet, capsys):
    pytest.importorskip("sklearn")
    assert convnet.main(["--epochs", "3"]) > 0.92
    assert capsys.readouterr().out.count("test accuracy") == 3


def test_a_step_moves_each_parameter_down_its_slope(convnet):
    """Along random directions, in float64 by central differences of the loss."""
    graph = convnet.build(0.05, 0.9)
    step = gc.compile(graph, ["loss", *(f"d_loss/d_{name}" for name in convnet.SHAPES)])
    state = convnet.parameters(1)
    rng = np.random.default_rng(0)
    x, y = rng.random((7, 1, 8, 8), dtype=np.float32), rng.integers(0, 10, 7)
    wide = gc.Graph("float64")
    nodes = {name: wide.placeholder(name, shape) for name, shape in convnet.SHAPES.items()}
    wide.output("loss", gc.softmax_cross_entropy(convnet.logits_of(gc.constant(x.astype(float)), nodes), y).mean())
    loss = gc.compile(wide)
    at = {name: state[name].astype(float) for name in nodes}
    found = step(x=x, y=y, **state)
    for name, array in at.items():
        d = rng.standard_normal(array.shape)
        up, down = (float(loss({**at, name: array + h * d})["loss"]) for h in (1e-6, -1e-6))
        slope = float(np.vdot(found[f"d_loss/d_{name}"], d))
        assert slope == pytest.approx((up - down) / 2e-6, rel=2e-3, abs=1e-5)
