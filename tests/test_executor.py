"""The executor: planned execution equals the reference bit for bit, allocates nothing, aliases nothing."""

import os
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import build

import gradc as gc
from gradc import errors, ordering, packing, passes, plan, runtime, tiles
from gradc.ir import Call, Const, Kernel, Op, apply
from gradc.ops.slices import place
from gradc.testing import check_gradients

EXAMPLES = int(os.environ.get("GRADC_FUZZ", "300"))


def equal(a, b):
    """Equal bit for bit, signs of zeros too; of a NaN only that it is one."""
    return a.dtype == b.dtype and a.shape == b.shape and plain(a) == plain(b)


def plain(a):
    return np.where(np.isnan(a), np.nan, a).astype(a.dtype).tobytes() if a.dtype.kind == "f" else a.tobytes()


def differentiated(numbers):
    g, feeds = build(numbers)
    wrt = [n for n, p in g.placeholders.items()]
    return gc.differentiate(g, wrt, of="loss", on_disconnected="zeros"), feeds


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 8 * 7 * 49 * 20), min_size=1, max_size=14), st.sampled_from(["short", "long", "tiled"]))
def test_planned_equals_evaluated_bit_for_bit(numbers, kind):
    graph, feeds = differentiated(numbers)
    trace = gc.evaluate(graph, feeds)
    wanted = {name: trace[node] for name, node in graph.outputs.items()}
    limit = runtime._LONG_NODES
    runtime._LONG_NODES = 0 if kind == "long" else limit
    kept = tiles.TILE_BYTES, tiles.LEAST_TILES
    tiles.TILE_BYTES, tiles.LEAST_TILES = (16, 2) if kind == "tiled" else kept
    try:
        for pipeline in (passes.NONE, passes.EXACT):
            fed = {name: np.array(value) for name, value in feeds.items()}
            step = gc.compile(graph, passes=pipeline, updates={"x0": "next"})
            for _ in range(2):
                fed["x0"][...] = feeds["x0"]
                out = step(fed)
                for name, value in out.items():
                    assert equal(value, wanted[name]), name
                assert equal(fed["x0"], wanted["next"])
                assert all(equal(fed[n], feeds[n]) for n in feeds if n != "x0")
    finally:
        runtime._LONG_NODES = limit
        tiles.TILE_BYTES, tiles.LEAST_TILES = kept


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 8 * 7 * 49 * 20), min_size=1, max_size=14))
def test_default_passes_are_never_worse(numbers):
    graph, feeds = differentiated(numbers)
    plain = gc.compile(graph, passes=passes.NONE)(feeds)
    default = gc.compile(graph)(feeds)
    for name, value in plain.items():
        finite = np.isfinite(value)
        np.testing.assert_allclose(default[name][finite], value[finite], rtol=1e-12, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 500)), max_size=30))
def test_blocks_alive_together_never_overlap(spans):
    blocks = [packing.Block(min(a, b), max(a, b), n) for a, b, n in spans]
    for pack in (packing._pack_by_time, packing._pack_by_size):
        offsets, total = pack(blocks)
        for i, a in enumerate(blocks):
            assert a.nbytes == 0 or offsets[i] + a.nbytes <= total
            for j, b in enumerate(blocks[:i]):
                if a.nbytes and b.nbytes and a.first <= b.last and b.first <= a.last:
                    assert offsets[i] + a.nbytes <= offsets[j] or offsets[j] + b.nbytes <= offsets[i]


def network(batch="n"):
    g = gc.Graph("net")
    x = g.placeholder("x", (batch, 5), "float32")
    w = g.placeholder("w", (5, 4), "float32")
    g.output("loss", (gc.softmax(gc.relu(x @ w)) ** 2).mean())
    dg = gc.differentiate(g, w)
    dg.output("next", w - 0.1 * dg.grad[w])
    return dg


def test_steady_state_allocates_outputs_only():
    g = gc.Graph("g")
    x = g.placeholder("x", 1000)
    g.output("y", (np.tanh(x) * np.exp(-x * x / 2)).sum())
    f = gc.differentiate(g, x).compile(["d_y/d_x"])
    value = np.linspace(0, 1, 1000)
    tracemalloc.start()
    try:
        for _ in range(3000):  # CPython keeps up to 2,000 freed tuples for later
            f(x=value)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(200):
            f(x=value)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2000
    assert peak - before < 8000 + 3000


