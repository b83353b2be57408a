"""Every error that gradc raises on bad input.

Each kind also derives from the builtin exception that NumPy's users would expect, so `except ValueError`
around a wrong shape keeps working.
"""

from __future__ import annotations

import os
import sys

import numpy as np

_INTERNAL = (os.path.dirname(os.path.abspath(__file__)) + os.sep, os.path.dirname(np.__file__) + os.sep)


def user_line() -> tuple[str, int] | None:
    """The file and line, outside gradc and NumPy, that is running now."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_INTERNAL):
        back = frame.f_back
        if back is None:
            return None
        frame = back
    return frame.f_code.co_filename, frame.f_lineno


class GradcError(Exception):
    """Base of every error gradc raises on bad input. Its text ends with the user's line, where it does not name one already.

    Attributes:
        message: the text without that line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self._line = None if "\n  at " in message else user_line()

    def __str__(self) -> str:
        if self._line is None:
            return self.message
        file, line = self._line
        return f"{self.message}\n  at {file}:{line}"


class CheckError(GradcError, AssertionError):
    """A check failed: what is checked is wrong, not the line that asks."""

    def __str__(self) -> str:
        return self.message


class GraphError(GradcError, ValueError):
    """A graph, or a request about one, is not well formed."""


class DeclarationError(GraphError):
    """An op evaluates to another type than its declaration says."""


class NamingError(GradcError, ValueError):
    """A placeholder or output name is malformed, taken, or unknown."""


class ShapeError(GradcError, ValueError):
    """Shapes do not fit together."""


class BoundsError(ShapeError, IndexError):
    """An index lies beyond the ends of its axis."""


class DTypeError(GradcError, TypeError):
    """Dtypes do not fit together, or gradc has no such dtype."""


class ArgumentError(GradcError, ValueError):
    """An argument of an op or a function has a value it cannot have."""


class TraceError(GradcError, TypeError):
    """A node was used as if it held a value: in a branch, a float(), an item assignment."""


class UnsupportedError(GradcError, TypeError):
    """NumPy has this function, gradc does not."""


class NodeAttributeError(GradcError, AttributeError):
    """Arrays have this attribute, nodes do not."""


class NoGradientError(GradcError):
    """An op on the path of a derivative has no rule for it."""


class FeedError(GradcError, ValueError):
    """A value fed to a graph does not fit its placeholder."""


class EvaluationError(GradcError, np.linalg.LinAlgError):
    """An op has no value for the values it was given: the inverse of a singular matrix."""


VALUE_ERRORS = (np.linalg.LinAlgError, BoundsError)
"""What an op raises that has no value for the values of its operands."""


class VerifyError(GradcError):
    """The IR is inconsistent: a pass or an op declaration is wrong."""
