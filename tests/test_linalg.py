"""Linear algebra: contractions and decompositions against NumPy, against identities, and where matrices are singular."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradc as gc
from gradc.errors import ArgumentError, DTypeError, EvaluationError, GradcError, ShapeError, UnsupportedError
from gradc.ir import OPS
from gradc.passes import NONE

RNG = np.random.default_rng(0)


def built(fn, *arrays):
    """The graph of `fn` on placeholders x0, x1, ..., and their feeds."""
    graph = gc.Graph("linalg")
    nodes = [graph.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    result = fn(*nodes)
    for k, node in enumerate(result if isinstance(result, tuple) else (result,)):
        graph.output(f"y{k}" if isinstance(result, tuple) else "y", node)
    return graph, {f"x{k}": a for k, a in enumerate(arrays)}


def values(fn, *arrays):
    graph, feeds = built(fn, *arrays)
    return list(gc.compile(graph)(feeds).values())


def gradients(fn, *arrays, order=1):
    """d sum(y) / d x0, ..., of the gradient's sum again for order 2."""
    graph, feeds = built(fn, *arrays)
    of = "y"
    for _ in range(order):
        graph = gc.differentiate(graph, list(feeds) if order == 1 else "x0", of=of)
        of = f"d_{of}/d_x0" if of == "y" else f"d_({of})/d_x0"
    out = gc.compile(graph)(feeds)
    return [out[f"d_y/d_{x}"] for x in feeds] if order == 1 else out[of]


def far(*shape):
    return RNG.standard_normal(shape) + 3 * np.eye(shape[-1])


# --- contractions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((2, 3, 4), (5, 4, 2)), ((2, 4), (5, 4, 2)), ((2, 3, 4), (4, 2))]
)
def test_dot_of_more_axes_is_numpys_rule_not_matmuls(shapes):
    a, b = (RNG.standard_normal(s) for s in shapes)
    (ours,) = values(np.dot, a, b)
    assert ours.shape == np.dot(a, b).shape
    np.testing.assert_allclose(ours, np.dot(a, b), rtol=1e-13)
    (method,) = values(lambda x, y: x.dot(y), a, b)
    np.testing.assert_array_equal(method, ours)


@pytest.mark.parametrize("name", ["dot", "kron", "outer", "inner", "vdot"])
def test_dtypes_of_products_are_those_of_numpys_functions_of_arrays(name):
    function = getattr(np, name)
    x = np.ones(3, "float32")
    for other in (np.ones(3, "int8"), np.ones(3, "float16"), np.ones(3)):
        (ours,) = values(function, x, other)
        assert ours.dtype == function(x, other).dtype
    if name in ("dot", "kron", "outer", "inner"):
        (ours,) = values(lambda v: function(v, 2.0), x)
        assert ours.dtype == function(x, 2.0).dtype


@pytest.mark.parametrize("lengths", list(itertools.product((2, 3), repeat=2)))
def test_cross_of_two_and_three(lengths):
    a, b = (RNG.standard_normal((4, n)) for n in lengths)
    (ours,) = values(np.cross, a, b)
    in_space = np.cross(*(np.pad(v, ((0, 0), (0, 3 - v.shape[1]))) for v in (a, b)))  # NumPy 2.5 takes no others
    np.testing.assert_array_equal(ours, in_space[:, 2] if lengths == (2, 2) else in_space)
    graph, feeds = built(np.cross, a, b)
    gc.testing.check_gradients(graph, feeds)


def test_numpys_linalg_names():
    a, b = RNG.standard_normal((3, 3)), RNG.standard_normal((3, 3))
    for function in (
        np.linalg.matmul, np.linalg.cross, np.linalg.vecdot, np.linalg.tensordot, lambda x, y: np.linalg.outer(x[0], y[0])
    ):  # fmt: skip
        (ours,) = values(function, a, b)
        np.testing.assert_allclose(ours, function(a, b), rtol=1e-13)
    for function in (np.linalg.trace, np.linalg.diagonal, np.linalg.matrix_transpose):
        (ours,) = values(function, a)
        np.testing.assert_array_equal(ours, function(a))