@pytest.mark.parametrize("batch", ["n", 7])
def test_threads_share_an_executable(batch):
    dg = network(batch)
    f = gc.compile(dg, ["loss", "d_loss/d_w"])
    rng = np.random.default_rng(0)
    cases = []
    for k in range(4):
        feeds = {"x": rng.random((7 if batch == 7 else k + 1, 5), dtype="f4"), "w": rng.random((5, 4), dtype="f4")}
        cases.append((feeds, f(feeds)))
    wrong, interval = [], sys.getswitchinterval()

    def work(seed):
        picks = np.random.default_rng(seed).integers(0, len(cases), 300)
        for pick in picks:
            feeds, wanted = cases[pick]
            out = f(feeds)
            if not all(equal(out[n], wanted[n]) for n in wanted):
                wrong.append(pick)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(s,)) for s in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_feeds_of_other_layouts_and_byte_orders_work():
    g = gc.Graph("g")
    x = g.placeholder("x", (3, 4))
    g.output("y", np.sin(x).sum(axis=0))
    f = g.compile()
    value = np.arange(12.0).reshape(3, 4)
    wanted = f(x=value)["y"]
    for other in (np.asfortranarray(value), value[::-1][::-1], value.astype(">f8"), np.repeat(value, 2, 1)[:, ::2]):
        assert equal(f(x=other)["y"], wanted)


def test_updates_into_other_layouts_swaps_and_refusals():
    g = gc.Graph("swap")
    a, b = g.placeholder("a", 3), g.placeholder("b", 3)
    g.output("a_next", b * 1.0)
    g.output("b_next", a + 0.0)
    g.output("sum", a + b)
    step = gc.compile(g, updates={"a": "a_next", "b": "b_next"}, passes=passes.NONE)
    u, v = np.arange(3.0), np.arange(6.0)[::2] * 10
    out = step(a=u, b=v)
    assert list(u) == [0, 20, 40] and list(v) == [0, 1, 2] and list(out["sum"]) == [0, 21, 42]
    exact = gc.compile(g, updates={"a": "a_next", "b": "b_next"})
    exact(a=u, b=v)
    assert list(u) == [0, 1, 2] and list(v) == [0, 20, 40]
    whole = np.arange(4.0)
    with pytest.raises(errors.FeedError, match="shares memory"):
        step(a=whole[:3], b=whole[1:])
    with pytest.raises(errors.FeedError, match="shares memory"):
        step(a=u, b=u)
    with pytest.raises(errors.FeedError, match="expected an array"):
        step(a=[1.0, 2.0, 3.0], b=u)


@pytest.mark.parametrize("count", [2, 6])
def test_one_array_for_two_updates_is_refused_at_every_call(count):
    """With few updates of a type by comparing them, with many by a set."""
    g = gc.Graph("many")
    nodes = [g.placeholder(f"w{k}", 3) for k in range(count)]
    for k, node in enumerate(nodes):
        g.output(f"next{k}", node + nodes[k - 1])
    step = gc.compile(g, updates={f"w{k}": f"next{k}" for k in range(count)})
    arrays = {f"w{k}": np.full(3, 1.0) for k in range(count)}
    step(arrays)
    whole = np.ones(4)
    for wrong in ({"w1": arrays["w0"]}, {"w0": whole[:3], "w1": whole[1:]}, {"w0": arrays["w1"][:]}):
        before = {name: array.copy() for name, array in arrays.items()}
        with pytest.raises(errors.FeedError, match="shares memory"):
            step(arrays | wrong)
        assert all(equal(arrays[name], before[name]) for name in arrays)
    last = arrays[f"w{count - 1}"].copy()
    step(arrays | {"w0": whole[:3]})
    np.testing.assert_array_equal(whole, [*(1 + last), 1])


def test_out_arrays():
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    g.output("y", x * 2)
    g.output("z", x + 1)
    f = g.compile()
    y = np.empty(3)
    out = f({"x": np.ones(3)}, out={"y": y})
    assert out["y"] is y and (y == 2).all() and (out["z"] == 2).all()
    for bad, text in (({"q": y}, "no output"), ({"y": np.empty(4)}, "expected an array"), ({"y": np.empty(3, "f4")}, "expected")):
        with pytest.raises(errors.FeedError, match=text):
            f({"x": np.ones(3)}, out=bad)
    with pytest.raises(errors.FeedError, match="shares memory"):
        f({"x": y}, out={"y": y})


