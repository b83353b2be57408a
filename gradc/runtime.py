"""Executables: a compiled graph to call, from any number of threads."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np

from gradc.backends.bound import LongProgram
from gradc.backends.numpy import Program, Run
from gradc.backends.targets import out_arrays, update_targets
from gradc.errors import (
    ArgumentError,
    EvaluationError,
    FeedError,
    GradcError,
    GraphError,
    NamingError,
    ShapeError,
    candidates,
    listed,
    show,
)
from gradc.interpret import Needs, cause_of, check_feeds, located, needs_of
from gradc.ir import CONSTANT, PLACEHOLDER, Array, Graph, Node, as_name, describe, paused_collector
from gradc.measure import Memory, Profile, memory_of, profile
from gradc.passes import DEFAULT, PassReport, optimise
from gradc.passes.rewrite import lowered
from gradc.plan import Plan, make_plan
from gradc.types import as_integer, as_size, names_in, resolve_shape, show_shape

_KEPT_PROGRAMS = 256
_KEPT_ANYWAY = 8
_KEPT_BYTES = 1 << 28
_NODE_BYTES = 1 << 12
_LONG_NODES = 1000
_SMALL_BYTES = 1 << 16
_TYPICAL_SIZES = (64, 1024, 12, 60, 2, 1, 0)

_Key = tuple[tuple[str, int], ...]


def compile(
    graph: Graph,
    outputs: Sequence[str] | str | None = None,
    *,
    backend: str = "numpy",
    passes: Sequence[Any] | None = None,
    updates: Mapping[str, str] | None = None,
    validate: bool = False,
    cache_size: int | None = None,
) -> Executable:
    """Compile `graph` to a function of the placeholders that the outputs need; the others may be fed, and are checked then.

    Args:
        graph: left as it is.
        outputs: the names of the outputs wanted; all when left out. Those named in `updates` are not returned.
        backend: "numpy".
        passes: a sequence of passes; `gradc.passes.DEFAULT` when left out.
        updates: placeholder name -> output name: a call ends by writing the output's value into the fed array.
        validate: evaluate the graph after each pass against the graph before it, at random and special points. It takes many
            times as long; for tests of passes and ops of one's own.
        cache_size: for how many sets of sizes of symbolic dimensions the programs are kept, those used last. Each holds the
            memory that one call works in, so when left out there are at most 256, and beyond the last 8 only as many as
            take 256 MiB together: any number of small batch sizes, and few of large ones.

    Raises:
        GradcError: a name is unknown, or an update's type differs from its placeholder's.
        PassError: a pass raised what is its cause, returned no graph, or one of other outputs or of placeholders that it added;
            or one that is validated changed what the graph computes by more than it declares.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"compile: expected a graph, got {type(graph).__name__}")
    if backend != "numpy":
        raise ArgumentError(f"compile: backend {show(backend)} does not exist; there is 'numpy'")
    if not isinstance(validate, bool):
        raise ArgumentError(f"compile: validate is True or False, got {show(validate)}")
    updates = _update_names(updates)
    wanted = _wanted(graph, outputs, updates)
    _check_updates(graph, updates)
    if cache_size is not None and as_integer(cache_size, "compile: cache_size") < 1:
        raise ArgumentError(f"compile: cache_size is at least 1, got {show(cache_size)}")
    named, placeholders = graph.outputs, graph.placeholders
    roots = {name: named[name] for name in dict.fromkeys([*wanted, *updates.values()])}
    needs = needs_of(placeholders, [*roots.values(), *(placeholders[target] for target in updates)])
    report: list[PassReport] = []
    chosen = DEFAULT if passes is None else passes
    if not isinstance(chosen, Sequence) or isinstance(chosen, str):
        raise ArgumentError(f"compile: passes is a sequence of passes, like gradc.passes.EXACT, got {_unlisted(passes)}")
    with paused_collector():
        optimised = optimise(lowered(graph.with_outputs(roots, needs.feeds)), chosen, report, validate=validate)
    return Executable(optimised, placeholders, needs, wanted, updates, report, cache_size)


def _unlisted(passes: object) -> str:
    """What came instead of a sequence of passes, and what it may be meant for."""
    named = isinstance(passes, str) and passes.upper() in ("NONE", "EXACT", "DEFAULT")
    return f"{show(passes)}: write gradc.passes.{str(passes).upper()}" if named else show(passes)


def _wanted(graph: Graph, outputs: Sequence[str] | str | None, updates: Mapping[str, str]) -> tuple[str, ...]:
    sources, known = set(updates.values()), graph.outputs
    if outputs is None:
        return tuple(name for name in known if name not in sources)
    if not isinstance(outputs, Iterable):
        raise ArgumentError(f"compile: outputs is a name, or a sequence of names, got {type(outputs).__name__}")
    names = [as_name(n, "compile: outputs") for n in ((outputs,) if isinstance(outputs, str) else outputs)]
    for name in names:
        if name not in known:
            raise NamingError(f"compile: {name!r} is no output; {candidates(name, known)}")
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
            raise NamingError(f"compile: updates names {target!r}, which is no placeholder; {candidates(target, placeholders)}")
        if source not in outputs:
            raise NamingError(f"compile: updates names {source!r}, which is no output; {candidates(source, outputs)}")
        old, new = placeholders[target], outputs[source]
        if old.type != new.type:
            raise ArgumentError(
                f"compile: update of {target!r} ({old.type}) by {source!r} ({new.type}): the types differ"
                f"{_other_shape(target, old, new)}{_why_as_wide(old, new)}"
            )


