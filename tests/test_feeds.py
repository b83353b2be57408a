"""What is fed: dtypes that lose nothing, feeds that nothing needs, names of every kind, sizes by the hundred."""

import array
import copy
import decimal
import pickle

import numpy as np
import pytest

import gradc as gc
from gradc import errors, passes, plan, runtime
from gradc.errors import FeedError, GradcError

LEVELS = {"NONE": passes.NONE, "EXACT": passes.EXACT, "DEFAULT": passes.DEFAULT}
DTYPES = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]


def copied(dtype, shape=("n",)):
    """A graph whose output is its feed."""
    g = gc.Graph("copied")
    g.output("y", g.placeholder("x", shape, dtype))
    return g


def verdicts(g, feeds, name="y"):
    """The value, or the error, of a first call, of a later one, and of the interpreter."""

    def verdict(call):
        try:
            return call()
        except FeedError as error:
            return error.message

    run = gc.compile(g)
    found = [verdict(lambda: run(feeds)[name]) for _ in range(3)]
    return [*found, verdict(lambda: gc.evaluate(g, feeds)[g.outputs[name]])]


# --- dtypes ------------------------------------------------------------------------------------------


def numbers_of(dtype):
    """Ones, the ends of the dtype, and what lies next to the ends of exactness of floating point."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return [[False, True], [True]]
    if dtype.kind == "f":
        return [[0.0, 1.0, -2.0], [0.5], [float(np.finfo(dtype).max)], [np.nan, np.inf, -np.inf], [-0.0]]
    info = np.iinfo(dtype)
    ends = [2**k + d for k in (8, 11, 15, 16, 24, 31, 32, 53, 63, 64) for d in (-1, 0, 1)]
    near = [v for e in ends for v in (e, -e) if info.min <= v <= info.max]
    return [[0, 1, 2], [int(info.max)], [int(info.min)], *([1, v] for v in near)]


def holds(dtype, value, source):
    """Whether a value of `source` is taken: integers where they are held exactly, floating point where it is as wide."""
    if source.kind == "b" or dtype.kind == source.kind == "f":
        return source.kind == "b" or source.itemsize <= dtype.itemsize
    if source.kind == "f" or dtype.kind == "b":
        return source == dtype
    if dtype.kind != "f":
        return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    digits = {"float16": 11, "float32": 24, "float64": 53}[dtype.name]
    odd = abs(value) // (abs(value) & -abs(value)) if value else 0
    return odd < 2**digits and abs(value) <= float(np.finfo(dtype).max)


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_arrays_are_taken_where_nothing_is_lost(source, target):
    g = copied(target)
    for numbers in numbers_of(source):
        for order in ("=", ">"):
            value = np.array(numbers, source).astype(np.dtype(source).newbyteorder(order))
            taken = all(holds(np.dtype(target), v, np.dtype(source)) for v in numbers)
            found = verdicts(g, {"x": value})
            if taken:
                for y in found:
                    assert y.dtype == target and [int(v) if np.isfinite(v) and v == int(v) else repr(float(v)) for v in y] == [
                        int(v) if np.isfinite(v) and v == int(v) else repr(float(v)) for v in numbers
                    ], (numbers, y)
            else:
                assert len(set(found)) == 1 and "expected" in found[0], (numbers, found)


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        (
            "float64",
            np.array([1, 2**53, 2**53 + 1, 2**53 + 3]),
            "9007199254740993 at [2] is no float64 exactly; write value.astype",
        ),
        ("float32", np.array([1, 2**24 + 1], "int32"), "16777217 at [1] is no float32 exactly"),
        ("float64", np.array([2**64 - 1], "uint64"), "18446744073709551615 at [0] is no float64"),
        ("float16", np.array([65505]), "65505 at [0] is no float16"),
        ("uint8", np.array([[1], [300]])[:, 0], "300 at [1] is out of bounds for uint8, 0 to 255"),
        ("uint8", [1, -1], "-1 at [1] is out of bounds for uint8"),
        ("int64", [1, 2**70], "1180591620717411303424 at [1] is out of bounds for int64"),
        ("float64", [10**400, 1], "is no float64 exactly"),
        ("float64", [2**70 + 1], "is no float64 exactly; write np.asarray(value, 'float64')"),
        ("float32", np.ones(2), "got float64[2]; write value.astype('float32') if rounding is what you mean"),
        ("float32", [1.0, 1e300], "1e+300 at [1] is beyond the largest float32"),
        ("int64", np.ones(2), "got float64[2]; write value.astype('int64') if cutting off fractions is what you mean"),
        ("int64", [1.5, 2.0], "write np.asarray(value, 'int64')"),
        ("int64", [1.0, float("nan")], "nan at [1] is no integer"),
        ("int32", np.array([np.inf], "float32"), "inf at [0] is no integer"),
        ("bool", np.array([0, 1]), "write value.astype('bool') if True for what is not 0"),
        ("float64", np.ones(2, np.longdouble), "write value.astype('float64')"),
        ("float64", np.ones(2, complex), "take .real"),
        ("float64", [1j, 1], "take .real"),
        ("float64", np.array(["1", "2"]), "'1' is no number"),
        ("float64", ["1", 2], "'1' is no number"),
        ("float64", np.array([1, None, 2]), "None is no number"),
        ("float64", np.array(["2020-01-01"], "datetime64[D]"), "expected float64[n], got datetime64[D][1]"),
        ("float64", np.array([1], "timedelta64[s]"), "write value.astype('float64')"),
        ("float64", [decimal.Decimal(1)], "is no number"),
        ("float64", [[1.0], [1.0, 2.0]], "inhomogeneous"),
        ("float64", [{}], "is no number"),
        ("float64", np.array([(1, 2.0)], [("a", int), ("b", float)]), "is no number"),
        ("bool", [object()], "is no number"),
        ("float64", b"123", "is no number"),
    ],
)
def test_what_would_be_lost_is_told(dtype, value, said):
    found = verdicts(copied(dtype), {"x": value})
    assert len(set(found)) == 1 and said in found[0] and found[0].startswith("feed 'x': expected "), found
    assert len(found[0]) < 400


@pytest.mark.parametrize(
    "value", [["a"] * 1_000_000, "a" * 1_000_000, np.full(100_000, "a" * 100), dict.fromkeys(range(100_000))]
)
def test_messages_of_feeds_have_a_length(value):
    found = verdicts(copied("float64"), {"x": value})
    assert len(set(found)) == 1 and len(found[0]) < 500


class Foreign:
    """What NumPy reads by its protocol, which may fail in any way."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def __repr__(self):
        return "\x1b[31m" + "x" * 10_000


