"""Networks: against loops over every entry, at every combination of options; extremes, masks, symbolic sizes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradc as gc
from gradc.errors import ArgumentError, DTypeError, FeedError, ShapeError
from gradc.ops import sum as gc_sum


def run(fn, *arrays, seed=None, passes=gc.passes.DEFAULT):
    """Value of `fn`, and the adjoints of its floating point operands for the adjoint `seed`, or ones, of the value."""
    g = gc.Graph("t")
    nodes = [g.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    g.output("y", fn(*nodes))
    wrt = [n for n in nodes if n.dtype.kind == "f"]
    joint = gc.differentiate(g, wrt, of="y", seed=seed is not None, on_disconnected="zeros")
    feeds = {f"x{k}": a for k, a in enumerate(arrays)}
    if seed is not None:
        feeds["bar_y"] = seed
    with np.errstate(all="ignore"):
        out = gc.compile(joint, passes=passes)(feeds)
    return list(out.values())


def rand(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# --- convolution by loops ------------------------------------------------------------------------------------


def spans(sizes, kernel, stride, pads, dilation):
    return [(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(sizes, kernel, stride, pads, dilation, strict=True)]


def conv_terms(x_shape, w_shape, stride, pads, dilation, groups):
    """Every product of a convolution: (index of y, index of x, index of w), those on the padding left out."""
    n, sizes, kernel = x_shape[0], x_shape[2:], w_shape[2:]
    counts = spans(sizes, kernel, stride, pads, dilation)
    per_group = w_shape[0] // groups
    for b, o, c in itertools.product(range(n), range(w_shape[0]), range(w_shape[1])):
        for at in itertools.product(*map(range, counts)):
            for tap in itertools.product(*map(range, kernel)):
                place = [a * s - p[0] + t * d for a, s, p, t, d in zip(at, stride, pads, tap, dilation, strict=True)]
                if all(0 <= i < size for i, size in zip(place, sizes, strict=True)):
                    yield (b, o, *at), (b, c + o // per_group * w_shape[1], *place), (o, c, *tap)


def naive_conv(x, w, stride, pads, dilation, groups, v=None):
    """y; with v, the adjoint of y, also those of x and w."""
    y = np.zeros((x.shape[0], w.shape[0], *spans(x.shape[2:], w.shape[2:], stride, pads, dilation)))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for iy, ix, iw in conv_terms(x.shape, w.shape, stride, pads, dilation, groups):
        y[iy] += x[ix] * w[iw]
        if v is not None:
            dx[ix] += v[iy] * w[iw]
            dw[iw] += v[iy] * x[ix]
    return (y, dx, dw) if v is not None else y


@st.composite
def geometries(draw, n):
    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 2)
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(n))
    least = [max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(kernel, dilation, pads, strict=True)]
    sizes = tuple(low + draw(st.integers(0, 3)) for low in least)
    groups = draw(st.integers(1, 2))
    return {
        "x": (draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), *sizes),
        "outputs": groups * draw(st.integers(1, 2)),
        "kernel": kernel,
        "options": {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups},
        "bias": draw(st.booleans()),
    }


@pytest.mark.parametrize("n", [1, 2])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_conv_is_the_loop_over_its_products(n, data):
    case = data.draw(geometries(n))
    options = case["options"]
    conv = gc.conv1d if n == 1 else gc.conv2d
    x = rand(*case["x"])
    w = rand(case["outputs"], case["x"][1] // options["groups"], *case["kernel"], seed=1)
    b = rand(case["outputs"], seed=2)
    v = rand(*naive_conv(x, w, *options.values()).shape, seed=3)
    y, dx, dw = naive_conv(x, w, *options.values(), v)
    if case["bias"]:
        found = run(lambda x, w, b: conv(x, w, b, **options), x, w, b, seed=v)
        expected = [y + b.reshape(-1, *[1] * n), dx, dw, v.sum((0, *range(2, n + 2)))]
    else:
        found, expected = run(lambda x, w: conv(x, w, **options), x, w, seed=v), [y, dx, dw]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_conv_transpose_is_the_adjoint_of_conv(n, data):
    case = data.draw(geometries(n))
    options = case["options"]
    transpose = gc.conv_transpose1d if n == 1 else gc.conv_transpose2d
    x = rand(*case["x"])
    w = rand(case["outputs"], case["x"][1] // options["groups"], *case["kernel"], seed=1)
    v = rand(*naive_conv(x, w, *options.values()).shape, seed=3)
    _, dx, _ = naive_conv(x, w, *options.values(), v)
    extra = tuple(
        (size + sum(p) - d * (k - 1) - 1) % s
        for size, k, s, p, d in zip(
            x.shape[2:], case["kernel"], options["stride"], options["padding"], options["dilation"], strict=True
        )
    )
    ours = run(lambda v, w: transpose(v, w, output_padding=extra, **options), v, w)[0]
    np.testing.assert_allclose(ours, dx, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 5)])
def test_same_padding_keeps_the_size_with_the_odd_one_after(kernel):
    x, w = rand(2, 3, 5, 6), rand(4, 3, *kernel, seed=1)
    pads = [((k - 1) // 2, k // 2) for k in kernel]
    y = run(lambda x, w: gc.conv2d(x, w, padding="same"), x, w)[0]
    assert y.shape == (2, 4, 5, 6)
    np.testing.assert_allclose(y, naive_conv(x, w, (1, 1), pads, (1, 1), 1), atol=1e-12)


def test_conv_keeps_dtypes():
    for dtype in ("float16", "float32"):
        x, w = rand(1, 1, 4, 4).astype(dtype), rand(2, 1, 3, 3).astype(dtype)
        assert {a.dtype for a in run(gc.conv2d, x, w)} == {np.dtype(dtype)}
    ints = np.arange(5).reshape(1, 1, 5)
    assert gc.conv1d(gc.constant(ints), ints[..., :2]).dtype == np.int64


@pytest.mark.parametrize(
    ("error", "text", "build"),
    [
        (ShapeError, "spans 3 entries", lambda x: gc.conv2d(x, rand(1, 2, 3, 3))),
        (ShapeError, "has 2 in 1 groups", lambda x: gc.conv2d(x, rand(1, 3, 1, 1))),
        (ShapeError, "expected x", lambda x: gc.conv1d(x, rand(1, 2, 1))),
        (ShapeError, "equal groups", lambda x: gc.conv2d(x, rand(3, 1, 1, 1), groups=2)),
        (ShapeError, "bias", lambda x: gc.conv2d(x, rand(3, 2, 1, 1), rand(2))),
        (ArgumentError, "stride", lambda x: gc.conv2d(x, rand(1, 2, 1, 1), stride=0)),
        (ArgumentError, "padding", lambda x: gc.conv2d(x, rand(1, 2, 1, 1), padding="full")),
        (ArgumentError, "padding", lambda x: gc.conv2d(x, rand(1, 2, 1, 1), padding=(1, 2, 3))),
        (ArgumentError, "padding", lambda x: gc.conv2d(x, rand(1, 2, 1, 1), padding=((1, 2, 3), 0))),
        (ArgumentError, "same", lambda x: gc.conv2d(x, rand(1, 2, 1, 1), padding="same", stride=2)),
        (ArgumentError, "dilation", lambda x: gc.conv2d(x, rand(1, 2, 1, 1), dilation=(1, 2, 3))),
        (ArgumentError, "output_padding", lambda x: gc.conv_transpose2d(x, rand(2, 1, 1, 1), output_padding=1)),
        (ShapeError, "kernels for the 2 channels", lambda x: gc.conv_transpose2d(x, rand(3, 1, 1, 1))),
        (ArgumentError, "half", lambda x: gc.max_pool2d(x, 2, padding=2)),
        (ArgumentError, "kernel", lambda x: gc.avg_pool2d(x, 0)),
        (ShapeError, "does not fit", lambda x: gc.max_pool2d(x, 3)),
        (ShapeError, "1 sizes of windows for 2 axes", lambda x: gc.sliding_windows(x, 2, axis=(0, 1))),
    ],
)
def test_malformed_windows_are_one_clear_error(error, text, build):
    x = gc.Graph("t").placeholder("x", (1, 2, 2, 2))
    with pytest.raises(error, match=text):
        build(x)


# --- pooling by loops ------------------------------------------------------------------------------------


def naive_pool(x, kernel, stride, pads, dilation, reduce):
    """`reduce(entries of a window, their places)` for every window of the last axes of x."""
    n = len(kernel)
    sizes = x.shape[x.ndim - n :]
    counts = spans(sizes, kernel, stride, pads, dilation)
    for lead in np.ndindex(*x.shape[: x.ndim - n]):
        for at in np.ndindex(*counts):
            places = []
            for tap in np.ndindex(*kernel):
                place = [a * s - p[0] + t * d for a, s, p, t, d in zip(at, stride, pads, tap, dilation, strict=True)]
                if all(0 <= i < size for i, size in zip(place, sizes, strict=True)):
                    places.append((*lead, *place))
            reduce((*lead, *at), [x[p] for p in places], places)
    return (*x.shape[: x.ndim - n], *counts)


@pytest.mark.parametrize("n", [1, 2])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_max_pool_is_the_loop_and_ties_share(n, data):
    case = data.draw(geometries(n))
    kernel, options = case["kernel"], {k: case["options"][k] for k in ("stride", "dilation")}
    halves = [(d * (k - 1) + 1) // 2 for k, d in zip(kernel, options["dilation"], strict=True)]
    pads = tuple((min(a, h), min(b, h)) for (a, b), h in zip(case["options"]["padding"], halves, strict=True))
    least = [d * (k - 1) + 1 for k, d in zip(kernel, options["dilation"], strict=True)]
    shape = (*case["x"][:2], *(max(a, b) for a, b in zip(case["x"][2:], least, strict=True)))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, shape).astype(float)
    values, dx = {}, np.zeros_like(x)

    def reduce(at, entries, places):
        values[at] = max(entries, default=-np.inf)
        winners = [p for p in places if x[p] == values[at]]
        for p in winners:
            dx[p] += (1 + sum(at)) / len(winners)

    counts = naive_pool(x, kernel, options["stride"], pads, options["dilation"], reduce)
    expected = np.array([values[at] for at in np.ndindex(*counts)]).reshape(counts)
    v = 1.0 + sum(np.indices(counts))
    pool = gc.max_pool1d if n == 1 else gc.max_pool2d
    y, found = run(lambda x: pool(x, kernel, padding=pads, **options), x, seed=v)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(found, dx, rtol=1e-14)


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), ((1, 0), (0, 1))), (3, 1, "same")]
)
def test_avg_pool_is_the_loop(kernel, stride, padding, count_padding):
    x = rand(2, 2, 5, 6)
    sizes = (kernel,) * 2 if isinstance(kernel, int) else kernel
    steps = sizes if stride is None else (stride,) * 2 if isinstance(stride, int) else stride
    pads = (
        [(1, 1)] * 2
        if padding == "same"
        else [(p, p) if isinstance(p, int) else p for p in ([padding] * 2 if isinstance(padding, int) else padding)]
    )
    values, dx = {}, np.zeros_like(x)

    def reduce(at, entries, places):
        count = np.prod(sizes) if count_padding else len(entries)
        values[at] = sum(entries) / count
        for p in places:
            dx[p] += 1 / count

    counts = naive_pool(x, sizes, steps, pads, (1, 1), reduce)
    y, found = run(lambda x: gc.avg_pool2d(x, kernel, stride, padding, count_padding), x)
    np.testing.assert_allclose(y, np.array([values[at] for at in np.ndindex(*counts)]).reshape(counts), atol=1e-14)
    np.testing.assert_allclose(found, dx, rtol=1e-14)


def test_pools_of_integers_and_narrow_floats():
    x = np.arange(6).reshape(2, 3)
    assert gc.max_pool1d(gc.constant(x), 2).dtype == np.int64
    assert gc.avg_pool1d(gc.constant(x), 2).dtype == np.float64
    narrow = np.full((1, 64), 60000, "float16")
    y, dx = run(lambda x: gc.avg_pool1d(x, 64), narrow)
    assert y.dtype == dx.dtype == np.float16
    assert y[0, 0] == 60000


def test_max_pool_of_nan_and_of_padding_alone_passes_nothing_on():
    x = np.array([[np.nan, 1.0, 2.0, 3.0]])
    y, dx = run(lambda x: gc.max_pool1d(x, 2), x)
    np.testing.assert_array_equal(y, [[np.nan, 3.0]])
    np.testing.assert_array_equal(dx, [[0.0, 0.0, 0.0, 1.0]])
    y, dx = run(lambda x: gc.max_pool1d(x, 2, stride=1, dilation=2, padding=1), np.array([5.0]))
    np.testing.assert_array_equal(y, [-np.inf])
    np.testing.assert_array_equal(dx, [0.0])


def test_sliding_windows_are_a_view():
    g = gc.Graph("t")
    x = g.placeholder("x", (3, 100))
    windows = np.lib.stride_tricks.sliding_window_view(x, 50, axis=1)
    g.output("y", windows.mean(-1))
    step = gc.compile(g)
    array = rand(3, 100)
    np.testing.assert_allclose(step(x=array)["y"], np.lib.stride_tricks.sliding_window_view(array, 50, 1).mean(-1))
    assert "view of v1" in step.source.split("windows")[1].splitlines()[0]


# --- symbolic sizes --------------------------------------------------------------------------------------


SYMBOLIC = {
    "conv2d": (("n", 2, "h", "w"), lambda x: gc.conv2d(x, rand(3, 2, 3, 2), rand(3), padding=1)),
    "conv2d strides": (
        ("n", 2, "h", "w"),
        lambda x: gc.conv2d(x, rand(4, 1, 3, 2), stride=2, dilation=2, padding=(2, 1), groups=2),
    ),
    "conv2d same": (("n", 2, "h", "w"), lambda x: gc.conv2d(x, rand(3, 2, 3, 2), padding="same") * x[:, :1]),
    "conv1d": (("n", 2, "h"), lambda x: gc.conv1d(x, rand(3, 2, 3))),
    "conv_transpose2d": (("n", 2, "h", "w"), lambda x: gc.conv_transpose2d(x, rand(2, 3, 3, 2), stride=2, output_padding=1)),
    "max_pool2d": (("n", 2, "h", "w"), lambda x: gc.max_pool2d(x, 2, 1)),
    "max_pool2d strides": (("n", 2, "h", "w"), lambda x: gc.max_pool2d(x, 2, padding=1)),
    "avg_pool2d": (("n", 2, "h", "w"), lambda x: gc.avg_pool2d(x, 3, 2, 1, count_padding=False)),
    "avg_pool1d": (("n", 2, "h"), lambda x: gc.avg_pool1d(x, 2)),
    "sliding_windows": (("n", "h"), lambda x: gc.sliding_windows(x, 3, axis=1)),
    "layer_norm": (("n", "h"), lambda x: gc.layer_norm(x)),
    "rms_norm": (("n", 3), lambda x: gc.rms_norm(x, rand(3))),
    "batch_norm": (("n", 3, "h"), lambda x: gc.batch_norm(x, rand(3), rand(3))),
    "softmax": (("n", "h"), lambda x: gc.softmax(x)),
    "bce": (("n", "h"), lambda x: gc.binary_cross_entropy_with_logits(x, 1.0)),
    "l2_normalize": (("n", "h"), lambda x: gc.l2_normalize(x)),
    "attention": (("n", "h", "w"), lambda x: gc.attention(x, x, x, causal=True)),
    "attention other keys": (("n", "h", 3), lambda x: gc.attention(x, rand(5, 3), rand(5, 2), causal=True)),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_sizes_give_the_same_bits(name):
    shape, build = SYMBOLIC[name]
    sizes = {"n": 2, "h": 5, "w": 4}
    x = rand(*[sizes.get(s, s) for s in shape], seed=4)
    g = gc.Graph("t")
    g.output("y", build(g.placeholder("x", shape)))
    step = gc.compile(gc.differentiate(g, ["x"]))
    for array in (x, x[:1]):
        y, dx = step(x=array).values()
        expected = run(build, array)
        np.testing.assert_allclose(y, expected[0], rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(dx, expected[1], rtol=1e-13, atol=1e-14)


def test_a_symbolic_axis_shorter_than_the_kernel_is_an_error_of_the_feed():
    g = gc.Graph("t")
    g.output("y", gc.conv2d(g.placeholder("x", (1, 1, "h", 5)), rand(1, 1, 3, 3)))
    with pytest.raises(FeedError, match="h = 1"):
        gc.compile(g)(x=rand(1, 1, 1, 5))


# --- softmax and losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_softmax_of_masked_and_huge_rows(dtype):
    big = float(np.finfo(dtype).max)
    x = np.array([[-np.inf, 0, 1], [-np.inf] * 3, [np.inf, 0, np.inf], [big, -big, big], [big, big / 2, 0]], dtype)
    y, dx = run(gc.softmax, x, seed=rand(*x.shape).astype(dtype))
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert y[0, 0] == dx[0, 0] == 0
    np.testing.assert_allclose(y.sum(1), 1, rtol=2e-3)
    np.testing.assert_allclose(y[1:4], [[1 / 3] * 3, [0.5, 0, 0.5], [0.5, 0, 0.5]], rtol=1e-3)


def test_cross_entropy_of_masked_classes_has_no_nan():
    x = np.array([[-np.inf, 0.5, 1.0], [2.0, -np.inf, -np.inf]])
    for labels in (np.array([1, 0]), np.eye(3)[[1, 0]]):
        y, dx = run(lambda x, labels=labels: gc.softmax_cross_entropy(x, labels), x)
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
        assert dx[0, 0] == 0
        assert y[1] == 0


def test_the_gradient_of_cross_entropy_is_softmax_less_labels_in_three_passes_over_the_logits():
    g = gc.Graph("t")
    x, y = g.placeholder("x", ("n", 10)), g.placeholder("y", ("n",), "int64")
    g.output("loss", gc.softmax_cross_entropy(x, y).mean())
    graph = gc.compile(gc.differentiate(g, [x])).graph
    wide = [n.op.name for n in graph.nodes if n.ndim == 2 and n.shape[1] == 10]
    assert wide == ["placeholder", "put", "below", "exp", "multiply", "add"]


def test_binary_cross_entropy_keeps_its_digits():
    import sympy

    for x in (-45.0, -1e-8, 0.3, 30.0):
        for y in (0.0, 1.0, 0.25):
            t = sympy.Rational(x)
            exact = sympy.log(1 + sympy.exp(t)) - t * sympy.Rational(y)
            slope = 1 / (1 + sympy.exp(-t)) - sympy.Rational(y)
            value, dx, dy = run(gc.binary_cross_entropy_with_logits, np.array(x), np.array(y))
            assert value == pytest.approx(float(exact.evalf(30)), rel=4e-16)
            assert dx == pytest.approx(float(slope.evalf(30)), rel=4e-16)
            assert dy == -x
    assert gc.binary_cross_entropy_with_logits(np.float32(1), np.array(True)).dtype == np.float32


# --- normalisation -----------------------------------------------------------------------------------------


def naive_norm(x, axes, eps, centred=True):
    d = x - x.mean(axes, keepdims=True) if centred else x
    return d / np.sqrt((d * d).mean(axes, keepdims=True) + eps)


@pytest.mark.parametrize("axis", [-1, 0, (1, 2), (0, 2), None])
def test_norms_are_their_formulas(axis):
    x = rand(3, 4, 5)
    axes = tuple(range(3)) if axis is None else axis
    inner = x.sum(tuple(k for k in range(3) if k not in np.atleast_1d(np.array(axes)) % 3)).shape
    scale, shift = rand(*inner, seed=1), rand(*inner, seed=2)
    like = [n if k in np.atleast_1d(np.array(axes)) % 3 else 1 for k, n in enumerate(x.shape)]
    expected = naive_norm(x, axes, 1e-5) * scale.reshape(like) + shift.reshape(like)
    y = run(lambda x, a, b: gc.layer_norm(x, a, b, axis), x, scale, shift)[0]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)
    y = run(lambda x, a: gc.rms_norm(x, a, axis), x, scale)[0]
    np.testing.assert_allclose(y, naive_norm(x, axes, 1e-5, False) * scale.reshape(like), rtol=1e-12, atol=1e-13)


def test_batch_norm_is_its_formula():
    x, scale, shift = rand(4, 3, 2, 2), rand(3, seed=1), rand(3, seed=2)
    y = run(gc.batch_norm, x, scale, shift)[0]
    expected = naive_norm(x, (0, 2, 3), 1e-5) * scale.reshape(3, 1, 1) + shift.reshape(3, 1, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norms_of_extreme_rows(dtype):
    huge = np.dtype(dtype).type(2.0 ** (100 if dtype == "float32" else 660))
    tame = rand(2, 8).astype(dtype)
    x = np.concatenate([tame[:1] * huge, np.full((1, 8), 0.1, dtype), tame[1:]])
    for norm in (gc.layer_norm, gc.rms_norm):
        y, dx = run(norm, x, seed=rand(3, 8, seed=1).astype(dtype))
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
        np.testing.assert_allclose(y[0], naive_norm(tame[:1], -1, 0, norm is gc.layer_norm)[0], rtol=1e-5)
        np.testing.assert_array_equal(y[2], run(norm, x[2:])[0][0])
    assert not run(gc.layer_norm, x)[0][1].any()


def test_the_second_derivative_of_a_constant_row_is_right():
    """y = d / sqrt(mean(d**2) + eps) is d / sqrt(eps) to second order in d: its third derivative is not 0."""
    c = np.array([2.0, 1.0, -3.0])
    g = gc.Graph("t")
    x = g.placeholder("x", (3,))
    g.output("y", gc_sum(gc.layer_norm(x, eps=0.5) * c))
    for order in (1, 2, 3):
        of = list(g.outputs)[-1]
        g = gc.differentiate(g, ["x"], of=of)
        g.output(f"s{order}", gc_sum(g.grad["x"] * np.array([1.0, 0.0, -1.0])))
        g = gc.Graph.of("t", g.placeholders, {f"s{order}": g.outputs[f"s{order}"]})
        value = float(gc.compile(g)(x=np.full(3, 0.7))[f"s{order}"])
        # along u = (1, 0, -1): d = t u, mean(d**2) = 2 t**2 / 3, and y(t) . c = 5 t / sqrt(2 t**2 / 3 + eps)
        assert value == pytest.approx({1: 5 / 0.5**0.5, 2: 0.0, 3: -5 * 2 / 0.5**1.5}[order], abs=1e-12)


def test_malformed_norms():
    x = gc.Graph("t").placeholder("x", (2, 3), "float32")
    for eps in (0, -1.0, float("inf"), 1e-40):
        with pytest.raises(ArgumentError, match="eps"):
            gc.layer_norm(x, eps=eps)
    with pytest.raises(ShapeError, match="scale"):
        gc.layer_norm(x, np.ones(2))
    with pytest.raises(ArgumentError, match="delta"):
        gc.huber(x, 0)


# --- attention -----------------------------------------------------------------------------------------


def naive_attention(q, k, v, mask, scale):
    out = np.zeros((q.shape[0], v.shape[1]))
    for i in range(len(q)):
        seen = [j for j in range(len(k)) if mask[i, j]]
        if not seen:
            continue
        scores = np.array([q[i] @ k[j] * scale for j in seen])
        weights = np.exp(scores - scores.max())
        out[i] = (weights / weights.sum()) @ v[seen]
    return out


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_attention_is_the_loop_over_queries(data):
    rows, keys, width, values = (data.draw(st.integers(1, 4)) for _ in range(4))
    causal, masked = data.draw(st.booleans()), data.draw(st.booleans())
    q, k, v = rand(2, rows, width), rand(2, keys, width, seed=1), rand(2, keys, values, seed=2)
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random((rows, keys)) < (0.6 if masked else 2)
    seen = mask & np.tri(rows, keys, dtype=bool) if causal else mask
    found = run(lambda q, k, v: gc.attention(q, k, v, mask if masked else None, causal=causal), q, k, v)
    for b in range(2):
        np.testing.assert_allclose(found[0][b], naive_attention(q[b], k[b], v[b], seen, width**-0.5), atol=1e-13)
    assert not found[2][:, ~seen.any(0)].any()
    assert not found[3][:, ~seen.any(0)].any()
    assert not found[1][:, ~seen.any(1)].any()


def test_hidden_rows_may_hold_anything():
    mask = np.array([[True, True, False], [False, False, False]])
    q, k, v = rand(2, 2), rand(3, 2, seed=1), rand(3, 2, seed=2)
    clean = run(lambda q, k, v: gc.attention(q, k, v, mask), q, k, v)
    for junk in (np.nan, np.inf, -np.inf):
        q[1], k[2], v[2] = junk, junk, junk
        for passes in (gc.passes.NONE, gc.passes.DEFAULT):
            for ours, theirs in zip(run(lambda q, k, v: gc.attention(q, k, v, mask), q, k, v, passes=passes), clean, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_masks_of_heads_broadcast():
    q, k, v = rand(2, 3, 4, 5), rand(2, 1, 6, 5, seed=1), rand(1, 1, 6, 2, seed=2)
    mask = np.random.default_rng(0).random((2, 1, 4, 6)) < 0.5
    y, dq, dk, dv = run(lambda q, k, v: gc.attention(q, k, v, mask, scale=0.7), q, k, v)
    for b, h in np.ndindex(2, 3):
        np.testing.assert_allclose(y[b, h], naive_attention(q[b, h], k[b, 0], v[0, 0], mask[b, 0], 0.7), atol=1e-13)
    assert (dq.shape, dk.shape, dv.shape) == (q.shape, k.shape, v.shape)


def test_a_mask_may_be_fed_and_symbolic():
    g = gc.Graph("t")
    x, mask = g.placeholder("x", ("n", 2, "t", 3)), g.placeholder("mask", ("n", 1, 1, "t"), "bool")
    g.output("y", gc.attention(x, x, x, mask))
    joint = gc.differentiate(g, ["x"])
    array, seen = rand(2, 2, 4, 3), np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    y, dx = gc.compile(joint)(x=array, mask=seen[:, None, None]).values()
    for b, h in np.ndindex(2, 2):
        expected = naive_attention(array[b, h], array[b, h], array[b, h], np.tile(seen[b], (4, 1)), 3**-0.5)
        np.testing.assert_allclose(y[b, h], expected, atol=1e-14)
    assert np.isfinite(dx).all()
    assert not dx[1].any()


def test_malformed_attention():
    x = gc.Graph("t").placeholder("x", (4, 3))
    with pytest.raises(ShapeError, match="attention"):
        gc.attention(x, x[:, :2], x)
    with pytest.raises(ShapeError, match="attention"):
        gc.attention(x, x, x[:2])
    with pytest.raises(DTypeError, match="booleans"):
        gc.attention(x, x, x, np.zeros((4, 4)))
    for shape in ((4,), (3, 4), (4, 2)):
        with pytest.raises(ShapeError, match="a mask"):
            gc.attention(x, x, x, np.ones(shape, bool))
    empty = run(lambda q, k, v: gc.attention(q, k, v), rand(2, 3), rand(0, 3), rand(0, 2))
    np.testing.assert_array_equal(empty[0], np.zeros((2, 2)))
