"""PyTorch's answers: its own functions, called one by one, and autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn

from benchmarks.compare.programs import Answer, Program, run, weights
from gradc.ops.matrices import definite

torch.set_num_threads(1)

NAME, VERSION = "PyTorch", torch.__version__.partition("+")[0]

_SAME = """
    add subtract multiply negative positive reciprocal square rad2deg deg2rad ldexp float_power sqrt exp exp2 expm1 log
    log2 log10 log1p logaddexp logaddexp2 sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh hypot
    arctan2 abs sign floor ceil trunc maximum minimum fmax fmin copysign heaviside remainder fmod floor_divide fix
    logical_and logical_or logical_xor logical_not isnan isinf isfinite signbit bitwise_and bitwise_or bitwise_xor gcd
    lcm isposinf isneginf isclose where nan_to_num sinc relu sigmoid logit xlogy erf erfc lgamma digamma less less_equal
    greater greater_equal not_equal matmul inner kron hstack vstack dstack column_stack zeros_like ones_like flipud
    fliplr atleast_1d atleast_2d atleast_3d
"""
"""Functions of the same name and the same arguments."""


def _axes(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction over one axis, some, or all, from one that takes `dim`."""

    def reduce(x: Any, axis: Any = None, keepdims: bool = False, **more: Any) -> Any:
        dims = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        return function(x, dim=dims, keepdim=keepdims, **more) if dims else None

    return reduce