def test_foreign_arrays_are_taken_as_numpy_takes_them():
    g = copied("float64")
    for value in (
        [1, 2, 3],
        (1, True, 3.0 - 1),
        range(1, 4),
        memoryview(np.array([1, 2, 3])),
        array.array("i", [1, 2, 3]),
        Foreign(np.array([1, 2, 3])),
        np.array([1, 2, 3], object),
        [np.int8(1), np.float16(2), 3],
    ):
        for y in verdicts(g, {"x": value}):
            assert y.dtype == np.float64 and y[0] == 1 and y.shape == (3,)
    for value in (Foreign(KeyError("no")), Foreign("text"), Foreign(np.array([1, None]))):
        found = verdicts(g, {"x": value})
        assert len(set(found)) == 1 and "feed 'x'" in found[0] and found[0].isprintable() and len(found[0]) < 500


def test_series_are_taken_as_their_arrays_are():
    pandas = pytest.importorskip("pandas")
    for dtype in ("int64", "float32", "uint8", "float64"):
        for y in verdicts(copied("float64"), {"x": pandas.Series([1, 2, 3], index=[5, 5, 5], dtype=dtype)}):
            assert list(y) == [1, 2, 3]
    found = verdicts(copied("float32"), {"x": pandas.Series([1.5, 2.5])})
    assert len(set(found)) == 1 and "write value.astype('float32')" in found[0]
    for value in (pandas.Series([1, None, 3], dtype=object), pandas.Series(["a"])):
        found = verdicts(copied("float64"), {"x": value})
        assert len(set(found)) == 1 and "is no number" in found[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_python_numbers_are_weak(dtype):
    g = copied(dtype, ())
    kind = np.dtype(dtype).kind
    for value, kinds in ((True, "biuf"), (5, "iuf"), (0.1, "f"), (float("inf"), "f")):
        found = verdicts(g, {"x": value})
        if kind in kinds:
            assert all(y.dtype == dtype and y == np.dtype(dtype).type(value) for y in found)
        else:
            assert len(set(found)) == 1 and "expected" in found[0]
    for value in (np.float64(0.1), np.int64(3), np.float32(2), np.bool(True)):
        taken = holds(np.dtype(dtype), value, value.dtype)
        assert all((not isinstance(y, str)) == taken for y in verdicts(g, {"x": value}))
    assert "write np.float32(value) if rounding" in verdicts(copied("float32", ()), {"x": np.float64(0.1)})[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_list_is_of_any_dtype(dtype):
    assert all(y.dtype == dtype and y.shape == (0,) for y in verdicts(copied(dtype), {"x": []}))


def test_updated_arrays_have_the_very_dtype():
    g = gc.Graph("g")
    w = g.placeholder("w", 3)
    g.output("next", w * 2)
    step = gc.compile(g, updates={"w": "next"})
    for wrong in (np.ones(3, "int64"), np.ones(3, "float32"), np.ones(3, bool)):
        for call in (step, step.profile):
            with pytest.raises(FeedError, match="updated in place: give an array of float64"):
                call(w=wrong)
        assert (wrong == 1).all()
    with pytest.raises(FeedError, match="expected an array"):
        step(w=[1, 2, 3])


# --- feeds that nothing needs ------------------------------------------------------------------------


def model():
    g = gc.Graph("model")
    x, y, w = g.placeholder("x", ("n", 2)), g.placeholder("y", ("n",)), g.placeholder("w", 2)
    p = g.output("prediction", x @ w)
    g.output("loss", np.mean((p - y) ** 2))
    g.placeholder("unused", 3)
    return g


@pytest.mark.parametrize("level", LEVELS)
def test_what_no_output_needs_is_not_asked_for_and_checked_if_given(level):
    run = gc.compile(model(), ["prediction"], passes=LEVELS[level])
    good = {"x": np.ones((3, 2)), "w": np.ones(2)}
    for _ in range(3):
        for more in ({}, {"y": np.ones(3)}, {"unused": [1, 2, 3]}, {"y": np.ones(3), "unused": np.zeros(3)}):
            np.testing.assert_array_equal(run(good, **more)["prediction"], [2, 2, 2])
        for wrong, said in (
            ({"y": np.ones(4)}, r"feed 'y' .*n is 3 already"),
            ({"y": "garbage"}, "feed 'y'"),
            ({"unused": np.ones(2)}, r"expected shape \(3,\)"),
            ({"typo": "garbage"}, "unknown feeds: 'typo'"),
            ({"unusd": np.zeros(3)}, "did you mean 'unused'"),
            ({"y": None}, "feed 'y'"),
        ):
            with pytest.raises(FeedError, match=said):
                run(good, **wrong)
        with pytest.raises(FeedError, match=r"missing feeds: w \(float64\[2\]\); unknown feeds: 'W'; did you mean 'w'"):
            run(x=np.ones((3, 2)), W=np.ones(2))
    assert [row.node.op.name for row in run.profile(good, y=np.ones(3), repeat=2).rows] == ["matmul"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_feed_without_use_makes_no_other_plan(level):
    g = model()
    z = g.placeholder("z", ("m",))
    g.output("other", z * 2)
    run = gc.compile(g, ["prediction"], passes=LEVELS[level])
    made = count_plans(run)
    for m in range(20):
        run(x=np.ones((3, 2)), w=np.ones(2), z=np.ones(m))
    assert made() == 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "build", [lambda x: np.zeros_like(x), lambda x: gc.full(x.shape, 2.0), lambda x: x.shape[0] * gc.constant(np.ones(3))]
)
def test_a_size_that_only_a_feed_without_use_tells(build, level):
    g = gc.Graph("g")
    x, _ = g.placeholder("x", ("n",)), g.placeholder("other", ("n",))
    g.output("y", build(x))
    run = gc.compile(g, passes=LEVELS[level])
    for n in (0, 3, 1, 3):
        expected = np.asarray(gc.evaluate(g, x=np.ones(n))[g.outputs["y"]])
        np.testing.assert_array_equal(run(x=np.ones(n))["y"], expected)
    needed = any(node is x for node in gc.verify(run.graph).nodes) or "x" in run._needs.feeds
    for _ in range(2):
        if not needed:
            np.testing.assert_array_equal(run(other=np.ones(3))["y"], expected)
        with pytest.raises(FeedError, match=r"missing feeds: (x|the symbolic dimension n has no value: feed x or other)"):
            run()
        with pytest.raises(FeedError, match="n is 3 already"):
            run(x=np.ones(3), other=np.ones(4))


def test_sizes_of_feeds_that_nothing_needs_are_left_alone():
    g = gc.Graph("g")
    n = g.placeholder("a", ("n",)).shape[0]
    g.output("y", g.placeholder("x", 2) + 1)
    g.placeholder("twice", (2 * n,))
    run = gc.compile(g)
    for _ in range(2):
        assert (run(x=np.ones(2), twice=np.ones(5))["y"] == 2).all()  # nothing says what n is
        with pytest.raises(FeedError, match=r"2\*n is 6"):
            run(x=np.ones(2), twice=np.ones(5), a=np.ones(3))


def test_a_size_that_no_placeholder_tells():
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", 2).sum() + gc.zeros(("n",)))
    for _ in range(2):
        with pytest.raises(FeedError, match=r"dimension n has no value: no placeholder's shape is that size"):
            gc.compile(g)(x=np.ones(2))
        with pytest.raises(FeedError, match=r"dimension n has no value"):
            gc.evaluate(g, x=np.ones(2))


def test_the_interpreter_computes_what_the_feeds_tell():
    g = model()
    y, unused = g.placeholders["y"], g.placeholders["unused"]
    late = unused * 2.0
    feeds = {"x": np.ones((3, 2)), "w": np.ones(2), "y": np.zeros(3)}
    trace = gc.evaluate(g, feeds)
    assert float(trace[g.outputs["loss"]]) == 4 and unused not in trace and len(trace) == len(list(trace)) == len(g.nodes) - 1
    assert "unused" in str(trace) and "= not fed" in str(trace)
    for node in (unused, late):
        with pytest.raises(FeedError, match=r"placeholder 'unused' .*was not fed"):
            trace[node]
    assert list(gc.evaluate(g, feeds, unused=[1, 2, 3])[late]) == [2, 4, 6]
    assert dict(trace).keys() == set(trace) and y in trace
    with pytest.raises(FeedError, match="missing feeds: y"):
        gc.evaluate(g, {name: feeds[name] for name in ("x", "w")})
    with pytest.raises(FeedError, match="did you mean 'unused'"):
        gc.evaluate(g, feeds, Unused=3)


# --- names -------------------------------------------------------------------------------------------

NAMES = [
    "out",
    "graph",
    "feeds",
    "repeat",
    "self",
    "dims",
    "outputs",
    "passes",
    "named",
    "fn",
    "updates",
    "backend",
    "name",
    "given",
]


@pytest.mark.parametrize("name", NAMES)
def test_placeholders_of_any_name_are_fed_by_keyword(name):
    g = gc.Graph("g")
    g.output("y", g.placeholder(name, (name,)).sum() + g.placeholder("z", 3))
    value = np.arange(4.0)
    run = gc.compile(g)
    for _ in range(3):
        for got in (
            run(**{name: value, "z": np.ones(3)}),
            run({name: value}, z=np.ones(3)),
            run({"z": np.ones(3)}, **{name: value}),
        ):
            assert (got["y"] == 7).all()
        assert (gc.evaluate(g, **{name: value, "z": np.ones(3)})[g.outputs["y"]] == 7).all()
    into = np.empty(3)
    assert run({name: value, "z": np.ones(3)}, out={"y": into})["y"] is into and (into == 7).all()
    assert run.profile(**{name: value, "z": np.ones(3)}).rows
    assert run.profile({name: value, "z": np.ones(3)}, repeat=2).rows
    assert run.memory(**{name: 5}) == run.memory({name: 5}) and run.memory().outputs == 24
    h = gc.trace(eval(f"lambda {name}: {name} * 2"), **{name: gc.spec(2)})
    assert list(h.placeholders) == [name]


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.memory(3),
        lambda run: run.memory("n"),
        lambda run: run.memory(n="m"),
        lambda run: run.memory(n=2.5),
        lambda run: run.memory(n=-1),
        lambda run: run.memory(m=1),
        lambda run: run.memory({3: 1}),
        lambda run: run.profile(3),
        lambda run: run.profile(x=[1.0], repeat=0),
        lambda run: run.profile(x=[1.0], repeat=2.5),
        lambda run: run.profile(x=[1.0], repeat="often"),
        lambda run: run.profile(repeat=3),
        lambda run: run(3),
        lambda run: run([("x", 1)]),
        lambda run: run({3: 1}),
        lambda run: run({None: 1}, x=[1.0]),
        lambda run: gc.compile(run.graph, cache_size=0),
        lambda run: gc.compile(run.graph, cache_size="big"),
    ],
)
def test_bad_arguments_are_one_clear_error(ask):
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", ("n",)) * 2)
    with pytest.raises(GradcError) as caught:
        ask(gc.compile(g))
    assert "test_feeds.py" in str(caught.value) and len(str(caught.value)) < 400


