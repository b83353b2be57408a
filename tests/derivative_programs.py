"""Random programs to differentiate, each a text that means the same on gradc's nodes and on the jets of `jets`.

Written from the documentation alone. A statement may have a `meaning`: what the function is that it spells, smooth where that is
smooth; the oracle takes it, unless a variable lies between what the form reads and its root.
"""

from __future__ import annotations

import random
import re
from decimal import Decimal
from typing import NamedTuple

import jets
import numpy as np

SHAPES = [(), (2,), (3,), (2, 2), (2, 3), (3, 1), (1, 2), (1,)]
SMOOTH = [
    "np.sin({0})", "np.cos({0})", "np.tanh({0})", "np.exp({0})", "np.arctan({0})", "np.expm1({0})", "gc.sigmoid({0})",
    "gc.softplus({0})", "{0}**2", "{0}**3", "-{0}", "{0} * 0.5", "{0} + 1.5", "2.0 - {0}", "{0} * {0}",
    "np.sinh({0} * 0.125)", "np.logaddexp({0}, -{0}) - 0.5",
    "np.log1p({0}**2)", "np.sqrt({0}**2 + 1.0)", "1.0 / ({0}**2 + 1.0)", "np.square({0})", "gc.ndtr({0})", "gc.log_sigmoid({0})",
]  # fmt: skip
KINKED = [
    "np.abs({0})", "gc.relu({0})", "np.maximum({0}, 0.5)", "np.minimum({0}, 0.0)", "np.clip({0}, -1.0, 1.0)",
    "np.sign({0}) * {0}", "np.floor({0}) + {0}", "np.maximum({0}, 0.0)",
]  # fmt: skip
BROKEN = ["np.log({0})", "np.sqrt({0})", "1.0 / {0}", "{0}**-2", "np.log1p({0})", "np.exp(np.log({0}))", "{0}**1.5"]
MASKED = [
    "np.where({0} > 0, np.sqrt({0}), 0.0)", "np.where({0} > 0, np.log({0}), {0})", "np.where({0} >= 1.0, {0}**1.5, 0.0)",
    "np.where({0} > 0.0, 1.0 / {0}, 0.0)", "np.where({0} > 0, {0}, 0.5 * {0})",
    "np.where({0} < 2.0, {0} * {0}, np.exp({0} * 0.125))",
]  # fmt: skip
STOPPED = [
    "{0} + gc.stop_gradient(np.floor({0}) - {0})", "{0} + gc.stop_gradient(np.sign({0}) - {0})", "{0} * gc.stop_gradient({0})",
    "gc.stop_gradient(np.exp({0} * 0.25)) * {0}", "np.tanh({0}) + gc.stop_gradient(np.sin({0}))", "gc.stop_gradient({0})",
    "{0} - gc.stop_gradient({0})", "{0} / gc.stop_gradient(np.abs({0}) + 1.0)",
]  # fmt: skip
BINARY = [
    "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / ({1}**2 + 1.0)", "np.maximum({0}, {1})", "np.minimum({0}, {1})",
    "np.where({0} > {1}, {0}, {1} * 0.5)", "np.logaddexp({0}, {1})", "np.hypot({0}, {1})", "{0} * gc.stop_gradient({1})",
    "np.where({1} > 0, {0}, 0.0)", "{0} + gc.stop_gradient({1} - {0})", "{0} / {1}",
]  # fmt: skip


class Statement(NamedTuple):
    name: str
    text: str
    reads: tuple[str, ...]
    meaning: str = ""
    of: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()


