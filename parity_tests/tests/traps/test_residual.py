"""The judge that measures: what counts as rounding, where it stops, and what it keeps."""

import math

import numpy as np
import pytest

from parity_tests.traps.residual import DiffersError, Residual, relative_difference

PLACE = ("gradients", "gradient", "W")


def arrays(port, reference, dtype="float64"):
    return {"port": np.array(port, dtype), "reference": np.array(reference, "float64")}


@pytest.mark.parametrize(
    ("judged", "truth", "scale", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, 0.0),
        ([1.0, 3.0], [1.0, 4.0], 0.0, 0.25),
        ([1.0, -3.0], [1.0, -4.0], 0.0, 0.25),
        ([1.0, 3.0], [1.0, 4.0], 8.0, 0.125),
        ([1.0, 3.0], [1.0, 4.0], np.array([8.0, 2.0]), 0.125),
        ([0.5], [0.25], 0.0, 1.0),
        ([0.0], [0.0], 0.0, 0.0),
        ([1.0], [0.0], 0.0, math.inf),
        ([1.0], [0.0], 2.0, 0.5),
        ([], [], 0.0, 0.0),
        ([math.nan, 1.0], [math.nan, 2.0], 0.0, 0.5),
        ([math.inf, 1.0], [math.inf, 1.0], 0.0, 0.0),
        ([math.inf, 1.0], [-math.inf, 1.0], 0.0, math.inf),
        ([math.nan, 1.0], [1.0, 1.0], 0.0, math.inf),
        ([1.0, 1.0], [math.nan, 1.0], 0.0, math.inf),
        ([math.nan, 0.0], [math.nan, -0.0], 0.0, 0.0),
        ([math.nan], [math.nan], 0.0, 0.0),
    ],
)
def test_a_difference_is_the_largest_over_the_largest_number(judged, truth, scale, expected):
    assert relative_difference(np.array(judged), np.array(truth), scale) == expected


def test_a_difference_in_float32_is_taken_in_float64():
    judged, truth = np.array([3e38], "float32"), np.array([-3e38], "float32")
    assert relative_difference(judged, truth, 0.0) == 2


@pytest.mark.parametrize(
    ("dtype", "quantity", "rounding"),
    [
        ("float64", "gradient", 1e-9),
        ("float32", "gradient", 5e-4),
        ("float64", "update by hand", 16 * 2.0**-52),
        ("float32", "update by hand", 16 * 2.0**-23),
    ],
)
def test_rounding_passes_and_more_does_not(dtype, quantity, rounding):
    for factor, passes in ((0.9, True), (1.2, False)):
        residual = Residual(dtype=dtype, whole=True)
        given = arrays([1 + factor * rounding, 0.5], [1, 0.5], dtype)
        residual("one update", quantity, "W", **given)
        assert (residual.passed, residual.place == "") == (int(passes), passes)
        assert residual.residual == pytest.approx(factor * rounding, rel=0.1)


def test_what_leaves_as_much_as_rounding_may_passes():
    residual = Residual(dtype="float64")
    residual("one update", "update by hand", "W", **arrays([1 + 16 * 2.0**-52], [1]))
    assert (residual.passed, residual.place) == (1, "")
    with pytest.raises(DiffersError):
        residual("one update", "update by hand", "W", **arrays([1 + 17 * 2.0**-52], [1]))


def test_without_a_scale_the_largest_number_counts_also_below_1():
    residual = Residual(whole=True)
    residual(*PLACE, **arrays([0.5], [0.25]))
    assert residual.residual == 1


def test_a_truth_of_fewer_bits_or_of_integers_is_compared_as_well():
    residual = Residual()
    residual(*PLACE, port=np.array([0.5]), reference=np.array([0.5], "float32"))
    labels = np.array([3, 1])
    residual("layer outputs", "labels", "predicted", port=labels, reference=labels.copy())
    assert (residual.passed, residual.residual) == (2, 0)


