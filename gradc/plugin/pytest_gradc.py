"""The pytest plugin of gradc: the `gradcheck` fixture, and options for its order and tolerances.

pytest imports this file in every run, so it is installed beside the package, as `pytest_gradc`: gradc and NumPy are imported
when a test uses the fixture, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

_OPTIONS = ("order", "rtol", "atol")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare --gradcheck-order, --gradcheck-rtol and --gradcheck-atol."""
    group = parser.getgroup("gradc", "gradient checks (gradc)")
    group.addoption("--gradcheck-order", type=_order, metavar="N", help="check derivatives up to order N (default: 2)")
    group.addoption("--gradcheck-rtol", type=_tolerance, metavar="X", help="relative tolerance of gradient checks")
    group.addoption("--gradcheck-atol", type=_tolerance, metavar="X", help="absolute tolerance of gradient checks")


def _order(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _tolerance(text: str) -> float:
    if not 0 <= float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that checks gradients: `gradcheck(graph, feeds, ...)` of a graph, `gradcheck(op, samples, ...)` of an op.

    They are `gradc.testing.check_gradients` and `gradc.testing.check_op`, with the order and tolerances of the command line
    where the call gives none.
    """
    asked = {name: request.config.getoption(f"gradcheck_{name}") for name in _OPTIONS}
    defaults = {name: value for name, value in asked.items() if value is not None}

    def check(subject: Any, given: Any = None, **options: Any) -> Any:
        from gradc import testing
        from gradc.ir import Graph

        if isinstance(subject, Graph):
            return testing.check_gradients(subject, given or {}, **{**defaults, **options})
        return testing.check_op(subject, given, **{**defaults, **options})

    return check
