"""Graphs to look at: listings, and DOT pictures as the real `dot` reads them."""

import itertools
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import gradc as gc
from gradc.ir import Op, Role
from gradc.types import TensorType


def dot(program, *options):
    """What `dot` makes of a program; it must have nothing to complain about."""
    if not shutil.which("dot") and not os.environ.get("CI"):
        pytest.skip("graphviz is not installed: no dot to check pictures with")
    made = subprocess.run(["dot", *options], input=program, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert made.returncode == 0 and not made.stderr, made.stderr
    return made.stdout


def texts(program):
    """Every text that the picture shows."""
    return [element.text for element in ElementTree.fromstring(dot(program, "-Tsvg")).iter("{http://www.w3.org/2000/svg}text")]


def laid_out(program):
    """Node -> (x, y), and the list of drawn edges, as in DOT: (first, second)."""
    places, edges = {}, []
    for line in dot(program, "-Tplain").splitlines():
        words = line.split()
        if words[0] == "node":
            places[words[1]] = float(words[2]), float(words[3])
        elif words[0] == "edge":
            edges.append((words[1], words[2]))
    return places, edges


def textbook():
    g = gc.Graph("textbook")
    x1, x2 = g.placeholder("x1"), g.placeholder("x2")
    g.output("y", np.log(x1) + x1 * x2 - np.sin(x2))
    return g


HOSTILE = {
    "quotes": 'say "hello"',
    "closing quote": '"];evil [label="',
    "apostrophe": "it's",
    "backslash": "a\\b",
    "backslash at the end": "end\\",
    "escapes of dot": r"\N \G \l \n \L",
    "html": "</TABLE><B>bold</B>",
    "a whole html label": "<<TABLE><TR><TD>x</TD></TR></TABLE>>",
    "entities": "&lt;&amp;&#65;&nbsp;",
    "ampersand": "R&D &",
    "keyword": "node",
    "keywords": "digraph strict subgraph edge graph",
    "unicode": "ζδ 梯度 🙂 ∂y/∂x",
    "right to left": "שלום",
    "combining": "e\u0301",
    "comment": "// /* no comment # */",
    "braces and ports": "{a|b} <p> a:b:c -> d;",
    "percent": "%s %d {0} $x",
    "spaces": " ",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_shown_as_it_is(name):
    text = HOSTILE[name]
    g = gc.Graph(text)
    g.output(text, g.placeholder("x") * 2)
    program = gc.differentiate(g, "x").to_dot()
    shown = [t.replace("\xa0", " ").strip() for t in texts(program) if t]
    assert text.strip() in shown or not text.strip()
    assert len(laid_out(program)[0]) == len(gc.differentiate(g, "x").nodes) + 2


@pytest.mark.parametrize("name", ["node", "graph", "strict", "subgraph", "é", "变量", "x" * 100_000])
def test_any_placeholder(name):
    g = gc.Graph("g")
    g.output("y", np.sin(g.placeholder(name)))
    shown = texts(g.to_dot())
    assert any(text.startswith(f"v1: {name[:50]}") for text in shown) and max(map(len, shown)) < 80


def test_a_name_of_any_length():
    g = gc.Graph("g" * 100_000)
    g.output("y" * 100_000, g.placeholder("x") * 2)
    assert max(map(len, texts(g.to_dot()))) < 80


@pytest.mark.parametrize("name", ["", "two\nlines", "\x00", "tab\t", "\ud800"])
def test_what_cannot_be_printed_is_no_name(name):
    g = gc.Graph("g")
    with pytest.raises(gc.GradcError, match="printable"):
        g.output(name, g.placeholder("x"))
    with pytest.raises(gc.GradcError, match="printable"):
        gc.Graph(name)


class Spiteful:
    """An attribute that prints as what could break a listing or a picture."""

    def __repr__(self):
        return 'two\nlines "]; \\'


def test_attributes_and_files_print_on_one_line():
    loud = Op("loud", lambda x, *, tone: x, lambda x, *, tone: x)
    scope = {"gc": gc, "loud": loud, "tone": Spiteful()}
    code = "g = gc.Graph('g'); g.output('y', loud(g.placeholder('x'), tone=tone))"
    exec(compile(code, '/tmp/a\nb"\\\ud800.py', "exec"), scope)
    graph = scope["g"]
    assert len(str(graph).splitlines()) == 1 + 2 + 1
    assert any("lines" in text for text in texts(graph.to_dot()))


def test_forward_and_adjoint_nodes_are_told_apart():
    """Forward values go up and adjoints come down, each on the rank of its primal, in a colour of its role."""
    g = textbook()
    dg = gc.differentiate(g, wrt=["x1", "x2"])
    places, edges = laid_out(dg.to_dot())
    for node in g.nodes:
        assert places[f"v{dg.number(node)}"][1] == pytest.approx(places[f"v{dg.number(dg.adjoint(node))}"][1], abs=1e-3)
        for operand in node.inputs:
            assert places[f"v{dg.number(operand)}"][1] < places[f"v{dg.number(node)}"][1]
            assert places[f"v{dg.number(dg.adjoint(operand))}"][1] < places[f"v{dg.number(dg.adjoint(node))}"][1]
    assert len(edges) == sum(len(n.inputs) for n in dg.nodes) + len(dg.outputs)
    fills = {}
    for node in dg.nodes:
        line = next(line for line in dg.to_dot().splitlines() if line.startswith(f"  v{dg.number(node)} [label"))
        fills.setdefault(node.origin.role, set()).add(re.search(r'fillcolor="(.*?)"', line)[1])
    assert {Role.FORWARD, Role.ADJOINT, Role.PARTIAL} == fills.keys()
    assert all(len(colours) == 1 for colours in fills.values()) and len(set.union(*fills.values())) == 3


def test_tangents_stand_beside_their_primals():
    g = textbook()
    fg = gc.differentiate(g, wrt="x1", mode="forward")
    places, _ = laid_out(fg.to_dot())
    for node in g.nodes:
        if node in fg.derivative.tangents:
            assert places[f"v{fg.number(node)}"][1] == pytest.approx(places[f"v{fg.number(fg.tangent(node))}"][1], abs=1e-3)


def test_operands_are_numbered_where_that_matters():
    g = gc.Graph("g")
    x, y = g.placeholder("x"), g.placeholder("y")
    g.output("z", (x - y) * (x + y) / (x * x))
    program = g.to_dot()
    numbered = re.findall(r'(v\d+) -> (v\d+) \[label="(\d)"\]', program)
    assert numbered == [("v1", "v3", "0"), ("v2", "v3", "1"), ("v5", "v7", "0"), ("v6", "v7", "1")]
    assert program.count("v1 -> v6;") == 2  # both edges of x * x, which may be swapped


@pytest.mark.parametrize("modes", list(itertools.product(["reverse", "forward"], repeat=2)), ids="-".join)
def test_higher_orders_and_optimised_graphs_are_pictures_too(modes):
    g = textbook()
    of = "y"
    for mode in modes:
        g = gc.differentiate(g, "x1", of=of, mode=mode)
        of = list(g.outputs)[-1]
    for graph in (g, g.compile().graph):
        places, edges = laid_out(graph.to_dot())
        assert len(places) == len(graph.nodes) + len(graph.outputs)
        assert len(edges) == sum(len(n.inputs) for n in graph.nodes) + len(graph.outputs)


def test_an_empty_graph_is_a_picture():
    assert "digraph" in dot(gc.Graph("empty").to_dot(), "-Tcanon") and str(gc.Graph("empty")) == "graph 'empty'"


def test_the_listing_of_the_textbook_example():
    """Each share of an adjoint is named by its edge, and a step on the way to it as a step. (docs/tutorial.md has it whole.)"""
    words = [" ".join(line.split()[:-1]) for line in str(gc.differentiate(textbook(), wrt=["x1", "x2"])).splitlines()]
    assert "v7 = subtract(v5, v6) float64[] forward" in words
    assert "v8 = constant 1. float64[] adjoint of v7" in words
    assert "v11 = cos(v2) float64[] for the partial adjoint of v2 through v6[0]" in words
    assert "v12 = multiply(v10, v11) float64[] partial adjoint of v2 through v6[0]" in words
    assert "v18 = add_n(v12, v16) float64[] adjoint of v2" in words


def test_each_line_ends_in_the_users_line():
    lines = str(gc.differentiate(textbook(), wrt=["x1", "x2"])).splitlines()
    assert all(re.search(r"  test_show\.py:\d+$", line) for line in lines[1:20])


def test_evaluation_traces_print_what_was_computed():
    g = gc.Graph("g")
    x = g.placeholder("x", (2, 3))
    g.output("y", x.sum(axis=0) * 2)
    assert str(gc.evaluate(g, x=np.ones((2, 3)))).splitlines() == [
        "v1    = x                            = [[1., 1., 1.], [1., 1., 1.]]",
        "v2    = sum(v1, axes=(0,), keepdims=False) = [2., 2., 2.]",
        "v3    = constant                     = 2.",
        "v4    = multiply(v2, v3)             = [4., 4., 4.]",
    ]


def test_types_print_short():
    assert str(TensorType((2, 3), np.dtype("float32"))) == "float32[2, 3]"
