"""Mistakes in the training of the book's first example."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch

from parity_tests.ladder.oracle import Oracle, RMSprop, Rule
from parity_tests.traps.gradients import Accumulated
from parity_tests.traps.trap import Plant, Trap, instead


def first_rmsprop(
    wrong: Callable[..., torch.optim.Optimizer], make: Callable[[float], Rule]
) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of another optimizer: of the weights and the rate, of the rate."""

    class First(Oracle):
        def first_example(self) -> Oracle:
            right = super().first_example()
            right.rule = make(1e-3)
            return right

    return instead("torch_port.first_example.RMSprop", lambda right: partial(wrong)), First


class EpsilonOutside(RMSprop):
    def root(self, v: np.ndarray) -> np.ndarray:
        return np.sqrt(v) + self.epsilon


class FirstClips(Oracle):
    def first_example(self) -> Oracle:
        right = super().first_example()
        right.on_logits = False
        return right


def first_clips(cross_entropy: Callable) -> Callable:
    losses = import_module("torch_port.losses")

    def wrong(x: torch.Tensor, labels: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        if reduction == "none":  # the network from scratch
            return cross_entropy(x, labels, reduction=reduction)
        return losses.sparse_categorical_crossentropy(labels, torch.softmax(x, dim=-1)).mean()

    return wrong


class FirstAccumulates(Oracle):
    def first_example(self) -> Oracle:
        right = super().first_example()
        return Accumulated(right.dtype, right.rule, on_logits=True)


def forgetful(rmsprop: Any) -> Any:
    class Forgetful(rmsprop):
        def zero_grad(self, set_to_none: bool = True) -> None:
            pass

    return Forgetful


def torch_rmsprop(**options: Any) -> Callable[..., torch.optim.Optimizer]:
    return partial(torch.optim.RMSprop, **options)


def ours(**options: Any) -> Callable[..., torch.optim.Optimizer]:
    def optimizer(params: Any, lr: float) -> torch.optim.Optimizer:
        rmsprop = import_module("torch_port.optimizers").RMSprop
        return rmsprop(params, **{"lr": lr, **options})

    return optimizer


TRAPS = [
    Trap(
        "RMSprop: epsilon outside",
        "RMSprop adds epsilon to the root, as PyTorch does, not under it",
        "pytorch#23796, jax#1427",
        "first example",
        *first_rmsprop(torch_rmsprop(alpha=0.9, eps=1e-7), EpsilonOutside),
    ),
    Trap(
        "RMSprop: rho 0.99",
        "RMSprop averages with 0.99, PyTorch's default, not with 0.9",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(ours(rho=0.99), partial(RMSprop, rho=0.99)),
    ),
    Trap(
        "RMSprop: epsilon 1e-8",
        "RMSprop has an epsilon of 1e-8, PyTorch's default, not 1e-7",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(ours(eps=1e-8), partial(RMSprop, epsilon=1e-8)),
    ),
    Trap(
        "RMSprop: rate 1e-2",
        "RMSprop has a learning rate of 1e-2, PyTorch's default, not 1e-3",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(ours(lr=1e-2), lambda rate: RMSprop(10 * rate)),
    ),
    Trap(
        "RMSprop: as torch has it",
        "the optimizer is torch.optim.RMSprop with its defaults, but for the learning rate",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(torch_rmsprop(), lambda rate: EpsilonOutside(rate, 0.99, 1e-8)),
    ),
    Trap(
        "RMSprop: zero_grad forgotten",
        "the gradients of all steps add up, and RMSprop hides it",
        "pytorch#47175",
        "first example",
        instead("torch_port.first_example.RMSprop", forgetful),
        FirstAccumulates,
    ),
    Trap(
        "first example clips",
        "the first example trains on clipped probabilities, where Keras's fit takes the logits",
        "keras src/backend/tensorflow/nn.py, _get_logits",
        "first example",
        instead("torch.nn.functional.cross_entropy", first_clips),
        FirstClips,
    ),
]
