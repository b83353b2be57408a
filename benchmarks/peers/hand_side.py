"""Hand-written NumPy: gradients derived on paper, buffers made once, no allocation in a call.

This is the reference for the numbers, and the bar for the time: what a careful person would write.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers import Builder, Side
from benchmarks.workloads import EPSILON, L2, LEARNING_RATE, Array, Data, Workload, weight_names

BLOCK = 8192


def training_side(step: Callable[[], None], loss: Array, data: Data) -> Side:
    """A side over a step that writes the loss into a 0-d array and the weights in place."""
    names = weight_names(data)
    return Side(step, lambda: {"loss": loss, **{name: data[name] for name in names}})


def softmax_cross_entropy(z: Array, y: Array, loss: Array) -> Callable[[], None]:
    """A closure that turns logits `z` into d_loss/d_z, in place, and writes the mean loss."""
    column = np.empty((len(z), 1), z.dtype)
    e = np.empty_like(z)
    inverse = np.float32(1 / len(z))

    def run() -> None:
        np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        np.subtract(z, column, out=z)
        np.exp(z, out=e)
        np.add.reduce(e, axis=1, keepdims=True, out=column)
        np.divide(e, column, out=e)
        np.log(column, out=column)
        np.subtract(z, column, out=z)
        np.multiply(z, y, out=z)
        loss[()] = -np.add.reduce(z, axis=None) * inverse
        np.subtract(e, y, out=e)
        np.multiply(e, inverse, out=z)

    return run


def mnist(workload: Workload, data: Data) -> Side:
    """The 784-hidden-10 network without biases, written out call by call."""
    x, y, w1, w2 = (data[name] for name in ("x", "y", "w1", "w2"))
    batch, hidden = len(x), w1.shape[1]
    a, da = np.empty((2, batch, hidden), np.float32)
    z, e = np.empty((2, *y.shape), np.float32)
    column = np.empty((batch, 1), np.float32)
    mask = np.empty((batch, hidden), bool)
    g1, g2 = np.empty_like(w1), np.empty_like(w2)
    xt, at, w2t = x.T, a.T, w2.T
    rate, inverse = np.float32(LEARNING_RATE), np.float32(1 / batch)
    loss = np.empty((), np.float32)

    def step() -> None:
        np.matmul(x, w1, out=a)
        np.greater(a, 0, out=mask)
        np.maximum(a, 0, out=a)
        np.matmul(a, w2, out=z)
        np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        np.subtract(z, column, out=z)
        np.exp(z, out=e)
        np.add.reduce(e, axis=1, keepdims=True, out=column)
        np.divide(e, column, out=e)
        np.log(column, out=column)
        np.subtract(z, column, out=z)
        np.multiply(z, y, out=z)
        loss[()] = -np.add.reduce(z, axis=None) * inverse
        np.subtract(e, y, out=e)
        np.multiply(e, inverse, out=e)
        np.matmul(at, e, out=g2)
        np.matmul(e, w2t, out=da)
        np.multiply(da, mask, out=da)
        np.matmul(xt, da, out=g1)
        np.multiply(g1, rate, out=g1)
        np.subtract(w1, g1, out=w1)
        np.multiply(g2, rate, out=g2)
        np.subtract(w2, g2, out=w2)

    return training_side(step, loss, data)


def mlp(workload: Workload, data: Data) -> Side:
    """Any number of dense layers with biases."""
    layers = range(1, workload["layers"] + 1)
    w = [data[f"w{layer}"] for layer in layers]
    b = [data[f"b{layer}"] for layer in layers]
    h = [data["x"], *(np.empty((workload["batch"], len(bias)), np.float32) for bias in b)]
    d = [np.empty_like(value) for value in h]
    mask = [np.empty(value.shape, bool) for value in h]
    gw, gb = [np.empty_like(v) for v in w], [np.empty_like(v) for v in b]
    rate, loss, last = np.float32(LEARNING_RATE), np.empty((), np.float32), len(w) - 1
    head = softmax_cross_entropy(h[-1], data["y"], loss)
    d[-1] = h[-1]

    def update(value: Array, gradient: Array) -> None:
        np.multiply(gradient, rate, out=gradient)
        np.subtract(value, gradient, out=value)

    def step() -> None:
        for i in range(last + 1):
            np.matmul(h[i], w[i], out=h[i + 1])
            np.add(h[i + 1], b[i], out=h[i + 1])
            if i < last:
                np.greater(h[i + 1], 0, out=mask[i + 1])
                np.maximum(h[i + 1], 0, out=h[i + 1])
        head()
        for i in range(last, -1, -1):
            np.matmul(h[i].T, d[i + 1], out=gw[i])
            np.add.reduce(d[i + 1], axis=0, out=gb[i])
            if i:
                np.matmul(d[i + 1], w[i].T, out=d[i])
                np.multiply(d[i], mask[i], out=d[i])
            update(w[i], gw[i])
            update(b[i], gb[i])

    return training_side(step, loss, data)


def layernorm(workload: Workload, data: Data) -> Side:
    """Residual layers with layer norm; the norm's adjoint is the usual three-term formula."""
    layers = range(1, workload["layers"] + 1)
    w, g, b = ([data[f"{kind}{layer}"] for layer in layers] for kind in "wgb")
    w_out, shape, count = data["w_out"], data["x"].shape, len(w)
    h = [data["x"], *(np.empty(shape, np.float32) for _ in layers)]
    z = [np.empty(shape, np.float32) for _ in layers]
    mask = [np.empty(shape, bool) for _ in layers]
    inverse = [np.empty((shape[0], 1), np.float32) for _ in layers]
    column = np.empty((shape[0], 1), np.float32)
    logits, t, dh = np.empty_like(data["y"]), np.empty(shape, np.float32), np.empty(shape, np.float32)
    gw, gv, g_out = np.empty_like(w[0]), np.empty_like(b[0]), np.empty_like(w_out)
    rate, width = np.float32(LEARNING_RATE), np.float32(1 / shape[1])
    epsilon, loss = np.float32(EPSILON), np.empty((), np.float32)
    head = softmax_cross_entropy(logits, data["y"], loss)

    def update(value: Array, gradient: Array) -> None:
        np.multiply(gradient, rate, out=gradient)
        np.subtract(value, gradient, out=value)

    def row_mean(value: Array, out: Array) -> None:
        np.add.reduce(value, axis=1, keepdims=True, out=out)
        np.multiply(out, width, out=out)

    def forward(i: int) -> None:
        np.matmul(h[i], w[i], out=z[i])
        row_mean(z[i], column)
        np.subtract(z[i], column, out=z[i])
        np.multiply(z[i], z[i], out=t)
        row_mean(t, inverse[i])
        np.add(inverse[i], epsilon, out=inverse[i])
        np.sqrt(inverse[i], out=inverse[i])
        np.reciprocal(inverse[i], out=inverse[i])
        np.multiply(z[i], inverse[i], out=z[i])
        np.multiply(z[i], g[i], out=t)
        np.add(t, b[i], out=t)
        np.greater(t, 0, out=mask[i])
        np.maximum(t, 0, out=t)
        np.add(h[i], t, out=h[i + 1])

    def backward(i: int) -> None:
        np.multiply(dh, mask[i], out=t)
        np.add.reduce(t, axis=0, out=gv)
        update(b[i], gv)
        np.multiply(t, z[i], out=h[i + 1])
        np.add.reduce(h[i + 1], axis=0, out=gv)
        np.multiply(t, g[i], out=t)
        update(g[i], gv)
        row_mean(t, column)
        np.subtract(t, column, out=h[i + 1])
        np.multiply(t, z[i], out=t)
        row_mean(t, column)
        np.multiply(z[i], column, out=z[i])
        np.subtract(h[i + 1], z[i], out=t)
        np.multiply(t, inverse[i], out=t)
        np.matmul(h[i].T, t, out=gw)
        if i:
            np.matmul(t, w[i].T, out=z[i])
            np.add(dh, z[i], out=dh)
        update(w[i], gw)

    def step() -> None:
        for i in range(count):
            forward(i)
        np.matmul(h[-1], w_out, out=logits)
        head()
        np.matmul(h[-1].T, logits, out=g_out)
        np.matmul(logits, w_out.T, out=dh)
        update(w_out, g_out)
        for i in range(count - 1, -1, -1):
            backward(i)

    return training_side(step, loss, data)


