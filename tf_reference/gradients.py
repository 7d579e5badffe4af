"""The book's gradient examples: from one number to a layer, and the chain rule on a graph."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .framework import DTYPES, Tensor, as_array, check, tf


def scalar_gradient() -> Tensor:
    """Return the derivative of y = 2 x + 3 at x = 0: a scalar, 2.

    Source: Deep Learning with Python, 2nd edition, section 2.4.4.
    """
    x = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        y = 2 * x + 3
    return tape.gradient(y, x)


def matrix_gradient() -> Tensor:
    """Return the gradient of y = 2 x + 3, summed, for a matrix x: shape (2, 2), each 2.

    Source: Deep Learning with Python, 2nd edition, section 2.4.4.
    """
    x = tf.Variable(tf.random.uniform((2, 2)))
    with tf.GradientTape() as tape:
        y = 2 * x + 3
    return tape.gradient(y, x)


def dense_gradients(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> list[Tensor]:
    """Return the gradients of y = x W + b, summed, with respect to W and to b.

    Args:
        x: Inputs, shape (batch, inputs).
        W: Kernel, shape (inputs, outputs), in the dtype of the inputs.
        b: Bias, shape (outputs,), in the dtype of the inputs.

    Raises:
        ArgumentError: If their numbers are not of one dtype, float32 or float64.

    Source: Deep Learning with Python, 2nd edition, section 2.4.4.
    """
    x, W, b = (as_array(name, values) for name, values in (("x", x), ("W", W), ("b", b)))
    dtypes = [array.dtype.name for array in (x, W, b)]
    check("x, W and b", dtypes, dtypes in ([d] * 3 for d in DTYPES), "all float32 or all float64")
    weights = [tf.Variable(W), tf.Variable(b)]
    with tf.GradientTape() as tape:
        y = tf.matmul(x, weights[0]) + weights[1]
    return tape.gradient(y, weights)


def computation_graph(
    x: float = 2.0, w: float = 3.0, b: float = 1.0, y_true: float = 4.0
) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """Run x1 = x w, x2 = x1 + b, loss = |y_true - x2| forward and backward.

    Args:
        x: Input.
        w: Weight.
        b: Bias.
        y_true: Target.

    Returns:
        The value of each node by name; and by two names, such as ("loss", "x2"), the
        derivative of the first with respect to the second: for each edge between the loss
        and w or b, and for the loss with respect to w and b themselves.

    Source: Deep Learning with Python, 2nd edition, section 2.4.4.
    """
    inputs = {"x": x, "w": w, "b": b, "y_true": y_true}
    nodes = {name: tf.Variable(float(value)) for name, value in inputs.items()}
    with tf.GradientTape(persistent=True) as tape:
        nodes["x1"] = nodes["x"] * nodes["w"]
        nodes["x2"] = nodes["x1"] + nodes["b"]
        nodes["loss"] = tf.abs(nodes["y_true"] - nodes["x2"])

    derivatives = {}
    edges = [("loss", "x2"), ("x2", "x1"), ("x2", "b"), ("x1", "w")]
    for output, node in [*edges, ("loss", "w"), ("loss", "b")]:
        derivatives[output, node] = float(tape.gradient(nodes[output], nodes[node]))
    return {name: float(value) for name, value in nodes.items()}, derivatives


def kinks() -> dict[str, list[float]]:
    """Return, by function and point, what passes for a gradient where there is none.

    Each list holds one number for each argument of the function.
    """
    clip = partial(tf.clip_by_value, clip_value_min=0, clip_value_max=1)
    functions: dict[str, tuple[Callable, list[float]]] = {
        "abs(x) at 0": (tf.abs, [0.0]),
        "relu(x) at 0": (tf.nn.relu, [0.0]),
        "clip(x, 0, 1) at 0": (clip, [0.0]),
        "clip(x, 0, 1) at 1": (clip, [1.0]),
        "maximum(x, y) at x = y": (tf.maximum, [1.0, 1.0]),
    }
    gradients = {}
    for name, (function, point) in functions.items():
        x = [tf.Variable(value) for value in point]
        with tf.GradientTape() as tape:
            y = function(*x)
        gradients[name] = [float(g) for g in tape.gradient(y, x)]
    return gradients
