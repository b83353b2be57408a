"""Why gradc is right where it differs: by function and point; then what the declaration says; then what the numbers say.

A difference for which nothing here has a reason makes `make compare` fail.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.compare.programs import Program

Reason = tuple[str, str, str]

REASONS: tuple[Reason, ...] = (
    ("at_set, sample *", "PyTorch", "of the values written to one place the last is kept, and only it has an adjoint"),
    ("quantile, sample 31", "PyTorch", "the value is NaN: no entry was selected"),
    ("percentile, sample 31", "PyTorch", "the value is NaN: no entry was selected"),
    ("eigh, sample *", "*", "eigenvectors are defined up to a sign: both are right"),
    ("svd, sample *", "*", "singular vectors are defined up to a sign: both are right"),
    ("lstsq, sample *", "JAX", "NumPy's residuals: none where there are no more rows than columns"),
    ("einsum, sample 23", "PyTorch", "NumPy's value: sums of booleans are boolean"),
    ("softmax_cross_entropy([[]-∞, 0], [[]1, 0])", "PyTorch", "a target of 0 takes nothing from the entry"),
    ("*nanstd, sample *", "JAX", "a slice of one number, or of equal ones, has the std 0: a kink, least norm"),
    ("*std, sample *", "JAX", "a slice of one number, or of equal ones, has the std 0: a kink, least norm"),
    ("binary_cross_entropy_with_logits(-40, 0)", "PyTorch", "1 + exp(-40) is not rounded to 1"),
    ("binary_cross_entropy_with_logits(*∞, 1)", "PyTorch", "the limit"),
    ("det, sample *", "PyTorch", "a singular matrix: the slopes are its cofactors, to every order"),
    ("*space, sample 7*", "JAX", "as NumPy does, computed in float64 and rounded to float32 last"),
    ("power(NaN, 0)", "PyTorch", "NaN goes through: the slope y x**(y - 1) is 0 times NaN"),
    ("float_power(NaN, 0)", "PyTorch", "NaN goes through: the slope y x**(y - 1) is 0 times NaN"),
    ("power(0, -1)", "*", "the one-sided limit of x**y log x"),
    ("float_power(0, -1)", "*", "the one-sided limit of x**y log x"),
    ("logaddexp*(∞, 0)", "*", "the limit: 1 for the larger operand, 0 for the other"),
    ("arctan2(*∞*)", "*", "the limit: y / (x**2 + y**2) and x / (x**2 + y**2) vanish"),
    ("abs(NaN)", "*", "NaN goes through"),
    ("fabs(NaN)", "*", "NaN goes through"),
    ("sign(NaN)", "*", "NumPy's value"),
    ("m??imum(NaN, *)", "*", "a selection: NaN is neither the larger nor the smaller, so no operand is selected"),
    ("copysign(0, -1)", "*", "a kink: least norm of [-1, 1]"),
    ("copysign(∞, -1)", "*", "the slope is a sign, not infinity over infinity"),
    ("copysign(NaN, 1)", "*", "NaN goes through"),
    ("heaviside(NaN, *)", "*", "a selection: the second operand is not the result, NaN is"),
    ("remainder(1, 0)", "*", "the value is NaN, and so is the slope -floor(x / y)"),
    ("remainder(∞, 1)", "*", "the value is NaN, and so is the slope -floor(x / y)"),
    ("fmod(1, 0)", "*", "the value is NaN, and so is the slope"),
    ("relu*(NaN)", "*", "a selection: NaN > 0 is false"),
    ("*elu(NaN)", "*", "NaN goes through"),
    ("hard_silu(NaN)", "*", "NaN goes through"),
    ("silu(*∞)", "*", "the limits: the line y = x, and 0"),
    ("mish(*∞)", "*", "the limits: the line y = x, and 0"),
    ("gelu(*∞*)", "*", "the limits: the line y = x, and 0"),
    ("hard_silu(-∞)", "*", "the limit: 0 below -3"),
    ("xlogy(0, *)", "*", "0 whatever the other operand, as the value is"),
    ("xlog1py(0, *)", "*", "0 whatever the other operand, as the value is"),
    ("m??([[]NaN, 1])", "*", "a selection: no entry equals NaN, so none is selected"),
    ("logsumexp([[]∞, 0])", "*", "the limit of the softmax"),
    ("norm(*axis=1)", "*", "least norm of the unit ball, slice by slice"),
    ("norm(*ord=*)", "*", "least norm of the subgradients at 0"),
    ("*std([[]5])", "*", "the std of a single entry is 0 whatever the entry"),
    ("digamma(∞)", "*", "the limit of the slope"),
    ("logit(2)", "*", "outside the domain the adjoint is what the formula gives, 1 / (x (1 - x))"),
)
"""Pattern of the place, who differs, why."""


CONCEDED: tuple[Reason, ...] = (
    ("prod([[]1.90109e-211, *", "JAX", "the value is NumPy's, bit for bit: factor by factor, it underflows; the slopes do not"),
    ("prod([[]5.26014e+210, *", "JAX", "the value is NumPy's, bit for bit: factor by factor, it overflows; the slopes do not"),
)
"""Where a peer's number is the exact one, and gradc's is not for a reason."""

LIMITS: dict[str, str] = {
    "cumprod": "products are taken factor by factor, as NumPy takes them: one overflows on the way",
    "prod": "the value is NumPy's: it overflows, or underflows, on the way",
    "std": "the mean overflows, as NumPy's does",
    **{name: "NumPy's value: a product overflows" for name in ("cross", "linalg_cross", "matmul", "dot", "tensordot", "inner")},
    "arctan2": "at subnormal numbers the slope itself overflows",
    "power": "at subnormal numbers x**(y - 1) overflows",
}
"""Where gradc's own numbers are known to be inexact on extreme values."""

DEFECTS: dict[tuple[str, str], str] = {
    ("PyTorch", "ldexp"): "its rule of ldexp takes 2**n in integers, where 2**-1 is 0",
    ("PyTorch", "hard_sigmoid"): "its slope 1/6 of hard_sigmoid is the nearest float32",
    ("PyTorch", "at_set"): "its adjoint goes to each of the values written to one place, not only to the one that is kept",
    ("PyTorch", "polygamma"): "its trigamma function has 8 to 9 digits",
    ("PyTorch", "digamma"): "its trigamma function has 8 to 9 digits",
    **{
        ("JAX", name): f"its {name} has the adjoint NaN where all entries are equal; least norm"
        for name in ("std", "nanstd", "norm")
    },
}
"""Functions whose derivative a peer has wrong, everywhere or where graphs easily come: graphs that hold one differ."""


def conceded(place: str, peer: str) -> str:
    """Why gradc's number may be inexact there; an empty string: it may not."""
    return next((why for pattern, who, why in CONCEDED if fnmatchcase(place, pattern) and fnmatchcase(peer, who)), "")


def limit(text: str) -> str:
    """Why gradc's number may be inexact in a graph on extreme values; an empty string: it may not."""
    return next((why for name, why in LIMITS.items() if f"= {name}(" in text), "")


def reason(program: Program, peer: str, judged_right: bool) -> str:
    """Why gradc's numbers are the right ones; an empty string where nothing says so."""
    if conceded(program.place, peer):
        return conceded(program.place, peer)
    for pattern, who, why in REASONS:
        if fnmatchcase(program.place, pattern) and fnmatchcase(peer, who):
            return why
    if program.why:
        return program.why
    for step in program.steps:
        if (peer, step.function) in DEFECTS:
            return DEFECTS[peer, step.function]
    return "the exact value, by differences of 250 digits or more" if judged_right else ""
