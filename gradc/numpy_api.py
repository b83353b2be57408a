"""NumPy's functions on nodes, through NumPy's own protocols, and the graph of a function that is written with them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import takewhile, zip_longest
from typing import Any, NoReturn

import numpy as np

from gradc.errors import ArgumentError, GradcError, ShapeError, TraceError, UnsupportedError, asking_functions
from gradc.ir import FUNCTIONS, NUMPY, Graph, Node, constant, lift, user_origin
from gradc.types import TensorType, as_dtype, as_shape

# --- NumPy's protocols ---------------------------------------------------------------------------------

_METHODS: dict[tuple[str, Any], str] = {
    ("reduce", np.add): "sum",
    ("reduce", np.multiply): "prod",
    ("reduce", np.maximum): "max",
    ("reduce", np.minimum): "min",
    ("reduce", np.fmax): "nanmax",
    ("reduce", np.fmin): "nanmin",
    ("reduce", np.logaddexp): "logsumexp",
    ("reduce", np.logical_or): "any",
    ("reduce", np.logical_and): "all",
    ("accumulate", np.add): "cumsum",
    ("accumulate", np.multiply): "cumprod",
}
"""Methods of ufuncs, and the functions they are, with 0 for the axis that is not given."""

_IN_PLACE = "nodes are immutable: build the changed array as another node, with np.where, gc.at_set or gc.at_add"
_BY_VALUE = "the shape of its result depends on values, which a graph has not got:"
_UNSPECIFIED = "the order within the parts is left open, so nothing can be said of its derivative: write"

_INSTEAD: dict[str, str] = {
    **dict.fromkeys(("copyto", "put", "place", "putmask", "put_along_axis", "fill_diagonal"), _IN_PLACE),
    **dict.fromkeys(
        ("nonzero", "flatnonzero", "argwhere"), f"{_BY_VALUE} write np.where(condition, x, y) with all three arguments"
    ),
    **dict.fromkeys(
        ("unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
        f"{_BY_VALUE} write np.sort and compare neighbours, or run it on the data beforehand",
    ),
    **dict.fromkeys(
        ("histogram", "histogram2d", "histogramdd"),
        "counts are steps, which have no derivative: write np.bincount(np.searchsorted(edges, x), weights, minlength)",
    ),
    "partition": f"{_UNSPECIFIED} np.sort, np.median or np.quantile",
    "argpartition": f"{_UNSPECIFIED} np.argsort",
    **dict.fromkeys(
        ("eig", "eigvals"), "its result is complex, and gradc computes in real numbers: np.linalg.eigh takes symmetric matrices"
    ),
    "cond": "write it out: s = np.linalg.svdvals(a), then s[..., 0] / s[..., -1]",
    **dict.fromkeys(
        ("apply_along_axis", "apply_over_axes"), "write the function for whole arrays, with axis= in its reductions and indices"
    ),
    **dict.fromkeys(
        ("save", "savez", "savez_compressed", "savetxt"), "a node has no value yet: save what the executable returns"
    ),
    "array_str": "a node has no value yet: print what gradc.evaluate returns",
    "array_repr": "a node has no value yet: print what gradc.evaluate returns",
    "nextafter": "it moves by one unit in the last place, which has no derivative to follow: add a small constant",
    "spacing": "it is a property of the number format and has no derivative: use np.finfo(node.dtype).eps",
}
"""What to write instead of functions that can never be, or are not yet, functions of nodes."""

_SCIPY: dict[str, str] = {
    "expit": "sigmoid",
    "gammaln": "lgamma",
    "log_expit": "log_sigmoid",
    "psi": "digamma",
    "round": "rint",
    **{name: name for name in ("cbrt", "erf", "erfc", "exp2", "expm1", "log1p", "log_ndtr", "logit", "ndtr", "xlog1py", "xlogy")},
    **{name: name for name in ("log_softmax", "logsumexp", "polygamma", "softmax", "softplus")},
}
"""Functions of scipy.special, and the functions of gradc that they are. The last line is no ufuncs: they take arrays only."""

_SCIPY_INSTEAD: dict[str, str] = {
    "beta": "write np.exp(gc.lgamma(a) + gc.lgamma(b) - gc.lgamma(a + b)) for positive a and b",
    "betaln": "write gc.lgamma(a) + gc.lgamma(b) - gc.lgamma(a + b)",
    "cosm1": "write -2 * np.sin(x / 2) ** 2",
    "entr": "write -gc.xlogy(x, x) for x >= 0",
    "exp10": "write 10.0**x",
    "factorial": "write np.exp(gc.lgamma(n + 1))",
    "gamma": "write np.exp(gc.lgamma(x)) for x > 0",
    "huber": "gc.huber takes prediction, target and delta",
    "kl_div": "write gc.xlogy(x, x) - gc.xlogy(x, y) - x + y for positive x and y",
    "loggamma": "gc.lgamma is the same for x > 0",
    "poch": "write np.exp(gc.lgamma(z + m) - gc.lgamma(z)) for positive z and z + m",
    "pseudo_huber": "write delta * (np.hypot(delta, r) - delta)",
    "rel_entr": "write gc.xlogy(x, x) - gc.xlogy(x, y) for positive x and y",
    "rgamma": "write np.exp(-gc.lgamma(x)) for x > 0",
}
"""What to write instead of functions of scipy.special that gradc has not."""


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ufunc called on nodes, NumPy's or one of scipy.special: the node of the op that stands for it."""
    name = _name_of(ufunc)
    asked = name if method == "__call__" else f"{name}.{method}"
    if (method, ufunc) in _METHODS:
        reduction = FUNCTIONS[_METHODS[method, ufunc]].build
        return _called(asked, reduction, inputs, {"axis": 0, **kwargs})
    if method == "at":
        raise _unsupported(asked, _IN_PLACE)
    given = [k for k, v in kwargs.items() if v is not None]
    if given:
        instead = "call it without: choose with np.where, cast with .astype, write a = a + node for a += node"
        raise _unsupported(f"{asked} with {', '.join(given)}=", instead)
    build = NUMPY.get(ufunc) or _from_scipy(name)
    if build is not None and method == "outer":
        return _outer(build, *inputs)
    if build is None or method != "__call__":
        raise _unsupported(asked, "compose it from ops that gradc has, or declare it with gradc.ops.declare.elementwise")
    return build(*inputs)


