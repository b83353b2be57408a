"""One table tests every op: each registered function, each check, at each of its samples and edges."""

import inspect

import pytest

from gradc import testing
from gradc.ir import FUNCTIONS

CASES = [pytest.param(case, id=str(case)) for function in FUNCTIONS.values() for case in testing.op_cases(function)]


@pytest.mark.parametrize("case", CASES)
def test_op(case):
    case.run()


def test_every_public_function_has_samples():
    internal = {"getitem", "slice_axis", "place_axis", "sum_to", "dimension", "concatenate"}
    lacking = [f.name for f in FUNCTIONS.values() if f.samples is None and f.name not in internal]
    assert not lacking


def test_every_function_is_documented():
    for function in FUNCTIONS.values():
        if inspect.isfunction(function.build):
            assert function.build.__doc__, function.name
