"""The formula of what several ranks gain, on numbers that show it."""

import json
import math

import pytest

from parity_tests.measurements import scaling
from parity_tests.tests.test_readme import RESULTS

OF = {"fixed": 0.0, "per sample and weight": 1e-9, "latency": 1e-5, "bytes per second": 1e9}


def test_a_ring_sends_the_gradients_twice_but_for_a_share():
    found = [scaling.all_reduce_time(ranks, 1e9, 0.0, 1e9) for ranks in (1, 2, 4)]
    assert found == [0, 1, 1.5]


def test_a_ring_waits_for_two_messages_of_each_other_rank():
    assert scaling.all_reduce_time(11, 0, 1e-3, 1e9) == pytest.approx(0.02)


@pytest.mark.parametrize("ranks", [2, 10, 1000])
@pytest.mark.parametrize("link", scaling.LINKS.values())
def test_at_the_least_batch_ranks_are_as_fast_as_one_process(ranks, link):
    batch = scaling.least_batch(OF, ranks, 1e6, link)
    times = [scaling.step_time(OF, of_ranks, batch, 1e6, link) for of_ranks in (1, ranks)]
    assert times[0] == pytest.approx(times[1])


def test_the_fastest_number_of_ranks_is_where_the_derivative_of_the_formula_is_zero():
    batch, weights = 1024, 1e6
    compute = OF["per sample and weight"] * batch * weights
    exact = math.sqrt((compute - 2 * 4 * weights / 1e9) / (2 * OF["latency"]))
    assert scaling.fastest(OF, batch, weights, None)[0] == pytest.approx(exact, abs=1)


def test_constants_are_found_again_in_times_that_follow_the_formula():
    batches = {str(batch): 1e-3 + 2e-5 * batch for batch in scaling.SHARES}
    reduced = {str(n): scaling.all_reduce_time(2, 4 * n, 1e-4, 1e9) for n in scaling.LENGTHS}
    steps = {size: {"steps": batches, "all-reduce": reduced} for size in scaling.SIZES}
    found = scaling.summary(steps)
    assert found["fixed"] == pytest.approx(1e-3)
    assert found["per sample and weight"] * scaling.LENGTHS[3] == pytest.approx(2e-5)
    assert found["latency"] == pytest.approx(1e-4)
    assert found["bytes per second"] == pytest.approx(1e9)


def test_the_plot_and_the_tables_are_those_of_the_results():
    results = json.loads((RESULTS / "scaling.json").read_text())
    assert scaling.drawn(results) == (RESULTS / "scaling.svg").read_bytes()