class Program:
    """Inputs, statements, the result's name, and how it is differentiated."""

    def __init__(self, dtype="float64"):
        self.dtype, self.inputs, self.statements, self.shapes = dtype, {}, [], {}
        self.result, self.wrt, self.named = "", [], []
        self.modes, self.seed, self.forms, self.passes, self.first = ("reverse", "reverse"), "", True, "DEFAULT", "differentiate"

    def text(self, x):
        """The program as one can paste it; `x`: values of the inputs."""
        lines = ["import math", "import numpy as np", "import gradc as gc", 'g = gc.Graph("fuzz")']
        lines += [f'{n} = g.placeholder("{n}", {s}, "{self.dtype}")' for n, s in self.inputs.items()]
        lines += [f"{s.name} = {s.text}" + (f"  # means {s.meaning}" if s.meaning else "") for s in self.needed()]
        lines += [f'g.output("{n}", {n})' for n in dict.fromkeys([self.result, *self.named, *self.inner()])]
        lines += [f"# {self.first} first, passes={self.passes}, modes={self.modes}"]
        lines += [f"feeds = {{{', '.join(f'{n!r}: np.array({v.tolist()}, {self.dtype!r})' for n, v in x.items())}}}"]
        seed = f", seed={self.seed}" if self.seed else ""
        lines += [f'dg = g.differentiate({self.wrt}, of="{self.result}", mode="{self.modes[0]}"{seed}, forms={self.forms})']
        lines += ["t = dg.evaluate(feeds)", "print({w: t[n] for w, n in dg.grad.items()})"]
        return "\n".join(lines)

    def inner(self):
        return [w for w in self.wrt if w not in self.inputs]

    def needed(self):
        """The statements that the result, and what is named, needs."""
        wanted = {self.result, *self.named, *self.inner()}
        found = []
        for s in reversed(self.statements):
            if s.name in wanted or s.name in self.seed.split():
                found.append(s)
                wanted.update(s.reads)
        return found[::-1]

    def as_meant(self, op_by_op=False):
        """The statements that the oracle computes."""
        inner = set(self.inner())
        wanted, found = {self.result, *inner, *self.seed.split()}, []
        for s in reversed(self.statements):
            if s.name in wanted:
                plain = op_by_op or not s.meaning or not self.forms or not inner.isdisjoint(s.inside)
                found.append((s.name, s.text if plain else s.meaning))
                wanted.update(s.reads if plain else s.of)
        return found[::-1]


