"""Rung 6: the weights after one update, given the same gradients, by both rules."""

import numpy as np
import pytest

import tf_reference
import torch_port
from parity_tests.ladder import rungs
from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge


def test_the_update_by_hand_is_equal_bit_for_bit(judge, reference, port):
    rungs.one_update(judge, reference, port)


@pytest.mark.parametrize("learning_rate", [1e-3, 0.5])
def test_the_update_by_sgd_is_equal_to_one_unit_in_the_last_place(judge, dtype, learning_rate):
    reference = Reference(dtype=dtype, update_weights=tf_reference.SGD(learning_rate))
    port = Port(dtype=dtype, update_weights=torch_port.SGD(learning_rate))
    rungs.one_update(judge, reference, port, rule="update by SGD")


def test_sgd_in_float64_takes_the_float32_learning_rate_that_keras_keeps():
    reference = Reference(dtype="float64", update_weights=tf_reference.SGD(1e-3))
    exact = Port(dtype="float64")  # by hand: 1e-3 in float64
    with pytest.raises(Divergence, match="update by SGD"):
        rungs.one_update(Judge(), reference, exact, rule="update by SGD")


def test_one_weight_a_unit_in_the_last_place_off_is_seen(reference, port):
    right = port.weights

    def wrong():
        weights = right()
        W = weights["layers.1.W"]
        W[5, 5] = np.nextafter(W[5, 5], W.dtype.type(1))
        return weights

    port.weights = wrong
    with pytest.raises(Divergence, match=r"layers\.1\.W at first update .*: 1 of 5120 elements"):
        rungs.one_update(Judge(), reference, port)


def test_biases_that_are_never_updated_are_seen(reference, port):
    right = port.update_weights
    port.update_weights = lambda gradients, weights: right(gradients[::2], weights[::2])
    with pytest.raises(Divergence, match=r"update by hand layers\.0\.b"):
        rungs.one_update(Judge(), reference, port)