def test_matrix_power_of_the_inverse():
    a = far(4, 4)
    for n in (-1, -2, -3, -5):
        np.testing.assert_allclose(values(lambda x: np.linalg.matrix_power(x, n), a)[0], np.linalg.matrix_power(a, n), rtol=1e-12)  # noqa: B023


def test_multi_dot_multiplies_in_the_cheapest_order():
    graph = gc.Graph("chain")
    x = [graph.placeholder(f"x{k}", s) for k, s in enumerate([(100, 2), (2, 100), (100, 2), (2, 1)])]
    graph.output("y", np.linalg.multi_dot(x))
    products = [node.shape for node in graph.nodes if node.op.name == "matmul"]
    assert products == [(100, 1), (2, 1), (100, 1)]


# --- einsum ----------------------------------------------------------------------------------------------


@st.composite
def einsums(draw):
    """Subscripts and operands: repeated labels, axes of length 1 that broadcast, ellipses, given and implicit results."""
    sizes = {label: draw(st.integers(0 if draw(st.integers(0, 9)) == 0 else 1, 3)) for label in "abcd"}
    parts, arrays = [], []
    dots = draw(st.booleans())
    for k in range(draw(st.integers(1, 4))):
        labels = draw(st.lists(st.sampled_from("abcd"), max_size=3))
        ones = {label for label in set(labels) if draw(st.integers(0, 4)) == 0}
        shape = [1 if label in ones else sizes[label] for label in labels]
        more = draw(st.integers(0, 2)) if dots else 0
        at = draw(st.integers(0, len(labels)))
        extra = [draw(st.sampled_from((1, 2))) for _ in range(more)]
        parts.append("".join(labels[:at]) + ("..." if dots else "") + "".join(labels[at:]))
        arrays.append(np.random.default_rng(k).standard_normal([*shape[:at], *extra, *shape[at:]]))
    text = ",".join(parts)
    if draw(st.booleans()):
        used = sorted(set(text) & set("abcd"))
        chosen = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
        text += "->" + ("..." if dots else "") + "".join(chosen)
    return text, arrays


@settings(max_examples=150, deadline=None)
@given(einsums(), st.sampled_from([False, True, "optimal"]))
def test_einsum_against_numpy(case, optimize):
    text, arrays = case
    try:
        expected = np.einsum(text, *arrays)
    except ValueError:
        with pytest.raises(GradcError):
            built(lambda *xs: np.einsum(text, *xs), *arrays)
        return
    graph, feeds = built(lambda *xs: np.einsum(text, *xs, optimize=optimize), *arrays)
    ours = gc.compile(graph)(feeds)["y"]
    assert ours.shape == np.shape(expected)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)
    _check_einsum_derivatives(text, graph, feeds, arrays)


def _check_einsum_derivatives(text, graph, feeds, arrays):
    """einsum is linear in each operand: J u is np.einsum with u in its place, and J^T v has the entries <v, J e>."""
    names = list(feeds)
    reverse = gc.differentiate(graph, names, seed=True)
    v = np.random.default_rng(9).standard_normal(np.shape(np.einsum(text, *arrays)))
    pulled = gc.compile(reverse)({**feeds, "bar_y": v})
    forward = gc.compile(gc.differentiate(graph, names, mode="forward"))
    for k, name in enumerate(names):
        u = np.random.default_rng(k + 20).standard_normal(arrays[k].shape)
        expected = np.einsum(text, *[u if j == k else a for j, a in enumerate(arrays)])
        dots = {f"dot_{other}": u if other == name else np.zeros_like(feeds[other]) for other in names}
        np.testing.assert_allclose(forward({**feeds, **dots})["dot_y"], expected, rtol=1e-10, atol=1e-12)
        for entry in np.ndindex(arrays[k].shape):
            unit = np.zeros(arrays[k].shape)
            unit[entry] = 1
            row = np.einsum(text, *[unit if j == k else a for j, a in enumerate(arrays)])
            np.testing.assert_allclose(pulled[f"d_y/d_{name}"][entry], np.vdot(v, row), rtol=1e-9, atol=1e-11)


