"""Proving gradients against numeric differentiation.

For an output y, a fixed v of its shape and directions u, reverse mode gives J^T v and forward mode J u; differences give J u as
well, without any rule: its only value where both sides of the point agree, else bounds (see `gradc.testing.slopes`). Then
<w, J^T v> and <v, J w> for a fixed w are scalar functions of the same variables, and their derivatives are the next order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.differentiate import differentiate
from gradc.errors import ArgumentError, CheckError, DTypeError, FeedError, GraphError, NamingError, NoGradientError
from gradc.interpret import Trace, check_feeds, evaluate
from gradc.ir import CONSTANT, Array, Graph, Node, concrete_type, constant, describe, origin_of_new_nodes, walk
from gradc.ops.declare import call
from gradc.ops.elementwise import stop_gradient
from gradc.ops.masks import keep_zeros
from gradc.passes.rewrite import rewrite
from gradc.testing.slopes import Slopes, join, slopes
from gradc.types import resolve

ENTRIES = 64
"""A variable of at most so many entries is checked entry by entry, a larger one along random directions."""

_JACOBIAN = 1 << 22
_DIRECTIONS = 3
_STEP = 3e-4
_ADVICE = (
    "differences tell what the derivative is, or lies between, and the gradient is another number: conventions of parts took its "
    "place.\n  write the function as a smooth one, or with a function of gradc that is; or move the point"
)
_FLOAT64 = np.dtype("float64")
_EPSILON = float(np.finfo(_FLOAT64).eps)


class GradientError(CheckError):
    """A derivative disagrees with numeric differentiation."""


class Tolerance(NamedTuple):
    """Two numbers agree when they differ by at most `absolute` + `relative` times the larger one."""

    relative: float
    absolute: float

    def accepts(self, a: Any, b: Any, noise: Any = 0.0) -> Any:
        """Entry by entry, whether `a` and `b` agree up to `noise`."""
        return self.between(a, b, b, noise)

    def between(self, a: Any, low: Any, high: Any, noise: Any = 0.0) -> Any:
        """Entry by entry, whether `a` is between `low` and `high`, or agrees with one of them up to `noise`."""
        size = np.maximum(np.abs(a), np.minimum(np.abs(low), np.abs(high)))
        bound = self.absolute + self.relative * np.where(np.isfinite(size), size, 0.0) + noise
        return (a >= low - bound) & (a <= high + bound)


def check_gradients(
    graph: Graph,
    feeds: Mapping[str, Any],
    wrt: Any = None,
    order: int = 2,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Compare both modes with differences at the point, and with each other, for every output of `graph`.

    Everything is computed in float64: narrower floating point types of the graph are widened first. The differences are
    Richardson-extrapolated, on both sides of the point separately, for each entry of variables of at most 64 entries, and
    along random directions of larger ones. Where the sides agree, the derivative must be that number, whatever ops are at
    a kink there. Where they differ (a kink, a jump, the end of a domain) there is no derivative, and a convention in its
    place passes if it lies between the slopes of the sides; NaN passes there from the second order on. What passes through
    `stop_gradient` is held fixed. A mode for which an op on the path has no rule is left out.

    Args:
        graph: any graph; symbolic dimensions take the sizes of the feeds.
        feeds: the point, a value per placeholder.
        wrt: the variables, floating point placeholders by name or node; all of them when left out.
        order: up to which order; at 2, the derivatives of the gradient along random directions too, in all four
            combinations of the modes.
        rtol: relative tolerance, 1e-6 when left out.
        atol: absolute tolerance, 1e-8 when left out.

    Raises:
        GradientError: naming the output, the variable, the entry or direction, both values, and the op whose rule,
            checked by itself at the values it had, is wrong; or the op whose convention took the place of a derivative
            that the function has.
        GradcError: the graph, the feeds or an option is malformed, or neither mode has all the rules.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"check_gradients: expected a graph, got {type(graph).__name__}")
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise ArgumentError(f"check_gradients: order is an integer from 1 on, got {order!r}")
    tolerance = Tolerance(_tolerance("rtol", rtol, 1e-6), _tolerance("atol", atol, 1e-8))
    names = _variables(graph, wrt)
    wide, point = _at_point(graph, feeds)
    _check_finite(names, point, wide)
    with np.errstate(all="ignore"):
        for output, node in wide.outputs.items():
            if node.type.is_float:
                fault = _find_fault(wide, output, point, names, order, tolerance)
                if fault is not None:
                    raise GradientError(fault.text + _culprit(fault, wide, output, point, names, tolerance))


# --- what was asked ----------------------------------------------------------------------------------


def _tolerance(name: str, given: float | None, default: float) -> float:
    if given is None:
        return default
    if not isinstance(given, (int, float)) or not 0 <= given < np.inf:
        raise ArgumentError(f"check_gradients: {name} is a finite number from 0 on, got {given!r}")
    return float(given)


def _variables(graph: Graph, wrt: Any) -> list[str]:
    placeholders = graph.placeholders
    if not any(node.type.is_float for node in graph.outputs.values()):
        raise GraphError(f"check_gradients: graph {graph.name!r} has no floating point output")
    if wrt is None:
        asked: Sequence[Any] = [name for name, node in placeholders.items() if node.type.is_float]
        if not asked:
            raise GraphError(f"check_gradients: graph {graph.name!r} has no floating point placeholder")
    else:
        asked = wrt if isinstance(wrt, (list, tuple)) else [wrt]
    if not asked:
        raise ArgumentError("check_gradients: wrt is empty; name at least one placeholder, or leave it out for all")
    names: list[str] = []
    for item in asked:
        name = item.name if isinstance(item, Node) else item
        if not isinstance(name, str) or name not in placeholders or (isinstance(item, Node) and placeholders[name] is not item):
            shown = describe(item) if isinstance(item, Node) else repr(item)
            raise NamingError(
                f"check_gradients: wrt {shown} is no placeholder of graph {graph.name!r}, and differences can move nothing "
                f"else; its placeholders are {', '.join(placeholders) or 'none'}"
            )
        if not placeholders[name].type.is_float:
            raise DTypeError(f"check_gradients: wrt {name!r} is {placeholders[name].type}; only floating point has derivatives")
        if name in names:
            raise NamingError(f"check_gradients: wrt names {name!r} twice")
        names.append(name)
    return names


def _at_point(graph: Graph, feeds: Mapping[str, Any]) -> tuple[Graph, dict[str, Array]]:
    """The graph at float64 with the sizes that the feeds have, and the feeds at float64."""
    if not isinstance(feeds, Mapping):
        raise ArgumentError(f"check_gradients: feeds is a mapping from names to values, got {type(feeds).__name__}")
    floats = {name for name, node in graph.placeholders.items() if node.type.is_float}
    point, dims = check_feeds(
        at_float64(graph, {}).placeholders, {name: _widened(v) if name in floats else v for name, v in feeds.items()}
    )
    return at_float64(graph, dims), point


def _widened(value: Any) -> Any:
    return value.astype(_FLOAT64) if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f" else value


def _check_finite(names: Sequence[str], point: Mapping[str, Array], graph: Graph) -> None:
    for name in names:
        if not np.isfinite(point[name]).all():
            raise FeedError(f"check_gradients: feed {name!r} holds NaN or infinity; differences need finite values")
    trace = evaluate(graph, point)
    for output, node in graph.outputs.items():
        if node.type.is_float and not np.isfinite(trace[node]).all():
            raise FeedError(f"check_gradients: output {output!r} holds NaN or infinity at these feeds; it has no differences")


def at_float64(graph: Graph, dims: Mapping[str, int]) -> Graph:
    """The same graph with every floating point type, casts included, widened to float64, and its dimensions `dims`."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op is CONSTANT and node.type.is_float:
            with origin_of_new_nodes(node.origin):
                new[node] = constant(node.attr("value").array, _FLOAT64)
            continue
        inputs = tuple(new[i] for i in node.inputs)
        attrs = tuple((key, _at_float64(resolve(value, dims) if dims else value)) for key, value in node.attrs)
        node_type = concrete_type(node, tuple(i.type for i in inputs), attrs, dims)
        new[node] = Node(node.op, inputs, attrs, node_type, node.origin)
    placeholders = {name: new[node] for name, node in graph.placeholders.items()}
    return Graph.of(graph.name, placeholders, {name: new[node] for name, node in graph.outputs.items()})


