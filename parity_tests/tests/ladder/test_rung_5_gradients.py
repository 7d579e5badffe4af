"""Rung 5: the gradient of each weight, in full, given the same weights and batch."""

import numpy as np
import pytest

from parity_tests.ladder import rungs
from parity_tests.ladder.compare import Divergence, Judge


def test_the_gradient_of_each_weight_agrees(judge, reference, port, batch):
    rungs.gradients(judge, reference, port, *batch)


def move_the_largest_element_by_a_thousandth(gradients):
    W = gradients["layers.0.W"]
    W[np.unravel_index(np.abs(W).argmax(), W.shape)] *= 1 + 1e-3
    return r"gradient layers\.0\.W at seed 0, batch of 128 .*: 1 of 401408 elements differ"


def exchange_two_rows(gradients):
    gradients["layers.1.W"][[0, 1]] = gradients["layers.1.W"][[1, 0]]
    return r"gradient layers\.1\.W"


def exchange_two_biases(gradients):
    gradients["layers.1.b"][[2, 3]] = gradients["layers.1.b"][[3, 2]]
    return r"gradient layers\.1\.b .*: 2 of 10 elements differ"


def put_a_nan(gradients):
    gradients["layers.0.b"][11] = np.nan
    return r"gradient layers\.0\.b .*: 1 of 512 elements differ"


def sum_over_the_batch(gradients):
    for gradient in gradients.values():
        gradient *= 128
    return r"gradient layers\.0\.W"


def take_another_dtype(gradients):
    other = "float64" if gradients["layers.0.b"].dtype == "float32" else "float32"
    gradients["layers.0.b"] = gradients["layers.0.b"].astype(other)
    return rf"dtype {other} in port"


@pytest.mark.parametrize(
    "mistake",
    [
        move_the_largest_element_by_a_thousandth,
        exchange_two_rows,
        exchange_two_biases,
        put_a_nan,
        sum_over_the_batch,
        take_another_dtype,
    ],
)
def test_a_wrong_gradient_is_seen(reference, port, batch, mistake):
    right = port.gradients
    messages = []

    def wrong(images, labels):
        loss, gradients = right(images, labels)
        gradients = {name: np.array(gradient) for name, gradient in gradients.items()}
        messages.append(mistake(gradients))
        return loss, gradients

    port.gradients = wrong
    with pytest.raises(Divergence) as divergence:
        rungs.gradients(Judge(), reference, port, *batch)
    assert divergence.match(messages[0])


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_a_small_element_off_by_a_thousandth_is_seen_in_float64(reference, port, batch):
    right = port.gradients

    def wrong(images, labels):
        loss, gradients = right(images, labels)
        W = gradients["layers.0.W"] = gradients["layers.0.W"].copy()
        sizes = np.where(W == 0, np.inf, np.abs(W))
        smallest_hundredth = np.quantile(sizes[np.isfinite(sizes)], 0.01)
        W[np.unravel_index(np.abs(sizes - smallest_hundredth).argmin(), W.shape)] *= 1 + 1e-3
        return loss, gradients

    port.gradients = wrong
    with pytest.raises(Divergence, match=r"layers\.0\.W .*: 1 of 401408 elements differ"):
        rungs.gradients(Judge(), reference, port, *batch)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_a_gradient_off_by_a_ten_thousandth_in_one_case_only_is_seen(reference, port, batch):
    right = port.gradients
    calls = []

    def wrong(images, labels):
        loss, gradients = right(images, labels)
        calls.append(len(images))
        factor = 1.0001 if len(calls) == 16 else 1  # the fourth of the directed weights
        return loss, {name: g * np.float32(factor) for name, g in gradients.items()}

    port.gradients = wrong
    with pytest.raises(Divergence, match=r"gradient layers\.0\.W at tie, batch of 128"):
        rungs.gradients(Judge(), reference, port, *batch)
