"""Tensor types: dtypes after NEP 50, shapes of integers and symbolic dimensions, broadcasting.

A shape is a tuple of `int | Dim`. A `Dim` is a name ("batch") or an expression of names ("2*batch + 1").
A bare name never imports sympy; arithmetic on one does, through `dim`.
"""

from __future__ import annotations

import keyword
import operator
import struct
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from gradc import sizes
from gradc.errors import ArgumentError, DimensionError, DTypeError, FeedError, GradcError, ShapeError, asked_within, show

if TYPE_CHECKING:
    import sympy

Size: TypeAlias = "int | Dim"
Shape: TypeAlias = "tuple[Size, ...]"
DType: TypeAlias = "np.dtype[Any]"

_OPERATORS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.floor_divide: operator.floordiv,
}
"""What NumPy's integers compute with a dimension beside them."""


_NAMES = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "//": "floor_divide", "%": "remainder", "**": "power"}
"""The functions that operators stand for."""

_FUNCTIONS = {"absolute": "abs"}
"""gradc's names of ufuncs, where they are others."""


NODE_FUNCTIONS: set[str] = set()
"""The names of the functions that build nodes, of dimensions too; the registry, which is above, fills it."""


class _ByExpression(threading.local):
    on = False


_by_expression = _ByExpression()


@contextmanager
def by_expression() -> Iterator[None]:
    """Dimensions are compared by their expressions in this block, whoever asks: for type rules and passes that users write."""
    outer, _by_expression.on = _by_expression.on, True
    try:
        yield
    finally:
        _by_expression.on = outer


_KINDS = "biuf"
_bits_of_float = struct.Struct("d").pack
_MAX_FLOAT_BYTES = 8
_LARGEST_SIZE = np.iinfo(np.intp).max
_DTYPE_NAMES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint", "float", "complex") for bits in ("", 8, 16, 32, 64, 128)]
    + ["bool", "half", "single", "double", "longdouble", "object", "datetime64", "timedelta64", "bfloat16"]
)
_DTYPE_CODES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])


