"""Numbers among the arguments of a `Call`: arrays made before it, since NumPy makes one of a Python number at every call."""

from __future__ import annotations

import re
from functools import lru_cache
from string import Formatter

import numpy as np

from gradc.ir import Array
from gradc.types import DType

_LITERAL = re.compile(r"(?:^|(?<=, ))(-?\d[-+.\de]*)(?=,)")


@lru_cache(maxsize=1024)
def with_literal_fields(arguments: str) -> str:
    """The arguments of a `Call`, with `{literal:0}` for the number 0."""
    return _LITERAL.sub(r"{literal:\1}", arguments)


@lru_cache(maxsize=1024)
def first_array(arguments: str) -> str:
    """The field of the first argument that is no number: it decides which dtype numbers take."""
    return next(field for _, field, _, _ in Formatter().parse(arguments) if field and field != "literal")


def literal(text: str, dtype: DType) -> Array | float:
    """A number in a `Call`: a 0-d array among floats, a Python number among integers, which it may promote."""
    number = float(text) if set(text) & set(".e") else int(text)
    return np.array(number, dtype) if dtype.kind == "f" else number