class Maker:
    """Random programs from a stream of random numbers."""

    def __init__(self, seed):
        self.c = random.Random(seed)
        self.p = Program(self.c.choice(["float64", "float64", "float32"]))
        for k in range(self.c.randint(1, 3)):
            self.p.inputs[f"x{k}"] = self.p.shapes[f"x{k}"] = self.c.choice(SHAPES)
        self.names = list(self.p.inputs)

    def add(self, text, reads, shape, meaning="", of=(), inside=()):
        name = f"v{len(self.p.statements)}"
        self.p.statements.append(Statement(name, text, tuple(reads), meaning, tuple(of), tuple(inside)))
        self.p.shapes[name] = shape
        self.names.append(name)
        return name

    def some(self):
        return self.c.choice(self.names[-4:] if self.c.random() < 0.6 else self.names)

    def make(self):
        for _ in range(self.c.randint(1, 9)):
            self.grow()
        p = self.p
        if not p.statements:
            self.unary(SMOOTH, self.some())
        candidates = [n for n in self.names if n not in p.inputs]
        p.result = candidates[-1]
        if p.shapes[p.result] and self.c.random() < 0.4:
            p.result = self.add(
                f"({p.result} * {p.result}).sum()" if self.c.random() < 0.3 else f"{p.result}.sum()", [p.result], ()
            )
        self.ask()
        return p

    def ask(self):
        p, c = self.p, self.c
        before = self.reached()
        inputs = [n for n in p.inputs if n in before] or list(p.inputs)
        inner = [n for n in before if n not in p.inputs]
        p.wrt = c.sample(inputs, c.randint(1, len(inputs)))
        if inner and c.random() < 0.4:
            p.wrt += c.sample(inner, min(len(inner), c.randint(1, 3)))
            if c.random() < 0.2:
                p.wrt = [w for w in p.wrt if w not in p.inputs]
            c.shuffle(p.wrt)
        p.named = c.sample(inner, min(len(inner), c.randint(0, 2)))
        p.modes = c.choice(
            [("reverse", "reverse")] * 3 + [("forward", "reverse"), ("reverse", "forward"), ("forward", "forward")]
        )
        if p.modes[0] == "reverse" and p.shapes[p.result] and c.random() < 0.5:
            fitting = [n for n in self.names if p.shapes[n] == p.shapes[p.result] and n != p.result]
            p.seed = c.choice(["True", *fitting])
        p.forms = c.random() < 0.9
        p.passes = c.choice(["NONE", "EXACT", "DEFAULT", "DEFAULT", "random"])
        p.first = "optimise" if not p.inner() and not p.seed and c.random() < 0.3 else "differentiate"

    def reached(self):
        wanted = {self.p.result}
        for s in reversed(self.p.statements):
            if s.name in wanted:
                wanted.update(s.reads)
        return [n for n in self.names if n in wanted and n != self.p.result]

    def grow(self):
        kind = self.c.random()
        x = self.some()
        if kind < 0.2:
            self.unary(SMOOTH, x)
        elif kind < 0.26:
            self.unary(KINKED, x)
        elif kind < 0.28:
            self.unary(BROKEN, x)
        elif kind < 0.33:
            self.unary(MASKED, x)
        elif kind < 0.41:
            self.unary(STOPPED, x)
        elif kind < 0.55:
            self.binary(x)
        elif kind < 0.68:
            self.reshaped(x)
        elif kind < 0.71 and self.p.statements:
            s = self.c.choice(self.p.statements)
            self.add(*s[1:3], self.p.shapes[s.name], *s[3:])
        elif kind < 0.74:
            for _ in range(self.c.randint(2, 4)):
                x = self.unary(["np.sin({0})", "np.tanh({0})", "{0} * 0.5"], x)
        else:
            self.c.choice(FORMS)(self, x, self.p.shapes[x])

    def unary(self, texts, x):
        return self.add(self.c.choice(texts).format(x), [x], self.p.shapes[x])

    def partner(self, shape):
        """Something that broadcasts with `shape`, and the shape of both; or None."""
        for _ in range(5):
            y = self.some()
            try:
                return y, np.broadcast_shapes(shape, self.p.shapes[y])
            except ValueError:
                continue
        return None

    def binary(self, x):
        found = self.partner(self.p.shapes[x])
        if found and int(np.prod(found[1])) <= 9:
            self.add(self.c.choice(BINARY).format(x, found[0]), [x, found[0]], found[1])

    def reshaped(self, x):
        """Reductions, views, indices, products."""
        shape = self.p.shapes[x]
        n = len(shape)
        axis = self.c.choice([None, *range(n)]) if n else None
        texts = [f"{x}.{f}({'' if axis is None else axis})" for f in ("sum", "mean", "max", "min", "prod", "std", "var")]
        if self.c.random() < 0.4 or not n:
            self.add(self.c.choice(texts), [x], () if axis is None else tuple(s for k, s in enumerate(shape) if k != axis))
            return
        options = [f"{x}[::-1]", f"{x}[0]", f"{x}[[0, -1, 0]]", f"{x}[..., 0]", f"{x}[None]"]
        options += [f"np.cumsum({x}, 0)", f"np.linalg.norm({x})", *([f"{x}[1:]", f"{x}[-1:]"] if shape[0] > 1 else [])]
        options += [f"{x}.T", f"{x}.reshape(-1)"] if n > 1 else []  # of one axis these are the variable itself
        options += [f"np.concatenate([{x}, {x}[:1]])", f"np.stack([{x}, {x} * 0.5])"]
        options += [f"{x} @ {x}.T"] if n == 2 else [f"{x} @ {x}"] if n == 1 else []
        text = self.c.choice(options)
        found = eval(text, {"np": np, x: np.zeros(shape)}).shape
        if int(np.prod(found)) <= 9 and len(found) < 4:
            self.add(text, [x], found)


# --- functions that people write out ---------------------------------------------------------------------


def written(m, of, shape, meaning, *steps):
    """Statements: each reads `of` and those before it, which are {a}, {b}, ... in the text; the last one means `meaning`."""
    names, fields = [], {}
    for k, (text, step_shape) in enumerate(steps):
        last = k == len(steps) - 1
        full = text.format(**fields)
        reads = [n for n in (*of, *names) if _reads(full, n)]
        name = m.add(full, reads, shape if last else step_shape, *((meaning, of, names) if last else ()))
        names.append(name)
        fields["abcdefgh"[k]] = name
    return name


def _reads(text, name):
    return re.search(rf"\b{name}\b", text) is not None


def _axis(m, shape):
    """Text of axis= and keepdims=, and the shape with it; and the text that keeps the axis, and its shape."""
    axis = m.c.choice([None, *range(-len(shape), 0)]) if shape else None
    kept = tuple(1 if axis is None or k == axis % len(shape) else s for k, s in enumerate(shape))
    gone = () if axis is None else tuple(s for k, s in enumerate(shape) if k != axis % len(shape))
    return (f"axis={axis}", gone), (f"axis={axis}, keepdims=True", kept)


