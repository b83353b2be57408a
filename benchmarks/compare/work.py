"""The work: programs through all sides, in worker processes; what comes back is counts and the differences."""

from __future__ import annotations

import importlib
import signal
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.compare import exact, gradc_side
from benchmarks.compare.graphs import attack_programs, random_programs
from benchmarks.compare.judge import Difference, Verdict, differences, equal, verdict
from benchmarks.compare.programs import Answer, Array, Program, edge_programs, sample_programs, show
from benchmarks.compare.reasons import reason
from benchmarks.compare.traps import TRAPS
from gradc.errors import GradcError
from gradc.ir import FUNCTIONS

PEERS = ("jax", "torch")


class Found(NamedTuple):
    """One part of one program in which a peer differs from gradc."""

    kind: str
    place: str
    peer: str
    part: str
    ours: str
    theirs: str
    truth: str
    verdict: Verdict
    why: str
    text: str

    @property
    def judgement(self) -> str:
        """Who is right: `gradc`, the `peer`, `neither`, or `unknown` where there is no derivative."""
        v = self.verdict
        if v.ours + v.unknown == v.entries:
            return "gradc" if v.ours else "unknown"
        return "peer" if v.theirs else "neither"


class Row(NamedTuple):
    """One trap: what everybody gives."""

    place: str
    answers: dict[str, str]
    why: str


class Result(NamedTuple):
    """What came of one task."""

    counts: Counter[tuple[str, str, str]]
    found: list[Found]
    rows: list[Row]


@cache
def sides() -> dict[str, ModuleType]:
    """The peers that are installed here, by name."""
    present: dict[str, ModuleType] = {}
    for name in PEERS:
        try:
            module = importlib.import_module(f"benchmarks.compare.{name}_side")
        except ImportError:
            continue
        present[module.NAME] = module
    return present


def common() -> frozenset[str]:
    """The functions that all peers here have and differentiate."""
    return frozenset(name for name in FUNCTIONS if all(_differentiates(side, name) for side in sides().values()))


def _differentiates(side: ModuleType, name: str) -> bool:
    return side.find(name) is not None and name not in side.NO_GRADIENT


def do(task: tuple[str, Any]) -> Result:
    """Do one task: `(kind, what)`."""
    kind, what = task
    warnings.simplefilter("ignore")
    result = Result(Counter(), [], [])
    with np.errstate(all="ignore"):
        for program in programs(kind, what):
            _compare(kind, program, result)
    return result


def programs(kind: str, what: Any) -> Iterable[Program]:
    """The programs of a task."""
    if kind == "sample":
        return _both_orders(sample_programs(FUNCTIONS[what]))
    if kind == "edge":
        return edge_programs(FUNCTIONS[what])
    if kind == "trap":
        return TRAPS
    return (random_programs if kind == "graph" else attack_programs)(what, common())


def _both_orders(firsts: list[Program]) -> Iterator[Program]:
    for program in firsts:
        yield program
        if program.variables and sum(program.inputs[k].size for k in program.variables) <= 6:
            yield replace(program, place=f"{program.place}, order 2", order=2)


def _compare(kind: str, program: Program, result: Result) -> None:
    result.counts[kind, "", "programs"] += 1
    try:
        ours = gradc_side.pull(program)
    except GradcError as error:
        result.counts[kind, "gradc", f"refused: {type(error).__name__}"] += 1
        return
    answers = {"gradc": ours, **_theirs(kind, program, result)}
    if kind != "sample" and len(answers) == 1 + len(sides()):
        result.counts[kind, "", "compared with all"] += 1
    differing = [(peer, d) for peer, theirs in answers.items() for d in differences(ours, theirs, kind in ("sample", "graph"))]
    always = kind in ("trap", "attack")
    truth = bounded_truth(program) if always or differing else None
    if kind == "trap":
        result.rows.append(_row(program, answers, truth))
    if kind == "attack" and truth is not None:
        _score(answers, truth, result)
        differing += [("exact", d) for d in differences(ours, truth) if _misses(d)]
    for peer, difference in differing:
        _record(kind, program, peer, difference, _part(truth, difference.part), result)


def _misses(difference: Difference) -> bool:
    """True where the exact value is a finite number, and gradc's is another one."""
    return bool(np.any(difference.entries & np.isfinite(difference.theirs)))


