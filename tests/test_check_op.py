"""`check_op`: what it runs, what it finds wrong with an op, and what it refuses."""

import numpy as np
import pytest
from test_testing import declared

import gradc as gc
from gradc import errors, testing
from gradc.ir import FUNCTIONS, NUMPY, OPS, Call, Kernel
from gradc.ops.declare import elementwise, function, op
from gradc.ops.samples import cases, normal, points, reals, sample
from gradc.testing import ops

TRIPLE = {"infer": lambda x: x, "evaluate": lambda x: 3 * x, "samples": cases(lambda: sample(normal(2, 3)))}
RULES = {"vjp": (lambda g, out, x: 3 * g,), "jvp": (lambda t, out, x: 3 * t,)}


def failure(make, **options):
    with declared(make) as made, pytest.raises(testing.OpError) as caught:
        testing.check_op(made, **options)
    return str(caught.value)


def test_a_right_op_passes_and_the_report_says_how():
    report = testing.check_op(gc.tanh)
    assert report.name == "tanh" and report.checks["gradients"] == 6 and report.checks["edge"] == 5
    assert report.oracles == {"differences": 6, "sympy": 6}
    assert f"{report.gradient_samples} gradient samples" in str(report)


@pytest.mark.parametrize(("name", "oracle"), [("matmul", "complex steps"), ("logsumexp", "differences"), ("erf", "sympy")])
def test_the_best_oracle_is_used(name, oracle):
    assert oracle in testing.check_op(name).oracles


def test_an_op_with_one_mode_and_one_order_can_be_checked():
    with declared(lambda: op("triple", **TRIPLE, vjp=RULES["vjp"])) as made:
        assert testing.check_op(made, order=1).checks["transposes"] == 1


def test_samples_can_be_given():
    with declared(lambda: op("triple", **{k: v for k, v in TRIPLE.items() if k != "samples"}, **RULES)) as made:
        assert testing.check_op(made, reals(-1, 1)).checks["gradients"] == 6
        with pytest.raises(errors.ArgumentError, match="'triple' has no samples"):
            testing.check_op(made)


# --- what is wrong is found ----------------------------------------------------------------------------

