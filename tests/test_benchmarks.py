"""The benchmarks' sides agree before anybody times them, and a wrong one is found out."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import calls, kernels, machine, report, steady
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


def standings(**peers):
    timings = steady.Timings(
        STEADY[0], {"gradc": [2.0, 4.0], **{name.replace("_", "."): rounds for name, rounds in peers.items()}}
    )
    return report.standing_of(timings)


def test_each_row_is_held_against_its_fastest_peer_and_what_is_behind_is_said_to_be():
    (behind,) = standings(hand=[0.1, 0.1], jax=[2.0, 4.0], torch_compile=[1.0, 2.0])
    (ahead,) = standings(hand=[0.1, 0.1], jax=[3.0, 6.0])
    (level,) = standings(numba=[2.002, 4.004])
    assert (behind.peer, behind.words) == ("torch.compile", "BEHIND by 2")
    assert (ahead.peer, ahead.words, level.words) == ("jax", "ahead by 1.5", "level")
    assert standings(hand=[0.1, 0.1]) == []
    text = report.summary([ahead, behind, level])
    assert text.startswith(
        "gradc is ahead of the fastest peer in 1 of 3 rows, level with it in 1, and behind in 1: behind torch.compile"
    )
    assert report.summary([ahead]).endswith("in 1 of 1 rows, and behind in none.")
    page = report.markdown(report.Report({}, {}, "now", "bench", standings=[ahead, behind, level]))
    assert text in page and page.index("BEHIND by 2") < page.index("## Targets")


@pytest.mark.parametrize("workload", STEADY, ids=lambda w: w.name)
def test_each_row_has_the_fastest_peer_for_a_target(workload):
    assert [t.limit for t in workload.targets if t.against == "peers"] == [1.0]


def test_what_pins_kernels_is_taken_out_of_the_environment():
    pins = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "BLIS_ARCH_TYPE", "NPY_DISABLE_CPU_FEATURES", "SOME_CORETYPE"}
    pins |= {"OPENBLAS_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NUMBA_CPU_NAME"}
    others = {"PATH": "/bin", "HOME": "/", "CORETYPES": "1", "NUMBA_CACHE_DIR": "/tmp"}
    environment = {**dict.fromkeys(pins, "x"), **others}
    assert machine.unpin(environment) == sorted(pins)
    assert environment == others


def test_a_process_says_what_it_computes_with():
    found = kernels.found()
    assert found.blas and found.others.startswith("NumPy's loops: ")
    pool = {"filepath": "/site/numpy.libs/libopenblas.so", "internal_api": "openblas", "version": "0.3", "num_threads": 2}
    assert kernels.named({**pool, "architecture": "Haswell"}) == "numpy's openblas 0.3, Haswell kernels, 2 threads"
    assert kernels.named({**pool, "num_threads": 1}) == "numpy's openblas 0.3, kernels that it does not tell, 1 thread"


def test_a_run_keeps_to_no_more_cores_than_there_are():
    for cores in (0, -1, 10_000):
        with pytest.raises(ValueError, match=f"{cores} cores were asked for"):
            machine.keep_to(cores)


def test_the_emitted_mnist_step_is_the_one_in_the_docs():
    kept = Path(calls.__file__).parent.parent / "docs" / "mnist_step.md"
    assert kept.read_text(encoding="utf-8") == calls.page(), "the compiler emits another program: renew it with `make golden`"


def test_the_mnist_step_is_nearly_as_lean_as_a_persons():
    assert len(calls.emitted(calls.executable().source)) <= len(calls.hand_written().splitlines()) + 4