def test_memory_symbolic_and_numeric_agree():
    f = gc.compile(network(), ["loss"], updates={"w": "next"})
    symbolic = f.memory()
    for n in (1, 10, 1000):
        numeric = f.memory(n=n)
        assert int(symbolic.arena.subs({s: n for s in symbolic.arena.free_symbols})) == max(numeric.live)
        assert max(numeric.live) <= numeric.arena <= 1.1 * max(numeric.live) + 64 * len(numeric.live)
        assert numeric.at_peak
    with pytest.raises(errors.FeedError, match="no dimension"):
        f.memory(m=3)


def test_profile_has_a_row_for_every_step_and_leaves_feeds_alone():
    f = gc.compile(network(), ["loss"], updates={"w": "next"})
    feeds = {"x": np.ones((3, 5), "f4"), "w": np.ones((5, 4), "f4")}
    profile = f.profile(feeds, repeat=3)
    assert len(profile.rows) > 10 and all(r.seconds >= 0 for r in profile.rows)
    assert (feeds["w"] == 1).all()
    assert "matmul" in str(profile) and "test_executor.py" in str(profile)


def test_greedy_order_is_valid_and_sometimes_cheaper():
    g = gc.Graph("wide")
    x = g.placeholder("x", (300, 300))
    parts = [np.sin(x * float(k)) for k in range(6)]
    total = parts[0].sum()
    for p in parts[1:]:
        total = total + p.sum()
    g.output("y", total)
    nodes = [n for n in g.nodes if n.inputs]
    sizes = {n: plan.nbytes_of(n.type) for n in nodes}
    created = [n for n in nodes if n.op.name != "sum"]
    late = sorted(created + [n for n in nodes if n.op.name == "sum"], key=lambda n: (n.op.name in ("sum", "add"), n.serial))
    order = ordering.greedy_order(late, [total], sizes)
    seen = set()
    for n in order:
        assert all(i in seen for i in n.inputs if i in sizes)
        seen.add(n)
    assert set(order) == set(nodes)
    assert ordering.peak_of(order, [total], sizes) < ordering.peak_of(late, [total], sizes)


def sliced_loss():
    """A graph whose gradient sums slices of one variable."""
    g = gc.Graph("sliced")
    x = g.placeholder("x", (6, 5))
    left, right = x[:, 1:], x[:, :-1]
    g.output("y", np.sum(left * right**2 - np.sin(x[2, 1:]) * x[::2, 3:].sum() + x[1:2, :1] * np.exp(x[5, 4])))
    return gc.differentiate(g, x)


def test_adjoints_of_slices_are_added_where_they_are():
    g = sliced_loss()
    feeds = {"x": np.random.default_rng(7).normal(size=(6, 5))}
    fast, plain = gc.compile(g), gc.compile(g, passes=passes.NONE)
    placed = [n for n in fast.graph.nodes if n.op.name == "placed_sum"]
    assert placed and not any(n.op.name == "place" for n in fast.graph.nodes)
    for name, expected in plain(feeds).items():
        np.testing.assert_allclose(fast(feeds)[name], expected, rtol=1e-13)
    check_gradients(fast.graph, feeds, order=1)


def test_a_running_sum_of_slices_stays_in_one_buffer():
    g = gc.Graph("running")
    total = x = g.placeholder("x", (1000,))
    for k in range(20):
        total = total + place(x[: 10 + k] * k, ((0, 10 + k, 1),), (1000,))
    g.output("y", total * 2.0)
    exe = gc.compile(g)
    assert exe.source.count("iadd(") == 20
    assert exe.source.count("copyto(v") == 1  # of the feed, which is not ours to write into
    feeds = {"x": np.arange(1000.0)}
    np.testing.assert_array_equal(exe(feeds)["y"], gc.evaluate(g, feeds)[g.outputs["y"]])


def test_masked_entries_are_never_taken_for_data():
    g = gc.Graph("g")
    x = g.placeholder("x", 2)
    g.output("y", 2 * x)
    run = g.compile()
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    with pytest.raises(errors.FeedError, match="masked entries"):
        run(x=masked)
    with pytest.raises(errors.ArgumentError, match="masked entries"):
        gc.constant(masked)
    np.testing.assert_array_equal(run(x=np.ma.masked_array([1.0, 2.0]))["y"], [2, 4])


