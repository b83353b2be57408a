"""Every public function over every dtype: NumPy's dtype and value, or one clear error; never a raw one, never a warning."""

import warnings

import numpy as np
import pytest

import gradc as gc
from gradc import passes
from gradc.errors import GradcError
from gradc.ir import FUNCTIONS

DTYPES = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]
MIXED = ["bool", "int8", "uint64", "float16"]
WEAK = (False, -1, 0.5, float("nan"), 2**40)
NAMES = sorted(name for name, function in FUNCTIONS.items() if function.samples is not None)

# What gradc has and NumPy refuses, or gives in another dtype for numbers (ldexp) than for arrays: not compared.
WIDER = {"choose", "ediff1d", "gradient", "matrix_norm", "norm", "percentile", "quantile", "take_along_axis", "ldexp"}
ROUNDED = {"float16": 4e-2, "float32": 1e-4, "float64": 1e-9}


def cast(array, dtype):
    """Small numbers of that dtype, unsigned ones from their absolute values."""
    dtype = np.dtype(dtype)
    if array.dtype.kind != "f" or dtype.kind == "f":
        return np.abs(array).astype(dtype) if dtype.kind == "u" else array.astype(dtype)
    if dtype.kind == "b":
        return array > 0.3
    whole = np.clip(np.nan_to_num(np.round(array * 3)), -60, 60)
    return (np.abs(whole) if dtype.kind == "u" else whole).astype(dtype)


def samples_of(function):
    """A sample for each set of keywords."""
    found = {}
    for sample in function.samples():
        if all(a.size for a in sample.arrays):
            found.setdefault(repr(sorted(sample.attrs.items())), sample)
    return list(found.values())


def built(function, sample, operands):
    """The graph of a call, with its results; arrays among `operands` are fed, unless they are fixed, numbers stay numbers."""
    g = gc.Graph("g")
    given, feeds = [], {}
    for k, operand in enumerate(operands):
        if k in sample.fixed or not isinstance(operand, np.ndarray):
            given.append(operand)
        else:
            feeds[f"x{k}"] = operand
            given.append(g.placeholder(f"x{k}", operand.shape, operand.dtype))
    result = function.build(*sample.arguments(given), **sample.attrs)
    results = result if isinstance(result, (tuple, list)) else (result,)
    for k, node in enumerate(results):
        g.output(f"y{k}", node)
    return g, feeds


def checked(function, sample, operands):
    """The values by the interpreter and compiled, or None for an error of gradc's."""
    try:
        g, feeds = built(function, sample, operands)
        trace = gc.evaluate(g, feeds)
        values = {name: trace[node] for name, node in g.outputs.items()}
        run = gc.compile(g, passes=passes.EXACT)
        for _ in range(2):
            for name, value in run(feeds).items():
                assert (
                    (value.dtype, value.shape) == (values[name].dtype, values[name].shape) == (g.outputs[name].dtype, value.shape)
                )
                np.testing.assert_array_equal(value, values[name])
    except GradcError:
        return None
    return list(values.values())


def of_numpy(function, sample, operands):
    """What the NumPy function that it stands for gives; None where there is none, or it refuses."""
    reference = next((f for f in function.numpy if f is not np.float_power), None)
    if reference is None or function.name in WIDER:
        return None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = reference(*sample.arguments(operands), **({} if isinstance(reference, np.ufunc) else sample.attrs))
    except Exception:  # whatever NumPy raises for what it has no loop for
        return None
    return [np.asarray(r) for r in (result if isinstance(result, (tuple, list)) else (result,))]


def agree(function, sample, operands):
    ours, theirs = checked(function, sample, operands), of_numpy(function, sample, operands)
    for a, b in zip(ours or (), theirs or (), strict=bool(ours and theirs)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        bound = max(ROUNDED.get(v.dtype.name, 0) for v in (a, *map(np.asarray, operands))) * max(
            1.0, float(np.max(np.abs(np.nan_to_num(b.astype(float))), initial=0))
        )
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=bound, atol=bound)
    return ours is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_has_numpys_value_or_one_error(name):
    """All operands of one dtype, and each of another than the rest."""
    function = FUNCTIONS[name]
    taken = 0
    for sample in samples_of(function):
        free = [k for k in range(len(sample.arrays)) if k not in sample.fixed]
        rows = [dict.fromkeys(free, dtype) for dtype in DTYPES]
        rows += [{**dict.fromkeys(free, "float32"), k: dtype} for k in free for dtype in MIXED if len(free) > 1]
        for row in rows:
            operands = [cast(a, row[k]) if k in row else a for k, a in enumerate(sample.arrays)]
            taken += agree(function, sample, operands)
    assert taken


@pytest.mark.parametrize("name", [n for n in NAMES if all(not s.via and not s.packed for s in samples_of(FUNCTIONS[n])[:1])])
def test_python_numbers_beside_every_dtype(name):
    """In the place of each operand in turn; an overflow of their cast is infinite, in silence."""
    function = FUNCTIONS[name]
    for sample in samples_of(function)[:1]:
        for k in range(len(sample.arrays)):
            if k in sample.fixed:
                continue
            for number in WEAK:
                for dtype in (*MIXED, "float64"):
                    operands = [a if j in sample.fixed else np.ones(a.shape, dtype) for j, a in enumerate(sample.arrays)]
                    operands[k] = number
                    checked(function, sample, operands)


@pytest.mark.parametrize(
    ("build", "dtype"),
    [
        (lambda x: gc.relu6(x), "bool"),
        (lambda x: np.power(x, x - x - x), "int8"),
        (lambda x: x - 300, "int8"),
        (lambda x: gc.constant(np.array([np.nan, 1.0]), "int32") + x, "int32"),
        (lambda x: gc.constant(np.array([1e300]), "int64") + x, "int64"),
    ],
)
def test_what_has_no_value_is_one_error(build, dtype):
    with pytest.raises(GradcError, match=r"test_dtypes\.py"):
        g = gc.trace(build, gc.spec(2, dtype))
        gc.compile(g)(x=np.ones(2, dtype))


def test_numbers_beyond_a_dtype_are_infinite_in_silence():
    g = gc.Graph("g")
    x = g.placeholder("x", 2, "float16")
    g.output("y", x * 1e300 + 2**40 - gc.constant([1e10], "float16"))
    assert np.isnan(gc.compile(g)(x=np.ones(2, "float16"))["y"]).all()
