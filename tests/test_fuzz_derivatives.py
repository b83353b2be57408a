"""Derivatives against 60 digits: random programs with stop_gradient, straight-through forms, inner variables, written-out forms.

Both modes, two orders, special points, before and after passes. `GRADC_FUZZ` says how many programs, `GRADC_FUZZ_SEED` the first;
a wrong derivative is reported as a program to paste, made as small as it stays wrong.
"""

import copy
import math
import os
import random
import re
from collections import Counter
from decimal import Decimal

import derivative_programs as programs
import jets
import mpmath
import numpy as np
import pytest

import gradc as gc
from gradc import passes

EXAMPLES = int(os.environ.get("GRADC_FUZZ", "300"))
FIRST = int(os.environ.get("GRADC_FUZZ_SEED", "0"))
PARTS = 10
PASSES = [passes.clean, passes.cse, passes.fold, passes.simplify, passes.prune, passes.stable, passes.forms, passes.contract]


@pytest.fixture(autouse=True, scope="module")
def _no_other_judge():
    """The oracle alone: validation asks at numbers that these programs are not meant for."""
    with passes.validating(nodes=0):
        yield


# --- gradc -------------------------------------------------------------------------------------------


def pipeline(program, seed):
    chance = random.Random(seed)
    if program.passes == "random":
        return tuple(chance.choices(PASSES, k=chance.randint(1, 6)))
    return getattr(passes, program.passes)


def graph_of(program):
    graph = gc.Graph("fuzz")
    names = {n: graph.placeholder(n, s, program.dtype) for n, s in program.inputs.items()}
    for statement in program.needed():
        names[statement.name] = eval(statement.text, {"np": np, "gc": gc, "math": math, **names})
    for name in dict.fromkeys([program.result, *program.named, *program.inner()]):
        graph.output(name, names[name])
    return graph, names


class Derived:
    """The graphs of a program's derivatives, and how to run them.

    `first` has the gradients of all variables or the tangent; `second` the slopes of what they are in the direction, or, in
    forward mode, its tangent.
    """

    def __init__(self, program, seed, along):
        self.program, self.pipeline = program, pipeline(program, seed)
        graph, names = graph_of(program)
        self.graph = graph
        if program.first == "optimise":
            graph, names = passes.optimise(graph, self.pipeline), {}
        self.first = self._differentiated(graph, program.wrt, names, program.modes[0])
        graph = self.first.copy()
        if program.modes[0] == "reverse":
            ends = [(self.first.grad[w] * gc.constant(along[w])).sum() for w in program.wrt]
            graph.output("s", sum(ends[1:], ends[0]))
        else:
            graph.output("s", self.first.outputs[f"dot_{program.result}"] * 1.0)
        self.inputs = [n for n in program.inputs if n in graph.placeholders]
        self.second = gc.differentiate(
            graph, self.inputs, of="s", mode=program.modes[1], on_disconnected="zeros", forms=program.forms
        )

    def _differentiated(self, graph, wrt, names, mode):
        seed = self.program.seed
        seed = True if seed == "True" else names[seed] if seed else None
        return gc.differentiate(
            graph, wrt, of=self.program.result, mode=mode, seed=seed, on_disconnected="zeros", forms=self.program.forms
        )

    def feeds(self, x, along, weights):
        program = self.program
        feeds = dict(x)
        if program.seed == "True":
            feeds[f"bar_{program.result}"] = weights
        if "forward" in program.modes:
            feeds.update({f"dot_{w}": along[w] for w in program.wrt if program.modes[0] == "forward"})
            twice = program.modes == ("forward", "forward")
            names = [f"dot_{n}_2" if twice and n in program.wrt else f"dot_{n}" for n in program.inputs]
            if program.modes[1] == "forward":
                feeds.update(dict(zip(names, [along[n] for n in program.inputs], strict=True)))
        return {n: a for n, a in feeds.items() if n in self.second.placeholders}

    def overflows(self, x):
        """Whether what is written out is NaN or infinite, computed as written: its derivatives are numbers all the same."""
        with np.errstate(all="ignore"):
            trace = gc.evaluate(self.graph, {n: x[n] for n in self.graph.placeholders})
        values = [np.asarray(trace[node], float) for node in self.graph.nodes]
        return "NaN" if any(np.isnan(v).any() for v in values) else "inf" if any(np.isinf(v).any() for v in values) else ""

    def runs(self):
        """Functions from feeds to what is asked: the value, the first and the second order."""
        first, second = self.wanted()
        names = dict(zip(["value", *(f"first {n}" for n in first), *(f"second {n}" for n in second)],
                         [self.program.result, *first.values(), *second.values()], strict=True))  # fmt: skip
        graph = self.second

        def evaluated(feeds):
            trace = gc.evaluate(graph, feeds)
            return {key: trace[graph.outputs[name]] for key, name in names.items()}

        step = gc.compile(graph, list(dict.fromkeys(names.values())), passes=self.pipeline)

        def compiled(feeds):
            out = step({n: a for n, a in feeds.items() if n in graph.placeholders})
            return {key: out[name] for key, name in names.items()}

        return {"evaluate": evaluated, "compile": compiled}

    def wanted(self):
        program, y = self.program, self.program.result
        reverse = program.modes[0] == "reverse"
        first = {w: f"d_{y}/d_{w}" for w in program.wrt} if reverse else {"": f"dot_{y}"}
        return first, {n: f"d_s/d_{n}" for n in self.inputs} if program.modes[1] == "reverse" else {"": "dot_s"}


