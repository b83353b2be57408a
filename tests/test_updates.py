"""What a call writes: updates and `out=` arrays of every layout, alias and kind; failures before which nothing is written."""

import enum
import sys
from collections import Counter

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from random_programs import FRAGILE, LAYOUTS, Choices, Program, broken, interleaved, memory_of
from test_executor import equal
from test_fuzz_updates import expected, limits

import gradc as gc
from gradc import errors, passes, plan
from gradc.backends import bound, targets
from gradc.backends import numpy as emitter
from gradc.ir import apply

LEVELS = [passes.NONE, passes.EXACT, passes.DEFAULT]
KINDS = ["short", "long", "tiled"]


@pytest.fixture(params=KINDS)
def kind(request):
    with limits(request.param):
        yield request.param


def check(graph, wanted, updates, feeds, level):
    """One call against evaluate: outputs and updated arrays, bit for bit."""
    trace = gc.evaluate(graph, {name: np.array(a) for name, a in feeds.items()})
    values = {name: np.array(trace[node]) for name, node in graph.outputs.items()}
    out = gc.compile(graph, wanted, updates=updates, passes=level)(feeds)
    assert all(equal(out[name], values[name]) for name in wanted)
    for name, source in updates.items():
        np.testing.assert_array_equal(feeds[name], values[source])


# --- one value for several arrays --------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("order", [("t", "w"), ("w", "t")])
@pytest.mark.parametrize("names", [("n", "n"), ("n", "m")])
@pytest.mark.parametrize("read", ["gap", "before", "late", "nothing"])
def test_one_node_for_two_arrays(kind, level, order, names, read):
    """Under one name or two; whatever else reads the old values, the second array is no place to compute in."""
    g = gc.Graph("sync")
    t, w = g.placeholder("t", (4, 4)), g.placeholder("w", (4, 4))
    following = w - 0.1 * np.tanh(w)
    g.output("n", following)
    g.output("m", following)
    g.output("gap", (t - w) * (t - w))
    g.output("before", w.T)
    g.output("late", np.sort(w) + 1.0)
    feeds = {"t": np.zeros((4, 4)), "w": np.arange(16.0).reshape(4, 4)}
    check(g, [] if read == "nothing" else [read], dict(zip(order, names, strict=True)), feeds, level)


@pytest.mark.parametrize("level", LEVELS)
def test_arrays_that_are_swapped_turned_and_kept(kind, level):
    """What is written is another fed array, a view of one, of the same one, or the same one."""
    g = gc.Graph("swap")
    a, b, c = (g.placeholder(name, (4, 4)) for name in "abc")
    for name, node in {"b": b, "at": a.T, "bf": b[::-1], "c": c, "sum": a + b + c}.items():
        g.output(name, node)
    for updates in ({"a": "b", "b": "at"}, {"a": "at", "b": "bf", "c": "c"}, {"a": "b", "b": "b", "c": "at"}):
        feeds = {name: np.arange(16.0).reshape(4, 4) * k for k, name in enumerate("abc", 1)}
        check(g, ["sum"], updates, feeds, level)


@pytest.mark.parametrize("level", [passes.NONE, passes.EXACT])
def test_a_loop_that_reads_a_view_of_what_it_updates(level):
    """A row that all blocks read, entries as a column, all of it as another shape: the old values, to the last round."""
    views = [lambda w: w[3], lambda w: w[-1:], lambda w: w.reshape(-1)[:8].reshape(8, 1), lambda w: w[:1, :1], lambda w: w[5, 2]]
    for view in views:
        g = gc.Graph("loop")
        w, x = g.placeholder("w", (8, 8)), g.placeholder("x", (8, 8))
        t = np.tanh(x * view(w))
        g.output("y", np.sum(t * t + 1.0, axis=0))
        g.output("next", w * 3.0 - t)
        rng = np.random.default_rng(0)
        with limits("tiled"):
            check(g, ["y"], {"w": "next"}, {"w": rng.normal(size=(8, 8)), "x": rng.normal(size=(8, 8))}, level)


def test_a_loop_reads_a_view_of_what_it_computes_in_place_of():
    g = gc.Graph("loop")
    x = g.placeholder("x", (8, 8))
    h = np.sort(x) * 2.0
    t = np.tanh(h[3] * x)
    last = h + t * t
    g.output("y", np.sort(last))
    with limits("tiled"):
        check(g, ["y"], {}, {"x": np.random.default_rng(0).normal(size=(8, 8))}, passes.NONE)


