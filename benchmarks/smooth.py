"""`python -m benchmarks.smooth`: smooth functions written with kinked or degenerate ops, in gradc, JAX and PyTorch.

Values, gradients, Hessians and a third derivative at the special point, against mpmath; writes docs/smooth.md. Exits with 1 where
gradc gives anything else than its row says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

import gradc as gc
from benchmarks.smooth_rows import DIRECTION, Row, rows
from gradc import passes

_DIGITS = 50
_NEAR = 1e-9
UNITS = np.eye(3)
ALONG = np.array([*UNITS, *(UNITS[i] + UNITS[j] for i, j in ((0, 1), (0, 2), (1, 2))), DIRECTION])
"""Directions whose derivatives of orders 1 and 2 hold all entries of a gradient and a Hessian."""


class Answer(NamedTuple):
    """A value, the derivatives of order 1 and 2 along `ALONG`, and that of order 3 along `DIRECTION`."""

    value: float
    first: np.ndarray
    second: np.ndarray
    third: float

    @classmethod
    def of(cls, value: Any, gradient: Any, hessian: Any, third: Any) -> Answer:
        g, h = np.asarray(gradient, float), np.asarray(hessian, float)
        return cls(float(value), ALONG @ g, np.array([u @ h @ u for u in ALONG]), float(third))

    def order(self, k: int) -> np.ndarray:
        """The numbers of order `k`."""
        return np.atleast_1d(self[k])


# --- the truth -----------------------------------------------------------------------------------------


def limit(smooth: Callable[[Any], Any], point: np.ndarray, direction: np.ndarray, order: int) -> float:
    """The derivative of that order along a direction, as that beside the point."""
    with mp.workdps(60):
        at, along = ([mp.mpf(float(v)) for v in a] for a in (point, direction))
        beside = mp.mpf("1e-24")
        return float(
            mp.diff(lambda t: smooth([a + t * d for a, d in zip(at, along, strict=True)]), beside, order, h=mp.mpf("1e-35"))
        )


def exactly(smooth: Callable[[Any], Any], point: np.ndarray, direction: np.ndarray, order: int) -> float:
    """The derivative of that order along a direction, at the point."""
    with mp.workdps(_DIGITS):
        at, along = ([mp.mpf(float(v)) for v in a] for a in (point, direction))
        return float(mp.re(mp.diff(lambda t: smooth([a + t * d for a, d in zip(at, along, strict=True)]), 0, order)))


def truth(row: Row) -> Answer:
    """By mpmath; NaN where a derivative does not exist."""
    derivative = limit if row.beside else exactly

    def along(order: int, directions: Sequence[np.ndarray]) -> np.ndarray:
        exists = order <= row.last
        return np.array([derivative(row.smooth, row.point, u, order) if exists else np.nan for u in directions])

    return Answer(float(along(0, [DIRECTION])[0]), along(1, ALONG), along(2, ALONG), float(along(3, [DIRECTION])[0]))


# --- gradc ---------------------------------------------------------------------------------------------

PIPELINES = {"NONE": passes.NONE, "EXACT": passes.EXACT, "DEFAULT": passes.DEFAULT}
SECONDS = ("reverse over reverse", "forward over reverse")


class Namespace:
    """Functions by name: those given, then those of modules."""

    def __init__(self, *modules: Any, **functions: Any) -> None:
        self._modules, self._functions = modules, functions

    def __getattr__(self, name: str) -> Any:
        found = [self._functions.get(name), *(getattr(module, name, None) for module in self._modules)]
        if all(f is None for f in found):
            raise AttributeError(f"no function {name}")
        return next(f for f in found if f is not None)


GRADC = Namespace(np, np.linalg, gc)


def gradc_answers(row: Row) -> dict[tuple[str, str], Answer]:
    """The answers of gradc, by pipeline and by how the second derivative was taken."""
    graph = gc.Graph("smooth")
    x = graph.placeholder("x", row.point.shape)
    graph.output("y", row.written(GRADC, x))
    first = gc.differentiate(graph, "x", of="y", on_disconnected="zeros", names={"x": "g"})
    d = first.placeholder("d", row.point.shape)
    first.output("gd", (first.outputs["g"] * d).sum())
    reverse = gc.differentiate(first, "x", of="gd", on_disconnected="zeros", names={"x": "h"})
    forward = gc.differentiate(first, "x", of="g", mode="forward", on_disconnected="zeros")
    dot = next(name for name in forward.placeholders if name not in first.placeholders)
    found = {}
    for second, twice in zip(SECONDS, (reverse, forward), strict=True):
        name = list(twice.outputs)[-1]
        twice.output("s", (twice.outputs[name] * d).sum())
        thrice = gc.differentiate(twice, "x", of="s", on_disconnected="zeros", names={"x": "t"})
        for pipeline, chosen in PIPELINES.items():
            run = thrice.compile(["y", "g", name], passes=chosen)
            along = [{"x": row.point, "d": u, **({dot: u} if twice is forward else {})} for u in (*UNITS, DIRECTION)]
            results = [run(feeds) for feeds in along[:3]]
            third = _third(thrice.compile(["t"], passes=chosen), along[3])
            found[pipeline, second] = Answer.of(results[0]["y"], results[0]["g"], [r[name] for r in results], third)
    return found


def _third(run: gc.Executable, feeds: dict[str, Any]) -> float:
    """The third derivative along `DIRECTION`; NaN where there is an error in its place."""
    try:
        return float(run(feeds)["t"] @ DIRECTION)
    except gc.errors.EvaluationError:
        return np.nan


# --- the others ----------------------------------------------------------------------------------------


def jax_side() -> tuple[str, Callable[[Row], Answer]]:
    """JAX, with its version, and its answer to a row."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    functions = Namespace(jnp, jax.nn, jnp.linalg)

    def answer(row: Row) -> Answer:
        def f(x: Any) -> Any:
            return jnp.asarray(row.written(functions, x), float)

        x = jnp.asarray(row.point)
        line = jax.grad(jax.grad(jax.grad(lambda t: f(x + t * DIRECTION))))
        return Answer.of(f(x), jax.grad(f)(x), jax.jacrev(jax.grad(f))(x), line(0.0))

    return f"JAX {jax.__version__}", answer


