"""Proving an op: every check that its samples make possible, for gradc's own ops and those of its users.

A `Case` is all checks at one sample, or all edges. The op-table test runs the cases of all functions, `check_op` those of one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradc.differentiate import differentiate
from gradc.errors import ArgumentError, CheckError, GradcError, NoGradientError
from gradc.interpret import evaluate
from gradc.ir import FUNCTIONS, Array, Function, Graph, Node, Op, apply, verify
from gradc.ops.declare import call
from gradc.ops.samples import At, Sample
from gradc.passes import EXACT, NONE
from gradc.runtime import Executable, compile
from gradc.testing.gradients import check_gradients
from gradc.testing.oracles import Form, complex_step, form_of, is_analytic

_NARROW = ("float32", "float16")
_FAR = 1e100


class OpError(CheckError):
    """An op fails one of its checks."""


class Options(NamedTuple):
    """How far derivatives are checked, and to what relative and absolute tolerance."""

    order: int = 2
    rtol: float = 1e-9
    atol: float = 1e-11


class OpReport(NamedTuple):
    """What `check_op` did: checks passed by name, and derivatives by what they were compared with."""

    name: str
    gradient_samples: int
    checks: dict[str, int]
    oracles: dict[str, int]

    def __str__(self) -> str:
        listed = [", ".join(f"{n} {name}" for name, n in part.items()) for part in (self.checks, self.oracles)]
        return f"{self.name}: {self.gradient_samples} gradient samples; checks: {listed[0]}; derivatives against {listed[1]}"


def check_op(
    op: Op | str | Callable[..., Any],
    samples: Callable[[], Iterable[Sample]] | None = None,
    *,
    order: int = 2,
    rtol: float = 1e-9,
    atol: float = 1e-11,
) -> OpReport:
    """Run every check on an op, at all its samples and edges.

    For each sample: the value (against the NumPy function that the op stands for, and compiled against evaluated, bit
    for bit), derivatives of both modes against extrapolated differences, and against sympy or complex steps where the
    op has a symbolic form or is analytic, <v, J u> = <J^T v, u> with J u by forward mode and by reverse mode twice,
    float32 and float16 against float64, operands in Fortran order, of negative strides and of stride 0. For each edge:
    value and adjoint, exactly, and `check_gradients` there: a convention stands where the slopes on both sides differ.

    Args:
        op: what a declaration returned, a registered function, or its name.
        samples: a function that makes samples (see `gradc.ops.samples`); those of the declaration when left out.
        order: up to which order derivatives are checked.
        rtol: relative tolerance of float64 derivatives.
        atol: absolute tolerance of float64 derivatives.

    Raises:
        OpError: naming the check, the sample, and what failed.
        ArgumentError: there is no such op, or it has no samples.
    """
    function = _function(op, samples)
    cases = op_cases(function)
    if not cases:
        raise ArgumentError(f"check_op: {function.name!r} has no samples; declare samples=, or give them here")
    passed: Counter[str] = Counter()
    oracles: Counter[str] = Counter()
    for case in cases:
        for check, oracle in case.run(Options(order, rtol, atol)):
            passed[check] += 1
            oracles.update([oracle] if oracle else [])
    return OpReport(function.name, gradient_samples(function), dict(passed), dict(oracles))


def _function(op: Any, samples: Callable[[], Iterable[Sample]] | None) -> Function:
    known = FUNCTIONS.get(op) if isinstance(op, str) else next((f for f in FUNCTIONS.values() if f.build is op), None)
    if known is None and isinstance(op, Op):
        known = Function(op.name, op, differentiable=op.vjp is not None)
    if known is None:
        raise ArgumentError(f"check_op: {op!r} is no op, no registered function, and not the name of one")
    return known if samples is None else replace(known, samples=samples)


# --- cases -----------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """All checks of a function at one sample, or its edges."""

    function: Function
    place: str
    checks: tuple[tuple[str, Sample | At], ...]
    kit: Kit

    def __str__(self) -> str:
        return f"{self.function.name}-{self.place}"

    def run(self, options: Options = Options()) -> list[tuple[str, str | None]]:  # noqa: B008
        """Run every check; the names of those that passed, with what derivatives were compared with.

        Raises:
            OpError: some fail; the message is a line for each.
        """
        passed, failed = [], []
        for check, sample in self.checks:
            try:
                passed.append((check, self._run(check, sample, options)))
            except (GradcError, AssertionError) as error:
                failed.append((f"{self.function.name}, {check} at {_shown(sample)}: {error}", error))
        if failed:
            raise OpError("\n".join(text for text, _ in failed)) from failed[0][1]
        return passed

    def _run(self, check: str, sample: Sample | At, options: Options) -> str | None:
        with np.errstate(all="ignore"):
            if isinstance(sample, At):
                _check_edge(self.function, sample)
                return None
            return _CHECKS[check](self.kit.subject(sample), options)


def op_cases(function: Function) -> list[Case]:
    """All cases of a function: one for each sample, and one for its edges."""
    kit = Kit(function)
    cases = []
    for number, sample in enumerate(function.samples() if function.samples is not None else ()):
        names = _CHECKS if function.differentiable and sample.gradient else ("value",)
        cases.append(Case(function, str(number), tuple((name, sample) for name in names), kit))
    if function.edges:
        cases.append(Case(function, "edges", tuple(("edge", edge) for edge in function.edges), kit))
    return cases


def _shown(sample: Sample | At) -> str:
    if isinstance(sample, At):
        return ", ".join(map(repr, sample.inputs)) + "".join(f", {k}={v!r}" for k, v in sample.attrs.items())
    arrays = [f"{a.dtype}{list(a.shape)}" for a in sample.arrays]
    return ", ".join([*arrays, *[f"{k}={v!r}" for k, v in sample.attrs.items()]])


class Kit:
    """What the cases of one function share: the graphs of the sample in hand, and symbolic derivatives."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self._forms: dict[Any, Form | None] = {}
        self._held: tuple[Sample, Subject] | None = None

    def subject(self, sample: Sample) -> Subject:
        """The graphs of `sample`; kept until another one is asked for."""
        if self._held is None or self._held[0] is not sample:
            self._held = sample, Subject(self, sample)
        return self._held[1]

    def form(self, subject: Subject) -> Form | None:
        """The symbolic form of the function with the keywords of the sample."""
        fixed = {k: subject.sample.arrays[k].tolist() for k in subject.sample.fixed}
        key = repr((sorted(subject.sample.attrs.items()), fixed))
        if key not in self._forms:
            self._forms[key] = form_of(subject.graph)
        return self._forms[key]