def _name_of(ufunc: np.ufunc) -> str:
    """The ufunc as its user writes it: `np.spacing`, `scipy.special.erf`; one of neither module by its name alone."""
    for module, shown in (("numpy", "np"), ("scipy.special", "scipy.special"), ("scipy.special._ufuncs", "scipy.special")):
        if getattr(sys.modules.get(module), ufunc.__name__, None) is ufunc:
            return f"{shown}.{ufunc.__name__.lstrip('_')}"
    return f"the ufunc {ufunc.__name__.removesuffix(' (vectorized)')}"


def _from_scipy(asked: str) -> Callable[..., Any] | None:
    """The function of gradc that a function of scipy.special is, by its name."""
    module, _, name = asked.rpartition(".")
    found = FUNCTIONS.get(_SCIPY.get(name, "")) if module == "scipy.special" else None
    return found.build if found else None


def array(node: Node) -> NoReturn:
    """A node asked for its values: by name, where a function of a library asks that takes arrays only.

    Raises:
        TraceError: always.
    """
    for asked in asking_functions():
        module, _, name = asked.rpartition(".")
        if _from_scipy(asked):
            node._no_value(f"{asked}(node)", f"it takes arrays only: write gc.{_SCIPY[name]}, which builds a node")
        if (not name.startswith("_") or name.endswith("__")) and "<" not in asked:
            known = _SCIPY_INSTEAD.get(name) if module == "scipy.special" else _ITS_ARRAY if name.startswith("__") else None
            node._no_value(f"{asked}(node)", f"it takes arrays only: {known or _ARRAYS_ONLY}")
    node._no_value("np.asarray(node)", _NO_ARRAY)


