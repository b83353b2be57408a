"""Passes are held to what they promise: what a wrong one is told, and what right ones may do."""

import numpy as np
import pytest

import gradc as gc
from benchmarks.mutants import measure
from gradc import errors
from gradc.ir import Graph, apply
from gradc.passes import Numerics, Pass, optimise, validating
from gradc.passes.rewrite import rewrite


def replacing(op, better, numerics=Numerics.REASSOCIATES):
    """A pass that puts `better(node)` in the place of every node of `op`."""

    def run(graph):
        return rewrite(graph, [lambda node: better(node) if node.op is op else node])

    return Pass("mine", numerics, run)


def smooth_graph():
    g = gc.Graph("smooth")
    x = g.placeholder("x", ("n", 3))
    g.output("y", np.tanh(np.sin(x) * 2.0).sum())
    return gc.differentiate(g, x)


def test_a_wrong_pass_is_named_with_the_first_node_that_it_changed():
    wrong = replacing(gc.sin, lambda node: apply(gc.cos, node.inputs))
    with pytest.raises(errors.PassError, match=r"pass 'mine' \(reassociates\) changed output 'y'") as caught:
        smooth_graph().compile(passes=(wrong,), validate=True)
    assert "the first node that it changed: sin float64[n, 3] (test_validate.py" in str(caught.value).replace(
        f"{__file__}", "test_validate.py"
    )
    assert "x = [" in str(caught.value)


def test_nothing_is_validated_that_nobody_asked_for():
    graph, wrong = smooth_graph(), replacing(gc.sin, lambda node: apply(gc.cos, node.inputs))
    with validating(points=1, nodes=0):
        assert optimise(graph, (wrong,)) is not graph
    with validating(points=1), pytest.raises(errors.PassError):
        optimise(graph, (wrong,))


@pytest.mark.parametrize("numerics", Numerics)
def test_only_what_is_not_exact_may_round_otherwise(numerics):
    """(a + b) + c, and a + (b + c)."""
    g = gc.Graph("g")
    a, b, c = (g.placeholder(name, 50) for name in "abc")
    g.output("y", (a + b) + c)
    other = Pass("turn", numerics, lambda graph: graph.with_outputs({"y": a + (b + c)}))
    if numerics is Numerics.EXACT:
        with pytest.raises(errors.PassError, match="exact"):
            optimise(g, (other,), validate=True)
    else:
        assert optimise(g, (other,), validate=True).outputs["y"].inputs[0] is a


def test_a_better_number_is_no_fault_and_a_worse_one_is():
    def graph_of(fn):
        g = gc.Graph("g")
        g.output("y", fn(g.placeholder("x", 8)))
        return g

    naive, stable = lambda x: np.log(1 + np.exp(x)), lambda x: np.logaddexp(x, 0)
    for before, after, wrong in ((naive, stable, False), (stable, naive, True)):
        graph = graph_of(before)
        (x,) = graph.placeholders.values()
        step = Pass("mine", Numerics.STABLE, lambda g, x=x, after=after: Graph.of("g", g.placeholders, {"y": after(x)}))
        if wrong:
            with pytest.raises(errors.PassError, match="inf after"):
                optimise(graph, (step,), validate=True)
        else:
            optimise(graph, (step,), validate=True)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda g: g.with_outputs({"other": g.outputs["y"]}), "changed the outputs"),
        (lambda g: g.with_outputs({"y": g.outputs["y"].astype("float32")}), "changed the type of output 'y'"),
        (lambda g: g.with_outputs({"y": g.outputs["y"] + gc.constant(np.nan)}), "nan after"),
    ],
)
def test_what_a_plain_function_does_to_outputs_is_seen(step, words):
    g = gc.Graph("g")
    g.output("y", np.exp(g.placeholder("x", 3)).sum())
    with pytest.raises(errors.PassError, match=words):
        optimise(g, (step,), validate=True)


def test_points_that_have_no_value_are_left_out():
    """Matrices that are no longer definite, indices beyond the end: the other points tell."""
    g = gc.Graph("g")
    a, k = g.placeholder("a", (3, 3)), g.placeholder("k", 2, "int64")
    g.output("y", np.linalg.cholesky(a)[k].sum())
    g.compile(validate=True)
    with pytest.raises(errors.PassError):
        g.compile(passes=(lambda graph: graph.with_outputs({"y": graph.outputs["y"] * 2.0}),), validate=True)


def test_faults_that_any_of_thirty_points_tells_are_found():
    told, missed = measure(250)
    assert told.total() == 250 and not missed
