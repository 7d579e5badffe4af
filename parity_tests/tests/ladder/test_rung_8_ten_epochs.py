"""Rung 8: ten epochs of MNIST: every loss, every gradient, the weights, all 10,000 labels."""

import numpy as np
import pytest

import torch_port
from parity_tests.ladder import training
from parity_tests.ladder.adapters import Port
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.oracle import Oracle, initial_weights
from parity_tests.page.series import trained

RUNG = "ten epochs"


@pytest.mark.long
def test_ten_epochs_of_mnist_are_the_same_training(
    judge, series, record_property, reference, port, mnist, dtype
):
    torch_port.use_device("cpu")  # as the command line does
    images, labels, test_images, test_labels = mnist(dtype)
    # Both dtypes start from the same numbers, and the oracle trains in float64 in both: labels
    # that agree with it in both dtypes agree with each other, and so do the accuracies.
    weights = initial_weights(0)
    reference.load_weights({name: w.astype(dtype) for name, w in weights.items()})
    free_port = Port(dtype=dtype)
    oracle = training.train(judge, RUNG, reference, port, free_port, images, labels, epochs=10)
    training.evaluation(judge, RUNG, reference, free_port, oracle, test_images, test_labels)
    accuracy = np.mean(reference.predict(test_images) == test_labels)
    assert 0.80 <= accuracy <= 0.83
    if dtype == "float32":
        shown = trained(reference, free_port, weights, test_images, test_labels)
        record_property("trained", shown)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_labels_are_refused_where_the_reference_is_far_from_the_oracle(reference, port, mnist):
    _, _, images, labels = mnist("float32")
    oracle = Oracle("float32")
    oracle.load_weights(initial_weights(1))
    with pytest.raises(Divergence, match=r"\d+ of 10000 images have no clear label"):
        training.evaluation(Judge(), RUNG, reference, port, oracle, images, labels)


def test_one_label_that_differs_is_seen(reference, port, mnist, dtype):
    _, _, images, labels = mnist(dtype)
    weights = initial_weights(0, dtype=dtype)
    oracle = Oracle(dtype)
    for implementation in (reference, port, oracle):
        implementation.load_weights(weights)
    wrong = reference.predict(images)
    wrong[1234] = (wrong[1234] + 1) % 10
    port.predict = lambda images: wrong
    with pytest.raises(Divergence, match=r"predicted by the port .*: 1 of 10000 elements differ"):
        training.evaluation(Judge(), RUNG, reference, port, oracle, images, labels)