class Dim:
    """A symbolic dimension, a non-negative integer known when the graph runs. Immutable.

    `==` answers what holds for every size: `n + 1 == 1 + n` is True, `n + 1 == n` False. What holds for some sizes only, as
    `n == 1`, is a `DimensionError` in a program that builds graphs, where False would choose for all sizes; and so is a hash, by
    which no dimension meets the number that it will have. To gradc itself, to type rules and to passes, dimensions are equal when
    their canonical expressions are: what is not known to be equal is refused there, and looked at again when sizes are known.
    """

    __slots__ = ("_expr", "text")

    text: str
    _expr: sympy.Expr | None

    def __init__(self, text: str, expr: sympy.Expr | None = None) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "_expr", expr)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Dim is immutable")

    @property
    def is_name(self) -> bool:
        """True for a bare name, False for an expression."""
        return self._expr is None

    @property
    def expr(self) -> sympy.Expr:
        """The dimension as a sympy expression over non-negative integer symbols."""
        return sizes.symbol(self.text) if self._expr is None else self._expr

    @property
    def names(self) -> frozenset[str]:
        """The names that the value of this dimension depends on."""
        if self._expr is None:
            return frozenset((self.text,))
        return sizes.given_names(sizes.symbols_of(self._expr))

    def __eq__(self, other: object) -> Any:
        return self._equals(other, _by_expression.on or asked_within())

    def _equals(self, other: object, by_expression: bool) -> Any:
        if isinstance(other, Dim) and other.text == self.text:
            return True
        if by_expression:
            return False
        if not isinstance(other, (Dim, str, bool, int, float, np.generic, np.ndarray)):
            return NotImplemented
        return self._is_equal(other)

    def _is_equal(self, other: object) -> bool:
        """What is true of every size.

        Raises:
            DimensionError: there is no such truth.
        """
        if isinstance(other, (bool, np.bool, int, np.integer, Dim)):
            if (self.expr - _expr(other if isinstance(other, Dim) else int(other))).is_zero is False:
                return False
        elif isinstance(other, (float, np.floating)) and not float(other).is_integer():
            return False
        if isinstance(other, str):
            raise DimensionError(
                f"{self} == {show(other)}: a dimension is no text; for its name write str(dimension) == {show(other)}"
            )
        self._compare("==", "equal", other)

    def _compare(self, symbol: str, function: str, other: object) -> NoReturn:
        """Refuse a comparison in favour of the node that it would be."""
        shown = _written(other)
        self._no_number(
            f"{self} {symbol} {shown}", f"for a choice of the graph write np.where(gc.{function}({self}, {shown}), a, b)"
        )

    def __hash__(self) -> int:
        if not (_by_expression.on or asked_within()):
            self._no_number("a dimension as a key", "for a key write str(dimension)")
        return hash(("Dim", self.text))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (self.text, self._expr, [] if self._expr is None else sizes.definitions(self._expr)))

    def __repr__(self) -> str:
        return self.text

    # arithmetic with integers and other dimensions; with a node it is a node (see `lift`); with the rest, refused

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """`np.int64(2) * n`, `np.divide(node, n)`: as the operator is."""
        if any(not isinstance(i, Dim) and type(getattr(i, "__array_ufunc__", None)) is MethodType for i in inputs):
            return NotImplemented
        operands = [i[()] if isinstance(i, np.ndarray) and not i.ndim else i for i in inputs]
        plain = method == "__call__" and not any(v is not None for v in kwargs.values())
        if plain and ufunc in (np.equal, np.not_equal):
            (other,) = [i for i in operands if i is not self] or [self]
            return self._equals(other, _by_expression.on or asked_within()) is (ufunc is np.equal)
        if not plain or ufunc not in _OPERATORS or not all(map(_is_size, operands)):
            self._compute(f"np.{ufunc.__name__} of a dimension", _FUNCTIONS.get(ufunc.__name__, ufunc.__name__), *operands)
        return _OPERATORS[ufunc](*[i if isinstance(i, Dim) else int(i) for i in operands])

    def __add__(self, other: Size) -> Size:
        return dim(self.expr + _expr(other)) if _is_size(other) else self._refuse("+", other)

    def __sub__(self, other: Size) -> Size:
        return dim(sizes.difference(self.expr, _expr(other))) if _is_size(other) else self._refuse("-", other)

    def __rsub__(self, other: Size) -> Size:
        return dim(_expr(other) - self.expr) if _is_size(other) else self._refuse("-", other, True)

    def __mul__(self, other: Size) -> Size:
        return dim(self.expr * _expr(other)) if _is_size(other) else self._refuse("*", other)

    def __floordiv__(self, other: int) -> Size:
        if not _is_size(other) or isinstance(other, Dim) or other <= 0:
            return self._refuse("//", other)
        from sympy import floor

        return dim(_each(self.expr, lambda e: floor(e / int(other))))

    def __truediv__(self, other: object) -> Size:
        return self._refuse("/", other)

    def __rtruediv__(self, other: object) -> Size:
        return self._refuse("/", other, True)

    def __radd__(self, other: Size) -> Size:
        return self + other if _is_size(other) else self._refuse("+", other, True)

    def __rmul__(self, other: Size) -> Size:
        return self * other if _is_size(other) else self._refuse("*", other, True)

    def _refuse(self, operator: str, other: object, reflected: bool = False) -> Size:
        """A node answers for itself; anything else asks for the number that the dimension has not got."""
        if not isinstance(other, (bool, int, float, complex, np.generic, np.ndarray, Dim)):
            unsupported: Size = NotImplemented
            return unsupported
        operands = (other, self) if reflected else (self, other)
        self._compute(f" {operator} ".join(map(_written, operands)), _NAMES[operator], *operands)

    def _compute(self, asked: str, function: str, *operands: object) -> NoReturn:
        """Refuse arithmetic that makes no dimension in favour of the node that it would be."""
        known = function in NODE_FUNCTIONS
        self._no_number(asked, f"for a node write gc.{function}({', '.join(map(_written, operands))})" if known else "")

    def _no_number(self, asked: str, instead: str = "") -> NoReturn:
        instead = instead or "use it in shapes (gc.zeros((n, 3)), x.reshape(n, 3)), as an operand beside a node (x.sum() / n)"
        raise DimensionError(
            f"{asked}: the symbolic dimension {self} has no number while the graph is built; "
            f"{instead}, or give the dimension a number"
        )

    def __mod__(self, other: object) -> Size:
        return self._refuse("%", other)

    def __pow__(self, other: object) -> Size:
        return self._refuse("**", other)

    def __divmod__(self, other: object) -> Size:
        self._compute(f"divmod({self}, {_written(other)})", "floor_divide", self, other)

    def __rdivmod__(self, other: object) -> Size:
        self._compute(f"divmod({_written(other)}, {self})", "floor_divide", other, self)

    def __rfloordiv__(self, other: object) -> Size:
        return self._refuse("//", other, True)

    def __rmod__(self, other: object) -> Size:
        return self._refuse("%", other, True)

    def __rpow__(self, other: object) -> Size:
        return self._refuse("**", other, True)

    def __neg__(self) -> Size:
        self._compute("- of a dimension", "negative", self)

    def __pos__(self) -> Dim:
        return self

    __abs__ = __pos__

    def __round__(self, decimals: int | None = None) -> Dim:
        return self

    def __format__(self, spec: str) -> str:
        if spec and spec[-1] in "bcdeEfFgGnoxX%":
            self._no_number("a dimension in a number format")
        return format(self.text, spec)

    def __bool__(self) -> bool:
        self._no_number("the truth of a dimension")

    def __index__(self) -> int:
        self._no_number("a dimension as an integer")

    def __int__(self) -> int:
        self._no_number("int(dimension)")

    def __float__(self) -> float:
        self._no_number("float(dimension)")

    def _order(self, symbol: str, function: str, other: object) -> bool:
        if not isinstance(other, (Dim, bool, int, float, np.generic, np.ndarray)):
            unsupported: bool = NotImplemented
            return unsupported
        self._compare(symbol, function, other)

    def __lt__(self, other: object) -> bool:
        return self._order("<", "less", other)

    def __le__(self, other: object) -> bool:
        return self._order("<=", "less_equal", other)

    def __gt__(self, other: object) -> bool:
        return self._order(">", "greater", other)

    def __ge__(self, other: object) -> bool:
        return self._order(">=", "greater_equal", other)