def _other_shape(target: str, old: Node, new: Node) -> str:
    if old.shape == new.shape:
        return ""
    return f"\n  the shape {show_shape(new.shape)} is not {show_shape(old.shape)}, that of {target!r}: nothing is broadcast"


def _why_as_wide(old: Node, new: Node) -> str:
    """What made an update's dtype another than its placeholder's: where the other dtype came in, and the cast that helps."""
    dtype = new.dtype
    if old.dtype == dtype or old.dtype.kind != "f":
        return ""
    first = _first_of_dtype(new)
    if first.op is CONSTANT:
        return f"\n  it is {dtype} since a {describe(first)} is {dtype}: write np.{old.dtype}(...), or a Python number"
    if first.op is PLACEHOLDER:
        return f"\n  it is {dtype} since {describe(first)} is {dtype}: declare that {old.dtype}"
    return f"\n  it is {dtype} since {describe(first)} is {dtype}: cast that by .astype({str(old.dtype)!r})"


def _first_of_dtype(root: Node) -> Node:
    """The nearest node that has brought the dtype of `root` to it, over operands of that dtype: a cast lets nothing through.

    A constant counts where it is alone in its dtype: beside others it may be a Python number, which has taken theirs.
    """
    seen, near = {root}, deque([root])
    while near:
        node = near.popleft()
        wide = [i for i in node.inputs if i.dtype == root.dtype]
        if not wide:
            return node
        strong = [i for i in wide if i.op is not CONSTANT] or wide
        near.extend(i for i in strong if i not in seen)
        seen.update(strong)
    return root


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
        needs: Needs,
        outputs: tuple[str, ...],
        updates: Mapping[str, str],
        report: Sequence[PassReport],
        cache_size: int | None = None,
    ) -> None:
        self.graph = graph
        self.report = tuple(report)
        self._placeholders = dict(placeholders)
        self._needs = needs
        self._sizes = tuple(sorted(needs.sizes))
        self._outputs = outputs
        self._updates = dict(updates)
        self._programs = _Programs(cache_size)
        self._newest: _Pool | None = None
        self._count = len(needs.feeds)
        self._ordered = _getter(tuple(graph.placeholders))
        if needs.told or graph.placeholders.keys() != set(needs.feeds):
            self._count = -1  # a feed that the program does not read, but which is checked: every call looks at all feeds

    def __repr__(self) -> str:
        return f"<Executable {show(self.graph.name)}: {listed(self._needs.feeds)} -> {listed(self._outputs)}>"

    def __copy__(self) -> Executable:
        return self

    def __deepcopy__(self, memo: object) -> Executable:
        return self

    def __reduce__(self) -> NoReturn:
        raise GraphError("an executable cannot be pickled: keep the program that builds its graph, and compile it where it runs")

    def __call__(
        self, feeds: Mapping[str, Any] | None = None, /, out: Mapping[str, Array] | None = None, **named: Any
    ) -> dict[str, Array]:
        """Run it.

        Args:
            feeds: a value per placeholder name; or as keywords. Placeholders that no output needs may be left out.
            out: arrays to write outputs into instead of new ones, by output name. Where a placeholder is called `out`, the
                keyword is its value, unless the mapping has one already.

        Raises:
            FeedError: a feed is missing, unknown, of the wrong shape, or of a dtype that cannot be cast without loss, or an
                array to write to does not fit; nothing has run then.
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
                named = _merged(feeds, named)
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
        if out is not None and "out" in self._placeholders and "out" not in given:
            return self({**given, "out": out})
        arrays, dims = check_feeds(self._placeholders, given, self._needs, self._updates)
        targets = update_targets(self._updates, self._placeholders, given, arrays)
        pool = self._pool(tuple([(size, dims[size]) for size in self._sizes]))
        plan = pool.program.plan
        into = {} if out is None else out_arrays(out, {name: plan.types[node] for name, node in plan.outputs}, given, arrays)
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

    def _pool(self, key: _Key) -> _Pool:
        return self._programs.get(key) or self._programs.keep(key, _Pool(self._program(dict(key))))

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
        """The emitted program, with the layout of its memory: of the call before.

        Where dimensions are symbolic and no call has given them numbers yet, it is the program for sizes chosen here, and its
        first line says so.

        Raises:
            FeedError: the sizes chosen have no program (an index beyond the end); any call will have one.
        """
        pool = self._newest
        if pool is not None:
            return pool.program.source
        if not self._sizes:
            return self._pool(()).program.source
        sizes = self._typical(frozenset(self._sizes), {})
        chosen = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        return f"# no call has given sizes yet: the program for {chosen}\n{self._program(sizes).source}"

    def _typical(self, unknown: frozenset[str], given: Mapping[str, int]) -> dict[str, int]:
        """`given`, and sizes for the names in `unknown` for which the graph has values: the first of some common ones."""
        error: GradcError | None = None
        for size in _TYPICAL_SIZES:
            sizes = {**dict.fromkeys(sorted(unknown), size), **given}
            try:
                self._plan(sizes, tiled=False)
            except GradcError as refused:
                error = error or refused
                continue
            return sizes
        raise FeedError(f"no sizes that were tried have a program: {error.message if error else ''}; call it with feeds first")

    def memory(self, dims: Mapping[str, int] | None = None, /, **named: int) -> Memory:
        """The bytes of one call: arena, constants, outputs, peak, the live set at each step.

        Args:
            dims: values of the symbolic dimensions, as keywords or one mapping; without them the figures are sympy
                expressions, of a schedule without tiles: how many of those long arrays need, only their lengths tell.

        Raises:
            ArgumentError: `dims` is no mapping.
            FeedError: a dimension is not of this graph, or the graph has no values for these.
            ShapeError: its value is negative or no integer.
        """
        if dims is not None and not isinstance(dims, Mapping):
            raise ArgumentError(f"memory: sizes are keywords or one mapping from names to integers, got {show(dims)}")
        given = {name: _as_number(name, size) for name, size in {**(dims or {}), **named}.items()}
        known = {*self._sizes, *(name for node in self._placeholders.values() for name in names_in(node.shape))}
        wrong = [name for name in given if name not in known]
        if wrong:
            raise FeedError(f"memory: {listed(map(show, wrong))} is no dimension; {candidates(wrong[0], sorted(known))}")
        unknown = frozenset(self._sizes) - given.keys()
        sizes = {name: given[name] for name in self._sizes if name in given}
        if unknown:
            sizes = self._typical(unknown, sizes)
        return memory_of(self._plan(sizes, resident=self._is_long(sizes), tiled=not unknown), unknown)

    def profile(self, feeds: Mapping[str, Any] | None = None, /, repeat: Any = 100, **named: Any) -> Profile:
        """Run `repeat` times with a clock after every step. The feeds are copied: updates do not reach them.

        Args:
            feeds: as of a call.
            repeat: how often. Where a placeholder is called `repeat`, the keyword is its value, unless the mapping has one.

        Raises:
            FeedError: as a call does.
            ArgumentError: `repeat` is no positive integer.
        """
        values = _merged(feeds or {}, named)
        if "repeat" in self._placeholders and "repeat" not in values:
            values, repeat = {**values, "repeat": repeat}, 100
        count = as_integer(repeat, "profile: repeat")
        if count < 1:
            raise ArgumentError(f"profile: repeat is at least 1, got {count}")
        arrays, dims = check_feeds(self._placeholders, values, self._needs, self._updates)
        given = {name: array.copy() for name, array in arrays.items() if name in self._needs.feeds or self._needs.told}
        arguments = [given[name] for name in self.graph.placeholders]
        plan = self._plan({size: dims[size] for size in self._sizes})
        return profile(plan, arguments, [given[t] for t in self._updates], lambda: self(given), count)


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

    @property
    def nbytes(self) -> int:
        """What it holds, about: an arena, and what a plan and its text take for each node."""
        plan = self.program.plan
        return plan.arena_bytes + _NODE_BYTES * len(plan.order)


class _Programs:
    """The programs used last, by sizes: as many as asked for, or as fit into a bounded amount of memory."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._pools: OrderedDict[_Key, _Pool] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def get(self, key: _Key) -> _Pool | None:
        with self._lock:
            found = self._pools.get(key)
            if found is not None:
                self._pools.move_to_end(key)
            return found

    def keep(self, key: _Key, pool: _Pool) -> _Pool:
        """`pool`, or the one of another thread that was as fast."""
        with self._lock:
            kept = self._pools.setdefault(key, pool)
            if kept is pool:
                self._nbytes += pool.nbytes
            while self._are_too_many():
                _, oldest = self._pools.popitem(last=False)
                self._nbytes -= oldest.nbytes
            return kept

    def _are_too_many(self) -> bool:
        count = len(self._pools)
        if self._limit is not None:
            return count > self._limit
        return count > _KEPT_PROGRAMS or (count > _KEPT_ANYWAY and self._nbytes > _KEPT_BYTES)


def _merged(feeds: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {**feeds, **named}
    except TypeError:
        raise FeedError(f"feeds are keywords or one mapping from names to values, got {type(feeds).__name__}") from None


def _as_number(name: str, size: object) -> int:
    number = as_size(size, f"memory: {name}")
    if not isinstance(number, int):
        raise ShapeError(f"memory: {name}: expected an integer, got {show(size)}")
    return number


def _getter(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    if not names:
        return lambda feeds: ()
    (name,) = names
    return lambda feeds: (feeds[name],)