def _at_float64(value: Any) -> Any:
    return _FLOAT64 if isinstance(value, np.dtype) and value.kind == "f" else value


# --- differences -------------------------------------------------------------------------------------


class _Move(NamedTuple):
    """A direction to move one variable in: a unit one where `entry` is an index, a random one where it is None."""

    name: str
    entry: tuple[int, ...] | None
    direction: Array


def _moves(name: str, value: Array, result_size: int) -> Iterator[_Move]:
    """Every entry of a small variable; random directions of a large one, or where the Jacobian would be large."""
    if value.size > ENTRIES or value.size * result_size > _JACOBIAN:
        rng = np.random.default_rng(0)
        for _ in range(_DIRECTIONS):
            yield _Move(name, None, _normal(rng, value.shape))
        return
    for entry in np.ndindex(value.shape):
        direction = np.zeros(value.shape)
        direction[entry] = 1.0
        yield _Move(name, entry, direction)


class _Bounds(NamedTuple):
    """Between what the derivative of each entry of an output lies; `noise` is how far differences may be off."""

    low: Array
    high: Array
    noise: Array

    def along(self, v: Array) -> tuple[float, float, float]:
        """The bounds and the noise of sum(v * derivative)."""
        return *join(v, self.low, self.high), float((self.noise * np.abs(v)).sum())

    def at(self, entry: tuple[int, ...]) -> tuple[float, float, float]:
        return float(self.low[entry]), float(self.high[entry]), float(self.noise[entry])


