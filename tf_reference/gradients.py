"""The book's gradient examples: from one number to a layer, and the chain rule on a graph."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from .arguments import as_floats
from .framework import Tensor, tf


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
        ValueError: If their numbers are not of one dtype, float32 or float64.

    Source: Deep Learning with Python, 2nd edition, section 2.4.4.
    """
    x, W, b = as_floats(x=x, W=W, b=b)
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


def walk_through() -> None:
    """Print every example with its numbers."""
    print("The gradient of a function")
    print(f"  y = 2 x + 3 at x = 0: grad(y, x) = {_text(scalar_gradient())}")
    print(f"  y = 2 x + 3 for a matrix x: grad(y, x) = {_text(matrix_gradient())}")

    print("The gradients of a dense layer")
    rng = np.random.default_rng(0)
    x, W = rng.uniform(0, 1, (2, 2, 2))
    grad_w, grad_b = dense_gradients(x, W, np.zeros(2))
    print(f"  y = x W + b for x = {_text(x)}")
    print(f"  grad(y, W) = {_text(grad_w)}, in each row the sum of a column of x")
    print(f"  grad(y, b) = {_text(grad_b)}, the number of rows of x")

    values, derivatives = computation_graph()
    print("The forward pass: from the inputs to the loss")
    print("  " + ", ".join(f"{name} = {values[name]:g}" for name in ("x", "w", "b", "y_true")))
    print(f"  x1 = x w = {values['x1']:g}")
    print(f"  x2 = x1 + b = {values['x2']:g}")
    print(f"  loss = |y_true - x2| = {values['loss']:g}")
    print("The backward pass: how much each node moves with the one before it")
    for edge in [("loss", "x2"), ("x2", "x1"), ("x2", "b"), ("x1", "w")]:
        print(f"  grad({', '.join(edge)}) = {derivatives[edge]:g}")
    print("The chain rule: multiply along the path")
    for path in (["loss", "x2", "b"], ["loss", "x2", "x1", "w"]):
        edges = list(pairwise(path))
        names = " * ".join(f"grad({', '.join(edge)})" for edge in edges)
        factors = " * ".join(f"{derivatives[edge]:g}" for edge in edges)
        product = math.prod(derivatives[edge] for edge in edges)
        print(f"  grad(loss, {path[-1]}) = {names} = {factors} = {product:g}")
        print(f"  in one go: {derivatives['loss', path[-1]]:g}")

    print("Where there is no derivative, the framework chooses one")
    for point, gradients in kinks().items():
        print(f"  {point}: {', '.join(f'{gradient:g}' for gradient in gradients)}")


def _text(values: Tensor | np.ndarray) -> str:
    return np.array2string(np.asarray(values), precision=4, separator=", ").replace("\n", "")
