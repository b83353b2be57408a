"""Executables: a compiled graph to call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.backends.numpy import Emitted, emit
from gradc.errors import ArgumentError, FeedError, NamingError
from gradc.interpret import check_feeds
from gradc.ir import Array, Graph, Node, describe
from gradc.passes import DEFAULT, PassReport, optimise

_KEPT_SCHEDULES = 8


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
        outputs: the names of the outputs wanted; all when left out. Those named in `updates` are not returned
            unless they are named here.
        backend: "numpy".
        passes: a sequence of passes; `gradc.passes.DEFAULT` when left out.
        updates: placeholder name -> output name: after each call the fed array holds the output's value.

    Raises:
        GradcError: a name is unknown, or an update's type differs from its placeholder's.
    """
    if backend != "numpy":
        raise ArgumentError(f"compile: backend {backend!r} does not exist; there is 'numpy'")
    updates = dict(updates or {})
    wanted = _wanted(graph, outputs, updates)
    _check_updates(graph, updates)
    roots = {name: graph.outputs[name] for name in [*wanted, *updates.values()]}
    placeholders = graph.placeholders
    report: list[PassReport] = []
    chosen = tuple(DEFAULT if passes is None else passes)
    optimised = optimise(Graph.of(graph.name, placeholders, roots), chosen, report)
    return Executable(optimised, placeholders, wanted, updates, report)


def _wanted(graph: Graph, outputs: Sequence[str] | str | None, updates: Mapping[str, str]) -> tuple[str, ...]:
    if outputs is None:
        return tuple(name for name in graph.outputs if name not in set(updates.values()))
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in names:
        if name not in graph.outputs:
            raise NamingError(f"compile: {name!r} is no output; the outputs are {', '.join(graph.outputs) or 'none'}")
    return tuple(dict.fromkeys(n for n in names if n not in set(updates.values())))


def _check_updates(graph: Graph, updates: Mapping[str, str]) -> None:
    for target, source in updates.items():
        if target not in graph.placeholders:
            raise NamingError(f"compile: updates names {target!r}, which is no placeholder")
        if source not in graph.outputs:
            raise NamingError(f"compile: updates names {source!r}, which is no output")
        old, new = graph.placeholders[target], graph.outputs[source]
        if old.type != new.type:
            raise ArgumentError(f"compile: update of {target!r} ({old.type}) by {source!r} ({new.type}): the types differ")


class Executable:
    """A compiled graph: call it with keywords, or with one mapping; it returns a dict in output order."""

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
        self._results = tuple(graph.outputs[n] for n in [*outputs, *self._updates.values()])
        self._schedules: OrderedDict[tuple[tuple[str, int], ...], Emitted] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Executable {self.graph.name!r}: {', '.join(self._placeholders)} -> {', '.join(self._outputs)}>"

    def __call__(self, feeds: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Array]:
        """Run it.

        Raises:
            FeedError: a feed is missing, unknown, of the wrong dtype or shape, or an update's array cannot be
                written; nothing has run then.
        """
        given = {**(feeds or {}), **named}
        arrays, dims = check_feeds(self._placeholders, given)
        self._check_targets(given)
        schedule = self._schedule(tuple(sorted(dims.items())))
        with np.errstate(all="ignore"):
            values = schedule.run(*[arrays[name] for name in self.graph.placeholders])
        kept = len(self._outputs)
        results = {name: np.array(v, order="C") for name, v in zip(self._outputs, values[:kept], strict=True)}
        for target, value in [(t, np.array(v)) for t, v in zip(self._updates, values[kept:], strict=True)]:
            np.copyto(given[target], value)
        return results

    @property
    def source(self) -> str:
        """The emitted program; of the schedule used last, or, before any call, with symbolic names open."""
        if not self._schedules:
            self._schedule(())
        return next(reversed(self._schedules.values())).source

    def _schedule(self, key: tuple[tuple[str, int], ...]) -> Emitted:
        found = self._schedules.get(key)
        if found is None:
            found = self._schedules[key] = emit(self.graph, self._results, dict(key))
            while len(self._schedules) > _KEPT_SCHEDULES:
                self._schedules.popitem(last=False)
        return found

    def _check_targets(self, given: Mapping[str, Any]) -> None:
        targets = [(name, given[name]) for name in self._updates]
        for name, array in targets:
            node = self._placeholders[name]
            if not isinstance(array, np.ndarray) or not array.flags.writeable or array.dtype != node.dtype:
                raise FeedError(
                    f"feed {name!r} is updated in place: expected a writable array for {describe(node)}, got {array!r:.80}"
                )
        for k, (name, array) in enumerate(targets):
            for other, against in targets[:k]:
                if np.may_share_memory(array, against) and np.shares_memory(array, against):
                    raise FeedError(f"feeds {other!r} and {name!r} are both updated in place, but share memory: pass copies")
