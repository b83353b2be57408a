"""The intermediate representation: `Op`, `Node`, `Graph`, `Origin`, the registry of ops, and `verify`.

A node is immutable and belongs to no graph; a graph is named placeholders and named outputs, and its
nodes are whatever these need. Serial numbers grow as nodes are made, so sorting by serial is a
topological order, in the order the user wrote. Nothing here recurses.
"""

from __future__ import annotations

import gc
import itertools
import keyword
import math
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from numbers import Number
from operator import attrgetter, is_
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from gradc.errors import (
    ArgumentError,
    DimensionError,
    DTypeError,
    FeedError,
    GradcError,
    GraphError,
    NamingError,
    NodeAttributeError,
    ShapeError,
    TraceError,
    UnsupportedError,
    VerifyError,
    candidates,
    listed,
    show,
    user_line,
)
from gradc.types import NODE_FUNCTIONS, Dim, DType, Shape, Size, TensorType, as_dtype, as_shape, by_expression, key_of, size_of

if TYPE_CHECKING:
    import networkx

    from gradc.runtime import Executable

Array = np.ndarray[Any, Any]
Attrs = tuple[tuple[str, Any], ...]

_serials = itertools.count(1)
_TOLD_OPERANDS = 8


# --- where nodes come from ---------------------------------------------------------------------------


class Role(StrEnum):
    """What a node is for."""

    FORWARD = "forward"
    CONSTANT = "constant"
    ADJOINT = "adjoint"
    PARTIAL = "partial adjoint"
    TANGENT = "tangent"


SUM_SEED = "seed: ones, for the sum of the entries"
"""The rule of the adjoint from which all others come, where that is no scalar's and none was given."""


def _is_same(record: tuple[Any, ...], other: object) -> bool:
    """True when the fields are equal, nodes being the very same: `==` of two nodes would build a third."""
    if not isinstance(other, tuple) or len(other) != len(record):
        return False
    return all(a is b if isinstance(a, Node) or isinstance(b, Node) else a == b for a, b in zip(record, other, strict=True))


class Edge(NamedTuple):
    """One use of a node: it is operand number `operand` of `user`. Equal to the plain tuple."""

    user: Node
    operand: int

    def __eq__(self, other: object) -> bool:
        return _is_same(self, other)

    def __ne__(self, other: object) -> bool:
        return not _is_same(self, other)

    def __hash__(self) -> int:
        return tuple.__hash__(self)


class Origin(NamedTuple):
    """Where a node is from: its role, what it is the derivative of, the rule that made it, the user's line."""

    role: Role
    primal: Node | None = None
    edge: Edge | None = None
    rule: str | None = None
    file: str | None = None
    line: int | None = None

    def __eq__(self, other: object) -> bool:
        return _is_same(self, other)

    def __ne__(self, other: object) -> bool:
        return not _is_same(self, other)

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    @property
    def location(self) -> str:
        """The user's line in the form of tracebacks; an empty string where none is known."""
        return f"{self.file}:{self.line}" if self.file else ""


class _Context(threading.local):
    origin: Origin | None = None


_context = _Context()


@contextmanager
def origin_of_new_nodes(origin: Origin) -> Iterator[None]:
    """Nodes made in this block are from `origin`, not from the user's line."""
    outer, _context.origin = _context.origin, origin
    try:
        yield
    finally:
        _context.origin = outer


def set_origin(origin: Origin | None) -> Origin | None:
    """Like `origin_of_new_nodes` for inner loops: sets the origin of new nodes, returns the one before."""
    outer, _context.origin = _context.origin, origin
    return outer


_MANY_OBJECTS = 20_000


@contextmanager
def paused_collector() -> Iterator[None]:
    """No cyclic garbage collection in this block: it would walk every node made so far, again and again.

    Where the block made many objects they count as old afterwards (frozen and unfrozen, which walks none of them): what was
    built stays, and the collector would visit it once in each of its generations to find that out.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _MANY_OBJECTS and not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def user_origin(role: Role = Role.FORWARD) -> Origin:
    """An origin at the line, outside gradc and NumPy, that is running now."""
    line = user_line()
    return _at_line(role, *line) if line else Origin(role)


@lru_cache(maxsize=4096)
def _at_line(role: Role, file: str, line: int) -> Origin:
    """One origin for all nodes of a line: a loop that builds 100,000 of them keeps one, not 100,000."""
    return Origin(role, None, None, None, file, line)


def as_name(name: object, where: str) -> str:
    """A name that a user gave, as a plain `str`: a subclass may print, compare and hash as it likes.

    Raises:
        NamingError: it is no printable text.
    """
    plain = str.__str__(name) if isinstance(name, str) else ""
    if not plain or not plain.isprintable():
        raise NamingError(f"{where}: a name is printable text, got {_unnamed(name)}")
    return plain


def _unnamed(name: object) -> str:
    """What came instead of a name; of a node, the name to write where it has one."""
    if not isinstance(name, Node):
        return show(name)
    return f"a node, {describe(name)}{f': write {name.name!r}' if name.name else ''}"


# --- ops ---------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """One line of a schedule: `function(arguments)`.

    In `arguments`, `{0}` is the first operand, `{out}` the result, `{s0}` the first scratch buffer;
    `{0:bits}` is the first operand's memory as integers of the same width.
    """

    function: Callable[..., Any]
    name: str
    arguments: str


class Kernel(NamedTuple):
    """How an op is computed into a given buffer without allocating.

    `inplace` lists the operands whose memory may be the result's; `scratch` the types of helper buffers.
    `by_blocks`: the calls that are no ufuncs too may be given a block of all operands and the result at a time.
    """

    calls: tuple[Call, ...]
    inplace: tuple[int, ...] = ()
    scratch: tuple[TensorType, ...] = ()
    by_blocks: bool = False


Rule = Callable[..., "Node"]


def ZERO(*_: Any, **__: Any) -> Node:  # noqa: N802
    """The rule of an operand that the result depends on with derivative zero wherever there is one (floor, sign)."""
    raise GraphError("the derivative is zero: there is nothing to build")


def THROUGH(k: int, g: Node, *_: Any, **__: Any) -> Node:  # noqa: N802
    """The rule of a sum: the adjoint of each term is that of the sum, and its tangent a term of the sum's."""
    return g


KernelRule = Callable[[Sequence[TensorType], TensorType, dict[str, Any]], "Kernel | None"]


