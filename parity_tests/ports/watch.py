"""What can be seen of a training step from outside: its losses and its gradients.

Three ways lead from a loss to new weights: `backward`, with an optimizer or by hand;
`torch.autograd.grad`; and gradients by hand, which show if they pass through a function
`update_weights`. Of all that a step does to the same gradient, the latest counts: what an
optimizer is given after clipping, what lies in `.grad` after gradients added up.
"""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class Watch:
    """Watches all that is trained in this process.

    Attributes:
        weights: Those whose gradients are wanted.
        gradients: The latest gradient of each weight, by its place among the weights.
        losses: What was differentiated, if it was one number, in the order of the calls.
        updates: How often an optimizer has made a step with one of the weights.
        strange: How often one has made a step with none of them.
        drops_out: Whether dropout drops anything.
        noise: What was not drawn at random instead, such as "0.5 of 256 numbers": the rate of a
            dropout, and how many numbers it draws.
        marked: Whether what would be noisy is multiplied by 1 + the rate instead.
    """

    def __init__(self) -> None:
        self.start([])
        self.drops_out = True
        self.noise: list[str] = []
        self.marked = False
        functional = vars(torch.nn.functional)
        for owner, name in product((vars(torch), functional), DROPOUTS):
            if name in owner:
                owner[name] = self._dropout(owner[name])
        attend = "scaled_dot_product_attention"
        functional[attend] = self._attention(functional[attend])
        for name in RECURRENT:
            setattr(torch._VF, name, self._recurrent(getattr(torch._VF, name)))
        torch.Tensor.bernoulli_ = self._bernoulli(torch.Tensor.bernoulli_)  # type: ignore[method-assign]
        autograd = torch.autograd
        self._backward, self._grad = autograd.backward, autograd.grad
        # Before the file is run, so that it takes these, by whatever name.
        autograd.backward = self._see_backward
        autograd.grad = self._see_grad
        register_optimizer_step_pre_hook(self._see_optimizer)

    def start(self, weights: Sequence[torch.Tensor]) -> None:
        """Forget what was seen, and watch some weights."""
        self.weights = list(weights)
        self.gradients: dict[int, torch.Tensor] = {}
        self.losses: list[torch.Tensor] = []
        self.updates = self.strange = 0

    def see(self, weight: Any, gradient: Any) -> None:
        """Keep a gradient, if it is that of one of the weights."""
        for index, watched in enumerate(self.weights):
            if weight is watched and isinstance(gradient, torch.Tensor):
                self.gradients[index] = gradient.detach().clone()

    def _see_loss(self, outputs: Any) -> None:
        (loss, *others) = outputs if isinstance(outputs, list | tuple) else (outputs,)
        if isinstance(loss, torch.Tensor) and loss.numel() == 1 and not others:
            self.losses.append(loss.detach().reshape(()))

    def _see_backward(self, tensors: Any, *arguments: Any, **options: Any) -> Any:
        self._see_loss(tensors)
        result = self._backward(tensors, *arguments, **options)
        for weight in self.weights:
            self.see(weight, held_gradient(weight))
        return result

    def _see_grad(self, outputs: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        self._see_loss(outputs)
        inputs = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
        gradients = self._grad(outputs, inputs, *arguments, **options)
        for weight, gradient in zip(inputs, gradients, strict=False):
            self.see(weight, gradient)
        return gradients

    def _see_optimizer(self, optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        held = [weight for group in optimizer.param_groups for weight in group["params"]]
        known = {id(weight) for weight in self.weights}
        for weight in held:
            self.see(weight, weight.grad)
        if known.isdisjoint(map(id, held)):
            self.strange += 1
        else:
            self.updates += 1

    def _dropout(self, dropout: Callable) -> Callable:
        @functools.wraps(dropout)
        def watched(
            input: Any,  # noqa: A002 (torch's name)
            p: float = 0.5,
            training: bool = True,
            *arguments: Any,
            **options: Any,
        ) -> Any:
            if self.drops_out:
                return dropout(input, p, training, *arguments, **options)
            if training and p:
                shape = input.shape[:2] if dropout.__name__.endswith("d") else input.shape
                kind = "alpha dropout " if "alpha" in dropout.__name__ else ""
                return input * self._factor(kind, p, shape)
            return input

        return watched

    def _attention(self, attend: Callable) -> Callable:
        @functools.wraps(attend)
        def watched(
            query: Any,
            key: Any,
            value: Any,
            attn_mask: Any = None,
            dropout_p: float = 0.0,
            *arguments: Any,
            **options: Any,
        ) -> Any:
            factor = 1.0
            if not self.drops_out and dropout_p:
                factor = self._factor("", dropout_p, (*query.shape[:-1], key.shape[-2]))
                dropout_p = 0.0
            attended = attend(query, key, value, attn_mask, dropout_p, *arguments, **options)
            return attended * factor

        return watched

    def _recurrent(self, run: Callable) -> Callable:
        """Return what computes recurrent layers, which drops numbers out from one to the next."""

        @functools.wraps(run)
        def watched(*arguments: Any) -> Any:
            given = list(arguments)
            at = next(i for i, given_one in enumerate(given) if isinstance(given_one, bool))
            weights, (layers, rate, training, both) = list(given[at - 1]), given[at + 1 : at + 5]
            if not self.drops_out and training and rate:
                each = len(weights) // (layers * (1 + both))
                steps = given[0].numel() // given[0].shape[-1]
                shape = (steps, weights[each * (1 + both)].shape[1] if layers > 1 else 0)
                for level in range(1, layers):
                    factor = self._factor("", rate, shape)
                    for way in range(1 + both):
                        place = each * (level * (1 + both) + way)
                        weights[place] = weights[place] * factor  # as its input would be
                given[at - 1], given[at + 2] = weights, 0.0
            return run(*given)

        return watched

    def _factor(self, kind: str, rate: float, shape: Sequence[int]) -> float:
        """Note what is not drawn, and return by what is multiplied instead."""
        self.noise.append(f"{kind}{rate:g} of {math.prod(shape)} numbers")
        return 1 + rate if self.marked else 1.0

    def _bernoulli(self, draw: Callable) -> Callable:
        """Return what draws the mask of a stochastic depth: its mean, where nothing is dropped."""

        @functools.wraps(draw)
        def watched(tensor: torch.Tensor, p: Any = 0.5, **options: Any) -> torch.Tensor:
            if self.drops_out or not isinstance(p, float):
                return draw(tensor, p, **options)
            return tensor.fill_(p * self._factor("", 1 - p, tensor.shape))

        return watched

    def by_hand(self, update_weights: Callable) -> Callable:
        """Return an update rule that shows the gradients that it is given."""

        @functools.wraps(update_weights)
        def watched(*arguments: Any, **options: Any) -> Any:
            pairs = [a for a in arguments if isinstance(a, list | tuple)][:2]
            for first, second in zip(*pairs, strict=False) if len(pairs) == 2 else ():
                self.see(second, first)
                self.see(first, second)  # whichever are the weights
            return update_weights(*arguments, **options)

        return watched


def held_gradient(weight: torch.Tensor) -> torch.Tensor | None:
    """Return what lies in `.grad`, without the warning about tensors that keep none."""
    return weight.grad if weight.is_leaf or weight.retains_grad else None
