"""Comparing one tensor of a port with that of its model: the bound, and the words."""

import math

import numpy as np
import pytest

from parity_tests.check.compared import FLOOR, Compared, compare, folded_like, largest


def compared(port, truth, others=(), dtype="float64", where="l", scale=0.0):
    arrays = [np.array(a, "float32" if dtype == "float32" else "float64") for a in (port, truth)]
    others = [None if a is None else np.array(a, "float64") for a in others]
    return compare(dtype, "label", where, *arrays, others, scale)


def test_what_rounding_may_leave_is_of_the_dtype():
    assert FLOOR == {"float64": 2.0**-23, "float32": 2.0**-19}
    for dtype, floor in FLOOR.items():
        found = compared([1 + floor, 0.5], [1.0, 0.5], dtype=dtype)
        assert (found.difference, found.bound, found.own, found.fails) == (floor, floor, 0, False)
        assert compared([1 + 2 * floor, 0.5], [1.0, 0.5], dtype=dtype).fails


def test_ten_times_the_yardsticks_own_difference_is_allowed():
    right, yard = [4.0, 2.0], [4.0, 2.5]
    found = compared([4.0, 3.0], [4.0, 2.0], [right, yard, None, [4.0, 1.0]])
    assert (found.own, found.difference) == (0.25, 0.25)
    assert found.bound == 2.5 + FLOOR["float64"]
    assert compared([4.0, 3.0], [4.0, 2.0], [None, yard]).own == 0
    assert compared([4.0, 3.0], [4.0, 2.0], [right]).own == 0
    assert compared([4.0, 3.0], [4.0, 2.0], [right, None]).own == 0


def test_the_scale_of_a_layer_counts_for_its_yardstick_too_and_not_that_of_the_whole_model():
    others = [[1.0], [1.5]]
    assert compared([1.0], [1.0], others, scale=10.0).own == 0.05
    assert compared([1.0], [1.0], others, scale=10.0, where="").own == 0.5
    assert compared([2.0], [1.0], others, scale=10.0, where="").difference == 0.1
    assert compared([0.0], [0.0], [[0.0], [0.25]]).own == 0.25
    assert compared([0.0], [0.0], [[0.0], [0.25]], where="").own == 0.25


def test_a_tensor_has_the_scale_of_its_own_numbers_unless_told():
    port, truth = np.array([0.75]), np.array([0.5])
    assert compare("float64", "label", "l", port, truth, []).difference == 0.5
    assert compared([0.5], [0.5], [[0.5], [0.75]], where="").own == 0.5


def test_where_the_truth_is_0_the_difference_itself_counts():
    assert compared([0.25], [0.0]).difference == 0.25
    assert compared([], []).difference == 0
    assert not compared([], []).fails


def test_another_shape_fails_though_it_would_broadcast():
    found = compared([1.0], [1.0, 1.0])
    assert (found.difference, found.bound, found.own) == (math.inf, 0, 0)
    assert (found.label, found.where, found.fails) == ("label", "l", True)
    assert found.message == "shape (1,) in the port, (2,) in the model"
    assert (found.port.tolist(), found.truth.tolist()) == ([1.0], [1.0, 1.0])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_fails_and_is_the_worst(number):
    found = compared([1.0, number, 900.0], [1.0, 2.0, 3.0])
    assert found.difference == math.inf
    assert found.fails
    assert found.message.startswith(f"worst at [1]: port {number}, model 2; relative inf, bound ")


def test_the_worst_element_is_named_with_both_numbers_and_the_bound():
    found = compared([[1.0, 2.0], [3.0, 4.5]], [[1.0, 2.0], [3.0, 4.0]])
    assert found.message == ("worst at [1, 1]: port 4.5, model 4; relative 1.2e-01, bound 1.2e-07")
    assert (found.label, found.where, found.difference) == ("label", "l", 0.125)
    assert (found.port.tolist(), found.truth[1].tolist()) == ([[1, 2], [3, 4.5]], [3, 4])
    assert compared([], []).message == "relative 0.0e+00, bound 1.2e-07"


def test_large_numbers_of_float32_have_a_finite_difference():
    assert compared([3e38], [-3e38], dtype="float32").difference == 2


def test_a_page_shows_numbers_only():
    found = Compared("label", "l", 0.5, 0.25, 0.125, "words", np.zeros(1), np.zeros(1))
    assert found.as_json() == {"label": "label", "difference": 0.5, "bound": 0.25, "own": 0.125}
    assert "array" not in repr(found)


def test_heads_of_a_yardstick_are_folded_where_the_sizes_agree():
    heads, flat = np.arange(6).reshape(1, 2, 3), np.zeros((1, 6))
    assert folded_like(heads, flat).tolist() == [[0, 1, 2, 3, 4, 5]]
    for array, like in ((flat, heads), (np.zeros((2, 2, 2)), flat), (flat, np.zeros((6, 1)))):
        assert folded_like(array, like) is array


def test_the_largest_of_nothing_is_0():
    assert largest(np.array([])) == 0
    assert largest(np.array([1.0, -3.0])) == 3
