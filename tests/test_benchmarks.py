"""The benchmarks' sides agree before anybody times them, and a wrong one is found out."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import calls, report, steady
from benchmarks.peers import gradc_side, hand_side
from benchmarks.workloads import DATA, STEADY, Workload, data_of

SMALL = {
    "mnist": {"batch": 8, "hidden": 6},
    "mlp": {"batch": 8, "width": 6, "layers": 3},
    "layernorm": {"batch": 8, "width": 6, "layers": 2},
    "logistic": {"batch": 8, "features": 5},
    "elementwise": {"n": 20, "dtype": "float64"},
    "rosenbrock": {"n": 5},
    "chain": {"ops": 30},
}


def numbers(side, workload):
    for _ in range(3):
        side.call()
    return {name: np.array(value) for name, value in side.read().items()}


def both(family):
    workload = Workload(family, family, family, SMALL[family])
    return workload, *(numbers(t[family](workload, data_of(workload)), workload) for t in (GRADC, hand_side.HAND))


GRADC = gradc_side.BUILDERS["gradc"]


@pytest.mark.parametrize("family", DATA)
def test_gradc_and_hand_written_gradients_agree(family):
    workload, ours, theirs = both(family)
    assert steady.disagreement(workload, ours, theirs) == ""


@pytest.mark.parametrize("family", DATA)
def test_a_wrong_gradient_is_not_timed(family):
    workload, ours, theirs = both(family)
    for name, value in ours.items():
        wrong = {**ours, name: value + 0.01 * np.abs(value).max()}
        assert "wrong numbers" in steady.disagreement(workload, wrong, theirs)
    assert "gives no" in steady.disagreement(workload, {}, theirs)
    assert "wrong numbers" in steady.disagreement(workload, {k: v * np.nan for k, v in ours.items()}, theirs)


def test_blocks_give_the_numbers_of_the_whole_array():
    workload = Workload("e", "elementwise", "e", {"n": 2 * hand_side.BLOCK + 3, "dtype": "float64"})
    blocked = numbers(hand_side.elementwise_blocked(workload, data_of(workload)), workload)
    assert steady.disagreement(workload, blocked, numbers(hand_side.elementwise(workload, data_of(workload)), workload)) == ""


def test_a_report_judges_medians_within_rounds():
    workload = STEADY[0]
    timings = steady.Timings(
        workload, {"gradc": [1.0, 4.0, 2.1], "hand": [1.0, 4.0, 2.0], "jax": [2.0, 8.0, 4.2]}, {"torch": "absent"}
    )
    hand, peers = report.verdicts_of(timings)
    assert (hand.ratio, hand.met) == (1.0, True)
    assert (peers.ratio, peers.met, peers.against) == (0.5, True, "jax (the fastest peer)")
    assert not report.Verdict("r", "", "", "", 1.0, 1.0, strict=True).met
    text = report.markdown(report.Report({"CPU": "a|b"}, {}, "now", "bench", [hand, peers], [timings]))
    assert "2 of 2 targets met" in text and "torch: absent" in text


def test_the_emitted_mnist_step_is_the_one_in_the_docs():
    kept = Path(calls.__file__).parent.parent / "docs" / "mnist_step.md"
    assert kept.read_text(encoding="utf-8") == calls.page(), "the compiler emits another program: renew it with `make golden`"


def test_the_mnist_step_is_nearly_as_lean_as_a_persons():
    assert len(calls.emitted(calls.executable().source)) <= len(calls.hand_written().splitlines()) + 4