def logsumexp(m, x, shape):
    (plain, gone), (keep, kept) = _axis(m, shape)
    kind = m.c.randrange(4)
    if kind == 0:
        steps = (f"np.exp({x})", shape), (f"{{a}}.sum({plain})", gone), ("np.log({b})", gone)
        return written(m, [x], gone, f"gc.logsumexp({x}, {plain})", *steps)
    if kind == 1:
        steps = (f"{x}.max({keep})", kept), (f"np.exp({x} - {{a}}).sum({keep})", kept), ("np.log({b}) + {a}", kept)
        return written(m, [x], kept, f"gc.logsumexp({x}, {keep})", *steps)
    if kind == 2:
        steps = (f"gc.stop_gradient({x}.max({keep}))", kept), (f"np.log(np.exp({x} - {{a}}).sum({keep})) + {{a}}", kept)
        return written(m, [x], kept, "", *steps)
    return m.add(f"gc.logsumexp({x}, {plain})", [x], gone)


def softmax(m, x, shape):
    if not shape:
        return None
    kind = m.c.randrange(3)
    exp = (f"np.exp({x})", shape) if kind else (f"np.exp({x} - {x}.max(axis=-1, keepdims=True))", shape)
    kept = (*shape[:-1], 1)
    if m.c.random() < 0.5:
        steps = exp, ("{a}.sum(axis=-1, keepdims=True)", kept), ("{a} / {b}", shape)
        return written(m, [x], shape, f"gc.softmax({x})", *steps)
    steps = (
        exp,
        ("{a}.sum(axis=-1, keepdims=True)", kept),
        m.c.choice([("np.log({a} / {b})", shape), (f"{x} - np.log({{b}})", shape)]),
    )
    if kind == 0 and steps[-1][0].startswith(x):
        return None
    return written(m, [x], shape, f"gc.log_softmax({x})", *steps)


def softplus(m, x, shape):
    texts = [
        [f"np.exp({x})", "np.log(1 + {a})"], [f"np.exp({x})", "np.log1p({a})"], [f"np.logaddexp({x}, 0.0)"],
        [f"np.abs({x})", f"np.maximum({x}, 0) + np.log1p(np.exp(-{{a}}))"],
        [f"gc.relu({x})", f"np.log1p(np.exp(-np.abs({x})))", "{a} + {b}"],
    ]  # fmt: skip
    return written(m, [x], shape, f"gc.softplus({x})", *[(t, shape) for t in m.c.choice(texts)])


def sigmoid(m, x, shape):
    texts = [[f"np.exp(-{x})", "1 / (1 + {a})"], [f"np.exp({x})", "{a} / (1 + {a})"], [f"0.5 * (np.tanh(0.5 * {x}) + 1)"]]
    return written(m, [x], shape, f"gc.sigmoid({x})", *[(t, shape) for t in m.c.choice(texts[: 2 + (m.c.random() < 0.3)])])


def log_sigmoid(m, x, shape):
    texts = [
        [f"gc.sigmoid({x})", "np.log({a})"], [f"np.exp(-{x})", "-np.log1p({a})"], [f"np.log(1 / (1 + np.exp(-{x})))"],
        [f"np.minimum({x}, 0)", f"{{a}} - np.log1p(np.exp(-np.abs({x})))"], [f"-gc.softplus(-{x})"],
    ]  # fmt: skip
    return written(m, [x], shape, f"gc.log_sigmoid({x})", *[(t, shape) for t in m.c.choice(texts)])


def logaddexp(m, x, shape):
    found = m.partner(shape)
    if not found or int(np.prod(found[1])) > 9:
        return None
    y, shape = found
    texts = [
        [f"np.maximum({x}, {y})", f"{{a}} + np.log(np.exp({x} - {{a}}) + np.exp({y} - {{a}}))"],
        [f"np.log(np.exp({x}) + np.exp({y}))"],
        [f"np.maximum({x}, {y})", f"{{a}} + np.log1p(np.exp(-np.abs({x} - {y})))"],
    ]  # fmt: skip
    return written(m, [x, y], shape, f"np.logaddexp({x}, {y})", *[(t, shape) for t in m.c.choice(texts)])


