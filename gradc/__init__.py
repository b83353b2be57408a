"""gradc: a symbolic graph compiler that emits gradient graphs ahead of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradc import passes
from gradc.differentiate import differentiate
from gradc.errors import GradcError
from gradc.interpret import Trace, evaluate
from gradc.ir import Graph, Node, Origin, constant, verify
from gradc.numpy_api import spec, trace
from gradc.ops import *  # noqa: F403
from gradc.ops import __all__ as _ops
from gradc.runtime import Executable, compile
from gradc.types import TensorType

if TYPE_CHECKING:
    from gradc import testing

__version__ = "0.1.0"
__all__ = [
    "Executable",
    "GradcError",
    "Graph",
    "Node",
    "Origin",
    "TensorType",
    "Trace",
    "compile",
    "constant",
    "differentiate",
    "evaluate",
    "passes",
    "spec",
    "testing",
    "trace",
    "verify",
    *_ops,
]


def __getattr__(name: str) -> Any:
    """`testing` is imported when it is first asked for: programs that only compile do without."""
    if name != "testing":
        raise AttributeError(f"module 'gradc' has no attribute {name!r}")
    from importlib import import_module

    return import_module("gradc.testing")
