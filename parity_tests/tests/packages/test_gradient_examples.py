"""The book's gradient examples: its numbers, in both frameworks, and what they do at kinks."""

import math

import numpy as np
import pytest

from parity_tests.__main__ import main
from parity_tests.program.frameworks import FRAMEWORKS


def test_the_gradient_of_a_scalar_is_2(package):
    gradient = np.asarray(package.gradients.scalar_gradient())
    assert (gradient.shape, gradient.dtype, gradient.item()) == ((), "float32", 2.0)


def test_the_gradient_of_a_matrix_is_2_everywhere(package):
    gradient = np.asarray(package.gradients.matrix_gradient())
    np.testing.assert_array_equal(gradient, np.full((2, 2), 2, "float32"), strict=True)


@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 3, 4)])
def test_the_gradients_of_a_dense_layer_are_sums_over_the_batch(package, dtype, shape):
    batch, inputs, outputs = shape
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (batch, inputs)).astype(dtype)
    W = rng.uniform(0, 1, (inputs, outputs)).astype(dtype)
    dW, db = map(np.asarray, package.gradients.dense_gradients(x, W, np.zeros(outputs, dtype)))
    expected = np.repeat(x.sum(axis=0)[:, None], outputs, axis=1)
    np.testing.assert_array_equal(dW, expected, strict=True)
    np.testing.assert_array_equal(db, np.full(outputs, batch, dtype), strict=True)


def test_the_graph_has_the_values_and_the_edge_derivatives_of_the_book(package):
    values, derivatives = package.gradients.computation_graph()
    assert values == {"x": 2, "w": 3, "b": 1, "y_true": 4, "x1": 6, "x2": 7, "loss": 3}
    assert derivatives == {
        ("loss", "x2"): 1,
        ("x2", "x1"): 1,
        ("x2", "b"): 1,
        ("x1", "w"): 2,
        ("loss", "b"): 1,
        ("loss", "w"): 2,
    }


@pytest.mark.parametrize("inputs", [(2, 3, 1, 9), (-1.5, 0.5, 4, -8), (0, 1, 1, 0)])
def test_derivatives_multiply_along_the_path_for_other_inputs(package, inputs):
    values, grad = package.gradients.computation_graph(*map(float, inputs))
    sign = math.copysign(1, values["x2"] - values["y_true"])
    assert grad["loss", "x2"] == sign
    assert grad["loss", "b"] == grad["loss", "x2"] * grad["x2", "b"] == sign
    path = [("loss", "x2"), ("x2", "x1"), ("x1", "w")]
    assert grad["loss", "w"] == math.prod(grad[edge] for edge in path) == sign * inputs[0]


KINKS = {
    "tf_reference": {
        "abs(x) at 0": [0],
        "relu(x) at 0": [0],
        "clip(x, 0, 1) at 0": [1],
        "clip(x, 0, 1) at 1": [1],
        "maximum(x, y) at x = y": [1, 0],
    },
    "torch_port": {
        "abs(x) at 0": [0],
        "relu(x) at 0": [0],
        "clip(x, 0, 1) at 0": [0],
        "clip(x, 0, 1) at 1": [0],
        "maximum(x, y) at x = y": [0.5, 0.5],
    },
}


def test_the_frameworks_agree_at_some_kinks_and_not_at_others(package):
    kinks = package.gradients.kinks()
    assert kinks == KINKS[package.__name__]
    assert list(kinks) == list(KINKS["tf_reference"])


def test_the_walk_through_prints_every_example_with_its_numbers(package, status_of, capsys):
    kinks = KINKS[package.__name__].items()
    lines = [
        "The gradient of a function",
        "  y = 2 x + 3 at x = 0: grad(y, x) = 2.",
        "  y = 2 x + 3 for a matrix x: grad(y, x) = [[2., 2.], [2., 2.]]",
        "The gradients of a dense layer",
        "  y = x W + b for x = [[0.637 , 0.2698], [0.041 , 0.0165]]",
        "  grad(y, W) = [[0.6779, 0.6779], [0.2863, 0.2863]], in each row the sum of a column of x",
        "  grad(y, b) = [2., 2.], the number of rows of x",
        "The forward pass: from the inputs to the loss",
        "  x = 2, w = 3, b = 1, y_true = 4",
        "  x1 = x w = 6",
        "  x2 = x1 + b = 7",
        "  loss = |y_true - x2| = 3",
        "The backward pass: how much each node moves with the one before it",
        "  grad(loss, x2) = 1",
        "  grad(x2, x1) = 1",
        "  grad(x2, b) = 1",
        "  grad(x1, w) = 2",
        "The chain rule: multiply along the path",
        "  grad(loss, b) = grad(loss, x2) * grad(x2, b) = 1 * 1 = 1",
        "  in one go: 1",
        "  grad(loss, w) = grad(loss, x2) * grad(x2, x1) * grad(x1, w) = 1 * 1 * 2 = 2",
        "  in one go: 2",
        "Where there is no derivative, the framework chooses one",
        *(f"  {point}: {', '.join(map(str, gradients))}" for point, gradients in kinks),
    ]
    for _ in range(2):  # the numbers of the layer are drawn, and the same each time
        assert status_of(main, "gradients", FRAMEWORKS[package.__name__]) == 0
        assert capsys.readouterr().out.splitlines() == lines