class _Differences:
    """The derivative of one output along moves: first cheaply, then, where that did not agree, on both sides of the point."""

    def __init__(
        self, graph: Graph, output: str, point: Mapping[str, Array], names: Sequence[str], frozen: frozenset[Node]
    ) -> None:
        trace = evaluate(graph, point)
        value = trace[graph.outputs[output]]

        def fixed(node: Node) -> Node:
            return constant(trace[node]) if node in frozen else node

        self._graph = rewrite(graph, [fixed])
        self._output, self._point = self._graph.outputs[output], point
        self._cheap: dict[int, _Bounds] = {}
        self._slopes: dict[int, tuple[_Move, Slopes]] = {}
        self._rounding = 8 * _EPSILON * np.full_like(value, np.max(np.abs(value), initial=0.0))
        self.known = bool(np.isfinite(value).all())
        self.moves = [move for name in names for move in _moves(name, point[name], value.size)]

    def _central(self, move: _Move, step: float) -> Array:
        """(f(x + step u) - f(x - step u)) / 2 step, with steps relative to entries larger than 1."""
        size = step * max(1.0, abs(self._place(move)))
        return (self._value(move, size) - self._value(move, -size)) / (2 * size)

    def _place(self, move: _Move) -> float:
        return 0.0 if move.entry is None else float(self._point[move.name][move.entry])

    def _value(self, move: _Move, step: float) -> Array:
        moved = self._point[move.name] + step * move.direction
        return evaluate(self._graph, {**self._point, move.name: moved})[self._output]

    def cheap(self, move: _Move) -> _Bounds:
        """The derivative from four values, and what rounding may have put into it."""
        key = id(move)
        if key not in self._cheap:
            wide, narrow = self._central(move, _STEP), self._central(move, _STEP / 2)
            column = (4 * narrow - wide) / 3
            self._cheap[key] = _Bounds(column, column, self._rounding / _STEP)
        return self._cheap[key]

    def best(self, move: _Move) -> _Bounds:
        """What the slopes on both sides leave for a derivative."""
        return _Bounds(*self.slopes(move).bounds())

    def at_kink(self) -> bool:
        """Whether there is no derivative along some move."""
        return any(not self.slopes(move).agree.all() for move in self.moves)

    def is_additive(self, move: _Move) -> bool:
        """Whether slopes along moves of the variable of `move` add up; where they do not, there is no derivative.

        The median of equal entries moves with none of them, and with all of them.
        """
        others = [m for m in self.moves if m.name == move.name and self.slopes(m).agree.all()]
        if len(others) < 2:
            return True
        for seed in range(2):
            weights = np.random.default_rng(seed).standard_normal(len(others))
            along = np.asarray(sum(w * m.direction for w, m in zip(weights, others, strict=True)))
            found = self.slopes(_Move(move.name, None, along))
            parts = [w * self.slopes(m).bounds()[0] for w, m in zip(weights, others, strict=True)]
            noise = 1e-4 * (1e-3 + sum(np.abs(part) for part in parts))
            if not np.all(found.agree & (np.abs(found.bounds()[0] - sum(parts)) <= noise)):
                return False
        return True

    def slopes(self, move: _Move) -> Slopes:
        """The slopes on both sides."""
        key = id(move)
        if key not in self._slopes:
            place = abs(self._place(move))
            scales = [max(1.0, place), *([place] if 0 < place < 1e-2 else [])]
            self._slopes[key] = move, slopes(lambda step: self._value(move, step), scales)
        return self._slopes[key][1]