# --- sizes by the hundred ----------------------------------------------------------------------------


def count_plans(run):
    """How many plans an executable makes from now on."""
    made = []
    make = run._plan
    run._plan = lambda *args, **options: made.append(args) or make(*args, **options)
    return lambda: len(made)


@pytest.mark.parametrize(("sizes", "limit"), [(9, None), (40, None), (200, None), (8, 8), (1, 1)])
def test_a_cycle_of_sizes_makes_a_plan_for_each_and_no_more(sizes, limit):
    run = gc.compile(copied("float64"), cache_size=limit)
    made = count_plans(run)
    for _ in range(3):
        for n in range(sizes):
            assert run(x=np.zeros(n))["y"].shape == (n,)
    assert made() == sizes


def test_what_was_used_last_is_kept():
    run = gc.compile(copied("float64"), cache_size=3)
    made = count_plans(run)
    for n in (1, 2, 3, 1, 4, 1, 3, 4):  # 4 takes the place of 2
        run(x=np.zeros(n))
    assert made() == 4
    run(x=np.zeros(2))
    assert made() == 5


def test_programs_of_large_arenas_are_few(monkeypatch):
    g = gc.Graph("g")
    x = g.placeholder("x", ("n",))
    g.output("y", np.sum(np.cumsum(np.sin(x)) * x))
    monkeypatch.setattr(runtime, "_KEPT_BYTES", 1 << 20)
    run = gc.compile(g)
    for n in range(10_000, 10_050):
        run(x=np.zeros(n))
    pools = run._programs._pools
    assert run._programs._nbytes == sum(pool.nbytes for pool in pools.values())
    assert len(pools) == 8 < 50 and run._programs._nbytes > 1 << 20
    run = gc.compile(g)
    for n in range(1000, 1050):
        run(x=np.zeros(n))
    assert 8 < len(run._programs._pools) < 50 and run._programs._nbytes <= 1 << 20


