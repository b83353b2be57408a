"""Indexing: every index that NumPy knows, its adjoint against a dense oracle, updates, symbolic sizes, errors."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradc as gc
from gradc import errors
from gradc.passes import NONE
from gradc.testing import check_gradients

FAST = settings(max_examples=150, deadline=None)


# --- every index that NumPy knows ------------------------------------------------------------------------


@st.composite
def mixed_indices(draw, shape):
    """An index of any entries for `shape`; nearly always one that NumPy takes."""
    result = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0 if 0 in shape else 1, max_side=3))
    entries, axis = [], 0
    while axis < len(shape):
        kind = draw(st.sampled_from(["array", "array", "integer", "slice", "mask", "new", "bool", "rest"]))
        size = shape[axis]
        if kind == "array":
            part = tuple(draw(st.sampled_from([s, s, 1])) if s else 0 for s in result[draw(st.integers(0, len(result))) :])
            if not size:
                part = (*part[:-1], 0)
            dtype = draw(st.sampled_from(["int64", "int8", "uint8", "uint64"]))
            low = 0 if dtype.startswith("u") else -size
            entries.append(draw(hnp.arrays(dtype, part, elements=st.integers(low, max(size - 1, 0)))))
        elif kind == "integer" and size:
            entries.append(draw(st.integers(-size, size - 1)))
        elif kind == "mask":
            axes = draw(st.integers(1, min(2, len(shape) - axis)))
            entries.append(draw(hnp.arrays(bool, shape[axis : axis + axes])))
            axis += axes - 1
        elif kind == "new":
            entries.append(None)
            continue
        elif kind == "bool":
            entries.append(draw(st.booleans()))
            continue
        elif kind == "rest" and Ellipsis not in [e for e in entries if e is Ellipsis]:
            entries.append(Ellipsis)
            axis += draw(st.integers(0, len(shape) - axis)) - 1
        else:
            entries.append(draw(st.slices(size)))
        axis += 1
    return tuple(entries)


@st.composite
def arrays_and_indices(draw):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    kinds = [mixed_indices(shape), hnp.basic_indices(shape, allow_newaxis=True)]
    if shape and 0 not in shape:
        kinds.append(hnp.integer_array_indices(shape))
    index = draw(st.one_of(*kinds))
    return shape, index if isinstance(index, tuple) else (index,)


def values_for(shape):
    return np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)


def with_nodes(graph, index, as_nodes):
    """`index` with its arrays of integers as placeholders, and their feeds."""
    entries, feeds = [], {}
    for k, entry in enumerate(index):
        if as_nodes and isinstance(entry, np.ndarray) and entry.dtype.kind in "iu":
            feeds[f"i{k}"] = entry
            entry = graph.placeholder(f"i{k}", entry.shape, entry.dtype)
        entries.append(entry)
    return tuple(entries), feeds


def numpys(shape, index):
    """The numbers of the entries that NumPy selects, or None where it refuses."""
    try:
        return np.arange(np.prod(shape, dtype=int)).reshape(shape)[index]
    except IndexError:
        return None


def built(shape, index, as_nodes):
    g = gc.Graph("g")
    x = g.placeholder("x", shape)
    entries, feeds = with_nodes(g, index, as_nodes)
    g.output("y", x[entries])
    return g, {"x": values_for(shape), **feeds}


@FAST
@given(arrays_and_indices(), st.booleans())
def test_every_index_selects_what_numpy_selects(case, as_nodes):
    shape, index = case
    selected = numpys(shape, index)
    if selected is None:
        with pytest.raises(errors.ShapeError):
            g, feeds = built(shape, index, as_nodes)
            gc.evaluate(g, feeds)
        return
    g, feeds = built(shape, index, as_nodes)
    dg = gc.differentiate(g, "x", seed=True)
    seed = np.random.default_rng(0).standard_normal(np.shape(selected))
    adjoint = np.zeros(np.prod(shape, dtype=int))
    np.add.at(adjoint, np.reshape(selected, -1), seed.reshape(-1))
    twice = gc.differentiate(dg, "bar_y", of="d_y/d_x", seed=True)
    forward = gc.differentiate(g, "x", mode="forward")
    wanted = feeds["x"][index]
    for run in (lambda graph, given: graph.compile()(given), lambda graph, given: graph.compile(passes=NONE)(given), evaluated):
        out = run(dg, {**feeds, "bar_y": seed})
        np.testing.assert_array_equal(out["y"], wanted, strict=True)
        np.testing.assert_array_equal(out["d_y/d_x"], adjoint.reshape(shape), strict=True)
        out = run(twice, {**feeds, "bar_y": seed, "bar_d_y_d_x": feeds["x"]})
        np.testing.assert_array_equal(out["d_(d_y/d_x)/d_bar_y"], wanted, strict=True)
        np.testing.assert_array_equal(run(forward, {**feeds, "dot_x": feeds["x"]})["dot_y"], wanted, strict=True)


def evaluated(graph, feeds):
    trace = gc.evaluate(graph, feeds)
    return {name: trace[node] for name, node in graph.outputs.items()}


@FAST
@given(arrays_and_indices(), st.booleans(), st.booleans())
def test_updates_write_what_numpy_writes_and_pull_back_what_stays(case, as_nodes, scalar):
    shape, index = case
    selected = numpys(shape, index)
    if selected is None:
        return
    g = gc.Graph("g")
    x, v = g.placeholder("x", shape), g.placeholder("v", () if scalar else np.shape(selected))
    entries, feeds = with_nodes(g, index, as_nodes)
    g.output("set", gc.at_set(x, entries, v))
    g.output("add", gc.at_add(x, entries, v))
    dg = gc.differentiate(gc.differentiate(g, [x, v], of="set", seed=True), [x, v], of="add", seed=True)
    rng = np.random.default_rng(1)
    value, seed = np.asarray(rng.standard_normal(v.shape)), rng.standard_normal(shape)
    feeds |= {"x": np.asarray(rng.standard_normal(shape)), "v": value, "bar_set": seed, "bar_add": seed}
    places, flat = np.reshape(selected, -1), feeds["x"].reshape(-1)
    values = np.broadcast_to(value, np.shape(selected)).reshape(-1)
    was_set, was_added, last = flat.copy(), flat.copy(), {}
    for k, (place, one) in enumerate(zip(places, values, strict=True)):
        was_set[place], last[place] = one, k
    np.add.at(was_added, places, values)
    stays = np.isin(np.arange(places.size), list(last.values()))
    pulled = {
        "d_set/d_x": np.where(np.isin(np.arange(flat.size), places), 0, seed.reshape(-1)).reshape(shape),
        "d_set/d_v": np.where(stays, seed.reshape(-1)[places], 0).reshape(np.shape(selected)),
        "d_add/d_x": seed,
        "d_add/d_v": seed.reshape(-1)[places].reshape(np.shape(selected)),
    }
    for out in (dg.compile()(feeds), dg.compile(passes=NONE)(feeds), evaluated(dg, feeds)):
        np.testing.assert_array_equal(out["set"], was_set.reshape(shape), strict=True)
        np.testing.assert_array_equal(out["add"], was_added.reshape(shape), strict=True)
        for name, wanted in pulled.items():
            if scalar and name.endswith("v"):
                np.testing.assert_allclose(out[name], wanted.sum(), rtol=1e-12, atol=1e-12)
            else:
                np.testing.assert_array_equal(out[name], wanted, strict=True)
