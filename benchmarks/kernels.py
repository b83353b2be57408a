"""What a process computes with: the BLAS libraries that it has loaded, their kernels, and what frameworks say of themselves."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Kernels(NamedTuple):
    """The BLAS libraries of a process, and the rest, in words."""

    blas: str
    others: str


def found() -> Kernels:
    """Of this process, by what it has imported."""
    return Kernels(_blas(), "; ".join(say() for name, say in FRAMEWORKS.items() if name in sys.modules))


def _blas() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown: threadpoolctl is not installed"
    return "; ".join(named(pool) for pool in threadpool_info() if pool["user_api"] == "blas") or "none"


def named(pool: dict[str, Any]) -> str:
    """One library that threadpoolctl found: whose it is, its version, the processor its kernels are for, its threads."""
    owner = Path(pool["filepath"]).parent.name.partition(".")[0]
    kernels = f"{pool['architecture']} kernels" if pool.get("architecture") else "kernels that it does not tell"
    threads = f"{pool['num_threads']} thread{'s' * (pool['num_threads'] > 1)}"
    return f"{owner}'s {pool['internal_api']} {pool['version'] or ''}, {kernels}, {threads}"


def _numpy() -> str:
    extensions: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # type: ignore[call-arg]
    return f"NumPy's loops: {', '.join(extensions[-2:]) or 'baseline'}"


def _torch() -> str:
    import torch

    built = torch.__config__.show()
    names = {"MKL": r"Math Kernel Library Version ([^-\s]+)", "oneDNN": r"MKL-DNN (\S+)", "loops": r"CPU capability usage: (\S+)"}
    said = {name: match[1] for name, pattern in names.items() if (match := re.search(pattern, built))}
    return f"PyTorch, linked in: {', '.join(f'{name} {value}' for name, value in said.items())}; it chooses by the processor"


def _jax() -> str:
    return "XLA compiles for the processor it finds; its products, Eigen's or oneDNN's, are linked in and cannot be asked"


def _tensorflow() -> str:
    from tensorflow.python.util import _pywrap_util_port

    library = "Eigen and oneDNN" if _pywrap_util_port.IsMklEnabled() else "Eigen"
    return f"TensorFlow, linked in: {library}, which choose by the processor and cannot be asked"


def _numba() -> str:
    from llvmlite import binding

    return f"LLVM compiles for {binding.get_host_cpu_name()}"


def _casadi() -> str:
    return "CasADi's own virtual machine"


FRAMEWORKS: dict[str, Callable[[], str]] = {
    "numpy": _numpy,
    "torch": _torch,
    "jax": _jax,
    "tensorflow": _tensorflow,
    "llvmlite": _numba,
    "casadi": _casadi,
}
"""What each says of itself, by the module that a process has imported."""