def test_einsum_by_sublists():
    a, b = RNG.standard_normal((2, 3)), RNG.standard_normal((4, 3, 5))
    for lists in (([0, 1], [Ellipsis, 1, 2], [Ellipsis, 0, 2]), ([0, 1], [3, 1, 2])):
        (ours,) = values(lambda x, y: np.einsum(x, lists[0], y, *lists[1:]), a, b)  # noqa: B023
        np.testing.assert_allclose(ours, np.einsum(a, lists[0], b, *lists[1:]), rtol=1e-13)


def test_einsum_dtypes():
    a, b = np.arange(6, dtype="int8").reshape(2, 3), RNG.standard_normal(3)
    for options in ({}, {"dtype": "float64"}, {"dtype": "float32", "casting": "unsafe"}):
        (ours,) = values(lambda x, y: np.einsum("ij,j->i", x, y, **options), a, b)  # noqa: B023
        expected = np.einsum("ij,j->i", a, b, **options)
        assert ours.dtype == expected.dtype
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
    with pytest.raises(DTypeError, match="casting='unsafe'"):
        built(lambda x: np.einsum("i", x, dtype="float32"), b)
    for array in (a, a > 2, a.astype("int8") * 50):
        (ours,) = values(lambda x: np.einsum("ij->i", x), array)
        np.testing.assert_array_equal(ours, np.einsum("ij->i", array))
        assert ours.dtype == array.dtype


def test_einsum_uses_numpys_path_and_blas():
    graph = gc.Graph("chain")
    x = [graph.placeholder(f"x{k}", s) for k, s in enumerate([(50, 2), (2, 50), (50, 2)])]
    graph.output("y", np.einsum("ij,jk,kl->il", *x))
    assert [node.shape for node in graph.nodes if node.op.name == "matmul"] == [(2, 2), (50, 2)]


def test_einsum_with_symbolic_sizes():
    graph = gc.Graph("attention")
    q = graph.placeholder("q", ("batch", "n", 2, 4))
    k = graph.placeholder("k", ("batch", "m", 2, 4))
    v = graph.placeholder("v", ("batch", "m", 2, 4))
    graph.output("y", np.einsum("bqhd,bkhd,bkhe->bqhe", q, k, v))
    feeds = {name: RNG.standard_normal((3, n, 2, 4)) for name, n in (("q", 5), ("k", 6), ("v", 6))}
    joint = gc.differentiate(graph, [q, k, v])
    out = gc.compile(joint)(feeds)
    np.testing.assert_allclose(out["y"], np.einsum("bqhd,bkhd,bkhe->bqhe", *feeds.values()), rtol=1e-12)
    gc.testing.check_gradients(graph, feeds, order=1)


@pytest.mark.parametrize(
    ("subscripts", "shapes", "error", "says"),
    [
        ("ij,jk", [(2, 3)], ArgumentError, "for 2 operands, got 1"),
        ("ij", [(2, 3, 4)], ShapeError, "has 2 labels for"),
        ("ij,jk", [(2, 3), (4, 5)], ShapeError, "'j' of 'ij,jk' is 3 in one operand and 4 in another"),
        ("ii", [(2, 3)], ShapeError, "'i'"),
        ("ij->k", [(2, 3)], ArgumentError, "'k', which no operand has"),
        ("ij->ii", [(2, 3)], ArgumentError, "twice"),
        ("i1", [(2, 3)], ArgumentError, "letters"),
        ("...i->i", [(2, 3)], ShapeError, "no ..."),
    ],
)
def test_einsum_errors(subscripts, shapes, error, says):
    with pytest.raises(error, match=says.replace("...", r"\.\.\.")):
        built(lambda *xs: np.einsum(subscripts, *xs), *[np.ones(s) for s in shapes])


