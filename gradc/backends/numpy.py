"""Lowering a plan to straight-line NumPy source: one call a line, `out=` planned memory, views made beforehand.

The source is a module whose globals are the buffers of one arena: `run` takes the fed arrays and returns the
outputs. Names never become code: values are v1, v2, ..., and output names occur as string literals only.
"""

from __future__ import annotations

import contextvars
import keyword
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from string import Formatter
from typing import Any

import numpy as np

from gradc.ir import Array, Call, Kernel, Node, call_text, paused_collector
from gradc.plan import ALIGNMENT, COPY, Home, Plan, Step, nbytes_of
from gradc.types import TensorType

_BITS = {1: np.dtype("int8"), 2: np.dtype("int16"), 4: np.dtype("int32"), 8: np.dtype("int64")}


class Program:
    """A plan's emitted source, compiled once; `bind` makes a runnable copy with an arena of its own."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        emitter = _Emitter(plan)
        self._text = emitter.module()
        self._scope = emitter.scope
        self._bound = emitter.bound
        self._code = compile(self._text, f"<gradc {plan.graph.name}>", "exec")

    @property
    def source(self) -> str:
        """The program, with the layout of its memory as comments."""
        return "\n".join([*_memory_comments(self.plan), self._text])

    def bind(self) -> Run:
        """A `run` with an arena of its own: one call at a time may use it."""
        scope = dict(self._scope)
        memory = _Memory(self.plan)
        for name, make in self._bound.items():
            scope[name] = make(memory)
        exec(self._code, scope)
        return _without_warnings(scope["run"])


class LongProgram:
    """A schedule of so many calls that Python's parser would cost more than they do.

    The same calls as in `source`, in the same order, bound to their arrays one by one instead of through text.
    """

    def __init__(self, plan: Plan, readable: Callable[[], Plan]) -> None:
        self.plan = plan
        self._readable = readable

    @property
    def source(self) -> str:
        """The schedule as the program that it stands for."""
        plan = self._readable()
        return "\n".join([*_memory_comments(plan), _Emitter(plan).module()])

    def bind(self) -> Run:
        """A `run` with an arena of its own: one call at a time may use it."""
        with paused_collector():
            return self._bound()

    def _bound(self) -> Run:
        plan = self.plan
        memory = _Memory(plan)
        value = memory.value
        calls: list[Callable[[], Any]] = []
        for node, kernel, scratch in plan.steps:
            result, operands = value(node), [value(i) for i in node.inputs]
            if kernel is None:
                calls.append(partial(_store, result, node.op.evaluate, operands, plan.attrs.get(node, {})))
            elif kernel is COPY:
                calls.append(partial(np.copyto, result.reshape(operands[0].shape), operands[0]))
            else:
                buffers = [memory.scratch(k) for k in scratch]
                for function, _, arguments in plan.calls(node, kernel):
                    calls.append(_binder(arguments)(function, operands, result, buffers))
        return _without_warnings(_long_run(plan, calls, memory))


Run = Callable[..., Any]


def _store(out: Array, evaluate: Callable[..., Any], operands: list[Array], attrs: dict[str, Any]) -> None:
    np.copyto(out, evaluate(*operands, **attrs))


@lru_cache(maxsize=1024)
def _binder(template: str) -> Callable[..., Callable[[], Any]]:
    """From the arguments of a `Call`, the function that binds it to operands, result and scratch."""

    def argument(field: str, spec: str | None) -> str:
        place = "out" if field == "out" else f"s[{field[1:]}]" if field.startswith("s") else f"x[{field}]"
        return f"bits({place})" if spec == "bits" else place

    arguments = "".join(text + (argument(field, spec) if field else "") for text, field, spec, _ in Formatter().parse(template))
    made = eval(f"lambda f, x, out, s: partial(f, {arguments})", {"partial": partial, "bits": _as_bits})
    return made  # type: ignore[no-any-return]


def _as_bits(array: Array) -> Array:
    return array.view(_BITS[array.dtype.itemsize])


def _without_warnings(run: Run) -> Run:
    """`run` in a context of its own, in which NumPy's floating point warnings are off."""
    context = contextvars.copy_context()
    context.run(np.errstate(all="ignore").__enter__)
    return partial(context.run, run)