def test_the_first_tensor_that_differs_ends_the_measure():
    residual = Residual()
    residual(*PLACE, step="step 1", window="w", samples=3, **arrays([1 + 1e-12], [1]))
    with pytest.raises(DiffersError):
        residual(*PLACE, step="step 2", **arrays([1.5, 2], [1, 2]))
    assert (residual.place, residual.residual) == ("gradient at step 2, W", 0.25)
    assert (residual.passed, residual.raised) == (1, False)
    assert residual.judged.tolist() == [1.5, 2]


def test_the_measure_of_a_whole_rung_keeps_the_first_place_and_the_truths_of_its_moment():
    residual = Residual(whole=True)
    residual(*PLACE, step="step 1", **arrays([1], [1]))
    residual(*PLACE, step="step 2", **arrays([3], [4]))
    residual(*PLACE[:2], "b", step="step 2", **arrays([5], [5]))
    residual(*PLACE[:2], "b", step="step 2", **arrays([6], [6]))
    residual(*PLACE, step="step 3", **arrays([7], [8000]))
    assert residual.place == "gradient at step 2, W"
    assert (residual.residual, residual.passed) == (0.25, 1)
    assert residual.judged.tolist() == [3]
    assert {name: a.tolist() for name, a in residual.truths.items()} == {"W": [4], "b": [5]}


def test_a_place_without_a_step_has_no_word_for_it():
    residual = Residual(whole=True)
    residual(*PLACE, **arrays([3], [4]))
    assert residual.place == "gradient, W"


def test_another_shape_or_dtype_leaves_everything():
    for port in ([[1.0]], [1.0, 1.0]):
        residual = Residual(whole=True)
        residual(*PLACE, **arrays(port, [1.0]))
        assert (residual.residual, residual.place) == (math.inf, "gradient, W")
    residual = Residual(whole=True)  # of float64, as is the truth
    residual(*PLACE, **arrays([1.0], [1.0], "float32"))
    assert residual.residual == math.inf


def test_the_truth_is_rounded_to_the_dtype_of_the_port_but_not_the_data():
    third = {"port": np.array([1 / 3], "float32"), "reference": np.array([1 / 3])}
    residual = Residual(dtype="float32")
    residual(*PLACE, **third)
    assert (residual.residual, residual.place) == (0.0, "")
    assert residual.truths == {}
    residual = Residual(dtype="float32", whole=True)
    residual("data", "pixels", "images", **third)
    assert residual.residual == math.inf


def test_of_integers_the_share_that_differs_is_left_and_none_is_rounding():
    residual = Residual(whole=True)
    same = np.array([1, 2, 3, 4])
    residual("data", "labels", "training labels", port=same, reference=same.copy())
    assert (residual.passed, residual.place) == (1, "")
    residual("data", "labels", "test labels", port=same, reference=np.array([1, 2, 3, 5]))
    assert (residual.residual, residual.place) == (0.25, "labels, test labels")


def test_the_oracle_and_what_is_not_seen_are_not_measured():
    residual = Residual(unseen=frozenset({"loss"}))
    residual(*PLACE, oracle=np.ones(1), reference=np.zeros(1))
    residual("gradients", "loss", "average", **arrays([1], [2]))
    assert (residual.passed, residual.residual, residual.place) == (0, 0.0, "")


def test_the_size_of_the_terms_counts_where_they_cancel():
    residual = Residual(whole=True)
    residual(*PLACE, scale=4.0, **arrays([1], [2]))
    assert residual.residual == 0.25


def test_a_new_measure_has_seen_nothing():
    residual = Residual()
    assert (residual.dtype, residual.whole, residual.unseen) == ("float64", False, frozenset())
    assert (residual.residual, residual.passed, residual.place) == (0.0, 0, "")
    assert (residual.judged, residual.truths, residual.raised) == (None, {}, False)
