"""The oracle: its hand-derived gradients against central differences."""

import numpy as np
import pytest

from parity_tests.ladder.directed_inputs import directed_predictions
from parity_tests.ladder.oracle import Oracle, initial_weights, loss, loss_gradient

SIZES = (7, 6, 5, 4)


def central_difference(function, array, step=1e-6):
    """Return (f(x + h) - f(x - h)) / 2h for each element of an array, changed in place."""
    derivative = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = function()
        array[index] = value - step
        derivative[index] = (above - function()) / (2 * step)
        array[index] = value
    return derivative


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_each_weight_of_three_layers_is_the_central_difference(seed):
    rng = np.random.default_rng(seed)
    weights = {
        name: w + rng.normal(0, 0.5, w.shape)
        for name, w in initial_weights(seed, SIZES, "float64").items()
    }
    images, labels = rng.uniform(0, 1, (9, 7)), rng.integers(0, 4, 9)
    oracle = Oracle()
    oracle.load_weights(weights)
    _, gradients = oracle.gradients(images, labels)

    def average_loss():
        oracle.load_weights(weights)
        return oracle.gradients(images, labels)[0]

    for name, gradient in gradients.items():
        expected = central_difference(average_loss, weights[name])
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9, equal_nan=False)


def test_the_gradient_of_the_loss_is_the_central_difference_on_either_side_of_the_clip():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(10), 10)
    p[:5, 0] = 1e-9  # below the bound, where the loss is flat
    p[5:, 1] = 1 - 1e-9  # above the other
    labels = np.arange(10) % 2
    gradient = loss_gradient(p, labels, np.ones(10), "float64")
    expected = central_difference(lambda: loss(p, labels, "float64").sum(), p, step=1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3, equal_nan=False)
    assert (gradient[:5, 0] == 0).all()
    assert (gradient[5:, 1] == 0).all()


def test_the_loss_renormalises_what_it_clipped():
    p, labels = directed_predictions("float64")
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    expected = -np.log(clipped[np.arange(len(p)), labels] / clipped.sum(axis=1))
    np.testing.assert_allclose(loss(p, labels, "float64"), expected, rtol=1e-9)


def test_a_derivative_with_its_sign_lost_is_not_the_central_difference():
    p = np.random.default_rng(0).dirichlet(np.ones(10), 10)
    labels = np.arange(10)
    expected = central_difference(lambda: loss(p, labels, "float64").sum(), p)
    gradient = np.abs(loss_gradient(p, labels, np.ones(10), "float64"))
    assert not np.allclose(gradient, expected, rtol=1e-6)
