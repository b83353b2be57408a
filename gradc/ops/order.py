"""Order: sort, argsort, searchsorted, median, quantiles.

Equal entries share: a result that is the k-th of some passes its adjoint in equal parts to all entries equal to it, so
`np.sort(x)[-1]` has the derivative of `np.max(x)`, and the median that of any other way to write it. For `sort` itself
that is the mean over all orders in which equal entries could stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError, TraceError, UnsupportedError, show
from gradc.ir import Call, Kernel, Node, apply, as_array, lift
from gradc.ops.declare import call, function, op
from gradc.ops.differences import part
from gradc.ops.reduction import (
    floating_wide,
    joined_last,
    mean_of_ties,
    narrowed,
    operand,
    reduced_shape,
    reduction_samples,
    share_ties,
)
from gradc.ops.samples import Sample, at, cases, normal, sample
from gradc.ops.scan import scan_samples
from gradc.ops.shaping import add_n
from gradc.types import Dim, DType, TensorType, least_size, normalize_axes, normalize_axis

__all__ = [
    "argsort",
    "median",
    "percentile",
    "quantile",
    "searchsorted",
    "sort",
]

Array = np.ndarray[Any, Any]
_INF, _NAN = math.inf, math.nan

# --- sort ----------------------------------------------------------------------------------------------


def sort_into(x: Array, out: Array, axis: int) -> None:
    """Into `out`: `x` sorted along `axis`."""
    np.copyto(out, x)
    out.sort(axis)


def _shared(values: Array, tied: Array) -> Array:
    """`values` along the last axis; runs whose later entries are `tied` to the one before hold their mean."""
    starts = np.ones(values.shape, bool)
    starts[..., 1:] = ~tied
    group = np.cumsum(starts.reshape(-1)) - 1
    means = np.bincount(group, values.reshape(-1)) / np.bincount(group)
    shared: Array = means[group].reshape(values.shape).astype(values.dtype)
    return shared


def permute_into(t: Array, x: Array, out: Array, axis: int, back: bool) -> None:
    """Into `out`: `t` in the order that sorts `x`; `back`: from that order to the order of `x`. Equal entries share."""
    t, x, out = (np.moveaxis(v, axis, -1) for v in (t, x, out))
    order = np.argsort(x, -1)  # any order of equal entries will do: they share
    ranked = np.take_along_axis(x, order, -1)
    tied = ranked[..., 1:] == ranked[..., :-1]
    if np.isnan(ranked[..., -1:]).any():
        tied |= np.isnan(ranked[..., :-1])  # NaN is last, so the next entry is NaN too
    moved = np.asarray(t) if back else np.take_along_axis(t, order, -1)
    if tied.any():
        moved = _shared(moved, tied)
    if back:
        np.put_along_axis(out, order, moved, -1)
    else:
        np.copyto(out, moved)


def _permuted(t: Any, x: Any, *, axis: int, back: bool) -> Any:
    out = np.empty(t.shape, t.dtype)
    permute_into(t, x, out, axis, back)
    return out


def permuted(t: Node, x: Node, axis: int, back: bool) -> Node:
    """`t` in the order that sorts `x`, or `back` from it; the transpose of one is the other."""
    return apply(permute_op, (t, x), (("axis", axis), ("back", back)))


permute_op = op(
    "permute_as",
    infer=lambda t, x, *, axis, back: t,
    evaluate=_permuted,
    vjp=(lambda g, out, t, x, *, axis, back: permuted(g, x, axis, not back), None),
    jvp=(lambda s, out, t, x, *, axis, back: permuted(s, x, axis, back), None),
    kernel=lambda inputs, out, attrs: Kernel(
        (Call(permute_into, "permute_as", f"{{0}}, {{1}}, {{out}}, {attrs['axis']}, {attrs['back']}"),)
    ),
    linear=True,
)
sort_op = op(
    "sort",
    infer=lambda x, *, axis: x,
    evaluate=lambda x, *, axis: np.sort(x, axis),
    vjp=(lambda g, out, x, *, axis: permuted(g, x, axis, True),),
    jvp=(lambda t, out, x, *, axis: permuted(t, x, axis, False),),
    kernel=lambda inputs, out, attrs: Kernel((Call(sort_into, "sort", f"{{0}}, {{out}}, {attrs['axis']}"),)),
)


def _along(x: Any, axis: Any, order: Any, where: str) -> tuple[Node, int]:
    node = operand(x, where)
    if order is not None:
        raise ArgumentError(f"{where}: order= names fields of structured arrays, which gradc has not got")
    if axis is None:
        return call("ravel", node), 0
    return node, normalize_axis(axis, node.ndim, where)


def _sort_samples() -> list[Sample]:
    return [s for s in scan_samples()() if s.arrays[0].ndim or s.attrs.get("axis", 0) is None]


@function(
    numpy=(np.sort,),
    samples=_sort_samples,
    edges=(
        at([2.0, 1.0, 2.0], value=[1.0, 2.0, 2.0], adjoints=([1.0, 1.0, 1.0],)),
        at([_INF, _NAN, -_INF], value=[-_INF, _INF, _NAN], adjoints=([1.0, 1.0, 1.0],), why="NaN comes last"),
    ),
)
def sort(x: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Node:
    """`np.sort`: a copy sorted along `axis`, NaN last. Equal entries share the adjoints of their places, NaN too."""
    node, along = _along(x, axis, order, "sort")
    return apply(sort_op, (node,), (("axis", along),))


def argsort_into(x: Array, out: Array, axis: int, kind: Any) -> None:
    """Into `out`: the order that sorts `x` along `axis`."""
    np.copyto(out, np.argsort(x, axis, kind=kind))


argsort_op = op(
    "argsort",
    infer=lambda x, *, axis, kind: TensorType(x.shape, np.dtype(np.intp)),
    evaluate=lambda x, *, axis, kind: np.argsort(x, axis, kind=kind),
    vjp=(None,),
    jvp=(None,),
    kernel=lambda inputs, out, attrs: Kernel(
        (Call(argsort_into, "argsort", f"{{0}}, {{out}}, {attrs['axis']}, {attrs['kind']!r}"),)
    ),
)


@function(
    numpy=(np.argsort,),
    samples=lambda: [*(s._replace(gradient=False) for s in _sort_samples()), sample([2, 1, 2], kind="stable", gradient=False)],
    differentiable=False,
)
def argsort(x: Any, axis: Any = -1, kind: str | None = None, order: Any = None, *, stable: bool | None = None) -> Node:
    """`np.argsort`: the order that sorts `x` along `axis`; int64. Equal entries keep their order where it is stable."""
    node, along = _along(x, axis, order, "argsort")
    if kind not in (None, "quicksort", "heapsort", "mergesort", "stable"):
        raise ArgumentError(f"argsort: kind is 'quicksort', 'heapsort', 'mergesort' or 'stable', got {show(kind)}")
    return apply(argsort_op, (node,), (("axis", along), ("kind", "stable" if stable else kind)))


def _infer_searchsorted(a: TensorType, v: TensorType, *, side: str) -> TensorType:
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: the sorted values are 1-d, got {a}")
    return TensorType(v.shape, np.dtype(np.intp))


searchsorted_op = op(
    "searchsorted",
    infer=_infer_searchsorted,
    evaluate=lambda a, v, *, side: np.asarray(np.searchsorted(a, v, side)),
    vjp=(None, None),
    jvp=(None, None),
    kernel=lambda inputs, out, attrs: Kernel((Call(search_into, "searchsorted", f"{{0}}, {{1}}, {{out}}, {attrs['side']!r}"),)),
)


def search_into(a: Array, v: Array, out: Array, side: Any) -> None:
    """Into `out`: where the entries of `v` belong in the sorted `a`."""
    np.copyto(out, np.searchsorted(a, v, side))


@function(
    numpy=(np.searchsorted,),
    samples=cases(
        lambda: sample([1.0, 2.0, 3.0], [0.5, 2.0, 9.0], gradient=False),
        lambda: sample([1.0, 2.0, 3.0], 2.0, gradient=False, side="right"),
        lambda: sample(np.arange(4), np.array([[1, 2], [3, 9]]), gradient=False),
    ),
    differentiable=False,
)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Node:
    """`np.searchsorted`: where the entries of `v` belong in the sorted vector `a`; int64, without a derivative."""
    if sorter is not None:
        raise ArgumentError("searchsorted: sorter= is not supported; sort first: np.sort(a)")
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted: side is 'left' or 'right', got {show(side)}")
    return apply(searchsorted_op, lift((a, v), "searchsorted"), (("side", side),))


# --- order statistics ------------------------------------------------------------------------------------


def ranks_into(x: Array, out: Array, ranked: Array, *places: int) -> None:
    """Into `out`: the entries along the last axis that sorting would put in `places`, NaN where one is; `ranked` is scratch."""
    if not x.shape[-1]:
        out[...] = _NAN
        return
    np.copyto(ranked, x)
    ranked.partition((*places, x.shape[-1] - 1), -1)
    for k, place in enumerate(places):
        np.copyto(out[..., k], ranked[..., place])
    last = ranked[..., -1:]
    np.copyto(out, last, where=np.isnan(last))


def _ranks(x: Any, *, places: tuple[int, ...]) -> Any:
    out = np.empty((*x.shape[:-1], len(places)), x.dtype)
    ranks_into(x, out, np.empty(x.shape, x.dtype), *places)
    return out


def _ranks_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    places = ", ".join(map(str, attrs["places"]))
    return Kernel((Call(ranks_into, "order_statistics", f"{{0}}, {{out}}, {{s0}}, {places}"),), scratch=(inputs[0],))


def _columns(v: Node) -> list[Node]:
    """The columns along the last axis, which has a number of them."""
    last = v.ndim - 1
    return [part(v, last, k, k + 1) for k in range(int(v.shape[last]))]


def _ranks_vjp(g: Node, out: Node, x: Node, *, places: tuple[int, ...]) -> Node:
    shares = [share_ties(gk, vk, x, (x.ndim - 1,), True) for gk, vk in zip(_columns(g), _columns(out), strict=True)]
    return shares[0] if len(shares) == 1 else apply(add_n, tuple(shares))


def _ranks_jvp(t: Node, out: Node, x: Node, *, places: tuple[int, ...]) -> Node:
    means = [mean_of_ties(t, vk, x, (x.ndim - 1,), True) for vk in _columns(out)]
    return means[0] if len(means) == 1 else call("concatenate", tuple(means), x.ndim - 1)


ranks_op = op(
    "order_statistics",
    infer=lambda x, *, places: TensorType((*x.shape[:-1], len(places)), x.dtype),
    evaluate=_ranks,
    vjp=(_ranks_vjp,),
    jvp=(_ranks_jvp,),
    kernel=_ranks_kernel,
    masks=True,
)


def order_statistics(x: Node, places: Sequence[Any]) -> list[Node]:
    """The entries along the last axis that sorting would put in `places`, counted from 0; NaN where an entry is."""
    found = apply(ranks_op, (x,), (("places", tuple(places)),))
    return [call("reshape", column, x.shape[:-1]) for column in _columns(found)]


@function(
    numpy=(np.median,),
    samples=lambda: [
        *[s for s in reduction_samples()() if s.attrs.get("axis") != ()],
        sample([1.0, _NAN, 2.0], gradient=False),
        sample(np.array([4, 1, 3, 2]), gradient=False),
    ],
    edges=(
        at([1.0, 2.0, 2.0, 4.0], value=2.0, adjoints=([0.0, 0.5, 0.5, 0.0],), why="ties share equally"),
        at([2.0, 2.0, 2.0], value=2.0, adjoints=([1 / 3, 1 / 3, 1 / 3],), why="ties share equally"),
        at([3.0, 1.0, 1.0], value=1.0, adjoints=([0.0, 0.5, 0.5],), why="ties share equally"),
        at([1.0, _NAN, 2.0], value=_NAN, adjoints=([0.0, 0.0, 0.0],)),
    ),
)
def median(x: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Node:
    """`np.median` over `axis`: of an even count the mean of the middle two; NaN where an entry is. Ties share the adjoint."""
    given = operand(x, "median", None, out)
    axes = normalize_axes(axis, given.ndim, "median")
    flat = joined_last(floating_wide(given, "median"), axes)
    n = flat.shape[-1]
    low, high = n - least_size(n, n // 2 + 1), n // 2  # of nothing the places are 0, and the ranks NaN
    middle = order_statistics(flat, (low, high) if low != high else (low,))
    result = narrowed(middle[0] if low == high else (middle[0] + middle[1]) / 2, given)
    return call("reshape", result, reduced_shape(given.shape, axes, True)) if keepdims else result


def _places(q: float, n: int, method: str) -> tuple[int, int, float]:
    """The two places between which the quantile lies, and how far along."""
    place = q * (n - 1)
    low = min(max(math.floor(place), 0), n - 1)
    high = min(low + 1, n - 1)
    along = place - low
    if method == "lower":
        return low, low, 0.0
    if method == "higher":
        return (high, high, 0.0) if along else (low, low, 0.0)
    if method == "nearest":
        near = round(place)
        return near, near, 0.0
    if not along:
        return low, low, 0.0
    return low, high, 0.5 if method == "midpoint" else along


def _between(below: Node, above: Node, along: float) -> Node:
    """From one to the other, from the nearer end, as NumPy does."""
    if below is above or not along:
        return below
    gap = above - below
    return above - gap * (1 - along) if along >= 0.5 else below + gap * along


_PICKING = ("lower", "higher", "nearest")
_METHODS = ("linear", "midpoint", *_PICKING)


def _shares(q: Any, whole: int, where: str) -> Array:
    """Which quantiles are asked for, as an array with the dtype that NumPy gives it."""
    if isinstance(q, Node):
        raise TraceError(f"{where}: which quantile is a constant of the graph, numbers in an array or a tuple; got a node")
    given = as_array(q, where)
    asked = given if whole == 1 else np.asarray(np.true_divide(given, whole))
    if not asked.size or not ((asked >= 0) & (asked <= 1)).all():
        raise ArgumentError(f"{where}: q is between 0 and {whole}, got {show(q)}")
    return asked


def _quantile_dtype(given: DType, asked: Array, weak: bool, method: str) -> DType:
    """The dtype of a quantile: entries keep theirs, what lies between them is promoted; Python numbers are weak."""
    if method in _PICKING or (method == "linear" and asked.dtype.kind in "iu"):
        return given
    promoted = given if weak else np.result_type(given, asked)
    return promoted if promoted.kind == "f" else np.dtype("float64")


def _quantile(x: Node, asked: Array, weak: bool, axis: Any, method: str, keepdims: Any, weights: Any, where: str) -> Node:
    if method not in _METHODS or weights is not None:
        option = "weights=" if weights is not None else f"method={show(method)}"
        raise UnsupportedError(f"{where}: {option} is not supported; methods are {', '.join(_METHODS)}, without weights")
    axes = normalize_axes(axis, x.ndim, where)
    dtype = _quantile_dtype(x.dtype, asked, weak, method)
    node = x.astype(dtype)
    flat = joined_last(floating_wide(node, where) if dtype.kind == "f" else node, axes)
    if isinstance(flat.shape[-1], Dim) or not flat.shape[-1]:
        raise ShapeError(f"{where}: the axis has {flat.shape[-1]} entries; its length is a number, and not 0")
    shape = reduced_shape(x.shape, axes, bool(keepdims))
    between = [_places(float(q), flat.shape[-1], method) for q in asked.reshape(-1)]
    places = sorted({place for low, high, _ in between for place in (low, high)})
    ranked = dict(zip(places, order_statistics(flat, places), strict=True))
    parts = [call("reshape", _between(ranked[low], ranked[high], along), (1, *shape)) for low, high, along in between]
    joined = call("concatenate", tuple(parts)) if len(parts) > 1 else parts[0]
    return call("reshape", joined, (*asked.shape, *shape)).astype(dtype)


def _quantile_samples(scale: float) -> Callable[[], list[Sample]]:
    def make() -> list[Sample]:
        made = [s for s in reduction_samples(empty=False)() if s.attrs.get("axis") != ()]
        made = [Sample(s.arrays, {"q": 0.3 * scale, **s.attrs}) for s in made]
        return [
            *made,
            *(sample(normal(6), q=q * scale) for q in (0.0, 0.5, 1.0, 0.7)),
            *(sample(normal(6), q=0.45 * scale, method=method) for method in _METHODS),
            sample(normal(3, 5), q=np.array([0.1, 0.5, 0.8]) * scale, axis=1),
            sample(normal(3, 5), q=np.array([[0.25], [0.75]]) * scale, axis=0, keepdims=True),
            sample([1.0, _NAN, 2.0], q=0.5 * scale, gradient=False),
        ]

    return make


@function(
    numpy=(np.quantile,),
    samples=_quantile_samples(1),
    edges=(at([1.0, 2.0, 2.0], value=2.0, adjoints=([0.0, 0.5, 0.5],), q=1.0, why="ties share equally"),),
)
def quantile(
    x: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Node:
    """`np.quantile` over `axis`, for constant `q` in [0, 1]; the axes of `q` come first in the result.

    Args:
        method: "linear", "lower", "higher", "midpoint" or "nearest".

    Raises:
        UnsupportedError: another method, or weights.
        ShapeError: the length of the axis is symbolic or 0.
    """
    weak = type(q) in (int, float)
    node = operand(x, "quantile", None, out)
    return _quantile(node, _shares(q, 1, "quantile"), weak, axis, method, keepdims, weights, "quantile")


@function(numpy=(np.percentile,), samples=_quantile_samples(100))
def percentile(
    x: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Node:
    """`np.percentile`: as `quantile`, for `q` in [0, 100]."""
    weak = type(q) in (int, float)
    node = operand(x, "percentile", None, out)
    return _quantile(node, _shares(q, 100, "percentile"), weak, axis, method, keepdims, weights, "percentile")