# --- figures before a call ---------------------------------------------------------------------------


def test_source_and_report_before_the_first_call():
    g = gc.Graph("g")
    x = g.placeholder("x", ("n",))
    g.output("y", np.sum(np.exp(x)))
    run = gc.compile(g)
    assert run.report and run.source.startswith("# no call has given sizes yet: the program for n = 64\n")
    assert "def run(v1" in run.source and count_plans(run)() == 0
    run(x=np.ones(5))
    assert "no call" not in run.source and "(5,)" in run.source


@pytest.mark.parametrize(
    ("build", "n"), [(lambda x: x[100], 1024), (lambda x: x.reshape(-1, 60).sum(), 60), (lambda x: x.sum(), 64)]
)
def test_typical_sizes_are_some_that_the_graph_has_values_for(build, n):
    g = gc.Graph("g")
    x = g.placeholder("x", ("n",) if n != 60 else ("n", 60))
    g.output("y", build(x))
    assert gc.compile(g).source.startswith("# no call has given sizes")
    assert gc.compile(g).memory().outputs


def test_no_size_is_typical_where_none_has_a_value():
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", ("n",))[5000])
    run = gc.compile(g)
    with pytest.raises(FeedError, match="call it with feeds first"):
        run.source  # noqa: B018
    assert run(x=np.arange(6000))["y"] == 5000 and "def run" in run.source