def _theirs(kind: str, program: Program, result: Result) -> dict[str, Answer]:
    answers = {}
    for name, side in sides().items():
        if any(side.find(step.function) is None for step in program.steps):
            result.counts[kind, name, "no counterpart"] += 1
            continue
        try:
            answers[name] = side.pull(program)
        except Exception as error:
            result.counts[kind, name, "cannot"] += 1
            result.counts[
                "cannot", name, f"{program.steps[-1].function}: {_line(error)}" if kind == "sample" else "in graphs"
            ] += 1
            continue
        result.counts[kind, name, "compared"] += 1
        result.counts[kind, name, "numbers"] += sum(a.size for part in answers[name] for a in part)
    return answers


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"


def _part(truth: Answer | None, part: str) -> Array | None:
    if truth is None:
        return None
    if part.startswith("d/dx"):
        return truth.gradients[int(part[4:])] if int(part[4:]) < len(truth.gradients) else None
    return truth.values[int(part[6:] or 0)]


def _record(kind: str, program: Program, peer: str, difference: Difference, truth: Array | None, result: Result) -> None:
    judged = verdict(difference, truth)
    if kind not in ("edge", "trap") and judged.ours < judged.entries and _is_ill_conditioned(program, difference):
        result.counts[kind, peer, "ill-conditioned"] += 1
        return
    shown = "" if truth is None else _picked(truth, difference)
    right = judged.ours == judged.entries - judged.unknown > 0
    inputs = "".join(f"; x{k} = {show(a, 17)}" for k, a in enumerate(program.inputs)) if kind in ("graph", "attack") else ""
    text = f"{program}{inputs}"
    found = Found(
        kind, program.place, peer, difference.part, _picked(difference.ours, difference), _picked(difference.theirs, difference),
        shown, judged, reason(program, peer, right), text,
    )  # fmt: skip
    result.found.append(found)
    result.counts[kind, peer, f"differs, right is {found.judgement}"] += 1


def _picked(array: Array, difference: Difference) -> str:
    """The array where it is small, else the first entry that differs."""
    if array.size <= 4 or array.shape != difference.entries.shape:
        return show(array)
    place = tuple(int(k) for k in np.argwhere(difference.entries)[0])
    return f"{show(array[place])} at {list(place)}"


def _is_ill_conditioned(program: Program, difference: Difference) -> bool:
    """True when moving the inputs by a unit in the last place moves gradc's own entries by as much as the peer's differ."""
    if difference.ours.shape != difference.theirs.shape:
        return False
    gap = np.abs(difference.ours - difference.theirs)[difference.entries]
    moved = np.zeros(gap.shape)
    rng = np.random.default_rng(5)
    for _ in range(3):
        inputs = tuple(a if a.dtype.kind != "f" else a * (1 + rng.choice([-1, 1], a.shape) * 2.0**-52) for a in program.inputs)
        answer = gradc_side.pull(replace(program, inputs=inputs))
        part = _part(answer, difference.part)
        assert part is not None
        moved = np.fmax(moved, np.abs(part - difference.ours)[difference.entries])
    return bool(np.all(np.isfinite(gap)) and np.all(gap <= 1000 * moved))


def _row(program: Program, answers: dict[str, Answer], truth: Answer | None) -> Row:
    shown = {name: _shown(answer) for name, answer in answers.items()}
    return Row(program.place, {**shown, "truth": "" if truth is None else _shown(truth)}, program.why)


def _shown(answer: Answer) -> str:
    parts = [show(a) if a.size <= 6 else f"{a.size} numbers" for a in (*answer.values, *answer.gradients)]
    return f"{parts[0]}; {', '.join(parts[1:])}"


def _score(answers: dict[str, Answer], truth: Answer, result: Result) -> None:
    """Count gradient entries whose exact value is a finite number: right, NaN, or another number."""
    for k, exact_part in enumerate(truth.gradients):
        finite = np.isfinite(exact_part)
        result.counts["score", "", "finite gradients"] += int(finite.sum()) if len(answers) == 1 + len(sides()) else 0
        for name, answer in answers.items() if len(answers) == 1 + len(sides()) else ():
            part = answer.gradients[k]
            right = equal(part, exact_part)
            result.counts["score", name, "right"] += int((right & finite).sum())
            result.counts["score", name, "NaN"] += int((np.isnan(part) & finite).sum())
            result.counts["score", name, "infinite"] += int((np.isinf(part) & finite).sum())
            result.counts["score", name, "another number"] += int((np.isfinite(part) & ~right & finite).sum())


# --- a bounded truth -------------------------------------------------------------------------------------


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def bounded_truth(program: Program, seconds: float = 1.5) -> Answer | None:
    """The exact answer, unless it takes more processor time than that."""
    try:
        with _at_most(seconds):
            return exact.truth(program)
    except (TimeoutError, SystemError):  # the latter where the signal came in the middle of a call into C
        return None
