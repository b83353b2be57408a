"""Lowering a plan to straight-line NumPy source: one call a line, `out=` planned memory, views made beforehand.

The source is a module whose globals are the buffers of one arena: `run` takes the fed arrays and returns the
outputs. Names never become code: values are v1, v2, ..., and output names occur as string literals only.
"""

from __future__ import annotations

import contextvars
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from string import Formatter
from types import CodeType
from typing import Any
from unicodedata import normalize

import numpy as np

from gradc.backends.arena import ArenaArrays
from gradc.backends.guards import apart, guard_lines
from gradc.backends.literals import first_array, literal, with_literal_fields
from gradc.foreign import is_own, result_of
from gradc.ir import Array, Call, Kernel, Node, call_text
from gradc.ops.recipes import BITS
from gradc.plan import COPY, Home, Plan, Step, nbytes_of
from gradc.tiles import Tiling
from gradc.types import DType, TensorType

_VALUE = re.compile(r"[vsuoc]\d\w*|tiles\d+|start|stop|out|checked|run|mark")
"""The names that a program gives to values, and to itself."""

_LARGE_OUTPUT = 1 << 20


class Program:
    """A plan's emitted source, compiled once; `bind` makes a runnable copy with an arena of its own."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        emitter = Emitter(plan)
        self._text = emitter.module()
        self._scope = emitter.scope
        self._bound = emitter.bound
        self._code = compile(self._text, f"<gradc {plan.graph.name}>", "exec")

    @property
    def source(self) -> str:
        """The program, with the layout of its memory as comments."""
        return "\n".join([*memory_comments(self.plan), self._text])

    def bind(self) -> Run:
        """A `run` with an arena of its own: one call at a time may use it."""
        scope = dict(self._scope)
        memory = ArenaArrays(self.plan)
        for name, make in self._bound.items():
            scope[name] = make(memory)
        exec(self._code, scope)
        return without_warnings(scope["run"])

    def node_of(self, error: BaseException) -> Node | None:
        """The node that a call was at when it raised `error`."""
        run = next(c for c in self._code.co_consts if isinstance(c, CodeType))
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code is not run:
            trace = trace.tb_next
        if trace is None:
            return None
        emitter = Emitter(self.plan)
        emitter.module()
        return emitter.node_at(trace.tb_lineno)


Run = Callable[..., Any]


def without_warnings(run: Run) -> Run:
    """`run` in a context of its own, in which NumPy's floating point warnings are off."""
    context = contextvars.copy_context()
    context.run(np.errstate(all="ignore").__enter__)
    return partial(context.run, run)


Part = Callable[[ArenaArrays, int, int], Array]
"""Makes the array that a loop's step works on, from the memory and the rows from and to."""


class _Loop:
    """A loop over the blocks of a tiling: its lines, the arrays bound before the call, and slices of what comes with it."""

    def __init__(self, tiling: Tiling, name: str) -> None:
        self.tiling = tiling
        self.name = name
        self.parts: dict[str, Part] = {}
        self.slices: dict[str, str] = {}
        self.lines: list[str] = []
        self.nodes: list[Node] = []

    def rounds(self, memory: ArenaArrays) -> list[tuple[Any, ...]]:
        """What each round of the loop works on."""
        return [(a, b, *(part(memory, a, b) for part in self.parts.values())) for a, b in self.tiling.blocks()]

    def text(self) -> list[str]:
        """The loop as source."""
        body = [*(f"{name} = {text}" for name, text in self.slices.items()), *self.lines]
        return [f"for {', '.join(('start', 'stop', *self.parts))} in {self.name}:", *(f"    {line}" for line in body)]

    def nodes_of_lines(self) -> list[Node]:
        """The node that each line of `text` computes or prepares for."""
        return [*[self.tiling.nodes[0]] * (1 + len(self.slices)), *self.nodes]