BUILDS = {
    "elementwise": lambda x: np.sum(np.exp(x) * x),
    "products": lambda x: np.sum(x[:, None] * x[None, :]),
    "views": lambda x: np.sum(x.reshape(-1, 1).T[:, 1:] * 2.0),
    "copies": lambda x: np.sum((x[:, None] * np.ones(3)).T.reshape(-1) + 1.0),
    "windows": lambda x: np.sum(np.lib.stride_tricks.sliding_window_view(x, 5) ** 2),
    "matrix": lambda x: np.sum(np.broadcast_to(x, (x.shape[0], x.shape[0])).T.reshape(-1) * 2.0),
    "concatenated": lambda x: np.sum(np.concatenate([x, x[1:]]) ** 2),
}


@pytest.mark.parametrize("name", BUILDS)
def test_memory_of_sizes_that_no_machine_has(name):
    g = gc.Graph("g")
    g.output("y", BUILDS[name](g.placeholder("x", ("n",))))
    run = gc.compile(gc.differentiate(g, "x"))
    small = run.memory(n=1000)
    for n in (10**12, 2**62, np.int64(10**15), 2**63 - 1):
        memory = run.memory(n=n)
        assert memory.outputs == int(n) * 8 + 8 and type(memory.peak) is int
        assert memory.arena >= small.arena
    symbolic = run.memory()
    (size,) = symbolic.outputs.free_symbols
    assert int(symbolic.outputs.subs(size, 10**30)) == 8 * 10**30 + 8


