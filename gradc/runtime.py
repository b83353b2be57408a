"""Executables: a compiled graph to call, from any number of threads."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from gradc.backends.bound import LongProgram
from gradc.backends.numpy import Program, Run
from gradc.errors import VALUE_ERRORS, ArgumentError, EvaluationError, FeedError, NamingError
from gradc.interpret import check_feeds, evaluate
from gradc.ir import Array, Graph, Node, paused_collector
from gradc.measure import Memory, Profile, memory_of, profile
from gradc.passes import DEFAULT, PassReport, optimise
from gradc.passes.rewrite import lowered
from gradc.plan import Plan, make_plan
from gradc.types import Dim, TensorType, as_size, resolve_shape, show_shape

_KEPT_PROGRAMS = 8
_LONG_NODES = 1000
_SMALL_BYTES = 1 << 16
_TYPICAL_SIZE = 64


def compile(
    graph: Graph,
    outputs: Sequence[str] | str | None = None,
    *,
    backend: str = "numpy",
    passes: Sequence[Any] | None = None,
    updates: Mapping[str, str] | None = None,
) -> Executable:
    """Compile `graph` to a function of its placeholders.

    Args:
        graph: left as it is.
        outputs: the names of the outputs wanted; all when left out. Those named in `updates` are not returned.
        backend: "numpy".
        passes: a sequence of passes; `gradc.passes.DEFAULT` when left out.
        updates: placeholder name -> output name: a call ends by writing the output's value into the fed array.

    Raises:
        GradcError: a name is unknown, or an update's type differs from its placeholder's.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"compile: expected a graph, got {type(graph).__name__}")
    if backend != "numpy":
        raise ArgumentError(f"compile: backend {backend!r} does not exist; there is 'numpy'")
    updates = dict(updates or {})
    wanted = _wanted(graph, outputs, updates)
    _check_updates(graph, updates)
    roots = {name: graph.outputs[name] for name in dict.fromkeys([*wanted, *updates.values()])}
    report: list[PassReport] = []
    chosen = DEFAULT if passes is None else passes
    if not isinstance(chosen, Sequence):
        raise ArgumentError(f"compile: passes is a sequence of passes, like gradc.passes.EXACT, got {passes!r}")
    with paused_collector():
        optimised = optimise(lowered(graph.with_outputs(roots)), chosen, report)
    return Executable(optimised, graph.placeholders, wanted, updates, report)


def _wanted(graph: Graph, outputs: Sequence[str] | str | None, updates: Mapping[str, str]) -> tuple[str, ...]:
    sources = set(updates.values())
    if outputs is None:
        return tuple(name for name in graph.outputs if name not in sources)
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in names:
        if name not in graph.outputs:
            raise NamingError(f"compile: {name!r} is no output; the outputs are {', '.join(graph.outputs) or 'none'}")
    return tuple(dict.fromkeys(n for n in names if n not in sources))


def _check_updates(graph: Graph, updates: Mapping[str, str]) -> None:
    for target, source in updates.items():
        if target not in graph.placeholders:
            raise NamingError(f"compile: updates names {target!r}, which is no placeholder")
        if source not in graph.outputs:
            raise NamingError(f"compile: updates names {source!r}, which is no output")
        old, new = graph.placeholders[target], graph.outputs[source]
        if old.type != new.type:
            raise ArgumentError(f"compile: update of {target!r} ({old.type}) by {source!r} ({new.type}): the types differ")


def _names(placeholders: Mapping[str, Node]) -> set[str]:
    """The symbolic dimensions that the shapes of `placeholders` name."""
    return {size.text for node in placeholders.values() for size in node.shape if isinstance(size, Dim) and size.is_name}