def _long_run(plan: Plan, calls: list[Callable[[], Any]], memory: _Memory) -> Run:
    """Feeds in, calls, outputs and updates out."""
    feeds = [(memory.value(n), plan.types[n]) for n in plan.graph.placeholders.values()]
    outputs = [(name, memory.value(node)) for name, node in plan.outputs]
    updates = [memory.value(node) for _, node in plan.updates]

    def run(*arguments: Any) -> dict[str, Array] | None:
        targets: tuple[Array, ...] = ()
        into: tuple[Array, ...] | None = None
        if len(arguments) == len(feeds):
            if updates or not all(_fits(a, t) for a, (_, t) in zip(arguments, feeds, strict=True)):
                return None
        else:
            arguments, targets, into = arguments[: len(feeds)], arguments[len(feeds) : -2], arguments[-2]
        for (buffer, _), feed in zip(feeds, arguments, strict=True):
            np.copyto(buffer, feed)
        for call in calls:
            call()
        results = {}
        for k, (name, value) in enumerate(outputs):
            results[name] = np.empty(value.shape, value.dtype) if into is None else into[k]
            np.copyto(results[name], value)
        for target, value in zip(targets, updates, strict=True):
            np.copyto(target, value)
        return results

    return run


def _fits(array: Any, node_type: TensorType) -> bool:
    return (
        array.__class__ is np.ndarray
        and array.dtype is node_type.dtype
        and array.shape == node_type.shape
        and array.flags.c_contiguous
    )


