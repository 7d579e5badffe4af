"""The update rules of the book: by hand, by the SGD optimizer, and RMSprop."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .framework import ArgumentError, check, check_positive
from .weights import describe

UpdateRule = Callable[[Sequence, Sequence], None]
"""Given the gradients and the weights, changes the weights in place."""


def update_weights(
    gradients: Sequence[Tensor], weights: Sequence[Tensor], learning_rate: float = 1e-3
) -> None:
    """Subtract `learning_rate` times its gradient from each weight, in place.

    The book's listing reads the weights of a global model; this one reads its argument.

    Args:
        gradients: One for each weight, of its shape and dtype.
        weights: Changed in place.
        learning_rate: Step size, above 0.

    Raises:
        ArgumentError: If the learning rate is not a finite number above 0, or if `check_gradients`
            refuses the gradients.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """
    learning_rate = check_positive("learning_rate", learning_rate)
    check_gradients(gradients, weights)
    with torch.no_grad():
        for g, w in zip(gradients, weights, strict=True):
            w -= g * learning_rate


def check_gradients(gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Refuse gradients that are not one for each weight, of its shape and dtype."""
    # A number would be subtracted from a whole weight, by rules that differ in the frameworks.
    count = len(gradients)
    check("the number of gradients", count, count == len(weights), f"{len(weights)}, as of weights")
    for index, (g, w) in enumerate(zip(gradients, weights, strict=True)):
        check(f"gradient {index}", g, isinstance(g, Tensor), describe(w))
        fits = g.dtype == w.dtype and g.shape == w.shape
        check(f"gradient {index}", describe(g), fits, describe(w))


class SGD:
    """`update_weights` by the framework's optimizer: plain SGD, without momentum.

    Keras keeps the learning rate in the default dtype, whatever the dtype of the weights.
    Unless `use_dtype` changed it, a step is that of the nearest float32, in both packages.

    Args:
        learning_rate: Step size, above 0.

    Raises:
        ArgumentError: If the learning rate is not a finite number above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        learning_rate = check_positive("learning_rate", learning_rate)
        self.learning_rate = torch.tensor(learning_rate).item()
        self.optimizer: torch.optim.Optimizer | None = None
        self.weights: list[Tensor] = []

    def __call__(self, gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        """Update the weights in place, which must be those of the first call."""
        check_gradients(gradients, weights)
        self.weights = self.weights or list(weights)
        if [id(w) for w in weights] != [id(w) for w in self.weights]:
            raise ArgumentError("SGD was given other weights before: make one SGD for each model")
        if self.optimizer is None:
            self.optimizer = torch.optim.SGD(self.weights, lr=self.learning_rate)
        for g, w in zip(gradients, weights, strict=True):
            w.grad = g
        self.optimizer.step()
        self.optimizer.zero_grad()


class RMSprop(torch.optim.Optimizer):
    """Keras's RMSprop: v = rho v + (1 - rho) g^2, then w -= lr g / sqrt(v + eps).

    `torch.optim.RMSprop` adds epsilon to the root, not under it, and has other defaults.

    Args:
        params: Weights, or groups of weights with options of their own.
        lr: Step size, at least 0.
        rho: Share of the running average v that is kept in a step, in [0, 1].
        eps: Added to v, at least 0.

    Raises:
        ArgumentError: If an option is out of its range.

    Source: keras/src/optimizers/rmsprop.py.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, rho: float = 0.9, eps: float = 1e-7
    ) -> None:
        check("lr", lr, 0 <= lr < math.inf, "a finite number, 0 or above")
        check("rho", rho, 0 <= rho <= 1, "a number from 0 to 1")
        check("eps", eps, 0 <= eps < math.inf, "a finite number, 0 or above")
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update each weight that has a gradient; return the loss of the closure, if any."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        for group in self.param_groups:
            lr, rho, eps = group["lr"], group["rho"], group["eps"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                if w.grad.is_sparse:
                    raise RuntimeError("RMSprop does not support sparse gradients")
                if not self.state[w]:
                    self.state[w]["velocity"] = torch.zeros_like(w)
                v = self.state[w]["velocity"]
                v.mul_(rho).add_((1 - rho) * w.grad.square())
                w.sub_(lr * w.grad / (v + eps).sqrt())
        return loss