def _written(operand: object) -> str:
    """An operand as one writes it in Python."""
    if isinstance(operand, np.ndarray):
        return f"np.{show(operand)}"
    return str(operand) if isinstance(operand, (Dim, np.bool, np.number)) else show(operand)


def _is_size(value: object) -> bool:
    return isinstance(value, (Dim, int, np.integer)) and not isinstance(value, bool)


def _expr(size: Size) -> sympy.Expr:
    import sympy

    return size.expr if isinstance(size, Dim) else sympy.Integer(int(size))


def dim(expr: sympy.Expr) -> Size:
    """The dimension that a sympy expression stands for: an `int` where it is one. The one door to sympy."""
    expr = sizes.shortened(expr)
    if expr.is_Integer:
        return int(expr)
    text = str(expr)
    return Dim(text, None if expr.is_Symbol and not sizes.is_defined(text) else expr)


def _restored(text: str, expr: sympy.Expr | None, long: Iterable[tuple[str, sympy.Expr]]) -> Dim:
    """A dimension from another process: what it stands on is defined here too."""
    for name, definition in long:
        sizes.define(name, definition)
    return Dim(text, expr)


def as_size(value: object, where: str = "shape") -> Size:
    """A dimension from what a user wrote: an integer, a name, a `Dim`.

    Raises:
        ShapeError: it is negative, or neither an integer nor an identifier.
    """
    if isinstance(value, Dim):
        return value
    if isinstance(value, str):
        _refuse_dtype(value, where)
        if not value.isidentifier():
            raise ShapeError(f"{where}: a symbolic dimension is named by an identifier, got {show(value)}")
        _refuse_unwritable(value, where)
        return Dim(str.__str__(value))
    _refuse_dtype(value, where)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ShapeError(f"{where}: a dimension is an integer or a name, got {show(value)}")
    size = as_integer(value, f"{where}: a dimension")
    if size < 0:
        raise ShapeError(f"{where}: a dimension cannot be negative, got {show(size)}")
    if size > _LARGEST_SIZE:
        raise ShapeError(f"{where}: no array has a dimension of {show(size)}: NumPy counts to {_LARGEST_SIZE}")
    return size


