"""Equal, missing and extreme eigenvalues and singular values; sizes of what derivatives of matrices compute on the way."""

import itertools

import numpy as np
import pytest

import gradc
from gradc.ir import FUNCTIONS

L = np.linalg
SHAPE = np.array([[4.0, 1, 0], [1, 3, 1], [0, 1, 2]])
Q = L.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
P = L.qr(np.random.default_rng(6).standard_normal((4, 4)))[0]


def graph_of(fn, **specs):
    """The graph of `fn` on placeholders of these names; outputs y, or y0, y1, ..."""
    graph = gradc.Graph("spectra")
    results = fn(*[graph.placeholder(name, *spec) for name, spec in specs.items()])
    several = isinstance(results, tuple)
    for k, node in enumerate(results if several else (results,)):
        graph.output(f"y{k}" if several else "y", node)
    return graph


def gradient(fn, a, order=1):
    """The gradient of the sum of `fn(a)`, of the gradient's sum again for order 2."""
    graph = graph_of(fn, a=(a.shape, a.dtype))
    of = "y"
    for _ in range(order):
        before = set(graph.outputs)
        graph = gradc.differentiate(graph, "a", of=of, on_disconnected="zeros")
        of = next(name for name in graph.outputs if name not in before)
    return graph.compile()(a=a)[of]


def tangent(fn, a, t):
    graph = graph_of(fn, a=(a.shape, a.dtype))
    graph = gradc.differentiate(graph, "a", mode="forward")
    return list(graph.compile()(a=a, dot_a=t).values())[-1]


def curvature(fn, a, t, mode):
    """The derivative of the gradient along `t`."""
    graph = gradc.differentiate(graph_of(fn, a=(a.shape,)), "a")
    slope = list(graph.outputs)[-1]
    if mode == "forward":
        graph = gradc.differentiate(graph, "a", of=slope, mode="forward", on_disconnected="zeros")
        return list(graph.compile()(a=a, dot_a=t).values())[-1]
    graph.output("along", np.sum(graph.grad["a"] * gradc.constant(t)))
    graph = gradc.differentiate(graph, "a", of="along", on_disconnected="zeros")
    return list(graph.compile()(a=a).values())[-1]


def by_eigh(f, weights):
    def fn(a):
        w, v = L.eigh(a)
        return np.sum(weights * ((v * f(w)[..., None, :]) @ v.mT))

    return fn


def by_svd(f, weights):
    def fn(a):
        u, s, vh = L.svd(a, full_matrices=False)
        return np.sum(weights * ((u * f(s)[..., None, :]) @ vh))

    return fn


# --- equal values ----------------------------------------------------------------------------------------

EQUAL = [
    np.eye(4),
    np.zeros((4, 4)),
    np.ones((4, 4)),
    np.diag([1.0, 2, 2, 5]),
    np.diag([1.0, 1 + 2**-52, 2, 3]),
    np.diag([0.0, 0, 1e-20, 1]),
    Q @ np.diag([1.0, 2, 2, 5]) @ Q.T,
    Q[:, :2] @ Q[:, :2].T,
    Q[:, :1] @ Q[:, :1].T * 1e200,
    np.eye(4) + 1e-3 * np.ones((4, 4)),
]
"""Symmetric matrices with equal eigenvalues, exactly and to rounding."""


@pytest.mark.parametrize("a", EQUAL)
@pytest.mark.parametrize("f", [np.exp, np.log, lambda w: w, lambda w: 1 / (w + 7), lambda w: w * 0])
def test_a_matrix_function_by_eigh_is_nan_at_equal_eigenvalues_in_both_modes(a, f):
    a = (a + a.T) / 2
    weights = np.arange(16.0).reshape(4, 4)
    with np.errstate(all="ignore"):
        assert np.isnan(gradient(by_eigh(f, weights), a)).all()
        assert np.isnan(tangent(by_eigh(f, weights), a, weights))


@pytest.mark.parametrize("weights", [np.array([[0.0, 1], [2, 3]]), np.array([[0.0, 1], [1, 0]])])
def test_an_adjoint_that_happens_to_be_zero_tells_nothing(weights):
    """log(1) = 0, so the vectors' adjoint is 0, and the derivative of trace(B' logm(A)) at 1 is B."""
    assert np.isnan(gradient(by_eigh(np.log, weights), np.eye(2))).all()


