"""Numbers among the arguments of a `Call`: arrays made before it, since NumPy makes one of a Python number at every call."""

from __future__ import annotations

import re
from functools import lru_cache
from string import Formatter

import numpy as np

from gradc.ir import Array, Call
from gradc.types import DType

_LITERAL = re.compile(r"(?:^|(?<=, ))(-?\d[-+.\de]*)(?=,)")


def with_literal_fields(call: Call) -> str:
    """The arguments of `call`, where that is one of a ufunc with `{literal:0}` for the number 0."""
    return _with_fields(call.arguments) if isinstance(call.function, np.ufunc) else call.arguments


@lru_cache(maxsize=1024)
def _with_fields(arguments: str) -> str:
    return _LITERAL.sub(r"{literal:\1}", arguments)


@lru_cache(maxsize=1024)
def first_array(arguments: str) -> str:
    """The field of the first argument that is no number: it decides which dtype numbers take."""
    return next(field for _, field, _, _ in Formatter().parse(arguments) if field and field != "literal")


@lru_cache(maxsize=1024)
def literal(text: str, dtype: DType) -> Array | float:
    """A number in a `Call`: a 0-d array among floats, a Python number among integers, which it may promote."""
    number = float(text) if set(text) & set(".e") else int(text)
    if dtype.kind != "f":
        return number
    array = np.array(number, dtype)
    array.flags.writeable = False
    return array