def test_sizes_that_memory_is_asked_for_are_checked():
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", "n") + 1)
    with pytest.raises(errors.ShapeError, match="cannot be negative"):
        g.compile().memory(n=-5)


def test_a_size_may_come_from_a_feed_that_nothing_reads():
    g = gc.Graph("g")
    g.output("y", np.zeros_like(g.placeholder("x", ("n",))))
    run = g.compile()
    for n in (0, 3, 1, 3):
        assert run(x=np.ones(n))["y"].shape == (n,)


def test_attributes_that_print_alike_are_not_taken_for_each_other():
    """An array of more than four entries prints as its type only."""
    shifted = Op("shifted", infer=lambda x, *, by: x, evaluate=lambda x, *, by: x + by.array)
    g = gc.Graph("g")
    x = g.placeholder("x", (5,))
    for k in (1, 2):
        g.output(f"y{k}", apply(shifted, (x,), (("by", Const(np.full(5, float(k)))),)))
    out = g.compile()(x=np.zeros(5))
    assert (out["y1"][0], out["y2"][0]) == (1, 2)


@pytest.mark.parametrize("level", [passes.NONE, passes.EXACT, passes.DEFAULT])
def test_what_may_fail_may_depend_on_an_update(level):
    """It runs after the value is known, and before anything is written."""
    g = gc.Graph()
    x = g.placeholder("x", (2, 2))
    following = x * 2.0 - 1.0
    g.output("next", following)
    g.output("inverse", gc.inv(following))
    g.output("read", gc.nan_to_num(x) + np.sum(following))
    step = g.compile(["inverse", "read"], updates={"x": "next"}, passes=level)
    value = np.array([[1.0, 0.5], [0.25, 2.0]])
    expected = gc.evaluate(g, {"x": value})
    wanted = {name: expected[node].copy() for name, node in g.outputs.items()}
    for name, got in step(x=value).items():
        assert equal(got, wanted[name])
    assert equal(value, wanted["next"])
    singular = np.full((2, 2), 3.0)
    with pytest.raises(errors.EvaluationError):
        step(x=singular)
    assert (singular == 3.0).all()


@pytest.mark.parametrize("swapped", [False, True])
def test_updates_that_others_depend_on_keep_the_order(swapped):
    g = gc.Graph()
    a, b = g.placeholder("a", 3), g.placeholder("b", 3)
    first = a * 0.5 + b
    used = np.isposinf(first) + first * a
    second = b * a
    both = gc.nan_to_num(second + first)
    for name, node in (("first", first), ("second", second), ("used", used), ("both", both)):
        g.output(name, node)
    updates = {"a": "second", "b": "first"} if swapped else {"a": "first", "b": "second"}
    step = g.compile(updates=updates)
    feeds = {"a": np.arange(3.0), "b": np.array([2.0, -1.0, 0.5])}
    for _ in range(3):
        trace = gc.evaluate(g, feeds)
        wanted = {name: trace[node].copy() for name, node in g.outputs.items()}
        assert all(equal(got, wanted[name]) for name, got in step(feeds).items())
        assert all(equal(feeds[name], wanted[source]) for name, source in updates.items())