@pytest.mark.parametrize(
    "a", [np.eye(3), np.outer([1.0, 2, 3], [1.0, 1, 2]), np.diag([1.0, 0, 0]), np.eye(3)[:, :2], np.zeros((2, 3))]
)
def test_a_matrix_put_together_from_its_svd_is_nan_or_right(a):
    weights = np.arange(float(a.size)).reshape(a.shape)
    ours = gradient(by_svd(lambda s: s, weights), a)
    assert np.isnan(ours).all() or np.abs(ours - weights).max() < 1e-8
    assert np.isnan(tangent(by_svd(lambda s: s, weights), a, weights)) == np.isnan(ours).all()


@pytest.mark.parametrize("shape", [(3, 3), (3, 2), (2, 3)])
def test_a_singular_value_of_zero_hides_no_part_of_the_product(shape):
    a = np.zeros(shape)
    a[0, 0] = 2
    if min(shape) == 3:
        a[1, 1] = 1
    weights = np.arange(float(a.size)).reshape(shape)
    assert np.isnan(gradient(by_svd(lambda s: s, weights), a)).all()
    assert np.isnan(tangent(by_svd(lambda s: s, weights), a, weights))


@pytest.mark.parametrize("a", EQUAL[:2] + EQUAL[3:])
@pytest.mark.parametrize(("f", "slope"), [(lambda w: w**3, lambda w: 3 * w**2), (np.exp, np.exp), (lambda w: w, np.ones_like)])
def test_symmetric_functions_of_equal_eigenvalues_are_right(a, f, slope):
    a = (a + a.T) / 2 / max(1.0, np.abs(a).max())
    w, v = L.eigh(a)
    expected, t = (v * slope(w)) @ v.T, np.arange(16.0).reshape(4, 4)
    for fn in (lambda x: np.sum(f(L.eigvalsh(x))), lambda x: np.sum(f(L.eigh(x)[0]))):
        np.testing.assert_allclose(gradient(fn, a), expected, atol=1e-13)
        np.testing.assert_allclose(tangent(fn, a, t), np.vdot(expected, t), rtol=1e-12, atol=1e-12)


def test_a_batch_is_nan_only_where_its_own_values_are_equal():
    a = np.stack([SHAPE, np.eye(3)])
    ours = gradient(by_eigh(np.exp, np.ones((3, 3))), a)
    alone = gradient(by_eigh(np.exp, np.ones((3, 3))), SHAPE)
    np.testing.assert_allclose(ours[0], alone, rtol=1e-12)
    assert np.isnan(ours[1]).all()


def test_a_matrix_that_a_mask_leaves_out_may_have_equal_values():
    a = np.stack([SHAPE, np.eye(3), np.zeros((3, 3))])
    keep = np.array([True, False, False])
    for fn in (by_eigh, by_svd):
        alone = gradient(fn(np.exp, np.arange(9.0).reshape(3, 3)), SHAPE)
        ours = gradient(lambda x: np.sum(np.where(keep, each(fn, x), 0)), a)  # noqa: B023
        np.testing.assert_allclose(ours, np.stack([alone, np.zeros((3, 3)), np.zeros((3, 3))]), rtol=1e-11, atol=1e-13)


def each(fn, x):
    """`fn` of each matrix of a batch, summed with weights 0, 1, 2, ..."""
    if fn is by_eigh:
        w, v = L.eigh(x)
        whole = (v * np.exp(w)[..., None, :]) @ v.mT
    else:
        u, s, vh = L.svd(x)
        whole = (u * np.exp(s)[..., None, :]) @ vh
    return np.sum(np.arange(9.0).reshape(3, 3) * whole, (-2, -1))