class Subject:
    """The graph of one sample, its feeds, and its derivatives, each made when first asked for."""

    def __init__(self, kit: Kit, sample: Sample, dtype: str | None = None) -> None:
        self.kit, self.sample, self.dtype = kit, sample, dtype
        self.graph = Graph(kit.function.name)
        self.feeds: dict[str, Array] = {}
        operands: list[Any] = []
        for k, array in enumerate(sample.arrays):
            if k in sample.fixed:
                operands.append(array)
                continue
            array = array.astype(dtype) if dtype and array.dtype.kind == "f" else array
            operands.append(self.graph.placeholder(f"x{k}", array.shape, array.dtype))
            self.feeds[f"x{k}"] = array
        built = kit.function.build(*sample.arguments(operands), **sample.attrs)
        results = built if isinstance(built, (tuple, list)) else (built,)
        for k, node in enumerate(results):
            self.graph.output("y" if built is node else f"y{k}", node)
        self.targets = [name for name, node in self.graph.outputs.items() if node.type.is_float]
        self.variables = [name for name, node in self.graph.placeholders.items() if node.type.is_float]

    @property
    def has_gradient(self) -> bool:
        return bool(self.kit.function.differentiable and self.sample.gradient and self.targets and self.variables)

    @cached_property
    def joint(self) -> Graph:
        """The graph with the adjoints of every floating point output."""
        graph = self.graph
        for name in self.targets if self.has_gradient else ():
            graph = differentiate(graph, self.variables, of=name, on_disconnected="zeros")
        return graph

    @cached_property
    def values(self) -> Mapping[str, Array]:
        """The outputs of the joint graph, evaluated."""
        return values_of(self.joint, self.feeds)

    @cached_property
    def compiled(self) -> Executable:
        """The joint graph, compiled without passes."""
        return compile(self.joint, passes=NONE)


