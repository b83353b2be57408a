"""The table of smooth functions that are written with kinked ops: gradc gives what its rows say, everywhere the same."""

import numpy as np
import pytest

from benchmarks import smooth
from benchmarks.smooth_rows import CONVENTION, NAN, ROUGH, SMOOTH, Row, rows

ROWS = list(rows())


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_gradc_gives_what_the_row_says(row):
    with np.errstate(all="ignore"):
        assert not smooth.fault(row, smooth.truth(row), smooth.gradc_answers(row))


def test_the_table_is_large_and_knows_what_is_not_covered():
    assert len(ROWS) >= 60 and len({row.name for row in ROWS}) == len(ROWS)
    assert all(row.why for row in ROWS if {NAN, CONVENTION} & set(row.gives))
    assert all(set(row.gives) == {"right"} for row in ROWS if row.name in SMOOTH or row.name in ROUGH)


def test_a_wrong_row_is_told():
    row = Row("half of it", lambda m, x: (x * x).sum() / 2, lambda v: sum(t * t for t in v), np.ones(3))
    assert "the value is 1.5, not 3.0" in smooth.fault(row, smooth.truth(row), smooth.gradc_answers(row))
    row = ROWS[0]._replace(gives=("right", "NaN", "right"))
    assert "order 2 is right, said to be NaN" in smooth.fault(row, smooth.truth(row), smooth.gradc_answers(row))
    page = smooth.page(
        [(ROWS[0], smooth.truth(ROWS[0]), smooth.gradc_answers(ROWS[0])["NONE", smooth.SECONDS[0]], [None])], ["Peer"]
    )
    assert "| `norm**2` | 0, 0, 0 | 0 4.505 0 | ✓ ✓ ✓ | no answer |  |" in page