def test_a_truncated_svd_needs_no_vectors_of_what_is_left_out():
    """The derivative of the nearest matrix of rank 1, at a matrix of rank 1, by differences of it."""
    a = np.outer([1.0, 2, 3], [1.0, 1, 2])
    weights = np.arange(9.0).reshape(3, 3)

    def nearest(x):
        u, s, vh = L.svd(x)
        return np.sum(weights * ((u * np.where(s > 0.1, s, 0)) @ vh))

    h = np.array([[1.0, 0, 2], [3, 1, 0], [0, 1, 1]])
    differences = (nearest(a + 1e-5 * h) - nearest(a - 1e-5 * h)) / 2e-5
    np.testing.assert_allclose(np.vdot(gradient(nearest, a), h), differences, rtol=1e-8)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_the_second_derivative_at_equal_values_is_nan(mode):
    t = np.array([[1.0, 2], [3, 4]])
    for fn in (lambda x: np.sum(np.log(L.eigvalsh(x))), lambda x: np.sum(L.svdvals(x)), lambda x: L.norm(x, "nuc")):
        assert np.isnan(curvature(fn, np.eye(2), t, mode)).all()
    for shape in ((2, 2), (2, 3), (3, 2)):
        a, u = np.zeros(shape), np.arange(float(np.prod(shape))).reshape(shape)
        a[0, 0] = 1
        assert np.isnan(curvature(lambda x: np.sum(L.svdvals(x)), a, u, mode)).all()


# --- near values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [1e-16, 1e-15, 1e-14, 1e-13, 1e-11, 1e-8, 1e-4])
@pytest.mark.parametrize("turn", [np.eye(4), Q])
def test_near_values_are_nan_or_right_to_the_digits_of_their_difference(gap, turn):
    """d <B, exp(A)> is V (V' B V * divided differences) V'; those of exp are e^mean sinh(h) / h, h half the gap."""
    a = turn @ np.diag([1.0, 1 + gap, 2, 3]) @ turn.T
    a = (a + a.T) / 2
    b = np.random.default_rng(1).standard_normal((4, 4))
    w, v = L.eigh(a)
    half = (w[:, None] - w[None, :]) / 2
    ratio = np.exp((w[:, None] + w[None, :]) / 2) * np.where(half == 0, 1, np.sinh(half) / np.where(half == 0, 1, half))
    expected = v @ (ratio * (v.T @ ((b + b.T) / 2) @ v)) @ v.T
    tolerance = np.abs(expected).max() * max(1e-10, 8e-15 / max(gap, 1e-16))
    for ours, theirs in (
        (gradient(by_eigh(np.exp, b), a), expected),
        (tangent(by_eigh(np.exp, b), a, b), np.vdot(expected, b)),
    ):
        assert np.isnan(ours).all() or np.abs(ours - theirs).max() < 30 * tolerance
        assert np.isnan(ours).all() == (gap < 2e-15) or 2e-15 < gap < 1e-13


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_values_that_differ_are_not_equal_however_large_others_are(scale):
    d = np.array([1e-20, 3e-20, 1]) * scale
    a = np.diag(d)
    for values in (L.eigvalsh, L.svdvals, lambda x: L.eigh(x)[0], lambda x: L.svd(x)[1]):
        np.testing.assert_allclose(np.diag(gradient(lambda x: np.sum(np.log(values(x))), a)), 1 / d, rtol=1e-12)  # noqa: B023
    t = np.arange(9.0).reshape(3, 3)
    for values, mode in itertools.product((L.eigvalsh, L.svdvals), ("forward", "reverse")):
        ours = curvature(lambda x: np.sum(np.log(values(x))), np.diag(d / scale), t + t.T, mode)  # noqa: B023
        expected = -(t + t.T) / np.outer(d / scale, d / scale)
        np.testing.assert_allclose(ours, expected, rtol=1e-9)
    ours = gradient(lambda x: L.eigh(x)[1][0, 1] - L.eigh(x)[1][1, 0], np.diag(d / scale))
    np.testing.assert_allclose(ours[0, 1], 1 / 2e-20, rtol=1e-9)


def test_quotients_of_rounding_by_rounding_are_nan_though_the_values_differ():
    """exp(1e-20) and exp(3e-20) are the same float."""
    b = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert np.isnan(gradient(by_eigh(np.exp, b), np.diag([1e-20, 3e-20, 1]))).all()