def _refuse_unwritable(name: str, where: str) -> None:
    """A name that no keyword of a call can be, as in `memory(n=3)`: Python reads another, or none.

    Raises:
        ShapeError: it is one.
    """
    if keyword.iskeyword(name):
        raise ShapeError(f"{where}: a symbolic dimension is named by an identifier that is no keyword, got {show(name)}")
    read = unicodedata.normalize("NFKC", name)
    if read != name:
        raise ShapeError(f"{where}: {show(name)} is not in NFKC form, in which Python reads identifiers; write {show(read)}")


def as_shape(value: object, where: str = "shape") -> Shape:
    """A shape from an integer, a name, or an iterable of them."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = value.tolist()
    if isinstance(value, str) and value in _DTYPE_CODES:
        raise ShapeError(
            f"{where}: {value} is a dtype, where a shape belongs: write dtype={value!r}; a dimension of that name is ({value!r},)"
        )
    _refuse_dtype(value, where)
    if isinstance(value, (str, Dim)) or hasattr(value, "__index__"):
        return (as_size(value, where),)
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray, set, frozenset, Mapping)):
        raise ShapeError(f"{where}: expected a tuple of integers and names, got {show(value)}")
    return tuple(as_size(v, where) for v in value)


def _refuse_dtype(value: object, where: str) -> None:
    """A dtype, or its name, is no shape and no dimension, though many a one is an identifier or an object with an index.

    Raises:
        ShapeError: it is one.
    """
    name = _dtype_name(value)
    if name is not None:
        raise ShapeError(f"{where}: {show(value)} is a dtype, where a shape belongs: write dtype={name!r}")


def _dtype_name(value: object) -> str | None:
    """The name of the dtype that `value` can only be; None for what may be a dimension."""
    if isinstance(value, str):
        known = value in _DTYPE_NAMES or (value not in _DTYPE_CODES and value.lstrip("<>=|") in _DTYPE_CODES)
        return str.__str__(value) if known else None
    if not isinstance(value, (type, np.dtype)):
        return None
    dtype: DType = np.dtype(value)
    return dtype.name if dtype.kind != "O" else None


def as_dtype(value: object, where: str = "dtype") -> DType:
    """A dtype that gradc computes in, in native byte order: bool, integers, float16, float32, float64.

    Raises:
        DTypeError: NumPy does not know it, or gradc does not support it.
    """
    try:
        dtype: DType = np.dtype(value)  # type: ignore[call-overload]
    except Exception:  # TypeError, ValueError, UnicodeError, SyntaxError, or what an attribute of the user's raises
        shape = " (a shape comes before the dtype)" if isinstance(value, (int, tuple, list)) else ""
        raise DTypeError(f"{where}: NumPy knows no dtype {show(value)}{shape}; use a name like 'float32' or 'int64'") from None
    if not is_supported(dtype):
        raise DTypeError(f"{where}: gradc computes in bool, integers and float16/32/64, not in {dtype}")
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def is_supported(dtype: DType) -> bool:
    """True for a dtype that gradc computes in."""
    return dtype.kind in _KINDS and dtype.itemsize <= _MAX_FLOAT_BYTES


class TensorType(NamedTuple):
    """What is known of a value before the graph runs: its shape and its dtype."""

    shape: Shape
    dtype: DType

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """True where derivatives exist."""
        return self.dtype.kind == "f"


@lru_cache(maxsize=4096)
def slice_size(size: Size, start: Size | None, stop: Size | None, step: int) -> Size:
    """How many entries `start:stop:step` takes of an axis of `size` entries, clamped as Python clamps.

    Negative integers count from the end; symbolic bounds are non-negative. The result is an exact expression for every
    value of the dimensions: `1:` takes Max(0, n - 1) of n.
    """
    if isinstance(size, int) and not isinstance(start, Dim) and not isinstance(stop, Dim):
        return len(range(*slice(start, stop, step).indices(size)))
    from sympy import Max, Min, floor

    whole = _expr(size)
    near, far = (start, stop) if step > 0 else (stop, start)
    bottom, top = (_expr(0), whole) if step > 0 else (_expr(-1), _difference(whole, _expr(1)))

    def counted(bound: Size) -> tuple[bool, sympy.Expr]:
        """Whether `bound` counts from the start, and where it lies."""
        from_start = isinstance(bound, Dim) or bound >= 0
        return from_start, _expr(bound) if from_start else _difference(whole, -_expr(bound))

    low, high = bottom, top
    if near is not None:
        from_start, low = counted(near)
        low = low if from_start else Max(bottom, low)
    if far is not None:
        from_start, high = counted(far)
        high = Min(high, top) if from_start else high
    stride = abs(step)
    return dim(Max(0, _each(_difference(high, low), lambda e: floor((e + stride - 1) / stride))))


def least_size(a: Size, b: Size) -> Size:
    """The less of two dimensions: the expression Min(a, b) where it depends on their values."""
    if a == b:
        return a
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    from sympy import Min

    return dim(Min(_expr(a), _expr(b)))


def _difference(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """a - b, the maxima and minima outermost, so that equal lengths look equal."""
    from sympy import Max, Min

    if isinstance(b, (Max, Min)):
        swapped = Min if isinstance(b, Max) else Max
        return swapped(*[_difference(a, e) for e in b.args])
    return _each(a, lambda e: (e - b).expand())


def _each(expr: sympy.Expr, increasing: Callable[[sympy.Expr], sympy.Expr]) -> sympy.Expr:
    """An increasing function of `expr`, inside its maxima and minima."""
    from sympy import Max, Min

    if isinstance(expr, (Max, Min)):
        return expr.func(*[_each(e, increasing) for e in expr.args])
    return increasing(expr)


def is_static(shape: Shape) -> bool:
    """True when no dimension is symbolic."""
    return not any(isinstance(s, Dim) for s in shape)


def size_of(shape: Shape) -> Size:
    """How many elements, as a product of the dimensions."""
    total: Size = 1
    for s in shape:
        total = total * s
    return total


def _broadcast_size(a: Size, b: Size) -> Size | None:
    if a == b or b == 1:
        return a
    return b if a == 1 else None


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that NumPy broadcasts `shapes` to.

    Two dimensions fit when they are provably equal or one is the integer 1.

    Raises:
        ShapeError: two dimensions do not fit.
    """
    first = shapes[0]
    if all(s == first for s in shapes[1:]):
        return first
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(s)) + s for s in shapes]
    return tuple(_broadcast_axis(axis, shapes) for axis in zip(*padded, strict=True))