# --- the truth ---------------------------------------------------------------------------------------


def expected(program, truth, along):
    """What `runs` should give, by the same keys, as lists; None where there is no number."""
    found = {"value": truth.value}
    if program.modes[0] == "reverse":
        found |= {f"first {w}": g for w, g in truth.first.items()}
    else:
        found["first "] = truth.tangent
    if program.modes[1] == "reverse":
        return found | {f"second {n}": h for n, h in truth.second.items()}
    pairs = [(t, Decimal(float(d))) for n, h in truth.second.items() for t, d in zip(h, along[n].flat, strict=True)]
    total = None if any(t is None for t, _ in pairs) else sum([t * d for t, d in pairs], Decimal(0))
    if program.modes == ("forward", "forward"):
        found["second "] = [total]
        return found
    found["second "] = [total]
    return found


def exactly(x):
    return {n: np.array([Decimal(float(v)) for v in a.flat], object).reshape(a.shape) for n, a in x.items()}


class Oracle:
    """What is right at a point, and how far from it rounding may lead."""

    def __init__(self, program, x, along, weights, overflows=""):
        self.program, self.x, self.along, self.weights, self.overflows = program, x, along, weights, overflows
        exact = self._truth(exactly(x))
        noisy = [self._truth(exactly(x), noise, exact.recorded) for noise in (1, 2)]
        self.kinks, self.origins, self.largest = exact.kinks, exact.origins, exact.largest
        self.right = expected(program, exact, along)
        self.near = [expected(program, t, along) for t in noisy]
        self._limits = self._written = None

    def _truth(self, x, noise=0, decisions=None, op_by_op=False):
        return programs.truth(self.program, x, self.along, self.weights, noise, decisions, op_by_op)

    def written(self):
        """The same with noise, op by op as it is written; nothing at a kink, or where that is no number."""
        if self._written is None:
            self._written = []
            try:
                exact = self._truth(exactly(self.x), op_by_op=True)
                noisy = [self._truth(exactly(self.x), noise, exact.recorded, True) for noise in (1, 2)] if not exact.kinks else []
            except jets.LeftOut:
                noisy = []
            self._written = [expected(self.program, t, self.along) for t in noisy]
        return self._written

    def limits(self):
        """The same beside the point, on eight sides."""
        if self._limits is None:
            self._limits = []
            chance = random.Random(0)
            for _ in range(4):
                step = {n: [Decimal(chance.choice((-1, 1)) * chance.randint(1, 1000)) for _ in a.flat] for n, a in self.x.items()}
                self._limits += [self._beside(step, sign) for sign in (1, -1)]
            self._limits = [found for found in self._limits if found is not None]
        return self._limits

    def _beside(self, step, sign):
        h = Decimal("1e-23") * sign
        moved = {n: np.array([v + h * d for v, d in zip(a.flat, step[n], strict=True)], object).reshape(a.shape)
                 for n, a in exactly(self.x).items()}  # fmt: skip
        try:
            return expected(self.program, self._truth(moved), self.along)
        except jets.LeftOut:
            return None

    def is_near(self, key, k, found, right):
        """True where rounding may have led from `right` to `found`, that of the function or that of how it is written."""
        tolerance = self.tolerance(key, k, right)
        if tolerance > 1e20 or abs(found - float(right)) <= tolerance:
            return True
        if not math.isfinite(found):
            return tolerance > 1e-3 * (1 + abs(float(right)))
        written = [near[key][k] for near in self.written()]
        return abs(found - float(right)) <= 8 * max([abs(float(t - right)) for t in written if t is not None], default=0)

    def tolerance(self, key, k, right):
        eps = float(np.finfo(self.program.dtype).eps)
        lanes = [near[key][k] for near in self.near]
        off = max([abs(float(t - right)) for t in lanes if t is not None], default=math.inf)
        underflow = (1e-290 if eps < 1e-10 else 1e-30) * self.largest  # times what it may be multiplied by
        floor = max(underflow, 1e-30 if eps < 1e-10 else 1e-12)
        if key == "value":
            floor = eps * 1000
        return 8 * off + 256 * eps * abs(float(right)) + floor

    def complaint(self, key, k, found):
        """What is wrong with a number; empty if nothing is."""
        right = self.right[key][k]
        if key == "value" and self.overflows:
            return ""
        if right is not None and self.is_near(key, k, found, right):
            return ""
        if right is not None and not self.kinks:
            return f"{found!r}, right is {float(right)!r} +- {self.tolerance(key, k, right):.1e}"
        if key == "value":
            return "" if right is None else f"{found!r}, right is {float(right)!r}"
        return self._beside_complaint(key, k, found, right)

    def _beside_complaint(self, key, k, found, right):
        """At a kink or an end of the domain: a limit, or between limits, or the convention."""
        sides = [float(t[key][k]) for t in self.limits() if t[key][k] is not None]
        if key.startswith("second") and self._jumps():
            return ""
        if not math.isfinite(found):
            allowed = right is None or (key.startswith("second") and self.origins)
            return "" if allowed else f"{found!r} at a kink, the convention is {float(right)!r}, the sides {sides}"
        if not sides or max(map(abs, sides)) > 1e7:
            return ""
        if right is None and found == 0 and self.overflows == "NaN":
            return ""  # a selection from NaN passes an exact zero
        slack = 1e-6 if self.program.dtype == "float64" else 1e-2
        slack *= 1 + max(map(abs, sides))
        if min(sides) - slack <= found <= max(sides) + slack:
            return ""
        return f"{found!r} beside {sides}, the convention is {right if right is None else float(right)!r}"

    def _jumps(self):
        """True where the first derivatives differ beside the point: then there are no second ones."""
        sides = [
            [t for key, ts in found.items() if key.startswith("first") for t in ts if t is not None] for found in self.limits()
        ]
        return any(max(ts) - min(ts) > Decimal("1e-9") * (1 + max(map(abs, ts))) for ts in zip(*sides, strict=False))