def test_the_slope_at_zero_is_that_of_a_norm_and_not_of_a_logarithm():
    singular = np.array([[1.0, 2], [2, 4]])
    np.testing.assert_allclose(gradient(lambda a: L.norm(a, "nuc"), singular), singular / 5, atol=1e-15)
    t = np.array([[1.0, 3], [2, 5]])
    np.testing.assert_allclose(tangent(lambda a: L.norm(a, "nuc"), singular, t), np.vdot(singular / 5, t), rtol=1e-14)
    for a in (singular, np.diag([1.0, 0])):
        with np.errstate(all="ignore"):
            ours = gradient(lambda x: np.sum(np.log(L.svdvals(x))), a)
        assert not (np.abs(ours) < 1e10).all()


# --- extremes --------------------------------------------------------------------------------------------

SCALES = [(1e155, "float64"), (1e-155, "float64"), (1e300, "float64"), (1e-250, "float64"), (1e19, "float32"), (1e-19, "float32")]
BY_SCALE = [
    (lambda a: np.sum(L.svdvals(a)), 1),
    (lambda a: L.norm(a, 2), 1),
    (lambda a: L.norm(a, "nuc"), 1),
    (lambda a: L.norm(a, -2), 1),
    (lambda a: L.norm(a), 1),
    (lambda a: L.eigvalsh(a)[0], 1),
    (lambda a: L.svdvals(a)[0] / L.svdvals(a)[-1], 0),
    (lambda a: L.slogdet(a)[1], 0),
    (lambda a: L.svd(a)[0][0, 0] ** 2, 0),
    (lambda a: L.svd(a[:, :2], full_matrices=False)[0][0, 0] ** 2, 0),
    (lambda a: L.svd(a[:2], full_matrices=False)[2][0, 0] ** 2, 0),
    (lambda a: L.eigh(a)[1][0, 0] ** 2, 0),
]
"""Functions, and by which power of a scale they scale."""


@pytest.mark.parametrize(("scale", "dtype"), SCALES)
@pytest.mark.parametrize(("fn", "power"), BY_SCALE)
def test_nothing_overflows_where_the_derivative_does_not(fn, power, scale, dtype):
    a = SHAPE.astype(dtype)
    scale = np.dtype(dtype).type(scale)
    exponent = power - 1
    ours = gradient(fn, a * scale)
    near = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(ours * scale**-exponent, gradient(fn, a), rtol=near, atol=near)
    if abs(np.log10(np.float64(scale))) * (2 - power) < np.log10(np.finfo(dtype).max) - 2:
        again = gradient(fn, a * scale, order=2)
        with np.errstate(all="ignore"):
            rescaled = again * scale if power == 1 else again * scale * scale
        np.testing.assert_allclose(rescaled, gradient(fn, a, order=2), rtol=near, atol=near)


def test_cofactors_whose_partial_products_overflow():
    d = np.array([1e200, 1e200, 1e-200, 1e-200])
    np.testing.assert_allclose(np.diag(gradient(L.det, np.diag(d))), [1e-200, 1e-200, 1e200, 1e200], rtol=1e-12)


# --- sizes -----------------------------------------------------------------------------------------------

