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
from gradc.ir import FUNCTIONS
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


def test_what_the_hand_tries():
    """Indices that are easily got wrong, as text to read."""
    x, i, m = values_for((2, 3, 4)), np.array([1, 0, -1]), np.array([[1, 0, 1], [0, 1, 0]], bool)
    indices = {
        "x[..., None, i]": (..., None, i),
        "x[i, :, i]: the indexed axes go first": (i, slice(None), i),
        "x[0, :, i]: they do with an integer too": (0, slice(None), i),
        "x[:, i, ..., i]: an ellipsis of no axes separates": (slice(None), i, ..., i),
        "x[:, 0, i]": (slice(None), 0, i),
        "x[i, None, 0]": (i, None, 0),
        "x[[]]": ([],),
        "x[[0, 1]]": ([0, 1],),
        "x[(0, 1),]": ((0, 1),),
        "x[0-d array]": (np.array(1), slice(None), np.array(2)),
        "x[m]": (m,),
        "x[m, 1:3]": (m, slice(1, 3)),
        "x[m, i]": (m, i),
        "x[True]": (True,),
        "x[:, False]": (slice(None), False),
        "x[:, np.True_, i]": (slice(None), np.True_, i),
        "x[i, :, True]: True goes between": (i, slice(None), True),
        "x[-0]": (-0,),
        "x[np.int8(-1), np.uint64(2)]": (np.int8(-1), np.uint64(2)),
        "stride 0": (np.broadcast_to(np.array(1), (5,)),),
        "x[np.ix_]": np.ix_([0, 1], [2, 0], [1]),
        "x[np.diag_indices]": np.diag_indices(2, 3),
    }
    for text, index in indices.items():
        g = gc.Graph("g")
        g.output("y", g.placeholder("x", x.shape)[index])
        np.testing.assert_array_equal(g.compile()(x=x)["y"], x[index], text, strict=True)


def test_an_index_array_is_copied():
    index, mask = np.array([0, 1]), np.array([True, False, True])
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    g.output("y", np.concatenate([x[index], x[mask], np.take(x, index), gc.at_set(x, index, 9.0)]))
    index[:], mask[:] = 2, False
    assert g.compile()(x=[1.0, 2.0, 3.0])["y"].tolist() == [1, 2, 1, 3, 1, 2, 9, 9, 3]


# --- what must not happen --------------------------------------------------------------------------------

