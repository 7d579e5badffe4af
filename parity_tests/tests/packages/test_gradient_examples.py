"""The book's gradient examples: its numbers, in both frameworks, and what they do at kinks."""

import math

import numpy as np
import pytest

import tf_reference
import torch_port


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


def test_the_frameworks_agree_at_some_kinks_and_not_at_others():
    of_tensorflow, of_torch = tf_reference.gradients.kinks(), torch_port.gradients.kinks()
    assert list(of_tensorflow) == list(of_torch)
    assert {name: (of_tensorflow[name], of_torch[name]) for name in of_torch} == {
        "abs(x) at 0": ([0], [0]),
        "relu(x) at 0": ([0], [0]),
        "clip(x, 0, 1) at 0": ([1], [0]),
        "clip(x, 0, 1) at 1": ([1], [0]),
        "maximum(x, y) at x = y": ([1, 0], [0.5, 0.5]),
    }


def test_both_packages_print_the_same_walk_through_but_for_the_kinks(capsys):
    printed = []
    for package in (tf_reference, torch_port):
        package.gradients.walk_through()
        printed.append(capsys.readouterr().out.splitlines())
    of_tensorflow, of_torch = printed
    differing = [a for a, b in zip(of_tensorflow, of_torch, strict=True) if a != b]
    assert [line.split(":")[0].strip() for line in differing] == [
        "clip(x, 0, 1) at 0",
        "clip(x, 0, 1) at 1",
        "maximum(x, y) at x = y",
    ]
    expected = "  grad(loss, w) = grad(loss, x2) * grad(x2, x1) * grad(x1, w) = 1 * 1 * 2 = 2"
    assert expected in of_torch
