"""Ops that others wrote: what `evaluate` may return and touch, what becomes of its errors, which promises are checked."""

import numpy as np
import pytest
from random_programs import OPERANDS
from test_executor import equal
from test_fuzz_updates import limits

import gradc as gc
from gradc import errors, foreign, interpret, passes, testing
from gradc.ir import FUNCTIONS, Call, Kernel, Op, apply
from gradc.ops.samples import reals
from gradc.types import TensorType

LEVELS = [passes.NONE, passes.EXACT, passes.DEFAULT]
VALUE = np.linspace(-1.0, 2.0, 6).reshape(2, 3)


def own(evaluate, name="own", infer=lambda x, **attrs: x, **fields):
    return Op(name, infer=infer, evaluate=evaluate, **fields)


def results(build, level=passes.NONE, **compiled):
    """Of a graph of `x`: the outputs by evaluate, and of two calls; the feed is as it was."""
    g = gc.Graph("g")
    for k, node in enumerate(build(g.placeholder("x", VALUE.shape))):
        g.output(f"y{k}", node)
    run, fed = gc.compile(g, passes=level, **compiled), VALUE.copy()
    trace = gc.evaluate(g, x=VALUE.copy())
    found = [[np.array(trace[node]) for node in g.outputs.values()]]
    found += [list(run(x=fed).values()) for _ in range(2)]
    assert equal(fed, VALUE)
    return found


@pytest.fixture(params=["short", "long", "tiled"])
def kind(request):
    with limits(request.param):
        yield request.param


@pytest.mark.parametrize("name", OPERANDS)
@pytest.mark.parametrize("level", LEVELS)
def test_what_returns_its_operand_in_any_disguise(kind, name, level):
    """Of an intermediate value, whose memory is used again; of a feed that is updated; and twice."""
    op = own(OPERANDS[name])
    doubled = 2 * VALUE
    wanted = [doubled * (np.exp(VALUE) + 1), doubled - VALUE, -VALUE]

    def build(x):
        b, c = apply(op, (x * 2.0,)), apply(op, (-x,))
        return b * (np.exp(x) + 1.0), b + c + 0.0 * b, c

    for found in results(build, level):
        for got, right in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-14)
    g = gc.Graph("g")
    v = g.placeholder("v", VALUE.shape)
    g.output("old", apply(op, (v,)))
    g.output("new", v * 3.0)
    step, fed = gc.compile(g, ["old"], updates={"v": "new"}, passes=level), VALUE.copy()
    assert equal(step(v=fed)["old"], VALUE)
    np.testing.assert_array_equal(fed, VALUE * 3.0)


def test_what_keeps_an_array_and_fills_it_again():
    held = np.empty_like(VALUE)

    def fill(x):
        np.copyto(held, x)
        return held

    op = own(fill)
    for kind in ("short", "long"):
        with limits(kind):
            for found in results(lambda x: (apply(op, (x,)), apply(op, (x * 2.0,)), apply(op, (x * 4.0,)))):
                for k, got in enumerate(found):
                    assert equal(got, VALUE * 2.0**k)


def test_a_value_without_operands_that_is_kept_elsewhere():
    held = np.arange(3.0)
    op = Op("held", infer=lambda: TensorType((3,), np.dtype("float64")), evaluate=lambda: held)
    spoil = own(OPERANDS["written to"])
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    g.output("y", apply(op, ()) + apply(spoil, (apply(op, ()),)) + apply(spoil, (np.zeros(3) + x,)))
    for kind in ("short", "long"):
        with limits(kind):
            run = gc.compile(g, passes=passes.NONE)
            for _ in range(3):
                assert list(run(x=np.zeros(3))["y"]) == [0, 2, 4]
            assert list(held) == [0, 1, 2]


