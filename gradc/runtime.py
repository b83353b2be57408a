"""Executables: a compiled graph to call, from any number of threads."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np

from gradc.backends.bound import LongProgram
from gradc.backends.numpy import Program, Run
from gradc.backends.targets import Targets, out_arrays, update_targets
from gradc.errors import ArgumentError, EvaluationError, FeedError, NamingError
from gradc.interpret import cause_of, check_feeds, located
from gradc.ir import Array, Graph, Node, as_name, paused_collector
from gradc.measure import Memory, Profile, memory_of, profile
from gradc.passes import DEFAULT, PassReport, optimise
from gradc.plan import Plan, make_plan
from gradc.types import Dim, as_size, resolve_shape

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
    validate: bool = False,
) -> Executable:
    """Compile `graph` to a function of its placeholders.

    Args:
        graph: left as it is.
        outputs: the names of the outputs wanted; all when left out. Those named in `updates` are not returned.
        backend: "numpy".
        passes: a sequence of passes; `gradc.passes.DEFAULT` when left out.
        updates: placeholder name -> output name: a call ends by writing the output's value into the fed array.
        validate: evaluate the graph after each pass against the graph before it, at random and special points. It takes many
            times as long; for tests of passes and ops of one's own.

    Raises:
        GradcError: a name is unknown, or an update's type differs from its placeholder's.
        PassError: a pass that is validated changed what the graph computes by more than it declares.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"compile: expected a graph, got {type(graph).__name__}")
    if backend != "numpy":
        raise ArgumentError(f"compile: backend {backend!r} does not exist; there is 'numpy'")
    updates = _update_names(updates)
    wanted = _wanted(graph, outputs, updates)
    _check_updates(graph, updates)
    named = graph.outputs
    roots = {name: named[name] for name in dict.fromkeys([*wanted, *updates.values()])}
    report: list[PassReport] = []
    chosen = DEFAULT if passes is None else passes
    if not isinstance(chosen, Sequence):
        raise ArgumentError(f"compile: passes is a sequence of passes, like gradc.passes.EXACT, got {passes!r}")
    with paused_collector():
        optimised = optimise(graph.with_outputs(roots), chosen, report, validate=validate)
    return Executable(optimised, graph.placeholders, wanted, updates, report)


def _wanted(graph: Graph, outputs: Sequence[str] | str | None, updates: Mapping[str, str]) -> tuple[str, ...]:
    sources, known = set(updates.values()), graph.outputs
    if outputs is None:
        return tuple(name for name in known if name not in sources)
    if not isinstance(outputs, Iterable):
        raise ArgumentError(f"compile: outputs is a name, or a sequence of names, got {type(outputs).__name__}")
    names = [as_name(n, "compile: outputs") for n in ((outputs,) if isinstance(outputs, str) else outputs)]
    for name in names:
        if name not in known:
            raise NamingError(f"compile: {name!r} is no output; the outputs are {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(n for n in names if n not in sources))


def _update_names(updates: Mapping[str, str] | None) -> dict[str, str]:
    if not isinstance(updates, Mapping | None):
        raise ArgumentError(f"compile: updates is a mapping from placeholders to outputs, got {type(updates).__name__}")
    named = [[as_name(name, "compile: updates") for name in pair] for pair in (updates or {}).items()]
    return {target: source for target, source in named}


def _check_updates(graph: Graph, updates: Mapping[str, str]) -> None:
    placeholders, outputs = graph.placeholders, graph.outputs
    for target, source in updates.items():
        if target not in placeholders:
            raise NamingError(f"compile: updates names {target!r}, which is no placeholder")
        if source not in outputs:
            raise NamingError(f"compile: updates names {source!r}, which is no output")
        old, new = placeholders[target], outputs[source]
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
                index beyond the end), or raised what is its cause; nothing was written then. The message names the node and
                the user's line.
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
            except Exception as error:
                self._fail(pool, error)
            finally:
                free.append(run)
            if result is not None:
                return result  # type: ignore[no-any-return]
        return self._call_checked(named, out)

    def _call_checked(self, given: Mapping[str, Any], out: Mapping[str, Array] | None) -> dict[str, Array]:
        """The way of feeds that are not exactly as planned: converted, or refused."""
        arrays, dims = check_feeds(self._placeholders, given)
        targets = self._check_targets(given, arrays)
        pool = self._pool(tuple(sorted(dims.items())))
        plan = pool.program.plan
        into = {} if out is None else self._check_out(out, given, arrays, plan)
        arguments = [arrays[name] for name in self.graph.placeholders]
        try:
            run = pool.free.pop()
        except IndexError:
            run = pool.program.bind()
        try:
            result: dict[str, Array] = run(*arguments, *targets.arrays, _at_once(into, plan), True)
        except Exception as error:
            self._fail(pool, error)
        finally:
            pool.free.append(run)
        _copy_into(into, result)
        targets.finish()
        result.update(out or {})
        self._newest = pool
        return result

    def _fail(self, pool: _Pool, error: Exception) -> NoReturn:
        """Raise the error of a call as one that names the node."""
        node = pool.program.node_of(error)
        raised = EvaluationError(f"a call of {self.graph.name!r} failed: {error}") if node is None else located(node, error)
        if raised is error:
            raise error
        raise raised from cause_of(error)

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
        return profile(self._plan(dims), arguments, [given[t] for t in self._updates], lambda: self(given), repeat)

    def _check_targets(self, given: Mapping[str, Any], arrays: Mapping[str, Array]) -> Targets:
        """What updates write to: an array, writable, exact in dtype, overlapping no other feed."""
        return update_targets(self._updates, self._placeholders, given, arrays)

    def _check_out(self, out: object, given: Mapping[str, Any], arrays: Mapping[str, Array], plan: Plan) -> dict[str, Array]:
        """The arrays to write outputs into, by name."""
        return out_arrays(out, {name: plan.types[node] for name, node in plan.outputs}, given, arrays)


def _at_once(into: Mapping[str, Array], plan: Plan) -> tuple[Array, ...] | None:
    """For the program, an array an output; None where a step may raise after they were begun: they are copied afterwards."""
    if not into or plan.raises_late:
        return None
    types = ((name, plan.types[node]) for name, node in plan.outputs)
    return tuple(into[name] if name in into else np.empty(t.shape, t.dtype) for name, t in types)


def _copy_into(into: Mapping[str, Array], result: Mapping[str, Array]) -> None:
    for name, array in into.items():
        if result[name] is not array:
            np.copyto(array, result[name])


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