# --- one order after the other -----------------------------------------------------------------------


class Fault(NamedTuple):
    """A disagreement: in words, in which mode, at which order, and the graph whose rules made it."""

    text: str
    mode: str
    order: int
    graph: Graph
    output: str
    is_nan: bool


class _Target(NamedTuple):
    """A graph, its output to differentiate, and how the output came about: the modes so far, newest first."""

    graph: Graph
    output: str
    modes: tuple[str, ...]


def _find_fault(
    graph: Graph, output: str, point: Mapping[str, Array], names: Sequence[str], order: int, tolerance: Tolerance
) -> Fault | None:
    """The first disagreement, lower orders first."""
    targets = [_Target(Graph.of(graph.name, graph.placeholders, {output: graph.outputs[output]}), output, ())]
    first: Any = None
    frozen = frozenset(node for node in graph.nodes if node.op is stop_gradient)
    for level in range(1, order + 1):
        differences = _Differences(targets[0].graph, targets[0].output, point, names, frozen)
        if not differences.known:
            return None
        following: list[_Target] = []
        first = differences if level == 1 else first
        for target in targets:
            pair = _Pair(target, point, names, tolerance, differences, output, first.at_kink)
            fault = pair.first_fault()
            if fault is not None:
                return fault
            if level < order:
                following += pair.next_targets()
        targets = following
    return None