def values_of(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """The outputs of a graph, by name, evaluated."""
    trace = evaluate(graph, feeds)
    return {name: trace[node] for name, node in graph.outputs.items()}


# --- checks ----------------------------------------------------------------------------------------------


def _check_value(subject: Subject, options: Options) -> None:
    """Types as inferred, values as NumPy's, compiled as evaluated."""
    verify(subject.joint)
    for name, node in subject.joint.outputs.items():
        value = subject.values[name]
        assert (value.dtype, value.shape) == (node.dtype, node.shape), (
            f"{name} is {value.dtype}{value.shape}, declared {node.type}"
        )
    _check_against_numpy(subject)
    for executable in (subject.compiled, compile(subject.joint, passes=EXACT)):
        _equal(executable(subject.feeds), subject.values, "compiled and evaluated values differ")
    _check_in_place(subject)


def _check_in_place(subject: Subject) -> None:
    """The value where it is computed in the memory of an operand: of one after the other of those that the kernel offers."""
    op = subject.kit.function.build
    nodes = [n for n in subject.graph.nodes if n.op is op]
    if not isinstance(op, Op) or op.kernel is None or len(nodes) != 1:
        return
    [node] = nodes
    kernel = op.kernel([i.type for i in node.inputs], node.type, dict(node.attrs))
    for k in kernel.inplace if kernel is not None else ():
        if node.inputs[k].type != node.type or node.dtype.kind == "b":
            continue  # its memory does not fit; or no op copies it
        operands = [call("positive", i) if j == k else i for j, i in enumerate(node.inputs)]
        result = call("positive", apply(op, tuple(operands), node.attrs))  # an output would be in memory of its own
        graph = Graph.of(op.name, subject.graph.placeholders, {"y": result})
        found = compile(graph, passes=NONE)(subject.feeds)
        _equal(found, values_of(graph, subject.feeds), f"computed in the memory of operand {k}, it has other values")


def _check_against_numpy(subject: Subject) -> None:
    reference = next((f for f in subject.kit.function.numpy if f is not np.float_power), None)
    if reference is None:
        return
    sample = subject.sample
    keywords = {} if isinstance(reference, np.ufunc) else sample.attrs
    with warnings.catch_warnings():  # what NumPy deprecates it still computes
        warnings.simplefilter("ignore", DeprecationWarning)
        result = reference(*sample.arguments(sample.arrays), **keywords)
    results = result if isinstance(result, (tuple, list)) else (result,)
    theirs = dict(zip(subject.graph.outputs, results, strict=True))
    ours = {name: subject.values[name] for name in theirs}
    if subject.kit.function.reorders:
        _close(ours, theirs, f"values differ from {reference.__name__} by more than rounding")
        return
    _equal(ours, theirs, f"values differ from {reference.__name__}")


def _check_gradients(subject: Subject, options: Options) -> str:
    check_gradients(subject.graph, subject.feeds, order=options.order, rtol=options.rtol, atol=options.atol)
    return "differences"


def _check_exact(subject: Subject, options: Options) -> str | None:
    """Gradients against sympy's, or those of a complex step, and again at second order."""
    form = subject.kit.form(subject)
    if form is not None:
        _check_form(subject, form, options)
        return "sympy"
    if not is_analytic(subject.graph):
        return None
    _check_complex_step(subject, subject.graph, options)
    if options.order > 1 and is_analytic(subject.joint):
        _check_complex_step(subject, subject.joint, options)
    return "complex steps"


def _check_form(subject: Subject, form: Form, options: Options) -> None:
    arrays = [subject.feeds[name] for name in subject.variables]
    for k, name in enumerate(subject.variables):
        _near(subject.values[f"d_y/d_{name}"], *form.first(k, arrays), options, f"d y / d {name}, by sympy")
    for k, name in enumerate(subject.variables if options.order > 1 else ()):
        twice = differentiate(subject.joint, subject.variables, of=f"d_y/d_{name}", on_disconnected="zeros")
        values = values_of(twice, subject.feeds)
        for j, other in enumerate(subject.variables):
            ours = values[f"d_(d_y/d_{name})/d_{other}"]
            _near(ours, *form.second(k, j, arrays), options, f"d (d y / d {name}) / d {other}, by sympy")


def _check_complex_step(subject: Subject, graph: Graph, options: Options) -> None:
    """J u by forward mode against the imaginary part of f(x + i h u) / h."""
    rng = np.random.default_rng(3)
    directions = {name: np.asarray(rng.standard_normal(subject.feeds[name].shape)) for name in subject.variables}
    theirs = complex_step(graph, subject.feeds, directions)
    if theirs is None:
        return
    dots = {f"dot_{name}": value for name, value in directions.items()}
    for name, node in graph.outputs.items():
        if not node.type.is_float:
            continue
        try:
            forward = differentiate(graph, subject.variables, of=name, mode="forward", on_disconnected="zeros")
        except NoGradientError:
            return
        ours = values_of(forward, {**subject.feeds, **dots})[list(forward.outputs)[-1]]
        size = np.max(np.abs(theirs[name]), initial=1e-30)  # a step of h leaves terms of the order h**2 where others vanish
        _near(ours, theirs[name], size, options, f"the tangent of {name}, by a complex step")


def _check_transposes(subject: Subject, options: Options) -> None:
    """<v, J u> = <J^T v, u>: J u by forward mode, and by reverse mode of v -> J^T v; J^T v by reverse mode."""
    rng = np.random.default_rng(1)
    u = {name: np.asarray(rng.standard_normal(subject.feeds[name].shape)) for name in subject.variables}
    for name in subject.targets:
        v = np.asarray(rng.standard_normal(subject.values[name].shape))
        reverse = differentiate(subject.graph, subject.variables, of=name, seed=True, on_disconnected="zeros")
        bar = f"bar_{name}"
        pulled = values_of(reverse, {**subject.feeds, bar: v})
        right = sum(float(np.vdot(pulled[f"d_{name}/d_{x}"], u[x])) for x in u)
        size = sum(float(np.abs(pulled[f"d_{name}/d_{x}"] * u[x]).sum()) for x in u)
        for route, pushed in _pushed(subject, name, u, reverse, v):
            left = float(np.vdot(v, pushed))
            bound = 1e-10 * (size + float(np.abs(v * pushed).sum())) + 1e-12
            assert abs(left - right) <= bound, f"{name}: <v, J u> = {left!r} by {route}, <J^T v, u> = {right!r}"


def _pushed(subject: Subject, name: str, u: Mapping[str, Array], reverse: Graph, v: Array) -> Iterator[tuple[str, Array]]:
    """J u by the routes for which the op has rules."""
    try:
        forward = differentiate(subject.graph, subject.variables, of=name, mode="forward", on_disconnected="zeros")
        dots = {f"dot_{x}": value for x, value in u.items()}
        yield "forward mode", values_of(forward, {**subject.feeds, **dots})[f"dot_{name}"]
    except NoGradientError:
        pass
    total = sum(np.sum(reverse.grad[x] * value) for x, value in u.items())
    if isinstance(total, Node):
        closed = Graph.of("transposed", reverse.placeholders, {"s": total})
        twice = differentiate(closed, [f"bar_{name}"], of="s", on_disconnected="zeros")
        yield "reverse mode twice", values_of(twice, {**subject.feeds, f"bar_{name}": v})[f"d_s/d_bar_{name}"]


def _check_dtypes(subject: Subject, options: Options) -> None:
    """Gradients of narrower types: their dtypes, and their values against float64 at the same point."""
    for narrow in narrower(subject):
        wide = Subject(subject.kit, _at(subject.sample, narrow.feeds, "float64"))
        for name, node in narrow.joint.outputs.items():
            variable = name.rpartition("/d_")[2]
            if name not in subject.graph.outputs:
                assert node.type == narrow.graph.placeholders[variable].type, f"{name} is {node.type}"
            if node.type.is_float:
                sizes = (wide.values[name], wide.values[name.partition("/")[0].removeprefix("d_")])
                _near_in(np.dtype(narrow.dtype), narrow.values[name], wide.values[name], sizes, f"{name} in {narrow.dtype}")


def narrower(subject: Subject) -> Iterator[Subject]:
    """The same sample in float32 and float16, where the op takes them."""
    for dtype in _NARROW if subject.variables else ():
        try:
            yield Subject(subject.kit, subject.sample, dtype)
        except GradcError:
            continue


def _at(sample: Sample, feeds: Mapping[str, Array], dtype: str) -> Sample:
    """`sample` with the arrays of `feeds`, floats as `dtype`."""
    arrays = [feeds.get(f"x{k}", a) for k, a in enumerate(sample.arrays)]
    return sample._replace(arrays=tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays))


