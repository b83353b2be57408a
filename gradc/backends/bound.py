"""Running a plan of very many calls, without the text of a program: each call bound to its arrays beforehand."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from string import Formatter
from typing import Any

import numpy as np

from gradc.backends.arena import ArenaArrays
from gradc.backends.literals import first_array, literal, with_literal_fields
from gradc.backends.numpy import Emitter, Run, memory_comments, without_warnings
from gradc.foreign import is_own, result_of
from gradc.ir import Array, Node, paused_collector
from gradc.ops.recipes import as_bits, operand_text
from gradc.plan import COPY, Plan
from gradc.types import TensorType


class LongProgram:
    """A schedule of so many calls on small arrays that Python's parser would cost more than they do.

    The same calls as in `source`, in the same order, bound to their arrays one by one instead of through text.
    """

    def __init__(self, plan: Plan, readable: Callable[[], Plan]) -> None:
        self.plan = plan
        self._readable = readable

    @property
    def source(self) -> str:
        """The schedule as the program that it stands for."""
        plan = self._readable()
        return "\n".join([*memory_comments(plan), Emitter(plan).module()])

    def bind(self) -> Run:
        """A `run` with an arena of its own: one call at a time may use it."""
        with paused_collector():
            return self._bound()

    def _bound(self) -> Run:
        plan = self.plan
        memory = ArenaArrays(plan)
        value = memory.value
        calls: list[Callable[[], Any]] = []
        for node, kernel, scratch in plan.steps:
            result, operands = value(node), [value(i) for i in node.inputs]
            if kernel is None:
                attrs = plan.attrs.get(node, {})
                evaluate = node.op.evaluate if is_own(node.op) else _watched(node, plan.types[node])
                calls.append(partial(_store, result, evaluate, operands, attrs))
            elif kernel is COPY:
                calls.append(partial(np.copyto, result.reshape(operands[0].shape), operands[0]))
            else:
                buffers = [memory.scratch(k) for k in scratch]
                for call in plan.calls(node, kernel):
                    calls.append(_binder(with_literal_fields(call))(call.function, operands, result, buffers))
        return without_warnings(_long_run(plan, calls, memory))

    def node_of(self, error: BaseException) -> Node | None:
        """The node that a call was at when it raised `error`."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code not in _long_run.__code__.co_consts:
            trace = trace.tb_next
        if trace is None or "call" not in trace.tb_frame.f_locals:
            return None
        made, at = trace.tb_frame.f_locals["calls"], trace.tb_frame.f_locals["call"]
        number = next(k for k, call in enumerate(made) if call is at)
        for node, kernel, _ in self.plan.steps:
            number -= 1 if kernel is None or kernel is COPY else len(list(self.plan.calls(node, kernel)))
            if number < 0:
                return node
        return None


def _watched(node: Node, result: TensorType) -> Callable[..., Any]:
    return lambda *operands, **attrs: result_of(node, result, operands, attrs)


def _store(out: Array, evaluate: Callable[..., Any], operands: list[Array], attrs: dict[str, Any]) -> None:
    np.copyto(out, evaluate(*operands, **attrs))


@lru_cache(maxsize=1024)
def _binder(template: str) -> Callable[..., Callable[[], Any]]:
    """From the arguments of a `Call`, the function that binds it to operands, result and scratch."""

    def argument(field: str, spec: str | None) -> str:
        if field == "literal":
            return f"literal({spec!r}, {operand_text(first_array(template))}.dtype)"
        return operand_text(field, spec)

    arguments = "".join(text + (argument(field, spec) if field else "") for text, field, spec, _ in Formatter().parse(template))
    made = eval(f"lambda f, x, out, s: partial(f, {arguments})", {"partial": partial, "bits": as_bits, "literal": literal})
    return made  # type: ignore[no-any-return]


def _long_run(plan: Plan, calls: list[Callable[[], Any]], memory: ArenaArrays) -> Run:
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