WRONG = {
    "gradients": {"vjp": (lambda g, out, x: 2 * g,), "jvp": RULES["jvp"]},
    "gradients forward": {"vjp": RULES["vjp"], "jvp": (lambda t, out, x: 3.00001 * t,)},
    "dtypes": {**RULES, "vjp": (lambda g, out, x: g * (3 if x.dtype == "float64" else 4),)},
    "value": {**RULES, "numpy": (np.i0,)},
    "value kernel": {**RULES, "kernel": lambda i, o, a: Kernel((Call(np.multiply, "multiply", "{0}, 4, {out}"),))},
    "value type": {**RULES, "infer": lambda x: gc.TensorType(x.shape, np.dtype("float32"))},
    "edge": {**RULES, "edges": points((1.0, 3.0, 2.0))},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_found(name):
    said = failure(lambda: op("triple", **{**TRIPLE, **WRONG[name]}))
    assert said.startswith(f"triple, {name.split()[0]} at ")
    assert "float64[2, 3]" in said or name == "edge"


def test_layouts_are_what_they_say():
    made = dict(ops.layouts({"x": normal(2, 3), "s": np.array(1.0)}))
    assert made["Fortran order"]["x"].flags.f_contiguous and not made["Fortran order"]["x"].flags.c_contiguous
    assert made["negative strides"]["x"].strides == (-24, -8)
    assert made["stride 0"]["x"].strides == (0, 8)
    assert all(layout["s"].shape == () and layout["x"].shape == (2, 3) for layout in made.values())
    assert not dict(ops.layouts({"s": np.array(1.0), "none": np.zeros(0)}))


def test_a_small_error_hides_from_differences_but_not_from_sympy():
    rule = lambda x, out: out * (1 + 2e-9)
    said = failure(lambda: elementwise("grow", np.exp, partials=(rule,), symbolic="exp(a)", samples=reals(-1, 1)))
    assert said.startswith("grow, ")


def test_functions_of_several_results_and_of_lists():
    def both(x):
        """A function and its derivative."""
        return np.sin(x), np.cos(x)

    def joined(arrays):
        """The arrays one after the other."""
        return gc.concatenate(arrays)

    with declared(lambda: function("both", samples=reals(-1, 1))(both)):
        assert testing.check_op("both").checks["gradients"] == 6
    packed = cases(lambda: sample(normal(2), normal(3), packed=True))
    with declared(lambda: function("joined", samples=packed)(joined)):
        assert testing.check_op("joined").oracles == {"differences": 1, "complex steps": 1}


@pytest.mark.parametrize("what", ["tnah", 3, np.tanh, len])
def test_what_is_no_op_is_refused(what):
    with pytest.raises(errors.ArgumentError, match="is no op, no registered function, and not the name of one"):
        testing.check_op(what)


def test_a_registered_function_can_be_given_itself():
    assert testing.check_op(gc.softmax).name == "softmax"


def test_there_are_enough_gradient_samples():
    counted = [testing.gradient_samples(f) for f in FUNCTIONS.values() if f.differentiable and f.samples is not None]
    assert sum(counted) >= 20 * len(counted)


# --- declarations are refused before anything is registered --------------------------------------------

REFUSED = {
    "an op named 'tanh' is registered": lambda: elementwise("tanh", np.tanh, partials=(lambda x, out: out,)),
    "a function named 'softmax' is registered": lambda: op("softmax", **TRIPLE, **RULES),
    "a function named 'silu' is registered": lambda: function("silu")(lambda x: x),
    "NumPy's tanh builds nodes of another function": lambda: function("mine", numpy=(np.tanh,))(lambda x: x),
    "samples= is a function that makes a list of samples, got list": lambda: op("mine", **{**TRIPLE, "samples": []}, **RULES),
    "is a Python identifier, got 'my op'": lambda: op("my op", **TRIPLE, **RULES),
    "an op has no vjps": lambda: op("mine", **TRIPLE, vjps=RULES["vjp"]),
    "give partials= or rules=, not both": lambda: elementwise("mine", np.tanh, partials=(1,), rules=RULES["vjp"]),
    "2 rules for the 1 operands": lambda: elementwise("mine", np.tanh, partials=(1, 1)),
    "operand 0 takes 1 arguments, of 2; partials= take (*operands, out)": lambda: elementwise(
        "mine", np.tanh, partials=(lambda x: x,)
    ),
    "operand 0 takes 2 arguments, of 3; rules= take (g, out, *operands)": lambda: elementwise(
        "mine", np.tanh, rules=(lambda g, x: x,)
    ),
    "give a ufunc, or both evaluate= and infer=": lambda: elementwise("mine", partials=(lambda x, out: x,)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_declared_is_refused(message):
    before = dict(OPS), dict(FUNCTIONS), dict(NUMPY)
    with pytest.raises(errors.GradcError) as caught:
        REFUSED[message]()
    assert message in str(caught.value)
    assert before == (OPS, FUNCTIONS, NUMPY)


def test_an_op_of_a_ufunc_that_is_taken_leaves_it_alone():
    with declared(lambda: elementwise("twice", np.tanh, partials=(lambda x, out: 1 - out * out,), samples=reals(-1, 1))):
        assert NUMPY[np.tanh] is gc.tanh
        assert testing.check_op("twice").checks["gradients"] == 6


def test_a_form_that_sympy_cannot_read():
    make = lambda: elementwise("mine", np.tanh, partials=(lambda x, out: out,), symbolic="tanh(a", public=False)
    with declared(make), pytest.raises(testing.ProofError) as caught:
        testing.prove_rules(["mine"])
    assert "the symbolic form 'tanh(a' is no expression of sympy" in str(caught.value)
