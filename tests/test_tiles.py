"""Loops over tiles: the same bits, less memory, and only where they pay."""

import numpy as np
import pytest

import gradc as gc
from gradc import passes, tiles
from gradc.plan import Home


def formula(n, dtype="float64"):
    g = gc.Graph("formula")
    x = g.placeholder("x", n, dtype)
    g.output("y", np.sum(np.tanh(x) * np.exp(-(x**2) / 2) + np.log(np.sqrt(x**2 + 1)) / (1 + np.exp(-x))))
    return gc.differentiate(g, x)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pipeline", [passes.NONE, passes.EXACT, passes.DEFAULT])
def test_tiles_change_no_bit_and_need_less_memory(pipeline, dtype):
    n = 5 * tiles.TILE_BYTES // 4 + 37
    exe = gc.compile(formula(n, dtype), passes=pipeline)
    x = np.random.default_rng(0).uniform(-90, 90, n).astype(dtype)
    out = exe(x=x)
    assert "for start, stop" in exe.source
    trace = gc.evaluate(exe.graph, {"x": x})
    assert all(same_bits(value, trace[exe.graph.outputs[name]]) for name, value in out.items())
    whole = exe._plan({}, tiled=False)
    assert pipeline is passes.NONE or exe._plan({}).arena_bytes < whole.arena_bytes


def test_short_arrays_take_no_loop():
    exe = gc.compile(formula(3 * tiles.TILE_BYTES // 8))
    assert "for start, stop" not in exe.source


def adam(n):
    """An optimiser's update of three long arrays, and the broadcast operands that loops leave whole."""
    g = gc.Graph("adam")
    p, m, v, grad = (g.placeholder(name, (n, 4), "float32") for name in ("p", "m", "v", "grad"))
    rate, decay = g.placeholder("rate", (), "float32"), g.placeholder("decay", 4, "float32")
    column = g.placeholder("column", (n, 1), "float32")
    m1, v1 = m * 0.9 + grad * 0.1, v * 0.99 + grad * grad * 0.01
    g.output("p1", p - rate * m1 / (np.sqrt(v1) + 1e-8) - p * decay * column)
    g.output("m1", m1)
    g.output("v1", v1)
    g.output("mean", gc.relu(p - 1).mean())
    return g


@pytest.mark.parametrize("n", [5, 64, 1001])
def test_updates_in_a_loop_read_the_old_values(n, monkeypatch):
    monkeypatch.setattr(tiles, "TILE_BYTES", 256)
    g = adam(n)
    step = gc.compile(g, updates={"p": "p1", "m": "m1", "v": "v1"})
    rng = np.random.default_rng(1)
    feeds = {name: rng.random(node.shape, dtype="f4") for name, node in g.placeholders.items()}
    for _ in range(2):
        trace = gc.evaluate(step.graph, feeds)
        expected = {name: np.array(trace[node]) for name, node in step.graph.outputs.items()}
        out = step(feeds)
        assert same_bits(out["mean"], expected["mean"])
        assert all(same_bits(feeds[name], expected[f"{name}1"]) for name in "pmv")
    assert ("for start, stop" in step.source) == (n > 32)
    assert step.profile(feeds, repeat=2).rows


def test_a_step_that_needs_the_loop_follows_it_and_one_that_does_not_precedes_it(monkeypatch):
    monkeypatch.setattr(tiles, "TILE_BYTES", 64)
    g = gc.Graph("g")
    x, w = g.placeholder("x", 100), g.placeholder("w", (100, 100))
    a = np.exp(x)
    total = a.sum()
    far = w @ x
    b = a * 2.0 + far
    g.output("total", total)
    g.output("y", np.sin(b) + 1.0)
    g.output("z", b * total)
    exe = gc.compile(g, passes=passes.NONE)
    rng = np.random.default_rng(2)
    feeds = {"x": rng.random(100), "w": rng.random((100, 100))}
    out, trace = exe(feeds), gc.evaluate(g, feeds)
    assert all(same_bits(value, trace[g.outputs[name]]) for name, value in out.items())
    (tiling,) = exe._plan({}).tilings
    names = [n.op.name for n in exe._plan({}).order]
    assert [n.op.name for n in tiling.nodes] == ["exp", "multiply", "add", "sin", "add"]
    assert names.index("matmul") < names.index("exp") and names.index("sum") > names.index("sin")
    homes = exe._plan({}).home
    assert [homes[n] for n in tiling.nodes].count(Home.TILE) == 2


def test_results_of_ufuncs_do_not_depend_on_where_an_entry_is():
    rng = np.random.default_rng(3)
    for dtype in ("float32", "float64"):
        x = rng.uniform(-20, 20, 4099).astype(dtype)
        y = rng.uniform(0.1, 3, 4099).astype(dtype)
        for name in sorted(n for n in dir(np) if isinstance(getattr(np, n), np.ufunc)):
            ufunc = getattr(np, name)
            operands = (x, y)[: ufunc.nin]
            if ufunc.signature or ufunc.nout != 1:
                continue
            try:
                with np.errstate(all="ignore"):
                    whole = ufunc(*operands)
                    parts = [ufunc(*(o[k : k + 1024] for o in operands)) for k in range(0, 4099, 1024)]
            except TypeError:
                continue
            assert same_bits(whole, np.concatenate(parts)), f"{name} {dtype}"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_zeros_of_a_mask_are_kept_block_by_block(dtype):
    """In one loop with the rest of the formula, where some blocks have a NaN and others none."""
    n = 6 * tiles.TILE_BYTES // 2 + 37
    g = gc.Graph("masked")
    x = g.placeholder("x", n, dtype)
    g.output("y", np.sum(np.where(x > 0, np.log(x) * np.sqrt(x), 0)))
    exe = gc.compile(gc.differentiate(g, x))
    values = np.random.default_rng(0).uniform(0.1, 1, n).astype(dtype)
    values[n // 2 :: 3] = 0
    values[-1] = np.nan
    found = exe(x=values)["d_y/d_x"]
    loop = exe.source[exe.source.index("for start, stop") :]
    assert exe.source.count("restore_zeros(") == loop.count("restore_zeros(") > 0
    assert same_bits(found, gc.evaluate(exe.graph, {"x": values})[exe.graph.outputs["d_y/d_x"]])
    assert not found[values == 0].any() and np.isfinite(found).all() and found[values > 0].all()