def _check_layouts(subject: Subject, options: Options) -> None:
    """The same bits, values and gradients, from every memory layout."""
    for layout, feeds in layouts(subject.feeds):
        try:
            expected = values_of(subject.joint, {name: a.copy() for name, a in feeds.items()})
        except np.linalg.LinAlgError:
            continue  # equal rows make a matrix singular
        _equal(subject.compiled(feeds), expected, f"operands of {layout} give other values")


def layouts(feeds: Mapping[str, Array]) -> Iterator[tuple[str, dict[str, Array]]]:
    """The arrays in Fortran order, with negative strides, and with stride 0, where that differs from C order."""
    arrays = feeds.values()
    if any(a.ndim > 1 and a.size > 1 for a in arrays):
        yield "Fortran order", {name: np.asarray(a, order="F") for name, a in feeds.items()}
    if any(a.size > 1 for a in arrays):
        yield "negative strides", {name: np.flip(np.flip(a).copy()) for name, a in feeds.items()}
    if any(a.size and a.ndim and a.shape[0] > 1 for a in arrays):
        yield "stride 0", {name: np.broadcast_to(a[:1], a.shape) if a.ndim and a.size else a for name, a in feeds.items()}


_CHECKS: dict[str, Callable[[Subject, Options], str | None]] = {
    "value": _check_value,
    "gradients": _check_gradients,
    "exact": _check_exact,
    "transposes": _check_transposes,
    "dtypes": _check_dtypes,
    "layouts": _check_layouts,
}