def torch_side() -> tuple[str, Callable[[Row], Answer]]:
    """PyTorch, with its version, and its answer to a row."""
    import torch

    def tensor(value: Any) -> Any:
        return torch.as_tensor(value, dtype=None if torch.is_tensor(value) else torch.float64)

    def of_tensors(f: Any) -> Any:
        return lambda *xs: f(*map(tensor, xs))

    functions = Namespace(
        torch,
        torch.nn.functional,
        torch.linalg,
        array=torch.as_tensor,
        norm=lambda x, axis=None, keepdims=False: torch.linalg.vector_norm(x, dim=axis, keepdim=keepdims),
        std=lambda x: torch.std(x, correction=0),
        maximum=of_tensors(torch.maximum),
        minimum=of_tensors(torch.minimum),
        where=of_tensors(torch.where),
        clip=torch.clamp,
        power=torch.pow,
        fabs=torch.abs,
        cumprod=lambda x: torch.cumprod(x, 0),
        sort=lambda x: torch.sort(x).values,
        flip=lambda x: torch.flip(x, (0,)),
    )

    def slope(y: Any, x: Any) -> Any:
        if not y.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(y, x, create_graph=True, materialize_grads=True)[0]

    def answer(row: Row) -> Answer:
        x = torch.tensor(row.point, requires_grad=True)
        y = row.written(functions, x)
        g, d = slope(y, x), torch.as_tensor(DIRECTION)
        hessian = [slope(g[k], x).detach() for k in range(3)]
        third = slope(slope(g @ d, x) @ d, x) @ d
        return Answer.of(y.detach(), g.detach(), np.array([h.numpy() for h in hessian]), third.detach())

    return f"PyTorch {torch.__version__.partition('+')[0]}", answer


def peers() -> dict[str, Callable[[Row], Answer]]:
    """Those that are installed."""
    found = []
    for side in (jax_side, torch_side):
        try:
            found.append(side())
        except ImportError:
            continue
    return dict(found)


# --- verdicts, and the page ----------------------------------------------------------------------------


def verdict(got: Answer, wanted: Answer, order: int) -> str:
    """What `got` is at an order: "right", "NaN", "convention" (another number), or "none" where there is no derivative."""
    ours, theirs = got.order(order), wanted.order(order)
    if np.isnan(theirs).any():
        return "none"
    if np.isnan(ours).any():
        return "NaN"
    return "right" if np.all(np.abs(ours - theirs) <= _NEAR * np.maximum(1, np.abs(theirs))) else "convention"