class _Memory:
    """One arena, and the arrays in it that are bound before any call."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        block = np.empty(plan.arena_bytes + ALIGNMENT, np.uint8)
        skip = -block.ctypes.data % ALIGNMENT
        self._arena = block[skip : skip + plan.arena_bytes]
        self._arrays: dict[Node | int, Array] = {}

    def scratch(self, number: int) -> Array:
        return self._in_arena(number, self._plan.scratch[number])

    def value(self, node: Node) -> Array:
        """The array of a value in the arena, of a constant, or of a view of one."""
        found = self._arrays.get(node)
        if found is not None:
            return found
        chain = [node]
        while self._plan.home[node] is Home.VIEW and node.inputs[0] not in self._arrays:
            node = node.inputs[0]
            chain.append(node)
        for link in reversed(chain):
            self._arrays[link] = self._make(link)
        return self._arrays[chain[0]]

    def _make(self, node: Node) -> Array:
        home = self._plan.home[node]
        if home is Home.CONSTANT:
            return node.op.evaluate(**self._plan.attrs.get(node, {}) or dict(node.attrs))  # type: ignore[no-any-return]
        if home is Home.ARENA:
            return self._in_arena(node, self._plan.types[node])
        attrs = self._plan.attrs.get(node, {})
        return node.op.evaluate(self._arrays[node.inputs[0]], **attrs)  # type: ignore[no-any-return]

    def _in_arena(self, key: Node | int, array_type: TensorType) -> Array:
        if not nbytes_of(array_type):
            return np.empty(array_type.shape, array_type.dtype)
        return np.ndarray(array_type.shape, array_type.dtype, self._arena, self._plan.offset[key])


class _Emitter:
    """Builds the module text, and says what its globals are."""

    def __init__(self, plan: Plan, timed: bool = False) -> None:
        self.plan = plan
        self.names = {node: f"v{k}" for k, node in enumerate(plan.graph.nodes, 1)}
        self.scope: dict[str, Any] = {"empty": np.empty, "copyto": np.copyto, "ndarray": np.ndarray}
        self.bound: dict[str, Callable[[_Memory], Any]] = {}
        self.lines: list[str] = []
        self.marks: list[Node] = []
        self._defined: set[str] = set()
        self._functions: dict[tuple[str, Any], str] = {}
        self._timed = timed
        self.targets = {name: f"u{k}" for k, (name, _) in enumerate(plan.updates, 1)}
        self._local, self._dying = _fresh_values(plan)
        self._update_of = {node: self.targets[name] for name, node in plan.updates if plan.home.get(node) is Home.UPDATE}

    # the module

    def module(self) -> str:
        for step in self.plan.steps:
            self._step(step)
            self._release(step.node)
        self._copy_outputs()
        self._write_updates()
        returned = "{" + ", ".join(f"{name!r}: {self._output_name(k)}" for k, (name, _) in enumerate(self.plan.outputs)) + "}"
        feeds = [self.names[n] for n in self.plan.graph.placeholders.values()]
        parameters = [*feeds, *(f"{u}=None" for u in self.targets.values()), "out=None", "checked=False"]
        head = [f"def run({', '.join(parameters)}):", *self._checks()]
        return "\n".join([*head, *(f"    {line}" for line in self.lines), f"    return {returned}", ""])

    def _checks(self) -> list[str]:
        """Guards: None for feeds that are not exactly as planned; the caller then converts or refuses them."""
        feeds = self.plan.graph.placeholders
        if not self.targets.keys() <= feeds.keys():  # what nothing reads is updated all the same: the caller passes its array
            return ["    if not checked:", "        return None"]
        guards = []
        for node in feeds.values():
            name, node_type = self.names[node], self.plan.types[node]
            dtype = self._dtype(node_type.dtype)
            guards.append(
                f"{name}.__class__ is not ndarray or {name}.dtype is not {dtype} or {name}.shape != {node_type.shape} "
                f"or not {name}.flags.c_contiguous"
            )
        guards += self._overlap_guards()
        lines = ["    if not checked:"]
        lines += [f"        if {guard}:\n            return None" for guard in guards]
        lines += [f"        {u} = {self.names[feeds[t]]}" for t, u in self.targets.items()]
        return lines if len(lines) > 1 else []

    def _overlap_guards(self) -> list[str]:
        """Updated arrays are writable and share memory with no other feed: their owners are other objects."""
        feeds = {name: self.names[node] for name, node in self.plan.graph.placeholders.items()}
        targets = [feeds[name] for name in self.targets]
        others = [v for v in feeds.values() if v not in targets]
        if not targets:
            return []
        self.scope["apart"] = _apart
        guards = [f"not {v}.flags.writeable" for v in targets]
        return [*guards, f"not apart(({', '.join(targets)},), ({''.join(f'{v}, ' for v in others)}))"]

    # values

    def _is_bound(self, node: Node) -> bool:
        return self.plan.home[self.plan.root[node]] in (Home.ARENA, Home.CONSTANT)

    def _name(self, node: Node) -> str:
        """The name of a value, made before the call or in this line of it."""
        plan, name = self.plan, self.names[node]
        if node in self._update_of:
            return self._update_of[node]
        if name in self._defined or name in self.bound:
            return name
        if self._is_bound(node):
            self.bound[name] = lambda memory: memory.value(node)
        elif plan.home[node] is Home.VIEW:
            self._define_view(node)
        return name

    def _define_view(self, node: Node) -> None:
        chain = [node]
        while True:
            operand = chain[-1].inputs[0]
            if self.plan.home[operand] is not Home.VIEW or self.names[operand] in self._defined:
                break
            chain.append(operand)
        for view in reversed(chain):
            self._define(self.names[view], self._view_expression(view))

    def _view_expression(self, node: Node) -> str:
        operand = self._name(node.inputs[0])
        if node.op.expression is None:
            return f"{self._evaluation(node)}({operand})"
        return node.op.expression(self.plan.attrs.get(node, {})).format(operand)

    def _define(self, name: str, expression: str) -> None:
        self._defined.add(name)
        self.lines.append(f"{name} = {expression}")

    def _variant(self, name: str, node: Node | None, kind: str, convert: Callable[[Array], Array], text: str) -> str:
        """Another view of a value's memory: bound beforehand where the value is."""
        variant = f"{name}{kind}"
        if variant in self.bound or variant in self._defined:
            return variant
        if node is not None and self._is_bound(node) and node not in self._update_of:
            self.bound[variant] = lambda memory: convert(memory.value(node))
        else:
            self._define(variant, text)
        return variant

    def _bits(self, node: Node) -> str:
        bits = _BITS[node.dtype.itemsize]
        name = self._name(node)
        return self._variant(name, node, "i", lambda a: a.view(bits), f"{name}.view({self._dtype(bits)})")

    def _dtype(self, dtype: Any) -> str:
        self.scope[dtype.name] = dtype
        return str(dtype.name)

    # steps

    def _step(self, step: Step) -> None:
        node, kernel = step.node, step.kernel
        if kernel is None:
            operands = ", ".join(self._name(i) for i in node.inputs)
            self._define(self.names[node], f"{self._evaluation(node, fresh=True)}({operands})")
        else:
            self._kernel_step(node, kernel, step.scratch)
        if self._timed:
            self.marks.append(node)
            self.lines.append("mark()")

    def _release(self, node: Node) -> None:
        """Let go of results in memory of their own that no step after `node` reads."""
        for root in self._dying.get(node, ()):
            names = [self.names[n] for n in self._local[root] if self.names[n] in self._defined]
            self.lines.append(f"del {', '.join(names)}")

    def _kernel_step(self, node: Node, kernel: Kernel, scratch: tuple[int, ...]) -> None:
        if self.plan.home[node] is Home.OUTPUT:
            self._new_output(node)
        if kernel is COPY:
            operand = node.inputs[0]
            shape = self.plan.types[operand].shape
            name = self._name(node)
            like = self._variant(name, node, "r", lambda a: a.reshape(shape), f"{name}.reshape({shape})")
            self.lines.append(f"copyto({like}, {self._name(operand)})")
            return
        for number in scratch:
            self.bound[f"s{number}"] = lambda memory, number=number: memory.scratch(number)  # type: ignore[misc]
        for call in self.plan.calls(node, kernel):
            arguments = "".join(self._fill(call, node, scratch))
            line = f"{self._function(call.name, call.function)}({arguments})"
            self.lines.append(f"{self._unless_itself(node, call)}{line}")

    def _unless_itself(self, node: Node, call: Call) -> str:
        """The condition of a copy that may be one of an updated array onto itself."""
        updated, whole = self._update_of.get(node), node.inputs[0]
        if updated is None or call.function is not np.copyto or call.arguments != "{out}, {0}":
            return ""
        return f"if {updated} is not {self.names[whole]}: " if self.targets.get(whole.name or "") == updated else ""

    def _fill(self, call: Call, node: Node, scratch: tuple[int, ...]) -> Iterator[str]:
        for text, field, spec, _ in Formatter().parse(call.arguments):
            yield text
            if field is None:
                continue
            if field.startswith("s"):
                yield f"s{scratch[int(field[1:])]}"
                continue
            value = node if field == "out" else node.inputs[int(field)]
            if spec == "bits":
                yield self._bits(value)
            else:
                yield self._name(value)

    def _function(self, name: str, function: Any) -> str:
        """A global name for `function`, its own where that is free."""
        key = (name, id(function))
        found = self._functions.get(key)
        if found is None:
            base = name if name.isidentifier() and not keyword.iskeyword(name) else "op"
            found = base
            number = 1
            while found in self.scope and self.scope[found] is not function:
                number += 1
                found = f"{base}_{number}"
            self.scope[found] = function
            self._functions[key] = found
        return found

    def _evaluation(self, node: Node, fresh: bool = False) -> str:
        """The global name of a node's evaluation with its attributes bound."""
        attrs = self.plan.attrs.get(node, {})
        pairs = tuple(sorted(attrs.items()))  # by their text as well, which tells 1 from True; by themselves, arrays differ
        key = (node.op.name, (id(node.op), fresh, repr(pairs), pairs))
        found = self._functions.get(key)
        if found is None:
            found = self._functions[key] = self._function(f"{node.op.name}_{len(self._functions)}", _bind(node, attrs, fresh))
        return found

    # results

    def _output_number(self, node: Node) -> int:
        return next(k for k, (_, n) in enumerate(self.plan.outputs) if n is node)

    def _output_name(self, k: int) -> str:
        node = self.plan.outputs[k][1]
        own = self.plan.home[node] is Home.OUTPUT and self._output_number(node) == k
        return self.names[node] if own else f"o{k}"

    def _new_output(self, node: Node) -> None:
        k = self._output_number(node)
        self._define(self.names[node], self._empty(k, node))

    def _empty(self, k: int, node: Node) -> str:
        node_type = self.plan.types[node]
        return f"empty({node_type.shape}, {self._dtype(node_type.dtype)}) if out is None else out[{k}]"

    def _copy_outputs(self) -> None:
        """Outputs that are feeds, constants, views, or named twice: a copy each, so that nothing is aliased."""
        for k, (_, node) in enumerate(self.plan.outputs):
            name = self._output_name(k)
            if name not in self._defined:
                self._define(name, self._empty(k, node))
                self.lines.append(f"copyto({name}, {self._name(node)})")

    def _write_updates(self) -> None:
        """Updates that were not computed in place; sources that another update overwrites are copied first."""
        targets = {self.plan.graph.placeholders.get(name) for name, _ in self.plan.updates}
        pending: list[tuple[str, str]] = []
        for name, node in self.plan.updates:
            if node in self._update_of and self._update_of[node] == self.targets[name]:
                continue
            source = self._name(node)
            if self.plan.root[node] in targets or node in self._update_of:
                self.scope["copy"] = np.array
                self._define(f"c{len(pending)}", f"copy({source})")
                source = f"c{len(pending)}"
            pending.append((self.targets[name], source))
        self.lines += [f"copyto({target}, {source})" for target, source in pending]


