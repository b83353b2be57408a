"""JAX's answers: its own functions, called one by one, and its own derivative of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import jax.scipy.special as special
import numpy as np

from benchmarks.compare.programs import Answer, Program, run, weights
from gradc.ir import FUNCTIONS

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

NAME, VERSION = "JAX", jax.__version__


def _conv(n: int) -> Callable[..., Any]:
    """A convolution over `n` axes."""

    def conv(x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Any:
        strides, pads, dilations = ((v,) * n if isinstance(v, int) else tuple(v) for v in (stride, padding, dilation))
        pairs = [(p, p) for p in pads]
        y = jax.lax.conv_general_dilated(x, w, strides, pairs, rhs_dilation=dilations, feature_group_count=groups)
        return y if bias is None else y + bias.reshape(-1, *(1,) * n)

    return conv


_NN = """
    relu relu6 leaky_relu elu celu selu sigmoid softplus log_sigmoid silu mish hard_sigmoid hard_silu softmax log_softmax
    logsumexp
"""

FUNCTION: dict[str, Callable[..., Any] | None] = {
    **{name: getattr(jax.nn, name) for name in _NN.split()},
    **{name: getattr(special, name) for name in ["logit", "xlogy", "xlog1py", "erf", "erfc", "digamma"]},
    "conv1d": _conv(1),
    "conv2d": _conv(2),
    "solve_triangular": jax.scipy.linalg.solve_triangular,
    "flatten": jnp.ravel,
    "ndtr": special.ndtr,
    "lgamma": special.gammaln,
    "polygamma": lambda n, x: special.polygamma(np.int64(n), x),
    "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate in ("tanh", True)),
    "getitem": lambda x, index: x[np.asarray(index, None if index else int) if isinstance(index, list) else index],
    "at_add": lambda x, index, values: x.at[index].add(values),
    "at_set": lambda x, index, values: x.at[index].set(values),
    "segment_sum": lambda x, segment_ids, num_segments: jax.ops.segment_sum(
        x.reshape(-1, *x.shape[np.ndim(segment_ids) :]), jnp.ravel(jnp.asarray(segment_ids)), num_segments
    ),
    "astype": lambda x, dtype: x.astype(dtype),
    "stop_gradient": jax.lax.stop_gradient,
    "one_hot": lambda x, depth: jax.nn.one_hot(x, depth),
}
"""What is not jax.numpy's function of the name that NumPy gives it."""


NO_GRADIENT: frozenset[str] = frozenset()


def find(name: str) -> Callable[..., Any] | None:
    """JAX's function for gradc's `name`; None where it has none."""
    if name in FUNCTION:
        return FUNCTION[name]
    for target in FUNCTIONS[name].numpy:
        home = jnp.linalg if getattr(target, "__module__", "") == "numpy.linalg" else jnp
        found: Callable[..., Any] | None = getattr(home, target.__name__, None)
        if found is not None:
            return found
    return None


def call(name: str, operands: list[Any], attrs: dict[str, Any]) -> Any:
    """One step."""
    found = find(name)
    assert found is not None
    return found(*operands, **attrs)


def pull(program: Program) -> Answer:
    """Values, and gradients by `jax.vjp` and, of second order, by `jax.grad` of that."""
    chosen = program.variables
    arrays = [jnp.asarray(a) for a in program.inputs]

    def outputs(*variables: Any) -> list[Any]:
        given = dict(zip(chosen, variables, strict=True))
        return run(program, call, [program.inputs[k] if k in program.fixed else given.get(k, a) for k, a in enumerate(arrays)])

    def gradients(order: int, *variables: Any) -> tuple[list[Any], tuple[Any, ...]]:
        if order == 1:
            values, pullback = jax.vjp(outputs, *variables)
            return values, pullback([_seed(y, program.plain) for y in values])

        def loss(*variables: Any) -> tuple[Any, list[Any]]:
            values, found = gradients(order - 1, *variables)
            return _total(found, program.plain), values

        found, values = jax.grad(loss, argnums=tuple(range(len(chosen))), has_aux=True)(*variables)
        return values, found

    variables = [arrays[k] for k in chosen]
    values, found = gradients(program.order, *variables) if chosen else (outputs(), ())
    return Answer([np.asarray(y) for y in values], [np.asarray(g) for g in found])


def _seed(y: Any, plain: bool) -> Any:
    return jnp.asarray(weights(y.shape, plain), y.dtype) if y.dtype.kind == "f" else np.zeros(y.shape, jax.dtypes.float0)


def _total(gradients: tuple[Any, ...], plain: bool) -> Any:
    return sum(jnp.sum(g * weights(g.shape, plain)) for g in gradients)