def test_a_placeholder_that_nothing_reads_is_updated_at_every_call():
    g = gc.Graph()
    x, kept = g.placeholder("x", 2), g.placeholder("kept", 2)
    g.output("y", x * 2.0)
    g.output("next", x + 1.0)
    step = g.compile(["y"], updates={"kept": "next"})
    state = np.zeros(2)
    for k in range(3):
        step(x=np.full(2, float(k)), kept=state)
        assert (state == k + 1.0).all()
    assert kept.shape == (2,)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: (x.T * 1.0) @ np.ones((7, 1)),
        lambda x: np.negative(-x.T) @ np.ones((7, 1)),
        lambda x: x.T.astype("float64") @ np.ones((7, 1)),
        lambda x: np.var(x.T / 1.0, 0),
        lambda x: x.T.reshape(2100).reshape(300, 7) @ np.ones((7, 1)),
        lambda x: (np.broadcast_to(x[:1, :1], (7, 300)) * 1.0).sum(1),
    ],
)
def test_exact_passes_put_no_view_in_the_place_of_a_copy(build):
    """BLAS and sums round by the order of the memory that they read."""
    g = gc.Graph()
    g.output("y", build(g.placeholder("x", (7, 300))))
    value = np.random.default_rng(0).standard_normal((7, 300))
    found = [g.compile(passes=level)(x=value)["y"] for level in (passes.NONE, passes.EXACT)]
    assert equal(*found)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_numbers_in_kernels_are_arrays_made_before_the_call(dtype):
    """Among floats; an integer operand is compared with the number itself, which may promote it."""
    g = gc.Graph("numbers")
    x = g.placeholder("x", 4, dtype)
    g.output("relu6", gc.relu6(x))
    g.output("sigmoid", gc.sigmoid(x))
    run = gc.compile(g)
    values = np.array([-3, 0, 2, 9], dtype)
    found, expected = run(x=values), gc.evaluate(g, {"x": values})
    for name in g.outputs:
        np.testing.assert_array_equal(found[name], expected[g.outputs[name]])
        assert found[name].dtype == expected[g.outputs[name]].dtype
    calls = run.source[run.source.index("def run") :]
    assert (f"maximum(v1, {dtype}_0, out=" in calls) == (dtype != "int64")


def test_numbers_in_kernels_of_long_schedules():
    g = gc.Graph("long")
    x = y = g.placeholder("x", 3)
    for _ in range(600):
        y = gc.sigmoid(y) + x
    g.output("y", y)
    values = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_array_equal(gc.compile(g)(x=values)["y"], gc.evaluate(g, {"x": values})[g.outputs["y"]])


@pytest.mark.parametrize("width", [4, 80])
def test_long_schedules_of_large_arrays_copy_no_feed(width):
    """Small arrays are copied to where every call is bound beforehand; large ones are worked on where they are."""
    g = gc.Graph("deep")
    x = g.placeholder("x", (3, width))
    weights = [g.placeholder(f"w{k}", (width, width)) for k in range(90)]
    h = x
    for w in weights:
        h = h + np.tanh(h @ w)
    g.output("loss", np.square(h).mean())
    joint = gc.differentiate(g, weights)
    for k, w in enumerate(weights):
        joint.output(f"next{k}", w - 0.1 * joint.grad[w])
    step = gc.compile(joint, "loss", updates={f"w{k}": f"next{k}" for k in range(90)})
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=x.shape), **{w.name: rng.normal(size=w.shape) / width for w in weights}}
    wanted = gc.evaluate(joint, feeds)
    found = step(feeds)
    assert np.isclose(found["loss"], wanted[joint.outputs["loss"]], rtol=1e-12)
    np.testing.assert_allclose(feeds["w7"], wanted[joint.outputs["next7"]], rtol=1e-10)
    assert len(step.graph.nodes) > runtime._LONG_NODES
    fed = sum(array.nbytes for array in feeds.values())
    assert (step._newest.program.plan.arena_bytes > fed) == (width == 4)


@pytest.mark.parametrize("name", ["v1", "s0", "u1", "out", "run", "mark", "copy", "float64", "float64_1", "\ufb01", "for", "a b"])
def test_a_call_may_have_the_name_of_anything_in_a_program(name):
    """An op of a user is called what its function is called."""

    def double(x, out):
        np.multiply(x, 2, out)

    kernel = Kernel((Call(double, name, "{0}, {out}"),))
    doubled = Op("doubled", infer=lambda x: x, evaluate=lambda x: x * 2, kernel=lambda inputs, out, attrs: kernel)
    g = gc.Graph("hostile")
    x, w = g.placeholder("x", 5), g.placeholder("w", 5)
    g.output("y", gc.sigmoid(apply(doubled, (x,))) + gc.softplus(w))
    g.output("next_x", w * 1.0)
    g.output("next_w", x + 0.0)
    step = gc.compile(g, updates={"x": "next_x", "w": "next_w"}, passes=passes.NONE)
    feeds = {"x": np.linspace(-1, 1, 5), "w": np.ones(5)}
    trace = gc.evaluate(g, feeds)
    wanted = {key: np.array(trace[node]) for key, node in g.outputs.items()}
    assert step.profile(feeds, repeat=2).total > 0
    assert equal(step(feeds)["y"], wanted["y"])
    assert equal(feeds["x"], wanted["next_x"]) and equal(feeds["w"], wanted["next_w"])