@dataclass(frozen=True, eq=False)
class Op:
    """One primitive operation, declared in one place: type rule, evaluation, derivative, samples, traits.

    Attributes:
        name: unique in the registry.
        infer: `infer(*operand_types, **attrs) -> TensorType`.
        evaluate: `evaluate(*arrays, **attrs) -> array`; the meaning of the op.
        vjp: a rule `(g, out, *operands, **attrs) -> Node` per operand, None where an operand never carries a
            gradient; or one rule `(k, g, out, *operands, **attrs)` for any operand `k`; None: no gradient.
        masked_vjp: as vjp, where a mask on values that may be NaN or infinite has zeros in the adjoint: these win over
            whatever they meet; None: vjp itself is as good.
        jvp: likewise, `(t, out, *operands, **attrs)`: the tangent that operand contributes.
        kernel: how to compute it into a buffer; None where only `evaluate` can.
        elementwise: each entry of the result depends on the same entry of the broadcast operands only.
        view: the result is a NumPy view of operand 0 wherever NumPy can make one.
        moves: each entry of the result is an entry of operand 0, as in every view.
        expression: the source of that view, `{0}` the operand, as a function of the attributes.
        linear: in all operands that carry a gradient.
        commutative: operands may be swapped, bit for bit.
        masks: it selects, so entries of the adjoint that it did not select are exactly zero.
        places: operand 0's entries, or sums of them, among zeros.
        even, odd: f(-x) is f(x), or -f(x).
        keeps_sign: f(x) is not below 0 where x is not, and not above 0 where x is not.
        nonnegative: no value is below 0.
        kinks: `kinks(g, out, *operands, **attrs)`: where the rules give a convention, for there is no derivative; for an op that
            is not elementwise, of the adjoint's entries that are not 0. `differentiate(kinks="nan")` asks it.
        reduces: over its attribute `axes`, each slice by itself: where the adjoint is zero, so is the slice's.
        scans: along its attribute `axes` or `axis`, or the last axis, each slice by itself: where all of the adjoint is zero, so
            is the slice's.
        ufunc: the NumPy ufunc it is, if it is one.
        symbolic: its sympy form, as text over a, b, ... (for proofs of elementwise partials).
        saved: what the last operand holds, as text over the others: a value that the forward pass has anyway.
        assuming: where its rules are the exact derivative, as text over a, b, ...; None: wherever there is one.
        raises: it refuses some values of its operands, kernel or not: it runs before anything is updated.
        reads_sign: its value depends on the sign of an operand that is NaN: exact passes then leave the signs of NaNs alone.
        analytic: `evaluate` takes complex operands, and is the analytic continuation there (linear ops are anyway).
        flops: `flops(operand_shapes, shape) -> int`; one per element when None.
    """

    name: str
    infer: Callable[..., TensorType]
    evaluate: Callable[..., Any]
    vjp: tuple[Rule | None, ...] | Rule | None = None
    jvp: tuple[Rule | None, ...] | Rule | None = None
    kernel: KernelRule | None = None
    elementwise: bool = False
    view: bool = False
    moves: bool = False
    expression: Callable[[dict[str, Any]], str] | None = None
    linear: bool = False
    commutative: bool = False
    masks: bool = False
    places: bool = False
    even: bool = False
    odd: bool = False
    keeps_sign: bool = False
    nonnegative: bool = False
    kinks: Callable[..., Node | None] | None = None
    reduces: bool = False
    scans: bool = False
    ufunc: np.ufunc | None = None
    symbolic: str | None = None
    saved: str | None = None
    assuming: str | None = None
    raises: bool = False
    reads_sign: bool = False
    analytic: bool = False
    partials: tuple[Any, ...] | None = None
    masked_vjp: tuple[Rule, ...] | None = None
    flops: Callable[[Sequence[tuple[int, ...]], tuple[int, ...]], int] | None = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, *operands: Any, **attrs: Any) -> Node:
        """The node of this op on `operands`: nodes, arrays or Python numbers (weak, as in NEP 50)."""
        if not operands:
            raise GraphError(f"{self.name}: expected operands, got none")
        try:
            return apply(self, lift(operands, self.name), tuple(sorted(attrs.items())))
        except TypeError as error:
            if isinstance(error, GradcError) or "keyword argument" not in str(error):
                raise
            raise ArgumentError(f"{self.name}: an argument is unknown or missing: got {', '.join(attrs) or 'none'}") from None

    def carries(self, k: int) -> bool:
        """True when operand `k` may carry a gradient, types aside."""
        rules = self.vjp
        if isinstance(rules, tuple):
            return rules[k] is not None
        return True

    def propagates(self, k: int) -> bool:
        """True when operand `k` may carry a gradient other than zero, types aside."""
        return not isinstance(self.vjp, tuple) or (self.vjp[k] is not None and self.vjp[k] is not ZERO)


@dataclass(frozen=True)
class Function:
    """A public function that builds nodes: an op, or a composition of ops.

    `reorders`: its sums are NumPy's in another order, so that values agree to rounding, and not bit for bit. `spellings`:
    functions of the same operands that write it out; they are recognised as this one (see `gradc.matching`).
    """

    name: str
    build: Callable[..., Any]
    numpy: tuple[Any, ...] = ()
    samples: Any = None
    edges: tuple[Any, ...] = ()
    differentiable: bool = True
    requires: str | None = None
    reorders: bool = False
    spellings: tuple[Callable[..., Any], ...] = ()


OPS: dict[str, Op] = {}
FUNCTIONS: dict[str, Function] = {}
NUMPY: dict[Any, Callable[..., Any]] = {}
CORRECTLY_ROUNDED = frozenset({np.add, np.subtract, np.multiply, np.divide})
"""Ufuncs whose bits do not depend on the loop that NumPy picks: a scalar operand gives those of an array of it."""


_version = 0


def registry_version() -> int:
    """A number that grows with every op and function that is registered: what is made of the registry holds as long as it."""
    return _version


def register_op(op: Op) -> Op:
    """Enter `op` into the registry.

    Raises:
        NamingError: an op of that name is there already.
    """
    global _version
    if op.name in OPS:
        raise NamingError(f"an op named {op.name!r} is registered already; choose another name")
    OPS[op.name] = op
    _version += 1
    return op


def register_function(function: Function) -> None:
    """Enter a public function into the registry, and bind the NumPy functions it stands for."""
    if function.name in FUNCTIONS:
        raise NamingError(f"a function named {function.name!r} is registered already; choose another name")
    global _version
    FUNCTIONS[function.name] = function
    NODE_FUNCTIONS.add(function.name)
    _version += 1
    for target in function.numpy:
        NUMPY[target] = function.build


_REMEMBERED = 8192
INFERRED: dict[Any, TensorType] = {}
"""Types that were asked for lately, by op, operand types, and the types and bits of attributes."""