def log_cosh(m, x, shape):
    texts = [
        [f"np.abs({x})", "{a} + np.log1p(np.exp(-2 * {a})) - math.log(2)"], [f"np.log(np.cosh({x}))"],
        [f"np.cosh({x})", "np.log({a})"],
    ]  # fmt: skip
    return written(m, [x], shape, f"fn.log_cosh({x})", *[(t, shape) for t in m.c.choice(texts)])


def distance(m, x, shape):
    """The text of a norm, its shape, and what it reads and what its square is."""
    (plain, gone), (keep, kept) = _axis(m, shape)
    how, result = m.c.choice([(plain, gone), (keep, kept)])
    kind = m.c.randrange(4)
    found = m.partner(shape)
    if kind == 0 and found and int(np.prod(found[1])) <= 9:
        y, both = found
        return f"np.hypot({x}, {y})", both, [x, y], f"({x}**2 + {y}**2)"
    if kind == 1:
        return f"np.sqrt(({x}**2).sum({how}))", result, [x], f"fn.sumsq({x}, {how})"
    if kind == 2:
        return m.c.choice([f"np.abs({x})", f"np.sqrt({x}**2)"]), shape, [x], f"({x}**2)"
    if not shape:
        return f"np.abs({x})", shape, [x], f"({x}**2)"
    return f"np.linalg.norm({x}, {how})", result, [x], f"fn.sumsq({x}, {how})"


def squared(m, x, shape):
    if m.c.random() < 0.2:
        (plain, gone), _ = _axis(m, shape)
        return written(
            m, [x], gone, f"{x}.var({plain})", (f"{x}.std({plain})", gone), (m.c.choice(["{a}**2", "{a} * {a}"]), gone)
        )
    r, shape, of, s = distance(m, x, shape)
    text, meaning = m.c.choice(
        [("{a}**2", s), ("{a} * {a}", s), ("np.square({a})", s),
         ("{a}**3", f"fn.cubed({s})"), ("{a}**4", f"({s})**2"), ("0.5 * {a} * {a}", f"0.5 * {s}")]
    )  # fmt: skip
    return written(m, of, shape, meaning, (r, shape), (text, shape))


def gaussian(m, x, shape):
    r, shape, of, s = distance(m, x, shape)
    text, c = m.c.choice([("np.exp(-{a}**2)", -1.0), ("np.exp(-0.5 * {a} * {a})", -0.5), ("np.exp(-np.square({a}) / 2)", -0.5)])
    return written(m, of, shape, f"fn.gaussian({s}, {c})", (r, shape), (text, shape))


def matern(m, x, shape):
    r, shape, of, s = distance(m, x, shape)
    order = m.c.choice([3, 5])
    t = (f"math.sqrt({order}) * {{a}}", shape)
    text = (
        "(1 + {b}) * np.exp(-{b})"
        if order == 3
        else m.c.choice(["(1 + {b} + {b}**2 / 3) * np.exp(-{b})", "(1 + {b} + {b} * {b} / 3) * np.exp(-{b})"])
    )
    return written(m, of, shape, f"fn.matern({order}, {s})", (r, shape), t, (text, shape))


def cross_entropy(m, x, shape):
    found = m.partner(shape)
    if not found or int(np.prod(found[1])) > 9:
        return None
    y, both = found
    texts = [
        [f"np.maximum({x}, 0) - {x} * {y} + np.log1p(np.exp(-np.abs({x})))"],
        [f"np.abs({x})", f"gc.relu({x}) - {x} * {y} + np.log1p(np.exp(-{{a}}))"],
        [f"np.log1p(np.exp({x})) - {y} * {x}"],
    ]  # fmt: skip
    return written(m, [x, y], both, f"fn.bce({x}, {y})", *[(t, shape) for t in m.c.choice(texts)])


def log_of_normal(m, x, shape):
    return written(m, [x], shape, f"gc.log_ndtr({x})", (f"gc.ndtr({x})", shape), ("np.log({a})", shape))


FORMS = [
    logsumexp,
    softmax,
    softplus,
    sigmoid,
    log_sigmoid,
    logaddexp,
    log_cosh,
    squared,
    squared,
    gaussian,
    matern,
    cross_entropy,
]
FORMS += [log_of_normal]


