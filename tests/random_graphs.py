"""Random graphs from lists of integers, so that hypothesis can shrink them."""

import numpy as np

import gradc as gc

SHAPES = [(), (1,), (3,), (2, 3), (3, 1), (1, 3), (0, 3), (2, 1, 3), (3, 3)]
UNARY = [np.sin, np.tanh, np.negative, np.abs, gc.relu, np.exp, np.square] if hasattr(gc, "square") else [
    np.sin, np.tanh, np.negative, np.abs, gc.relu, np.exp
]  # fmt: skip
BINARY = [np.add, np.subtract, np.multiply, np.maximum, np.divide]


def _reduce(x, n):
    axes = [None, 0, -1, ()]
    axis = axes[n % len(axes)]
    if x.ndim == 0 and axis not in (None, ()):
        axis = None
    return x.sum(axis=axis, keepdims=bool(n % 2))


def _shape(x, n):
    if n % 4 == 0:
        return x.T
    if n % 4 == 1:
        return x.reshape(-1)
    if n % 4 == 2 and x.ndim and x.shape[0]:
        return x[:: -1 if n % 8 < 4 else 1]
    return gc.broadcast_to(x, (2, *x.shape))


def _join(x, y, n):
    a, b = x.reshape(-1), y.reshape(-1)
    if n % 5 == 3:
        return a[[n % 3, 0, -1, 0]]
    if n % 5 == 4:
        return (gc.at_set if n % 2 else gc.at_add)(a, [-1, n % 3, -1], b[:3])
    return gc.concatenate([a, b, a] if n % 2 else [a, b])


def _select(x, y, n):
    return np.where(x > 0, x, y) if n % 2 else np.where(x > y, y, 0)


def _product(x, y, n):
    a, b = x.reshape(1, -1), y.reshape(-1, 1)
    return a.T @ b.T if n % 2 else b @ a


def _apply(kind, x, y, n):
    if kind == 0:
        return UNARY[n % len(UNARY)](x)
    if kind in (1, 2):
        return BINARY[n % len(BINARY)](x, y)
    if kind == 3:
        return _reduce(x, n)
    if kind == 4:
        return _shape(x, n)
    if kind == 5:
        return _join(x, y, n)
    if kind == 6:
        return _select(x, y, n)
    return _product(x, y, n)


def build(numbers):
    """A graph with placeholders, a few outputs and an update, and feeds for it."""
    numbers = list(numbers) or [0]
    g = gc.Graph("random")
    rng = np.random.default_rng(numbers[0])
    feeds, nodes = {}, []
    for k in range(1 + numbers[0] % 3):
        shape = SHAPES[(numbers[0] // 3 + k) % len(SHAPES)]
        nodes.append(g.placeholder(f"x{k}", shape))
        feeds[f"x{k}"] = np.round(rng.standard_normal(shape), 1)
    for code in numbers[1:]:
        kind, n = code % 8, code // 8
        x, y = nodes[(n // 7) % len(nodes)], nodes[(n // 49) % len(nodes)]
        try:
            node = _apply(kind, x, y, n)
        except gc.GradcError:
            continue
        if all(isinstance(s, int) for s in node.shape) and node.size <= 200:
            nodes.append(node)
    g.output("last", nodes[-1])
    g.output("again", nodes[-1])
    g.output("some", nodes[len(nodes) // 2])
    g.output("next", nodes[0] * 0.5 + nodes[-1].sum() * 0.125)
    loss = nodes[-1].sum() + nodes[len(nodes) // 2].sum()
    g.output("loss", loss)
    return g, feeds