# --- layouts -----------------------------------------------------------------------------------------

WRITERS = {
    "where": lambda w, c: np.where(c > 0, w * 3, c),
    "where 0": lambda w, c: np.where(c > 0, w * 2, 0.0),
    "select": lambda w, c: np.where(np.isnan(c), 0.0, w + c),
    "relu": lambda w, c: gc.relu(w * c),
    "abs": lambda w, c: np.abs(w) * 1.5,
    "clip": lambda w, c: np.clip(w * 2, -1, 3),
    "sgd": lambda w, c: w - 0.1 * c,
    "sum": lambda w, c: w + np.sum(c, axis=0),
    "product": lambda w, c: w @ c,
    "reshaped": lambda w, c: w.T.reshape(-1).reshape(4, 4),
    "sorted": lambda w, c: np.sort(w * c),
    "gathered": lambda w, c: (w * 1.0)[[3, 0, 0, 1]],
    "set": lambda w, c: gc.at_set(w, 1, c[0]),
    "joined": lambda w, c: np.concatenate([w[2:], c[:2]]),
    "cumulated": lambda w, c: np.cumsum(w, axis=0),
    "inverse": lambda w, c: gc.inv(w),
}


@pytest.mark.parametrize("written", WRITERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_updated_arrays_of_every_layout_by_every_kind_of_kernel(written, layout, dtype):
    g = gc.Graph("g")
    w, c = g.placeholder("w", (4, 4), dtype), g.placeholder("c", (4, 4), dtype)
    g.output("new", WRITERS[written](w, c))
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=(4, 4)).astype(dtype) for name in "wc"}
    for level in LEVELS[1:]:
        feeds = {name: LAYOUTS[layout](a) for name, a in values.items()}
        check(g, [], {"w": "new"}, feeds, level)
        np.testing.assert_array_equal(feeds["c"], values["c"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_reshaped_copy_is_written_where_it_belongs(layout):
    """Its copy goes through another shape of the target, which only an array in C order has as a view."""
    g = gc.Graph("g")
    w, c = g.placeholder("w", (2, 8)), g.placeholder("c", (2, 8))
    g.output("new", c.T.reshape(2, 8))
    g.output("old", np.sum(w))
    feeds = {"w": LAYOUTS[layout](np.zeros((2, 8))), "c": np.arange(16.0).reshape(2, 8)}
    check(g, ["old"], {"w": "new"}, feeds, passes.EXACT)


def test_arrays_that_interleave_without_overlapping(kind):
    g = gc.Graph("g")
    nodes = [g.placeholder(f"w{k}", (4, 3)) for k in range(5)]
    for k, node in enumerate(nodes):
        g.output(f"n{k}", node * 2.0 + nodes[k - 1])
    values = {f"w{k}": np.full((4, 3), float(k)) for k in range(5)}
    check(g, [], {f"w{k}": f"n{k}" for k in range(5)}, interleaved(values), passes.EXACT)


# --- overlaps ----------------------------------------------------------------------------------------


def step_of(count=1, size=3):
    g = gc.Graph("g")
    for k in range(count):
        w = g.placeholder(f"w{k}", size)
        g.output(f"n{k}", w * 2.0 + np.arange(float(np.prod(size))).reshape(size))
    return gc.compile(g, [], updates={f"w{k}": f"n{k}" for k in range(count)})


@pytest.mark.parametrize(
    ("shape", "strides", "repeats"),
    [
        ((3,), (0,), True),
        ((3,), (4,), True),
        ((3,), (-4,), True),
        ((3,), (7,), True),
        ((3,), (8,), False),
        ((3,), (-8,), False),
        ((3,), (24,), False),
        ((2, 3), (8, 8), True),
        ((2, 3), (-8, 16), False),
        ((2, 3), (24, 16), False),  # neither axis steps over the other
        ((2, 3), (16, 16), True),
        ((3, 2), (16, 24), False),
        ((2, 3), (40, 8), False),
        ((2, 2, 2), (8, 16, 24), True),
        ((2, 2, 2), (8, 16, 32), False),
        ((1, 3), (0, 8), False),
        ((0, 3), (0, 0), False),
    ],
)
def test_arrays_whose_entries_share_memory_are_no_targets(shape, strides, repeats):
    whole = np.arange(64.0)
    array = as_strided(whole[24:], shape, strides)
    assert targets.repeats_entries(array) == repeats
    before, step = whole.copy(), step_of(1, shape)
    if not repeats:
        wanted = array * 2 + np.arange(float(array.size)).reshape(shape)
        step(w0=array)
        np.testing.assert_array_equal(array, wanted)
        return
    with pytest.raises(errors.FeedError, match="its entries share memory"):
        step(w0=array)
    assert equal(whole, before)


def test_one_that_would_take_long_to_find_out_about_counts_as_overlapping():
    array = as_strided(np.zeros(3), (2, 1 << 22), (0, 8))
    assert targets.repeats_entries(array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "_MOST_WORK", 1)
        whole = np.zeros(4000)
        first = as_strided(whole, (5, 7, 11), (8 * 131, 8 * 37, 8 * 17))
        second = as_strided(whole[3:], (5, 7, 11), (8 * 127, 8 * 41, 8 * 19))
        found = targets.find_overlap({"first": first}, {"second": second})
    assert found == targets.Overlap("first", "second", False)


def test_overlaps_of_targets_feeds_and_what_only_lends_its_memory():
    g = gc.Graph("g")
    w, x = g.placeholder("w", 3), g.placeholder("x", 3)
    g.output("n", w * 2.0 + x)
    step = gc.compile(g, [], updates={"w": "n"})
    whole = np.arange(12.0)
    overlapping = [whole[1:4], whole[2::-1], whole[:5:2], as_strided(whole, (3,), (0,)), memoryview(whole[1:4])]
    for other in overlapping:
        with pytest.raises(errors.FeedError, match="shares memory with feed 'x'"):
            step(w=whole[:3], x=other)
        assert equal(whole, np.arange(12.0))
    step(w=whole[:6:2], x=whole[1:6:2])
    assert list(whole[:6]) == [1, 1, 7, 3, 13, 5]


def test_constants_are_no_targets():
    """They are read-only, wherever they are found."""
    g = gc.Graph("g")
    c = g.output("c", gc.constant(np.arange(3.0)) + np.zeros(3))
    w = g.placeholder("w", 3)
    g.output("n", w * 2.0 + c)
    step = gc.compile(g, ["c"], updates={"w": "n"})
    trace = gc.evaluate(step.graph, {"w": np.zeros(3)})
    for node, value in trace.items():
        if node.op.name == "constant" and node.type == w.type:
            with pytest.raises(errors.FeedError, match="not writable"):
                step(w=value)
    for value in (step(w=np.ones(3))["c"], step(w=np.ones(3), out={})["c"]):
        step(w=value)
    np.testing.assert_array_equal(step(w=np.ones(3))["c"], np.arange(3.0))


# --- out= --------------------------------------------------------------------------------------------


def test_out_of_a_wrong_kind_is_one_clear_error():
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    g.output("y", x * 2.0)
    g.output("z", x + 1.0)
    g.output("next", x + 5.0)
    run = gc.compile(g, ["y", "z"], updates={"x": "next"})
    value, y = np.ones(3), np.empty(3)
    locked = np.empty(3)
    locked.flags.writeable = False
    whole = np.empty(4)
    wrong = {
        "a mapping from names": [y, [y], (y, y), "y", 3, {"y"}, {"y": y}.items()],
        "is no output": [{"Y": y}, {"next": y}, {"x": y}, {0: y}, {("y",): y}, {None: y}],
        "expected an array": [{"y": None}, {"y": [0.0] * 3}, {"y": np.empty(4)}, {"y": np.empty(3, "f4")}, {"y": 1.0}],
        r"expected an array float64\[3\], got float32\[2\]": [{"y": np.empty(2, "f4")}],
        "expected an array float64": [{"y": np.empty((3, 1))}, {"y": np.empty(3, ">f8")}, {"y": np.empty(3, int)}],
        "did you mean 'y'": [{"Y": y}],
        "is not writable": [{"y": locked}, {"y": np.broadcast_to(1.0, 3)}],
        "is not C-contiguous": [{"y": np.empty(6)[::2]}, {"y": y[::-1]}],
        "shares memory with feed 'x'": [{"y": value}, {"z": y, "y": value[:]}],
        "shares memory with out": [{"y": y, "z": y}, {"y": whole[1:], "z": whole[:3]}],
    }
    for text, outs in wrong.items():
        for out in outs:
            with pytest.raises(errors.FeedError, match=text):
                run({"x": value}, out=out)
            assert (value == 1).all()
    result = run({"x": value}, out={"z": y})
    assert result["z"] is y and list(y) == [2, 2, 2] and list(result["y"]) == [2, 2, 2] and list(value) == [6, 6, 6]
    assert list(result) == ["y", "z"]


def test_out_arrays_are_written_when_all_is_computed(kind):
    g = gc.Graph("g")
    x, i = g.placeholder("x", 4), g.placeholder("i", 4, "int64")
    g.output("early", x * 2.0)
    g.output("p", np.power(2, i))
    g.output("late", apply(FRAGILE[1], (x,), (("number", 0),)) + g.outputs["early"])
    for level in LEVELS:
        run = gc.compile(g, passes=level)
        out = {"early": np.zeros(4), "late": np.zeros(4), "p": np.zeros(4, int)}
        with pytest.raises(errors.EvaluationError, match="negative integer powers"):
            run({"x": np.ones(4), "i": np.array([1, 2, -1, 0])}, out=out)
        broken[0] = ValueError("broken")
        with pytest.raises(errors.EvaluationError, match="broken"):
            run({"x": np.ones(4), "i": np.ones(4, int)}, out=out)
        broken.clear()
        assert not any(a.any() for a in out.values())
        run({"x": np.ones(4), "i": np.ones(4, int)}, out=out)
        assert [list(a) for a in out.values()] == [[2] * 4, [4] * 4, [2] * 4]


# --- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_powers_of_integers_raise_before_anything_is_written(kind, level):
    for dtype in ("int8", "int32", "int64"):
        g = gc.Graph("g")
        w, v, i = g.placeholder("w", 2), g.placeholder("v", 2), g.placeholder("i", 2, dtype)
        g.output("wn", w - 0.1)
        g.output("vn", v * 2.0)
        g.output("i2", np.power(i, i))
        g.output("p", np.power(np.asarray(2, dtype), i))
        step = gc.compile(g, ["p"], updates={"w": "wn", "v": "vn", "i": "i2"}, passes=level)
        feeds = {"w": np.ones(2), "v": np.ones(2), "i": np.array([2, -1], dtype)}
        for _ in range(2):
            with pytest.raises(errors.EvaluationError, match=r"power .*test_updates.py:\d+.*negative integer powers") as caught:
                step(feeds)
            assert isinstance(caught.value.__cause__, ValueError)
            assert [list(a) for a in feeds.values()] == [[1, 1], [1, 1], [2, -1]]
        with pytest.raises(errors.EvaluationError, match="negative integer powers"):
            gc.evaluate(g, feeds)
        feeds["i"][1] = 3
        assert list(step(feeds)["p"]) == [4, 8] and list(feeds["i"]) == [4, 27]


def test_what_may_raise_is_known_by_op_dtype_and_function():
    x = {dtype: gc.Graph().placeholder("x", 2, dtype) for dtype in ("float64", "int64", "uint8")}

    def raises(node):
        types = {n: n.type for n in (node, *node.inputs)}
        return plan.may_raise(node, plan._kernel(node, types, dict(node.attrs)))

    assert [raises(np.power(a, a)) for a in x.values()] == [False, True, False]
    assert raises(np.power(x["uint8"], np.asarray(2, "int8")))
    assert not raises(x["int64"] // x["int64"]) and not raises(x["float64"] @ x["float64"])
    assert raises(gc.inv(x["float64"].reshape(1, 2) * np.ones((2, 1))))
    assert all(raises(apply(op, (x["float64"],), (("number", 0),))) for op in FRAGILE)


class Bomb(Exception):
    """What an injected failure raises."""


class Counting:
    """Counts calls of functions; the one numbered `at` raises instead."""

    def __init__(self):
        self.calls, self.at, self.error = 0, None, Bomb

    def wrap(self, function):
        def wrapped(*args, **kwargs):
            self.calls += 1
            if self.calls - 1 == self.at:
                raise self.error
            return function(*args, **kwargs)

        return wrapped

    def arm(self, at, error):
        self.calls, self.at, self.error = 0, at, error


def injected(step, feeds, patch):
    """The executable with every call of its program counted."""
    counting = Counting()
    long_run = bound._long_run
    patch.setattr(bound, "_long_run", lambda plan, calls, memory: long_run(plan, [counting.wrap(c) for c in calls], memory))
    step({name: a.copy() for name, a in feeds.items()})
    pool = step._newest
    pool.free.clear()
    if isinstance(pool.program, emitter.Program):
        plain = ("empty", "ndarray", "apart")
        for name, value in pool.program._scope.items():
            if callable(value) and not isinstance(value, np.dtype) and name not in plain:
                pool.program._scope[name] = counting.wrap(value)
    return counting


def working_program(seed):
    """A program with a value where nothing is injected, and its value."""
    while True:
        numbers = np.random.default_rng(seed).integers(0, 1 << 12, 200).tolist()
        program = Program(Choices(numbers), own=20, fragile=30)
        step = gc.compile(program.graph, program.outputs, updates=program.updates)
        wanted = expected(step.graph, program.values)
        if not isinstance(wanted, Exception):
            return program, step, wanted
        seed += 1000


@pytest.mark.parametrize("seed", range(12))
def test_a_failure_injected_at_every_call(kind, seed):
    """Where a step may raise, nothing was written; wherever it raises, the next call is right, and the error names the node."""
    program, step, wanted = working_program(seed)
    feeds = {name: a.copy() for name, a in program.values.items()}
    with pytest.MonkeyPatch.context() as patch:
        counting = injected(step, feeds, patch)
        fallible = {n for n, kernel, _ in step._newest.program.plan.steps if plan.may_raise(n, kernel)}
        counting.arm(None, Bomb)
        step({name: a.copy() for name, a in feeds.items()})
        for at, error in [(k, e) for k in range(counting.calls) for e in (Bomb, KeyboardInterrupt, MemoryError)]:
            mine, seen = {name: a.copy() for name, a in feeds.items()}, []
            counting.arm(at, error)
            with pytest.MonkeyPatch.context() as spy:
                spy.setattr(gc.runtime, "located", lambda node, error, seen=seen: seen.append(node) or locate(node, error))
                with pytest.raises((errors.EvaluationError, KeyboardInterrupt, MemoryError)) as caught:
                    step(mine)
            if error is Bomb and seen:
                assert seen[0].op.name in str(caught.value) and "random_programs.py" in str(caught.value)
            if error is MemoryError and seen:
                assert seen[0].op.name in caught.value.__notes__[0]
            if isinstance(step._newest.program, bound.LongProgram) or (seen and seen[0] in fallible):
                assert memory_of(mine.values()) == memory_of(feeds.values())
            counting.arm(None, Bomb)
            mine = {name: a.copy() for name, a in feeds.items()}
            out = step(mine)
            assert all(equal(out[name], wanted[name]) for name in out)
            assert all(equal(mine[name], wanted[source]) for name, source in program.updates.items())


locate = gc.runtime.located


def test_large_outputs_have_their_memory_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(emitter, "_LARGE_OUTPUT", 100)
    g = gc.Graph("g")
    w, x = g.placeholder("w", 50), g.placeholder("x", 50)
    g.output("next", w * 0.5)
    g.output("y", np.tanh(x))
    g.output("z", x)
    step = gc.compile(g, ["y", "z"], updates={"w": "next"})
    feeds = {"w": np.ones(50), "x": np.ones(50)}
    step(feeds)
    assert step._newest.program.plan.direct

    def full(*args):
        raise MemoryError("no room")

    step._newest.free.clear()
    step._newest.program._scope["empty"] = full
    feeds["w"][:] = 1
    with pytest.raises(MemoryError):
        step(feeds)
    assert (feeds["w"] == 1).all()


# --- names -------------------------------------------------------------------------------------------


class Hostile(str):
    """A string that says something else of itself wherever it is asked."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __repr__(self):
        return "1/0"

    __str__ = __format__ = lambda self, *_: "1/0\nraise SystemExit"
    isidentifier = isprintable = lambda self: True


class Unhashed(Hostile):
    """And is found nowhere."""

    __slots__ = ()

    def __hash__(self):
        return 7

    def __eq__(self, other):
        return False


class Key(enum.StrEnum):
    """Names as people keep them."""

    LOSS = "loss"
    STEP = "step"
    X = "x"


@pytest.mark.parametrize("make", [str, np.str_, Hostile, Unhashed, Key])
@pytest.mark.parametrize("level", LEVELS)
def test_names_that_are_strings_by_inheritance(kind, make, level):
    g = gc.Graph(make("loss"))
    x = g.placeholder(make("x"), 2)
    g.output(make("loss"), x * 2.0)
    g.output(make("step"), x + 1.0)
    assert all(type(name) is str for name in (g.name, x.name, *g.outputs, *g.placeholders))
    for outputs in (make("loss"), [make("loss")]):
        run = gc.compile(g, outputs, updates={make("x"): make("step")}, passes=level)
        value = np.ones(2)
        out = run({"x": value})
        assert list(out) == ["loss"] and list(value) == [2, 2] and "1/0" not in run.source
        compile(run.source, "source", "exec")


@pytest.mark.parametrize("text", ["a\nb", "", "a\u2028b", "\x1b[2J"])
def test_names_that_hide_something_are_refused(text):
    g = gc.Graph("g")
    x = g.placeholder("x")
    for name in (text, Hostile(text), np.str_(text)):
        with pytest.raises(errors.NamingError, match="printable text"):
            g.output(name, x)
        with pytest.raises(errors.NamingError, match="printable text"):
            gc.Graph(name)
        with pytest.raises(errors.NamingError):
            g.placeholder(name)
    for name in (Hostile("a b"), Hostile("for"), np.str_("1x")):
        with pytest.raises(errors.NamingError, match="Python identifier"):
            g.placeholder(name)


def test_what_compile_is_given_as_names():
    g = gc.Graph("g")
    g.output("y", g.placeholder("x") * 2.0)
    for outputs, text in ((3, "sequence of names"), ([3], "printable text"), ([g.outputs["y"]], "printable text")):
        with pytest.raises(gc.GradcError, match=text):
            gc.compile(g, outputs)
    for updates, text in ((["x"], "a mapping"), ({"x": g.outputs["y"]}, "printable text"), ({1: "y"}, "printable text")):
        with pytest.raises(gc.GradcError, match=text):
            gc.compile(g, updates=updates)


def test_attributes_that_hold_new_lines_stay_in_comments():
    class Lines:
        def __repr__(self):
            return "1\nraise SystemExit(1)\r\x0b\x85"

    g = gc.Graph("g")
    x = g.placeholder("x", 2)
    op = gc.ir.Op("lines", infer=lambda x, *, how: x, evaluate=lambda x, *, how: x + 1)
    g.output("y", apply(op, (x,), (("how", Lines()),)))
    run = gc.compile(g)
    assert list(run(x=np.zeros(2))["y"]) == [1, 1]
    exec(compile(run.source, "source", "exec"), {})


# --- many --------------------------------------------------------------------------------------------


def calls_of(count, action):
    """How many calls of Python functions, by name, an action of `count` makes."""
    seen = Counter()

    def profile(frame, event, arg):
        if event == "call":
            seen[frame.f_code.co_name] += 1

    prepared = action(count)
    sys.setprofile(profile)
    try:
        prepared()
    finally:
        sys.setprofile(None)
    return seen


def many_updates(count, raising=False, shapes=1):
    g = gc.Graph("g")
    for k in range(count):
        w = g.placeholder(f"w{k}", 2 + k % shapes)
        g.output(f"n{k}", apply(FRAGILE[0], (w,), (("number", k),)) if raising else w * 2.0)
    return g


def first_call(count, raising=False, shapes=1):
    g = many_updates(count, raising, shapes)
    feeds = {name: np.ones(node.shape) for name, node in g.placeholders.items()}
    step = gc.compile(g, [], updates={f"w{k}": f"n{k}" for k in range(count)})
    return lambda: step(feeds)


def later_call(count):
    run = first_call(count)
    run()
    return run


def call_of_views(count):
    g = many_updates(count)
    whole = np.ones((count, 4))
    step = gc.compile(g, [], updates={f"w{k}": f"n{k}" for k in range(count)})
    return lambda: step({f"w{k}": whole[k, ::2] for k in range(count)})


def compilation(count):
    g = many_updates(count)
    return lambda: gc.compile(g, [], updates={f"w{k}": f"n{k}" for k in range(count)})


def many_outputs(count):
    g = gc.Graph("g")
    x = g.placeholder("x", 8)
    for k in range(count):
        g.output(f"o{k}", x * float(k))
    run = gc.compile(g)
    return lambda: run({"x": np.ones(8)}, out={f"o{k}": np.empty(8) for k in range(count)})


@pytest.mark.parametrize(
    "action",
    [
        first_call,
        lambda n: first_call(n, raising=True),
        lambda n: first_call(n, shapes=7),
        later_call,
        call_of_views,
        compilation,
        many_outputs,
    ],
    ids=["first", "raising", "shapes", "later", "views", "compile", "outputs"],
)
def test_ten_times_the_updates_or_outputs_take_ten_times_the_calls(action, monkeypatch):
    monkeypatch.setattr(gc.runtime, "_LONG_NODES", 1 << 30)
    few, many = calls_of(150, action), calls_of(1500, action)
    assert many.total() <= 12 * few.total() + 100
    copies = ("placeholders", "outputs")  # each a dict as long as the graph has names
    assert all(many[name] <= few[name] + 20 for name in copies), {name: (few[name], many[name]) for name in copies}


def test_arrays_apart_are_compared_with_none(monkeypatch):
    """And those that interleave, with a bounded number."""
    compared = []
    share = targets._share
    monkeypatch.setattr(targets, "_share", lambda a, b: compared.append(0) or share(a, b))
    whole = np.zeros((3000, 6))
    rows = {k: whole[k, ::2] for k in range(3000)}
    assert targets.find_overlap(rows, {}) is None and not compared
    assert targets.find_overlap({k: np.zeros(3) for k in range(3000)}, rows) is None and len(compared) < 10
    compared.clear()
    columns = {k: whole[:, k] for k in range(6)}
    assert targets.find_overlap(columns, {}) is None and len(compared) == 15
    compared.clear()
    wide = np.zeros((2, 3000))
    found = targets.find_overlap({k: wide[:, k] for k in range(3000)}, {})
    assert not found.certain and len(compared) <= 64 * 3000 + 4096


def test_the_text_of_a_program_grows_with_its_updates(monkeypatch):
    monkeypatch.setattr(gc.runtime, "_LONG_NODES", 1 << 30)
    sizes = []
    for count in (300, 3000):
        step = gc.compile(many_updates(count), [], updates={f"w{k}": f"n{k}" for k in range(count)})
        step({f"w{k}": np.ones(2) for k in range(count)})
        sizes.append(len(step.source))
    assert sizes[1] <= 12 * sizes[0]


WIDENED = {
    "a number of NumPy's": (lambda x, w, d: w - np.float64(0.1) * d, r"a constant float64\[\] .*: write np.float32"),
    "an array": (lambda x, w, d: w - np.array([0.1, 0.2]) * d, r"a constant float64\[2\] .*: write np.float32"),
    "a placeholder": (lambda x, w, d: w - d * x[0], r"placeholder 'x' float64\[3, 2\] .*: declare that float32"),
    "a placeholder and a number": (lambda x, w, d: w - 0.1 * x[0], r"placeholder 'x' float64\[3, 2\] .*: declare that float32"),
    "a cast": (lambda x, w, d: w - d.astype("float64"), r"astype float64\[2\] .*: cast that by"),
}


@pytest.mark.parametrize("name", WIDENED)
def test_a_wider_update_names_what_made_it_wide(name):
    """Not what the gradient was computed from, before it was cast to the dtype of its variable."""
    build, text = WIDENED[name]
    g = gc.Graph("g")
    x, w = g.placeholder("x", (3, 2)), g.placeholder("w", 2, "float32")
    g.output("loss", ((x @ w) ** 2).mean())
    dg = gc.differentiate(g, w)
    dg.output("next", build(x, w, dg.grad[w]))
    with pytest.raises(errors.ArgumentError, match=rf"it is float64 since {text}") as raised:
        gc.compile(dg, ["loss"], updates={"w": "next"})
    assert "shape" not in raised.value.message


def test_an_update_of_another_shape_says_so():
    g = gc.Graph("g")
    x, w = g.placeholder("x", 2), g.placeholder("w", 2, "float32")
    g.output("wide", (x * w).sum())
    g.output("loss", (w * w).sum())
    for name, wide in (("wide", True), ("loss", False)):
        with pytest.raises(errors.ArgumentError, match=r"the shape \(\) is not \(2,\), that of 'w'") as raised:
            gc.compile(g, [], updates={"w": name})
        assert ("since placeholder 'x'" in raised.value.message) is wide
