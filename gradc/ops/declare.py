"""How an op is declared: `elementwise`, `linear`, `op`; and `function` for compositions of ops.

The same functions serve gradc's own ops and those of its users.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from gradc.errors import ArgumentError, DTypeError, GraphError, NamingError
from gradc.ir import (
    FUNCTIONS,
    NUMPY,
    OPS,
    ZERO,
    Call,
    Function,
    Kernel,
    KernelRule,
    Node,
    Op,
    Rule,
    register_function,
    register_op,
)
from gradc.types import DType, TensorType, as_dtype, broadcast_shapes

Partial = Callable[..., Any] | float | None
F = TypeVar("F", bound=Callable[..., Any])


# --- elementwise -------------------------------------------------------------------------------------


def elementwise(
    name: str,
    ufunc: np.ufunc | None = None,
    *,
    partials: Sequence[Partial] | None = None,
    rules: Sequence[Rule | None] | None = None,
    evaluate: Callable[..., Any] | None = None,
    infer: Callable[..., TensorType] | None = None,
    kernel: KernelRule | None = None,
    symbolic: str | None = None,
    saved: str | None = None,
    assuming: str | None = None,
    samples: Any = None,
    edges: tuple[Any, ...] = (),
    numpy: tuple[Any, ...] = (),
    commutative: bool = False,
    linear_in: tuple[int, ...] = (),
    masks: bool = False,
    reads_sign: bool = False,
    even: bool = False,
    odd: bool = False,
    keeps_sign: bool = False,
    nonnegative: bool = False,
    kinks: Callable[..., Any] | None = None,
    spellings: tuple[Callable[..., Any], ...] = (),
    requires: str | None = None,
    public: bool = True,
) -> Op:
    """Declare an op that works entry by entry on broadcast operands, and register it as a function too.

    Args:
        name: the op's name, and the function's.
        ufunc: the NumPy ufunc that evaluates it; else `evaluate` and `infer` must be given.
        partials: per operand, the partial derivative as a function of `(*operands, out)`, a number, 0 where it is
            zero wherever it exists, or None where the operand carries no gradient. A boolean node selects: the
            adjoint where True, an exact zero elsewhere.
        rules: instead of partials, the product with the adjoint: `(g, out, *operands) -> node`; for partials that
            could overflow by themselves.
        symbolic: the op in sympy's language over a, b, ...; what `testing.prove_rules` proves the partials against.
        saved: the last operand in that language over the others, where it holds a value that the forward pass has anyway.
        assuming: where the partials are the exact derivative, such as "(a > -100) & (a < 100)"; None: wherever there is one.
        samples: a function that makes samples; see `gradc.ops.samples`.
        edges: rows of the table of conventions.
        numpy: NumPy functions it stands for, besides `ufunc`.
        reads_sign: it depends on the sign of an operand that is NaN, as np.signbit does.
        kinks: a function of the operands: where the rules give a convention, for there is no derivative.
        spellings: functions of the same operands that write it out; see `gradc.matching`.
        public: False for an op that a function of the same name, or a rule, builds.

    Raises:
        NamingError: the name is taken, or one of the NumPy functions.
        ArgumentError: rules and operands differ in number, or a rule takes another number of arguments.
    """
    _check_op(name, public, numpy, samples)
    if partials is not None and rules is not None:
        raise ArgumentError(f"{name}: give partials= or rules=, not both")
    _check_counts(name, ufunc, (partials, 1, "partials= take (*operands, out)"), (rules, 2, "rules= take (g, out, *operands)"))
    table: tuple[Rule | None, ...]
    table = tuple(rules) if rules is not None else tuple(_scaled(p) for p in partials or ())
    vjp: Any = table or None
    declared = register_op(
        Op(
            name=name,
            infer=infer or _ufunc_infer(_need(ufunc, name)),
            evaluate=evaluate or _need(ufunc, name),
            vjp=vjp,
            jvp=vjp,
            kernel=kernel or (_ufunc_kernel(ufunc) if ufunc is not None else None),
            elementwise=True,
            linear=bool(linear_in),
            commutative=commutative,
            masks=masks,
            reads_sign=reads_sign,
            even=even,
            odd=odd,
            keeps_sign=keeps_sign,
            nonnegative=nonnegative,
            kinks=_kinks_of_entries(kinks) if kinks is not None else None,
            ufunc=ufunc,
            symbolic=symbolic,
            saved=saved,
            assuming=assuming,
            partials=tuple(partials) if partials is not None else None,
        )
    )
    if not public:
        return declared
    bound = ((ufunc,) if ufunc is not None and ufunc not in NUMPY else ()) + numpy
    differentiable = any(r is not None for r in table)
    register_function(Function(name, declared, bound, samples, edges, differentiable, requires, spellings=spellings))
    return declared


def _kinks_of_entries(kinks: Callable[..., Any]) -> Callable[..., Node | None]:
    return lambda g, out, *operands, **attrs: kinks(*operands, **attrs)


def _check_op(name: str, public: bool, numpy: tuple[Any, ...], samples: Any) -> None:
    """Refuse, before anything is registered, what cannot be."""
    if name in OPS:
        raise NamingError(f"an op named {name!r} is registered already; choose another name")
    if public:
        _check_function(name, numpy, samples)


def _check_function(name: str, numpy: tuple[Any, ...], samples: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise NamingError(f"the name of a function is a Python identifier, got {name!r}")
    if name in FUNCTIONS:
        raise NamingError(f"a function named {name!r} is registered already; choose another name")
    taken = next((target for target in numpy if target in NUMPY), None)
    if taken is not None:
        raise NamingError(f"{name}: NumPy's {taken.__name__} builds nodes of another function already; leave it out of numpy=")
    if samples is not None and not callable(samples):
        raise ArgumentError(f"{name}: samples= is a function that makes a list of samples, got {type(samples).__name__}")


def _check_counts(name: str, ufunc: np.ufunc | None, *given: tuple[Sequence[Any] | None, int, str]) -> None:
    """One rule an operand, and each takes as many arguments as it will be called with."""
    for rules, more, said in given:
        arity = ufunc.nin if ufunc is not None else len(rules or ())
        if rules is not None and len(rules) != arity:
            raise ArgumentError(f"{name}: {len(rules)} rules for the {arity} operands of {ufunc}; None for one without gradient")
        for k, rule in enumerate(rules or ()):
            code = getattr(rule, "__code__", None)
            if code is None or code.co_flags & inspect.CO_VARARGS:
                continue
            most, optional = code.co_argcount, len(rule.__defaults__ or ())
            if not most - optional <= arity + more <= most:
                raise ArgumentError(f"{name}: the rule of operand {k} takes {most} arguments, of {arity + more}; {said}")


def _need(ufunc: np.ufunc | None, name: str) -> np.ufunc:
    if ufunc is None:
        raise GraphError(f"elementwise {name!r}: give a ufunc, or both evaluate= and infer=")
    return ufunc


def _scaled(partial: Partial) -> Rule | None:
    """The rule that multiplies an adjoint, or a tangent, by a partial derivative."""
    if partial is None:
        return None
    if not callable(partial):
        return ZERO if partial == 0 else lambda g, out, *xs, **attrs: scale(g, partial)
    return lambda g, out, *xs, **attrs: scale(g, partial(*xs, out, **attrs))


def scale(g: Node, partial: Any) -> Node:
    """`g * partial`; where `partial` is boolean, `g` where it is True and an exact zero elsewhere."""
    if isinstance(partial, Node):
        return OPS["select"](partial, g) if partial.dtype.kind == "b" else g * partial
    if partial == 1:
        return g
    return -g if partial == -1 else g * partial


def call(name: str, *args: Any, **kwargs: Any) -> Node:
    """The registered function `name`, one that returns a node: how rules reach ops that are declared in other files."""
    node: Node = FUNCTIONS[name].build(*args, **kwargs)
    return node


@lru_cache(maxsize=4096)
def ufunc_dtype(ufunc: np.ufunc, dtypes: tuple[DType, ...]) -> DType:
    """The dtype that `ufunc` gives for operands of `dtypes`, by NumPy's own resolution.

    Raises:
        DTypeError: it has no loop for them.
    """
    try:
        resolved = ufunc.resolve_dtypes((*dtypes, *[None] * ufunc.nout))
    except TypeError:
        given = ", ".join(map(str, dtypes))
        raise DTypeError(f"{ufunc.__name__}: NumPy has no loop for ({given}); cast with .astype first") from None
    return as_dtype(resolved[ufunc.nin], ufunc.__name__)


def _ufunc_infer(ufunc: np.ufunc) -> Callable[..., TensorType]:
    def infer(*types: TensorType) -> TensorType:
        check_arity(ufunc.__name__, types, ufunc.nin)
        dtype = ufunc_dtype(ufunc, tuple(t.dtype for t in types))
        return TensorType(broadcast_shapes(*(t.shape for t in types)), dtype)

    return infer


def check_arity(name: str, types: Sequence[TensorType], arity: int) -> None:
    """Raise unless there are `arity` operands."""
    if len(types) != arity:
        raise GraphError(f"{name}: expected {arity} operands, got {len(types)}")


def _ufunc_kernel(ufunc: np.ufunc) -> KernelRule:
    operands = ", ".join(f"{{{k}}}" for k in range(ufunc.nin))
    out = "out={out}" if ufunc in (np.maximum, np.minimum) else "{out}"  # NumPy deprecates a positional one there
    calls = (Call(ufunc, ufunc.__name__, f"{operands}, {out}"),)
    kernel = Kernel(calls, inplace=tuple(range(ufunc.nin)))
    return lambda inputs, out, attrs: kernel


# --- everything else ---------------------------------------------------------------------------------


def op(name: str, *, infer: Callable[..., TensorType], evaluate: Callable[..., Any], **declaration: Any) -> Op:
    """Declare an op; the fields are those of `Op`. What it returns builds nodes when called.

    `samples` given here, with `edges`, `numpy` and `requires`, registers it as a public function of the same name too.

    Raises:
        NamingError: the name is taken, or one of the NumPy functions.
        ArgumentError: a field that ops have not.
    """
    samples = declaration.pop("samples", None)
    edges = declaration.pop("edges", ())
    numpy = declaration.pop("numpy", ())
    requires = declaration.pop("requires", None)
    _check_op(name, samples is not None, numpy, samples)
    unknown = set(declaration) - set(Op.__dataclass_fields__)
    if unknown:
        raise ArgumentError(f"{name}: an op has no {', '.join(sorted(unknown))}; the fields are those of gradc.ir.Op")
    declared = register_op(Op(name=name, infer=infer, evaluate=evaluate, **declaration))
    if samples is not None:
        register_function(Function(name, declared, numpy, samples, edges, declaration.get("vjp") is not None, requires))
    return declared


def linear(
    name: str, *, transpose: Rule, infer: Callable[..., TensorType], evaluate: Callable[..., Any], **declaration: Any
) -> Op:
    """Declare an op that is linear in its one operand: the jvp is the op itself, only the transpose is written.

    `transpose(g, out, x, **attrs)` is the adjoint of `x`.
    """
    declared: list[Op] = []

    def jvp(t: Node, out: Node, x: Node, **attrs: Any) -> Node:
        return declared[0](t, **attrs)

    declared.append(op(name, infer=infer, evaluate=evaluate, vjp=(transpose,), jvp=(jvp,), linear=True, **declaration))
    return declared[0]


def function(
    name: str | None = None,
    *,
    numpy: tuple[Any, ...] = (),
    samples: Any = None,
    edges: tuple[Any, ...] = (),
    differentiable: bool = True,
    requires: str | None = None,
    reorders: bool = False,
    spellings: tuple[Callable[..., Any], ...] = (),
) -> Callable[[F], F]:
    """Register a function that composes ops, under its own name or `name`, and for NumPy's functions `numpy`.

    `reorders`: its sums are NumPy's in another order. `spellings`: functions of the same operands that write it out.

    Raises:
        NamingError: the name is taken, or one of the NumPy functions.
    """

    def register(build: F) -> F:
        own = name or build.__name__.rstrip("_")
        _check_function(own, numpy, samples)
        register_function(Function(own, build, numpy, samples, edges, differentiable, requires, reorders, spellings))
        return build

    return register


def if_numpy_has(*names: str) -> tuple[Any, ...]:
    """The functions of these names that this NumPy has: newer ones have more, and drop some."""
    return tuple(getattr(np, name) for name in names if hasattr(np, name))


def signature_of(target: Function) -> str:
    """The call signature of a public function, for docs and errors."""
    if isinstance(target.build, Op):
        nin = target.build.ufunc.nin if target.build.ufunc else 1
        return "(" + ", ".join("xyzw"[:nin]) + ")"
    return str(inspect.signature(target.build))