N = 2000
LONG = [(2, N), (N, 2)]
OF_ONE = {
    "pinv": L.pinv,
    "svd": lambda a: L.svd(a, full_matrices=False),
    "svdvals": L.svdvals,
    "qr": L.qr,
    "norm": lambda a: L.norm(a, "nuc"),
    "matrix_trace": L.trace,
    "matrix_diagonal": L.diagonal,
}
OF_TWO = {
    "lstsq": (lambda a, b: L.lstsq(a, b)[:2], lambda m, n: (m, 3)),
    "matmul": (np.matmul, lambda m, n: (n, 2)),
    "dot": (np.dot, lambda m, n: (n,)),
    "inner": (np.inner, lambda m, n: (3, n)),
    "outer": (np.outer, lambda m, n: (3,)),
    "vdot": (np.vdot, lambda m, n: (m, n)),
    "vecdot": (np.vecdot, lambda m, n: (m, n)),
    "tensordot": (np.tensordot, lambda m, n: (m, n)),
    "kron": (np.kron, lambda m, n: (2, 2)),
    "einsum": (lambda a, b: np.einsum("ij,kj,ij->ik", a, b, a), lambda m, n: (m, n)),
    "multi_dot": (lambda a, b: L.multi_dot([a, b, a]), lambda m, n: (n, m)),
}
OTHERS = {
    "matvec": (np.matvec if hasattr(np, "matvec") else (lambda a, x: (a @ x[..., None])[..., 0]), (50, 40), (N, 40)),
    "vecmat": (np.vecmat if hasattr(np, "vecmat") else (lambda x, a: (x[..., None, :] @ a)[..., 0, :]), (N, 50), (50, 40)),
    "matmul of a batch by one": (np.matmul, (N, 1, 50), (1, 50, 40)),
    "matmul of one by a batch": (np.matmul, (40, 50), (N, 50, 1)),
    "vecdot of all pairs": (np.vecdot, (N, 1, 20), (30, 20)),
    "cross": (np.cross, (N, 3), (3,)),
    "linalg_cross": (L.cross, (N, 3), (N, 3)),
    "solve": (L.solve, (40, 40), (N, 40, 1)),
    "solve_triangular": (gradc.solve_triangular, (40, 40), (N, 40, 1)),
    **{
        name: (getattr(L, name), (40, 40))
        for name in ("inv", "det", "slogdet", "cholesky", "eigh", "eigvalsh")
    },
    "matrix_power": (lambda a: L.matrix_power(a, 5), (40, 40)),
}  # fmt: skip
CASES = {
    **{f"{name} {s}": (fn, s) for name, fn in OF_ONE.items() for s in LONG},
    **{f"{name} {s}": (fn, s, other(*s)) for name, (fn, other) in OF_TWO.items() for s in LONG},
    **OTHERS,
}


def derivatives_of(graph):
    """The graphs of first and second order, in all modes, of every output."""
    for of, mode in itertools.product(list(graph.outputs), ("reverse", "forward")):
        first = gradc.differentiate(graph, list(graph.placeholders), of=of, mode=mode, on_disconnected="zeros")
        yield first
        for again, other in itertools.product(set(first.outputs) - set(graph.outputs), ("reverse", "forward")):
            names = list(graph.placeholders)
            yield gradc.differentiate(first, names, of=again, mode=other, on_disconnected="zeros")


@pytest.mark.parametrize("name", CASES)
def test_no_derivative_computes_more_on_the_way_than_operands_and_results_hold(name):
    fn, *shapes = CASES[name]
    graph = graph_of(fn, **{f"x{k}": (s,) for k, s in enumerate(shapes)})
    held = sum(node.size for node in (*graph.placeholders.values(), *graph.outputs.values()))
    for extended in derivatives_of(graph):
        largest = max(extended.nodes, key=lambda node: node.size)
        assert largest.size <= 1.5 * held, largest


def test_every_function_of_these_files_is_measured():
    files = ("spectra", "decompositions", "determinants", "linalg", "contraction")
    ours = {f.name for f in FUNCTIONS.values() if f.build.__module__.split(".")[-1] in files and f.differentiable}
    assert {name.split()[0] for name in CASES} >= ours


@pytest.mark.parametrize("sizes", LONG)
def test_pinv_of_symbolic_sizes_multiplies_in_the_cheapest_order_too(sizes):
    dims = dict(zip(("m", "n"), sizes, strict=True))
    a = np.random.default_rng(0).standard_normal(sizes)
    graph = graph_of(lambda x: np.sum(L.pinv(x) ** 2), a=(("m", "n"),))
    again = gradc.differentiate(gradc.differentiate(graph, "a"), "a", of="d_y/d_a", mode="forward")
    for extended in (gradc.differentiate(graph, "a"), gradc.differentiate(graph, "a", mode="forward"), again):
        assert gradc.compile(extended).memory(**dims).peak < 50 * a.nbytes
    numbers = gradc.differentiate(graph_of(lambda x: np.sum(L.pinv(x) ** 2), a=(sizes,)), "a")
    ours, theirs = (gradc.compile(g)(a=a)["d_y/d_a"] for g in (gradc.differentiate(graph, "a"), numbers))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


# --- products of nothing, and of symbolic slices ---------------------------------------------------------


def fit(left, right):
    return all(1 in pair or pair[0] == pair[1] for pair in zip(left[::-1], right[::-1], strict=False))


