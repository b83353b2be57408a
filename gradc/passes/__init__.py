"""Passes: pure functions from graph to graph, in tuples that read from the first to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gradc.errors import ArgumentError, GradcError, PassError, show
from gradc.forms import with_forms
from gradc.ir import Graph
from gradc.passes.contract import contract
from gradc.passes.cse import cse, sharing
from gradc.passes.fold import fold, folding
from gradc.passes.prune import prune
from gradc.passes.rewrite import Numerics, Pass, name_of, numerics_of, rewriting_pass
from gradc.passes.simplify import shortening, simplify, simplifying
from gradc.passes.stable import stabilising
from gradc.passes.validate import check_signature, validating, validator_for
from gradc.types import by_expression

clean = rewriting_pass("clean", Numerics.EXACT, simplifying, folding, sharing)
"""`simplify`, `fold` and `cse` in one walk: each sees what the others made of the operands."""

forms = Pass("forms", Numerics.REASSOCIATES, with_forms)
"""Functions that are written out become what `differentiate` has taken them for."""

stable = rewriting_pass("stable", Numerics.REASSOCIATES, shortening, stabilising, folding, sharing)
"""`clean`, and forms that neither overflow nor cancel, in one walk."""

NONE: tuple[Pass, ...] = ()
EXACT: tuple[Pass, ...] = (clean, prune)
DEFAULT: tuple[Pass, ...] = (forms, stable, contract, prune)

__all__ = [
    "DEFAULT",
    "EXACT",
    "NONE",
    "Numerics",
    "Pass",
    "PassReport",
    "clean",
    "contract",
    "cse",
    "fold",
    "forms",
    "optimise",
    "prune",
    "simplify",
    "stable",
    "validating",
]


class PassReport(NamedTuple):
    """What one pass did: its name and numerics, node counts before and after, seconds."""

    name: str
    numerics: Numerics
    before: int
    after: int
    seconds: float


def optimise(
    graph: Graph,
    passes: Sequence[Callable[[Graph], Graph]] = DEFAULT,
    report: list[PassReport] | None = None,
    *,
    validate: bool = False,
) -> Graph:
    """`graph` after `passes`, one after the other; `report` collects what each did.

    Args:
        validate: hold the graph after each pass against the one before it, at random and special points.

    Raises:
        ArgumentError: something in `passes` cannot be called.
        PassError: a pass raised what is its cause, returned no graph, or one of other outputs or of placeholders that it added;
            or one that is validated changed what the graph computes by more than it declares.
    """
    validator = validator_for(graph, validate)
    for step in passes:
        if not callable(step):
            raise ArgumentError(f"optimise: a pass is a function from Graph to Graph, got {show(step)}")
        start, before = time.perf_counter(), len(graph.nodes)
        graph = _applied(step, graph)
        if report is not None:
            seconds = time.perf_counter() - start
            report.append(PassReport(name_of(step), numerics_of(step), before, len(graph.nodes), seconds))
        if validator is not None:
            validator.check(step, graph)
    return graph


def _applied(step: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """What the pass `step` makes of `graph`: a graph of the same outputs, from no other placeholders."""
    name = name_of(step)
    try:
        with by_expression():
            after = step(graph)
    except (GradcError, MemoryError) as error:
        error.add_note(f"in pass {show(name)}")
        raise
    except Exception as error:
        raise PassError(f"pass {show(name)} raised {type(error).__name__}: {error}") from error
    if not isinstance(after, Graph):
        raise PassError(f"pass {show(name)} returned {show(after)}: a pass returns a graph, the one that it was given or another")
    check_signature(name, graph, after)
    return after