def infer_type(op: Op, types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    """The type of `op` on operands of `types`; remembered, for the next that asks."""
    key = (op, types, key_of(attrs) if attrs else attrs)
    found = INFERRED.get(key)
    if found is None:
        with by_expression():
            found = op.infer(*types, **dict(attrs))
        if len(INFERRED) >= _REMEMBERED:
            INFERRED.clear()
        INFERRED[key] = found
    return found


def apply(op: Op, inputs: tuple[Node, ...], attrs: Attrs = ()) -> Node:
    """The node of `op` on `inputs`, its type inferred.

    Raises:
        GradcError: the operands do not fit; the message names them and the user's line.
    """
    try:
        node_type = infer_type(op, tuple([i.type for i in inputs]), attrs)
    except GradcError as error:
        raise _located(error, op, inputs) from None
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise ArgumentError(f"{op.name}: {', '.join(f'{k}={show(v)}' for k, v in attrs)}: {error}") from None
    return Node(op, inputs, attrs, node_type, _context.origin or user_origin())


def concrete_type(node: Node, operands: tuple[TensorType, ...], attrs: Attrs, dims: Mapping[str, int]) -> TensorType:
    """The type of `node` where its sizes are numbers: what its type rule could not decide by symbols is decided now.

    Raises:
        FeedError: `node` has no value for these sizes (an index beyond the end, the maximum of nothing).
    """
    try:
        return infer_type(node.op, operands, attrs)
    except GradcError as error:
        sizes = ", ".join(f"{name} = {size}" for name, size in dims.items())
        raise FeedError(f"{describe(node)} has no value where {sizes}: {error.message}") from None


def operand_lines(operands: Sequence[Node]) -> str:
    """A line of a message for each operand, or for the first few."""
    lines = [f"\n  operand {k}: {describe(n)}" for k, n in enumerate(operands[:_TOLD_OPERANDS])]
    more = len(operands) - _TOLD_OPERANDS
    return "".join([*lines, f"\n  and {more} operands more"] if more > 0 else lines)


def _located(error: GradcError, op: Op, inputs: tuple[Node, ...]) -> GradcError:
    operands = operand_lines(inputs)
    where = (_context.origin or user_origin()).location
    message = error.message if error.message.startswith(op.name) else f"{op.name}: {error.message}"
    return type(error)(f"{message}{operands}\n  at {where}")


# --- constants ---------------------------------------------------------------------------------------


class Const:
    """An array as an attribute: read-only, hashed and compared by dtype, shape and bytes."""

    __slots__ = ("_key", "_uniform", "array")

    def __init__(self, array: Array) -> None:
        self.array = array
        self._key: tuple[Any, ...] | None = None
        self._uniform: bool | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two constants the same constant."""
        if self._key is None:
            self._key = (self.array.dtype.str, self.array.shape, self.array.tobytes())
        return self._key

    @property
    def uniform(self) -> bool:
        """True when it has entries, and all are the same to the bit."""
        if self._uniform is None:
            entries = np.ascontiguousarray(self.array).reshape(-1)
            same = entries.size > 0 and entries[:1].tobytes() == entries[-1:].tobytes()
            width = entries.dtype.itemsize
            self._uniform = same and bool((entries.view(np.uint8).reshape(-1, width) == entries[:1].view(np.uint8)).all())
        return self._uniform

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        if self.array.size <= 4:
            return np.array2string(self.array, separator=", ", threshold=8).replace("\n", "")
        return f"<{self.array.dtype}{list(self.array.shape)}>"


def _infer_placeholder(*, name: str, shape: Shape, dtype: DType) -> TensorType:
    return TensorType(shape, dtype)


def _infer_constant(*, value: Const) -> TensorType:
    return TensorType(value.array.shape, value.array.dtype)


def _no_evaluation(**attrs: Any) -> NoReturn:
    raise GraphError("a placeholder has no value of its own: feed it")


PLACEHOLDER = register_op(Op("placeholder", _infer_placeholder, _no_evaluation, vjp=(), jvp=()))
CONSTANT = register_op(Op("constant", _infer_constant, lambda *, value: value.array, vjp=(), jvp=()))


def constant(value: Any, dtype: Any = None) -> Node:
    """A node with a fixed value, copied: later changes to `value` do not show.

    Raises:
        DTypeError: gradc has no such dtype (complex, object, strings, ...).
    """
    if isinstance(value, Node):
        raise ArgumentError("constant: the value is a node already; for a gradient-free copy use stop_gradient")
    return _constant(_as_array(value, dtype, "constant"))


def has_masked_entries(value: Any) -> bool:
    """True for a masked array that masks something. NumPy imports numpy.ma when first asked for it: plain arrays do not ask."""
    return isinstance(value, np.ndarray) and type(value) is not np.ndarray and bool(np.ma.is_masked(value))


def _as_array(value: Any, dtype: Any, where: str) -> Array:
    """A copy of `value` as an array of numbers."""
    if has_masked_entries(value):
        raise ArgumentError(f"{where}: masked entries would count as data; give what stands for them: value.filled(0), np.where")
    try:
        with np.errstate(over="ignore", invalid="raise"):
            array = np.array(value, dtype=dtype, order="C")
    except FloatingPointError:
        raise DTypeError(
            f"{where}: {show(value)} holds what is no {np.dtype(dtype)}: NaN, infinity, or beyond its bounds"
        ) from None
    except OverflowError as error:
        raise DTypeError(f"{where}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{where}: {show(value)} is not an array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{where}: {show(value)} is {array.dtype}, and gradc computes in bool, integers and float16/32/64")
    return array.astype(as_dtype(array.dtype, where), copy=False)


def as_array(value: Any, where: str) -> Array:
    """`value` as an array of numbers, with the dtype that NumPy gives it.

    Raises:
        ArgumentError, DTypeError: it is none.
    """
    return _as_array(value, None, where)


def _constant(array: Array) -> Node:
    array.flags.writeable = False
    return Node(CONSTANT, (), (("value", Const(array)),), TensorType(array.shape, array.dtype), _constant_origin())


def _constant_origin() -> Origin:
    outer = _context.origin
    return outer._replace(role=Role.CONSTANT) if outer else user_origin(Role.CONSTANT)


_WEAK = (bool, int, float)


def lift(operands: Sequence[Any], where: str) -> tuple[Node, ...]:
    """`operands` as nodes: arrays become constants; Python numbers and dimensions take the dtype NEP 50 gives them."""
    for operand in operands:
        if operand.__class__ is not Node:
            break
    else:
        return tuple(operands)
    strong: list[Any] = []
    for o in operands:
        if isinstance(o, Node):
            strong.append(o.dtype)
        elif o.__class__ not in _WEAK and o.__class__ is not Dim:
            strong.append(o.dtype if hasattr(o, "dtype") else _as_array(o, None, where).dtype)
    return tuple(o if isinstance(o, Node) else _lifted(o, strong, where) for o in operands)


def _lifted(value: Any, strong: list[Any], where: str) -> Node:
    if value.__class__ is Dim:
        return _fn("dimension")(value, _weak_dtype(1, strong, where) or "int64")
    dtype = _weak_dtype(value, strong, where)
    if value.__class__ is not float or dtype is None:
        return _constant(_as_array(value, dtype, where))
    attrs, node_type = _weak_float(value, math.copysign(1.0, value), dtype)
    return Node(CONSTANT, (), attrs, node_type, _constant_origin())


@lru_cache(maxsize=1024)
def _weak_float(value: float, sign: float, dtype: DType) -> tuple[Attrs, TensorType]:
    """What the nodes of a number share: a loop that builds 100,000 of them keeps one array. `sign` tells 0.0 from -0.0."""
    with np.errstate(over="ignore"):  # beyond the largest it is infinite, as in NumPy
        array = np.array(value, dtype)
    array.flags.writeable = False
    return (("value", Const(array)),), TensorType((), dtype)


@lru_cache(maxsize=1024)
def _weak_result(kind: Any, *strong: DType) -> DType:
    """The dtype of a Python number of `kind` beside operands of dtypes `strong` (NEP 50): its value does not matter."""
    return np.result_type(*strong, kind())


def _weak_dtype(value: Any, strong: list[Any], where: str) -> Any:
    if value.__class__ not in _WEAK or not strong:
        return None
    kind: Any = value.__class__
    dtype: DType = _weak_result(kind, *strong)
    if dtype.kind in "iu" and isinstance(value, int):
        info = np.iinfo(dtype)
        if not info.min <= value <= info.max:
            raise DTypeError(f"{where}: the Python integer {show(value)} is out of bounds for {dtype}; cast the node first")
    return dtype


# --- nodes -------------------------------------------------------------------------------------------


def _fn(name: str) -> Callable[..., Node]:
    return FUNCTIONS[name].build


def _method(name: str) -> Callable[..., Node]:
    """The method of nodes that is the registered function `name`."""

    def method(self: Node, *args: Any, **kwargs: Any) -> Node:
        if name not in FUNCTIONS:
            raise UnsupportedError(f".{name}() of a node: gradc has no such function\n  at {user_origin().location}")
        return _fn(name)(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"Node.{name}"
    method.__doc__ = f"`ndarray.{name}`: see `gradc.{name}`."
    return method


_VALUES = "a node has no value while the graph is built; take values from gradc.evaluate or an executable"
_CAST = "write node.astype(dtype)"
_INSTEAD: dict[str, str] = {
    **dict.fromkeys(("backward", "grad"), "the gradient is a graph: dg = gradc.differentiate(graph, wrt=node); dg.grad[node]"),
    "requires_grad": "name the variables when you differentiate: gradc.differentiate(graph, wrt=[node])",
    **dict.fromkeys(("detach", "data"), "write gc.stop_gradient(node)"),
    **dict.fromkeys(("item", "tolist", "numpy", "cpu", "eval"), _VALUES),
    **dict.fromkeys(("to", "float", "double", "half", "long", "int", "bool"), _CAST),
    "view": "write node.reshape(shape) for other axes, node.astype(dtype) for another dtype",
    **dict.fromkeys(("permute", "t"), "write node.transpose(axes), or node.T"),
    **dict.fromkeys(("unsqueeze", "expand"), "write np.expand_dims(node, axis) or np.broadcast_to(node, shape)"),
    **dict.fromkeys(("dim", "rank"), "write node.ndim"),
    "get_shape": "write node.shape",
    **dict.fromkeys(("clone", "contiguous"), "a node is immutable: use it as it is"),
    **dict.fromkeys(("flat", "flatiter"), "write node.ravel()"),
    **dict.fromkeys(("real", "imag"), "gradc computes in real numbers: the real part is the node itself, the imaginary part 0"),
    "itemsize": "write node.dtype.itemsize",
    "nbytes": "write node.size * node.dtype.itemsize",
    "norm": "write np.linalg.norm(node)",
    "at": "write gc.at_set(node, index, value) or gc.at_add(node, index, value), which change a copy",
    **dict.fromkeys(
        ("fill", "put", "itemset", "setfield", "resize", "partition"),
        "nodes are immutable: build another node, with np.where, gc.at_set",
    ),
}
"""What to write instead of attributes of arrays and of tensors of other libraries."""


def _comparison(name: str, node: Node, other: object) -> Any:
    """`node == other` or `!=`: a node, beside nodes, arrays, numbers and sequences.

    Beside a text or None what NumPy says of every entry; any other object is asked itself.
    """
    if other is None or isinstance(other, (str, bytes)):
        return np.bool(name == "not_equal")
    if isinstance(other, (Node, Dim, Number, np.generic, Sequence)) or hasattr(other, "__array__"):
        try:
            return _fn(name)(node, other)
        except ShapeError as error:
            raise ShapeError(
                f"{error.message}\n  == is elementwise: a is b for whether two nodes are the same node, "
                "any(a is b for b in nodes) for a in nodes and its index"
            ) from None
    return NotImplemented


class Node:
    """One value of a graph, before it has one: an op on other nodes.

    Operators, indexing, NumPy's functions and NumPy's method names on nodes build nodes, `==` and `!=` too: whether two
    nodes are the same node, `is` says. In dictionaries and sets a node is itself. Immutable.
    """

    __slots__ = ("__weakref__", "attrs", "inputs", "op", "origin", "serial", "type")

    op: Op
    inputs: tuple[Node, ...]
    attrs: Attrs
    type: TensorType
    origin: Origin
    serial: int

    def __init__(self, op: Op, inputs: tuple[Node, ...], attrs: Attrs, type: TensorType, origin: Origin) -> None:
        _set_op(self, op)
        _set_inputs(self, inputs)
        _set_attrs(self, attrs)
        _set_type(self, type)
        _set_origin(self, origin)
        _set_serial(self, next(_serials))

    def __setattr__(self, name: str, value: object) -> None:
        raise GraphError(f"a node is immutable: cannot set {name!r}; build another node instead")

    def __delattr__(self, name: str) -> None:
        raise GraphError(f"a node is immutable: cannot delete {name!r}")

    # what it is

    @property
    def shape(self) -> Shape:
        """A tuple of integers and symbolic dimensions."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """The NumPy dtype."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.type.shape)

    @property
    def size(self) -> Size:
        """How many elements, an integer or a symbolic dimension."""
        return size_of(self.type.shape)

    @property
    def name(self) -> str | None:
        """A placeholder's name; None for every other node."""
        name: str | None = self.attrs[1][1] if self.op is PLACEHOLDER else None
        return name

    def attr(self, name: str) -> Any:
        """The attribute `name`."""
        return dict(self.attrs)[name]

    def __repr__(self) -> str:
        return f"<{describe(self)}>"

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __reduce__(self) -> NoReturn:
        raise GraphError("a node cannot be pickled by itself: keep the program that builds the graph")

    # comparisons are elementwise; a node is the same node as another by `is`, and hashed so

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        return _comparison("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return _comparison("not_equal", self, other)

    # what a node cannot do: it has no value yet

    def _no_value(self, asked: str, instead: str, kind: Callable[[str], GradcError] = TraceError) -> NoReturn:
        raise kind(
            f"{asked}: a node has no value while the graph is built: {describe(self)}\n  at {user_origin().location}\n  {instead}"
        )

    def __bool__(self) -> bool:
        self._no_value(
            "the truth of a node (if, while, and, or, not)",
            "use np.where(condition, a, b); & | ~ for and, or, not: (0 < x) & (x < 1) for 0 < x < 1; np.maximum for max and\n  "
            "np.sort for sorted; a is b for whether two nodes are the same node, any(a is b for b in nodes) for a in nodes",
        )

    def __float__(self) -> float:
        self._no_value(
            "float(node)",
            "keep it a node: np.sin for math.sin, node.astype for float(node), np.stack for an array filled with nodes;\n  "
            "or take the value from evaluate(...)",
        )

    def __int__(self) -> int:
        self._no_value("int(node)", "keep it a node: node.astype('int64')")

    def __complex__(self) -> complex:
        self._no_value("complex(node)", "gradc computes in real numbers")

    def __index__(self) -> int:
        self._no_value(
            "a node as an index or a count",
            "use a Python integer; to index by values write x[node] or np.take(x, node)",
            DimensionError,
        )

    def __trunc__(self) -> int:
        self._no_value("math.trunc(node)", "keep it a node: np.trunc")

    def __array__(self, dtype: object = None, copy: object = None) -> Array:
        array: Array = NUMPY["__array__"](self)
        return array

    def __setitem__(self, index: object, value: object) -> NoReturn:
        self._no_value(
            "node[...] = value, or += and the like",
            "nodes are immutable: x = gc.at_set(x, index, value), gc.at_add(x, index, value), or np.where",
        )

    def __contains__(self, value: object) -> bool:
        self._no_value("value in node", "use (node == value).any()")

    def __format__(self, spec: str) -> str:
        return self._no_value("a node in a number format", "take its value from evaluate(...)") if spec else str(self)

    def __len__(self) -> int:
        first = self._first_dimension("len(node)")
        return first

    def __iter__(self) -> Iterator[Node]:
        count = self._first_dimension("iteration over a node")
        return (self[i] for i in range(count))

    def _first_dimension(self, asked: str) -> int:
        if not self.shape:
            raise ShapeError(f"{asked}: the node has no axes: {describe(self)}")
        first = self.shape[0]
        if not isinstance(first, int):
            raise TraceError(
                f"{asked}: the first dimension is symbolic ({first}): {describe(self)}\n  "
                f"at {user_origin().location}\n  use whole-array operations, or give the dimension a number"
            )
        return first

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return NUMPY["__array_ufunc__"](ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return NUMPY["__array_function__"](func, args, kwargs)

    # operators

    def __add__(self, other: Any) -> Node:
        return _fn("add")(self, other)

    def __radd__(self, other: Any) -> Node:
        return _fn("add")(other, self)

    def __sub__(self, other: Any) -> Node:
        return _fn("subtract")(self, other)

    def __rsub__(self, other: Any) -> Node:
        return _fn("subtract")(other, self)

    def __mul__(self, other: Any) -> Node:
        return _fn("multiply")(self, other)

    def __rmul__(self, other: Any) -> Node:
        return _fn("multiply")(other, self)

    def __truediv__(self, other: Any) -> Node:
        return _fn("divide")(self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return _fn("divide")(other, self)

    def __floordiv__(self, other: Any) -> Node:
        return _fn("floor_divide")(self, other)

    def __rfloordiv__(self, other: Any) -> Node:
        return _fn("floor_divide")(other, self)

    def __mod__(self, other: Any) -> Node:
        return _fn("remainder")(self, other)

    def __rmod__(self, other: Any) -> Node:
        return _fn("remainder")(other, self)

    def __pow__(self, other: Any, modulo: Any = None) -> Node:
        if modulo is not None:
            raise UnsupportedError("pow with a modulus, of a node: write (x**n) % m")
        return _fn("power")(self, other)

    def __rpow__(self, other: Any) -> Node:
        return _fn("power")(other, self)

    def __matmul__(self, other: Any) -> Node:
        return _fn("matmul")(self, other)

    def __rmatmul__(self, other: Any) -> Node:
        return _fn("matmul")(other, self)

    def __neg__(self) -> Node:
        return _fn("negative")(self)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return _fn("abs")(self)

    def __round__(self, decimals: int | None = None) -> Node:
        return _fn("round")(self, decimals or 0)

    def __invert__(self) -> Node:
        return _fn("invert")(self)

    def __and__(self, other: Any) -> Node:
        return _fn("bitwise_and")(self, other)

    def __rand__(self, other: Any) -> Node:
        return _fn("bitwise_and")(other, self)

    def __or__(self, other: Any) -> Node:
        return _fn("bitwise_or")(self, other)

    def __ror__(self, other: Any) -> Node:
        return _fn("bitwise_or")(other, self)

    def __xor__(self, other: Any) -> Node:
        return _fn("bitwise_xor")(self, other)

    def __rxor__(self, other: Any) -> Node:
        return _fn("bitwise_xor")(other, self)

    def __lshift__(self, other: Any) -> Node:
        return _fn("left_shift")(self, other)

    def __rlshift__(self, other: Any) -> Node:
        return _fn("left_shift")(other, self)

    def __rshift__(self, other: Any) -> Node:
        return _fn("right_shift")(self, other)

    def __rrshift__(self, other: Any) -> Node:
        return _fn("right_shift")(other, self)

    def __divmod__(self, other: Any) -> tuple[Node, Node]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Node, Node]:
        return other // self, other % self

    def __lt__(self, other: Any) -> Node:
        return _fn("less")(self, other)

    def __le__(self, other: Any) -> Node:
        return _fn("less_equal")(self, other)

    def __gt__(self, other: Any) -> Node:
        return _fn("greater")(self, other)

    def __ge__(self, other: Any) -> Node:
        return _fn("greater_equal")(self, other)

    def __getitem__(self, index: Any) -> Node:
        return _fn("getitem")(self, index)

    # NumPy's methods

    @property
    def T(self) -> Node:  # noqa: N802
        """The transpose, with all axes reversed."""
        return _fn("transpose")(self)

    @property
    def mT(self) -> Node:  # noqa: N802
        """The matrix transpose, with the last two axes swapped."""
        return _fn("matrix_transpose")(self)

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> Node:
        """`np.reshape`; the shape as one tuple or as several arguments, -1 for what is left."""
        return _fn("reshape")(self, shape[0] if len(shape) == 1 else shape, order)

    def transpose(self, *axes: Any) -> Node:
        """`np.transpose`; the axes as one tuple or as several arguments."""
        return _fn("transpose")(self, axes[0] if len(axes) == 1 else (axes or None))

    def astype(self, dtype: Any, *, copy: Any = True) -> Node:
        """`ndarray.astype`."""
        return _fn("astype")(self, dtype)

    def compress(self, condition: Any, axis: Any = None) -> Node:
        """`ndarray.compress`: see `gradc.compress`, where the condition comes first."""
        return _fn("compress")(condition, self, axis)

    def sort(self, *args: Any, **kwargs: Any) -> NoReturn:
        """`ndarray.sort` sorts in place, which a node cannot: write `np.sort(node)`."""
        self._no_value(".sort(), which sorts in place", "nodes are immutable: write y = np.sort(x) and go on with y")

    def copy(self, order: object = None) -> Node:
        """`ndarray.copy`: the node itself, as nothing can change it."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        """What arrays or other libraries' tensors have, and nodes have not: an error that says what to write instead.

        Other names fail as for any object.
        """
        known = name in _INSTEAD or hasattr(np.ndarray, name) or name in FUNCTIONS
        if name.startswith("__") or not known:
            raise AttributeError(f"a node has no attribute {name!r}", name=name, obj=self)
        instead = _INSTEAD.get(name) or (f"write gc.{name}(node)" if name in FUNCTIONS else _VALUES)
        raise NodeAttributeError(
            f".{name} of a node: gradc has no such thing: {describe(self)}\n  at {user_origin().location}\n  {instead}"
        )

    all = _method("all")
    any = _method("any")
    argmax = _method("argmax")
    argmin = _method("argmin")
    argsort = _method("argsort")
    choose = _method("choose")
    clip = _method("clip")
    cumprod = _method("cumprod")
    cumsum = _method("cumsum")
    diagonal = _method("diagonal")
    dot = _method("dot")
    flatten = _method("flatten")
    max = _method("max")
    mean = _method("mean")
    min = _method("min")
    prod = _method("prod")
    ptp = _method("ptp")
    ravel = _method("ravel")
    repeat = _method("repeat")
    round = _method("round")

    squeeze = _method("squeeze")
    std = _method("std")
    sum = _method("sum")
    swapaxes = _method("swapaxes")
    take = _method("take")
    trace = _method("trace")
    var = _method("var")


def _setter(slot: str) -> Callable[[Node, Any], None]:
    """Writes a slot of a new node past `__setattr__`, which refuses."""
    setter: Callable[[Node, Any], None] = Node.__dict__[slot].__set__
    return setter


_set_op, _set_inputs, _set_attrs = _setter("op"), _setter("inputs"), _setter("attrs")
_set_type, _set_origin, _set_serial = _setter("type"), _setter("origin"), _setter("serial")


def rebuilt(node: Node, inputs: tuple[Node, ...]) -> Node:
    """`node` on other inputs of the same types; the same node where they are the same."""
    if same_nodes(inputs, node.inputs):
        return node
    return Node(node.op, inputs, node.attrs, node.type, node.origin)


def describe(node: Node) -> str:
    """A node in one line: `exp float64[3] (model.py:12)`."""
    label = f"{node.op.name} {node.name!r}" if node.name else node.op.name
    where = f" ({node.origin.location})" if node.origin.location else ""
    return f"{label} {node.type}{where}"


def call_text(node: Node, numbers: Mapping[Node, int]) -> str:
    """`multiply(v1, v2)`, `sum(v3, axes=(0,))`, or a placeholder's or constant's name or value."""
    if node.op is PLACEHOLDER:
        return f"placeholder {node.name}"
    if node.op is CONSTANT:
        return f"constant {node.attr('value')!r}"
    arguments = [f"v{numbers[i]}" for i in node.inputs] + [f"{k}={v}" for k, v in node.attrs]
    return f"{node.op.name}({', '.join(arguments)})"


def same_nodes(some: Sequence[Node], others: Sequence[Node]) -> bool:
    """True when both are the very same nodes in the same order: `==` would build comparisons."""
    return len(some) == len(others) and all(map(is_, some, others))


def walk(roots: Iterable[Node]) -> list[Node]:
    """Every node that `roots` need, `roots` too, in topological order: the order in which they were made."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for i in stack.pop().inputs:
            if i not in seen:
                seen.add(i)
                stack.append(i)
    return sorted(seen, key=attrgetter("serial"))


# --- graphs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Derivative:
    """What one call of `differentiate` found: which node is the derivative of which.

    `root` is the node that was differentiated, `seed` its adjoint, `before` the derivative that the graph had already. `grad`
    holds the adjoints by the names of the variables, `named` the same by the names of the outputs; `forms` are the nodes that
    were differentiated as one function, `inner` those that only such a form reads.
    """

    mode: str
    of: str
    root: Node
    wrt: Mapping[str, Node]
    grad: Mapping[str, Node] = field(default_factory=dict)
    named: Mapping[str, Node] = field(default_factory=dict)
    adjoints: Mapping[Node, Node] = field(default_factory=dict)
    partials: Mapping[Node, Sequence[tuple[Edge, Node]]] = field(default_factory=dict)
    tangents: Mapping[Node, Node] = field(default_factory=dict)
    seed: Node | None = None
    before: Derivative | None = None
    forms: Mapping[Node, str] = field(default_factory=dict)
    inner: frozenset[Node] = frozenset()

    @property
    def chain(self) -> tuple[Derivative, ...]:
        """This derivative and all before it, the oldest first."""
        found: list[Derivative] = []
        derivative: Derivative | None = self
        while derivative is not None:
            found.append(derivative)
            derivative = derivative.before
        return tuple(reversed(found))

    @cached_property
    def gradients(self) -> Gradients:
        """The adjoints of the variables, of all derivatives in reverse mode."""
        return Gradients([d for d in self.chain if d.mode == "reverse"])


class Gradients(Mapping[Any, "Node"]):
    """The adjoints that were asked for, of all derivatives in reverse mode.

    By the variable's node or name, where the newest derivative with respect to it counts, or by the output's name, which is
    never ambiguous. Iterates over the names of the variables.
    """

    def __init__(self, derivatives: Sequence[Derivative]) -> None:
        """`derivatives`: in reverse mode, the oldest first."""
        self._names = {name: node for d in derivatives for name, node in d.grad.items()}
        self._by_node = {node: d.grad[name] for d in derivatives for name, node in d.wrt.items()}
        self._by_output = {name: node for d in reversed(derivatives) for name, node in d.named.items()}

    def __getitem__(self, wrt: Any) -> Node:
        found = self._find(wrt)
        if found is None:
            asked = describe(wrt) if isinstance(wrt, Node) else show(wrt)
            raise NamingError(f"grad: {asked} is not a variable of these derivatives; {candidates(wrt, self._names)}")
        return found

    def _find(self, wrt: Any) -> Node | None:
        if isinstance(wrt, Node):
            return self._by_node.get(wrt)
        return self._names.get(wrt, self._by_output.get(wrt)) if isinstance(wrt, str) else None

    def __contains__(self, wrt: object) -> bool:
        return self._find(wrt) is not None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Graph:
    """Named placeholders and named outputs; everything between them is derived.

    Args:
        name: printable text, used in pictures and listings only.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = as_name(name, "Graph")
        self._placeholders: dict[str, Node] = {}
        self._outputs: dict[str, Node] = {}
        self._nodes: tuple[Node, ...] | None = None
        self._checked: set[Node] = set()
        self._derivative: Derivative | None = None
        self._view: networkx.MultiDiGraph[Any] | None = None
        self._numbers: dict[Node, int] | None = None
        self._influential: dict[Derivative, set[Node]] = {}
        self._placeholders_now: Mapping[str, Node] | None = None
        self._outputs_now: Mapping[str, Node] | None = None
        self._lowered = False

    # building

    def placeholder(self, name: str, shape: Any = (), dtype: Any = "float64") -> Node:
        """A new input of the graph.

        Args:
            name: a Python identifier in NFKC form, not a keyword, new in this graph.
            shape: integers, and strings for symbolic dimensions; an integer or string alone is a 1-d shape.
            dtype: bool, an integer type, float16, float32 or float64.

        Raises:
            NamingError, ShapeError, DTypeError: the argument concerned is malformed.
        """
        name = as_name(name, "placeholder")
        _check_placeholder_name(name, self._placeholders)
        where = f"placeholder {name!r}"
        node_type = TensorType(as_shape(shape, where), as_dtype(dtype, where))
        attrs = (("dtype", node_type.dtype), ("name", name), ("shape", node_type.shape))
        node = Node(PLACEHOLDER, (), attrs, node_type, _context.origin or user_origin())
        self._placeholders[name] = node
        self._placeholders_now = None
        self._checked.add(node)
        self._changed()
        return node

    def output(self, name: str, node: Any) -> Any:
        """Name `node` as an output; returns it.

        Raises:
            NamingError: the name is empty, unprintable or taken.
            GraphError: `node` is not a node, or needs a placeholder of another graph.
        """
        if isinstance(name, Node) and isinstance(node, str):
            raise NamingError(f"output: the name comes first: write output({show(node)}, node)")
        name = as_name(name, "output")
        if name in self._outputs:
            raise NamingError(f"output: {name!r} is an output of graph {self.name!r} already; choose another name")
        if not isinstance(node, Node):
            raise GraphError(f"output {name!r}: expected a node, got {type(node).__name__}; wrap values in gradc.constant")
        self._check_reachable(name, node)
        self._outputs[name] = node
        self._outputs_now = None
        self._changed()
        return node

    def _check_reachable(self, name: str, root: Node) -> None:
        if root in self._checked:
            return
        found, stack = {root}, [root]
        while stack:
            node = stack.pop()
            if node.op is PLACEHOLDER:
                raise GraphError(
                    f"output {name!r} needs {describe(node)}, which is no placeholder of graph {self.name!r}; "
                    f"its placeholders are {listed(self._placeholders)}"
                )
            for i in node.inputs:
                if i not in self._checked and i not in found:
                    found.add(i)
                    stack.append(i)
        self._checked |= found

    def _changed(self) -> None:
        self._nodes = None
        self._numbers = None
        self._influential = {}
        self._view = None

    @classmethod
    def of(
        cls,
        name: str,
        placeholders: Mapping[str, Node],
        outputs: Mapping[str, Node],
        nodes: tuple[Node, ...] | None = None,
        derivative: Derivative | None = None,
        lowered: bool = False,
    ) -> Graph:
        """A graph of nodes that exist: what passes return. `nodes` saves the walk where they are known in order.

        `lowered`: nobody differentiates it any more, so that `stop_gradient` means nothing in it.
        """
        graph = cls(name)
        graph._placeholders = dict(placeholders)
        graph._checked = set(graph._placeholders.values())
        graph._outputs = dict(outputs)
        graph._nodes = nodes
        graph._derivative = derivative
        graph._lowered = lowered
        return graph

    def with_outputs(self, outputs: Mapping[str, Node], feeds: Iterable[str] | None = None) -> Graph:
        """The same derivatives and placeholders, or those named in `feeds`, and other outputs."""
        placeholders = self._placeholders if feeds is None else {name: self._placeholders[name] for name in feeds}
        return Graph.of(self.name, placeholders, outputs, derivative=self._derivative, lowered=self._lowered)

    def copy(self) -> Graph:
        """The same nodes in a graph of their own."""
        graph = Graph.of(self.name, self._placeholders, self._outputs, self._nodes, self._derivative, self._lowered)
        graph._checked = set(self._checked)
        return graph

    def __copy__(self) -> Graph:
        return self.copy()

    def __deepcopy__(self, memo: object) -> Graph:
        return self.copy()

    def __reduce__(self) -> NoReturn:
        raise GraphError("a graph cannot be pickled: keep the program that builds it")

    # reading

    @property
    def lowered(self) -> bool:
        """True for what `compile` made of a graph with `stop_gradient`: that is gone, and what is left has other derivatives."""
        return self._lowered

    @property
    def placeholders(self) -> Mapping[str, Node]:
        """The inputs by name, in the order they were made: read-only, as they are now."""
        if self._placeholders_now is None:
            self._placeholders_now = MappingProxyType(dict(self._placeholders))
        return self._placeholders_now

    @property
    def outputs(self) -> Mapping[str, Node]:
        """The outputs by name, in the order they were named: read-only, as they are now."""
        if self._outputs_now is None:
            self._outputs_now = MappingProxyType(dict(self._outputs))
        return self._outputs_now

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The placeholders and all that the outputs need, in topological order, as the user wrote them."""
        if self._nodes is None:
            self._nodes = tuple(walk([*self._placeholders.values(), *self._outputs.values()]))
        return self._nodes

    @property
    def derivative(self) -> Derivative:
        """The newest derivative of this graph.

        Raises:
            GraphError: the graph was not made by `differentiate`.
        """
        if self._derivative is None:
            raise GraphError(f"graph {self.name!r} has no derivative: call gradc.differentiate(graph, wrt=...) first")
        return self._derivative

    @property
    def derivatives(self) -> tuple[Derivative, ...]:
        """Every derivative that led to this graph, the oldest first."""
        return () if self._derivative is None else self._derivative.chain

    @property
    def grad(self) -> Gradients:
        """The adjoint of each `wrt`, by node, by name, or by the output's name; of every derivative, the newest first."""
        found = self.derivative.gradients
        if not found:
            raise GraphError(f"graph {self.name!r} was differentiated in forward mode: its tangents are outputs 'dot_...'")
        return found

    def adjoint(self, node: Node) -> Node:
        """The adjoint of `node`: d `of` / d `node`, of the newest derivative in reverse mode. A constant zero where `of` does not
        depend on it.

        Raises:
            GraphError: the graph has no such node or derivative, or the derivative has not gone through `node`: it is on no
                path from `wrt` to `of`.
            DTypeError: `node` is no floating point.
        """
        derivative = self._newest("reverse", "adjoints")
        return self._derivative_of(node, derivative, derivative.adjoints)

    def tangent(self, node: Node) -> Node:
        """The tangent of `node`, of the newest derivative in forward mode. A constant zero where it depends on no `wrt`.

        Raises:
            GraphError: as for `adjoint`.
        """
        derivative = self._newest("forward", "tangents")
        return self._derivative_of(node, derivative, derivative.tangents)

    def _newest(self, mode: str, what: str) -> Derivative:
        for derivative in reversed(self.derivative.chain):
            if derivative.mode == mode:
                return derivative
        raise GraphError(f"graph {self.name!r} has no {what}: no derivative of it is in {mode} mode")

    def _derivative_of(self, node: Node, derivative: Derivative, found: Mapping[Node, Node]) -> Node:
        if isinstance(node, Node) and node in found:
            return found[node]
        self.number(node)
        if not node.type.is_float:
            raise DTypeError(f"{describe(node)} has no derivative: only floating point has")
        if node in derivative.inner:
            raise GraphError(_inside_of_a_form(node, derivative))
        if derivative not in self._influential:
            self._influential[derivative] = _influential(self, derivative)
        if node in self._influential[derivative]:
            raise GraphError(
                f"the derivative of {derivative.of!r} with respect to {listed(derivative.wrt)} does not go through "
                f"{describe(node)}; differentiate with respect to it"
            )
        with origin_of_new_nodes(Origin(Role.CONSTANT, primal=node)):
            return _fn("zeros_like")(node)

    def partial_adjoints(self, node: Node) -> dict[Edge, Node]:
        """The partial adjoints that sum to the adjoint of `node`, by edge `(user, operand)`."""
        self.adjoint(node)
        return dict(self._newest("reverse", "adjoints").partials.get(node, ()))

    def number(self, node: Node) -> int:
        """The place of `node` in `nodes`, from 1: it is shown as v1, v2, ...

        Raises:
            GraphError: the graph has no such node.
        """
        if self._numbers is None:
            self._numbers = {n: k for k, n in enumerate(self.nodes, 1)}
        if not isinstance(node, Node) or node not in self._numbers:
            raise GraphError(f"graph {self.name!r} has no node {describe(node) if isinstance(node, Node) else show(node)}")
        return self._numbers[node]

    # going on

    def __call__(self, *feeds: Any, **named: Any) -> NoReturn:
        """A graph has no values: an error that says what to write.

        Raises:
            GraphError: always.
        """
        raise GraphError(
            f"graph {self.name!r} is not called: compile it, run = gc.compile(graph), and call run(...); "
            "or gc.evaluate(graph, ...) for the value of every node"
        )

    def compile(self, outputs: Any = None, **options: Any) -> Executable:
        """See `gradc.compile`."""
        from gradc.runtime import compile as compile_graph

        return compile_graph(self, outputs, **options)

    def to_networkx(self) -> networkx.MultiDiGraph[Any]:
        """The graph as a networkx `MultiDiGraph` of serial numbers, nodes as data `node`: an edge per use, keyed by operand."""
        from gradc.analysis import to_networkx

        return to_networkx(self)

    def to_dot(self, **options: Any) -> str:
        """The graph in DOT: see `gradc.show.dot.to_dot`."""
        from gradc.show.dot import to_dot

        return to_dot(self, **options)

    def to_text(self) -> str:
        """One line a node: see `gradc.show.text.to_text`."""
        from gradc.show.text import to_text

        return to_text(self)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self._placeholders)} placeholders, {len(self._outputs)} outputs>"


def _inside_of_a_form(node: Node, derivative: Derivative) -> str:
    root = next((root for root in derivative.forms if node in set(walk([root]))), derivative.root)
    return (
        f"{describe(node)} has no derivative of its own: it is a part of {describe(root)}, which was differentiated as one "
        f"function ({derivative.forms.get(root, 'a form')})\n  name it in wrt=, or pass forms=False to differentiate op by op"
    )


def _influential(graph: Graph, derivative: Derivative) -> set[Node]:
    """The nodes whose derivatives may be other than zero: `of` varies with them, or in forward mode they vary with `wrt`."""
    if derivative.mode == "reverse":
        found, stack = {derivative.root}, [derivative.root]
        while stack:
            node = stack.pop()
            for k, i in enumerate(node.inputs):
                if i not in found and i.type.is_float and node.op.propagates(k):
                    found.add(i)
                    stack.append(i)
        return found
    found = set(derivative.wrt.values())
    for node in graph.nodes:
        if node.type.is_float and any(i in found and node.op.propagates(k) for k, i in enumerate(node.inputs)):
            found.add(node)
    return found


def _check_placeholder_name(name: str, taken: Mapping[str, Node]) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise NamingError(f"placeholder: a name is a Python identifier and no keyword (it is fed by keyword), got {name!r}")
    if unicodedata.normalize("NFKC", name) != name:
        raise NamingError(
            f"placeholder: {name!r} is not in NFKC form, in which Python reads identifiers; "
            f"write {unicodedata.normalize('NFKC', name)!r}"
        )
    if name in taken:
        raise NamingError(f"placeholder: {name!r} is a placeholder already ({describe(taken[name])}); choose another name")


def verify(graph: Graph) -> Graph:
    """The IR's type check: every node's type re-inferred, operands before users, no free placeholder.

    Raises:
        VerifyError: naming the node.
        ArgumentError: `graph` is none.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"verify: expected a graph, got {show(graph)}")
    known: set[Node] = set()
    placeholders = set(graph.placeholders.values())
    for node in graph.nodes:
        for operand in node.inputs:
            if operand not in known:
                raise VerifyError(f"{describe(node)} uses {describe(operand)}, which does not come before it")
        if node.op is PLACEHOLDER and node not in placeholders:
            raise VerifyError(f"{describe(node)} is no placeholder of graph {graph.name!r}")
        with by_expression():
            inferred = node.op.infer(*[i.type for i in node.inputs], **dict(node.attrs))
        if inferred != node.type:
            raise VerifyError(f"{describe(node)} should have type {inferred}")
        known.add(node)
    for name, node in graph.placeholders.items():
        if node.name != name:
            raise VerifyError(f"placeholder {name!r} is the node {describe(node)}")
    for name, node in graph.outputs.items():
        if node not in known:
            raise VerifyError(f"output {name!r} is no node of the graph")
    return graph
