"""The second opinion's own machinery, without its peers: programs, their exact derivatives, verdicts, and the page."""

from types import SimpleNamespace

import numpy as np
import pytest

import gradc as gc
from benchmarks.compare import exact, gradc_side, graphs, judge, report, work
from benchmarks.compare.programs import Answer, Program, Step, edge_programs, run, sample_programs, show, weights
from benchmarks.compare.traps import TRAPS
from gradc.ir import FUNCTIONS

NAMES = frozenset({"sin", "exp", "multiply", "divide", "maximum", "sum", "mean", "logsumexp", "transpose", "hypot", "power"})


def numpy_call(name, operands, attrs):
    return FUNCTIONS[name].numpy[0](*operands, **attrs)


@pytest.mark.parametrize("seed", range(10))
def test_a_random_program_computes_what_numpy_does(seed):
    for program in graphs.random_programs(range(10 * seed, 10 * seed + 10), NAMES - {"logsumexp"}):
        theirs = run(program, numpy_call, program.inputs)
        for a, b in zip(gradc_side.pull(program).values, theirs, strict=True):
            assert a.shape == b.shape
            assert np.all(judge.equal(a, b)), program


def test_random_programs_compose_and_do_not_depend_on_the_run():
    programs = list(graphs.random_programs(range(40), NAMES))
    assert [str(p) for p in programs] == [str(p) for p in graphs.random_programs(range(40), NAMES)]
    assert np.mean([any(k >= len(p.inputs) for s in p.steps for k in s.operands) for p in programs]) > 0.7


@pytest.mark.parametrize("seed", range(6))
def test_gradients_of_random_programs_are_exact(seed):
    for program in graphs.random_programs(range(5 * seed, 5 * seed + 5), NAMES):
        truth = exact.truth(program)
        assert truth is not None
        for d in judge.differences(gradc_side.pull(program), truth):
            assert not d.entries[~np.isnan(d.theirs)].any(), (str(program), d)


def one(function, *inputs, **more):
    arrays = tuple(np.asarray(a, float) for a in inputs)
    return Program("p", arrays, (Step(function, tuple(range(len(arrays))), {}),), (len(arrays),), plain=True, **more)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (one("sin", 0.0), [1.0]),
        (one("sinc", 0.0, order=2), [-(np.pi**2) / 3]),
        (one("abs", 0.0), [np.nan]),
        (one("sqrt", 0.0), [np.nan]),
        (one("maximum", 1.0, 1.0), [np.nan, np.nan]),
        (one("hypot", 1e200, 1e200), [np.sqrt(0.5), np.sqrt(0.5)]),
        (one("multiply", 5e-324, 1e308), [1e308, 5e-324]),
        (one("logaddexp", 1e308, 1e308), [0.5, 0.5]),
        (one("median", [2.0, 2.0, 2.0]), [[np.nan] * 3]),
    ],
)
def test_the_truth_is_exact_and_knows_where_there_is_none(program, expected):
    truth = exact.truth(program)
    for a, b in zip(truth.gradients, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)


def test_no_truth_of_what_is_not_finite_or_not_known():
    assert exact.truth(one("sin", np.inf)) is None
    assert exact.truth(one("corrcoef", [1.0, 2.0])) is None


def answer(value, *gradients):
    return Answer([np.asarray(value, float)], [np.asarray(g, float) for g in gradients])


def test_numbers_agree_to_nine_digits_and_non_finite_ones_exactly():
    assert not list(judge.differences(answer(1.0, [np.nan, np.inf, 1.0]), answer(1.0 + 1e-10, [np.nan, np.inf, 1.0 - 1e-10])))
    assert len(list(judge.differences(answer(1.0, np.inf), answer(1.0, 1e300)))) == 1
    (found,) = judge.differences(answer(1.0, [np.nan, 1.0]), answer(1.0, [0.0, 1.0]))
    assert (found.part, found.entries.tolist()) == ("d/dx0", [True, False])


