"""The update rules of the book: by hand, by the SGD optimizer, and RMSprop."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .arguments import check_number, check_positive, shown
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
        ValueError: If the learning rate is not a finite number above 0, or if `check_gradients`
            refuses the gradients.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """
    learning_rate = check_positive("learning_rate", learning_rate)
    check_gradients(gradients, weights)
    with torch.no_grad():
        for g, w in zip(gradients, weights, strict=True):
            w -= g * learning_rate


def check_gradients(gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Refuse gradients that are not one for each weight, of its shape and dtype.

    A number would be subtracted from a whole weight, by rules that differ in the frameworks.

    Raises:
        ValueError: With the position of the weight.
    """
    if len(gradients) != len(weights):
        raise ValueError(
            f"{len(gradients)} gradients but {len(weights)} weights: expected one for each weight"
        )
    for index, (g, w) in enumerate(zip(gradients, weights, strict=True)):
        if not isinstance(g, Tensor) or g.dtype != w.dtype or g.shape != w.shape:
            found = describe(g) if isinstance(g, Tensor) else shown(repr(g))
            raise ValueError(f"gradient {index} is {found}: expected {describe(w)}")


class SGD:
    """`update_weights` by the framework's optimizer: plain SGD, without momentum.

    Keras keeps the learning rate in the default dtype, whatever the dtype of the weights.
    Unless `use_dtype` changed it, a step is that of the nearest float32, in both packages.

    Args:
        learning_rate: Step size, above 0.

    Raises:
        ValueError: If the learning rate is not a finite number above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        learning_rate = check_positive("learning_rate", learning_rate)
        self.learning_rate = torch.tensor(learning_rate).item()
        self.optimizer: torch.optim.Optimizer | None = None
        self.weights: list[Tensor] = []

    def __call__(self, gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        """Update the weights in place.

        Raises:
            ValueError: If these are not the weights of the first call, or if `check_gradients`
                refuses the gradients.
        """
        check_gradients(gradients, weights)
        self.weights = self.weights or list(weights)
        if [id(w) for w in weights] != [id(w) for w in self.weights]:
            raise ValueError("SGD was given other weights before: make one SGD for each model")
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
        foreach: Whether all weights of a group are updated by one call for each operation.
            By default on CUDA devices, where it saves launches.

    Raises:
        ValueError: If an option is out of its range.

    Source: keras/src/optimizers/rmsprop.py.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        rho: float = 0.9,
        eps: float = 1e-7,
        foreach: bool | None = None,
    ) -> None:
        options = {
            "lr": check_number("lr", lr, 0),
            "rho": check_number("rho", rho, 0, 1),
            "eps": check_number("eps", eps, 0),
        }
        super().__init__(params, {**options, "foreach": foreach})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update each weight that has a gradient.

        Args:
            closure: Computes the gradients anew, and returns the loss.

        Returns:
            The loss of the closure, if there is one.

        Raises:
            RuntimeError: If a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            gradients = [w.grad for w in weights]
            if any(g.is_sparse for g in gradients):
                raise RuntimeError("RMSprop does not support sparse gradients")
            for w in weights:
                if not self.state[w]:
                    self.state[w]["velocity"] = torch.zeros_like(w)
            velocities = [self.state[w]["velocity"] for w in weights]
            options = group["lr"], group["rho"], group["eps"]
            foreach = group["foreach"]
            if foreach is None:
                foreach = all(w.is_cuda for w in weights)
            if foreach and weights:
                self._update_all(weights, gradients, velocities, *options)
            else:
                for w, g, v in zip(weights, gradients, velocities, strict=True):
                    self._update(w, g, v, *options)
        return loss

    @staticmethod
    def _update(w: Tensor, g: Tensor, v: Tensor, lr: float, rho: float, eps: float) -> None:
        v.mul_(rho).add_((1 - rho) * g.square())
        w.sub_(lr * g / (v + eps).sqrt())

    @staticmethod
    def _update_all(
        weights: list[Tensor],
        gradients: list[Tensor],
        velocities: list[Tensor],
        lr: float,
        rho: float,
        eps: float,
    ) -> None:
        squares = torch._foreach_mul(gradients, gradients)
        torch._foreach_mul_(squares, 1 - rho)
        torch._foreach_mul_(velocities, rho)
        torch._foreach_add_(velocities, squares)
        roots = torch._foreach_add(velocities, eps)
        torch._foreach_sqrt_(roots)
        steps = torch._foreach_mul(gradients, lr)
        torch._foreach_div_(steps, roots)
        torch._foreach_sub_(weights, steps)