class _Pair:
    """Both modes' derivative of one target."""

    def __init__(
        self,
        target: _Target,
        point: Mapping[str, Array],
        names: Sequence[str],
        tolerance: Tolerance,
        differences: _Differences,
        output: str,
        at_kink: Callable[[], bool],
    ) -> None:
        self.target, self.point, self.names = target, point, names
        self.tolerance, self.differences, self.output, self.at_kink = tolerance, differences, output, at_kink
        rng = np.random.default_rng(1)
        shape = _shape(target.graph.outputs[target.output])
        self.v = _normal(rng, shape) if np.prod(shape) != 1 else np.ones(shape)
        self.w = {name: _normal(rng, point[name].shape) for name in names}
        self.reverse = self._extended("reverse")
        self.forward = self._extended("forward")
        if self.reverse is None and self.forward is None:
            differentiate(target.graph, names, of=target.output, on_disconnected="zeros")

    def _extended(self, mode: str) -> Graph | None:
        options: dict[str, Any] = {"seed": True} if mode == "reverse" else {"mode": mode}
        try:
            return differentiate(self.target.graph, self.names, of=self.target.output, on_disconnected="zeros", **options)
        except NoGradientError:
            return None

    def first_fault(self) -> Fault | None:
        pulled = self._pull()
        pushed = self._push(self.w)
        if pulled is not None:
            for move in self.differences.moves:
                text = self._reverse_fault(move, pulled[move.name])
                if text and self.differences.is_additive(move):
                    return self._fault("reverse", text)
        singular = pulled is not None and not all(np.isfinite(a).all() for a in pulled.values())
        if pushed is not None and not singular:  # a tangent of 0 times infinity is NaN, and says nothing of the rule
            for name in self.names:
                text = self._forward_fault(name)
                if text:
                    return self._fault("forward", text)
        if pulled is not None and pushed is not None:
            text = self._identity_fault(pulled, pushed)
            return self._fault("forward", text) if text else None
        return None

    def _fault(self, mode: str, text: str) -> Fault:
        return Fault(text, mode, len(self.target.modes) + 1, self.target.graph, self.target.output, "gives nan," in text)

    # the two products

    def _pull(self, seed: Array | None = None) -> dict[str, Array] | None:
        """J^T seed, by variable."""
        if self.reverse is None:
            return None
        bar = list(self.reverse.placeholders)[-1]
        trace = evaluate(self.reverse, {**self.point, bar: self.v if seed is None else seed})
        return {name: trace[self.reverse.grad[name]] for name in self.names}

    def _push(self, directions: Mapping[str, Array]) -> Array | None:
        """J u, for u by variable; zero where it is not given."""
        if self.forward is None:
            return None
        fed = {dot: directions.get(n, np.zeros(self.point[n].shape)) for n, dot in self._dots(self.forward).items()}
        return evaluate(self.forward, {**self.point, **fed})[list(self.forward.outputs.values())[-1]]

    def _dots(self, forward: Graph) -> dict[str, str]:
        return dict(zip(self.names, list(forward.placeholders)[-len(self.names) :], strict=True))

    # against differences

    def _accepts(self, ours: Any, low: Any, high: Any, noise: Any) -> Any:
        """Whether a derivative is within its bounds.

        Where there are none, anything is. From the second order on, so is anything at a jump of what is differentiated, and NaN
        at a kink of what was: a convention is differentiated again.
        """
        close = self.tolerance.between(ours, low, high, noise) | np.isnan(low)
        if self.target.modes:
            close |= ~np.isfinite(low) | ~np.isfinite(high)
            if np.any(np.isnan(ours) & ~close):
                close |= np.isnan(ours) & ((low != high) | self.at_kink())
        return close

    def _reverse_fault(self, move: _Move, adjoint: Array) -> str:
        ours = _along(adjoint, move.direction)
        for differences in (self.differences.cheap, self.differences.best):
            bounds = differences(move)
            low, high, noise = bounds.along(self.v)
            if self._accepts(ours, low, high, noise):
                return ""
        return self._entry_fault(move, bounds) or self._text("reverse", "", self._place(move), ours, low, high)

    def _entry_fault(self, move: _Move, bounds: _Bounds) -> str:
        """Which entry of a non-scalar output it is: reverse mode with a unit seed for each in turn."""
        if not 1 < bounds.low.size <= ENTRIES:
            return ""
        for entry in np.ndindex(bounds.low.shape):
            seed = np.zeros(bounds.low.shape)
            seed[entry] = 1.0
            pulled = self._pull(seed)
            ours = _along(pulled[move.name], move.direction) if pulled else np.nan
            low, high, noise = bounds.at(entry)
            if not self._accepts(ours, low, high, noise):
                return self._text("reverse", _index(entry), self._place(move), ours, low, high)
        return ""

    def _forward_fault(self, name: str) -> str:
        """All moves of a variable at once; one by one where that disagrees."""
        moves = [m for m in self.differences.moves if m.name == name]
        weights = np.random.default_rng(2).standard_normal(len(moves))
        if moves and self._agrees(moves, weights):
            return ""
        for move in moves:
            ours = np.asarray(self._push({name: move.direction}))
            for differences in (self.differences.cheap, self.differences.best):
                bounds = differences(move)
                close = self._accepts(ours, *bounds)
                if np.all(close):
                    break
            else:
                entry = tuple(int(i) for i in np.argwhere(~close)[0])
                if not self.differences.is_additive(move):
                    continue
                low, high, _ = bounds.at(entry)
                return self._text("forward", _index(entry), self._place(move), float(ours[entry]), low, high)
        return ""

    def _agrees(self, moves: Sequence[_Move], weights: Array) -> bool:
        direction = sum(r * move.direction for r, move in zip(weights, moves, strict=True))
        columns = [self.differences.cheap(move) for move in moves]
        theirs = sum(r * column.low for r, column in zip(weights, columns, strict=True))
        noise = float(np.abs(weights).sum()) * columns[0].noise
        return bool(np.all(self.tolerance.accepts(self._push({moves[0].name: np.asarray(direction)}), theirs, noise)))

    def _identity_fault(self, pulled: Mapping[str, Array], pushed: Array) -> str:
        """<v, J w> = <J^T v, w>, to rounding."""
        right = [pulled[name] * self.w[name] for name in self.names]
        ours, theirs = float(np.vdot(self.v, pushed)), float(sum(part.sum() for part in right))
        size = float(np.abs(self.v * pushed).sum()) + sum(float(np.abs(part).sum()) for part in right)
        if abs(ours - theirs) <= 1e-9 * size + 1e-12 or not (np.isfinite(ours) or np.isfinite(theirs)):
            return ""
        return (
            f"{self._title('')} / d {', '.join(self.names)}: forward mode gives <v, J w> = {ours:.12g}, "
            f"reverse mode <J^T v, w> = {theirs:.12g}, for random v and w"
        )

    # in words

    def _title(self, entry: str) -> str:
        if not self.target.modes:
            return f"d {self.output}{entry}" if entry or self.v.size == 1 else f"d <v, {self.output}> (v is random)"
        return f"order {len(self.target.modes) + 1}, d <w, derivative of {self.output}> (w is random)"

    def _place(self, move: _Move) -> str:
        return f"{move.name}{_index(move.entry)}" if move.entry is not None else f"{move.name} along a random direction"

    def _text(self, mode: str, entry: str, place: str, ours: float, low: float, high: float) -> str:
        modes = " over ".join((mode, *self.target.modes))
        theirs = f"{low:.12g}" if low == high else f"{low:.12g} on one side and {high:.12g} on the other"
        return f"{self._title(entry)} / d {place}: {modes} mode gives {ours:.12g}, differences give {theirs}"

    # the next order

    def next_targets(self) -> list[_Target]:
        """<w, J^T v> and <v, J w>, as outputs of graphs with the same placeholders as before."""
        made = []
        if self.reverse is not None:
            bar = list(self.reverse.placeholders)[-1]
            products = [(self.reverse.grad[name], self.w[name]) for name in self.names]
            made.append(self._projected(self.reverse, products, {bar: self.v}, "reverse"))
        if self.forward is not None:
            fixed = {dot: self.w[name] for name, dot in self._dots(self.forward).items()}
            made.append(self._projected(self.forward, [(list(self.forward.outputs.values())[-1], self.v)], fixed, "forward"))
        return made

    def _projected(
        self, extended: Graph, products: Sequence[tuple[Node, Array]], fixed: Mapping[str, Array], mode: str
    ) -> _Target:
        parts = [call("sum", node * weights) for node, weights in products]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        values = {extended.placeholders[name]: value for name, value in fixed.items()}

        def closing(node: Node) -> Node:
            return constant(values[node]) if node in values else node

        closed = rewrite(Graph.of(extended.name, extended.placeholders, {"s": total}), [closing])
        left = {name: node for name, node in closed.placeholders.items() if name not in fixed}
        return _Target(Graph.of(closed.name, left, closed.outputs), "s", (mode, *self.target.modes))