@pytest.mark.parametrize(
    ("theirs", "truth", "judgement"), [(2.0, 1.0, "gradc"), (2.0, 2.0, "peer"), (2.0, 3.0, "neither"), (2.0, np.nan, "unknown")]
)
def test_the_truth_decides(theirs, truth, judgement):
    (d,) = judge.differences(answer(0.0, 1.0), answer(0.0, theirs))
    v = judge.verdict(d, np.asarray(truth))
    assert work.Found("sample", "", "", "", "", "", "", v, "", "").judgement == judgement


def peer(name, pull):
    return SimpleNamespace(NAME=name, VERSION="1", NO_GRADIENT=(), find=lambda function: True, pull=pull)


def compared(monkeypatch, pull, *tasks):
    monkeypatch.setattr(work, "sides", lambda: {"Peer": peer("Peer", pull)})
    total = work.Result(work.Counter(), [], [])
    for task in tasks:
        result = work.do(task)
        total.counts.update(result.counts)
        total.found.extend(result.found)
        total.rows.extend(result.rows)
    return total


def test_gradc_against_itself_has_no_differences(monkeypatch):
    result = compared(monkeypatch, gradc_side.pull, ("sample", "hypot"), ("edge", "hypot"), ("graph", range(5)), ("trap", None))
    assert not result.found and report.exit_code(result) == 0
    assert result.counts["graph", "Peer", "compared"] == 5
    assert len(result.rows) == len(TRAPS)


def test_a_peer_that_is_wrong_is_reported_with_the_reason(monkeypatch):
    def pull(program):
        found = gradc_side.pull(program)
        return Answer(found.values, [np.full_like(g, np.nan) for g in found.gradients])

    result = compared(monkeypatch, pull, ("edge", "hypot"))
    page = report.page(result, work.sides())
    assert report.exit_code(result) == 0
    assert "| `hypot(0, 0)` | d/dx0 | Peer | 0 | NaN |" in page
    assert "least norm of the unit disc" in page


def test_a_wrong_gradient_of_gradc_and_a_difference_without_a_reason_fail(monkeypatch):
    right = gradc_side.pull
    monkeypatch.setattr(
        gradc_side, "pull", lambda program: Answer(right(program).values, [2 * g for g in right(program).gradients])
    )
    result = compared(monkeypatch, right, ("sample", "sin"))
    assert report.exit_code(result) == 1
    assert "gradc is wrong" in report.summary(result)
    monkeypatch.setattr(exact, "truth", lambda program: None)
    result = compared(monkeypatch, right, ("sample", "sin"))
    assert report.exit_code(result) == 1
    assert "no reason is written down" in report.summary(result)


def test_what_a_peer_cannot_do_is_counted(monkeypatch):
    def pull(program):
        raise NotImplementedError("no such thing")

    result = compared(monkeypatch, pull, ("edge", "sin"))
    assert result.counts["edge", "Peer", "cannot"] == len(FUNCTIONS["sin"].edges) > 0
    assert not result.found


def test_extreme_programs_score_every_side(monkeypatch):
    result = compared(monkeypatch, gradc_side.pull, ("attack", range(20)))
    entries = result.counts["score", "", "finite gradients"]
    assert entries > 0
    for name in ("gradc", "Peer"):
        assert sum(result.counts["score", name, what] for what in ("right", "NaN", "infinite", "another number")) == entries


def test_every_function_has_programs_for_its_samples_and_edges():
    for function in FUNCTIONS.values():
        if function.requires is None and function.samples is not None and function.edges:
            assert len(edge_programs(function)) == len(function.edges)
    assert len(sample_programs(FUNCTIONS["sum"])) == len(FUNCTIONS["sum"].samples())


def test_text_of_programs_and_numbers():
    program = Program("p", (np.ones(2),), (Step("exp", (0,), {}), Step("sum", (1,), {"axis": 0})), (2,))
    assert str(program) == "v1 = exp(x0); v2 = sum(v1, axis=0)"
    assert show([1.0, np.nan, -np.inf]) == "[1, NaN, -∞]"
    assert weights((2,), True).tolist() == [1.0, 1.0] != weights((2,), False).tolist()
    assert gc.evaluate(gradc_side.joint(program), {"x0": np.ones(2)}) is not None
