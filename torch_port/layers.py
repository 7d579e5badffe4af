"""The network: a dense layer, a sequence of layers, and the model that learns MNIST."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .framework import DTYPES, check, check_whole

LARGEST_SIZE = 2**31 - 1
"""Values in one input or output: the routines that multiply matrices count in 32 bits."""


class NaiveDense:
    """A dense layer: `activation(inputs @ W + b)`.

    The kernel `W`, of shape (input_size, output_size), starts uniform in [0, 0.1); the
    bias `b`, of shape (output_size,), starts at 0. NumPy draws the kernel, in float64,
    so that one seed gives the same weights in every framework.

    Args:
        input_size: Number of values in one input, 1 to `LARGEST_SIZE`.
        output_size: Number of values in one output, 1 to `LARGEST_SIZE`.
        activation: Maps pre-activations of shape (batch, output_size) to outputs of the
            same shape.
        rng: Draws the kernel. By default an unseeded generator.
        dtype: Of both weights.

    Raises:
        ArgumentError: If a size or the dtype is not as it must be.

    Source: Deep Learning with Python, 2nd edition, section 2.5.1.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        activation: Callable[[Tensor], Tensor],
        *,
        rng: np.random.Generator | None = None,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        check_whole("input_size", input_size, 1, LARGEST_SIZE)
        check_whole("output_size", output_size, 1, LARGEST_SIZE)
        check("dtype", dtype, dtype in DTYPES, "float32 or float64")
        check("activation", activation, callable(activation), "a function of pre-activations")
        self.activation = activation
        rng = rng or np.random.default_rng()
        check("rng", rng, hasattr(rng, "uniform"), "a generator of NumPy's")

        w_shape = (input_size, output_size)
        w_initial_value = rng.uniform(0, 1e-1, w_shape).astype(dtype)
        self.W = torch.tensor(w_initial_value, requires_grad=True)

        b_shape = (output_size,)
        b_initial_value = np.zeros(b_shape, dtype)
        self.b = torch.tensor(b_initial_value, requires_grad=True)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map inputs of shape (batch, input_size) to outputs of shape (batch, output_size)."""
        return self.activation(torch.matmul(inputs, self.W) + self.b)

    @property
    def weights(self) -> list[Tensor]:
        """The kernel and the bias, in this order."""
        return [self.W, self.b]


class NaiveSequential:
    """A model that passes its input through one layer after the other.

    Args:
        layers: In the order in which they are called.

    Raises:
        ArgumentError: If one of them is no layer.

    Source: Deep Learning with Python, 2nd edition, section 2.5.1.
    """

    def __init__(self, layers: list[NaiveDense]) -> None:
        check("layers", layers, isinstance(layers, Iterable), "a list of layers")
        self.layers = list(layers)  # which can be run through more than once
        for layer in self.layers:
            made = hasattr(layer, "weights") and not isinstance(layer, type)
            check("a layer", layer, made, "one that has weights")

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map inputs of shape (batch, input_size) to the last layer's outputs."""
        x = inputs
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def weights(self) -> list[Tensor]:
        """The weights of every layer, in the layers' order."""
        weights = []
        for layer in self.layers:
            weights += layer.weights
        return weights


def mnist_model(
    seed: int | None = None, dtype: Literal["float32", "float64"] = "float32"
) -> NaiveSequential:
    """Return the book's model: 784 pixels, 512 relu units, 10 softmax probabilities.

    Args:
        seed: Of the initial weights, at least 0. By default they differ at every call.
        dtype: Of the weights.

    Raises:
        ArgumentError: If the seed or the dtype is not as it must be.
    """
    rng = np.random.default_rng(None if seed is None else check_whole("seed", seed, 0))
    return NaiveSequential(
        [
            NaiveDense(28 * 28, 512, torch.relu, rng=rng, dtype=dtype),
            NaiveDense(512, 10, partial(torch.softmax, dim=-1), rng=rng, dtype=dtype),
        ]
    )