def logistic(workload: Workload, data: Data) -> Side:
    """Logistic regression; log(1 + exp z) = max(z, 0) + log1p(exp -|z|)."""
    x, y, w, b = (data[name] for name in "xywb")
    z, e, s = np.empty((3, len(y)), np.float32)
    gw, gb, xt = np.empty_like(w), np.empty_like(b), x.T
    rate, inverse, l2 = np.float32(LEARNING_RATE), np.float32(1 / len(y)), np.float32(L2)
    decay, loss = np.empty_like(w), np.empty((), np.float32)

    def step() -> None:
        np.matmul(x, w, out=z)
        np.add(z, b, out=z)
        np.absolute(z, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=s)
        np.maximum(z, 0, out=e)
        np.add(s, e, out=s)
        np.negative(z, out=e)
        np.exp(e, out=e)
        np.add(e, 1, out=e)
        np.reciprocal(e, out=e)
        total = np.add.reduce(s) - np.dot(y, z)
        loss[()] = total * inverse + l2 / 2 * np.dot(w, w)
        np.subtract(e, y, out=e)
        np.multiply(e, inverse, out=e)
        np.matmul(xt, e, out=gw)
        np.add.reduce(e, keepdims=True, out=gb)
        np.multiply(w, l2, out=decay)
        np.add(gw, decay, out=gw)
        np.multiply(gw, rate, out=gw)
        np.subtract(w, gw, out=w)
        np.multiply(gb, rate, out=gb)
        np.subtract(b, gb, out=b)

    return training_side(step, loss, data)


