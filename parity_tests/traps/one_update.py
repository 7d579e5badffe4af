"""Mistakes in the update rule."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from parity_tests.ladder.oracle import Oracle
from parity_tests.traps.trap import Plant, Trap, instead

UPDATE = "torch_port.optimizers.update_weights"


def update(wrong: Callable[..., None]) -> Plant:
    """Return a plant of another rule: `wrong` of the right one, and its three arguments."""

    def replace(right: Callable) -> Callable:
        def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
            with torch.no_grad():
                wrong(right, gradients, weights, learning_rate)

        return rule

    return instead(UPDATE, replace)


class Update(Oracle):
    """Makes a mistake in what is taken for the gradient in an update."""

    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return g

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        super().update(
            {name: self.direction(name, g, self._weights[name]) for name, g in gradients.items()}
        )


class NoBiasUpdate(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return 0 * g if name.endswith("b") else super().direction(name, g, w)


class TenfoldRate(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return 10 * super().direction(name, g, w)


class WeightDecay(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return super().direction(name, g, w) + 1e-2 * w


class Momentum(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        v = self.__dict__.setdefault("velocities", {})
        v[name] = 0.9 * v.get(name, 0) + super().direction(name, g, w)
        return v[name]


class Adam(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        t, m, v = self.__dict__.setdefault("moments", {}).get(name, (0, 0, 0))
        g = super().direction(name, g, w)
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        self.__dict__["moments"][name] = t, m, v
        return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def weight_decay(right: Callable, g: Sequence, w: Sequence, learning_rate: float) -> None:
    right([g_ + 1e-2 * w_ for g_, w_ in zip(g, w, strict=True)], w, learning_rate)


def momentum(right: Callable) -> Callable:
    velocities: dict[torch.Tensor, torch.Tensor] = {}

    def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
        for g, w in zip(gradients, weights, strict=True):
            velocities[w] = 0.9 * velocities.get(w, 0) + g
        right([velocities[w] for w in weights], weights, learning_rate)

    return rule


def adam(right: Callable) -> Callable:
    optimizers: dict[torch.Tensor, torch.optim.Optimizer] = {}

    def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
        made = optimizers.setdefault(weights[0], torch.optim.Adam(weights, lr=learning_rate))
        for g, w in zip(gradients, weights, strict=True):
            w.grad = g
        made.step()
        made.zero_grad()

    return rule


TRAPS = [
    Trap(
        "biases never updated",
        "the update leaves the biases as they are",
        "a list of parameters without the biases",
        "one update",
        update(lambda right, g, w, lr: right(g[::2], w[::2], lr)),
        NoBiasUpdate,
    ),
    Trap(
        "rate of 1e-2",
        "the learning rate is 1e-2, Keras's default for SGD, not 1e-3",
        "keras/src/optimizers/sgd.py",
        "one update",
        update(lambda right, g, w, lr: right(g, w, 10 * lr)),
        TenfoldRate,
    ),
    Trap(
        "momentum",
        "SGD has a momentum of 0.9",
        "torch.optim.SGD in most examples",
        "one update",
        instead(UPDATE, momentum),
        Momentum,
    ),
    Trap(
        "weight decay",
        "the update decays the weights by 1e-2, as AdamW does by default",
        "mlcommons/hpc#22",
        "one update",
        update(weight_decay),
        WeightDecay,
    ),
    Trap(
        "Adam",
        "the optimizer is Adam, not SGD",
        "tf-keras#315",
        "one update",
        instead(UPDATE, adam),
        Adam,
    ),
]
