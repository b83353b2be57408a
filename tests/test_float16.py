"""float16: whatever adds up many entries does so in float32, forward, backward, in both modes and by every executor.

float16 counts to 2048 only and ends at 65504; 70,000 entries show both. Each case is held against the same graph in float64.
"""

import numpy as np
import pytest

import gradc as gc
from gradc import tiles
from gradc.ops.shaping import add_n
from gradc.ops.slices import place, placed_sum

COUNT = 70_000
ONES = np.ones(COUNT, "float16")
FEW = ONES[:5]
NORMAL = np.random.default_rng(0).standard_normal(COUNT).astype("float16")
TANGENT = np.random.default_rng(1).standard_normal(COUNT).astype("float16")
SAME = np.zeros(60_000, int)
BELOW = np.float16(2.0**-10)


def short(x):
    """As many as float16 can say how many there are."""
    return x[:60_000]


SUMS = {
    "sum": (lambda x: np.sum(x * BELOW), ONES),
    "sum in range": (lambda x: np.sum(short(x)), ONES),
    "sum of columns": (lambda x: np.sum(x.reshape(7000, 10), axis=0), ONES),
    "sum of rows": (lambda x: np.sum(x.reshape(10, 7000), axis=-1, keepdims=True), ONES),
    "sum where": (lambda x: np.sum(x, where=NORMAL > 0), ONES),
    "nansum": (lambda x: np.nansum(short(x)), ONES),
    "mean": (np.mean, ONES),
    "nanmean": (np.nanmean, NORMAL),
    "average": (lambda x: np.average(x, weights=ONES), NORMAL),
    "average's weights": (lambda x: np.average(NORMAL, weights=x), ONES),
    "var": (np.var, NORMAL),
    "std": (np.std, NORMAL),
    "nanvar": (np.nanvar, NORMAL),
    "cov": (lambda x: np.cov(x.reshape(2, -1), dtype=x.dtype), NORMAL),
    "trapezoid": (lambda x: np.trapezoid(short(x)), ONES),
    "trace": (lambda x: np.trace(x[:62_500].reshape(250, 250)), ONES),
    "bincount": (lambda x: np.bincount(SAME, short(x), minlength=2), ONES),
    "segment_sum": (lambda x: gc.segment_sum(short(x), SAME, 2), ONES),
    "at_add": (lambda x: gc.at_add(np.zeros(3, "float16"), SAME, short(x)), ONES),
    "add_n": (lambda x: add_n(*[x] * 2100), FEW),
    "dot": (lambda x: short(x) @ short(ONES), ONES),
    "matmul": (lambda x: x.reshape(7000, 10).T @ x.reshape(7000, 10), ONES),
    "einsum": (lambda x: np.einsum("ij,ij->j", x.reshape(7000, 10), x.reshape(7000, 10)), ONES),
    "a matrix's adjoint": (lambda x: np.ones((60_000, 1), "float16") @ x[:1].reshape(1, 1), ONES),
    "broadcast's adjoint": (lambda x: x[0] + np.zeros(60_000, "float16"), ONES),
    "a row's adjoint": (lambda x: x[:10] * np.ones((7000, 10), "float16"), ONES),
    "an index's adjoint": (lambda x: x[SAME], ONES),
    "take's adjoint": (lambda x: np.take(x.reshape(7000, 10), SAME[:5000], axis=0), ONES),
    "repeat's adjoint": (lambda x: np.repeat(x[:2], 30_000), ONES),
    "unequal repeat's adjoint": (lambda x: np.repeat(x[:2], [30_000, 20_000]), ONES),
    "tile's adjoint": (lambda x: np.tile(x[:2], 20_000), ONES),
    "pad's adjoint": (lambda x: np.pad(x[:3], 5000, mode="edge"), ONES),
    "parts at one place": (lambda x: placed_sum([place(x[:2], ((0, 2, 1),), (5,))] * 2100), FEW),
    "windows' adjoint": (lambda x: gc.conv1d(x.reshape(1, 1, -1), np.ones((1, 1, 2500), "float16")), ONES[:5000]),
}
SCANS = {
    "cumsum": (lambda x: np.cumsum(x)[[5000, 60_000]], ONES),
    "cumsum along": (lambda x: np.cumsum(x.reshape(7000, 10), axis=0) * BELOW, ONES),
    "cumprod": (lambda x: np.cumprod(x[:5000]) * BELOW, ONES),
    "prod": (np.prod, ONES),
}
TIES = {
    "max": (np.max, ONES),
    "min": (np.min, ONES),
    "ptp": (np.ptp, ONES),
    "nanmax": (np.nanmax, ONES),
    "max of columns": (lambda x: np.max(x.reshape(7000, 10), axis=0), ONES),
    "norm of order inf": (lambda x: np.linalg.norm(x, np.inf), ONES),
    "median": (np.median, ONES),
    "quantile": (lambda x: np.quantile(x, 0.3), ONES),
    "sort": (lambda x: np.sort(x)[:7], ONES),
}
EXPONENTIALS = {
    "softmax": (lambda x: gc.softmax(x)[:9] * np.float16(1000), NORMAL),
    "softmax of equals": (lambda x: gc.softmax(x)[:9] * np.float16(1000), ONES),
    "log_softmax": (gc.log_softmax, NORMAL),
    "log_softmax of equals": (lambda x: gc.log_softmax(x)[:9], ONES),
    "logsumexp": (gc.logsumexp, NORMAL),
    "logaddexp.reduce": (np.logaddexp.reduce, ONES),
    "cross entropy": (lambda x: gc.softmax_cross_entropy(x, np.array(3)), ONES),
    "cross entropy of rows": (lambda x: gc.softmax_cross_entropy(x, np.full(COUNT, 1 / COUNT, "float16")), NORMAL),
    "attention": (lambda x: gc.attention(np.ones((1, 2), "float16"), x.reshape(-1, 2), x.reshape(-1, 2)), NORMAL),
}
NORMS = {
    "norm": (np.linalg.norm, NORMAL),
    "norm of order 3": (lambda x: np.linalg.norm(x, 3), NORMAL),
    "norm of order 1": (lambda x: np.linalg.norm(x * np.float16(0.5), 1), NORMAL),
    "layer_norm": (lambda x: gc.layer_norm(x)[:50], NORMAL),
    "batch_norm": (lambda x: gc.batch_norm(x.reshape(-1, 2))[:50], NORMAL),
    "batch_norm's scale": (lambda x: gc.batch_norm(NORMAL[:60_000].reshape(-1, 2) ** 2, x[:2], x[2:4]), ONES),
    "rms_norm": (lambda x: gc.rms_norm(x)[:50], NORMAL),
    "l2_normalize": (lambda x: gc.l2_normalize(x) * NORMAL, NORMAL),
    "cosine_similarity": (lambda x: gc.cosine_similarity(x, TANGENT), NORMAL),
    "huber": (lambda x: np.mean(gc.huber(x)), NORMAL),
}
FAMILY = SUMS | SCANS | TIES | EXPONENTIALS | NORMS