BATCHES = [(), (1,), (3,), (2, 1), (1, 3), (2, 3), (0,)]


@pytest.mark.parametrize(("left", "right"), [pair for pair in itertools.product(BATCHES, BATCHES) if fit(*pair)])
@pytest.mark.parametrize(
    ("product", "x", "y"),
    [(np.matmul, (2, 3), (3, 2)), (np.matmul, (1, 0), (0, 2)), (np.vecdot, (3,), (3,)), (np.vecdot, (0,), (0,))],
)
def test_products_of_broadcast_batches_in_both_modes(product, x, y, left, right):
    """J u is the product with u in an operand's place; <v, J u> = <J' v, u>."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((*left, *x)), rng.standard_normal((*right, *y))
    v = rng.standard_normal(np.shape(product(a, b)))
    graph = graph_of(product, a=(a.shape,), b=(b.shape,))
    pulled = gradc.compile(gradc.differentiate(graph, ["a", "b"], seed=True))(a=a, b=b, bar_y=v)
    u, w = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
    forward = gradc.compile(gradc.differentiate(graph, ["a", "b"], mode="forward"))
    expected = product(u, b) + product(a, w)
    np.testing.assert_allclose(forward(a=a, b=b, dot_a=u, dot_b=w)["dot_y"], expected, atol=1e-13)
    transposed = np.vdot(pulled["d_y/d_a"], u) + np.vdot(pulled["d_y/d_b"], w)
    np.testing.assert_allclose(transposed, np.vdot(v, expected), atol=1e-12)


@pytest.mark.parametrize("part", [slice(None, 2), slice(-2, None), slice(1, None), slice(None, None, 2), slice(None, None, -1)])
@pytest.mark.parametrize("shape", [(3,), (3, 2)])
@pytest.mark.parametrize("m", [0, 1, 4])
def test_products_of_slices_of_symbolic_dimensions(part, shape, m):
    graph = gradc.Graph("slices")
    x, v = graph.placeholder("x", ("m", 3, 3)), graph.placeholder("v", shape)
    graph.output("y", np.sum(x[part] @ v))
    a, b = np.random.default_rng(0).standard_normal((m, 3, 3)), np.random.default_rng(1).standard_normal(shape)
    out = gradc.compile(gradc.differentiate(graph, [x, v]))(x=a, v=b)
    dx = np.zeros_like(a)
    dx[part] = b if b.ndim == 1 else b.sum(1)
    np.testing.assert_allclose(out["d_y/d_x"], dx, atol=1e-14)
    np.testing.assert_allclose(
        out["d_y/d_v"], np.broadcast_to(a[part].sum((0, 1)).reshape(3, *[1] * (b.ndim - 1)), shape), atol=1e-13
    )


UNARY = [
    L.inv, L.det, L.slogdet, L.cholesky, L.qr, L.svd, L.svdvals, L.eigh, L.eigvalsh, L.pinv, L.norm,
    lambda a: L.matrix_power(a, 3), lambda a: L.matrix_power(a, -1), lambda a: L.solve(a, a),
    lambda a: L.norm(a, "nuc", axis=(-2, -1)),
]  # fmt: skip


@pytest.mark.parametrize("fn", UNARY)
@pytest.mark.parametrize("batch", [(), (0,), (2,)])
def test_matrices_of_a_symbolic_size_that_is_zero(fn, batch):
    a = np.zeros((*batch, 0, 0))
    graph = graph_of(fn, a=((*[f"b{k}" for k in range(len(batch))], "n", "n"),))
    theirs = np.asarray(fn(a)) if not isinstance(fn(a), tuple) else fn(a)
    for of in list(graph.outputs):
        for mode in ("reverse", "forward"):
            graph = gradc.differentiate(graph, "a", of=of, mode=mode, on_disconnected="zeros")
    dots = {name: a for name in graph.placeholders if name != "a"}
    out = gradc.compile(graph)(a=a, **dots)
    for ours, expected in zip(out.values(), theirs if isinstance(theirs, tuple) else (theirs,), strict=False):
        np.testing.assert_array_equal(ours, expected)
    assert all(out[name].shape == a.shape for name in out if name.startswith("d_"))
