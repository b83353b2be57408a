"""`prove_rules`: every elementwise rule is sympy's derivative, wrong ones are found, and it says what it assumes."""

import sys

import numpy as np
import pytest
from test_testing import declared

import gradc as gc
from gradc import errors, testing
from gradc.ir import OPS, _inferred
from gradc.ops.declare import elementwise, op
from gradc.testing import proofs


@pytest.fixture(scope="module")
def everything():
    return testing.prove_rules()


def test_every_elementwise_rule_is_proved(everything):
    with_rules = {op.name for op in OPS.values() if op.elementwise and any(proofs._rules(op))}
    assert set(everything.ops) == with_rules
    assert not everything.unproved
    assert not everything.sampled


def test_every_operand_that_carries_a_gradient_is_proved_in_both_modes(everything):
    for name in everything.ops:
        carrying = {k for k, rule in enumerate(proofs._by_operand(OPS[name], OPS[name].vjp)) if rule is not None}
        for mode in ("vjp", "jvp"):
            assert {p.operand for p in everything.proofs if p.op == name and mode in p.modes} == carrying, name


def test_what_is_assumed_is_listed(everything):
    listed = {(p.op, p.operand): p.assumptions for p in everything.assuming}
    assert listed["abs", 0] == ("a != 0",)
    assert listed["maximum", 1] == ("b != a",)
    assert listed["relu6", 0] == ("a != 0", "a != 6")
    assert listed["log1p", 0] == ("a > -1",)
    assert listed["arcsin", 0] == ("a < 1", "a > -1")
    assert listed["floor", 0] == ("a is no integer",)
    assert listed["bell", 0] == ("(a > -100) & (a < 100)",)
    assert not {"add", "multiply", "sin", "tanh", "sigmoid", "softplus", "logaddexp", "tanh_slope"} & {name for name, _ in listed}


def test_the_result_prints(everything):
    text = str(everything)
    assert text.startswith(f"{len(everything.ops)} of {len(everything.ops)} elementwise ops proved, in ")
    assert "  leaky_relu[slope=0.25] by a where a != 0\n" in text
    assert "\n0 by sampling only:" in text and text.endswith("\n0 ops unproved:")


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 0.5, 1.7, -0.3])
def test_powers_by_a_constant_have_rules_of_their_own(exponent):
    import sympy

    a = sympy.Symbol("a", positive=True)
    graph = gc.Graph("power")
    x = graph.placeholder("a")
    graph.output("y", x**exponent)
    slope = gc.differentiate(graph, x, on_disconnected="zeros").grad["a"]
    if exponent == 0:
        assert gc.evaluate(gc.Graph.of("g", {"a": x}, {"slope": slope}), a=2.0)[slope] == 0
        return
    exact = proofs._exact(exponent) if isinstance(exponent, float) else sympy.Integer(exponent)
    read = proofs.read_symbolic(slope, {x: a})
    assert sympy.simplify(read - sympy.diff(a**exact, a)) == 0


# --- wrong rules ---------------------------------------------------------------------------------------

WRONG = {
    "a factor": (lambda x, out: 2 * out, "exp(a)", "the rule gives"),
    "one side of a kink": (lambda x, out: out * np.where(x > 3, 1.001, 1.0), "exp(a)", "the rule gives"),
    "a sign": (lambda x, out: -out, "exp(a)", "the rule gives"),
    "a form that is another function": (lambda x, out: out, "exp(2 * a)", "its form exp(2 * a) is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_found(name):
    partial, form, said = WRONG[name]
    make = lambda: elementwise("grow", np.exp, partials=(partial,), symbolic=form, public=False)
    with declared(make), pytest.raises(testing.ProofError) as caught:
        testing.prove_rules(["grow"])
    assert str(caught.value).startswith("grow: ")
    assert said in str(caught.value)


def off(rule):
    """A rule that is wrong where its operands are large, by one in a million."""
    return lambda g, out, *xs, **attrs: gc.where(gc.greater(xs[0], 3.7), 1 + 1e-6, 1) * rule(g, out, *xs, **attrs)


@pytest.mark.parametrize("name", ["multiply", "exp", "log1p", "hypot", "clip", "leaky_relu", "elu", "softplus", "gate", "lgamma"])
def test_an_error_of_one_in_a_million_in_one_case_is_found(name):
    operator = OPS[name]
    for k, modes, rule in proofs._rules(operator):
        for attrs in proofs._instances()[operator][:1]:
            with pytest.raises(testing.ProofError, match=f"{name}: the vjp and jvp of operand"):
                proofs._prove(operator, attrs, k, modes, off(rule))


def test_two_modes_with_different_rules_are_proved_apart():
    wrong = {"vjp": (lambda g, out, x: g * out,), "jvp": (lambda t, out, x: t * out * 2,)}
    make = lambda: op("grow", infer=lambda x: x, evaluate=np.exp, elementwise=True, symbolic="exp(a)", **wrong)
    with declared(make), pytest.raises(testing.ProofError, match="the jvp of operand a"):
        testing.prove_rules(["grow"])


def test_a_rule_without_a_form_is_listed_as_unproved():
    with declared(lambda: elementwise("grow", np.exp, partials=(lambda x, out: out,), public=False)):
        result = testing.prove_rules(["grow"])
    assert result.unproved == (("grow", "it has no symbolic form; declare symbolic="),)
    assert result.proofs == ()


def test_where_sympy_finds_no_simplification_points_decide_and_it_says_so():
    def partial(x, out):
        """1, by two forms of the Gudermannian function."""
        return 1 + 2 * np.arctan(np.tanh(x / 2)) - np.arctan(np.sinh(x))

    with declared(lambda: elementwise("same", np.positive, partials=(partial,), symbolic="a", public=False)):
        result = testing.prove_rules(["same"])
    assert result.sampled == result.proofs != ()
    assert "1 by sampling only:\n  same by a" in str(result)


def test_ops_of_an_extra_that_is_missing_are_unproved(monkeypatch):
    _inferred.clear()
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    result = testing.prove_rules(["erf", "polygamma", "exp"])
    _inferred.clear()
    assert result.ops == ("exp",)
    assert [name for name, why in result.unproved if "scipy" in why or "no sample" in why] == ["erf", "polygamma"]


def test_asking_for_what_is_not_elementwise():
    with pytest.raises(errors.ArgumentError, match="'matmul' is not elementwise"):
        testing.prove_rules(["matmul"])
    with pytest.raises(errors.ArgumentError, match="'tnah' is no op"):
        testing.prove_rules(["tnah"])
    assert testing.prove_rules([gc.tanh]).ops == ("tanh",)
