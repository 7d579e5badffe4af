"""What keeps the tests alike in any order, and what shows how long they will take."""

import random

import numpy as np
import pytest
import torch

from parity_tests.tests.conftest import seed_every_generator
from parity_tests.tests.progress import seconds_left
from tf_reference.framework import tf


def draws():
    """Return a number of every generator, of which none is given a seed."""
    return (
        random.random(),  # noqa: S311 (no cryptography)
        np.random.random(),  # noqa: NPY002 (other libraries may draw from it)
        np.random.default_rng().random(),
        torch.rand(1).item(),
        float(tf.random.uniform(())),
        float(tf.keras.initializers.GlorotUniform()((1, 1))[0, 0]),
    )


def test_every_generator_draws_the_same_in_each_test():
    seed_every_generator()
    first = draws()
    assert all(a != b for a, b in zip(first, draws(), strict=True))
    seed_every_generator()
    assert draws() == first


def test_a_generator_keeps_the_seed_that_it_is_given():
    expected = [0.5118216247002567, 0.9504636963259353]
    assert np.random.default_rng(1).random(2).tolist() == pytest.approx(expected, rel=1e-15)


def test_the_time_left_is_what_the_tests_took_before_at_the_speed_of_this_run():
    expected = {"a": 10.0, "b": 20.0, "c": 30.0}
    assert seconds_left("bc", expected, {"a": 20.0}, workers=2) == pytest.approx(50)


def test_the_time_left_of_tests_without_a_past_is_the_median_of_ten_or_more():
    taken = {str(number): 2.0 for number in range(10)}
    assert seconds_left("ab", {}, taken, workers=1) == pytest.approx(4)
    del taken["0"]
    assert seconds_left("ab", {}, taken, workers=1) is None