def _shape(node: Node) -> tuple[int, ...]:
    shape: tuple[Any, ...] = node.shape
    return shape


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.standard_normal(shape))


def _along(adjoint: Array, direction: Array) -> float:
    """Their inner product; an infinite adjoint where nothing moves adds nothing."""
    moves = direction != 0
    return float(np.vdot(adjoint[moves], direction[moves]))


def _index(entry: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, entry))}]" if entry else ""


# --- whose rule it is --------------------------------------------------------------------------------


def _culprit(
    fault: Fault, graph: Graph, output: str, point: Mapping[str, Array], names: Sequence[str], tolerance: Tolerance
) -> str:
    """The op whose rule is wrong: found by checking each node by itself, at the values that it had.

    First the rules that the failing order was made with; then, of the graph as it was given, the rules of the rules.
    """
    loose = Tolerance(max(tolerance.relative, 1e-6), max(tolerance.absolute, 1e-8))
    for suspects, root, order in ((fault.graph, fault.output, 1), (graph, output, fault.order)):
        trace = evaluate(suspects, point)
        for node in _judged(suspects, root, names, trace):
            found = _find_fault(*_alone(node, trace), order, loose)
            if found is not None and not (found.is_nan and order < fault.order):
                return _verdict(node, found)
    return f"\n  {_place_of_convention(graph, output, point, names)}\n  {_ADVICE}"