# --- points ----------------------------------------------------------------------------------------------


def point(program, seed, special):
    """Values of the inputs: of no special kind; or zeros, ties, and the very large and small."""
    c = random.Random(seed)
    large = 800.0 if program.dtype == "float64" else 80.0
    pool = [0.0, 0.0, 0.0, 1.0, -1.0, 0.5, 2.0, 1e-20, c.choice([large, -large]), c.gauss(0, 1)]
    pool = c.sample(pool, 3) if special else pool
    draw = (lambda: c.choice(pool)) if special else (lambda: round(c.gauss(0, 1.2) * 4096) / 4096 + 1 / 16384)
    return {n: np.array([draw() for _ in range(int(np.prod(s)))], program.dtype).reshape(s) for n, s in program.inputs.items()}


def directions(program, seed):
    """A number for every entry of every variable and input, and of the seed."""
    c = random.Random(seed)
    draw = lambda shape: np.array(
        [c.choice([-1.5, -0.5, 0.75, 1.0, 2.0]) for _ in range(int(np.prod(shape)))], program.dtype
    ).reshape(shape)
    names = dict.fromkeys([*program.inputs, *program.wrt])
    return {n: draw(program.shapes[n]) for n in names}, draw(program.shapes[program.result])


# --- the oracle ------------------------------------------------------------------------------------------


class Truth(NamedTuple):
    """Derivatives as lists of numbers, None where there is none: the value, its tangent, gradients, slopes of their direction."""

    value: list
    tangent: list
    first: dict
    second: dict
    kinks: int
    origins: int
    recorded: list
    largest: float


def truth(program, x, along, weights, noise=0, decisions=None, op_by_op=False):
    """The derivatives of `program` at `x`, an array of `Decimal`s for each input.

    Raises:
        LeftOut: the point says nothing.
    """
    run = jets.start(program.dtype, noise, decisions)
    names, wrt = {}, list(program.wrt)
    for name in program.inputs:
        names[name] = jets.Array(jets.objects([_input(v) for v in x[name].flat], x[name].shape))
        _vary(names, name, along if name in wrt else None)
    for name, text in program.as_meant(op_by_op):
        names[name] = eval(text, {**jets.NAMES, **names})
        assert names[name].shape == program.shapes[name], (name, text)
        if name in wrt:
            _vary(names, name, along)
    result = names[program.result].jets
    if program.seed in ("", "True"):
        ones = np.ones(result.shape) if not program.seed else weights
        seed = [jets.Jet(Decimal(float(w))) for w in ones.flat]
    else:
        seed = list(names[program.seed].jets.flat)
    values = list(result.flat)
    alive = all(j is not jets.BAD for j in (*values, *seed))
    pairs = list(zip(seed, values, strict=True))
    first = {w: [_sum(s.v * j.g.get((w, k), 0) for s, j in pairs) if alive else None for k in range(along[w].size)] for w in wrt}
    second = {n: [_slope(pairs, (n, k)) if alive else None for k in range(along[n].size)] for n in program.inputs}
    for number in [t for found in (*first.values(), *second.values()) for t in found if t is not None]:
        run.check(number)
    return Truth(
        [j.v for j in values],
        [j.d for j in values] if alive else [None] * len(values),
        first,
        second,
        run.kinks,
        run.origins,
        run.recorded,
        float(run.largest),
    )


def _sum(terms):
    return sum(terms, jets.ZERO)


def _slope(pairs, variable):
    """Of the direction of the gradient: the sum of seeds times tangents, differentiated by a variable."""
    return _sum(s.v * j.h.get(variable, 0) + s.g.get(variable, 0) * j.d for s, j in pairs)


def _input(v):
    return jets.Jet(v, exact=jets.run.fits(v))


def _vary(names, name, along):
    """A variable v is v + δ: one slope more in each entry, and a part of the direction."""
    old = names[name].jets
    found = []
    for k, jet in enumerate(old.flat):
        if jet is not jets.BAD:
            d = jet.d + (Decimal(float(along[name].flat[k])) if along is not None else 0)
            jet = jets.Jet(jet.v, d, {**jet.g, (name, k): jets.ONE}, jet.h, jet.exact)
        found.append(jet)
    names[name] = jets.Array(jets.objects(found, old.shape))