_ARRAYS_ONLY = (
    "compose it from functions that gradc has, or declare an op with gradc.ops.declare; take values from gradc.evaluate"
)
_ITS_ARRAY = "write np.asarray(a) @ node, and the like for other operators; a.toarray() where it is sparse"
_NO_ARRAY = (
    "pass nodes themselves to NumPy functions, join them with np.stack or np.array(rows, like=node), write array @ node for\n  "
    "array.dot(node), index an array by one with gc.take(array, node), take values from gradc.evaluate"
)


def _outer(build: Callable[..., Any], a: Any, b: Any) -> Any:
    """`ufunc.outer`: every entry of `a` with every entry of `b`."""
    x, y = lift((a, b), "outer")
    return build(np.expand_dims(x, tuple(range(x.ndim, x.ndim + y.ndim))), y)


def array_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A NumPy function called on nodes: the gradc function that stands for it."""
    asked = f"{func.__module__.replace('numpy', 'np', 1)}.{func.__name__}"
    if func not in NUMPY:
        raise _unsupported(asked, "compose it from functions that gradc has, or declare it with gradc.ops.declare.op")
    return _called(asked, NUMPY[func], *_as_called(func, args, kwargs))


def _as_called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments without NumPy's names for the required ones, which are operands by position, and without `out=None`."""
    given = {k: v for k, v in kwargs.items() if k != "out" or v is not None}
    operands = list(args)
    for name in _required(func)[len(args) :]:
        if name not in given:
            break
        operands.append(given.pop(name))
    return tuple(operands), given


@lru_cache(maxsize=1024)
def _required(func: Any) -> tuple[str, ...]:
    """The names of a NumPy function's leading parameters without defaults."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except ValueError:
        return ()
    leading = takewhile(lambda p: p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty, parameters)
    return tuple(p.name for p in leading)


def array_like(rows: Any, dtype: Any = None, *, copy: Any = None, order: Any = None) -> Node:
    """`np.array(rows, like=node)`: nested lists of nodes, arrays and numbers, joined.

    Raises:
        ShapeError: rows of one level differ in length, or entries in shape.
    """
    level, shape = [rows], []
    while level and isinstance(level[0], (list, tuple)):
        lengths = {len(row) if isinstance(row, (list, tuple)) else None for row in level}
        if len(lengths) > 1:
            raise ShapeError("np.array: rows of one level differ in length")
        shape.append(len(level[0]))
        level = [entry for row in level for entry in row]
    if not any(isinstance(entry, Node) for entry in level):
        return constant(rows, dtype)
    joined: Node = FUNCTIONS["stack"].build(level)
    result = joined.reshape(*shape, *joined.shape[1:])
    return result if dtype is None else result.astype(dtype)


def _unsupported(asked: str, instead: str) -> UnsupportedError:
    module, _, name = asked.partition(" with ")[0].rpartition(".")
    known = _SCIPY_INSTEAD if module == "scipy.special" else _INSTEAD
    return UnsupportedError(
        f"{asked} on a node: gradc has no such function\n  at {user_origin().location}\n  {known.get(name, instead)}"
    )


def _called(asked: str, build: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `build` makes of the arguments of `asked`; one that it does not take is an error about that function."""
    given = {k: v for k, v in kwargs.items() if v is not _NOT_GIVEN}
    if any(a is _NOT_GIVEN for a in args):
        args = _with_defaults(build, args)
    try:
        return build(*args, **given)
    except TypeError as error:
        if isinstance(error, GradcError) or "argument" not in str(error):
            raise
        raise UnsupportedError(f"{asked} on a node: {error}\n  at {user_origin().location}") from None


_NOT_GIVEN = np._NoValue  # NumPy's default of options, which wrappers of its functions pass on