class Emitter:
    """Builds the module text, and says what its globals are."""

    def __init__(self, plan: Plan, timed: bool = False) -> None:
        self.plan = plan
        self.names = {node: f"v{k}" for k, node in enumerate(plan.graph.nodes, 1)}
        self.scope: dict[str, Any] = {"empty": np.empty, "copyto": np.copyto, "ndarray": np.ndarray, "apart": apart}
        self.bound: dict[str, Callable[[ArenaArrays], Any]] = {}
        self.lines: list[str] = []
        self.marks: list[Node] = []
        self._nodes: list[Node | None] = []
        self._head = 0
        self._defined: set[str] = set()
        self._functions: dict[tuple[str, Any], str] = {}
        self._timed = timed
        self._has_large_outputs = False
        self._loop: _Loop | None = None
        self._loops = {t.nodes[0]: _Loop(t, f"tiles{k}") for k, t in enumerate(plan.tilings, 1)}
        self._placeholders = plan.graph.placeholders
        self._output_number: dict[Node, int] = {}
        for k, (_, node) in enumerate(plan.outputs):
            self._output_number.setdefault(node, k)
        self.targets = {name: f"u{k}" for k, (name, _) in enumerate(plan.updates, 1)}
        self._local, self._dying = _fresh_values(plan)
        self._update_of = {node: self.targets[name] for node, name in plan.direct.items()}

    # the module

    def module(self) -> str:
        for step in self.plan.steps:
            self._enter_loop(step.node)
            self._step(step)
            self._leave_loop(step.node)
            self._belongs_to(step.node)
        self._copy_outputs()
        self._write_updates()
        returned = "{" + ", ".join(f"{name!r}: {self._output_name(k)}" for k, (name, _) in enumerate(self.plan.outputs)) + "}"
        feeds = [self.names[n] for n in self._placeholders.values()]
        parameters = [*feeds, *(f"{u}=None" for u in self.targets.values()), "out=None", "checked=False"]
        guards = guard_lines(self.plan, self.names, self.targets, self._dtype)
        head = [f"def run({', '.join(parameters)}):", *guards]
        self._head = sum(line.count("\n") + 1 for line in head)
        return "\n".join([*head, *(f"    {line}" for line in self.lines), f"    return {returned}", ""])

    def _belongs_to(self, node: Node) -> None:
        """The lines written since the last such call compute `node`, or prepare for it."""
        self._nodes += [node] * (len(self.lines) - len(self._nodes))

    def node_at(self, line: int) -> Node | None:
        """The node that a line of the module computes, counted from 1."""
        k = line - self._head - 1
        return self._nodes[k] if 0 <= k < len(self._nodes) else None

    # values

    def _is_bound(self, node: Node) -> bool:
        return self.plan.home[self.plan.root[node]] in (Home.ARENA, Home.CONSTANT)

    def _name(self, node: Node) -> str:
        """The name of a value or, in a loop, of the part of it that a round works on."""
        loop = self._loop
        if loop is None or not loop.tiling.splits(self.plan.types[node].shape):
            return self._whole(node)
        if self.plan.home[node] is Home.TILE:
            name = self.names[node]
            loop.parts[name] = lambda memory, a, b: memory.tile(node)[: b - a]
            return name
        whole = self._whole(node)
        name = f"{whole}_part"
        if whole in self.bound:
            loop.parts[name] = lambda memory, a, b: memory.value(node)[a:b]
        else:
            loop.slices[name] = f"{whole}[start:stop]"
        return name

    def _whole(self, node: Node) -> str:
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
        operand = self._whole(node.inputs[0])
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
        loop = self._loop
        if loop is not None and name in loop.parts:
            part = loop.parts[name]
            loop.parts[variant] = lambda memory, a, b: convert(part(memory, a, b))
            return variant
        if loop is not None and name in loop.slices:
            loop.slices[variant] = text
            return variant
        if node is not None and self._is_bound(node) and node not in self._update_of:
            self.bound[variant] = lambda memory: convert(memory.value(node))
        else:
            self._define(variant, text)
        return variant

    def _bits(self, node: Node) -> str:
        bits = BITS[node.dtype.itemsize]
        name = self._name(node)
        return self._variant(name, node, "i", lambda a: a.view(bits), f"{name}.view({self._dtype(bits)})")

    def _dtype(self, dtype: Any) -> str:
        return self._global(dtype.name, dtype)

    # steps

    def _enter_loop(self, node: Node) -> None:
        """Begin the loop that `node` is the first of; what it writes for the caller is made before."""
        if node in self._loops:
            loop = self._loops[node]
            if not self._update_of.keys().isdisjoint(loop.tiling.nodes):
                self._new_large_outputs()
            for n in loop.tiling.nodes:
                if self.plan.home[n] is Home.OUTPUT:
                    self._new_output(n)
            self._loop = loop

    def _leave_loop(self, node: Node) -> None:
        """After the last step of a loop, write it; what no step after `node` reads is let go of."""
        loop = self._loop
        if loop is None:
            self._release(node)
        elif node is loop.tiling.nodes[-1]:
            self._loop = None
            self.bound[loop.name] = loop.rounds
            self._belongs_to(loop.tiling.nodes[0])
            self.lines += loop.text()
            self._nodes += loop.nodes_of_lines()
            for n in loop.tiling.nodes:
                self._release(n)

    def _emit(self, line: str, node: Node) -> None:
        if self._loop is None:
            self.lines.append(line)
            return
        self._loop.lines.append(line)
        self._loop.nodes.append(node)

    def _step(self, step: Step) -> None:
        node, kernel = step.node, step.kernel
        if node in self._update_of and self._loop is None:
            self._new_large_outputs()
        if kernel is None:
            operands = ", ".join(self._name(i) for i in node.inputs)
            self._define(self.names[node], f"{self._evaluation(node, fresh=True)}({operands})")
        else:
            self._kernel_step(node, kernel, step.scratch)
        if self._timed:
            self._emit(f"mark({len(self.marks)})", node)
            self.marks.append(node)

    def _release(self, node: Node) -> None:
        """Let go of results in memory of their own that no step after `node` reads."""
        for root in self._dying.get(node, ()):
            names = [self.names[n] for n in self._local[root] if self.names[n] in self._defined]
            self.lines.append(f"del {', '.join(names)}")

    def _kernel_step(self, node: Node, kernel: Kernel, scratch: tuple[int, ...]) -> None:
        if self.plan.home[node] is Home.OUTPUT and self._loop is None:
            self._new_output(node)
        if kernel is COPY:
            operand = node.inputs[0]
            shape = self.plan.types[operand].shape
            name = self._name(node)
            like = self._variant(name, node, "r", lambda a: a.reshape(shape), f"{name}.reshape({shape})")
            self.lines.append(f"copyto({like}, {self._name(operand)})")
            return
        for number in scratch:
            self._bind_scratch(number)
        for call in self.plan.calls(node, kernel):
            arguments = "".join(self._fill(call, node, scratch))
            line = f"{self._function(call.name, call.function)}({arguments})"
            self._emit(f"{self._unless_itself(node, call)}{line}", node)

    def _unless_itself(self, node: Node, call: Call) -> str:
        """The condition of a copy that may be one of an updated array onto itself."""
        updated, whole = self._update_of.get(node), node.inputs[0]
        if updated is None or call.function is not np.copyto or call.arguments != "{out}, {0}":
            return ""
        return f"if {updated} is not {self.names[whole]}: " if self.targets.get(whole.name or "") == updated else ""

    def _bind_scratch(self, number: int) -> None:
        if self._loop is None:
            self.bound[f"s{number}"] = lambda memory: memory.scratch(number)
        else:
            self._loop.parts[f"s{number}"] = lambda memory, a, b: memory.scratch(number)[: b - a]

    def _fill(self, call: Call, node: Node, scratch: tuple[int, ...]) -> Iterator[str]:
        arguments = with_literal_fields(call)
        for text, field, spec, _ in Formatter().parse(arguments):
            yield text
            if field is None:
                continue
            if field.startswith("s"):
                yield f"s{scratch[int(field[1:])]}"
                continue
            if field == "literal":
                yield self._literal(spec or "", self._dtype_of(first_array(arguments), node, scratch))
                continue
            value = node if field == "out" else node.inputs[int(field)]
            if spec == "bits":
                yield self._bits(value)
            else:
                yield self._name(value)

    def _dtype_of(self, field: str, node: Node, scratch: tuple[int, ...]) -> DType:
        if field.startswith("s"):
            return self.plan.scratch[scratch[int(field[1:])]].dtype
        return self.plan.types[node if field == "out" else node.inputs[int(field)]].dtype

    def _literal(self, text: str, dtype: DType) -> str:
        number = literal(text, dtype)
        if not isinstance(number, np.ndarray):
            return text
        return self._global(f"{dtype.name}_{text}".replace("-", "minus_").replace(".", "p").replace("+", ""), number)

    def _function(self, name: str, function: Any) -> str:
        """A global name for `function`, its own where that is free and means nothing else in a program."""
        key = (name, function)
        found = self._functions.get(key)
        if found is None:
            base = normalize("NFKC", name)  # as Python reads it
            plain = base.isidentifier() and not keyword.iskeyword(base) and not _VALUE.fullmatch(base)
            found = self._functions[key] = self._global(base if plain else "op", function)
        return found

    def _global(self, base: str, value: Any) -> str:
        """A name for `value` among the globals of the program: `base`, where that is free."""
        found, number = base, 1
        while self.scope.setdefault(found, value) is not value:
            number += 1
            found = f"{base}_{number}"
        return found

    def _evaluation(self, node: Node, fresh: bool = False) -> str:
        """The global name of a node's evaluation with its attributes bound."""
        attrs = self.plan.attrs.get(node, {})
        pairs = tuple(sorted(attrs.items()))  # by their text as well, which tells 1 from True; by themselves, arrays differ
        key = (node.op.name, (id(node.op) if is_own(node.op) else node, fresh, repr(pairs), pairs))
        found = self._functions.get(key)
        if found is None:
            call = _bind(node, self.plan.types[node], attrs, fresh)
            found = self._functions[key] = self._function(f"{node.op.name}_{len(self._functions)}", call)
        return found

    # results

    def _is_computed_there(self, k: int) -> bool:
        """True where the step of an output computes it in the array that is returned; others are copied to theirs."""
        node = self.plan.outputs[k][1]
        return self.plan.home[node] is Home.OUTPUT and self._output_number[node] == k

    def _output_name(self, k: int) -> str:
        return self.names[self.plan.outputs[k][1]] if self._is_computed_there(k) else f"o{k}"

    def _new_output(self, node: Node) -> None:
        if self.names[node] not in self._defined:
            self._define(self.names[node], self._empty(self._output_number[node], node))

    def _new_large_outputs(self) -> None:
        """Before anything is updated: there may be no room for them."""
        for k, (_, node) in enumerate(self.plan.outputs if not self._has_large_outputs else ()):
            name = self._output_name(k)
            if name not in self._defined and nbytes_of(self.plan.types[node]) >= _LARGE_OUTPUT:
                self._define(name, self._empty(k, node))
        self._has_large_outputs = True

    def _empty(self, k: int, node: Node) -> str:
        node_type = self.plan.types[node]
        return f"empty({node_type.shape}, {self._dtype(node_type.dtype)}) if out is None else out[{k}]"

    def _copy_outputs(self) -> None:
        """Outputs that are feeds, constants, views, or named twice: a copy each, so that nothing is aliased."""
        for k, (_, node) in enumerate(self.plan.outputs):
            if self._is_computed_there(k):
                continue
            name = self._output_name(k)
            if name not in self._defined:
                self._define(name, self._empty(k, node))
            self.lines.append(f"copyto({name}, {self._name(node)})")

    def _write_updates(self) -> None:
        """Updates that were not computed in place; sources that one of them overwrites are copied first."""
        copied = [(name, node) for name, node in self.plan.updates if self.plan.direct.get(node) != name]
        overwritten = {self._placeholders.get(name) for name, _ in copied}
        pending: list[tuple[str, str]] = []
        for name, node in copied:
            source = self._name(node)
            if self.plan.root[node] in overwritten:
                self._define(f"c{len(pending)}", f"{self._function('copy', np.array)}({source})")
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


