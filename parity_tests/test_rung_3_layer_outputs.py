"""Rung 3: each layer gives the same output, given the same input and weights."""

import numpy as np
import pytest

from parity_tests.harness import lockstep
from parity_tests.harness.compare import Divergence


def test_each_layer_agrees_on_mnist_and_on_directed_weights(judge, reference, port, batch):
    lockstep.layer_outputs(judge, reference, port, batch[0])


def swap_two_rows(outputs):
    outputs[[0, 1]] = outputs[[1, 0]]


def put_a_nan(outputs):
    outputs[3, 5] = np.nan


def move_one_element(outputs):
    outputs[np.unravel_index(outputs.argmax(), outputs.shape)] *= 1 + 1e-3


@pytest.mark.parametrize("mistake", [swap_two_rows, put_a_nan, move_one_element])
def test_a_wrong_output_is_seen(judge, reference, port, batch, mistake):
    right = port.layer_output

    def wrong(index, inputs):
        outputs = np.array(right(index, inputs))
        mistake(outputs)
        return outputs

    port.layer_output = wrong
    with pytest.raises(Divergence, match=r"layer output layers.0 at seed 0, batch of 128"):
        lockstep.layer_outputs(judge, reference, port, batch[0])


def test_labels_that_break_a_tie_the_other_way_are_seen(judge, reference, port, batch):
    port.predict = lambda images: 9 - reference.predict(images)
    with pytest.raises(Divergence, match="labels predicted"):
        lockstep.layer_outputs(judge, reference, port, batch[0])