def _broadcast_axis(axis: tuple[Size, ...], shapes: tuple[Shape, ...]) -> Size:
    result = axis[0]
    for size in axis[1:]:
        fit = _broadcast_size(result, size)
        if fit is None:
            texts = " and ".join(show_shape(s) for s in shapes)
            raise ShapeError(f"shapes {texts} do not broadcast: {result} against {size}{_hint(result, size)}")
        result = fit
    return result


def _hint(a: Size, b: Size) -> str:
    if isinstance(a, Dim) or isinstance(b, Dim):
        return " (a symbolic dimension broadcasts only with itself or with 1; give both the same name or size)"
    return ""


def show_shape(shape: Shape) -> str:
    """A shape as the user would write it: `(batch, 784)`, `(3,)`."""
    inner = ", ".join(map(str, shape))
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def as_integer(value: Any, what: str) -> int:
    """An integer that a user gave, NumPy's too; `what` names it in the error.

    Raises:
        ArgumentError: it is none.
    """
    if not hasattr(value, "__index__"):
        raise ArgumentError(f"{what} is an integer, got {show(value)}")
    try:
        return int(value.__index__())
    except TypeError as error:
        if isinstance(error, GradcError):
            raise
        raise ArgumentError(f"{what} is an integer, got {show(value)}") from None


def as_number(value: Any, what: str) -> float:
    """A real number that a user gave, NumPy's too; `what` names it in the error.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(value, (bool, int, float, np.bool, np.integer, np.floating)) and getattr(value, "shape", None) != ():
        raise ArgumentError(f"{what} is a number, got {show(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(f"{what} is a number that a float can hold, got {show(value)}") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, GradcError):
            raise
        raise ArgumentError(f"{what} is a number, got {show(value)}") from None


def as_integers(values: Any, what: str) -> list[int]:
    """One integer, or several: a list of them."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return [as_integer(v, what) for v in (values if isinstance(values, (tuple, list, range)) else (values,))]


