"""The ladder as the judge of a mutated port, with the reference's recorded answers.

It is not collected with the other tests, but named to pytest by `scope.py`.
"""

import functools

import pytest

from parity_tests.ladder.compare import Judge
from parity_tests.tests.mutation import reference

recorded = functools.cache(reference.recorded)
QUICK = ("loss", "one update", "initial weights")
ORDER = sorted(reference.CLIMBED, key=lambda rung: rung not in QUICK)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rung", ORDER)
def test_the_port_is_the_reference(dtype, rung):
    answers, *data = recorded(dtype)
    reference.climb(Judge(), answers, dtype, rung, *data)