def test_operands_that_are_written_to_stay_as_they_are():
    """They come read-only, and as copies to what insists; the feed, a constant, a value that others read."""
    tried = []

    def insist(x):
        tried.append(x.flags.writeable)
        x += 1
        return x

    op = own(insist)
    c = gc.constant(VALUE)
    for found in results(lambda x: (apply(op, (x,)) + x, apply(op, (c,)) * c, apply(op, (x * 2.0,)) + x * 2.0)):
        for got, right in zip(found, [2 * VALUE + 1, (VALUE + 1) * VALUE, 4 * VALUE + 1], strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-14)
    assert tried[:2] == [False, True] and all(tried[1:])


def test_results_that_nobody_else_holds_are_not_copied():
    made = []

    def fresh(x):
        result = x + 1
        made.append(result.ctypes.data)
        return result

    node = apply(own(fresh), (gc.Graph().placeholder("x", VALUE.shape),))
    result = foreign.result_of(node, node.type, [VALUE], {})
    assert result.ctypes.data == made[0] and result.flags.writeable
    viewing = apply(own(lambda x: x[...]), (gc.Graph().placeholder("x", VALUE.shape),))
    assert not np.shares_memory(foreign.result_of(viewing, viewing.type, [VALUE], {}), VALUE)


WRONG = {
    "another dtype": (lambda x: x.astype("float32"), "float32"),
    "another byte order": (lambda x: x.astype(">f8"), ">f8"),
    "another shape": (lambda x: x.reshape(3, 2), r"float64\[3, 2\]"),
    "one entry for all": (lambda x: x[:1, :1], r"float64\[1, 1\]"),
    "a number": (lambda x: 1.0, r"float64\[\]"),
    "an integer": (lambda x: 1, r"int64\[\]"),
    "nothing": (lambda x: None, "object"),
    "a pair": (lambda x: (x, x), r"float64\[2, 2, 3\]"),
    "a masked array": (lambda x: np.ma.masked_array(x, x > 0), "masked entries"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("fields", [{}, {"elementwise": True}, {"view": True}], ids=str)
def test_results_of_another_type_than_declared(kind, name, fields):
    evaluate, said = WRONG[name]
    op = own(evaluate, "typed", **fields)
    g = gc.Graph("g")
    x = g.placeholder("x", VALUE.shape)
    g.output("y", apply(op, (x * 1.0,)) + 0.0)
    g.output("next", x + 1.0)
    step, fed = gc.compile(g, ["y"], updates={"x": "next"}), VALUE.copy()
    for run in (lambda: step(x=fed), lambda: gc.evaluate(g, x=fed)):
        with pytest.raises(
            errors.DeclarationError, match=rf"typed float64\[2, 3\] \(.*test_ops_of_others.py:\d+\) evaluated to .*{said}"
        ):
            run()
    assert equal(fed, VALUE)


def test_the_type_is_that_of_each_node():
    """One op with equal attributes at two shapes."""
    op = own(lambda x: np.array(x))
    found = results(lambda x: (apply(op, (x,)), apply(op, (x[0],)), apply(op, (x[:, 0],))))
    for got in found:
        assert [value.shape for value in got] == [(2, 3), (3,), (2,)]


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("k"), RuntimeError(), AssertionError(), errors.ShapeError("odd")])
@pytest.mark.parametrize("kernel", [False, True])
def test_whatever_it_raises_names_the_node_and_is_the_cause(kind, error, kernel):
    def fail(*args):
        raise error

    made = Kernel((Call(fail, "fail", "{0}, {out}"),))
    op = own(fail, "failing", kernel=(lambda inputs, out, attrs: made) if kernel else None)
    g = gc.Graph("g")
    x = g.placeholder("x", VALUE.shape)
    g.output("y", np.sum(apply(op, (x * 2.0,))))
    g.output("next", x + 1.0)
    step, fed = gc.compile(g, ["y"], updates={"x": "next"}), VALUE.copy()
    for run in (lambda: step(x=fed), lambda: gc.evaluate(g, x=fed), lambda: step.profile(x=fed)):
        with pytest.raises(
            errors.EvaluationError, match=r"failing float64\[2, 3\] \(.*test_ops_of_others.py:\d+\) has no value"
        ) as caught:
            run()
        assert caught.value.__cause__ is error and "operand 0: multiply" in str(caught.value)
    assert equal(fed, VALUE)