def _check_edge(function: Function, row: At) -> None:
    """Value and adjoints of the sum at a row of the table of conventions, exactly, evaluated and compiled.

    And by differences on both sides: a convention stands only where there is no derivative.
    """
    graph = Graph("edge")
    arrays = [np.asarray(v, "float64") for v in row.inputs]
    nodes = [graph.placeholder(f"x{k}", a.shape) for k, a in enumerate(arrays)]
    graph.output("y", function.build(*nodes, **row.attrs))
    extended = differentiate(graph, nodes, on_disconnected="zeros")
    wanted = {"y": row.value, **{f"d_y/d_x{k}": adjoint for k, adjoint in enumerate(row.adjoints)}}
    expected = {name: np.asarray(value) for name, value in wanted.items() if value is not None}
    feeds = {f"x{k}": a for k, a in enumerate(arrays)}
    values = values_of(extended, feeds)
    _equal(values, expected, "the convention is otherwise")
    _equal(compile(extended)(feeds), expected, "the convention is otherwise after the default passes")
    smooth = function.differentiable and graph.outputs["y"].type.is_float and not row.near_jump
    if smooth and all(map(_is_moderate, [*arrays, values["y"]])):
        check_gradients(graph, feeds)


def _is_moderate(array: Array) -> bool:
    """Whether differences to the second order neither overflow nor underflow there."""
    size = np.abs(array)
    return bool(np.all((size == 0) | ((size > 1 / _FAR) & (size < _FAR))))


# --- comparing -------------------------------------------------------------------------------------------


def _equal(ours: Mapping[str, Any], theirs: Mapping[str, Any], otherwise: str) -> None:
    for name, expected in theirs.items():
        if not np.array_equal(ours[name], expected, equal_nan=np.asarray(expected).dtype.kind == "f"):
            np.testing.assert_array_equal(ours[name], expected, f"{otherwise}: {name}")
            raise AssertionError(f"{otherwise}: {name}: shape {np.shape(ours[name])}, expected {np.shape(expected)}")


def _close(ours: Mapping[str, Any], theirs: Mapping[str, Any], otherwise: str) -> None:
    """Types exactly, values to rounding of the largest."""
    for name, value in theirs.items():
        expected = np.asarray(value)
        assert (ours[name].dtype, ours[name].shape) == (expected.dtype, expected.shape), f"{otherwise}: {name}: the types differ"
        bound = 1e-13 * np.max(np.abs(expected), initial=0.0) if expected.dtype.kind == "f" else 0
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=bound, err_msg=f"{otherwise}: {name}")


def _near(ours: Array, theirs: Array, size: Any, options: Options, what: str) -> None:
    """Relative to each entry; and to rounding in sums of terms as large as `size`."""
    bound = options.rtol * np.abs(theirs) + 1e-14 * np.asarray(size) + 1e-300
    if not np.all(np.abs(ours - theirs) <= bound):
        worst = np.unravel_index(np.argmax(np.abs(ours - theirs) / bound), ours.shape) if ours.shape else ()
        raise AssertionError(f"{what}: at {list(map(int, worst))} gradc gives {ours[worst]!r}, expected {theirs[worst]!r}")


def _near_in(dtype: np.dtype[Any], ours: Array, theirs: Array, sizes: Iterable[Array], what: str) -> None:
    """To 300 units of `dtype` in the last place of the largest entry of `sizes`, where that is representable."""
    limits = np.finfo(dtype)
    largest = max(float(np.max(np.abs(a), initial=0.0)) for a in sizes)
    if not np.isfinite(largest) or largest > float(limits.max) / 8:
        return
    assert np.all(np.abs(ours - theirs) <= 300 * float(limits.eps) * largest + float(limits.tiny)), (
        f"{what}: {ours.tolist()}, in float64 {theirs.tolist()}"
    )


# --- counting --------------------------------------------------------------------------------------------


def gradient_samples(function: Function) -> int:
    """How many sets of operand arrays, told apart by values, dtype or memory layout, its gradient is checked at."""
    if function.samples is None or not function.differentiable:
        return 0
    kit = Kit(function)
    subjects = [kit.subject(sample) for sample in function.samples() if sample.gradient]
    return sum(1 + len(list(narrower(s))) + len(list(layouts(s.feeds))) for s in subjects if s.has_gradient)
