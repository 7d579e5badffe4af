"""Mistakes in the average loss of a batch and in its gradients."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from parity_tests.ladder.oracle import Oracle, Rule
from parity_tests.traps.layer_outputs import activations
from parity_tests.traps.trap import Plant, Trap, instead

STEP = "torch_port.training.one_training_step"
LOSS = "torch_port.training.sparse_categorical_crossentropy"


def gradients(change: Callable[[list], list]) -> Plant:
    """Return a plant of a change to the gradients of a step, before the update."""

    def wrong(one_training_step: Callable) -> Callable:
        def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
            return one_training_step(model, x, y, lambda g, w: update_weights(change(g), w))

        return step

    return instead(STEP, wrong)


class Gradients(Oracle):
    """Makes a mistake in the gradients, given the right ones."""

    def change(self, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return gradients

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        loss, gradients = super().gradients(images, labels)
        return loss, self.change(gradients)


class OnLogits(Oracle):
    def __init__(self, dtype: str, rule: Rule | None = None, on_logits: bool = True) -> None:
        super().__init__(dtype, rule, on_logits=True)


def on_logits(one_training_step: Callable) -> Callable:
    def loss(labels: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z, labels.long(), reduction="none")

    def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
        last = model.layers[-1]
        with mock.patch.object(last, "activation", lambda z: z), mock.patch(LOSS, loss):
            return one_training_step(model, x, y, update_weights)

    return step


class Summed(Oracle):
    def shares(self, samples: int) -> np.ndarray:
        return np.ones(samples)


class DividedBy128(Oracle):
    def shares(self, samples: int) -> np.ndarray:
        return np.full(samples, 1 / 128)


class PassesAtZero(Oracle):
    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return np.where(z >= 0, da, 0)


class ReluThatPassesAtZero(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z)
        return torch.relu(z)

    @staticmethod
    def backward(ctx: Any, da: torch.Tensor) -> torch.Tensor:
        (z,) = ctx.saved_tensors
        return torch.where(z >= 0, da, 0)


class Detached(Oracle):
    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return np.zeros_like(da)


def detached(call: Callable) -> Callable:
    def wrong(model: Any, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = model.layers
        for layer in hidden:
            x = layer(x)
        return last(x.detach() + 0 * x)  # in the graph, so that it has a gradient: 0

    return wrong


class NormClipped(Gradients):
    def change(self, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        return {name: g * min(1, 1 / (norm + 1e-6)) for name, g in gradients.items()}


def norm_clipped(gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    norm = torch.sqrt(torch.stack([(g**2).sum() for g in gradients]).sum())
    return [g * torch.clamp(1 / (norm + 1e-6), max=1) for g in gradients]  # as torch.nn.utils does


class Accumulated(Gradients):
    def change(self, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = self.__dict__.setdefault("kept", {})
        for name, g in gradients.items():
            kept[name] = kept.get(name, 0) + g
        return dict(kept)


def accumulated(one_training_step: Callable) -> Callable:
    kept: dict[Any, list] = {}

    def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
        def accumulate(gradients: Sequence, weights: Sequence) -> None:
            before = kept.get(model, [0] * len(gradients))
            kept[model] = [a + g for a, g in zip(before, gradients, strict=True)]
            update_weights(kept[model], weights)

        return one_training_step(model, x, y, accumulate)

    return step


TRAPS = [
    Trap(
        "loss of the logits",
        "the loss is that of the logits, as in a tf.function or Keras's fit, and clips nothing",
        "keras src/backend/tensorflow/nn.py, _get_logits",
        "gradients",
        instead(STEP, on_logits),
        OnLogits,
    ),
    Trap(
        "summed loss",
        "the loss is summed over the batch, not averaged",
        "pytorch#1429",
        "gradients",
        instead("torch.mean", lambda right: torch.sum),
        Summed,
    ),
    Trap(
        "always divided by 128",
        "the loss of a partial batch is divided by 128 too",
        "a constant batch size in hand-written averages",
        "gradients",
        instead("torch.mean", lambda right: lambda losses: losses.sum() / 128),
        DividedBy128,
    ),
    Trap(
        "relu passes at 0",
        "relu passes the gradient on where its input is exactly 0",
        "jax#37821, pytorch#184574",
        "gradients",
        activations(hidden=ReluThatPassesAtZero.apply),
        PassesAtZero,
    ),
    Trap(
        "detached hidden layer",
        "no gradient reaches the first layer",
        "a detach(), a .data or a no_grad() in the forward pass",
        "gradients",
        instead("torch_port.layers.NaiveSequential.__call__", detached),
        Detached,
    ),
    Trap(
        "gradients clipped to norm 1",
        "the gradients are clipped to a global norm of 1",
        "torch.nn.utils.clip_grad_norm_ in a training template",
        "gradients",
        gradients(norm_clipped),
        NormClipped,
    ),
    Trap(
        "zero_grad forgotten",
        "the gradients of all steps add up: zero_grad is missing",
        "pytorch#47175",
        "gradients",
        instead(STEP, accumulated),
        Accumulated,
    ),
]