# --- det, inv, solve -------------------------------------------------------------------------------------


def test_det_at_rank_one_less_has_the_cofactors_and_lower_ranks_have_none():
    q, r = np.linalg.qr(RNG.standard_normal((4, 4)))[0], np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    for missing in (1, 2, 3):
        s = np.array([3.0, 2.0, 1.5, 1.0])
        s[4 - missing :] = 0
        a = q @ np.diag(s) @ r
        (ours,) = gradients(np.linalg.det, a)
        np.testing.assert_allclose(ours, _cofactors(a), atol=1e-13)
        assert (np.abs(ours).max() > 0.1) == (missing == 1)


def _cofactors(a):
    n = len(a)
    minors = [[np.delete(np.delete(a, i, 0), j, 1) for j in range(n)] for i in range(n)]
    return np.array([[(-1) ** (i + j) * np.linalg.det(minors[i][j]) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_det_at_second_order_where_it_is_singular(missing):
    """The Hessian along h is the derivative of the cofactors: a polynomial, so differences of it are exact."""
    q, r = np.linalg.qr(RNG.standard_normal((4, 4)))[0], np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    s = np.array([3.0, 2.0, 1.5, 1.0])
    s[4 - missing :] = 0
    a = q @ np.diag(s) @ r
    h = np.ones((4, 4))
    steps = np.array([1.0, -1.0, 2.0, -2.0])
    f1, b1, f2, b2 = (_cofactors(a + t * h) for t in steps)
    np.testing.assert_allclose(gradients(np.linalg.det, a, order=2), (8 * (f1 - b1) - (f2 - b2)) / 12, atol=1e-12)


def test_det_at_third_order():
    a = far(3, 3)
    h = 1e-3

    def second(m):
        return gradients(np.linalg.det, m, order=2)

    differences = (second(a + h * np.ones((3, 3))) - second(a - h * np.ones((3, 3)))) / (2 * h)
    np.testing.assert_allclose(gradients(np.linalg.det, a, order=3), differences, rtol=1e-8, atol=1e-8)


def test_det_of_nan_is_nan_and_of_batches_each_its_own():
    a = np.stack([far(3, 3), np.full((3, 3), np.nan), np.zeros((3, 3))])
    (ours,) = gradients(np.linalg.det, a)
    np.testing.assert_allclose(ours[0], _cofactors(a[0]), rtol=1e-12)
    assert np.isnan(ours[1]).all()
    assert (ours[2] == 0).all()


def test_identities_of_second_order():
    """log det has the gradient a^-T and, along 1, the second one -(a^-1 1 a^-1)^T; det a = exp(log det a)."""
    a = far(3, 3)
    x = np.linalg.inv(a)
    np.testing.assert_allclose(gradients(lambda m: np.linalg.slogdet(m)[1], a)[0], x.T, rtol=1e-12)
    second = gradients(lambda m: np.linalg.slogdet(m)[1], a, order=2)
    np.testing.assert_allclose(second, -(x @ np.ones((3, 3)) @ x).T, rtol=1e-11)
    by_log = gradients(lambda m: np.linalg.slogdet(m)[0] * np.exp(np.linalg.slogdet(m)[1]), a, order=2)
    np.testing.assert_allclose(gradients(np.linalg.det, a, order=2), by_log, rtol=1e-10)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda a, b: np.linalg.solve(a, b), lambda a, b: np.linalg.inv(a) @ b),
        (lambda a, b: np.linalg.solve(a, b), lambda a, b: np.linalg.pinv(a) @ b),
        (lambda a, b: np.linalg.solve(a, b), lambda a, b: np.linalg.lstsq(a, b)[0]),
        (lambda a, b: np.linalg.solve(a, b), lambda a, b: gc.solve_triangular(np.linalg.qr(a)[1], np.linalg.qr(a)[0].mT @ b)),
        (lambda a, b: np.linalg.solve(a @ a.mT, b), lambda a, b: _by_cholesky(a @ a.mT, b)),
        (lambda a, b: np.linalg.solve(a @ a.mT, b), lambda a, b: _by_eigh(a @ a.mT, b)),
        (lambda a, b: np.linalg.solve(a, b), lambda a, b: _by_svd(a, b)),
    ],
)
def test_the_ways_to_solve_have_the_same_derivatives(one, other):
    a, b = far(3, 3), RNG.standard_normal((3, 2))
    for x, y in zip(gradients(one, a, b), gradients(other, a, b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(gradients(one, a, b, order=2), gradients(other, a, b, order=2), rtol=1e-8, atol=1e-10)


def _by_cholesky(a, b):
    factor = np.linalg.cholesky(a)
    return gc.solve_triangular(factor, gc.solve_triangular(factor, b, lower=True), trans=1, lower=True)


def _by_eigh(a, b):
    w, v = np.linalg.eigh(a)
    return v @ ((v.mT @ b) / w[:, None])


def _by_svd(a, b):
    u, s, vh = np.linalg.svd(a)
    return vh.mT @ ((u.mT @ b) / s[:, None])


def test_solve_takes_one_vector_or_matrices():
    a = far(2, 3, 3)
    for b in (RNG.standard_normal(3), RNG.standard_normal((3, 3)), RNG.standard_normal((2, 3, 1))):
        np.testing.assert_array_equal(values(np.linalg.solve, a, b)[0], np.linalg.solve(a, b))
    with pytest.raises(ShapeError, match="3 unknowns, 2 rows"):
        built(np.linalg.solve, a, np.ones((2, 3)))


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
@pytest.mark.parametrize(("lower", "trans", "unit"), list(itertools.product((False, True), (0, 1), (False, True))))
def test_solve_triangular_by_blocks(n, lower, trans, unit):
    a = RNG.standard_normal((n, n)) / (2 * n) + np.eye(n)
    b = RNG.standard_normal((n, 2))
    t = np.tril(a) if lower else np.triu(a)
    if unit:
        np.fill_diagonal(t, 1)
    (x,) = values(lambda p, q: gc.solve_triangular(p, q, trans, lower, unit), a, b)
    np.testing.assert_allclose((t.T if trans else t) @ x, b, atol=1e-13)


def test_solve_triangular_does_not_read_the_other_triangle():
    a = np.where(np.tri(3, dtype=bool), far(3, 3), np.nan)
    (da, _) = gradients(lambda x, y: gc.solve_triangular(x, y, lower=True), a, np.ones(3))
    assert (da[np.triu_indices(3, 1)] == 0).all()
    assert np.isfinite(da).all()


# --- what fails for values -------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [gc.evaluate, lambda g, f: gc.compile(g)(f), lambda g, f: gc.compile(g, passes=NONE)(f)])
@pytest.mark.parametrize(
    ("function", "op", "says"),
    [
        (np.linalg.inv, "inv", "Singular matrix"),
        (lambda a: np.linalg.solve(a, a[0]), "solve", "Singular matrix"),
        (np.linalg.cholesky, "cholesky", "not positive definite"),
        (lambda a: gc.solve_triangular(a, a), "solve_triangular", "Singular matrix"),
    ],
)
def test_an_error_at_run_time_names_the_node_and_the_line(run, function, op, says):
    graph, _ = built(function, np.zeros((2, 2)))
    with pytest.raises(EvaluationError, match=says) as caught:
        run(graph, {"x0": np.zeros((2, 2))})
    assert str(caught.value).startswith(f"{op} float64[2, 2]") or op == "solve"
    assert "test_linalg.py" in str(caught.value)
    assert isinstance(caught.value, np.linalg.LinAlgError)


def test_an_adjoint_that_fails_names_what_it_is_the_adjoint_of():
    graph, feeds = built(lambda a: np.linalg.slogdet(a)[1], np.zeros((2, 2)))
    with pytest.raises(EvaluationError, match="in the adjoint of placeholder 'x0'"):
        gc.compile(gc.differentiate(graph, "x0"))(feeds)


def test_a_call_that_fails_updates_nothing_and_the_next_one_works():
    graph = gc.Graph("step")
    a, w = graph.placeholder("a", (2, 2)), graph.placeholder("w", (2,))
    graph.output("w_next", w * 2)
    graph.output("y", np.linalg.solve(a, w))
    step = gc.compile(graph, updates={"w": "w_next"})
    held = np.ones(2)
    for _ in range(2):
        with pytest.raises(EvaluationError, match="Singular matrix"):
            step(a=np.zeros((2, 2)), w=held)
        np.testing.assert_array_equal(held, 1)
    np.testing.assert_array_equal(step(a=np.eye(2), w=held)["y"], 1)
    np.testing.assert_array_equal(held, 2)


def test_the_inverse_of_a_singular_constant_fails_in_the_call_and_not_in_a_pass():
    graph = gc.Graph("constant")
    x = graph.placeholder("x")
    graph.output("y", x * np.linalg.inv(gc.constant(np.zeros((2, 2)))))
    run = gc.compile(graph)
    with pytest.raises(EvaluationError, match="inv float64"):
        run(x=1.0)
    with pytest.raises(EvaluationError, match="inv float64"):
        run.profile(x=1.0)


def test_third_derivatives_of_det_need_a_regular_matrix():
    with pytest.raises(EvaluationError, match="Singular matrix"):
        gradients(np.linalg.det, np.zeros((3, 3)), order=3)


# --- equal and missing values ----------------------------------------------------------------------------


def test_equal_eigenvalues_share_whatever_basis_was_found():
    q = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    a = q @ np.diag([1.0, 2.0, 2.0, 5.0]) @ q.T
    projection = q[:, 1:3] @ q[:, 1:3].T
    for k in (1, 2):
        for pick in (lambda x: np.linalg.eigvalsh(x)[k], lambda x: np.linalg.eigh(x)[0][k]):  # noqa: B023
            np.testing.assert_allclose(gradients(pick, a)[0], projection / 2, atol=1e-13)
    np.testing.assert_allclose(gradients(lambda x: np.sum(np.linalg.eigvalsh(x) ** 3), a)[0], 3 * a @ a, atol=1e-12)
    assert np.isnan(gradients(lambda x: np.linalg.eigh(x)[1], a)[0]).all()


def test_vectors_of_other_eigenvalues_have_their_derivatives():
    """The first and the last vector need gaps to the group in between only."""
    q = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    a = q @ np.diag([1.0, 2.0, 2.0, 5.0]) @ q.T
    c = RNG.standard_normal((4, 4))

    def weighted(x, columns):
        v = np.linalg.eigh((x + x.mT) / 2)[1][:, columns]
        return np.sum(v @ v.mT * c)

    h = RNG.standard_normal((4, 4))
    step = 1e-5
    for columns in (slice(0, 1), slice(3, 4), slice(0, 4, 3)):
        ahead, behind = (weighted(a + t * h, columns) for t in (step, -step))
        ours = gradients(lambda x: weighted(x, columns), a)[0]  # noqa: B023
        np.testing.assert_allclose(np.vdot(ours, h), (ahead - behind) / (2 * step), rtol=1e-7)
    assert np.isnan(gradients(lambda x: weighted(x, slice(1, 3)), a)[0]).all()


def test_singular_values_that_are_equal_or_zero():
    u, v = (np.linalg.qr(RNG.standard_normal((4, 4)))[0] for _ in range(2))
    a = u[:, :3] @ np.diag([3.0, 3.0, 0.0]) @ v[:3]
    for nuclear in (lambda x: np.linalg.norm(x, "nuc"), lambda x: np.sum(np.linalg.svd(x, full_matrices=False)[1])):
        np.testing.assert_allclose(gradients(nuclear, a)[0], u[:, :2] @ v[:2], atol=1e-13)
    np.testing.assert_allclose(gradients(lambda x: np.linalg.norm(x, 2), a)[0], u[:, :2] @ v[:2] / 2, atol=1e-13)
    assert np.isnan(gradients(lambda x: np.linalg.svd(x, full_matrices=False)[0], a)[0]).all()


def test_adjoints_of_symmetric_decompositions_are_symmetric():
    a = far(3, 3)
    a = a @ a.T
    for function in (np.linalg.cholesky, lambda x: np.linalg.eigh(x)[1], np.linalg.eigvalsh):
        (ours,) = gradients(function, a)
        np.testing.assert_array_equal(ours, ours.T)


# --- types and sizes -------------------------------------------------------------------------------------

UNARY = [
    np.linalg.inv,
    np.linalg.det,
    np.linalg.slogdet,
    np.linalg.cholesky,
    np.linalg.qr,
    np.linalg.eigh,
    np.linalg.eigvalsh,
    lambda x: np.linalg.svd(x, full_matrices=False),
    np.linalg.svdvals,
    np.linalg.pinv,
    lambda x: np.linalg.solve(x, x),
    lambda x: np.linalg.matrix_power(x, -2),
]


@pytest.mark.parametrize("function", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "bool"])
def test_dtypes_are_numpys(function, dtype):
    a = np.array([[2, 1], [1, 3]]).astype(dtype) if dtype != "bool" else np.eye(2, dtype=bool)
    theirs = function(a)
    ours = values(function, a)
    for x, y in zip(ours, theirs if isinstance(theirs, tuple) else (theirs,), strict=True):
        assert x.dtype == np.asarray(y).dtype
        np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize("function", UNARY)
def test_float16_is_refused_as_numpy_does(function):
    a = np.eye(2, dtype="float16")
    with pytest.raises(TypeError):
        function(a)
    with pytest.raises(DTypeError, match="float16"):
        built(function, a)


@pytest.mark.parametrize("function", UNARY)
def test_symbolic_batches_and_sizes(function):
    graph = gc.Graph("symbolic")
    a = graph.placeholder("a", ("batch", "n", "n"))
    spd = a @ a.mT + 3 * np.linalg.matrix_power(a, 0)
    result = function(spd)
    first = result[-1] if isinstance(result, tuple) else result
    graph.output("y", first)
    run = gc.compile(gc.differentiate(graph, "a"))
    for batch, n in ((2, 3), (3, 1), (0, 2), (2, 0)):
        x = RNG.standard_normal((batch, n, n))
        theirs = function(x @ x.swapaxes(1, 2) + 3 * np.eye(n))
        out = run(a=x)
        np.testing.assert_allclose(out["y"], theirs[-1] if isinstance(theirs, tuple) else theirs, rtol=1e-9, atol=1e-9)
        assert out["d_y/d_a"].shape == x.shape


def test_symbolic_rows_of_svd_pinv_and_lstsq():
    graph = gc.Graph("regression")
    x, y = graph.placeholder("x", ("rows", 3)), graph.placeholder("y", ("rows",))
    graph.output("w", np.linalg.lstsq(x, y)[0])
    graph.output("p", np.linalg.pinv(x) @ y)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    graph.output("x2", (u * s) @ vh)
    joint = gc.differentiate(gc.differentiate(gc.differentiate(graph, x, of="w"), x, of="p"), x, of="x2")
    run = gc.compile(joint)
    for rows in (7, 3, 2):
        data = RNG.standard_normal((rows, 3))
        out = run(x=data, y=RNG.standard_normal(rows))
        np.testing.assert_allclose(out["d_w/d_x"], out["d_p/d_x"], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(out["d_x2/d_x"], 1, atol=1e-10)


def test_what_there_is_not_says_so():
    for function, says in (
        (np.linalg.eig, "complex"),
        (np.linalg.eigvals, "complex"),
        (np.linalg.cond, "svdvals"),
        (lambda a: np.linalg.eigh(a, "X"), "UPLO"),
        (lambda a: np.linalg.qr(a, "complete"), "mode"),
        (lambda a: np.linalg.svd(a[:1]), "full_matrices=False"),
        (lambda a: np.linalg.inv(a[:1]), "square"),
        (lambda a: np.linalg.inv(a[0]), "matrices"),
        (lambda a: gc.solve_triangular(a, a, trans=3), "trans"),
    ):
        with pytest.raises((UnsupportedError, ArgumentError, ShapeError), match=says):
            built(function, np.eye(2))


def test_a_decomposition_is_computed_once_for_all_that_read_it():
    graph = gc.Graph("svd")
    a = graph.placeholder("a", (4, 3))
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    graph.output("y", np.sum(u) + np.sum(s) + np.sum(vh))
    optimised = gc.compile(gc.differentiate(graph, a)).graph
    assert [node.op.name for node in optimised.nodes].count("svd") == 1


# --- masks -----------------------------------------------------------------------------------------------


def _masked_model(x, w, keep):
    return np.sum(np.where(keep, np.tanh(x @ w), 0))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_rows_that_a_mask_leaves_out_do_not_reach_the_weights(batch):
    x = RNG.standard_normal((*batch, 4, 3))
    w = RNG.standard_normal((3, 2))
    keep = np.ones((*batch, 4, 1), bool)
    keep[..., 1, 0] = False
    clean = gradients(lambda a, b: _masked_model(a, b, keep), x, w)
    again = gradients(lambda a, b: _masked_model(a, b, keep), x, w, order=2)
    for bad in (np.nan, np.inf, -np.inf):
        x[..., 1, 0] = bad
        for ours, expected in zip(gradients(lambda a, b: _masked_model(a, b, keep), x, w), clean, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            gradients(lambda a, b: _masked_model(a, b, keep), x, w, order=2), again, rtol=1e-10, atol=1e-12
        )


def test_single_entries_that_a_mask_leaves_out_meet_infinite_weights():
    """0 * inf is 0 for a masked adjoint, entry by entry; what is not masked meets infinity as ever."""
    a, b = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 2))
    b[0, 0] = np.inf
    b[1, 0] = np.nan
    keep = np.array([[False, True], [True, True]])
    da, _ = gradients(lambda x, y: np.sum(np.where(keep, x @ y, 0)), a, b)
    np.testing.assert_array_equal(da[0], b[:, 1])
    np.testing.assert_array_equal(da[1], b[:, 0] + b[:, 1])