def test_a_call_within_a_call_names_the_outer_node_first():
    inner = gc.Graph("g")
    inner.output("y", gc.inv(inner.placeholder("x", (2, 2))))
    run = gc.compile(inner)
    op = own(lambda x: run(x=x)["y"], "outer")
    g = gc.Graph("g")
    g.output("y", apply(op, (g.placeholder("x", (2, 2)),)))
    step = gc.compile(g)
    np.testing.assert_allclose(step(x=2 * np.eye(2))["y"], np.eye(2) / 2)
    with pytest.raises(errors.EvaluationError, match=r"outer .* has no value here: inv .* has no value here: Singular") as caught:
        step(x=np.ones((2, 2)))
    assert isinstance(caught.value.__cause__, errors.EvaluationError)


def test_declared_views_that_are_none_or_look_at_values():
    ops = [
        own(lambda x: x + x, view=True),
        own(lambda x: x[::-1] if x[0, 0] > 0 else x, view=True),
        own(lambda x: x.T.copy().T, view=True),
        own(lambda x: 1 / 0 if np.isnan(x).any() else x, view=True),
    ]
    wanted = [2 * VALUE, VALUE, VALUE, VALUE]
    for kind in ("short", "long"):
        with limits(kind):
            for found in results(lambda x: [apply(op, (y,)) for op in ops for y in (x, x * 1.0)]):
                for k, got in enumerate(found):
                    assert equal(got, wanted[k // 2])


# --- kernels -----------------------------------------------------------------------------------------


def _writes_operand(x, out):
    np.multiply(x, 2, x)
    np.copyto(out, x)


def _reads_late(x, out):
    np.copyto(out, 1.0)
    np.multiply(x, 2, out)


def _misses_one(x, out):
    np.multiply(x.reshape(-1)[1:], 2, out.reshape(-1)[1:])


@pytest.mark.parametrize(
    ("function", "inplace"),
    [
        (_writes_operand, ()),
        (_writes_operand, (0,)),
        (_reads_late, (0,)),
        (_misses_one, ()),
        (lambda x, out: np.multiply(x, 3, out), (0,)),
    ],
)
def test_check_op_finds_kernels_that_lie(function, inplace):
    """What a kernel does is not checked at every call; it is here."""
    kernel = Kernel((Call(function, "lie", "{0}, {out}"),), inplace)
    op = own(lambda x: x * 2, kernel=lambda inputs, out, attrs: kernel, elementwise=True)
    with pytest.raises(testing.OpError):
        testing.check_op(op, reals(-3, 3))


def test_check_op_passes_a_kernel_that_does_not():
    kernel = Kernel((Call(lambda x, out: np.multiply(x, 2, out), "honest", "{0}, {out}"),), (0,))
    op = own(lambda x: x * 2, kernel=lambda inputs, out, attrs: kernel, elementwise=True)
    assert testing.check_op(op, reals(-3, 3)).checks["value"]


# --- gradc's own -------------------------------------------------------------------------------------


def test_gradcs_own_ops_are_as_trusted():
    """Each returns an array of its own, and leaves its operands alone: at the first sample of every function."""
    shared = []
    evaluate_node = interpret.evaluate_node

    def watched(node, operands, dims):
        assert foreign.is_own(node.op)
        before = [x.copy() for x in operands]
        value = evaluate_node(node, operands, dims)
        if not node.op.view and any(np.may_share_memory(value, x) for x in operands if x.size):
            shared.append(node.op.name)
        assert all(equal(x, y) for x, y in zip(operands, before, strict=True)), node.op.name
        return value

    seen = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpret, "evaluate_node", watched)
        for function in FUNCTIONS.values():
            for case in testing.op_cases(function)[:1]:
                subject = case.kit.subject(case.checks[0][1])
                with np.errstate(all="ignore"):
                    seen += bool(subject.values)
    assert seen > 100 and not shared