# --- one program -------------------------------------------------------------------------------------


def complaints(program, seed, counts, only=None):
    """What is wrong with the derivatives of a program: (point, message), as many as there are points."""
    along, weights = programs.directions(program, seed)
    derived = Derived(program, seed, along)
    runs = derived.runs()
    found = []
    for number in range(3) if only is None else [only]:
        special = number > 0
        if special and (not program.forms or program.seed not in ("", "True")):
            continue  # forms that nothing recognises overflow, and so do the values of seeds
        x = programs.point(program, seed * 3 + number, special)
        try:
            oracle = Oracle(program, x, along, weights, derived.overflows(x))
        except jets.LeftOut as why:
            counts[str(why)] += 1
            continue
        counts["points"] += 1
        counts["kinks"] += bool(oracle.kinks)
        wrong = wrong_at(oracle, runs, derived.feeds(x, along, weights))
        if wrong:
            found.append((number, x, wrong))
    return found


def wrong_at(oracle, runs, feeds):
    found = []
    for how, run in runs.items():
        with np.errstate(all="ignore"):
            values = run(feeds)
        for key, value in values.items():
            entries = np.asarray(value, float).reshape(-1)
            if key == "second " and oracle.program.modes == ("forward", "forward"):
                entries = np.array([entries.sum()])
            for k, entry in enumerate(entries):
                said = oracle.complaint(key, k, float(entry))
                if said:
                    found.append(f"{how}: {key}[{k}] is {said}")
    return found