def _fresh_values(plan: Plan) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    """Each result in memory of its own with the views of it, and the steps after which those are dead."""
    local: dict[Node, list[Node]] = {n: [] for n in plan.order if plan.home[n] is Home.FRESH}
    for node in plan.order if local else ():
        if plan.root[node] in local:
            local[plan.root[node]].append(node)
    dying: dict[Node, list[Node]] = {}
    for node in local:
        if plan.last_use[node] < len(plan.order):
            dying.setdefault(plan.order[plan.last_use[node]], []).append(node)
    return local, dying


def _bind(node: Node, attrs: dict[str, Any], fresh: bool) -> Callable[..., Any]:
    evaluate = node.op.evaluate
    if not fresh:
        return (lambda *operands: evaluate(*operands, **attrs)) if attrs else evaluate

    def call(*operands: Any) -> Any:
        value = np.asarray(evaluate(*operands, **attrs))
        return np.ascontiguousarray(value).reshape(value.shape)

    return call


def _memory_comments(plan: Plan) -> list[str]:
    numbers = {node: k for k, node in enumerate(plan.graph.nodes, 1)}
    lines = [f"# {plan.graph.name!r}: {len(plan.steps)} steps, an arena of {plan.arena_bytes} bytes"]
    for node, k in numbers.items():
        where = _where(plan, node, numbers)
        lines.append(f"# v{k:<4} {call_text(node, numbers):<44} {plan.types[node]!s:<20} {where}")
    return lines