class Executable:
    """A compiled graph: call it with keywords, or with one mapping; it returns a dict in output order.

    A call allocates its outputs and nothing else. Threads may call it at the same time: each call takes an arena
    from a pool. Outputs alias nothing. NumPy's floating point warnings are off inside.

    Attributes:
        graph: the optimised graph.
        report: what each pass did.
    """

    def __init__(
        self,
        graph: Graph,
        placeholders: Mapping[str, Node],
        outputs: tuple[str, ...],
        updates: Mapping[str, str],
        report: Sequence[PassReport],
    ) -> None:
        self.graph = graph
        self.report = tuple(report)
        self._placeholders = dict(placeholders)
        self._outputs = outputs
        self._updates = dict(updates)
        self._programs: OrderedDict[tuple[tuple[str, int], ...], _Pool] = OrderedDict()
        self._lock = threading.Lock()
        self._newest: _Pool | None = None
        self._count = len(self._placeholders)
        self._ordered = _getter(tuple(graph.placeholders))
        if _names(placeholders) - _names(graph.placeholders):
            self._count = -1  # a size that only a feed without use tells: every call looks at all feeds

    def __repr__(self) -> str:
        return f"<Executable {self.graph.name!r}: {', '.join(self._placeholders)} -> {', '.join(self._outputs)}>"

    def __call__(
        self, feeds: Mapping[str, Any] | None = None, /, out: Mapping[str, Array] | None = None, **named: Any
    ) -> dict[str, Array]:
        """Run it.

        Args:
            feeds: a value per placeholder name; or as keywords.
            out: arrays to write outputs into instead of new ones, by output name.

        Raises:
            FeedError: a feed is missing, unknown, of the wrong dtype or shape, or an array to write to does not
                fit; nothing has run then.
            EvaluationError, BoundsError: an op has no value for its operands' values (the inverse of a singular matrix, an
                index beyond the end); nothing was updated then. The message names the node and the user's line.
        """
        if feeds.__class__ is dict and not named:
            named = feeds
        elif feeds is not None:
            try:
                named = {**feeds, **named}
            except TypeError:
                raise FeedError(f"feeds are keywords or one mapping from names to values, got {type(feeds).__name__}") from None
        pool = self._newest
        if pool is not None and out is None and len(named) == self._count:
            try:
                arguments = self._ordered(named)
            except KeyError:
                return self._call_checked(named, out)
            free = pool.free
            try:
                run = free.pop()
            except IndexError:
                run = pool.program.bind()
            try:
                result = run(*arguments)
            except VALUE_ERRORS as error:
                raise self._failure(named, error) from None
            finally:
                free.append(run)
            if result is not None:
                return result  # type: ignore[no-any-return]
        return self._call_checked(named, out)

    def _call_checked(self, given: Mapping[str, Any], out: Mapping[str, Array] | None) -> dict[str, Array]:
        """The way of feeds that are not exactly as planned: converted, or refused."""
        arrays, dims = check_feeds(self._placeholders, given)
        self._check_targets(given, arrays)
        pool = self._pool(tuple(sorted(dims.items())))
        plan = pool.program.plan
        into = None if out is None else self._check_out(out, given, plan)
        targets = [given[name] for name in self._updates]
        arguments = [arrays[name] for name in self.graph.placeholders]
        try:
            run = pool.free.pop()
        except IndexError:
            run = pool.program.bind()
        try:
            result: dict[str, Array] = run(*arguments, *targets, into, True)
        except VALUE_ERRORS as error:
            raise self._failure(arrays, error) from None
        finally:
            pool.free.append(run)
        self._newest = pool
        return result

    def _failure(self, feeds: Mapping[str, Any], error: Exception) -> Exception:
        """The error of a call, found again by the interpreter, which knows the node; the feeds are as they were."""
        try:
            evaluate(Graph.of(self.graph.name, self._placeholders, self.graph.outputs), feeds)
        except VALUE_ERRORS as located:
            return located
        return EvaluationError(f"a call of {self.graph.name!r} failed: {error}")

    def _pool(self, key: tuple[tuple[str, int], ...]) -> _Pool:
        with self._lock:
            found = self._programs.get(key)
            if found is not None:
                self._programs.move_to_end(key)
                return found
        pool = _Pool(self._program(dict(key)))
        with self._lock:
            pool = self._programs.setdefault(key, pool)
            while len(self._programs) > _KEPT_PROGRAMS:
                self._programs.popitem(last=False)
        return pool

    def _program(self, dims: Mapping[str, int]) -> Program | LongProgram:
        with paused_collector():
            if self._is_long(dims):
                return LongProgram(self._plan(dims, resident=True), lambda: self._plan(dims))
            return Program(self._plan(dims))

    def _is_long(self, dims: Mapping[str, int]) -> bool:
        """True for many calls on small arrays: to copy feeds in and results out costs next to nothing, and none needs tiles."""
        if len(self.graph.nodes) <= _LONG_NODES:
            return False
        outputs = self.graph.outputs
        copied = [*self.graph.placeholders.values(), *(outputs[n] for n in (*self._outputs, *self._updates.values()))]
        types = {node.type for node in self.graph.nodes}
        sizes = {t: t.dtype.itemsize * math.prod(resolve_shape(t.shape, dims)) for t in types}
        return max(max(sizes.values()), sum(sizes[node.type] for node in copied)) <= _SMALL_BYTES

    def _plan(self, dims: Mapping[str, int], resident: bool = False, tiled: bool = True) -> Plan:
        outputs = self.graph.outputs
        return make_plan(
            self.graph,
            [(name, outputs[name]) for name in self._outputs],
            [(target, outputs[source]) for target, source in self._updates.items()],
            dims,
            resident,
            tiled,
        )

    @property
    def source(self) -> str:
        """The emitted program, with the layout of its memory; of the call before, where dimensions are symbolic.

        Raises:
            FeedError: dimensions are symbolic and no call has given them numbers yet.
        """
        pool = self._newest
        return (pool or self._pool(())).program.source

    def memory(self, **dims: int) -> Memory:
        """The bytes of one call: arena, constants, outputs, peak, the live set at each step.

        Args:
            dims: values of the symbolic dimensions; without them the figures are sympy expressions, of a schedule without
                tiles: how many of those long arrays need, only their lengths tell.

        Raises:
            FeedError: a dimension is not of this graph.
            ShapeError: its value is negative or no integer.
        """
        names = {name for node in self.graph.placeholders.values() for s in node.shape if isinstance(s, Dim) for name in s.names}
        wrong = dims.keys() - names
        if wrong:
            raise FeedError(f"memory: {', '.join(sorted(wrong))} is no dimension; there are {', '.join(sorted(names)) or 'none'}")
        for name, size in dims.items():
            as_size(size, f"memory: {name}")
        unknown = frozenset(names - dims.keys())
        sizes = {**dict.fromkeys(unknown, _TYPICAL_SIZE), **dims}
        return memory_of(self._plan(sizes, resident=self._is_long(sizes), tiled=not unknown), unknown)

    def profile(self, feeds: Mapping[str, Any] | None = None, /, repeat: int = 100, **named: Any) -> Profile:
        """Run `repeat` times with a clock after every step. The feeds are copied: updates do not reach them.

        Raises:
            FeedError: as a call does.
            ArgumentError: `repeat` is not positive.
        """
        if repeat < 1:
            raise ArgumentError(f"profile: repeat is at least 1, got {repeat}")
        arrays, dims = check_feeds(self._placeholders, {**(feeds or {}), **named})
        given = {name: array.copy() for name, array in arrays.items()}
        arguments = [given[name] for name in self.graph.placeholders]
        try:
            return profile(self._plan(dims), arguments, [given[t] for t in self._updates], lambda: self(given), repeat)
        except VALUE_ERRORS as error:
            raise self._failure(given, error) from None

    def _check_targets(self, given: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """What updates write to: an array, writable, exact in dtype, overlapping no other feed."""
        for name in self._updates:
            array, node = given[name], self._placeholders[name]
            if not isinstance(array, np.ndarray):
                raise FeedError(f"feed {name!r} is updated in place: expected an array ({node.type}), got {type(array).__name__}")
            if not array.flags.writeable:
                raise FeedError(f"feed {name!r} is updated in place, but the array is not writable: pass a copy")
            for other, against in given.items():
                if other != name and isinstance(against, np.ndarray) and np.shares_memory(array, against):
                    raise FeedError(f"feed {name!r} is updated in place, but shares memory with {other!r}: pass a copy of one")
            if np.may_share_memory(arrays[name], array) and _overlaps_itself(array):
                raise FeedError(f"feed {name!r} is updated in place, but its entries share memory: pass a copy")

    def _check_out(self, out: Mapping[str, Array], given: Mapping[str, Any], plan: Plan) -> tuple[Array, ...]:
        unknown = [name for name in out if name not in self._outputs]
        if unknown:
            raise FeedError(f"out: {', '.join(map(repr, unknown))} is no output; the outputs are {', '.join(self._outputs)}")
        into: list[Array] = []
        for name in self._outputs:
            node_type = plan.types[self.graph.outputs[name]]
            shape: tuple[Any, ...] = node_type.shape
            array = out[name] if name in out else np.empty(shape, node_type.dtype)
            _check_array(name, array, node_type)
            others = [*into, *(v for v in given.values() if isinstance(v, np.ndarray))]
            if any(np.shares_memory(array, other) for other in others):
                raise FeedError(f"out {name!r}: the array shares memory with a feed or another output: pass another one")
            into.append(array)
        return tuple(into)


class _Pool:
    """A program and the bound copies of it that no call is using."""

    def __init__(self, program: Program | LongProgram) -> None:
        self.program = program
        self.free: list[Run] = []


def _getter(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    if not names:
        return lambda feeds: ()
    (name,) = names
    return lambda feeds: (feeds[name],)


def _overlaps_itself(array: Array) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True))


def _check_array(name: str, array: object, node_type: TensorType) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != node_type.dtype or array.shape != node_type.shape:
        got = f"{array.dtype}{show_shape(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise FeedError(f"out {name!r}: expected an array {node_type}, got {got}")
    if not array.flags.writeable or not array.flags.c_contiguous:
        raise FeedError(f"out {name!r}: the array must be writable and C-contiguous")