def found(build, x, passes):
    """The value, the gradient of the sum, and the derivative along `TANGENT`."""
    graph = gc.Graph("g")
    graph.output("y", build(graph.placeholder("x", x.shape, x.dtype)))
    value, gradient = gc.compile(gc.differentiate(graph, "x", of="y"), passes=passes)(x=x).values()
    forward = gc.differentiate(graph, "x", of="y", mode="forward")
    change = gc.compile(forward, "dot_y", passes=passes)(x=x, dot_x=TANGENT[: len(x)].astype(x.dtype))["dot_y"]
    return value, gradient, change


def assert_rounded(got, exact):
    """`got` is `exact` to a few roundings to float16, of itself or of the largest entry."""
    size = np.abs(exact[np.isfinite(exact)]).max(initial=0)
    with np.errstate(over="ignore"):
        wanted = exact.astype("float16").astype(float)
    np.testing.assert_allclose(got.astype(float), wanted, rtol=3e-3, atol=2e-3 * size + 2e-7)


@pytest.mark.parametrize("name", FAMILY)
def test_many_entries_add_up(name):
    build, x = FAMILY[name]
    exact = found(build, x.astype(float), gc.passes.NONE)
    for passes in (gc.passes.NONE, gc.passes.DEFAULT):
        for got, wanted in zip(found(build, x, passes), exact, strict=True):
            assert got.shape == wanted.shape
            assert_rounded(got, wanted)
    assert got.dtype == np.float16 or name == "bincount"


def test_tiles_add_in_float32_too(monkeypatch):
    """2,048 and two ones: each one alone is lost."""
    x = np.ones((64, 4), "float16")
    graph = gc.Graph("g")
    node = graph.placeholder("x", x.shape, x.dtype)
    graph.output("y", np.sqrt(add_n(node * np.float16(2048), node, node)) + np.float16(1))
    plain = gc.compile(graph, passes=gc.passes.NONE)(x=x)["y"]
    monkeypatch.setattr(tiles, "TILE_BYTES", 64)
    monkeypatch.setattr(tiles, "LEAST_TILES", 2)
    run = gc.compile(graph, passes=gc.passes.NONE)
    np.testing.assert_array_equal(run(x=x)["y"], plain)
    assert "for start, stop" in run.source
    np.testing.assert_array_equal(plain, np.sqrt(np.float16(2050)) + np.float16(1))


def test_parts_that_overlap_add_in_float32():
    graph = gc.Graph("g")
    x = graph.placeholder("x", 3, "float16")
    graph.output("y", placed_sum([place(x[:k] * np.float16(2048 if k == 3 else 1), ((0, k, 1),), (3,)) for k in (3, 2, 1)]))
    for passes in (gc.passes.NONE, gc.passes.DEFAULT):
        np.testing.assert_array_equal(gc.compile(graph, passes=passes)(x=np.ones(3, "float16"))["y"], [2050, 2048, 2048])
    np.testing.assert_array_equal(gc.evaluate(graph, x=np.ones(3, "float16"))[graph.outputs["y"]], [2050, 2048, 2048])


@pytest.mark.parametrize("function", [np.max, np.median])
def test_ties_of_float32_beyond_what_it_counts(function):
    """2**24 + 2 entries, of which float32 counts 2**24: the reciprocal is right to half a unit in the last place."""
    x = np.broadcast_to(np.float32(1), (2, 2**23 + 1))
    graph = gc.Graph("g")
    graph.output("y", function(graph.placeholder("x", x.shape, "float32")))
    gradient = gc.compile(gc.differentiate(graph, "x"))(x=x)["d_y/d_x"]
    assert (gradient == np.float32(1 / (2**24 + 2))).all()
