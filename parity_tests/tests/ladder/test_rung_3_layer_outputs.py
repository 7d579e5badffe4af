"""Rung 3: each layer gives the same output, given the same input and weights."""

import numpy as np
import pytest

from parity_tests.ladder import rungs
from parity_tests.ladder.compare import Divergence, Judge


def test_each_layer_agrees_on_mnist_and_on_directed_weights(judge, reference, port, batch):
    rungs.layer_outputs(judge, reference, port, batch[0])


def swap_two_rows(outputs):
    outputs[[0, 1]] = outputs[[1, 0]]


def put_a_nan(outputs):
    outputs[3, 5] = np.nan


def move_one_element(outputs):
    outputs[np.unravel_index(outputs.argmax(), outputs.shape)] *= 1 + 1e-3


@pytest.mark.parametrize("mistake", [swap_two_rows, put_a_nan, move_one_element])
def test_a_wrong_output_is_seen(reference, port, batch, mistake):
    right = port.layer_output

    def wrong(index, inputs):
        outputs = np.array(right(index, inputs))
        mistake(outputs)
        return outputs

    port.layer_output = wrong
    with pytest.raises(Divergence, match=r"layer output layers.0 at seed 0, batch of 128"):
        rungs.layer_outputs(Judge(), reference, port, batch[0])


def test_labels_that_break_a_tie_the_other_way_are_seen(reference, port, batch):
    def last_argmax(images):
        outputs = port.layer_output(1, port.layer_output(0, images))
        return 9 - outputs[:, ::-1].argmax(axis=1)

    port.predict = last_argmax
    with pytest.raises(Divergence, match=r"labels predicted at tie, batch of 128"):
        rungs.layer_outputs(Judge(), reference, port, batch[0])


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_a_reference_that_rounds_its_factors_to_tensorfloat_32_is_refused(reference, port, batch):
    right = reference.layer_output

    def tensorfloat_32(array):
        bits = array.view("uint32") + 0x1000  # half a unit of the 10 bits that stay
        return (bits & 0xFFFFE000).view("float32")

    def rounded(index, inputs):
        layer = reference.model.layers[index]
        W = layer.W.numpy()
        layer.W.assign(tensorfloat_32(W))
        outputs = right(index, tensorfloat_32(inputs))
        layer.W.assign(W)
        return outputs

    reference.layer_output = rounded
    with pytest.raises(Divergence, match=r"reference is .* units .* expected at most 2048"):
        rungs.layer_outputs(Judge(), reference, port, batch[0])
