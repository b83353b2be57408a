"""Every error that gradc raises on bad input.

Each kind also derives from the builtin exception that NumPy's users would expect, so `except ValueError`
around a wrong shape keeps working.
"""

from __future__ import annotations

import os
import re
import reprlib
import sys
from collections.abc import Iterable

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


_LISTED = 8
_COMPARED = 10_000
_LONGEST_LINE = 2_000
_MOST_LINES = 400


def printable(text: str) -> str:
    """`text` with what a terminal would act on escaped: control characters, marks of direction, lone surrogates."""
    return text if text.isprintable() else "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])


class _Shorter(reprlib.Repr):
    """Reprs of a length that fits into a message, whatever the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = 80
        self.maxother = 120
        self.maxlong = 40


_shorter = _Shorter()


def show(value: object) -> str:
    """The repr of what a user gave, for messages: short, printable, and never an error of its own."""
    try:
        return printable(re.sub(r"\s*\n\s*", " ", _shorter.repr(value)))
    except Exception:  # a repr of the user's may raise anything; integers of over 4300 digits have none
        return f"<{printable(type(value).__name__)} object>"


def listed(names: Iterable[object]) -> str:
    """`a, b, c`, or the first few and how many more: a list in a message, whatever its length."""
    texts = [printable(_shortened(str(name))) for name in names]
    if len(texts) > _LISTED + 1:
        texts[_LISTED:] = [f"... ({len(texts) - _LISTED} more)"]
    return ", ".join(texts) or "none"


def candidates(name: object, names: Iterable[str]) -> str:
    """What to write instead of the unknown `name`: `did you mean 'w1'? there are w1, w2, x`."""
    known = list(names)
    close = _close_names(name, known) if isinstance(name, str) else []
    meant = f"did you mean {' or '.join(map(show, close))}? " if close else ""
    return f"{meant}there {'is' if len(known) == 1 else 'are'} {listed(known)}"


def _close_names(name: str, known: list[str]) -> list[str]:
    import difflib

    same = [other for other in known if other.casefold() == name.casefold()]
    if same or len(name) > _shorter.maxstring:
        return same[:3]
    return difflib.get_close_matches(name, known[:_COMPARED], n=3, cutoff=0.7)


def _shortened(text: str, longest: int = 80) -> str:
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def _bounded(message: str) -> str:
    """`message` as a terminal may show it: no line too long, not too many, nothing in it that is not printable."""
    if message.isprintable() and len(message) <= _LONGEST_LINE:
        return message
    lines = message.split("\n")
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES // 2 : -_MOST_LINES // 2] = [f"  ... ({len(lines) - _MOST_LINES} more lines)"]
    return "\n".join([printable(_shortened(line, _LONGEST_LINE)) for line in lines])


class GradcError(Exception):
    """Base of every error gradc raises on bad input. Its text ends with the user's line, where it does not name one already.

    Attributes:
        message: the text without that line, of a bounded length, all of it printable.
    """

    def __init__(self, message: str) -> None:
        self.message = _bounded(message)
        super().__init__(self.message)
        self._line = None if "\n  at " in self.message else user_line()

    def __str__(self) -> str:
        if self._line is None:
            return self.message
        file, line = self._line
        return f"{self.message}\n  at {printable(file)}:{line}"


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
