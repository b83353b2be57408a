"""Executables against `evaluate`: random programs over layouts, aliases, duplicated targets, byte orders, failures, `out=`.

The rule: after any call the outputs, and what was updated, are what `evaluate` gives from the arrays before the call, or an
error of gradc's came and nothing was written.
"""

import os
from contextlib import contextmanager

import numpy as np
import pytest
import random_programs as programs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import Choices, Program, clone, feeds_of, is_clean, memory_of
from test_executor import equal

import gradc as gc
from gradc import errors, passes, plan, runtime, tiles
from gradc.backends import numpy as emitter

EXAMPLES = int(os.environ.get("GRADC_FUZZ", "150"))
KINDS = ["short", "long", "tiled"]
BEYOND = errors.BoundsError("beyond the end")
STREAMS = st.lists(st.integers(0, 1 << 12), min_size=100, max_size=300)


@contextmanager
def limits(kind):
    """Limits so small that small programs take every path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_SMALL_BYTES", 0)
        patch.setattr(plan, "_WAITS_PER_NODE", 0 if kind == "long" else 16)
        patch.setattr(emitter, "_LARGE_OUTPUT", 32)
        if kind == "long":
            patch.setattr(runtime, "_LONG_NODES", 0)
        if kind == "tiled":
            patch.setattr(tiles, "TILE_BYTES", 16)
            patch.setattr(tiles, "LEAST_TILES", 2)
            patch.setattr(tiles, "LEAST_OWN_VALUES", 1)
        yield


def fuzzed(test):
    relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    return relaxed(given(STREAMS, st.sampled_from(KINDS), st.sampled_from(["NONE", "EXACT", "DEFAULT"]))(test))


def expected(graph, feeds):
    """The outputs by `evaluate`, of copies of the feeds; or its error."""
    programs.kept.clear()
    try:
        trace = gc.evaluate(graph, {name: clone(feeds[name]) for name in graph.placeholders})
        return {name: np.array(trace[node]) for name, node in graph.outputs.items()}
    except gc.GradcError as error:
        return error


def graphs_of(step, program, level):
    """The graphs whose values a call has to the bit: without passes, and with exact ones, the program's own."""
    return [step.graph] if level == "DEFAULT" else [step.graph, program.graph]


def check_call(step, program, level, feeds, out):
    """One call, held against the rule."""
    written = [feeds[name] for name in program.updates] + list((out or {}).values())
    untouched = [a for name, a in feeds.items() if name not in program.updates]
    arrays = [*untouched, *written]
    wanted = [expected(graph, feeds) for graph in graphs_of(step, program, level)]
    before = memory_of(arrays)
    read = [a for name, a in feeds.items() if name in step.graph.placeholders and name not in program.updates]
    held = [a.copy() for a in read]
    try:
        found = step(feeds, out=out) if out is not None else step(feeds)
    except gc.GradcError as error:
        assert memory_of(arrays) == before, f"something was written, then {error!r}"
        clean = is_clean(written, untouched)
        fails = isinstance(wanted[0], Exception)
        assert fails or not clean, error
        if fails and clean:
            assert isinstance(error, (errors.EvaluationError, errors.BoundsError)) and "random_programs.py" in str(error), str(
                error
            )
        return
    assert all(name not in found or found[name] is array for name, array in (out or {}).items())
    for values in wanted:
        assert not isinstance(values, Exception), values
        for name, value in found.items():
            assert equal(value, values[name]), name
        for name, source in program.updates.items():
            value = np.asarray(feeds[name])
            assert equal(np.array(value, value.dtype.newbyteorder("=")), values[source]), name
    assert all(equal(np.asarray(a), np.asarray(was)) for a, was in zip(read, held, strict=True)), "a feed changed"


@fuzzed
def test_a_call_gives_what_evaluate_gives_or_writes_nothing(numbers, kind, level):
    choices = Choices(numbers)
    program = Program(choices)
    with limits(kind):
        step = gc.compile(program.graph, program.outputs, updates=program.updates, passes=getattr(passes, level))
        for _ in range(3):
            feeds = feeds_of(program)
            out = out_of(step, feeds, choices) if choices.chance(50) else None
            programs.broken.clear()
            if choices.chance(60):
                programs.broken[choices.below(3)] = choices.one([ValueError("no"), KeyError(3), RuntimeWarning("loud"), BEYOND])
            check_call(step, program, level, feeds, out)
            programs.broken.clear()
            check_call(step, program, level, feeds, None)


def out_of(step, feeds, choices):
    """Arrays for some outputs: plain, aliases of feeds or of each other, or of a type that does not fit."""
    wanted = expected(step.graph, feeds)
    if isinstance(wanted, Exception):
        return {}
    out = {}
    for name in step._outputs:
        fitting = [a for a in (*feeds.values(), *out.values()) if a.shape == wanted[name].shape and a.dtype == wanted[name].dtype]
        if choices.chance(20) and fitting:
            out[name] = choices.one(fitting)
        elif choices.chance(60):
            out[name] = np.empty_like(wanted[name])
    return {name: a for name, a in out.items() if a.flags.c_contiguous and a.flags.writeable}


@fuzzed
def test_an_interrupted_call_leaves_the_next_one_right(numbers, kind, level):
    choices = Choices(numbers)
    program = Program(choices, own=10, fragile=40)
    with limits(kind):
        step = gc.compile(program.graph, program.outputs, updates=program.updates, passes=getattr(passes, level))
        feeds = programs.interleaved(program.values)
        for number in range(4):
            programs.broken.clear()
            programs.broken[number] = KeyboardInterrupt()
            before = memory_of(feeds.values())
            try:
                step(feeds)
            except KeyboardInterrupt:
                assert memory_of(feeds.values()) == before
            except gc.GradcError:
                assert memory_of(feeds.values()) == before
            programs.broken.clear()
            check_call(step, program, level, programs.interleaved(program.values), None)


@fuzzed
def test_ops_that_return_operands_and_views(numbers, kind, level):
    """And arrays that they keep; and ops that write into their operands, or declare views that are none."""
    choices = Choices(numbers)
    program = Program(choices, own=60, fragile=0)
    with limits(kind):
        step = gc.compile(program.graph, program.outputs, updates=program.updates, passes=getattr(passes, level))
        for _ in range(2):
            check_call(step, program, level, {name: a.copy() for name, a in program.values.items()}, None)


@fuzzed
def test_own_ops_mean_the_same_to_evaluate_and_to_numpy(numbers, kind, level):
    """An oracle that shares no code with gradc: every own op that returns its operand is replaced by a plain product with 1."""
    programs.kept.clear()
    program = Program(Choices(numbers), own=60, fragile=0)
    plain = plain_copy(program.graph)
    values = {name: a.copy() for name, a in program.values.items()}
    found, wanted = expected(program.graph, values), expected(plain, values)
    if isinstance(wanted, Exception):
        assert isinstance(found, Exception)
        return
    for name, value in wanted.items():
        assert equal(found[name], value), name


def plain_copy(graph):
    """The same graph, in which own ops that return their operand are gone."""
    copies = {}
    same = set(programs.RETURNS_OPERAND) | {op for op in programs.RETURNS_VIEW if op.name == "elementwise_view"}
    for node in graph.nodes:
        if not node.inputs:
            copies[node] = node
        elif node.op in same:
            copies[node] = copies[node.inputs[0]]
        else:
            copies[node] = programs.apply(node.op, tuple(copies[i] for i in node.inputs), node.attrs)
    return gc.Graph.of("plain", graph.placeholders, {name: copies[node] for name, node in graph.outputs.items()})