def _with_defaults(build: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """`args` with the default of each parameter for which NumPy's mark of an option that is not given was passed on."""
    parameters = tuple(inspect.signature(build).parameters.values())
    return tuple(p.default if a is _NOT_GIVEN else a for a, p in zip_longest(args, parameters[: len(args)]))


NUMPY["__array_ufunc__"] = array_ufunc
NUMPY["__array_function__"] = array_function
NUMPY["__array__"] = array
NUMPY[np.array] = NUMPY[np.asarray] = array_like


# --- the graph of a function ---------------------------------------------------------------------------


def spec(shape: Any = (), dtype: Any = "float64") -> TensorType:
    """What an argument of a traced function will be: a shape of integers and names, and a dtype.

    Raises:
        ShapeError, DTypeError: the argument concerned is malformed.
    """
    return TensorType(as_shape(shape, "spec"), as_dtype(dtype, "spec"))


def trace(fn: Callable[..., Any], /, *specs: Any, **named: Any) -> Graph:
    """The graph of a plain NumPy function: `fn` is called once, on nodes.

    Arguments are given as to `fn`. Each `spec` becomes a placeholder with the name of its parameter, also within lists,
    tuples and dictionaries (`params["w"]` and `params.w` are named `params_w`, `xs[0]` is named `xs_0`). Everything else, arrays
    and numbers too, is passed as it is and becomes part of the graph. Loops and branches on plain Python values run now.

    Returns:
        a graph named after `fn`. Its output is named `out`; a dictionary's or named tuple's by its keys, another sequence's
        `out_0`, `out_1`, ...

    Raises:
        ArgumentError: the arguments do not fit `fn`, none of them is a spec, or `fn` returns something that is no array.
        TraceError: `fn` asks for the value of a node (a branch, an item assignment, np.asarray); it says what to use instead.
        UnsupportedError: `fn` calls a NumPy function that gradc has not.
    """
    name = getattr(fn, "__name__", type(fn).__name__)
    if not callable(fn) or isinstance(fn, (Node, Graph)):
        raise ArgumentError(f"trace: expected a function of arrays, got {type(fn).__name__} (the trace of a matrix is np.trace)")
    graph = Graph(name)
    call = _bound(fn, name, specs, named)
    found = {k: _placeholders(graph, k, v) for k, v in call.arguments.items()}
    call.arguments.update(found)
    if not graph.placeholders:
        raise ArgumentError(f"trace: no argument of {name} is a spec, so nothing would be traced; give gradc.spec(shape, dtype)")
    try:
        result = fn(*call.args, **call.kwargs)
    except ValueError as error:
        raise (error.__cause__ if isinstance(error.__cause__, TraceError) else error) from None  # array[i] = node, inside NumPy
    for label, value in _results("", result, name):
        graph.output(label or "out", value if isinstance(value, Node) else constant(value))
    return graph


def _bound(fn: Callable[..., Any], name: str, specs: tuple[Any, ...], named: dict[str, Any]) -> inspect.BoundArguments:
    try:
        signature = inspect.signature(fn)
    except ValueError:
        raise ArgumentError(f"trace: {name} has no signature to name placeholders by; wrap it: lambda x: {name}(x)") from None
    try:
        return signature.bind(*specs, **named)
    except TypeError as error:
        raise ArgumentError(f"trace: {name}{signature}: {error}") from None


def _placeholders(graph: Graph, name: str, value: Any) -> Any:
    """`value` with each spec in it replaced by a placeholder, named by the way to it."""
    if isinstance(value, TensorType):
        return graph.placeholder(name, value.shape, value.dtype)
    if isinstance(value, Mapping):
        return {k: _placeholders(graph, f"{name}_{k}", v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        keys = getattr(value, "_fields", range(len(value)))
        items = [_placeholders(graph, f"{name}_{k}", v) for k, v in zip(keys, value, strict=True)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _results(label: str, value: Any, function: str) -> Iterator[tuple[str, Any]]:
    """Every array in what a function returned, with its name."""
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", None) or [str(k) if label else f"out_{k}" for k in range(len(value))]
        value = dict(zip(names, value, strict=True))
    if not isinstance(value, Mapping):
        if value is None:
            raise ArgumentError(f"trace: {function} returns None where an array was expected ({label or 'its result'})")
        yield label, value
        return
    for key, item in value.items():
        yield from _results(f"{label}_{key}" if label else str(key), item, function)