def elementwise(workload: Workload, data: Data) -> Side:
    """Whole arrays at a time; every subexpression once."""
    x = data["x"]
    gradient = np.empty_like(x)
    run = elementwise_kernel(x)
    total = np.empty((), x.dtype)

    def call() -> None:
        total[()] = run(x, gradient)

    return Side(call, lambda: {"value": total, "gradient": gradient})


def elementwise_blocked(workload: Workload, data: Data) -> Side:
    """The same calls over blocks that stay in the cache."""
    x = data["x"]
    gradient = np.empty_like(x)
    run = elementwise_kernel(x[:BLOCK])
    blocks = [(x[i : i + BLOCK], gradient[i : i + BLOCK]) for i in range(0, len(x), BLOCK)]
    total = np.empty((), x.dtype)

    def call() -> None:
        total[()] = sum(run(*block) for block in blocks)

    return Side(call, lambda: {"value": total, "gradient": gradient})


def elementwise_kernel(like: Array) -> Callable[[Array, Array], Array]:
    """(x, gradient) -> value, in buffers as long as `like` or shorter.

    With t = tanh x, e = exp(-x^2/2), q = x^2 + 1, h = log(q)/2 and s = 1/(1 + exp -x), the value is
    sum(t e + h s) and the gradient is e (1 - t (t + x)) + s (x/q + h (1 - s)).
    """
    buffers = np.empty((6, len(like)), like.dtype)

    def run(x: Array, gradient: Array) -> Array:
        t, e, q, h, s, u = buffers[:, : len(x)]
        np.tanh(x, out=t)
        np.multiply(x, x, out=q)
        np.multiply(q, -0.5, out=e)
        np.exp(e, out=e)
        np.add(q, 1, out=q)
        np.log(q, out=h)
        np.multiply(h, 0.5, out=h)
        np.negative(x, out=s)
        np.exp(s, out=s)
        np.add(s, 1, out=s)
        np.reciprocal(s, out=s)
        np.divide(x, q, out=q)
        np.multiply(t, e, out=u)
        np.add(t, x, out=gradient)
        np.multiply(u, gradient, out=gradient)
        np.subtract(e, gradient, out=gradient)
        np.multiply(h, s, out=h)
        np.add(u, h, out=u)
        np.multiply(q, s, out=q)
        np.add(gradient, q, out=gradient)
        np.subtract(1, s, out=s)
        np.multiply(h, s, out=h)
        np.add(gradient, h, out=gradient)
        return np.add.reduce(u)

    return run


def rosenbrock(workload: Workload, data: Data) -> Side:
    """Ten numbers: all of it is the cost of calling NumPy."""
    x = data["x"]
    gradient, value = np.zeros_like(x), np.empty(())
    t, d, u = np.empty((3, len(x) - 1))
    tail, head = gradient[1:], gradient[:-1]

    def run(x: Array) -> float:
        a, b = x[:-1], x[1:]
        np.multiply(a, a, out=t)
        np.subtract(b, t, out=d)
        np.subtract(1, a, out=u)
        total = 100 * np.dot(d, d) + np.dot(u, u)
        np.multiply(d, 200, out=tail)
        np.multiply(d, -400, out=d)
        np.multiply(d, a, out=d)
        np.multiply(u, 2, out=u)
        np.subtract(d, u, out=d)
        gradient[0] = 0
        np.add(head, d, out=head)
        return total

    def call() -> None:
        value[()] = run(x)

    return Side(call, lambda: {"value": value, "gradient": gradient})


def chain(workload: Workload, data: Data) -> Side:
    """The forward sweep keeps y and sin y; the reverse sweep is (bar x, bar y) by hand."""
    x = data["x"]
    rounds = workload["ops"] // 3
    y, s = np.empty((2, rounds + 1, len(x)))
    dx, dy, t = np.empty((3, len(x)))

    def call() -> None:
        y[0] = x
        for i in range(rounds):
            np.sin(y[i], out=s[i])
            np.multiply(y[i], 0.5, out=t)
            np.multiply(s[i], x, out=y[i + 1])
            np.add(y[i + 1], t, out=y[i + 1])
        dx[:], dy[:] = 0, 1
        for i in range(rounds - 1, -1, -1):
            np.multiply(dy, s[i], out=t)
            np.add(dx, t, out=dx)
            np.cos(y[i], out=t)
            np.multiply(t, x, out=t)
            np.add(t, 0.5, out=t)
            np.multiply(dy, t, out=dy)
        np.add(dx, dy, out=dx)

    return Side(call, lambda: {"gradient": dx})


HAND: dict[str, Builder] = {
    "mnist": mnist,
    "mlp": mlp,
    "layernorm": layernorm,
    "logistic": logistic,
    "elementwise": elementwise,
    "rosenbrock": rosenbrock,
    "chain": chain,
}
BUILDERS: dict[str, dict[str, Builder]] = {"hand": HAND, "hand-blocked": {"elementwise": elementwise_blocked}}