def _bind(node: Node, result: TensorType, attrs: dict[str, Any], fresh: bool) -> Callable[..., Any]:
    evaluate = node.op.evaluate
    if not is_own(node.op):
        return lambda *operands: result_of(node, result, operands, attrs)
    if not fresh:
        return (lambda *operands: evaluate(*operands, **attrs)) if attrs else evaluate

    def call(*operands: Any) -> Any:
        value = np.asarray(evaluate(*operands, **attrs))
        return np.ascontiguousarray(value).reshape(value.shape)

    return call


def memory_comments(plan: Plan) -> list[str]:
    numbers = {node: k for k, node in enumerate(plan.graph.nodes, 1)}
    lines = [f"# {plan.graph.name!r}: {len(plan.steps)} steps, an arena of {plan.arena_bytes} bytes"]
    for node, k in numbers.items():
        where = _where(plan, node, numbers)
        lines.append(f"# v{k:<4} {call_text(node, numbers):<44} {plan.types[node]!s:<20} {where}")
    return [" ".join(line.splitlines()) for line in lines]


def _where(plan: Plan, node: Node, numbers: Mapping[Node, int]) -> str:
    home = plan.home.get(node)
    if home is Home.ARENA:
        return f"arena[{plan.offset.get(node, 0)}]"
    if home is Home.TILE:
        return f"arena[{plan.offset[node]}], a tile"
    if home is Home.VIEW:
        return f"view of v{numbers[plan.root[node]]}"
    return home.name.lower() if home else ""


class TimedProgram:
    """The same program, in which every step adds the time since the one before to its own."""

    def __init__(self, plan: Plan, clock: Callable[[], float]) -> None:
        emitter = Emitter(plan, timed=True)
        text = emitter.module()
        self.nodes = tuple(emitter.marks)
        self.times = [0.0] * len(self.nodes)
        self._clock = clock
        self._last = 0.0
        memory = ArenaArrays(plan)
        scope: dict[str, Any] = {**emitter.scope, "mark": self._mark}
        for name, make in emitter.bound.items():
            scope[name] = make(memory)
        exec(compile(text, "<gradc profile>", "exec"), scope)
        self._run: Callable[..., Any] = scope["run"]

    def run(self, *arguments: Any) -> None:
        """One call, for which `times` then holds each step's seconds."""
        self.times[:] = [0.0] * len(self.times)
        self._last = self._clock()
        self._run(*arguments)

    def _mark(self, step: int) -> None:
        now = self._clock()
        self.times[step] += now - self._last
        self._last = now