def _where(plan: Plan, node: Node, numbers: Mapping[Node, int]) -> str:
    home = plan.home.get(node)
    if home is Home.ARENA:
        return f"arena[{plan.offset.get(node, 0)}]"
    if home is Home.VIEW:
        return f"view of v{numbers[plan.root[node]]}"
    return home.name.lower() if home else ""


def _apart(targets: tuple[Array, ...], others: tuple[Array, ...]) -> bool:
    """True when no target can share memory with another array, as seen from who owns the memory."""
    owners = set()
    for array in targets:
        if array.base is not None:
            return False
        owners.add(id(array))
    if len(owners) < len(targets):
        return False
    for array in others:
        base = array.base
        if base is None:
            base = array
        elif base.__class__ is not np.ndarray or base.base is not None:
            return False
        if id(base) in owners:
            return False
    return True


class TimedProgram:
    """The same program with a clock read after every step."""

    def __init__(self, plan: Plan, clock: Callable[[], float]) -> None:
        emitter = _Emitter(plan, timed=True)
        text = emitter.module()
        self.nodes = tuple(emitter.marks)
        self.times: list[float] = []
        append = self.times.append
        memory = _Memory(plan)
        scope: dict[str, Any] = {**emitter.scope, "mark": lambda: append(clock())}
        for name, make in emitter.bound.items():
            scope[name] = make(memory)
        exec(compile(text, "<gradc profile>", "exec"), scope)
        self.run: Callable[..., Any] = scope["run"]