def _place_of_convention(graph: Graph, output: str, point: Mapping[str, Array], names: Sequence[str]) -> str:
    """The first op that has no derivative by itself, or else the first that selects otherwise beside the point."""
    trace = evaluate(graph, point)
    bent = next((node for node in _judged(graph, output, names, trace) if _is_bent(node, trace)), None)
    if bent is not None:
        return f"op {bent.op.name!r} is at a kink or a jump: {describe(bent)}"
    switch = _find_switch(graph, output, point, names, trace)
    if switch is not None:
        return f"op {switch.op.name!r} selects another operand beside the point, and derivatives are of one: {describe(switch)}"
    return "every rule holds by itself at these values"


def _find_switch(graph: Graph, output: str, point: Mapping[str, Array], names: Sequence[str], trace: Trace) -> Node | None:
    """The first op on the path with a condition that is another next to the point."""
    rng = np.random.default_rng(3)
    steps = {name: _STEP * _normal(rng, point[name].shape) for name in names}
    beside = [evaluate(graph, {**point, **{n: point[n] + sign * step for n, step in steps.items()}}) for sign in (1, -1)]
    for node in _on_path(graph, output, names):
        conditions = [i for i in node.inputs if i.dtype.kind == "b"]
        if any(not np.array_equal(trace[i], moved[i]) for i in conditions for moved in beside):
            return node
    return None


def _judged(graph: Graph, output: str, names: Sequence[str], trace: Trace) -> Iterator[Node]:
    """The active ops with finite values."""
    for node in _active(graph, output, names):
        if all(np.isfinite(trace[n]).all() for n in (node, *node.inputs)):
            yield node


def _is_bent(node: Node, trace: Trace) -> bool:
    """Whether an op by itself has no derivative at the values that it had."""
    alone, output, point, names = _alone(node, trace)
    return _Differences(alone, output, point, names, frozenset()).at_kink()


def _active(graph: Graph, output: str, names: Sequence[str]) -> Iterator[Node]:
    """The ops on a path from the variables, in order, that can be judged by themselves.

    One that takes a value and, without a rule, a function of that value (tanh's slope from x and tanh x) cannot; nor can one
    whose operand has to be 0 or NaN wherever a mask is.
    """
    for node in _on_path(graph, output, names):
        if node.op is not keep_zeros and all(node.op.carries(k) for k, i in enumerate(node.inputs) if i.type.is_float):
            yield node


def _on_path(graph: Graph, output: str, names: Sequence[str]) -> Iterator[Node]:
    """The ops that pass derivatives with respect to the variables on, in order."""
    reached = {graph.placeholders[name] for name in names}
    for node in walk([graph.outputs[output]]):
        if node.type.is_float and node.op is not stop_gradient:
            if any(i in reached and node.op.carries(k) for k, i in enumerate(node.inputs)):
                reached.add(node)
                yield node


def _alone(node: Node, trace: Trace) -> tuple[Graph, str, dict[str, Array], list[str]]:
    """A graph of this node only, and the values of its operands."""
    graph = Graph("one node")
    operands = tuple(graph.placeholder(f"x{k}", i.shape, i.dtype) for k, i in enumerate(node.inputs))
    graph.output("y", Node(node.op, operands, node.attrs, node.type, node.origin))
    floats = [f"x{k}" for k, i in enumerate(node.inputs) if i.type.is_float and node.op.carries(k)]
    return graph, "y", {f"x{k}": trace[i] for k, i in enumerate(node.inputs)}, floats


def _verdict(node: Node, fault: Fault) -> str:
    rule = "vjp" if fault.mode == "reverse" else "jvp"
    derivative = "" if fault.order == 1 else f" has a wrong derivative of order {fault.order},"
    said = f"the {rule} of op {node.op.name!r}{derivative or ' is wrong'}"
    return f"\n  {said} at {describe(node)}\n  by itself: {fault.text}"