@pytest.mark.parametrize(
    "form", [lambda x, y: np.vecdot(x, y), lambda x, y: np.einsum("ij,ij->i", x, y), lambda x, y: np.sum(x * y, 1)]
)
def test_masked_rows_of_inner_products(form):
    x, y = RNG.standard_normal((3, 2)), RNG.standard_normal((3, 2))
    y[1] = np.nan
    dx, _ = gradients(lambda a, b: np.sum(np.where(np.array([True, False, True]), form(a, b), 0)), x, y)
    np.testing.assert_array_equal(dx, [y[0], [0, 0], y[2]])


def test_selections_by_their_own_values_cost_no_masked_product():
    graph = gc.Graph("mlp")
    x, w, v = (graph.placeholder(n, s) for n, s in (("x", (4, 3)), ("w", (3, 5)), ("v", (5, 2))))
    graph.output("y", np.sum(np.maximum(gc.relu(x @ w) @ v, 0)))
    names = {node.op.name for node in gc.differentiate(graph, [w, v]).nodes}
    assert "matmul" in names
    assert "masked_matmul" not in names


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1]))
def test_masked_products_against_a_sum_in_which_zeros_win(seed, zeros):
    rng = np.random.default_rng(seed)
    pool = np.array([0.0, 1.0, -2.0, np.inf, -np.inf, np.nan, 0.5])
    x, y = rng.choice(pool, (2, 3), p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.1]), rng.choice(pool, (3, 2))
    g = (x[:, :, None], y[None])[zeros]
    with np.errstate(all="ignore"):
        expected = np.where(g == 0, 0, x[:, :, None] * y[None]).sum(1)
        ours = OPS["masked_matmul"].evaluate(x, y, zeros=zeros)
    np.testing.assert_array_equal(ours, expected)
