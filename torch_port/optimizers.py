"""The two update rules of the book: by hand, and by the framework's SGD optimizer."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

UpdateRule = Callable[[Sequence, Sequence], None]
"""Given the gradients and the weights, changes the weights in place."""


def update_weights(
    gradients: Sequence[Tensor], weights: Sequence[Tensor], learning_rate: float = 1e-3
) -> None:
    """Subtracts `learning_rate` times its gradient from each weight, in place.

    The book's listing reads the weights of a global model; this one reads its argument.

    Args:
        gradients: One for each weight, of its shape and dtype.
        weights: Changed in place.
        learning_rate: Step size, above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """
    with torch.no_grad():
        for g, w in zip(gradients, weights, strict=True):
            w -= g * learning_rate


class SGD:
    """`update_weights` by the framework's optimizer: plain SGD, without momentum.

    Keras keeps its learning rate in float32, whatever the dtype of the weights. With
    float64 weights a step is therefore that of the nearest float32, in both packages.

    Args:
        learning_rate: Step size, above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        self.learning_rate = float(np.float32(learning_rate))
        self.optimizer: torch.optim.Optimizer | None = None

    def __call__(self, gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        """Updates the weights in place.

        Raises:
            ValueError: If these are not the weights of the first call.
        """
        if self.optimizer is None:
            self.optimizer = torch.optim.SGD(weights, lr=self.learning_rate)
        known = self.optimizer.param_groups[0]["params"]
        if any(w is not p for w, p in zip(weights, known, strict=True)):
            raise ValueError("SGD was given other weights before: make one SGD for each model")
        for g, w in zip(gradients, weights, strict=True):
            w.grad = g
        self.optimizer.step()
        self.optimizer.zero_grad()
