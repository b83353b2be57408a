"""Validation: the graph after a pass computes what the graph before it computes, or an error names the pass and the node.

Both are evaluated at random points and at special ones: ties, zeros, masked rows, extremes, infinities. An exact pass must keep
every bit. For others, how far results may lie apart is measured: the graphs are evaluated again with what their ops
compute moved by a unit in the last place or two, and as far as that moves a result, rounding may move it. (Parker, Monte Carlo
Arithmetic, 1997; Vignes, A stochastic arithmetic for reliable scientific computation, 1993.) Where the graph before overflows,
cancels or underflows on the way, the judge is its value in extended precision: a result may be better than before, not worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import EvaluationError, GradcError, PassError, listed
from gradc.interpret import evaluate_node
from gradc.ir import PLACEHOLDER, Array, Graph, Node, describe
from gradc.passes.rewrite import Numerics, name_of, numerics_of
from gradc.types import Dim, resolve, resolve_shape

POINTS = 120
"""How many points a graph is evaluated at unless said otherwise."""

_MOVED_RUNS = 3
_SLACK = 32.0
_ULPS = 8.0
_WIDE: Any = np.longdouble
_SIZES = ((3, 2, 4, 5), (2, 2, 2, 2), (1, 3, 2, 1), (4, 5, 3, 2))

Values = dict[Node, Array]
Feeds = dict[str, Array]


class Budget(NamedTuple):
    """What is validated though nobody asked: graphs of no more nodes and entries, at so many points. For test suites."""

    points: int
    nodes: int
    entries: int


_unasked: Budget | None = None


@contextmanager
def validating(points: int = 10, nodes: int = 200, entries: int = 20_000) -> Iterator[None]:
    """Every compilation in this block is validated, where the graph has no more than so many nodes, and entries in all."""
    global _unasked
    outer, _unasked = _unasked, Budget(points, nodes, entries)
    try:
        yield
    finally:
        _unasked = outer


def validator_for(graph: Graph, asked: bool) -> Validator | None:
    """The validator of a compilation of `graph`; None where none was asked for, or the graph is past the budget."""
    if asked:
        return Validator(graph)
    if _unasked is None or len(graph.nodes) > _unasked.nodes:
        return None
    dims = _dims(graph, 0)
    entries = sum(_entries(node, dims) for node in graph.nodes)
    return Validator(graph, _unasked.points) if entries <= _unasked.entries else None


def _entries(node: Node, dims: Mapping[str, int]) -> int:
    try:
        return int(np.prod(resolve_shape(node.shape, dims), dtype=np.float64))
    except GradcError:
        return 0


class Validator:
    """Holds a graph, and each graph that a pass makes of it, against the one before."""

    def __init__(self, graph: Graph, points: int = POINTS, seed: int = 0) -> None:
        self._graph = graph
        self._points = list(sample_points(graph, points, seed))
        self._now: list[_Evaluation | None] = [None] * points

    def check(self, step: Callable[[Graph], Graph], after: Graph) -> None:
        """Raise unless `after`, which `step` made of the graph before, computes the same; it is the graph before from now on.

        Raises:
            PassError: it does not. The message names the pass, the output, and the first node that differs.
        """
        before = self._graph
        if _same_outputs(before, after):
            return
        name, numerics = name_of(step), numerics_of(step)
        then: list[_Evaluation | None] = []
        for k, found in enumerate(self._compared(after, numerics, then)):
            if found is not None:
                raise PassError(_message(name, numerics, before, step, self._points[k], found))
        self._graph, self._now = after, then

    def tells(self, after: Graph) -> bool:
        """True where one of the points tells the graph held from `after` by more than rounding."""
        return any(found is not None for found in self._compared(after, Numerics.REASSOCIATES, []))

    def _compared(self, after: Graph, numerics: Numerics, then: list[_Evaluation | None]) -> Iterator[_Found | None]:
        """What differs, a point at a time; `then` collects the evaluations of `after`."""
        for k, point in enumerate(self._points):
            now = self._now[k] = self._now[k] or _Evaluation(self._graph, *point)
            changed = _Evaluation(after, *point)
            then.append(changed)
            yield _difference(now, changed, numerics)


def _same_outputs(before: Graph, after: Graph) -> bool:
    old, new = before.outputs, after.outputs
    return old.keys() == new.keys() and all(new[name] is node for name, node in old.items())


def check_signature(name: str, before: Graph, after: Graph) -> None:
    """Raise unless `after`, made of `before` by the pass `name`, has its outputs, of the same types, and no other placeholders.

    Raises:
        PassError: it has not.
    """
    if after is before:
        return
    if list(before.outputs) != list(after.outputs):
        raise PassError(f"pass {name!r} changed the outputs: {listed(before.outputs)} before, {listed(after.outputs)} after")
    for key in [node.name or "" for node in _foreign(after, before)]:
        raise PassError(f"pass {name!r} added placeholder {key!r}: a pass computes from the placeholders that are there")
    for kind, old, new in (("output", before.outputs, after.outputs), ("placeholder", before.placeholders, after.placeholders)):
        for key, node in new.items():
            if old[key].type != node.type:
                raise PassError(f"pass {name!r} changed the type of {kind} {key!r}: {old[key].type} before, {node.type} after")


def _foreign(after: Graph, before: Graph) -> list[Node]:
    """The placeholders that `after` needs and does not have, or that `before` has not got."""
    known = before.placeholders
    own = {node for name, node in after.placeholders.items() if name in known}
    return [node for node in after.nodes if node.op is PLACEHOLDER and node not in own]


# --- points ------------------------------------------------------------------------------------------


def sample_points(graph: Graph, count: int, seed: int = 0) -> Iterator[tuple[Feeds, dict[str, int]]]:
    """Feeds for the placeholders of `graph`, and the values of its dimensions, at `count` points: random and special ones."""
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        dims = _dims(graph, k)
        feeds = {}
        for name, node in graph.placeholders.items():
            # the first points are of one kind each; after them every placeholder has a kind of its own
            kind = k if k < len(_FLOATS) else int(rng.integers(len(_FLOATS)))
            feeds[name] = _sample(resolve_shape(node.shape, dims), node.dtype, kind, rng)
        yield feeds, dims


def _dims(graph: Graph, k: int) -> dict[str, int]:
    names = dict.fromkeys(n for p in graph.placeholders.values() for s in p.shape if isinstance(s, Dim) for n in s.names)
    sizes = _SIZES[k % len(_SIZES)]
    return {name: sizes[j % len(sizes)] for j, name in enumerate(names)}


def _sample(shape: tuple[int, ...], dtype: Any, kind: int, rng: np.random.Generator) -> Array:
    if dtype.kind == "b":
        return rng.random(shape) < (0.5, 1.0, 0.0)[kind % 3]
    if dtype.kind in "iu":
        return rng.integers(0, (2, 1, 4)[kind % 3], shape).astype(dtype)
    with np.errstate(all="ignore"):
        return np.asarray(_FLOATS[kind](shape, dtype, rng), dtype)


def _normal(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    return rng.normal(size=shape)


def _positive(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    return rng.uniform(0.1, 2.0, shape)


def _of_many_sizes(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    return rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape)


def _ties(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    return rng.integers(-2, 3, shape)


def _definite(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    """Matrices that are symmetric and positive definite; small numbers elsewhere."""
    values = rng.uniform(-0.3, 0.3, shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        return values
    return values + np.swapaxes(values, -1, -2) + 3 * np.eye(shape[-1])


def _masked(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    """Whole rows of zeros, beside others."""
    values = rng.normal(size=shape)
    return values * (rng.random(shape[:1]) < 0.5).reshape(shape[:1] + (1,) * (len(shape) - 1))


def _extremes(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    info = np.finfo(dtype)
    large, small = float(info.max) ** 0.6, float(info.tiny) ** 0.6
    return rng.choice([1.0, -2.0, 30.0, -40.0, 100.0, -800.0, 800.0, large, -large, small, -small], shape)


def _equal(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    return np.full(shape, rng.choice([0.0, 0.7, -1.5]))


def _non_finite(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    values = rng.normal(size=shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([np.inf, -np.inf, np.nan, -0.0], shape), values)


def _far(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    return rng.uniform(-30.0, 30.0, shape)


_FLOATS: tuple[Callable[..., Any], ...] = (
    _normal,
    _ties,
    _positive,
    _definite,
    _masked,
    _of_many_sizes,
    _far,
    _extremes,
    _equal,
    _non_finite,
)


# --- evaluation --------------------------------------------------------------------------------------


class _Evaluation:
    """A graph at a point: the results, how far rounding may move them, and their values in extended precision."""

    def __init__(self, graph: Graph, feeds: Feeds, dims: dict[str, int]) -> None:
        self.graph = graph
        self.failed: Exception | None = None
        self._feeds, self._dims = feeds, dims
        self._moves: dict[str, Array] | None = None
        self._wide: dict[str, Array] | None = None
        self._wide_overflows = False
        try:
            self.results = self._evaluate(self._plainly)
        except Exception as error:  # no value here: a singular matrix, an index beyond the end, or what a wrong pass has built
            self.results, self.failed = {}, error

    def _evaluate(self, compute: Callable[[Node, list[Array]], Array], dtype: Any = None) -> dict[str, Array]:
        values: Values = {}
        with np.errstate(all="ignore"):
            for name, node in self.graph.placeholders.items():
                feed = self._feeds[name]
                values[node] = feed.astype(dtype) if dtype is not None and feed.dtype.kind == "f" else feed
            for node in self.graph.nodes:
                if node.op is not PLACEHOLDER:
                    values[node] = compute(node, [values[i] for i in node.inputs])
        return {name: values[node] for name, node in self.graph.outputs.items()}

    def _plainly(self, node: Node, operands: list[Array]) -> Array:
        iterates = node.op.kernel is None and not (node.op.elementwise or node.op.view)
        if iterates and not all(map(_is_tame, operands)):
            raise EvaluationError(f"{node.op.name}: the iterations of a decomposition may not end on extreme numbers")
        return evaluate_node(node, operands, self._dims)

    @property
    def moves(self) -> dict[str, Array]:
        """How far each entry of the results moves where what the ops compute is moved by a unit in the last place or two."""
        if self._moves is None:
            self._moves = {name: np.zeros(value.shape) for name, value in self.results.items()}
            for k in range(_MOVED_RUNS):
                rng = np.random.default_rng(k)
                try:
                    moved = self._evaluate(lambda node, operands, rng=rng: self._moved(node, operands, rng))  # type: ignore[misc]
                except Exception:  # as above, a unit in the last place further on
                    continue
                for name, value in moved.items():
                    self._moves[name] = np.fmax(self._moves[name], _distance(value, self.results[name]))
        return self._moves

    def _moved(self, node: Node, operands: list[Array], rng: np.random.Generator) -> Array:
        op = node.op
        if not node.inputs or op.moves or op.view or op.masks or node.dtype.kind != "f":
            return self._plainly(node, operands)
        value = self._plainly(node, operands if op.elementwise else [_nudged(x, _looks_exact(x), rng) for x in operands])
        return _nudged(value, _is_exact(value, operands, op.elementwise), rng)

    @property
    def wide(self) -> dict[str, Array] | None:
        """The results in extended precision; where an op does not compute in that, it computes on rounded operands.

        None where that overflows too on the way: it says nothing of a result that a better way has.
        """
        if self._wide is None:
            self._wide = self._evaluate(self._widely, _WIDE)
        return None if self._wide_overflows else self._wide

    def _widely(self, node: Node, operands: list[Array]) -> Array:
        if not node.inputs:
            value = self._plainly(node, operands)
            return value.astype(_WIDE) if value.dtype.kind == "f" else value
        narrow = [x.astype(i.dtype) if x.dtype != i.dtype else x for x, i in zip(operands, node.inputs, strict=True)]
        rounded = self._plainly(node, narrow)
        if node.dtype.kind != "f":
            return rounded
        try:
            value = np.asarray(node.op.evaluate(*operands, **_attrs(node, self._dims)))
        except Exception:  # whatever an op of a user does with numbers of a kind that it has not seen
            value = rounded
        value = value if value.dtype == _WIDE and value.shape == rounded.shape else rounded.astype(_WIDE)
        self._wide_overflows |= bool(np.isinf(value).any()) and all(np.isfinite(x).all() for x in operands)
        return value


def _attrs(node: Node, dims: Mapping[str, int]) -> dict[str, Any]:
    return {name: resolve(value, dims) for name, value in node.attrs}


def _is_tame(x: Array) -> bool:
    """True where the numbers are neither NaN nor infinite nor so large or small that products of a few of them would be."""
    if x.dtype.kind != "f":
        return True
    limit = float(np.finfo(x.dtype).max) ** 0.25
    size = np.abs(x[x != 0])
    return bool(((size < limit) & (size > 1 / limit)).all())


def _looks_exact(x: Array) -> Array:
    """True for what sums and products of small numbers come to without rounding: small multiples of 1/1024."""
    if x.dtype.kind != "f":
        return np.ones(x.shape, bool)
    scaled = x * 1024
    return np.asarray((np.abs(scaled) < 2**20) & (scaled == np.rint(scaled)))


def _is_exact(value: Array, operands: list[Array], elementwise: bool) -> Array:
    """True where a result and what it is computed from look exact: exp(0) = 1 is, exp(1e-20) = 1 is not."""
    found = _looks_exact(value)
    for x in operands:
        exact = _looks_exact(x)
        found = found & (exact if elementwise else exact.all())
    return found


def _nudged(x: Array, exact: Array, rng: np.random.Generator) -> Array:
    """`x` with its entries moved by a unit in the last place or two, where they are not exact."""
    if x.dtype.kind != "f":
        return x
    step = rng.choice([-2, -1, 1, 2], x.shape) * np.finfo(x.dtype).eps
    return np.where(exact | ~np.isfinite(x), x, x * (1 + step)).astype(x.dtype)


def _distance(a: Array, b: Array) -> Array:
    """|a - b| as float64, 0 where both are the same or both NaN, infinite where one is finite and the other not."""
    with np.errstate(all="ignore"):
        apart = np.abs(np.subtract(a, b, dtype=_WIDE)) if a.dtype.kind == "f" else (a != b).astype(np.float64)
        same = (a == b) | ((a != a) & (b != b))
        return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart)).astype(np.float64)


# --- judgement ---------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """Where two evaluations differ: the output, the entry, and its value before and after."""

    output: str
    entry: tuple[int, ...]
    before: Any
    after: Any


def _difference(before: _Evaluation, after: _Evaluation, numerics: Numerics) -> _Found | None:
    """The first entry of an output that differs by more than the numerics allow; None where there is none."""
    if before.failed is not None:
        return None
    if after.failed is not None:
        return _Found(next(iter(before.results), ""), (), "a value", f"{type(after.failed).__name__}: {after.failed}")
    for name, a in before.results.items():
        b = after.results[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            return _Found(name, (), f"{a.dtype}{list(a.shape)}", f"{b.dtype}{list(b.shape)}")
        wrong = _changed_bits(a, b) if numerics is Numerics.EXACT else _too_far(name, before, after)
        if wrong.any():
            entry = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), a.shape))
            return _Found(name, entry, a[entry], b[entry])
    return None


def _changed_bits(a: Array, b: Array) -> Array:
    """True where bits differ; one NaN is as good as another."""
    if a.dtype.kind != "f":
        return np.asarray(a != b)
    bits = f"u{a.dtype.itemsize}"
    differ = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    return np.asarray(differ.reshape(a.shape) & ~(np.isnan(a) & np.isnan(b)))


def _too_far(name: str, before: _Evaluation, after: _Evaluation) -> Array:
    a, b = before.results[name], after.results[name]
    apart = _distance(a, b)
    if a.dtype.kind != "f":
        return np.asarray(apart > 0)
    info = np.finfo(a.dtype)
    close = _ULPS * float(info.eps) * np.abs(a.astype(np.float64)) + float(info.smallest_subnormal) * _ULPS
    finite = np.isfinite(a)
    wrong = finite & (apart > close)
    if wrong.any():
        with np.errstate(invalid="ignore"):
            wrong &= apart > close + _SLACK * (before.moves[name] + after.moves[name])
    if wrong.any() and np.finfo(_WIDE).maxexp > np.finfo(np.float64).maxexp:
        exact = before.wide
        wrong &= _distance(b, exact[name]) > 2 * _distance(a, exact[name]) + close if exact is not None else False
    return np.asarray(wrong)


# --- what is told ------------------------------------------------------------------------------------


def _message(
    name: str,
    numerics: Numerics,
    before: Graph,
    step: Callable[[Graph], Graph],
    point: tuple[Feeds, dict[str, int]],
    found: _Found,
) -> str:
    first = _first_node(before, step, point, numerics)
    at = f"at {list(found.entry)} " if found.entry else ""
    told = f"pass {name!r} ({numerics}) changed output {found.output!r}: {at}{found.before} before, {found.after} after"
    if first is not None:
        node, changed = first
        told += f"\n  the first node that it changed: {describe(node)}: {changed.before} before, {changed.after} after"
    feeds = "".join(f"\n  {key} = {_short(value)}" for key, value in list(point[0].items())[:8])
    return f"{told}\n  where{feeds}"


def _short(value: Array) -> str:
    return np.array2string(value, threshold=12, edgeitems=3).replace("\n", "")[:200]


def _first_node(
    before: Graph, step: Callable[[Graph], Graph], point: tuple[Feeds, dict[str, int]], numerics: Numerics
) -> tuple[Node, _Found] | None:
    """The first node whose value the pass changes where every node is an output; None where none is then."""
    every = {f"v{k}": node for k, node in enumerate(before.nodes) if node.inputs}
    shown = before.with_outputs(every)
    try:
        changed = step(shown)
    except Exception:  # a pass that is wrong may be wrong in any way on another graph
        return None
    a, b = _Evaluation(shown, *point), _Evaluation(changed, *point)
    if a.failed is not None or b.failed is not None or a.results.keys() != b.results.keys():
        return None
    found = _difference(a, b, numerics)
    return None if found is None else (every[found.output], found)
