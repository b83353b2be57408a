"""NumPy's functions on nodes, through NumPy's own protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.errors import UnsupportedError
from gradc.ir import FUNCTIONS, NUMPY, user_origin

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


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ufunc called on nodes: the node of the op that stands for it."""
    if (method, ufunc) in _METHODS:
        reduction = FUNCTIONS[_METHODS[method, ufunc]].build
        return _called(f"{ufunc.__name__}.{method}", reduction, inputs, {"axis": 0, **kwargs})
    build = NUMPY.get(ufunc)
    given = {k: v for k, v in kwargs.items() if v is not None}
    if build is None or method != "__call__" or given:
        asked = f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
        options = f" with {', '.join(given)}=" if given else ""
        raise UnsupportedError(
            f"{asked}{options} on a node: gradc has no such op\n  at {user_origin().location}\n"
            "  compose it from ops that gradc has, or declare it with gradc.ops.declare.elementwise"
        )
    return build(*inputs)


def array_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A NumPy function called on nodes: the gradc function that stands for it."""
    build = NUMPY.get(func)
    if build is None:
        raise UnsupportedError(
            f"np.{func.__name__} on a node: gradc has no such function\n  at {user_origin().location}\n"
            "  compose it from functions that gradc has, or declare it with gradc.ops.declare.op"
        )
    return _called(func.__name__, build, args, kwargs)


def _called(name: str, build: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `build` makes of the arguments of `np.<name>`; one that it does not take is an error about that function."""
    try:
        return build(*args, **kwargs)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise UnsupportedError(f"np.{name} on a node: {error}\n  at {user_origin().location}") from None


NUMPY["__array_ufunc__"] = array_ufunc
NUMPY["__array_function__"] = array_function
