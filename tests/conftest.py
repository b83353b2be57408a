"""Every compilation of a small graph in these tests is validated, pass by pass."""

import pytest

from gradc.passes import validating


@pytest.fixture(autouse=True, scope="session")
def _every_pass_is_validated():
    with validating():
        yield