@pytest.mark.parametrize("name", BUILDS)
def test_what_can_be_a_view_is_found_at_every_size_alike(name, monkeypatch):
    """Found on smaller arrays as it is on arrays in full."""
    g = gc.Graph("g")
    g.output("y", BUILDS[name](g.placeholder("x", ("n",))))
    g = gc.differentiate(g, "x")
    feeds = {"x": np.linspace(0, 1, 500)}
    run = gc.compile(g)
    full = run(feeds)

    layout = plan._Layout

    def small(types, attrs):
        if any(500 in t.shape for t in types.values()):
            raise MemoryError
        return layout(types, attrs)

    monkeypatch.setattr(plan, "_SMALLER_SIZES", (300, 64))
    monkeypatch.setattr(plan, "_Layout", small)
    again = gc.compile(g)
    for key, value in again(feeds).items():
        assert value.tobytes() == full[key].tobytes()
    assert again.source == run.source


# --- copies ------------------------------------------------------------------------------------------


def test_copies_and_pickles_of_executables_and_graphs():
    g = model()
    run = gc.compile(g, ["prediction"])
    assert copy.copy(run) is run and copy.deepcopy({"run": run})["run"] is run
    for what in (run, g, g.outputs["loss"]):
        with pytest.raises(GradcError, match="cannot be pickled"):
            pickle.dumps(what)
    for other in (copy.copy(g), copy.deepcopy(g), copy.deepcopy([g])[0], g.copy()):
        assert other.outputs == g.outputs and other.placeholders == g.placeholders and other is not g
        other.output("more", g.placeholders["x"] * 2)
        other.placeholder("late")
        assert "more" not in g.outputs and "late" not in g.placeholders
    dg = gc.differentiate(g, "w", of="loss")
    assert copy.copy(dg).grad["w"] is dg.grad["w"]


# --- updates that change a dtype ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda g, w: w - g.placeholder("lr") * w, r"placeholder 'lr' float64\[\].*is float64"),
        (lambda g, w: w - np.float64(0.1) * w, r"a constant float64\[\].*is float64.*np.float32\(\.\.\.\)"),
        (lambda g, w: w - np.array([0.1, 0.2]) * w, r"a constant float64\[2\]"),
        (lambda g, w: w - np.exp(g.placeholder("s", (), "int64")) * w, r"exp float64\[\]"),
        (lambda g, w: w - w.astype("float64") * w, r"astype float64\[2\]|cast float64\[2\]"),
    ],
)
def test_an_update_of_another_dtype_says_what_made_it_so(make, said):
    g = gc.Graph("g")
    w = g.placeholder("w", 2, "float32")
    g.output("next", make(g, w))
    with pytest.raises(errors.ArgumentError, match=said) as caught:
        gc.compile(g, updates={"w": "next"})
    assert "w' (float32[2]) by 'next' (float64[2])" in str(caught.value)