def _one_axis(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction over one axis or all, from one that takes one `dim`."""

    def reduce(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if isinstance(axis, tuple):
            axes = sorted((a % x.ndim for a in axis), reverse=True)
            for a in axes:
                x = function(x, dim=a, keepdim=keepdims)
            return x
        if axis is None:
            shape = (1,) * x.ndim if keepdims else ()
            return function(x.reshape(-1), dim=0).reshape(shape)
        return function(x, dim=axis, keepdim=keepdims)

    return reduce


def _scan(function: Callable[..., Any]) -> Callable[..., Any]:
    def scan(x: Any, axis: Any = None) -> Any:
        return function(x.reshape(-1), dim=0) if axis is None else function(x, dim=axis)

    return scan


def _softmax_axis(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis=-1: function(x, dim=axis)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord is None and axis is None:
        return torch.linalg.vector_norm(x, keepdim=keepdims)
    return torch.linalg.norm(x, ord=ord, dim=axis, keepdim=keepdims)


def _quantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Any:
    return torch.quantile(x, torch.as_tensor(q, dtype=x.dtype), dim=axis, keepdim=keepdims, interpolation=method)


def _index(x: Any, index: Any) -> Any:
    entries = index if isinstance(index, tuple) else (index,)
    if any(isinstance(e, slice) and (e.step or 1) < 0 for e in entries):
        raise NotImplementedError("negative steps")
    return x[tuple(map(_integers, entries))]


def _expand_dims(x: Any, axis: Any) -> Any:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in sorted(a % (x.ndim + len(axes)) for a in axes):
        x = torch.unsqueeze(x, a)
    return x


def _cov(x: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None) -> Any:
    return torch.cov(x if rowvar else x.T, correction=int(not bias) if ddof is None else ddof) if y is None else None


def _dims(function: Callable[..., Any], **names: str) -> Callable[..., Any]:
    """`function` with `axis` for `dim`, and other keywords renamed: `k="diagonal"`."""
    renamed = {"axis": "dim", **names}
    return lambda *xs, **attrs: function(*xs, **{renamed.get(k, k): v for k, v in attrs.items()})


def _repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    return torch.repeat_interleave(x, torch.as_tensor(repeats), dim=axis)


def _flip(x: Any, axis: Any = None) -> Any:
    return torch.flip(x, tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,))


def _sections(**fixed: Any) -> Callable[..., Any]:
    """NumPy's splitting by sections, or at indices, with PyTorch's `tensor_split`."""

    def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
        where = indices_or_sections
        given = {"axis": axis, **fixed}
        return torch.tensor_split(x, where if isinstance(where, int) else tuple(map(int, where)), dim=given["axis"])

    return split


_SHAPE: dict[str, Callable[..., Any]] = {
    "broadcast_arrays": torch.broadcast_tensors,
    **{
        name: lambda x, order="C": (
            torch.ravel(x if order == "C" else x.permute(*range(x.ndim)[::-1])) if order in ("C", "F") else None
        )
        for name in ("ravel", "flatten")
    },
    "concatenate": lambda xs, axis=0: torch.concatenate([x.reshape(-1) for x in xs] if axis is None else xs, dim=axis or 0),
    "stack": _dims(torch.stack),
    "split": _sections(),
    "array_split": _sections(),
    "hsplit": lambda x, indices_or_sections: _sections()(x, indices_or_sections, 0 if x.ndim == 1 else 1),
    "vsplit": _sections(axis=0),
    "dsplit": _sections(axis=2),
    "unstack": _dims(torch.unbind),
    "copy": torch.clone,
    "repeat": _repeat,
    "tile": lambda x, reps: torch.tile(x, (reps,) if isinstance(reps, int) else tuple(reps)),
    "flip": _flip,
    "roll": _dims(torch.roll, shift="shifts", axis="dims"),
    "rot90": lambda m, k=1, axes=(0, 1): torch.rot90(m, k, axes),
    "moveaxis": lambda x, source, destination: torch.moveaxis(x, source, destination),
    "triu": _dims(torch.triu, k="diagonal"),
    "tril": _dims(torch.tril, k="diagonal"),
    "diag": _dims(torch.diag, k="diagonal"),
    "diagflat": _dims(torch.diagflat, k="offset"),
    "diagonal": _dims(torch.diagonal, axis1="dim1", axis2="dim2"),
    "meshgrid": lambda *xs, indexing="xy", sparse=False: None if sparse else torch.meshgrid(*xs, indexing=indexing),
}


def _integers(index: Any) -> Any:
    """An index of whole numbers, an empty one too."""
    return torch.as_tensor(np.asarray(index, None if np.size(index) else int)) if isinstance(index, (np.ndarray, list)) else index


def _take(x: Any, indices: Any, axis: Any = None, mode: str = "raise") -> Any:
    if mode != "raise":
        return None
    flat, index = (x.reshape(-1), _integers(indices)) if axis is None else (torch.movedim(x, axis, 0), _integers(indices))
    return flat[index] if axis is None else torch.movedim(flat[index], tuple(range(index.ndim)), _new_axes(x, index, axis))


def _new_axes(x: Any, index: Any, axis: int) -> tuple[int, ...]:
    return tuple(range(axis % x.ndim, axis % x.ndim + index.ndim))


def _segment_sum(x: Any, segment_ids: Any, num_segments: int) -> Any:
    ids = torch.as_tensor(segment_ids)
    rest = tuple(x.shape[ids.ndim :])
    return torch.zeros(num_segments, *rest, dtype=x.dtype).index_add(0, ids.reshape(-1), x.reshape(-1, *rest))


_INDEX: dict[str, Callable[..., Any]] = {
    "take": _take,
    "take_along_axis": lambda x, indices, axis=-1: torch.take_along_dim(x, _integers(indices), dim=axis),
    "at_add": lambda x, index, values: x.index_put(_entries(index), torch.as_tensor(values), accumulate=True),
    "at_set": lambda x, index, values: x.index_put(_entries(index), torch.as_tensor(values)),
    "segment_sum": _segment_sum,
}


def _entries(index: Any) -> tuple[Any, ...]:
    return tuple(_integers(e) for e in (index if isinstance(index, tuple) else (index,)))


def _dot(a: Any, b: Any) -> Any:
    if not a.ndim or not b.ndim:
        return a * b
    return a @ b if b.ndim <= 2 else torch.tensordot(a, b, dims=([-1], [-2]))


def _cross(a: Any, b: Any, axis: int = -1) -> Any:
    return torch.linalg.cross(*torch.broadcast_tensors(a, b), dim=axis)


_LINEAR: dict[str, Callable[..., Any]] = {
    "dot": _dot,
    "vdot": lambda a, b: torch.dot(a.reshape(-1), b.reshape(-1)),
    "outer": lambda a, b: torch.outer(a.reshape(-1), b.reshape(-1)),
    "tensordot": lambda a, b, axes=2: torch.tensordot(a, b, dims=axes),
    "einsum": torch.einsum,
    "cross": _cross,
    "multi_dot": torch.linalg.multi_dot,
    "matrix_power": torch.linalg.matrix_power,
    **{name: getattr(torch.linalg, name) for name in ["inv", "det", "slogdet", "solve", "eigvalsh", "eigh", "svdvals", "pinv"]},
    "cholesky": torch.linalg.cholesky,
    "qr": torch.linalg.qr,
    "svd": lambda x, full_matrices=True: torch.linalg.svd(x, full_matrices=full_matrices),
    "matrix_rank": torch.linalg.matrix_rank,
}


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return nn.cross_entropy(logits if logits.ndim == 1 else torch.movedim(logits, -1, 1), labels, reduction="none")


def _over_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """A normalization over one axis, from one over trailing ones."""

    def normalize(x: Any, *parameters: Any, axis: Any = -1, eps: float = 1e-5) -> Any:
        if axis not in (-1, x.ndim - 1):
            return None
        return function(x, x.shape[-1:], *parameters, eps=eps)

    return normalize


def _batch_norm(x: Any, scale: Any = None, shift: Any = None, axis: int = 1, eps: float = 1e-5) -> Any:
    return nn.batch_norm(x, None, None, scale, shift, training=True, eps=eps) if axis == 1 else None


def _attention(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None, causal: bool = False) -> Any:
    return nn.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)


def _pooling(function: Callable[..., Any], **names: str) -> Callable[..., Any]:
    return lambda x, kernel, **attrs: function(x, kernel, **{names.get(k, k): v for k, v in attrs.items()})


_NETWORKS: dict[str, Callable[..., Any]] = {
    "softmax_cross_entropy": _cross_entropy,
    "binary_cross_entropy_with_logits": lambda x, y: nn.binary_cross_entropy_with_logits(x, y, reduction="none"),
    "huber": lambda x, delta=1.0: nn.huber_loss(x, torch.zeros_like(x), reduction="none", delta=delta),
    "attention": _attention,
    "embedding": lambda table, indices: nn.embedding(_integers(indices), table),
    "layer_norm": _over_last(nn.layer_norm),
    "rms_norm": _over_last(nn.rms_norm),
    "batch_norm": _batch_norm,
    "cosine_similarity": lambda a, b, axis=-1: nn.cosine_similarity(a, b, dim=axis, eps=0.0),
    **{name: getattr(nn, name) for name in ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]},
    **{name: _pooling(getattr(nn, name)) for name in ["max_pool1d", "max_pool2d"]},
    **{name: _pooling(getattr(nn, name), count_padding="count_include_pad") for name in ["avg_pool1d", "avg_pool2d"]},
    "solve_triangular": lambda a, b, trans=0, lower=False, unit_diagonal=False: (
        None if trans or b.ndim < 2 else torch.linalg.solve_triangular(a, b, upper=not lower, unitriangular=unit_diagonal)
    ),
    "linalg_cross": _cross,
    "matrix_diagonal": lambda x, offset=0: torch.diagonal(x, offset, -2, -1),
    "trace": lambda x, offset=0, axis1=0, axis2=1: torch.diagonal(x, offset, axis1, axis2).sum(-1),
}


FUNCTION: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in _SAME.split() if hasattr(torch, name)},
    "divide": torch.divide,
    "where": lambda condition, x, y: torch.where(condition.bool(), x, y),
    "power": torch.pow,
    "fabs": torch.abs,
    "rint": torch.round,
    "round": lambda x, decimals=0: torch.round(x, decimals=decimals),
    "equal": torch.eq,
    "invert": torch.bitwise_not,
    "left_shift": torch.bitwise_left_shift,
    "right_shift": torch.bitwise_right_shift,
    "clip": torch.clamp,
    "astype": lambda x, dtype: x.to(getattr(torch, np.dtype(dtype).name)),
    "conjugate": torch.conj,
    "stop_gradient": torch.detach,
    **{name: getattr(nn, name) for name in ["relu6", "leaky_relu", "elu", "celu", "selu", "softplus", "silu", "mish"]},
    "log_sigmoid": nn.logsigmoid,
    "gelu": lambda x, approximate="none": nn.gelu(x, approximate="tanh" if approximate in ("tanh", True) else "none"),
    "hard_sigmoid": nn.hardsigmoid,
    "hard_silu": nn.hardswish,
    "xlog1py": torch.special.xlog1py,
    "ndtr": torch.special.ndtr,
    "polygamma": lambda n, x: torch.polygamma(int(n), x),
    "sum": _axes(torch.sum),
    "mean": _axes(torch.mean),
    "max": _axes(torch.amax),
    "min": _axes(torch.amin),
    "any": _one_axis(torch.any),
    "all": _one_axis(torch.all),
    "argmax": _one_axis(torch.argmax),
    "argmin": _one_axis(torch.argmin),
    "nansum": _axes(torch.nansum),
    "nanmean": _axes(torch.nanmean),
    "logsumexp": _axes(torch.logsumexp),
    "prod": _one_axis(torch.prod),
    "var": lambda x, axis=None, ddof=0, keepdims=False: _axes(torch.var)(x, axis, keepdims, correction=ddof),
    "std": lambda x, axis=None, ddof=0, keepdims=False: _axes(torch.std)(x, axis, keepdims, correction=ddof),
    "cumsum": _scan(torch.cumsum),
    "cumprod": _scan(torch.cumprod),
    "diff": lambda x, n=1, axis=-1, **more: torch.diff(x, n=n, dim=axis, **more),
    "trapezoid": lambda y, x=None, dx=1.0, axis=-1: (
        torch.trapezoid(y, dx=dx, dim=axis) if x is None else torch.trapezoid(y, x, dim=axis)
    ),
    "getitem": _index,
    "one_hot": lambda x, depth: nn.one_hot(x, depth).to(torch.float64),
    "softmax": _softmax_axis(torch.softmax),
    "log_softmax": _softmax_axis(torch.log_softmax),
    "norm": _norm,
    "vector_norm": lambda x, axis=None, ord=2, keepdims=False: torch.linalg.vector_norm(x, ord, axis, keepdims),
    "matrix_norm": lambda x, ord="fro", keepdims=False: torch.linalg.matrix_norm(x, ord, keepdim=keepdims),
    "reshape": lambda x, shape: torch.reshape(x, (shape,) if isinstance(shape, int) else shape),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "swapaxes": lambda x, axis1, axis2: torch.swapaxes(x, axis1, axis2),
    **_SHAPE,
    **_INDEX,
    **_LINEAR,
    **_NETWORKS,
    "squeeze": lambda x, axis=None: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
    "expand_dims": _expand_dims,
    "transpose": lambda x, axes=None: torch.permute(x, tuple(range(x.ndim))[::-1] if axes is None else axes),
    "matrix_transpose": lambda x: x.mT,
    "sort": lambda x, axis=-1: (x.reshape(-1) if axis is None else x).sort(dim=-1 if axis is None else axis, stable=True).values,
    "argsort": lambda x, axis=-1, kind=None: torch.argsort(x.reshape(-1) if axis is None else x, dim=axis or 0, stable=True),
    "searchsorted": lambda a, v, side="left": torch.searchsorted(a, v, side=side),
    "quantile": _quantile,
    "percentile": lambda x, q, **more: _quantile(x, np.asarray(q) / 100, **more),
    "cov": _cov,
    "corrcoef": lambda x, y=None, rowvar=True: torch.corrcoef(x if rowvar else x.T) if y is None else None,
}
"""PyTorch's function for each of gradc's, taking gradc's keywords. NumPy's median of an even number, nanmax, ... it has not."""


NO_GRADIENT = frozenset({"floor_divide", "heaviside"})
"""Functions that it has, but for which it raises when it is asked for a gradient: they take no part in random graphs."""


def find(name: str) -> Callable[..., Any] | None:
    """PyTorch's function for gradc's `name`; None where it has none."""
    return FUNCTION.get(name)


def call(name: str, operands: list[Any], attrs: dict[str, Any]) -> Any:
    """One step."""
    result = FUNCTION[name](*operands, **attrs)
    if result is None:
        raise NotImplementedError("PyTorch has no such call")
    return result


def _definite(*xs: Any) -> list[Any]:
    return [x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype) for x in xs]


def pull(program: Program) -> Answer:
    """Values, and gradients by `torch.autograd.grad`."""
    chosen = program.variables
    tensors = [torch.tensor(np.ascontiguousarray(a) if a.ndim else a) for a in program.inputs]
    variables = [tensors[k].requires_grad_() for k in chosen]
    values = run(program, call, tensors, lambda via: _definite if via is definite else via)
    found: list[Any] = [y for y in values if y.is_floating_point()]
    for order in range(program.order if chosen else 0):
        found = _gradients(found, variables, program.plain, create=order + 1 < program.order)
    gradients = found if chosen else []
    return Answer([y.detach().numpy() for y in values], [g.detach().numpy() for g in gradients])


def _gradients(outputs: list[Any], variables: list[Any], plain: bool, create: bool) -> list[Any]:
    active = [y for y in outputs if y.requires_grad]
    if not active:
        return [torch.zeros_like(x) for x in variables]
    seeds = [torch.tensor(weights(tuple(y.shape), plain), dtype=y.dtype) for y in active]
    return list(torch.autograd.grad(active, variables, seeds, create_graph=create, allow_unused=True, materialize_grads=True))
