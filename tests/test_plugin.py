"""The pytest plugin: its fixture, its options, and that it costs nothing where it is not used."""

import subprocess
import sys

import pytest

import gradc  # noqa: F401  (so that NumPy is not loaded, and unloaded, inside a test)

pytest_plugins = ["pytester"]

GRAPH = """
import numpy as np, gradc as gc

def graph(build):
    g = gc.Graph("g")
    g.output("y", build(g.placeholder("x", (3,))))
    return g

FEEDS = {"x": np.array([0.5, -1.0, 2.0])}
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    """Those that happen to be installed cost a second a run."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester, body, *options):
    pytester.makepyfile(GRAPH + body)
    return pytester.runpytest_inprocess("-p", "pytest_gradc", "-p", "no:cacheprovider", *options)


def test_a_right_and_a_wrong_gradient(pytester):
    result = run(
        pytester,
        """
def test_right(gradcheck):
    gradcheck(graph(lambda x: np.tanh(x) * x), FEEDS)

def test_kink(gradcheck):
    gradcheck(graph(np.abs), {"x": np.zeros(3)})

def test_wrong(gradcheck):
    gradcheck(graph(lambda x: np.abs(x) * np.sin(np.abs(x))), {"x": np.zeros(3)})
""",
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*GradientError: order 2, d * differences give *", "*at a kink or a jump*"])


def test_an_op(pytester):
    result = run(
        pytester,
        """
from gradc.ops.samples import reals

def test_op(gradcheck):
    assert gradcheck(gc.tanh).checks["gradients"] == 6
    assert gradcheck("exp", reals(-1, 1), order=1).name == "exp"
""",
    )
    result.assert_outcomes(passed=1)


RECORDED = """
from gradc import testing

def test_options(gradcheck, monkeypatch):
    seen = []
    monkeypatch.setattr(testing, "check_gradients", lambda graph, feeds, **options: seen.append(options))
    gradcheck(graph(np.sin), FEEDS)
    gradcheck(graph(np.sin), FEEDS, order=1)
    assert seen == [{0}, {{**{0}, "order": 1}}]
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {}),
        (("--gradcheck-order=3",), {"order": 3}),
        (("--gradcheck-rtol=1e-4", "--gradcheck-atol", "0"), {"rtol": 1e-4, "atol": 0.0}),
    ],
)
def test_options_are_defaults_of_the_call(pytester, options, expected):
    run(pytester, RECORDED.format(expected), *options).assert_outcomes(passed=1)


@pytest.mark.parametrize("option", ["--gradcheck-order=0", "--gradcheck-order=x", "--gradcheck-rtol=-1", "--gradcheck-atol=inf"])
def test_bad_options_are_refused(pytester, option):
    result = run(pytester, "", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert option.partition("=")[0] in str(result.stderr)


def test_the_fixture_and_the_options_are_documented(pytester):
    pytester.runpytest_inprocess("-p", "pytest_gradc", "--fixtures").stdout.fnmatch_lines(["gradcheck -- *pytest_gradc.py*"])
    pytester.runpytest_inprocess("-p", "pytest_gradc", "--help").stdout.fnmatch_lines(["*gradient checks (gradc):*"])


def test_importing_the_plugin_imports_neither_gradc_nor_numpy():
    program = "import sys, pytest_gradc; print(sorted({'gradc', 'numpy', 'sympy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