def fault(row: Row, wanted: Answer, answers: dict[tuple[str, str], Answer]) -> str:
    """Where gradc does not give what the row says; empty where it does."""
    for place, got in answers.items():
        if not np.isnan(got.value) and not abs(got.value - wanted.value) <= _NEAR * max(1, abs(wanted.value)):
            return f"{row.name}, {', '.join(place)}: the value is {got.value}, not {wanted.value}"
        for order in (1, 2, 3):
            found = verdict(got, wanted, order)
            if found not in ("none", row.gives[order - 1]):
                return (
                    f"{row.name}, {', '.join(place)}: order {order} is {found}, said to be {row.gives[order - 1]}: "
                    f"{got.order(order).tolist()}, in truth {wanted.order(order).tolist()}"
                )
    return ""


def _shown(answer: Answer, order: int) -> str:
    number = answer.order(order)[-1]
    return "0" if abs(number) < 1e-12 else f"{number:.6g}"


def _cell(got: Answer | None, wanted: Answer) -> str:
    if got is None:
        return "no answer"
    shown = []
    for order in (1, 2, 3):
        found = verdict(got, wanted, order)
        number = _shown(got, order)
        shown.append({"right": "✓", "NaN": "NaN", "none": "none"}.get(found, f"**{number}**"))
    return " ".join(shown)


def _asked(side: Callable[[Row], Answer], row: Row) -> Answer | None:
    try:
        return side(row)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None


_HEAD = """# Smooth functions written with kinked ops

<!-- Generated by `python -m benchmarks.smooth`. -->

Functions that are smooth at a point, or have derivatives to some order there, written with ops that have none: `abs`, `relu`,
norms, roots, selections, eigenvectors. Each cell has three entries: the gradient, the Hessian, and the third derivative along one
direction, in float64, at the point: ✓ where all numbers agree with mpmath ({digits} digits) to {near}; NaN; or, in bold, the
wrong number that came along (0.6, -1.3, 0.45); "none" where there is no derivative. gradc gives the same at `NONE`, `EXACT`
and `DEFAULT`, by reverse over reverse and forward over reverse mode, and the tests hold it to that. What no form covers is at the
end: NaN, or a convention, and why; `check_gradients` tells it for a function of yours. `make smooth` renews the page.

{counts}

| function | at | truth | gradc | {peers} | |
|---|---|---|---|{rule}|---|
"""


def page(table: Sequence[tuple[Row, Answer, Answer, list[Answer | None]]], names: Sequence[str]) -> str:
    """The page, of rows with the truth, gradc's answer and those of the others."""
    lines = []
    right = {name: 0 for name in ("gradc", *names)}
    wrong = dict(right)
    for row, wanted, ours, others in table:
        truths = " ".join("none" if np.isnan(wanted.order(k)).any() else _shown(wanted, k) for k in (1, 2, 3))
        for name, got in zip(right, [ours, *others], strict=True):
            found = [verdict(got, wanted, k) for k in (1, 2, 3)] if got else []
            right[name] += sum(v == "right" for v in found)
            wrong[name] += sum(v == "convention" for v in found)
        cells = " | ".join(_cell(a, wanted) for a in (ours, *others))
        at = ", ".join(f"{v:g}" for v in row.point)
        lines.append(f"| `{row.name}` | {at} | {truths} | {cells} | {row.why} |")
    total = sum(not np.isnan(wanted.order(k)).any() for _, wanted, _, _ in table for k in (1, 2, 3))
    counts = f"Of {total} derivatives of {len(table)} functions that exist: " + "; ".join(
        f"{name} has {right[name]} right and {wrong[name]} wrong without a sign, the others NaN or no answer" for name in right
    )
    head = _HEAD.format(
        digits=_DIGITS, near=_NEAR, counts=counts + ".", peers=" | ".join(names), rule="|".join("---" for _ in names)
    )
    return head + "\n".join(lines) + "\n"


def main() -> int:
    """Compute, compare, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smooth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", type=Path, default=Path("docs/smooth.md"))
    options = parser.parse_args()
    sides = peers()
    table, faults = [], []
    with np.errstate(all="ignore"):
        for row in rows():
            wanted, answers = truth(row), gradc_answers(row)
            faults += [text] if (text := fault(row, wanted, answers)) else []
            table.append((row, wanted, answers["DEFAULT", SECONDS[0]], [_asked(side, row) for side in sides.values()]))
    text = page(table, list(sides))
    if len(sides) == 2:
        options.page.write_text(text)
    else:
        print(text, "smooth: a peer is not installed here, the page is left as it was", sep="\n")
    print(f"smooth: {len(table)} functions", *faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
