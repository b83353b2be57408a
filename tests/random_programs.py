"""Random programs with updates, from a stream of integers that hypothesis can shrink: graphs, feeds in every layout, aliases.

Written from the documentation alone: nothing here knows how programs are planned.
"""

import itertools

import numpy as np
from numpy.lib.stride_tricks import as_strided

import gradc as gc
from gradc.ir import Call, Kernel, Op, apply
from gradc.types import TensorType

DTYPES = ["float64", "float32", "int64", "bool", "float64"]
SHAPES = [(4,), (4, 4), (8,), (2, 3), (), (1,), (8, 2), (0, 3), (3, 1)]

broken = {}
"""The numbers of fragile ops that fail now, and what they raise."""
kept = {}
"""The arrays that some ops keep."""


def _fail(number):
    if number in broken:
        raise broken[number]


def _fragile_into(x, out, number):
    _fail(number)
    np.add(x, 1, out)


def _fragile(x, *, number):
    _fail(number)
    return x + np.ones((), x.dtype)


def _half_into(x, out, number):
    """Fails when half of it is written."""
    np.add(x.reshape(-1)[: x.size // 2], 1, out.reshape(-1)[: x.size // 2])
    _fail(number)
    np.add(x, 1, out)


def _kept(x):
    """The same array at every call, while shapes stay the same."""
    found = kept.setdefault((x.shape, x.dtype.str), np.empty_like(x))
    np.copyto(found, x)
    return found


def _written(x):
    result = np.array(x)
    x[...] = 7
    return result


def _same(x, **attrs):
    return x


def _kernel(function, inplace=()):
    return lambda inputs, out, attrs: Kernel((Call(function, "fragile", f"{{0}}, {{out}}, {attrs['number']}"),), inplace)


def _by_blocks(inputs, out, attrs):
    return Kernel((Call(_fragile_into, "fragile", f"{{0}}, {{out}}, {attrs['number']}"),), (), (), True)


FRAGILE = [
    Op("fragile_by_python", infer=_same, evaluate=_fragile),
    Op("fragile_kernel", infer=_same, evaluate=_fragile, kernel=_kernel(_fragile_into)),
    Op("fragile_in_the_middle", infer=_same, evaluate=_fragile, kernel=_kernel(_half_into)),
    Op("fragile_by_blocks", infer=_same, evaluate=_fragile, kernel=_by_blocks, elementwise=True),
]

OPERANDS = {
    "itself": lambda x: x,
    "asarray": np.asarray,
    "view": lambda x: x.view(),
    "reshaped": lambda x: x.reshape(x.shape),
    "broadcast": lambda x: np.broadcast_to(x, x.shape),
    "twice reversed": lambda x: x[::-1][::-1] if x.ndim else x,
    "transposed twice": lambda x: x.T.T,
    "strided": lambda x: as_strided(x, x.shape, x.strides),
    "matrix": lambda x: x.view(np.matrix) if x.ndim == 2 else x,
    "buffer": lambda x: np.frombuffer(memoryview(x), x.dtype).reshape(x.shape) if x.size and x.flags.c_contiguous else x,
    "list": lambda x: np.asarray(x.tolist(), x.dtype).reshape(x.shape),
    "kept elsewhere": _kept,
    "written to": _written,
    "a field of a copy": lambda x: np.stack([x, x])[1],
    "Fortran order": lambda x: x.copy(order="F"),
}
RETURNS_OPERAND = [Op(f"own_{name.replace(' ', '_')}", infer=_same, evaluate=f) for name, f in OPERANDS.items()]
RETURNS_VIEW = [
    Op("own_transpose", infer=lambda x: TensorType(x.shape[::-1], x.dtype), evaluate=lambda x: x.T),
    Op("own_reverse", infer=_same, evaluate=lambda x: x[::-1] if x.ndim else x),
    Op("own_flat", infer=lambda x: TensorType((int(np.prod(x.shape)),), x.dtype), evaluate=lambda x: x.reshape(-1)),
    Op("declared_view", infer=_same, evaluate=lambda x: x[::-1] if x.ndim else x, view=True),
    Op("no_view_at_all", infer=_same, evaluate=lambda x: x + x, view=True),
    Op("elementwise_view", infer=_same, evaluate=lambda x: x.view(), elementwise=True),
]


class Choices:
    """A stream of integers; zeros when it is used up."""

    def __init__(self, numbers):
        self._numbers = iter(numbers)

    def below(self, n):
        return next(self._numbers, 0) % n

    def one(self, options):
        return options[self.below(len(options))]

    def chance(self, percent):
        return self.below(100) >= 100 - percent


class Program:
    """A graph, outputs wanted, updates, and plain values for its placeholders."""

    def __init__(self, choices, own=20, fragile=15):
        self.choices, self.own, self.fragile = choices, own, fragile
        self.graph = gc.Graph("random")
        self.numbers = itertools.count()
        self.nodes, self.values = [], {}
        self.usual = choices.one(SHAPES), choices.one(DTYPES)
        for k in range(1 + choices.below(4)):
            self._placeholder(k)
        for _ in range(choices.below(20)):
            self._grow()
        self._name_results()

    def _placeholder(self, k):
        shape, dtype = self.usual if self.choices.chance(75) else (self.choices.one(SHAPES), self.choices.one(DTYPES))
        dtype = np.dtype(dtype)
        node = self.graph.placeholder(f"p{k}", shape, dtype)
        value = np.random.default_rng(k).normal(size=shape) * 2
        self.values[f"p{k}"] = np.asarray(value if dtype.kind == "f" else np.round(value)).astype(dtype)
        self.nodes.append(node)

    def _grow(self):
        x, y = self._some(), self._some()
        for a, b in ((x, y), (y, y), (x, x)):
            try:
                node = self._step(a, b)
            except gc.GradcError:
                continue
            if all(isinstance(s, int) for s in node.shape) and node.size <= 128:
                self.nodes.append(node)
                return

    def _some(self):
        """A node: one of the latest, or any."""
        return self.choices.one(self.nodes[-3:] if self.choices.chance(60) else self.nodes)

    def _step(self, x, y):
        c = self.choices
        if c.chance(self.own):
            return apply(c.one(RETURNS_OPERAND + RETURNS_VIEW), (x,))
        if c.chance(self.fragile):
            return apply(c.one(FRAGILE), (x,), (("number", next(self.numbers)),)) if x.dtype.kind != "b" else x
        kind = c.below(14)
        if kind >= 12:
            return c.one([np.multiply, np.add])(x, c.one([lambda y: y[-1], lambda y: y[1:2], lambda y: y.reshape(-1)[:1]])(y))
        if kind == 0:
            return c.one([np.tanh, np.negative, np.abs, gc.relu, np.square, np.sign, np.isfinite])(x)
        if kind == 1:
            power = np.multiply if "f" in x.dtype.kind + y.dtype.kind else np.power  # of floats: last bits hang on strides
            return c.one([np.add, np.multiply, power, np.maximum, np.subtract, np.less])(x, y)
        if kind == 2:
            return np.where(x > 0, x, y)
        if kind == 3:
            return c.one([lambda x: x.T, lambda x: x.reshape(-1), lambda x: x[::-1], lambda x: x[1:], lambda x: x[0]])(x)
        if kind == 4:
            return c.one([np.sum, np.max, lambda x: np.sum(x, axis=0), lambda x: np.mean(x, axis=-1, keepdims=True)])(x)
        if kind == 5:
            return x @ y
        if kind == 6:
            return np.sort(x) if x.ndim else np.concatenate([x.reshape(1), y.reshape(-1)])
        if kind == 7:
            return gc.inv(x) if c.below(2) else x * 1.0
        if kind == 8:
            return x[y.astype("int64")] if c.below(2) else np.clip(x, -1, 1)
        if kind == 9:
            return gc.at_set(x, 0, 1) if c.below(2) else np.roll(x, 1)
        if kind == 10:
            return x * c.one([2.0, 0.5, 1, -1]) + c.one([0, 1.5, x])
        return np.where(np.isnan(x + y), 0, x - y)

    def _name_results(self):
        c, graph = self.choices, self.graph
        for k in range(c.below(4)):
            graph.output(f"y{k}", self._some())
        self.outputs = list(graph.outputs)
        self.updates, named = {}, {}
        for name, target in graph.placeholders.items():
            fitting = [n for n in self.nodes if n.type == target.type]
            if not c.chance(70):
                continue
            node = c.one(fitting[-3:])
            if node in named and c.below(2):
                self.updates[name] = named[node]
                continue
            named[node] = self.updates[name] = f"next_{name}"
            graph.output(f"next_{name}", node)


# --- feeds -------------------------------------------------------------------------------------------


def _swapped(a):
    return a.astype(a.dtype.newbyteorder()) if a.dtype.itemsize > 1 else a.copy()


def _misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _every_second(a):
    whole = np.zeros((*a.shape[:-1], a.shape[-1] * 2), a.dtype)
    whole[..., ::2] = a
    return whole[..., ::2]


def _reversed(a):
    return a[::-1].copy()[::-1]


def _rows_of_wider(a):
    whole = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
    whole[..., 1:-2] = a
    return whole[..., 1:-2]


LAYOUTS = {
    "plain": np.copy,
    "a view": lambda a: a.copy()[...],
    "Fortran order": lambda a: a.copy(order="F"),
    "other byte order": _swapped,
    "misaligned": _misaligned,
    "every second": lambda a: _every_second(a) if a.ndim else a.copy(),
    "reversed": lambda a: _reversed(a) if a.ndim else a.copy(),
    "rows of a wider one": lambda a: _rows_of_wider(a) if a.ndim else a.copy(),
    "Fortran order, other byte order": lambda a: _swapped(a).copy(order="F"),
    "a matrix": lambda a: a.copy().view(np.matrix) if a.ndim == 2 else a.copy(),
    "a recarray": lambda a: a.copy().view(np.recarray),
}


def _repeating(a, choices):
    """An array of the shape and dtype of `a` whose entries share memory."""
    whole = np.zeros(4 * a.size + 8, a.dtype)
    strides = [choices.one([0, a.itemsize, 2 * a.itemsize, -a.itemsize, a.itemsize // 2]) for _ in a.shape]
    start = whole[2 * a.size :]
    return as_strided(start, a.shape, strides)


def _aliased(a, choices, others):
    """A view of the memory of another feed, of the type of `a`, where there is one."""
    fitting = [o for o in others if o.dtype == a.dtype and o.size >= a.size and o.flags.c_contiguous]
    if not fitting:
        return None
    other = choices.one(fitting)
    if other.shape == a.shape and choices.below(2):
        return other
    flat = np.asarray(other).reshape(-1)
    start = choices.below(flat.size - a.size + 1)
    return flat[start : start + a.size].reshape(a.shape)


def interleaved(values):
    """Feeds of equal shape and dtype as parts of one array that take turns and do not overlap."""
    groups = {}
    for name, a in values.items():
        groups.setdefault((a.shape, a.dtype), []).append(name)
    feeds = {}
    for (shape, dtype), names in groups.items():
        whole = np.zeros((*shape, len(names)), dtype)
        for k, name in enumerate(names):
            whole[..., k] = values[name]
            feeds[name] = whole[..., k : k + 1].reshape(()) if not shape else whole[..., k]
    return {name: feeds[name] for name in values}


def feeds_of(program):
    """Feeds for the values of a program, in layouts and aliases of all kinds."""
    c, values = program.choices, program.values
    if c.chance(15):
        return interleaved(values)
    feeds = {}
    for name, a in values.items():
        kind = c.below(100)
        if kind >= 92 and a.ndim and a.size:
            feeds[name] = _repeating(a, c)
            continue
        aliased = _aliased(a, c, list(feeds.values())) if kind >= 80 else None
        feeds[name] = aliased if aliased is not None else c.one(list(LAYOUTS.values()))(a)
        if c.chance(3):
            feeds[name].flags.writeable = False
    return feeds


def bytes_of(array):
    """The address of every byte of an array, entry by entry; with repetitions where entries share memory."""
    start = array.__array_interface__["data"][0]
    places = [sum(i * s for i, s in zip(index, array.strides, strict=True)) for index in np.ndindex(array.shape)]
    return [start + place + k for place in places for k in range(array.itemsize)]


def is_clean(written, others):
    """True when each array of `written` has its memory for itself, and may be written to."""
    memory = [bytes_of(a) for a in (*written, *others)]
    for k, array in enumerate(written):
        own = set(memory[k])
        if len(own) < len(memory[k]) or not array.flags.writeable:
            return False
        if any(not own.isdisjoint(places) for j, places in enumerate(memory) if j != k):
            return False
    return True


def outermost(array):
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def clone(array):
    """The same entries with the same strides in memory of its own: NumPy's loops, and so last bits, depend on strides."""
    owner = outermost(array)
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    if not owner.flags.c_contiguous or isinstance(owner, np.memmap) or not array.size:
        return np.array(array, order="K")
    return np.ndarray(array.shape, array.dtype, owner.reshape(-1).view(np.uint8).copy(), offset, array.strides)


def memory_of(arrays):
    """What the memory of arrays holds, all of it."""
    return [outermost(a).tobytes() for a in arrays]