def smaller(program):
    """Programs with something left out."""
    for k in range(len(program.wrt)):
        if len(program.wrt) > 1:
            yield changed(program, wrt=program.wrt[:k] + program.wrt[k + 1 :])
    for attribute, value in (
        ("named", []),
        ("seed", ""),
        ("modes", ("reverse", "reverse")),
        ("passes", "NONE"),
        ("first", "differentiate"),
    ):
        if getattr(program, attribute) != value:
            yield changed(program, **{attribute: value})
    needed = program.needed()
    for s in needed[::-1]:
        if s.name != program.result and not program.seed:
            yield changed(program, result=s.name, wrt=[w for w in program.wrt if w != s.name])
    fixed = {program.result, *program.inner(), *[n for s in needed for n in s.inside]}
    for s in needed:
        if s.name not in fixed:
            for read in s.of or s.reads:
                if program.shapes[read] == program.shapes[s.name]:
                    yield replaced(program, s.name, read)


def changed(program, **new):
    copied = copy.copy(program)
    copied.__dict__.update(new)
    return copied


def replaced(program, old, new):
    rename = lambda text: re.sub(rf"\b{old}\b", new, text)
    statements = [
        s._replace(text=rename(s.text), meaning=rename(s.meaning), reads=tuple(map(rename, s.reads)), of=tuple(map(rename, s.of)),
                   inside=tuple(map(rename, s.inside)))
        for s in program.statements if s.name != old
    ]  # fmt: skip
    return changed(program, statements=statements, named=[n for n in program.named if n != old])


def shrunk(program, seed, number):
    """A smaller program that is wrong at the same point."""
    left = 60
    again = True
    while again and left > 0:
        again = False
        for candidate in smaller(program):
            left -= 1
            try:
                if candidate.wrt and complaints(candidate, seed, Counter(), number):
                    program, again = candidate, True
                    break
            except Exception:
                continue
            if left <= 0:
                break
    return program


def report(program, seed, number):
    program = shrunk(program, seed, number)
    _, x, wrong = complaints(program, seed, Counter(), number)[0]
    return f"\n# program {seed}, point {number}\n{program.text(x)}\n" + "\n".join(f"# {w}" for w in wrong[:8])


@pytest.mark.parametrize("part", range(PARTS))
def test_derivatives_are_those_of_60_digits(part):
    counts, failed = Counter(), []
    for seed in range(FIRST + part, FIRST + EXAMPLES, PARTS):
        program = programs.Maker(seed).make()
        for number, *_ in complaints(program, seed, counts)[:1]:
            failed.append((program, seed, number))
    assert not failed, "\n".join(report(*f) for f in failed[:5]) + f"\n{len(failed)} programs of {EXAMPLES // PARTS}"
    assert counts["points"] > sum(counts.values()) / 4, counts


# --- the oracle itself -------------------------------------------------------------------------------


POINTS = [
    (name, at) for name in jets.SMOOTH for at in ("-1.75", "0.3125", "2.5") if at != "-1.75" or name not in ("log", "log1p")
]


@pytest.mark.parametrize("name, at", POINTS)
def test_the_oracle_differentiates_as_differences_do(name, at):
    jets.start("float64")
    with mpmath.workdps(60):
        f = lambda t: mpmath.mpf(str(jets.SMOOTH[name](Decimal(mpmath.nstr(t, 60)))[0]))
        for order, found in enumerate(jets.SMOOTH[name](Decimal(at))):
            right = mpmath.diff(f, mpmath.mpf(at), order, h=mpmath.mpf("1e-12"))
            assert abs(mpmath.mpf(str(found)) - right) < mpmath.mpf("1e-9") * (1 + abs(right))


@pytest.mark.parametrize("off", [1e-9, -1e-9, math.nan])
@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_a_wrong_derivative_is_told(seed, off):
    """Every number that is wrong in the ninth digit, or NaN; of the well-conditioned ones."""
    program = programs.Maker(seed).make()
    program.dtype, program.forms = "float64", True
    along, weights = programs.directions(program, seed)
    try:
        oracle = Oracle(program, programs.point(program, seed * 3, False), along, weights)
    except jets.LeftOut:
        return
    for key, rights in oracle.right.items():
        for k, right in enumerate(rights):
            if key != "value" and right and abs(right) > 1e-6 and not oracle.kinks:
                assert not oracle.complaint(key, k, float(right))
                if oracle.tolerance(key, k, right) < 1e-10 * abs(float(right)):
                    assert oracle.complaint(key, k, float(right) * (1 + off))