WRONG = {
    "constant beyond the end": (lambda x: x[[0, 2]], errors.BoundsError, "index 2 is out of bounds .* length 2"),
    "constant before the start": (lambda x: x[:, [-4]], IndexError, "index -4 is out of bounds .* length 3"),
    "integer": (lambda x: x[5], IndexError, "index 5"),
    "huge": (lambda x: x[np.array([2**64 - 1], "uint64")], IndexError, "index 18446744073709551615"),
    "masked": (lambda x: x[np.ma.array([0, 9], mask=[0, 1])], errors.ArgumentError, "compressed"),
    "into nothing": (lambda x: x[:0][[0]], IndexError, "length 0 has no entry"),
    "mask node": (lambda x: x[x > 0], errors.TraceError, "np.where"),
    "mask node among others": (lambda x: x[0, x[0] > 0], errors.TraceError, "np.where"),
    "mask of another shape": (lambda x: x[np.ones(3, bool)], errors.ShapeError, r"mask of shape \(3,\) for axes of shape \(2,\)"),
    "floats": (lambda x: x[[0.5]], errors.ArgumentError, "integers or bool"),
    "text": (lambda x: x["a"], errors.ArgumentError, "'a'"),
    "ragged": (lambda x: x[[[0, 1], [1]]], errors.ArgumentError, "no index"),
    "float node": (lambda x: x[x[0, 0]], errors.DTypeError, "astype"),
    "too many": (lambda x: x[[0], [0], [0]], errors.ShapeError, "3 indices for the 2 axes"),
    "two ellipses": (lambda x: x[..., [0], ...], errors.ShapeError, "more than one ellipsis"),
    "no broadcast": (lambda x: x[[0, 1], [0, 1, 2]], errors.ShapeError, r"\(2,\) and \(3,\) do not broadcast"),
    "item assignment": (lambda x: x.__setitem__(0, 1.0), errors.TraceError, r"gc\.at_set"),
    "at": (lambda x: np.add.at(x, [0], 1.0), errors.UnsupportedError, r"gc\.at_add"),
    "put_along_axis": (lambda x: np.put_along_axis(x, [[0]], 1.0, 0), errors.UnsupportedError, r"gc\.at_set"),
    "take out": (lambda x: gc.take(x, 0, out=x), errors.ArgumentError, "out="),
    "take mode": (lambda x: np.take(x, [0], mode="nearest"), errors.ArgumentError, "'nearest'"),
    "take floats": (lambda x: np.take(x, [0.5]), errors.ArgumentError, "integers"),
    "take by floats": (lambda x: np.take(x, x), errors.DTypeError, "integers"),
    "constant by node": (lambda x: np.arange(3)[np.argmax(x, 1)], errors.TraceError, r"gc\.take\(array, node\)"),
    "compress by node": (lambda x: np.compress(x[0] > 0, x), errors.TraceError, "np.where"),
    "compress by a matrix": (lambda x: np.compress(np.ones((2, 2)), x), errors.ShapeError, "vector"),
    "extract by node": (lambda x: np.extract(x > 0, x), errors.TraceError, "np.where"),
    "axes differ": (lambda x: np.take_along_axis(x, np.array([0]), 0), errors.ShapeError, "differ in axes"),
    "others differ": (lambda x: np.take_along_axis(x, np.zeros((1, 2), int), 0), errors.ShapeError, "do not broadcast"),
    "value": (lambda x: gc.at_set(x, [0], np.ones((2, 2))), errors.ShapeError, r"selects \(1, 3\); a value of \(2, 2\)"),
    "basic value": (lambda x: gc.at_add(x, 0, np.ones(2)), errors.ShapeError, r"selects \(3,\)"),
    "value dtype": (lambda x: gc.at_set(np.argmax(x, 0), 0, 0.5), errors.DTypeError, "astype"),
    "values by mask node": (lambda x: gc.at_set(x, x > 0, np.ones(3)), errors.TraceError, "at run time only"),
    "other mask node": (lambda x: gc.at_set(x, x[0] > 0, 1.0), errors.ShapeError, "mask of shape"),
    "labels": (lambda x: gc.segment_sum(x, [0, 2], 2), errors.BoundsError, r"index 2 .* \[0, 2\)"),
    "negative label": (lambda x: gc.segment_sum(x, [0, -1], 2), errors.BoundsError, "index -1"),
    "label shape": (lambda x: gc.segment_sum(x, [0, 1, 0], 2), errors.ShapeError, r"\(3,\) do not start"),
    "bins by value": (lambda x: np.bincount(np.argmax(x, 0)), errors.TraceError, "minlength"),
    "bins of a matrix": (lambda x: np.bincount([[0]], x), errors.ShapeError, "vector"),
    "weights": (lambda x: np.bincount([0, 1, 2], x[0, :2]), errors.ShapeError, "differ"),
    "choose": (lambda x: np.choose([0, 2, 0], [x[0], x[1]]), errors.BoundsError, "index 2"),
    "choose mode": (lambda x: np.choose([0], [x], mode="no"), errors.ArgumentError, "'no'"),
    "select counts": (lambda x: np.select([x > 0], [x, x]), errors.ArgumentError, "1 for 2"),
    "select integers": (lambda x: np.select([np.argmax(x, 0)], [x]), errors.DTypeError, "compare first"),
    "nonzero": (np.nonzero, errors.UnsupportedError, "three arguments"),
    "unique": (np.unique, errors.UnsupportedError, "beforehand"),
    "histogram": (np.histogram, errors.UnsupportedError, "bincount"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_was_wrong(name):
    function, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as caught:
        function(gc.Graph("g").placeholder("x", (2, 3)))
    assert isinstance(caught.value, errors.GradcError)


@pytest.mark.parametrize(
    "build",
    [
        lambda x, i: x[i],
        lambda x, i: np.take(x, i, 0),
        lambda x, i: np.take_along_axis(x, i[:, None], 0),
        lambda x, i: gc.segment_sum(x, i, 3),
        lambda x, i: gc.at_set(x, i, 0.0),
        lambda x, i: np.bincount(i, x[:, 0], 3)[:, None] * x,
        lambda x, i: np.choose(i, x[:, :1, None]),
    ],
)
def test_an_index_that_is_out_of_bounds_at_run_time_is_an_error_before_anything_is_written(build):
    g = gc.Graph("g")
    x, i, w = g.placeholder("x", (3, 2)), g.placeholder("i", 3, "int8"), g.placeholder("w", 2)
    g.output("y", build(x, i))
    g.output("w_next", w + 1)
    step = g.compile(updates={"w": "w_next"})
    weights = np.zeros(2)
    for wrong in (3, 127, -128):
        feeds = {"x": np.ones((3, 2)), "i": np.array([0, wrong, 1], "int8"), "w": weights}
        for run in (step, lambda given: gc.evaluate(g, given)):
            with pytest.raises(errors.BoundsError, match=rf"within .*test_indexing.py:.* index {wrong} is .* axis of length 3"):
                run(feeds)
        assert not weights.any()


def test_an_updated_index_does_not_change_what_was_taken():
    g = gc.Graph("g")
    x, i = g.placeholder("x", 4), g.placeholder("i", 2, "int64")
    g.output("y", x[i])
    g.output("i_next", i + 1)
    step = g.compile(updates={"i": "i_next"})
    index = np.array([0, 1])
    assert [step(x=np.arange(4.0), i=index)["y"].tolist() for _ in range(3)] == [[0, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize("layout", ["C", "F", "reversed", "byte-swapped"])
@pytest.mark.parametrize(
    "build",
    [
        lambda b, i, v: gc.at_set(b, i, v),
        lambda b, i, v: gc.at_add(b, (slice(None), i), v[:, None]),
        lambda b, i, v: gc.at_set(b, 0, v),
        lambda b, i, v: gc.at_add(b, 1, v),
        lambda b, i, v: gc.segment_sum(b[i], i, 3) * 1,
        lambda b, i, v: gc.segment_sum(v + np.zeros((3, 1)), i, 3),
    ],
)
def test_arrays_of_any_layout_are_updated_where_they_are(build, layout):
    g = gc.Graph("g")
    b, i, v = g.placeholder("b", (3, 3)), g.placeholder("i", 3, "int64"), g.placeholder("v", 3)
    g.output("b_next", build(b, i, v))
    start, index, values = values_for((3, 3)), np.array([2, 0, 2]), np.array([0.1, 0.2, 0.3])
    buffer = {"C": start.copy(), "F": start.copy("F"), "reversed": start[::-1, ::-1].copy()[::-1, ::-1]}.get(layout)
    buffer = start.astype(">f8") if buffer is None else buffer
    wanted = gc.evaluate(g, b=start, i=index, v=values)[g.outputs["b_next"]]
    g.compile(updates={"b": "b_next"})(b=buffer, i=index, v=values)
    np.testing.assert_array_equal(buffer, wanted)


def test_an_array_that_is_updated_is_not_copied_onto_itself():
    g = gc.Graph("g")
    cache, i, v = g.placeholder("cache", (1000, 8)), g.placeholder("i", (), "int64"), g.placeholder("v", 8)
    g.output("cache_next", gc.at_set(cache, i, v))
    step = g.compile(updates={"cache": "cache_next"})
    cache = np.zeros((1000, 8))
    step(cache=cache, i=3, v=np.arange(8.0))
    assert (cache[3] == np.arange(8)).all() and not np.delete(cache, 3, 0).any()
    assert "if u1 is not v1: copyto(u1, v1)" in step.source


# --- the functions ---------------------------------------------------------------------------------------


@FAST
@given(st.data(), st.sampled_from(["raise", "wrap", "clip"]), st.booleans())
def test_take_in_every_mode(data, mode, as_node):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    axis = data.draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    size = int(np.prod(shape)) if axis is None else shape[axis]
    far = 0 if mode == "raise" else 9
    dtype = data.draw(st.sampled_from(["int64", "int8"]))
    elements = st.integers(-size - far, size - 1 + far)
    index = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0), elements=elements))
    feeds = {"x": values_for(shape)}
    g = gc.Graph("g")
    x = g.placeholder("x", shape)
    if as_node:
        feeds["i"] = index
    g.output("y", np.take(x, g.placeholder("i", index.shape, dtype) if as_node else index, axis, mode=mode))
    np.testing.assert_array_equal(g.compile()(feeds)["y"], np.take(feeds["x"], index, axis, mode=mode), strict=True)


def test_unsigned_indices_beyond_every_signed_one():
    index = np.array([2**64 - 1, 2**63, 5], "uint64")
    for constant, mode in itertools.product((True, False), ("wrap", "clip")):
        g = gc.Graph("g")
        x = g.placeholder("x", 7)
        g.output("y", np.take(x, index if constant else g.placeholder("i", 3, "uint64"), mode=mode))
        wanted = index % np.uint64(7) if mode == "wrap" else np.minimum(index, np.uint64(6))
        assert (g.compile()({"x": np.arange(7.0)} | ({} if constant else {"i": index}))["y"] == wanted).all()


@FAST
@given(st.data(), st.booleans())
def test_take_along_axis_broadcasts_as_numpy(data, as_node):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    along = data.draw(st.integers(0, 4))
    part = [along if k == axis % len(shape) else data.draw(st.sampled_from([s, 1])) for k, s in enumerate(shape)]
    index = data.draw(hnp.arrays("int64", tuple(part), elements=st.integers(-shape[axis], shape[axis] - 1)))
    feeds = {"x": values_for(shape)}
    g = gc.Graph("g")
    x = g.placeholder("x", shape)
    if as_node:
        feeds["i"] = index
    g.output("y", np.take_along_axis(x, g.placeholder("i", index.shape, "int64") if as_node else index, axis))
    np.testing.assert_array_equal(g.compile()(feeds)["y"], np.take_along_axis(feeds["x"], index, axis), strict=True)


def test_take_along_axis_takes_the_last_axis_unless_told():
    """As NumPy's does from 2.3 on."""
    index = np.array([[2, 0, 2], [1, 1, 0]])
    g = gc.Graph("g")
    g.output("y", FUNCTIONS["take_along_axis"].build(g.placeholder("x", (2, 3)), index))
    value = values_for((2, 3))
    np.testing.assert_array_equal(g.compile()(x=value)["y"], np.take_along_axis(value, index, 1), strict=True)


def test_choices_are_exact_where_they_were_not_chosen():
    g = gc.Graph("g")
    x, a = g.placeholder("x", 3), g.placeholder("a", 3, "int64")
    root = np.sqrt(x)
    g.output("chosen", np.choose(a, [root, 2 * x, 7.0]))
    g.output("selected", np.select([np.equal(a, 0), np.equal(a, 1)], [root, 2 * x], 7))
    g.output("masked", np.select([x > 0], [np.log(x)], 0.0))
    feeds = {"x": [-1.0, 4.0, 0.0], "a": [1, 0, 2]}
    for name, value, slope in (
        ("chosen", [-2, 2, 7], [2, 0.25, 0]),
        ("selected", [-2, 2, 7], [2, 0.25, 0]),
        ("masked", [0, np.log(4), 0], [0, 0.25, 0]),
    ):
        out = gc.differentiate(g, x, of=name).compile()(feeds)
        assert out[name].tolist() == value
        assert out[f"d_{name}/d_x"].tolist() == slope


def test_the_dtypes_of_choices_are_numpys():
    f4 = np.ones(2, "float32")
    g = gc.Graph("g")
    x = g.placeholder("x", 2, "float32")
    pairs = [
        (np.choose([0, 1], [x, 1]), np.choose([0, 1], [f4, 1])),
        (np.choose([0, 1], [x, np.ones(2)]), np.choose([0, 1], [f4, np.ones(2)])),
        (np.select([[True, False]], [x], 0), np.select([[True, False]], [f4], 0)),
        (np.select([[True, False]], [x], np.zeros(2)), np.select([[True, False]], [f4], np.zeros(2))),
        (np.bincount([0, 1], x), np.bincount([0, 1], f4)),
        (np.bincount(g.placeholder("i", 2, "int8"), minlength=2), np.bincount([0, 1])),
    ]
    for node, wanted in pairs:
        assert (node.dtype, node.shape) == (wanted.dtype, wanted.shape)


def test_entries_that_were_not_taken_stay_exactly_zero_through_singular_rules():
    g = gc.Graph("g")
    x, i = g.placeholder("x", 4), g.placeholder("i", 2, "int64")
    s = np.sqrt(x)
    g.output("y", s[i].sum() + s[np.array([True, False, True, False])].sum() + np.take_along_axis(s, i, 0).sum())
    g.output("z", gc.at_set(s, [1, 3], 5.0).sum())
    feeds = {"x": [4.0, 0.0, 1.0, 0.0], "i": [0, 2]}
    assert gc.differentiate(g, x, of="y").compile()(feeds)["d_y/d_x"].tolist() == [0.75, 0, 1.5, 0]
    assert gc.differentiate(g, x, of="z").compile()(feeds)["d_z/d_x"].tolist() == [0.25, 0, 0.5, 0]


def test_a_mask_that_is_computed_updates_by_one_value():
    g = gc.Graph("g")
    x, v = g.placeholder("x", (3, 2)), g.placeholder("v", 2)
    g.output("set", gc.at_set(x, x[:, 0] > 0, v))
    g.output("add", gc.at_add(x, x > 0, 10))
    dg = gc.differentiate(g, [x, v], of="set")
    value = np.array([[1.0, -1], [-1, 1], [2, -2]])
    out = dg.compile()(x=value, v=[7.0, 8.0])
    wanted = value.copy()
    wanted[value[:, 0] > 0] = [7, 8]
    assert (out["set"] == wanted).all() and (out["add"] == np.where(value > 0, value + 10, value)).all()
    assert out["d_set/d_x"].tolist() == [[0, 0], [1, 1], [0, 0]] and out["d_set/d_v"].tolist() == [2, 2]


def test_second_order_through_repeated_indices():
    g = gc.Graph("g")
    x, i, v = g.placeholder("x", (3, 2)), g.placeholder("i", (2, 2), "int64"), g.placeholder("v", 4)
    taken = x[i, [0, 1]]
    summed = gc.segment_sum(np.exp(taken), i[0], 3)
    moved = gc.at_set(gc.at_add(x, ([0, 0, 1, 2], [1, 1, 0, 1]), v**2), (slice(1), [1, 1]), v[2:] * v[:2])
    g.output("y", (np.sin(taken) * taken).sum() + (summed**2).sum() + np.exp(moved * 0.1).sum())
    feeds = {"x": np.linspace(-1, 1, 6).reshape(3, 2), "i": np.array([[0, 2], [2, -1]]), "v": np.array([0.3, -1.2, 0.7, 2.0])}
    check_gradients(g, feeds, order=2)


# --- symbolic sizes --------------------------------------------------------------------------------------

SYMBOLIC = {
    "rows": lambda x, i: x[i],
    "columns": lambda x, i: x[:, i % 3],
    "a part, then rows": lambda x, i: x[::-1, :2][i],
    "entries": lambda x, i: x[i, i % 3],
    "rows by a constant": lambda x, i: x[[0, -1, 0]],
    "entries by constants": lambda x, i: x[[[0], [-1]], [0, 1]],
    "entries by both": lambda x, i: x[i[:, None], [0, -1]],
    "new axes": lambda x, i: x[None, i, True],
    "take": lambda x, i: np.take(x, i - 5, 0, mode="wrap"),
    "take of all": lambda x, i: np.take(x, i),
    "along rows": lambda x, i: np.take_along_axis(x, i[:, None] * np.array([[1, -1, 0]]), 0),
    "along columns": lambda x, i: np.take_along_axis(x, i[:, None] % 3, 1),
}
UPDATES = {
    "set rows": lambda at, x, i: at(x, i, 2 * x),
    "set entries": lambda at, x, i: at(x, (i, i % 3), x[:, 0]),
    "set a part": lambda at, x, i: at(x, (slice(None), [0, 0, -1]), x),
    "set a basic part": lambda at, x, i: at(x, slice(1, None), 0.5 * x[1:]),
}


def compared(build, reference):
    g = gc.Graph("g")
    x, i = g.placeholder("x", ("n", 3)), g.placeholder("i", ("n",), "int64")
    g.output("y", build(x, i))
    dg = gc.differentiate(g, x, seed=True)
    compiled = dg.compile()
    for n in (1, 2, 4):
        value, index = values_for((n, 3)), np.arange(n)[::-1] // 2 * (-1) ** np.arange(n)
        wanted = reference(value, index)
        seed = np.arange(1.0, 1 + wanted.size).reshape(wanted.shape)
        out = compiled(x=value, i=index, bar_y=seed)
        np.testing.assert_array_equal(out["y"], wanted, strict=True)
        np.testing.assert_array_equal(gc.evaluate(dg, x=value, i=index, bar_y=seed)[g.outputs["y"]], wanted, strict=True)
        basis = np.eye(value.size).reshape(value.size, n, 3)
        pulled = [np.vdot(seed, reference(e, index)) for e in basis]
        np.testing.assert_allclose(out["d_y/d_x"].reshape(-1), pulled, rtol=1e-14)


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_sizes_are_indexed_by_arrays(name):
    compared(SYMBOLIC[name], SYMBOLIC[name])


@pytest.mark.parametrize("name", UPDATES)
def test_symbolic_sizes_are_updated(name):
    def setting(x, index, value):
        out = x.copy()
        out[index] = value
        return out

    def adding(x, index, value):
        out = x.copy()
        np.add.at(out, index, value)
        return out

    build = UPDATES[name]
    compared(lambda x, i: build(gc.at_set, x, i), lambda x, i: build(setting, x, i))
    compared(lambda x, i: build(gc.at_add, x, i), lambda x, i: build(adding, x, i))


def test_symbolic_numbers_of_segments():
    g = gc.Graph("g")
    x, i, w = g.placeholder("x", ("n", 2)), g.placeholder("i", ("n",), "int64"), g.placeholder("w", ("k",))
    g.output("y", gc.segment_sum(x, i, w.shape[0]) * w[:, None])
    out = gc.differentiate(g, [x, w], of="y").compile()(x=np.ones((3, 2)), i=[3, 0, 3], w=[1.0, 2.0, 3.0, 4.0])
    assert out["y"].tolist() == [[1, 1], [0, 0], [0, 0], [8, 8]] and out["d_y/d_w"].tolist() == [2, 0, 0, 4]


def test_a_mask_of_a_symbolic_axis_is_refused():
    x = gc.Graph("g").placeholder("x", ("n", 3))
    with pytest.raises(errors.ShapeError, match="give the axis one"):
        x[np.array([True, False])]


# --- speed and memory ------------------------------------------------------------------------------------


def test_rows_are_added_in_bounded_memory():
    """The scratch of an adjoint of many wide rows is small, whatever their number."""
    g = gc.Graph("g")
    w, i = g.placeholder("w", (100, 200), "float32"), g.placeholder("i", 20_000, "int64")
    g.output("y", w[i])
    run = gc.differentiate(g, w, seed=True).compile(outputs=["d_y/d_w"])
    rng = np.random.default_rng(0)
    feeds = {
        "w": np.zeros((100, 200), "f4"),
        "i": rng.integers(0, 100, 20_000),
        "bar_y": rng.standard_normal((20_000, 200), "f4"),
    }
    out = run(feeds)["d_y/d_w"]
    wanted = np.zeros((100, 200), "f4")
    np.add.at(wanted, feeds["i"], feeds["bar_y"])
    assert out.tobytes() == wanted.tobytes()
    tracemalloc.start()
    try:
        run(feeds)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("width", [1, 3, 511, 512, 40_000])
def test_every_width_of_rows_is_added_in_order(width):
    rng = np.random.default_rng(width)
    g = gc.Graph("g")
    x = g.placeholder("x", (2, 4, width), "float32")
    index = rng.integers(0, 4, (5, 3))
    g.output("y", x[:, index])
    seed = rng.standard_normal((2, 5, 3, width), "f4")
    out = gc.differentiate(g, x, seed=True).compile()(x=np.ones((2, 4, width), "f4"), bar_y=seed)
    wanted = np.zeros((2, 4, width), "f4")
    np.add.at(wanted, (slice(None), index), seed)
    assert out["d_y/d_x"].tobytes() == wanted.tobytes()
