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


def sgd(rate: float, decay: float, momentum: float) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of SGD with other constants, as torch.optim.SGD has them."""

    class OtherConstants(Update):
        def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
            v = self.__dict__.setdefault("velocities", {})
            v[name] = momentum * v.get(name, 0) + super().direction(name, g, w) + decay * w
            return rate / 1e-3 * v[name]

    def replace(right: Callable) -> Callable:
        optimizers: dict[torch.Tensor, torch.optim.Optimizer] = {}

        def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
            if weights[0] not in optimizers:
                optimizers[weights[0]] = torch.optim.SGD(
                    weights, lr=rate, momentum=momentum, weight_decay=decay
                )
            for g, w in zip(gradients, weights, strict=True):
                w.grad = g
            optimizers[weights[0]].step()
            optimizers[weights[0]].zero_grad()

        return rule

    return instead(UPDATE, replace), OtherConstants


def schedule(rates: Sequence[float]) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of SGD with a learning rate of its own in each step.

    Beyond those given, rates go on in the ratio of the last two.
    """

    def rate_of(step: int) -> float:
        beyond = max(0, step - len(rates) + 1)
        return rates[step - beyond] * (rates[-1] / rates[-2]) ** beyond

    class OfSchedule(Update):
        def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
            step = self.__dict__.setdefault("steps", {})
            step[name] = step.get(name, -1) + 1
            return rate_of(step[name]) / 1e-3 * super().direction(name, g, w)

    def replace(right: Callable) -> Callable:
        steps: dict[torch.Tensor, int] = {}

        def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
            step = steps[weights[0]] = steps.get(weights[0], -1) + 1
            right(gradients, weights, rate_of(step))

        return rule

    return instead(UPDATE, replace), OfSchedule


class Adam(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        t, m, v = self.__dict__.setdefault("moments", {}).get(name, (0, 0, 0))
        g = super().direction(name, g, w)
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        self.__dict__["moments"][name] = t, m, v
        return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


class NeverUpdated(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return 0 * g


class LateGradients(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        before = self.__dict__.setdefault("before", {})
        late, before[name] = before.get(name, 0 * g), super().direction(name, g, w)
        return late


def late_gradients(right: Callable) -> Callable:
    before: dict[torch.Tensor, torch.Tensor] = {}

    def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
        late = [before.get(w, 0 * g) for g, w in zip(gradients, weights, strict=True)]
        before.update(zip(weights, [g.clone() for g in gradients], strict=True))
        right(late, weights, learning_rate)

    return rule


def rmsprop(rho: float, epsilon: float, outside: bool) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of RMSprop, with epsilon outside of the root or in it."""

    class OfRMSprop(Update):
        def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
            g = super().direction(name, g, w)
            averages = self.__dict__.setdefault("averages", {})
            averages[name] = v = rho * averages.get(name, 0) + (1 - rho) * g**2
            return g / (np.sqrt(v) + epsilon if outside else np.sqrt(v + epsilon))

    def replace(right: Callable) -> Callable:
        averages: dict[torch.Tensor, torch.Tensor] = {}

        def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
            divided = []
            for g, w in zip(gradients, weights, strict=True):
                averages[w] = v = rho * averages.get(w, 0 * g) + (1 - rho) * g**2
                divided.append(g / (v.sqrt() + epsilon if outside else (v + epsilon).sqrt()))
            right(divided, weights, learning_rate)

        return rule

    return instead(UPDATE, replace), OfRMSprop


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
        "rate of 0.003",
        "the learning rate is 0.003, expected 0.001",
        "any other constant: it is estimated from the updates",
        "one update",
        *sgd(0.003, 0.0, 0.0),
    ),
    Trap(
        "rate decayed each step",
        "the learning rate falls by a tenth after each step",
        "scheduler.step() after each batch: the rates are estimated from the updates",
        "one update",
        *schedule([1e-3, 9e-4]),
    ),
    Trap(
        "weights never updated",
        "the update changes no weight",
        "an optimizer of another model's weights, or no step at all",
        "one update",
        update(lambda right, g, w, lr: None),
        NeverUpdated,
    ),
    Trap(
        "step before backward",
        "each update takes the gradients of the step before",
        "optimizer.step() above loss.backward()",
        "one update",
        instead(UPDATE, late_gradients),
        LateGradients,
    ),
    Trap(
        "RMSprop",
        "the optimizer is RMSprop with rho 0.9, epsilon 1e-7 outside of the root, not SGD",
        "torch.optim.RMSprop(alpha=0.9, eps=1e-7), for the book's first example",
        "one update",
        *rmsprop(0.9, 1e-7, outside=True),
    ),
    Trap(
        "Keras's RMSprop",
        "the optimizer is Keras's RMSprop, not SGD",
        "the book's first example",
        "one update",
        *rmsprop(0.9, 1e-7, outside=False),
    ),
    Trap(
        "torch's RMSprop",
        "the optimizer is torch's RMSprop with its own rho 0.99 and epsilon 1e-8, not SGD",
        "torch.optim.RMSprop(lr=1e-3)",
        "one update",
        *rmsprop(0.99, 1e-8, outside=True),
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
