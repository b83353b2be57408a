"""Passes: pure functions from graph to graph, in tuples that read from the first to the last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from gradc.errors import ArgumentError, show
from gradc.ir import Graph
from gradc.passes.contract import contract
from gradc.passes.cse import cse, sharing
from gradc.passes.fold import fold, folding
from gradc.passes.prune import prune
from gradc.passes.rederive import rederive
from gradc.passes.rewrite import Pass, rewriting_pass
from gradc.passes.simplify import shortening, simplify, simplifying
from gradc.passes.stable import stabilising

clean = rewriting_pass(simplifying, folding, sharing)
clean.__name__ = "clean"
"""`simplify`, `fold` and `cse` in one walk: each sees what the others made of the operands."""

stable = rewriting_pass(shortening, stabilising, folding, sharing)
stable.__name__ = "stable"
"""`clean`, and forms that neither overflow nor cancel, in one walk."""

NONE: tuple[Pass, ...] = ()
EXACT: tuple[Pass, ...] = (clean, prune)
DEFAULT: tuple[Pass, ...] = (rederive, stable, contract, prune)

__all__ = [
    "DEFAULT",
    "EXACT",
    "NONE",
    "Pass",
    "PassReport",
    "clean",
    "contract",
    "cse",
    "fold",
    "optimise",
    "prune",
    "rederive",
    "simplify",
]


class PassReport(NamedTuple):
    """What one pass did: node counts before and after, seconds."""

    name: str
    before: int
    after: int
    seconds: float


def optimise(graph: Graph, passes: Sequence[Pass] = DEFAULT, report: list[PassReport] | None = None) -> Graph:
    """`graph` after `passes`, one after the other; `report` collects what each did.

    Raises:
        ArgumentError: something in `passes` cannot be called.
    """
    for step in passes:
        if not callable(step):
            raise ArgumentError(f"optimise: a pass is a function from Graph to Graph, got {show(step)}")
        start, before = time.perf_counter(), len(graph.nodes)
        graph = step(graph)
        if report is not None:
            report.append(
                PassReport(getattr(step, "__name__", repr(step)), before, len(graph.nodes), time.perf_counter() - start)
            )
    return graph
