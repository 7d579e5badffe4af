"""The command `gradients`: the book's gradient examples, number by number."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from parity_tests.program.frameworks import Framework, Twin


def gradients(framework: Framework, /) -> None:
    """Print the book's gradient examples, number by number."""
    examples = Twin(framework).gradients
    print("The gradient of a function")
    print(f"  y = 2 x + 3 at x = 0: grad(y, x) = {_text(examples.scalar_gradient())}")
    print(f"  y = 2 x + 3 for a matrix x: grad(y, x) = {_text(examples.matrix_gradient())}")

    print("The gradients of a dense layer")
    rng = np.random.default_rng(0)
    x, W = rng.uniform(0, 1, (2, 2, 2))
    grad_w, grad_b = examples.dense_gradients(x, W, np.zeros(2))
    print(f"  y = x W + b for x = {_text(x)}")
    print(f"  grad(y, W) = {_text(grad_w)}, in each row the sum of a column of x")
    print(f"  grad(y, b) = {_text(grad_b)}, the number of rows of x")

    _print_graph(*examples.computation_graph())
    print("Where there is no derivative, the framework chooses one")
    for point, chosen in examples.kinks().items():
        print(f"  {point}: {', '.join(f'{gradient:g}' for gradient in chosen)}")


def _print_graph(values: dict[str, float], derivatives: dict[tuple[str, str], float]) -> None:
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


def _text(values: Any) -> str:
    return np.array2string(np.asarray(values), precision=4, separator=", ").replace("\n", "")