def normalize_axis(axis: object, ndim: int, where: str) -> int:
    """`axis` counted from 0.

    Raises:
        ShapeError: there is no such axis.
    """
    i = as_integer(axis, f"{where}: an axis")
    if not -ndim <= i < ndim:
        raise ShapeError(f"{where}: axis {show(i)} is out of bounds for an operand with {ndim} dimensions")
    return i % ndim


def normalize_axes(axis: object, ndim: int, where: str) -> tuple[int, ...]:
    """`axis` (None for all, an integer, a tuple) as sorted axes counted from 0, none twice."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(sorted(normalize_axis(a, ndim, where) for a in given))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{where}: axis {show(axis)} names the same axis twice")
    return axes


def bind_shape(shape: Shape, actual: tuple[int, ...], dims: dict[str, int]) -> None:
    """Match `actual` against `shape`, recording the symbolic names in `dims`; expressions of names are for `check_shape`.

    Raises:
        FeedError: a size differs, or a name would have two values.
    """
    if len(shape) != len(actual):
        raise FeedError(f"expected shape {show_shape(shape)}, got {show_shape(actual)}")
    for size, got in zip(shape, actual, strict=True):
        if isinstance(size, Dim) and not size.is_name:
            continue
        want = size if isinstance(size, int) else dims.setdefault(size.text, got)
        if want != got:
            known = "" if isinstance(size, int) else f" ({size} is {want} already)"
            raise FeedError(f"expected shape {show_shape(shape)}{known}, got {show_shape(actual)}")


def check_shape(shape: Shape, actual: tuple[int, ...], dims: Mapping[str, int]) -> None:
    """Match the expressions in `shape` against `actual`, now that every name that has one has its value.

    An expression of a name without one is left alone: it is of a feed that nothing needs, and so is the name.

    Raises:
        FeedError: a size differs, or is negative.
    """
    for size, got in zip(shape, actual, strict=True):
        if isinstance(size, Dim) and not size.is_name and size.names <= dims.keys():
            want = resolve_size(size, dims)
            if want != got:
                raise FeedError(f"expected shape {show_shape(shape)} ({size} is {want}), got {show_shape(actual)}")


def resolve_size(size: Size, dims: Mapping[str, int]) -> int:
    """The value of a dimension where its names have the values `dims`.

    Raises:
        FeedError: `dims` lacks a name, or the value is negative.
    """
    if isinstance(size, int):
        return size
    missing = size.names - dims.keys()
    if missing:
        raise FeedError(f"the symbolic dimension {', '.join(sorted(missing))} of {size} has no value: give it a number")
    if size.is_name:
        return dims[size.text]
    value = sizes.value_of(size.expr, {n: dims[n] for n in size.names})
    if value < 0:
        raise FeedError(f"the dimension {size} is {value} where {', '.join(f'{n} = {dims[n]}' for n in sorted(size.names))}")
    return value


def resolve_shape(shape: Shape, dims: Mapping[str, int]) -> tuple[int, ...]:
    """The concrete shape where the symbolic names have the values `dims`."""
    return tuple(resolve_size(s, dims) for s in shape)


def resolve(value: Any, dims: Mapping[str, int]) -> Any:
    """`value` with every `Dim` in it, however deep in tuples, replaced by its number."""
    if isinstance(value, Dim):
        return resolve_size(value, dims)
    if isinstance(value, tuple):
        return tuple(resolve(v, dims) for v in value)
    return value


def key_of(value: Any) -> Any:
    """`value`, an attribute, as a key: equal where types and bits are. 0.0 is not -0.0, True is not 1, a NaN is itself."""
    kind = value.__class__
    if kind is int or kind is str:
        return value
    if kind is tuple:
        return tuple([key_of(v) for v in value])
    if kind is float:
        return kind, _bits_of_float(value)
    if isinstance(value, (np.generic, complex)):
        return kind, np.asarray(value).tobytes()
    return (kind, *map(key_of, value)) if isinstance(value, tuple) else (kind, value)


def has_dim(value: object) -> bool:
    """True when a `Dim` is in `value`, however deep in tuples."""
    return isinstance(value, Dim) or (isinstance(value, tuple) and any(map(has_dim, value)))


def names_in(value: object) -> frozenset[str]:
    """The names of every `Dim` in `value`, however deep in tuples."""
    if isinstance(value, Dim):
        return value.names
    return frozenset().union(*map(names_in, value)) if isinstance(value, tuple) else frozenset()
